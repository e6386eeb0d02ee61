package pyregexp

import "slices"

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
	maxTagged     = 5000    // places
	maxTaggedBits = 1 << 16 // places × states
	maxTaggedWays = 100     // in one state
	maxRegisters  = 128
	nobody        = maxRegisters - 1 // the register that is never read
	maxAsked      = 30
	maxSequels    = 4   // questions of one transition at a time
	maxLook       = 200 // instructions of a look-around
	// What look-around may cost in one search: some steps, and more for each byte.
	lookSteps        = 1000
	lookStepsPerByte = 8
	maxLookSteps     = 2000 // at one place; it is also how deep they nest
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
			if in.look.atomic || in.look.saves || !p.simple(in.arg, map[uint32]bool{}) {
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

// simple reports whether what is at pc, in a look-around, asks about nothing but the
// text.
func (p *program) simple(pc uint32, seen map[uint32]bool) bool {
	if seen[pc] {
		return true
	}
	if seen[pc] = true; len(seen) > maxLook {
		return false
	}
	switch in := &p.insts[pc]; in.op {
	case opMatch, opFail:
		return true
	case opAlt:
		return p.simple(in.out, seen) && p.simple(in.arg, seen)
	case opByte, opString, opSet, opAny, opNop, opAssert:
		return p.simple(in.out, seen)
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

// answer says what holds at a place in the text; not known, if steps are used up.
func (t *tagged) answer(pc uint32, in []byte, pos int, steps *int) (yes, known bool) {
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
	all := min(*steps, maxLookSteps)
	left := all
	yes = t.p.ahead(i.arg, in, from, &left)
	*steps -= all - left
	return yes != i.look.not, left >= 0
}

// ahead reports whether what is at pc, which is simple, matches at pos. Below 0 steps
// that counts for nothing.
func (p *program) ahead(pc uint32, in []byte, pos int, steps *int) bool {
	for {
		if *steps--; *steps < 0 {
			return false
		}
		i := &p.insts[pc]
		switch i.op {
		case opMatch:
			return true
		case opByte, opString, opSet, opAny:
			if pos = p.takes(i, in, pos); pos < 0 {
				return false
			}
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
