package pyregexp

// A pattern is one-pass if wherever it branches, the next byte says which way can
// succeed: then nothing is ever given back, and captures are written down as they
// come, without a stack and without marks (the idea is that of Go's and RE2's
// one-pass matchers). It has to be anchored, or a search would begin anew at
// every place, and must not hold look-around, back references, or loops whose
// body can match nothing.
type onePass struct {
	choice []*[257]branch // by instruction that branches; 256 is the end of the text
}

type branch uint8

const (
	dead  branch = iota
	first        // inst.out
	other        // inst.arg
)

// newOnePass returns nil for a pattern that is not one-pass.
func newOnePass(p *program, anchored bool) *onePass {
	if !anchored || p.refs || p.looks > 0 || len(p.insts) > 2000 {
		return nil
	}
	a := p.analyse()
	o := &onePass{choice: make([]*[257]branch, len(p.insts))}
	for i := range p.insts {
		in := &p.insts[i]
		var one, two nextSet
		switch in.op {
		case opRound, opMoved, opLeave:
			return nil
		case opAlt:
			one, two = a.next(in.out), a.next(in.arg)
		case opStar:
			if p.ends(in.out) {
				continue // whatever it takes, the match is there
			}
			one, two = setNext(&p.sets[in.arg]), a.next(in.out)
		default:
			continue
		}
		table := new([257]branch)
		for c := range table {
			switch x, y := one.has(c), two.has(c); {
			case x && y:
				return nil
			case x:
				table[c] = first
			case y:
				table[c] = other
			}
		}
		o.choice[i] = table
	}
	if a.failed {
		return nil
	}
	return o
}

// ends reports whether a match is found from pc on without anything to test.
func (p *program) ends(pc uint32) bool {
	for p.insts[pc].op == opSave || p.insts[pc].op == opNop {
		pc = p.insts[pc].out
	}
	return p.insts[pc].op == opMatch
}

// match runs the pattern from the start of the text and fills caps, which are
// all -1 before.
func (o *onePass) match(p *program, in []byte, caps []int) bool {
	caps[0] = 0
	var st uint64
	pos, pc := 0, p.start
	for {
		at, i := pc, &p.insts[pc]
		pc = i.out
		switch i.op {
		case opMatch:
			return true
		case opByte, opString, opSet, opAny:
			if pos = p.takes(i, in, pos); pos < 0 {
				return false
			}
		case opAlt:
			c := 256
			if pos < len(in) {
				c = int(in[pos])
			}
			switch o.choice[at][c] {
			case dead:
				return false
			case other:
				pc = i.arg
			}
		case opStar:
			set := &p.sets[i.arg]
			for size := set.takes(in, pos); size > 0; size = set.takes(in, pos) {
				pos += size
			}
		case opSave:
			caps[i.arg] = pos
			if bit := p.condBitOf[i.arg>>1]; bit >= 0 {
				st &^= 1 << bit
				if g := i.arg &^ 1; caps[g] >= 0 && caps[g+1] >= caps[g] {
					st |= 1 << bit
				}
			}
		case opAssert:
			if !holds(assertKind(i.arg), in, pos) {
				return false
			}
		case opCond:
			if st&(1<<i.bit) == 0 {
				pc = i.arg
			}
		default:
			return false
		}
	}
}
