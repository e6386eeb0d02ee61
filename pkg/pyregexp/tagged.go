package pyregexp

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// The tagged DFA finds a match and its captures in one pass, one table look-up a
// byte. Its states are what the matcher has on its stack at a place in the text, all
// ways at once: places in the program in the order in which Python tries them, and
// for each the registers that hold what its way has captured. A way that another
// came to before is dropped, and when one reaches the match, all that come after
// it; so what is left at the end is what Python finds. (The idea is Laurikari's;
// states are made when a text first leads to them, as in the lazy DFA.)
//
// A transition knows the byte that comes next, so most assertions are decided when it
// is made. Others, and look-around, depend on more of the text: these are asked about
// when a text gets there, and the transition has a sequel for each answer. All that
// is captured in one transition has the same value, the place in the text, so there
// is at most one register to write, and none is ever copied: a way goes on with the
// registers that it has.
//
// Texts that are not ASCII where it counts, back references, captures in look-around
// and atomic groups are left to the matcher.
type tagged struct {
	p        *program
	anchored bool
	next     []nextSet // by instruction
	place    []uint32  // by instruction: its first place; a string has one for each byte
	inst     []uint32  // by place
	ends     []bool    // by instruction: a star after which the match is there
	rest     []bool    // by instruction: a star that takes the rest of the line

	class   [256]uint8 // bytes that no instruction tells apart
	bytes   []byte     // by class: one of its bytes
	stride  int        // classes and the end of the text
	newline int        // its class
	wide    int        // that of all bytes that are not ASCII

	ask   []int8   // by instruction: its number among those that are asked about, or -1
	asked []uint32 // these
	slot  []int8   // by slot: its number among those that are written, or -1
	slots []int    // these
}

const (
	maxTagged     = 2000    // places
	maxTaggedBits = 1 << 16 // places × states
	maxTaggedWays = 100     // in one state
	maxRegisters  = 128
	nobody        = maxRegisters - 1 // the register that is never read
	maxAsked      = 30
	maxSequels    = 4 // questions of one transition at a time
	maxLookSteps  = 100
)

// newTagged returns nil for a program that is left to the matcher.
func newTagged(p *program, anchored bool) *tagged {
	if p.refs || p.slots > 64 || len(p.insts) > maxTagged {
		return nil
	}
	t := &tagged{
		p: p, anchored: anchored, ends: make([]bool, len(p.insts)), rest: make([]bool, len(p.insts)), place: make([]uint32, len(p.insts)),
		ask: slices.Repeat([]int8{-1}, len(p.insts)), slot: slices.Repeat([]int8{-1}, p.slots),
	}
	a := p.analyse()
	t.next = make([]nextSet, len(p.insts))
	for i := range p.insts {
		t.next[i] = a.next(uint32(i))
	}
	if !anchored {
		t.saves(0)
	}
	for i := range p.insts {
		in := &p.insts[i]
		t.place[i] = uint32(len(t.inst))
		places := 1
		switch in.op {
		case opString:
			places = len(in.str)
		case opSave:
			t.saves(int(in.arg))
		case opStar:
			t.ends[i] = p.ends(in.out)
			out := t.next[in.out].bytes
			out[0] &^= 1 << '\n'
			t.rest[i] = p.sets[in.arg].line && (t.ends[i] || out == byteSet{})
		case opLook:
			if in.look.atomic || in.look.saves || !p.straight(in.arg, map[uint32]bool{}) {
				return nil
			}
			t.asks(uint32(i))
		case opAssert:
			switch assertKind(in.arg) {
			case atTextStart, atTextEnd, atEnd, atLineEnd:
			default:
				t.asks(uint32(i))
			}
		case opRef:
			return nil
		}
		for range places {
			t.inst = append(t.inst, uint32(i))
		}
	}
	if len(t.inst) > maxTagged || p.bits > 6 || len(t.inst)<<p.bits > maxTaggedBits || len(t.asked) > maxAsked {
		return nil
	}
	t.classes()
	return t
}

func (t *tagged) saves(slot int) {
	if t.slot[slot] < 0 {
		t.slot[slot] = int8(len(t.slots))
		t.slots = append(t.slots, slot)
	}
}

func (t *tagged) asks(pc uint32) {
	t.ask[pc] = int8(min(len(t.asked), maxAsked))
	t.asked = append(t.asked, pc)
}

// straight reports whether what is at pc, in a look-around, asks about nothing but
// the text, and has no loop.
func (p *program) straight(pc uint32, above map[uint32]bool) bool {
	if above[pc] || len(above) > maxLookSteps {
		return false
	}
	above[pc] = true
	defer delete(above, pc)
	switch in := &p.insts[pc]; in.op {
	case opMatch, opFail:
		return true
	case opAlt:
		return p.straight(in.out, above) && p.straight(in.arg, above)
	case opByte, opString, opSet, opAny, opNop, opAssert:
		return p.straight(in.out, above)
	}
	return false
}

func (t *tagged) classes() {
	var class [256]int
	n := 1
	part := func(set byteSet) {
		to := map[int]int{}
		whole := map[int]bool{}
		for b := range 256 {
			if !set.has(byte(b)) {
				whole[class[b]] = true
			}
		}
		for b := range 256 {
			if old := class[b]; set.has(byte(b)) && whole[old] {
				if to[old] == 0 {
					to[old] = n
					n++
				}
				class[b] = to[old]
			}
		}
	}
	seen := map[byteSet]bool{}
	parts := func(set byteSet) {
		if set[2], set[3] = 0, 0; !seen[set] {
			seen[set] = true
			part(set)
		}
	}
	one := func(b byte) (s byteSet) {
		s.add(b)
		return s
	}
	part(byteSet{2: ^uint64(0), 3: ^uint64(0)})
	parts(one('\n'))
	for i := range t.p.insts {
		switch in := &t.p.insts[i]; in.op {
		case opByte:
			parts(one(byte(in.arg)))
		case opString:
			for _, c := range []byte(in.str) {
				parts(one(c))
			}
		case opSet, opStar:
			set := &t.p.sets[in.arg]
			parts(byteSet{set.ascii[0], set.ascii[1]})
		}
	}
	t.bytes = make([]byte, n)
	for b := 255; b >= 0; b-- {
		t.class[b] = uint8(class[b])
		t.bytes[class[b]] = byte(b)
	}
	t.newline, t.wide, t.stride = class['\n'], class[0x80], n+1
}

// answer says what holds at a place in the text; not known, if finding out took too
// long.
func (t *tagged) answer(pc uint32, in []byte, pos int) (yes, known bool) {
	i := &t.p.insts[pc]
	if i.op == opAssert {
		return holds(assertKind(i.arg), in, pos), true
	}
	from := pos
	if i.look.behind {
		for range i.look.width {
			if from == 0 {
				return i.look.not, true
			}
			from -= lastSize(in[:from])
		}
	}
	steps := 0
	yes = t.p.ahead(i.arg, in, from, &steps)
	return yes != i.look.not, steps <= maxLookSteps
}

// ahead reports whether what is at pc, which is straight, matches at pos.
func (p *program) ahead(pc uint32, in []byte, pos int, steps *int) bool {
	for {
		if *steps++; *steps > maxLookSteps {
			return false
		}
		i := &p.insts[pc]
		switch i.op {
		case opMatch:
			return true
		case opByte:
			if pos >= len(in) || in[pos] != byte(i.arg) {
				return false
			}
			pos++
		case opString:
			if len(in)-pos < len(i.str) || string(in[pos:pos+len(i.str)]) != i.str {
				return false
			}
			pos += len(i.str)
		case opSet:
			size := p.sets[i.arg].takes(in, pos)
			if size == 0 {
				return false
			}
			pos += size
		case opAny:
			if pos >= len(in) {
				return false
			}
			_, size := decode(in[pos:])
			pos += size
		case opAlt:
			if p.ahead(i.out, in, pos, steps) {
				return true
			}
			pc = i.arg
			continue
		case opAssert:
			if !holds(assertKind(i.arg), in, pos) {
				return false
			}
		case opNop:
		default:
			return false
		}
		pc = i.out
	}
}

// way is one of those that a state holds.
type way struct {
	place uint32
	st    uint64
	regs  []int8 // by number of slot: the register, or -1
}

// here stands for the register that a transition writes, until it has one.
const here = -2

type taggedState struct {
	ways  []way
	found []int8 // the registers of a match, which is the answer unless one of the ways gets there; or nil
}

// act is a transition that does more than to go on.
type act struct {
	next  int32 // the state times stride
	write uint8 // the register that the place in the text is written to
	end   bool  // nothing more can come: next has the answer
	skip  bool  // next takes all up to the newline
	last  bool  // it counts only if the byte is the text's last

	ask    uint64  // what is to be asked about first; then this is all there is
	sequel []int32 // by answers
	known  uint64  // what was asked before
	values uint64
}

// An entry of the table is a state times stride, and above writeShift the register that
// the place in the text is written to. Entries that are no states are negative.
const (
	writeShift = 24

	actUnknown = -1
	actGivesUp = -2
	firstAct   = -3 // and below: its number is firstAct-entry
)

// taggedCache is a table with its states; one search at a time uses it.
type taggedCache struct {
	t      *tagged
	trans  []int32
	states []taggedState
	acts   []act
	index  map[string]int32
	regs   [maxRegisters]int // the last is nobody's

	bytes int
	full  bool
	read  int  // bytes of texts
	steps int  // what making transitions has cost
	over  bool // texts lead to ever new states: it does not pay

	// of build
	mark  []uint32 // by place and state: the generation in which a way was there
	after []uint32 // the same for places behind the byte
	gen   uint32
	stack []step
	next  taggedState
	key   []byte
}

// step is a way within a transition.
type step struct {
	place uint32
	st    uint64
	saved uint64 // slots, by number
}

const (
	maxTaggedTable = 1 << 20 // bytes
	// Making transitions may cost so many steps, and one more for each stepBytes of
	// texts; who exceeds that is better off with the matcher.
	taggedSteps = 100_000
	stepBytes   = 8
)

func newTaggedCache(t *tagged) *taggedCache {
	n := len(t.inst) << t.p.bits
	c := &taggedCache{t: t, mark: make([]uint32, n), after: make([]uint32, n)}
	c.empty()
	return c
}

// empty makes the table anew, with the state in which a text begins.
func (c *taggedCache) empty() {
	c.trans, c.states, c.acts, c.index = c.trans[:0], c.states[:0], c.acts[:0], map[string]int32{}
	c.bytes, c.full = 0, false
	var s taggedState
	if c.t.anchored {
		s.ways = []way{{c.t.place[c.t.p.start], c.t.p.moved, slices.Repeat([]int8{-1}, len(c.t.slots))}}
	}
	c.add(s, 0)
}

func (c *taggedCache) add(s taggedState, key int) int32 {
	c.states = append(c.states, s)
	for range c.t.stride {
		c.trans = append(c.trans, actUnknown)
	}
	c.bytes += 4*c.t.stride + 2*key + len(s.ways)*(40+len(c.t.slots)) + 100
	return int32(len(c.states) - 1)
}

// match looks for a match and writes its captures to caps, which has room for all
// slots. If it gives up, known is false.
func (c *taggedCache) match(in []byte, caps []int) (ok, known bool) {
	if c.over {
		return false, false
	}
	if c.full {
		c.empty()
	}
	t := c.t
	c.read += len(in)
	i, at := 0, uint32(0)
	for {
		trans, class, regs, e := c.trans, &t.class, &c.regs, int32(0)
		for i < len(in) {
			if e = trans[at+uint32(class[in[i]])]; e < 0 {
				break
			}
			regs[e>>writeShift] = i // mostly that of nobody: sooner done than asked about
			at = uint32(e & (1<<writeShift - 1))
			i++
		}
		cl := t.stride - 1
		if i < len(in) {
			cl = int(class[in[i]])
		} else {
			e = trans[int(at)+cl]
		}
		if e == actUnknown {
			e = c.build(int32(at)/int32(t.stride), cl, 0, 0)
			c.trans[int(at)+cl] = e
		}
		for e <= firstAct && c.acts[firstAct-e].ask != 0 {
			a := &c.acts[firstAct-e]
			values, sequel := a.values, 0
			for k, b := 0, a.ask; b != 0; b &= b - 1 {
				q := bits.TrailingZeros64(b)
				yes, known := t.answer(t.asked[q], in, i)
				if !known {
					return false, false
				}
				if yes {
					values |= 1 << q
					sequel |= 1 << k
				}
				k++
			}
			number := firstAct - e
			if e = a.sequel[sequel]; e == actUnknown {
				e = c.build(int32(at)/int32(t.stride), cl, a.known|a.ask, values)
				c.acts[number].sequel[sequel] = e
			}
		}
		if e == actGivesUp {
			return false, false
		}
		if e >= 0 {
			c.regs[e>>writeShift] = i
			at = uint32(e & (1<<writeShift - 1))
			i++
			continue
		}
		a := &c.acts[firstAct-e]
		if a.last && i+1 != len(in) {
			return false, false
		}
		c.regs[a.write] = i
		if a.end {
			return c.captured(a.next, caps), true
		}
		at = uint32(a.next)
		i++
		if a.skip {
			if n := bytes.IndexByte(in[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(in)
			}
		}
	}
}

// captured writes what a state has found.
func (c *taggedCache) captured(at int32, caps []int) bool {
	found := c.states[at/int32(c.t.stride)].found
	if found == nil {
		return false
	}
	for i := range caps {
		caps[i] = -1
	}
	caps[0] = 0
	for k, slot := range c.t.slots {
		if r := found[k]; r >= 0 {
			caps[slot] = c.regs[r]
		}
	}
	return true
}

// build makes the transition of a state for a class, where some of what can be asked
// about is known.
func (c *taggedCache) build(s int32, class int, known, values uint64) int32 {
	t := c.t
	if class == t.wide {
		return actGivesUp
	}
	if c.steps > taggedSteps+c.read/stepBytes {
		c.over, c.full = true, true
	}
	if c.full {
		return actGivesUp
	}
	if c.bytes > maxTaggedTable {
		c.full = true
		return actGivesUp
	}
	if c.gen++; c.gen == 0 {
		clear(c.mark)
		clear(c.after)
		c.gen = 1
	}
	c.next = taggedState{ways: c.next.ways[:0]}
	var ask uint64
	from := c.states[s]
	over := false // a match is there: what comes after it is dropped
	none := slices.Repeat([]int8{-1}, len(t.slots))
	for k := 0; k <= len(from.ways) && !over; k++ {
		regs := none
		c.stack = c.stack[:0]
		switch {
		case k < len(from.ways):
			w := &from.ways[k]
			regs = w.regs
			c.stack = append(c.stack, step{w.place, w.st, 0})
		case from.found != nil:
			c.next.found = from.found
		case !t.anchored:
			c.stack = append(c.stack, step{t.place[t.p.start], t.p.moved, 1 << t.slot[0]})
		}
		over = c.follow(s, class, regs, known, values, &ask)
		if len(c.next.ways) > maxTaggedWays {
			return actGivesUp
		}
	}
	if ask != 0 {
		n := bits.OnesCount64(ask)
		if n > maxSequels {
			return actGivesUp
		}
		c.bytes += 80 + 4<<n
		return c.act(act{ask: ask, known: known, values: values, sequel: slices.Repeat([]int32{actUnknown}, 1<<n)})
	}
	a := act{write: nobody, last: class == t.newline}
	if !c.register(&a) {
		return actGivesUp
	}
	next := c.state()
	a.next = next * int32(t.stride)
	st := &c.states[next]
	a.end = class == t.stride-1 || len(st.ways) == 0 && (t.anchored || st.found != nil)
	if len(st.ways) == 1 && (t.anchored || st.found != nil) {
		a.skip = t.rest[t.inst[st.ways[0].place]]
	}
	if !a.end && !a.skip && !a.last {
		return a.next | int32(a.write)<<writeShift
	}
	return c.act(a)
}

func (c *taggedCache) act(a act) int32 {
	c.acts = append(c.acts, a)
	c.bytes += 64
	return firstAct - int32(len(c.acts)-1)
}

// follow takes the ways on the stack, which come from one, as far as they go without
// a byte, and over it. It reports whether one has reached the match.
func (c *taggedCache) follow(s int32, class int, regs []int8, known, values uint64, ask *uint64) bool {
	t := c.t
	atEnd := class == t.stride-1
	next := 256
	if !atEnd {
		next = int(t.bytes[class])
	}
	for len(c.stack) > 0 {
		c.steps++
		x := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		if m := &c.mark[uint64(x.place)<<t.p.bits|x.st]; *m == c.gen {
			continue
		} else {
			*m = c.gen
		}
		pc := t.inst[x.place]
		in := &t.p.insts[pc]
		inside := x.place - t.place[pc]
		if inside == 0 && !t.next[pc].has(next) {
			continue // it can't end well
		}
		on := step{t.place[in.out], x.st, x.saved}
		switch in.op {
		case opMatch:
			c.next.found = written(regs, x.saved)
			return true
		case opByte:
			if next == int(in.arg) {
				c.take(on, regs)
			}
		case opString:
			if next == int(in.str[inside]) {
				if int(inside)+1 < len(in.str) {
					on.place = x.place + 1
				}
				c.take(on, regs)
			}
		case opSet:
			if !atEnd && t.p.sets[in.arg].hasASCII(byte(next)) {
				c.take(on, regs)
			}
		case opAny:
			if !atEnd {
				c.take(on, regs)
			}
		case opStar:
			if !atEnd && t.p.sets[in.arg].hasASCII(byte(next)) {
				c.take(x, regs)
				if t.ends[pc] {
					continue // with more there is a match as well, and a better one
				}
			}
			c.stack = append(c.stack, on)
		case opAlt:
			c.stack = append(c.stack, step{t.place[in.arg], x.st, x.saved}, on)
		case opSave:
			on.saved |= 1 << t.slot[in.arg]
			if bit := t.p.condBitOf[in.arg>>1]; bit >= 0 {
				on.st &^= 1 << bit
				if c.took(int(in.arg), regs, on.saved) {
					on.st |= 1 << bit
				}
			}
			c.stack = append(c.stack, on)
		case opNop:
			c.stack = append(c.stack, on)
		case opRound:
			on.st &^= 1 << in.bit
			c.stack = append(c.stack, on)
		case opLeave:
			on.st |= 1 << in.bit
			c.stack = append(c.stack, on)
		case opCond, opMoved:
			if x.st&(1<<in.bit) == 0 {
				on.place = t.place[in.arg]
			}
			c.stack = append(c.stack, on)
		case opAssert, opLook:
			yes, sure := t.decided(in, s == 0, class, next)
			if !sure {
				bit := uint64(1) << t.ask[pc]
				if known&bit == 0 {
					*ask |= bit
					continue
				}
				yes = values&bit != 0
			}
			if yes {
				c.stack = append(c.stack, on)
			}
		}
	}
	return false
}

// decided says what can be said of an assertion or a look-around beforehand.
func (t *tagged) decided(in *inst, first bool, class, next int) (yes, sure bool) {
	if in.op == opLook {
		if !in.look.behind && !t.next[in.arg].has(next) {
			return in.look.not, true
		}
		return false, false
	}
	switch assertKind(in.arg) {
	case atTextStart:
		return first, true
	case atTextEnd:
		return next == 256, true
	case atEnd, atLineEnd:
		return next == 256 || class == t.newline, true // the newline is the text's last, see act.last
	}
	return false, false
}

// took reports whether a group whose slot was just written has taken part.
func (c *taggedCache) took(slot int, regs []int8, saved uint64) bool {
	other := c.t.slot[slot^1]
	if other < 0 {
		return false
	}
	if slot&1 == 0 { // a new begin: the end counts only if it is here, too
		return saved&(1<<other) != 0
	}
	return saved&(1<<other) != 0 || regs[other] >= 0
}

// take adds a way that has taken the byte.
func (c *taggedCache) take(x step, regs []int8) {
	x.st |= c.t.p.moved
	m := &c.after[uint64(x.place)<<c.t.p.bits|x.st]
	if *m == c.gen {
		return
	}
	*m = c.gen
	c.next.ways = append(c.next.ways, way{x.place, x.st, written(regs, x.saved)})
}

// written are registers after some slots were written.
func written(regs []int8, saved uint64) []int8 {
	if saved == 0 {
		return regs
	}
	regs = slices.Clone(regs)
	for ; saved != 0; saved &= saved - 1 {
		regs[bits.TrailingZeros64(saved)] = here
	}
	return regs
}

// register finds a register for what the transition writes, if anything. It returns
// false if none is left.
func (c *taggedCache) register(a *act) bool {
	var used [maxRegisters]bool
	writes := false
	each := func(regs []int8) {
		for _, r := range regs {
			if r >= 0 {
				used[r] = true
			}
			writes = writes || r == here
		}
	}
	for i := range c.next.ways {
		each(c.next.ways[i].regs)
	}
	each(c.next.found)
	if !writes {
		return true
	}
	free := slices.Index(used[:nobody], false)
	if free < 0 {
		return false
	}
	a.write = uint8(free)
	put := func(regs []int8) {
		for i, r := range regs {
			if r == here {
				regs[i] = int8(free)
			}
		}
	}
	for i := range c.next.ways {
		put(c.next.ways[i].regs)
	}
	put(c.next.found)
	return true
}

// state returns the number of the state that build has made, which may be there
// already.
func (c *taggedCache) state() int32 {
	key := c.key[:0]
	put := func(regs []int8) {
		for _, r := range regs {
			key = append(key, byte(r))
		}
	}
	if c.next.found == nil {
		key = append(key, 0)
	} else {
		key = append(key, 1)
		put(c.next.found)
	}
	for i := range c.next.ways {
		w := &c.next.ways[i]
		key = binary.AppendUvarint(key, uint64(w.place)<<c.t.p.bits|w.st)
		put(w.regs)
	}
	c.key = key
	if s, ok := c.index[string(key)]; ok {
		return s
	}
	s := c.add(taggedState{slices.Clone(c.next.ways), c.next.found}, len(key))
	c.index[string(key)] = s
	return s
}
