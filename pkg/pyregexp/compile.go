package pyregexp

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// A program is what the matcher runs: instructions in which every repetition is
// spelled out, so that (instruction, position) says all that the future of a
// search depends on, together with a few bits:
//
//   - one bit for each group that a conditional asks about: has it matched;
//   - one bit for each depth of loops whose body can match nothing: has the
//     text moved on since the round began. Python goes round again only then.
//
// Both kinds live in one word, the state, which is part of what the matcher
// remembers. Nothing else may influence where a search can go; instructions
// from which a back reference can be reached are not remembered at all.
type program struct {
	insts []inst
	start uint32
	sets  []charSet
	refs  bool // some back reference exists: the step budget counts

	refGroups []int // groups that some back reference names

	marks     int    // instructions that carry a mark number
	condBits  []int  // group asked about by bit i
	condBitOf []int8 // by group: bit number or -1
	moved     uint64 // the bits of loops that can match nothing
	bits      int    // bits in use, both kinds
	slots     int    // 2 * groups
	names     []string
	looks     int

	src []span // of instructions, only where a search is to be explained
}

type opcode uint8

const (
	opFail opcode = iota
	opMatch
	opNop
	opByte   // arg: the byte
	opString // str: bytes of the text
	opSet    // arg: index into sets
	opAny    // one character, any
	opAlt    // out first, then arg
	opStar   // greedy loop over sets[arg], then out
	opSave   // arg: slot
	opAssert // arg: assertKind
	opRef    // arg: group, fold
	opCond   // arg: else; bit: state bit
	opRound  // a round of a loop begins: clear bit
	opMoved  // bit set: out, else arg
	opLeave  // out of a loop: set bit
	opLook   // arg: body's start; look says the rest
)

type inst struct {
	op    opcode
	bit   uint8
	fold  foldKind
	mark  int32 // number among marked instructions, -1: none
	out   uint32
	arg   uint32
	str   string
	look  *lookInfo
	fork  *fork // opAlt, opStar: nil if the next byte rules nothing out
	keeps keeps // opStar
}

type lookInfo struct {
	id     int
	width  int // look-behind: characters back
	behind bool
	not    bool
	atomic bool
	saves  bool   // the body holds groups
	end    uint32 // its opMatch
	span   span
}

// charSet tests one character: a bitmap for ASCII, ranges for what is above, the first
// of which may begin below.
type charSet struct {
	ascii [2]uint64
	wide  runeSet
	line  bool // it has all characters but the newline
}

func newCharSet(s runeSet) charSet {
	var c charSet
	for i, r := range s {
		for x := r.lo; x <= r.hi && x < 0x80; x++ {
			c.ascii[x>>6] |= 1 << (uint(x) & 63)
		}
		if r.hi >= 0x80 && c.wide == nil {
			c.wide = s[i:] // the first may begin below
		}
	}
	c.line = c.ascii == [2]uint64{^uint64(1 << '\n'), ^uint64(0)} && c.wide.contains(invalidByte)
	next := rune(0x80) // the first that is not known to be there
	for _, r := range c.wide {
		if r.lo <= next {
			next = max(next, r.hi+1)
		}
	}
	c.line = c.line && next > utf8.MaxRune
	return c
}

// takes returns the length of the character at pos if it is in the set, else 0.
func (c *charSet) takes(in []byte, pos int) int {
	if pos >= len(in) {
		return 0
	}
	if b := in[pos]; b < 0x80 {
		return int(c.ascii[b>>6] >> (b & 63) & 1)
	}
	r, size := decode(in[pos:])
	if !c.wide.contains(r) {
		return 0
	}
	return size
}

// hasASCII reports whether b, which is ASCII, is in the set.
func (c *charSet) hasASCII(b byte) bool { return c.ascii[b>>6]&(1<<(b&63)) != 0 }

// maxInsts bounds a program: 100,000 instructions, 5 MB.
const maxInsts = 100_000

type setID struct {
	first *runeRange
	n     int
}

type compiler struct {
	prog     *program
	pattern  string
	setIndex map[setID]uint32
	depth    int // loops around us whose body can match nothing
	inLook   int
	groups   [][2]int
	plain    bool // every character an instruction of its own, with its span
	at       span // of the node at work
}

func compile(root *node, p *parser, plain bool) (prog *program, err error) {
	c := &compiler{
		prog:     &program{slots: 2 * len(p.groups)},
		pattern:  p.pattern,
		setIndex: map[setID]uint32{},
		groups:   p.groupWidths(),
		plain:    plain,
	}
	defer func() {
		if e, ok := recover().(*Error); ok {
			prog, err = nil, e
		}
	}()
	c.prog.names = make([]string, len(p.groups))
	for i, g := range p.groups {
		c.prog.names[i] = g.name
	}
	c.prog.condBitOf = make([]int8, len(p.groups))
	for i := range c.prog.condBitOf {
		c.prog.condBitOf[i] = -1
	}
	c.findConds(root)
	match := c.emit(inst{op: opMatch})
	end := c.emit(inst{op: opSave, arg: 1, out: match})
	c.prog.start = c.node(root, end)
	c.prog.bits = len(c.prog.condBits) + moveBits(c.prog.moved)
	c.assignMarks()
	if !plain {
		c.prog.findForks()
	}
	return c.prog, nil
}

func moveBits(m uint64) int {
	n := 0
	for ; m != 0; m &= m - 1 {
		n++
	}
	return n
}

func (c *compiler) fail(format string, args ...any) {
	panic(&Error{Pattern: c.pattern, Msg: fmt.Sprintf(format, args...), Pos: -1})
}

func (c *compiler) emit(i inst) uint32 {
	if len(c.prog.insts) >= maxInsts {
		c.fail("the pattern needs more than %d instructions: its repetitions multiply", maxInsts)
	}
	i.mark = -1
	c.prog.insts = append(c.prog.insts, i)
	if c.plain {
		c.prog.src = append(c.prog.src, c.at)
		c.at = span{}
	}
	return uint32(len(c.prog.insts) - 1)
}

// findConds gives a state bit to each group that a conditional asks about. They
// come first, so that the bits of loops lie above them.
func (c *compiler) findConds(n *node) {
	if n.kind == nodeCond && c.prog.condBitOf[n.group] < 0 {
		if len(c.prog.condBits) == 16 {
			c.fail("conditionals on more than 16 groups")
		}
		c.prog.condBitOf[n.group] = int8(len(c.prog.condBits))
		c.prog.condBits = append(c.prog.condBits, n.group)
	}
	for _, s := range n.subs {
		c.findConds(s)
	}
}

// node compiles n so that it goes on at next, and returns its entry.
func (c *compiler) node(n *node, next uint32) uint32 {
	switch n.kind {
	case nodeEmpty:
		return next
	case nodeSet:
		c.at = n.span
		return c.set(n.set, next)
	case nodeConcat:
		return c.concat(n.subs, next)
	case nodeAlt:
		entry := c.node(n.subs[len(n.subs)-1], next)
		for i := len(n.subs) - 2; i >= 0; i-- {
			first := c.node(n.subs[i], next)
			entry = c.emit(inst{op: opAlt, out: first, arg: entry})
		}
		return entry
	case nodeRepeat:
		return c.repeat(n, next)
	case nodeGroup:
		end := c.emit(inst{op: opSave, arg: uint32(2*n.group + 1), out: next})
		body := c.node(n.subs[0], end)
		return c.emit(inst{op: opSave, arg: uint32(2 * n.group), out: body})
	case nodeLook:
		return c.look(n.subs[0], &lookInfo{width: n.width, behind: n.behind, not: n.not, span: n.span}, next)
	case nodeAtomic:
		return c.look(n.subs[0], &lookInfo{atomic: true}, next)
	case nodeRef:
		c.prog.refs = true
		if !slices.Contains(c.prog.refGroups, n.group) {
			c.prog.refGroups = append(c.prog.refGroups, n.group)
		}
		c.at = n.span
		return c.emit(inst{op: opRef, arg: uint32(n.group), fold: n.fold, out: next})
	case nodeCond:
		yes := c.node(n.subs[0], next)
		no := next
		if len(n.subs) == 2 {
			no = c.node(n.subs[1], next)
		}
		return c.emit(inst{op: opCond, bit: uint8(c.prog.condBitOf[n.group]), out: yes, arg: no})
	default:
		c.at = n.span
		return c.emit(inst{op: opAssert, arg: uint32(n.at), out: next})
	}
}

// concat compiles from the back; runs of single characters become one string.
func (c *compiler) concat(subs []*node, next uint32) uint32 {
	for i := len(subs) - 1; i >= 0; i-- {
		j := i
		var str []byte
		for j >= 0 {
			r, ok := subs[j].single()
			if !ok || c.plain {
				break
			}
			str = append(utf8.AppendRune(nil, r), str...)
			j--
		}
		if i-j >= 2 {
			next = c.emit(inst{op: opString, str: string(str), out: next})
			i = j + 1
			continue
		}
		next = c.node(subs[i], next)
	}
	return next
}

// single returns the only character that n takes, if it is one that text can hold.
func (n *node) single() (rune, bool) {
	if n.kind != nodeSet || len(n.set) != 1 || n.set[0].lo != n.set[0].hi {
		return 0, false
	}
	r := n.set[0].lo
	return r, utf8.ValidRune(r)
}

func (c *compiler) set(s runeSet, next uint32) uint32 {
	if len(s) == 0 {
		return c.emit(inst{op: opFail})
	}
	if len(s) == 1 && s[0].lo == s[0].hi && s[0].lo < 0x80 {
		return c.emit(inst{op: opByte, arg: uint32(s[0].lo), out: next})
	}
	if len(s) == 1 && s[0].lo == 0 && s[0].hi == invalidByte {
		return c.emit(inst{op: opAny, out: next})
	}
	return c.emit(inst{op: opSet, arg: c.charSet(s), out: next})
}

func (c *compiler) charSet(s runeSet) uint32 {
	key := setID{&s[0], len(s)} // most sets are one of the shared categories
	if i, ok := c.setIndex[key]; ok {
		return i
	}
	i := uint32(len(c.prog.sets))
	c.prog.sets = append(c.prog.sets, newCharSet(s))
	c.setIndex[key] = i
	return i
}

func (c *compiler) look(body *node, info *lookInfo, next uint32) uint32 {
	info.id = c.prog.looks
	c.prog.looks++
	info.saves = body.hasGroups()
	depth := c.depth
	c.depth = 0 // the body starts with a state of its own
	c.inLook++
	end := c.emit(inst{op: opMatch})
	start := c.node(body, end)
	c.inLook--
	c.depth = depth
	info.end, c.at = end, info.span
	return c.emit(inst{op: opLook, arg: start, out: next, look: info})
}

func (n *node) hasGroups() bool {
	if n.kind == nodeGroup {
		return true
	}
	for _, s := range n.subs {
		if s.hasGroups() {
			return true
		}
	}
	return false
}

// repeat spells a repetition out: the rounds that must be, then those that may.
func (c *compiler) repeat(n *node, next uint32) uint32 {
	body, lo, hi := n.subs[0], n.min, n.max
	if n.mode == possessive {
		// Python makes each round of a possessive repetition atomic, which shows
		// where there is a least number of rounds.
		round := &node{kind: nodeAtomic, subs: []*node{body}}
		if body.kind == nodeSet {
			round = body
		}
		inner := &node{kind: nodeRepeat, min: lo, max: hi, mode: greedy, subs: []*node{round}}
		return c.look(inner, &lookInfo{atomic: true}, next)
	}
	if hi == 0 {
		return next
	}
	least, _ := body.widths(c.groups)
	nullable := least == 0
	if body.kind == nodeEmpty {
		return next
	}
	if lo > maxInsts || (hi != unlimited && hi > maxInsts) {
		size := lo
		if hi != unlimited {
			size = hi
		}
		c.fail("a repetition of %d rounds needs more than %d instructions", size, maxInsts)
	}
	entry := next
	switch {
	case hi == unlimited:
		entry = c.loop(body, n.mode, nullable, next)
	case hi > lo:
		entry = c.optional(body, n.mode, nullable, hi-lo, next)
	}
	for range lo {
		entry = c.node(body, entry)
	}
	return entry
}

// enterLoop reserves the state bit of a loop whose body can match nothing.
// Loops side by side share a bit, since it is set outside of its loop.
func (c *compiler) enterLoop() uint8 {
	bit := len(c.prog.condBits) + c.depth
	if bit >= 60 {
		c.fail("loops that can match nothing nested more than %d deep", 60-len(c.prog.condBits))
	}
	c.depth++
	c.prog.moved |= 1 << bit
	return uint8(bit)
}

func (c *compiler) loop(body *node, mode repeatMode, nullable bool, next uint32) uint32 {
	if body.kind == nodeSet && mode == greedy && c.inLook == 0 && len(body.set) > 0 {
		return c.emit(inst{op: opStar, arg: c.charSet(body.set), out: next})
	}
	alt := c.emit(inst{op: opAlt})
	if !nullable {
		c.setAlt(alt, mode, c.node(body, alt), next)
		return alt
	}
	bit := c.enterLoop()
	leave := c.emit(inst{op: opLeave, bit: bit, out: next})
	test := c.emit(inst{op: opMoved, bit: bit, out: alt, arg: leave})
	round := c.emit(inst{op: opRound, bit: bit, out: c.node(body, test)})
	c.depth--
	c.setAlt(alt, mode, round, leave)
	return alt
}

// optional compiles up to n rounds, each inside the one before.
func (c *compiler) optional(body *node, mode repeatMode, nullable bool, n int, next uint32) uint32 {
	if !nullable {
		entry := next
		for range n {
			alt := c.emit(inst{op: opAlt})
			c.setAlt(alt, mode, c.node(body, entry), next)
			entry = alt
		}
		return entry
	}
	bit := c.enterLoop()
	leave := c.emit(inst{op: opLeave, bit: bit, out: next})
	entry := leave
	for range n {
		after := c.emit(inst{op: opMoved, bit: bit, out: entry, arg: leave})
		round := c.emit(inst{op: opRound, bit: bit, out: c.node(body, after)})
		alt := c.emit(inst{op: opAlt})
		c.setAlt(alt, mode, round, leave)
		entry = alt
	}
	c.depth--
	return entry
}

func (c *compiler) setAlt(alt uint32, mode repeatMode, body, exit uint32) {
	in := &c.prog.insts[alt]
	if mode == lazy {
		in.out, in.arg = exit, body
	} else {
		in.out, in.arg = body, exit
	}
}

// assignMarks numbers the instructions that the matcher has to remember: those
// that can be reached in more than one way. The others are visited no more
// often than the one before them. What can still reach a back reference is left
// out, since its future depends on what was captured.
func (c *compiler) assignMarks() {
	p := c.prog
	n := len(p.insts)
	ways := make([]int, n)
	forget := make([]bool, n)
	ways[p.start]++ // every start of the search comes there
	for i := range p.insts {
		in := &p.insts[i]
		for _, to := range in.next() {
			ways[to]++
		}
		if in.op == opLook {
			ways[in.arg] += 2 // its body is entered from anywhere
		}
		forget[i] = in.op == opRef
	}
	for changed := p.refs; changed; {
		changed = false
		for i := range p.insts {
			if forget[i] {
				continue
			}
			in := &p.insts[i]
			for _, to := range in.next() {
				forget[i] = forget[i] || forget[to]
			}
			if in.op == opLook {
				forget[i] = forget[i] || forget[in.arg]
			}
			changed = changed || forget[i]
		}
	}
	for i := range p.insts {
		in := &p.insts[i]
		if !forget[i] && in.op != opFail && (ways[i] > 1 && in.op != opMatch || in.op == opStar) {
			in.mark = int32(p.marks)
			p.marks++
		}
	}
}

// next returns the instructions that can follow in.
func (in *inst) next() []uint32 {
	switch in.op {
	case opFail, opMatch:
		return nil
	case opAlt, opCond, opMoved:
		return []uint32{in.out, in.arg}
	}
	return []uint32{in.out}
}
