package pyregexp

// What can come next: for an instruction, the bytes with one of which the text
// must go on if a match is to be found from there, and whether it may end. It
// spares the matcher branches that the next byte rules out, and tells which
// patterns are one-pass.

// nextSet is the set of bytes that can come next, and the end of the text.
type nextSet struct {
	bytes byteSet
	end   bool
}

func (s *nextSet) union(t nextSet) {
	for i := range s.bytes {
		s.bytes[i] |= t.bytes[i]
	}
	s.end = s.end || t.end
}

func (s *nextSet) has(c int) bool {
	if c == 256 {
		return s.end
	}
	return s.bytes.has(byte(c))
}

var anyNext = nextSet{byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, true}

// analysis finds, for instructions, what can come next: never too little.
type analysis struct {
	p      *program
	known  []nextSet
	state  []uint8 // by instruction: 0 not known, 1 being found out, 2 known
	failed bool    // some loop takes nothing
}

func (p *program) analyse() *analysis {
	return &analysis{p: p, known: make([]nextSet, len(p.insts)), state: make([]uint8, len(p.insts))}
}

func (a *analysis) next(pc uint32) nextSet {
	switch a.state[pc] {
	case 1:
		a.failed = true
		return anyNext
	case 2:
		return a.known[pc]
	}
	a.state[pc] = 1
	in := &a.p.insts[pc]
	var s nextSet
	switch in.op {
	case opFail:
	case opMatch:
		s = anyNext
	case opByte:
		s.bytes.add(byte(in.arg))
	case opString:
		s.bytes.add(in.str[0])
	case opSet:
		s = setNext(&a.p.sets[in.arg])
	case opAny:
		s = nextSet{bytes: anyNext.bytes}
	case opStar:
		s = setNext(&a.p.sets[in.arg])
		s.union(a.next(in.out))
	case opAlt, opCond, opMoved:
		s = a.next(in.out)
		s.union(a.next(in.arg))
	case opAssert:
		s = a.next(in.out)
		switch kind := assertKind(in.arg); kind {
		case atTextEnd, atEnd, atLineEnd:
			s = nextSet{end: s.end}
			if kind != atTextEnd {
				s.bytes.add('\n')
			}
		}
	case opRef:
		s = anyNext
	case opLook:
		if in.look.atomic {
			s = a.next(in.arg) // anything, if its body can take nothing
		} else {
			s = a.next(in.out)
		}
	default:
		s = a.next(in.out)
	}
	a.state[pc], a.known[pc] = 2, s
	return s
}

func setNext(c *charSet) nextSet {
	s := nextSet{bytes: byteSet{c.ascii[0], c.ascii[1]}}
	if len(c.wide) > 0 {
		s.bytes[2], s.bytes[3] = ^uint64(0), ^uint64(0)
	}
	return s
}

// fork is what the matcher asks at a branch: which of its ways the next byte
// leaves open.
type fork struct {
	out, arg nextSet
}

// forks are those of a program, by instruction.
func (p *program) findForks() {
	a := p.analyse()
	for i := range p.insts {
		in := &p.insts[i]
		switch in.op {
		case opAlt:
			in.fork = &fork{out: a.next(in.out), arg: a.next(in.arg)}
		case opStar:
			in.fork = &fork{out: a.next(in.out)}
			in.keeps = keeping(setNext(&p.sets[in.arg]).bytes, in.fork.out.bytes)
		default:
			continue
		}
		if f := in.fork; f.out == anyNext && (in.op == opStar || f.arg == anyNext) {
			in.fork = nil // it rules nothing out
		}
	}
}

// keeps says of a star whether it may keep what it took: where what comes next can
// begin with nothing that the star takes, giving some of it back is of no use.
type keeps uint8

const (
	keepsNothing keeps = iota
	keepsASCII         // if all of it is ASCII
	keepsAll
)

func keeping(taken, next byteSet) keeps {
	switch {
	case taken[0]&next[0]|taken[1]&next[1] != 0:
		return keepsNothing
	case taken[2]&next[2]|taken[3]&next[3] != 0:
		return keepsASCII
	}
	return keepsAll
}

// of reports whether it holds for a text that was taken.
func (k keeps) of(taken []byte) bool {
	if k == keepsASCII {
		var all byte
		for _, c := range taken {
			all |= c
		}
		return all < 0x80
	}
	return k == keepsAll
}

// at reports whether the text may go on at pos.
func (s *nextSet) at(in []byte, pos int) bool {
	if pos >= len(in) {
		return s.end
	}
	c := in[pos]
	return s.bytes[c>>6]&(1<<(c&63)) != 0
}
