package pyregexp

import (
	"fmt"
	"slices"
)

// advance takes what is left of a look-ahead's body over a symbol. yes: it has matched.
func (r *run) advance(at []walkPlace, sym symbol, ctx uint16, before []symbol) (next []walkPlace, yes bool) {
	p := r.p
	seen := map[walkPlace]bool{}
	stack := slices.Clone(at)
	for len(stack) > 0 {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[x] {
			continue
		}
		seen[x] = true
		in := &p.insts[x.pc]
		on := walkPlace{pc: in.out}
		switch in.op {
		case opFail:
		case opMatch:
			yes = true
		case opByte, opString, opSet, opAny:
			switch takes, whole := p.takesSymbol(in, x.in, sym); {
			case !takes:
			case whole:
				next = append(next, on)
			default:
				next = append(next, walkPlace{pc: x.pc, in: x.in + 1})
			}
		case opStar:
			if !sym.end && p.sets[in.arg].has(sym.r) {
				next = append(next, x)
			}
			stack = append(stack, on)
		case opAlt, opMoved: // to go round once more without having moved adds nothing
			stack = append(stack, on, walkPlace{pc: in.arg})
		case opAssert:
			if holdsAt(assertKind(in.arg), sym, ctx, before) {
				stack = append(stack, on)
			}
		default:
			stack = append(stack, on)
		}
	}
	return sorted(next), yes
}

// lookBack reports whether a look-behind's body matches what was read last.
func (r *run) lookBack(in *inst, sym symbol, ctx uint16, before []symbol) bool {
	n := in.look.width
	if n > len(before) {
		return false
	}
	at := []walkPlace{{pc: in.arg}}
	for i := n - 1; i >= 0; i-- {
		var first uint16
		if i == len(before)-1 && ctx&ctxFirst != 0 {
			first = ctxFirst
		}
		if at, _ = r.advance(at, before[i], first, before[i+1:]); len(at) == 0 {
			return false
		}
	}
	_, yes := r.advance(at, sym, ctx, before)
	return yes
}

// language is what may stand in an open piece, as states over characters.
type language struct {
	*run
	hidden bool // sequences that set colours are there, and not seen
	sets   []([]walkPlace)
	ids    map[string]int32
	to     map[langStep]int32
	ends   []bool
}

type langStep struct {
	state int32
	r     rune
}

// languageBegin is the state in which each begins; 0 is the one with no way out.
const languageBegin = 1

func newLanguage(re *Regexp, hidden bool) (*language, error) {
	r, err := newRun(re, nil)
	if err != nil {
		return nil, err
	}
	for i := range r.p.insts {
		if op := r.p.insts[i].op; op == opLook || op == opCond || op == opAssert {
			return nil, fmt.Errorf("%w: what may be written is given by characters and repetitions only: %.60q", ErrWalk, r.text)
		}
	}
	l := &language{run: r, hidden: hidden, ids: map[string]int32{}, to: map[langStep]int32{}}
	l.put(nil)
	l.put([]walkPlace{{pc: r.p.start}})
	return l, nil
}

func (l *language) put(at []walkPlace) int32 {
	if l.hidden {
		at = l.passed(at)
	}
	key := fmt.Sprint(at)
	if n, ok := l.ids[key]; ok {
		return n
	}
	n := int32(len(l.sets))
	l.ids[key] = n
	l.sets = append(l.sets, at)
	_, ends := l.advance(at, symbol{end: true}, 0, nil)
	l.ends = append(l.ends, ends)
	return n
}

// passed adds the places that are reached over sequences that set colours: ESC [ numbers m,
// or K.
func (l *language) passed(at []walkPlace) []walkPlace {
	over := func(at []walkPlace, chars string) (out []walkPlace) {
		for _, r := range chars {
			next, _ := l.advance(at, symbol{r: r}, 0, nil)
			out = append(out, next...)
		}
		return sorted(out)
	}
	for {
		in := over(over(at, "\x1b"), "[")
		for n := -1; n != len(in); {
			n = len(in)
			in = sorted(append(in, over(in, "0123456789;:")...))
		}
		more := sorted(append(slices.Clone(at), over(in, "mK")...))
		if len(more) == len(sorted(at)) {
			return at
		}
		at = more
	}
}

func (l *language) accepts(state int32) bool { return l.ends[state] }

func (l *language) step(state int32, r rune) int32 {
	k := langStep{state, r}
	to, ok := l.to[k]
	if !ok {
		next, _ := l.advance(l.sets[state], symbol{r: r}, 0, nil)
		to = l.put(next)
		l.to[k] = to
	}
	return to
}
