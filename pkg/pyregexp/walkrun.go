package pyregexp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A run is one expression on a walk. Its states are those of a tagged DFA, with what is
// known of captures in place of where they are, and with the look-aheads that were
// guessed and wait for the text that proves them.
type run struct {
	p        *program
	text     string
	anchored bool
	groups   []int     // by name: of its captures, the number of the first; -1: none
	content  int       // the number of the captures that the outer one holds; -1: none
	upTo     uint32    // captures, by number, that may begin before the truth
	slot     []int     // by slot: the number of its capture; -1: it is not kept
	back     int       // characters that it looks back, or asks about by \b
	class    [128]byte // of a character, by what look-behind can ask; 0: not known

	states []walkState
	index  map[string]int32
	memo   map[memoKey][]int32
	rows   [][]walkRow // by state
	key    []byte
	// of a step
	mark, after map[walkPlace]bool
}

// walkPlace is a place in a program: in a string, also how much of it was read.
type walkPlace struct {
	pc, in uint32
	st     uint64
}

type walkWay struct {
	walkPlace
	caps uint64 // two bits a capture
}

const (
	capOther = 1
	capTruth = 2
	capOpen  = 3
)

type walkState struct {
	ways  []walkWay
	match *uint64 // captures of a match, which is the answer unless one of the ways gets there
	looks []looking
}

// looking is a look-ahead that was guessed.
type looking struct {
	yes bool
	at  []walkPlace // in its body, in order
}

// What a run is told of the next symbol.
const (
	ctxFirst  = 1 << iota // it is the text's first
	ctxTruth              // the truth begins with it
	ctxBehind             // the truth ended before it
	ctxBegins             // what the outer one holds begins with it
	ctxEnds               // and ended before it
	ctxLast               // it is the last one, a newline
	ctxOpen               // it is one of an open piece
	ctxOpened             // the one before it was
	ctxUpTo               // the truth did not begin before it
)

const (
	walkWays  = 400 // open at once
	walkLooks = 40  // look-aheads that wait
)

func newRun(re *Regexp, names []string) (*run, error) {
	p := re.prog.only(append([]string{"\x00"}, names...)) // without any name, all would be kept
	r := &run{
		p: p, text: re.String(), anchored: re.starts.anchored, content: -1, slot: slices.Repeat([]int{-1}, p.slots),
		index: map[string]int32{}, memo: map[memoKey][]int32{}, mark: map[walkPlace]bool{}, after: map[walkPlace]bool{},
	}
	fail := func(why string) (*run, error) { return nil, fmt.Errorf("%w: %s: %.60q", ErrWalk, why, r.text) }
	if err := p.walkable(&r.back); err != "" {
		return fail(err)
	}
	kept := 0
	for i := range p.insts {
		if in := &p.insts[i]; in.op == opSave && in.arg >= 2 && r.slot[in.arg] < 0 {
			r.slot[in.arg&^1], r.slot[in.arg|1] = kept, kept+1
			kept += 2
		}
	}
	if kept > 32 {
		return fail("too many groups")
	}
	for _, n := range names {
		g := -1
		if i := re.SubexpIndex(n); i > 0 {
			g = r.slot[2*i]
		}
		r.groups = append(r.groups, g)
	}
	r.classes()
	r.states = []walkState{{}} // in which nothing can come any more
	return r, nil
}

// walkable says why a program can't be walked, if so, and how far it looks back.
func (p *program) walkable(back *int) string {
	if p.refs {
		return "a back reference"
	}
	ascii := func(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0 }
	for i := range p.insts {
		switch in := &p.insts[i]; in.op {
		case opRef:
			return "a back reference"
		case opByte:
			if in.arg >= 0x80 {
				return "a text that is not ASCII"
			}
		case opString:
			if !ascii(in.str) {
				return "a text that is not ASCII"
			}
		case opAssert:
			if k := assertKind(in.arg); k >= atWord || k == atLineStart {
				*back = max(*back, 1)
			}
		case opLook:
			if in.look.atomic {
				return "an atomic group or a possessive repetition"
			}
			if in.look.saves {
				return "a group in a look-around"
			}
			if in.look.behind {
				if *back = max(*back, in.look.width); in.look.width > walkBack {
					return fmt.Sprintf("a look back by more than %d characters", walkBack)
				}
			}
			if !p.looks1(in.arg) {
				return "a look-around in a look-around"
			}
		}
	}
	return ""
}

// looks1 reports whether what is at pc asks about nothing but the text.
func (p *program) looks1(pc uint32) bool {
	seen := map[uint32]bool{}
	stack := []uint32{pc}
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch in := &p.insts[pc]; in.op {
		case opMatch, opFail:
		case opLook, opCond, opRef:
			return false
		case opAlt, opMoved:
			stack = append(stack, in.out, in.arg)
		default:
			stack = append(stack, in.out)
		}
	}
	return true
}

// begin is the state in which a text begins.
func (r *run) begin() int32 {
	var s walkState
	if r.anchored {
		s.ways = []walkWay{{walkPlace: walkPlace{pc: r.p.start, st: r.p.moved}}}
	}
	return r.put(&s)
}

func (r *run) found(state int32) *uint64 { return r.states[state].match }

// may reports whether a match may come, or is there, whose captures are as f says.
func (r *run) may(state int32, f func(caps uint64) bool) bool {
	s := &r.states[state]
	return s.match != nil && f(*s.match) || slices.ContainsFunc(s.ways, func(w walkWay) bool { return f(w.caps) })
}

// taken says what the first n groups took.
func (r *run) taken(caps uint64, n int) []Taken {
	out := make([]Taken, n)
	for i, g := range r.groups[:n] {
		if g < 0 {
			continue
		}
		switch begin, end := caps>>(2*g)&3, caps>>(2*g+2)&3; {
		case begin == 0 || end == 0:
		case begin == capTruth && end == capTruth:
			out[i] = TookTruth
		case begin == capOpen && end == capOpen:
			out[i] = TookOpen
		default:
			out[i] = TookOther
		}
	}
	return out
}

// put returns the number of a state; 0: nothing can come any more, and nothing came.
func (r *run) put(s *walkState) int32 {
	if r.anchored && len(s.ways) == 0 && s.match == nil && len(s.looks) == 0 {
		return 0
	}
	k := r.key[:0]
	if s.match != nil {
		k = binary.AppendUvarint(append(k, 1), *s.match)
	} else {
		k = append(k, 0)
	}
	place := func(p walkPlace) {
		k = binary.AppendUvarint(binary.AppendUvarint(k, uint64(p.pc)), uint64(p.in))
		k = binary.AppendUvarint(k, p.st)
	}
	k = binary.AppendUvarint(k, uint64(len(s.ways)))
	for _, w := range s.ways {
		place(w.walkPlace)
		k = binary.AppendUvarint(k, w.caps)
	}
	for _, l := range s.looks {
		k = binary.AppendUvarint(append(k, bit(l.yes)), uint64(len(l.at)))
		for _, p := range l.at {
			place(p)
		}
	}
	r.key = k
	if n, ok := r.index[string(k)]; ok {
		return n
	}
	n := int32(len(r.states))
	r.index[string(k)] = n
	r.states = append(r.states, *s)
	return n
}

// guesses are what was said of look-aheads at one place in the text, by instruction; of
// those that are not proved at once, with what is left of them behind the symbol.
type guesses map[uint32]looking

// step returns the states in which a symbol leads, one for each way to guess that the
// text does not refute by then.
func (r *run) step(state int32, sym symbol, ctx uint16, before []symbol) (out []int32, err error) {
	// What waits comes first: it may be refuted by now.
	var waiting []looking
	for _, l := range r.states[state].looks {
		left, yes := r.advance(l.at, sym, ctx, before)
		switch known := yes || len(left) == 0 || sym.end; {
		case known && yes != l.yes:
			return nil, nil
		case !known:
			waiting = append(waiting, looking{l.yes, left})
		}
	}
	return r.branch(state, sym, ctx, before, waiting, guesses{})
}

func (r *run) branch(state int32, sym symbol, ctx uint16, before []symbol, waiting []looking, said guesses) ([]int32, error) {
	next, ask, err := r.ways(&r.states[state], sym, ctx, before, said)
	if err != nil {
		return nil, err
	}
	if ask == nil {
		next.looks = slices.Clone(waiting)
		for _, l := range said {
			if l.at != nil {
				next.looks = append(next.looks, l)
			}
		}
		next.looks = tidied(next.looks)
		if len(next.looks) > walkLooks {
			return nil, fmt.Errorf("%w: more than %d look-aheads wait: %.60q", ErrWalk, walkLooks, r.text)
		}
		return []int32{r.put(&next)}, nil
	}
	left, yes := r.advance([]walkPlace{{pc: r.p.insts[*ask].arg}}, sym, ctx, before)
	if yes || len(left) == 0 || sym.end {
		said[*ask] = looking{yes: yes}
		return r.branch(state, sym, ctx, before, waiting, said)
	}
	var out []int32
	for _, yes := range []bool{false, true} {
		more := guesses{*ask: {yes, left}}
		for pc, l := range said {
			more[pc] = l
		}
		to, err := r.branch(state, sym, ctx, before, waiting, more)
		if err != nil {
			return nil, err
		}
		out = append(out, to...)
	}
	return out, nil
}

// tidied are looks in order, those as one that are to fail: none of them may come to a
// match.
func tidied(looks []looking) []looking {
	var fail []walkPlace
	var out []looking
	for _, l := range looks {
		if l.yes {
			out = append(out, l)
		} else {
			fail = append(fail, l.at...)
		}
	}
	if len(fail) > 0 {
		out = append(out, looking{false, sorted(fail)})
	}
	slices.SortFunc(out, func(a, b looking) int {
		if a.yes != b.yes {
			return int(bit(a.yes)) - int(bit(b.yes))
		}
		return slices.CompareFunc(a.at, b.at, comparePlaces)
	})
	return slices.CompactFunc(out, func(a, b looking) bool { return a.yes == b.yes && slices.Equal(a.at, b.at) })
}

func comparePlaces(a, b walkPlace) int {
	switch {
	case a.pc != b.pc:
		return int(a.pc) - int(b.pc)
	case a.in != b.in:
		return int(a.in) - int(b.in)
	case a.st < b.st:
		return -1
	case a.st > b.st:
		return 1
	}
	return 0
}

func sorted(p []walkPlace) []walkPlace {
	p = slices.Clone(p)
	slices.SortFunc(p, comparePlaces)
	return slices.Compact(p)
}

// ways takes the ways of a state over a symbol, in Python's order. ask is a look-ahead of
// which nothing was said yet.
func (r *run) ways(s *walkState, sym symbol, ctx uint16, before []symbol, said guesses) (next walkState, ask *uint32, err error) {
	clear(r.mark)
	clear(r.after)
	over := false
	for k := 0; k <= len(s.ways) && !over; k++ {
		var w walkWay
		switch {
		case k < len(s.ways):
			w = s.ways[k]
		case s.match != nil:
			next.match = s.match
			continue
		case r.anchored:
			continue
		default: // a match may begin here, if no earlier one comes about
			w = walkWay{walkPlace: walkPlace{pc: r.p.start, st: r.p.moved}}
		}
		if over, ask = r.follow(w, &next, sym, ctx, before, said); ask != nil {
			return next, ask, nil
		}
		if len(next.ways) > walkWays {
			return next, nil, fmt.Errorf("%w: more than %d ways are open: %.60q", ErrWalk, walkWays, r.text)
		}
	}
	return next, nil, nil
}

// follow takes one way as far as it goes without a symbol, and over it. It reports
// whether it reached the match.
func (r *run) follow(w walkWay, next *walkState, sym symbol, ctx uint16, before []symbol, said guesses) (over bool, ask *uint32) {
	type step struct {
		walkWay
		saved uint64 // captures that were written in this step
	}
	p := r.p
	stack := []step{{walkWay: w}}
	for len(stack) > 0 {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if r.mark[x.walkPlace] {
			continue
		}
		r.mark[x.walkPlace] = true
		in := &p.insts[x.pc]
		on := x
		on.pc, on.in = in.out, 0
		take := func(x step) {
			x.st |= p.moved
			if !r.after[x.walkPlace] {
				r.after[x.walkPlace] = true
				next.ways = append(next.ways, x.walkWay)
			}
		}
		switch in.op {
		case opMatch:
			caps := x.caps
			next.match = &caps
			return true, nil
		case opByte, opString, opSet, opAny:
			switch takes, whole := p.takesSymbol(in, x.in, sym); {
			case !takes:
			case whole:
				take(on)
			default:
				x.in++
				take(x)
			}
		case opStar:
			stack = append(stack, on)
			if !sym.end && p.sets[in.arg].has(sym.r) {
				// First with more of it: that is what the stack would have come to.
				take(x)
			}
		case opAlt:
			other := x
			other.pc, other.in = in.arg, 0
			stack = append(stack, other, on)
		case opSave:
			if c := r.slot[in.arg]; c >= 0 {
				on.caps = on.caps&^(3<<(2*c)) | r.capture(int(in.arg), c, ctx)<<(2*c)
				on.saved |= 1 << c
				if b := p.condBitOf[in.arg>>1]; b >= 0 {
					on.st &^= 1 << b
					other := r.slot[in.arg^1]
					if on.saved&(1<<other) != 0 || in.arg&1 == 1 && on.caps>>(2*other)&3 != 0 {
						on.st |= 1 << b
					}
				}
			}
			stack = append(stack, on)
		case opNop:
			stack = append(stack, on)
		case opRound:
			on.st &^= 1 << in.bit
			stack = append(stack, on)
		case opLeave:
			on.st |= 1 << in.bit
			stack = append(stack, on)
		case opCond, opMoved:
			if x.st&(1<<in.bit) == 0 {
				on.pc = in.arg
			}
			stack = append(stack, on)
		case opAssert:
			if holdsAt(assertKind(in.arg), sym, ctx, before) {
				stack = append(stack, on)
			}
		case opLook:
			var yes bool
			if in.look.behind {
				yes = r.lookBack(in, sym, ctx, before)
			} else {
				l, ok := said[x.pc]
				if !ok {
					pc := x.pc
					return false, &pc
				}
				yes = l.yes
			}
			if yes != in.look.not {
				stack = append(stack, on)
			}
		}
	}
	return false, nil
}

// capture is what is known of a capture that is written now.
func (r *run) capture(slot, c int, ctx uint16) uint64 {
	want, open := uint16(ctxTruth), uint16(ctxOpen)
	switch content := r.content >= 0 && c&^1 == r.content; {
	case content && slot&1 == 0:
		want, open = ctxBegins, 0
	case content:
		want, open = ctxEnds, 0
	case slot&1 == 1:
		want, open = ctxBehind, ctxOpened
	case r.upTo&(1<<c) != 0:
		want |= ctxUpTo
	}
	switch {
	case ctx&want != 0:
		return capTruth
	case ctx&open != 0:
		return capOpen
	}
	return capOther
}

// takesSymbol reports whether an instruction takes a symbol, and whether that was all
// that it takes.
func (p *program) takesSymbol(in *inst, at uint32, sym symbol) (takes, whole bool) {
	if sym.end {
		return false, false
	}
	switch in.op {
	case opByte:
		return sym.r == rune(in.arg), true
	case opString:
		return sym.r == rune(in.str[at]), int(at)+1 == len(in.str)
	case opSet:
		return p.sets[in.arg].has(sym.r), true
	}
	return true, true // opAny
}

// holdsAt is holds for a place on a walk.
func holdsAt(at assertKind, sym symbol, ctx uint16, before []symbol) bool {
	newline := !sym.end && sym.r == '\n'
	switch at {
	case atTextStart:
		return ctx&ctxFirst != 0
	case atLineStart:
		return ctx&ctxFirst != 0 || before[0].r == '\n'
	case atTextEnd:
		return sym.end
	case atEnd:
		return sym.end || newline && ctx&ctxLast != 0
	case atLineEnd:
		return sym.end || newline
	}
	ascii := at == atASCIIWord || at == atNotASCIIWord
	word := func(s symbol) bool { return !s.end && s.r != invalidByte && isWord(s.r, ascii) }
	behind := len(before) > 0 && word(before[0])
	return (behind != word(sym)) == (at == atWord || at == atASCIIWord)
}
