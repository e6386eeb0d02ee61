package pyregexp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The matcher searches depth first in Python's order, on a stack of its own,
// and remembers every (instruction, state, position) that it entered. Such a
// triple never needs a second visit: either it failed, or it is being tried
// higher up the stack with a better priority, so the first success found is the
// one that Python finds. The idea is that of Go's regexp/backtrack.go; here it
// also carries look-around, atomic groups and conditionals.
//
// A look-around is a search of its own from one position. When it fails, what
// it visited is known to fail. When it succeeds, the path of the success must
// not be taken for failure by the next one that comes this way: for the first
// few evaluations the marks of that path are taken back, later the path is
// remembered with its outcome, so that the whole stays linear.

// BudgetError says that a search was given up: only a pattern with back
// references can need more steps than a multiple of the text's length.
type BudgetError struct {
	Pattern string
	Steps   int // taken
	Length  int // of the text, in bytes
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("search with back references given up after %d steps on a text of %d bytes: %q", e.Steps, e.Length, e.Pattern)
}

// stepBudget is what a search with back references may cost: some 50 ms.
const (
	stepBudget        = 2_000_000
	stepBudgetPerByte = 200
)

// rememberAfter is the number of steps after which a search with back references
// begins to remember, together with what the referenced groups hold.
const rememberAfter = 20_000

type frameKind uint8

const (
	frameAlt     frameKind = iota // go on at pc, pos
	frameRestore                  // caps[pc] = pos
	frameStar                     // give back one character of the star at pc, down to low
)

// Positions are 32 bits wide here: frames are what the matcher moves most.
type frame struct {
	kind  frameKind
	pc    uint32
	trail int32
	pos   int32
	low   int32
	st    uint64
}

// A machine is the scratch memory of one search.
type machine struct {
	prog  *program
	in    []byte
	caps  []int
	stack []frame

	visited []uint64 // bitmap over marks × states × positions
	pages   map[uint64]*[64]uint64
	span    uint64 // positions: len(in)+1
	paged   bool

	depth   int      // look-arounds around us
	trail   []uint64 // remembered triples on the present path, inside look-arounds
	trials  []int32
	known   map[uint64]success
	records []record

	steps  int                 // instructions carried out
	budget int                 // of a search with back references
	seen   map[string]struct{} // triples with the spans of referenced groups
	buf    []byte
	visits int // triples remembered by this search
	trace  *trace

	free bool // nothing is remembered, up to freeSteps
	over bool // they are used up: what was found out counts for nothing
}

// Most searches are over before remembering pays. So the first try remembers
// nothing, and is given up after freeSteps and freePerByte for each byte of the
// text; then the search begins anew, with marks. It stays linear.
const (
	freeSteps   = 100
	freePerByte = 4
	// charsPerStep is how many characters of a run count as one step.
	charsPerStep = 4
)

// maxBitmap is the size in bits up to which the marks are one flat bitmap.
const maxBitmap = 1 << 27

// captures empties the captures.
func (m *machine) captures(p *program) {
	if cap(m.caps) < p.slots {
		m.caps = make([]int, p.slots)
	}
	m.caps = m.caps[:p.slots]
	for i := range m.caps {
		m.caps[i] = -1
	}
}

func (m *machine) reset(p *program, in []byte) {
	m.prog, m.in = p, in
	m.captures(p)
	m.stack, m.trail = m.stack[:0], m.trail[:0]
	m.depth, m.steps, m.visits = 0, 0, 0
	m.budget = stepBudget + stepBudgetPerByte*len(in)
	m.seen = nil
	if p.looks > 0 {
		if cap(m.trials) < p.looks {
			m.trials = make([]int32, p.looks)
		}
		m.trials = m.trials[:p.looks]
		clear(m.trials)
		if len(m.known) > 0 {
			clear(m.known)
		}
		m.records = m.records[:0]
	}
	m.over = false
	if m.free {
		return
	}
	m.span = uint64(len(in) + 1)
	m.paged = p.bits > 20 || uint64(p.marks)<<p.bits > maxBitmap/m.span
	if m.paged {
		m.pages = map[uint64]*[64]uint64{}
		return
	}
	words := int((uint64(p.marks)<<p.bits*m.span + 63) / 64)
	if cap(m.visited) < words {
		m.visited = make([]uint64, words)
		return
	}
	m.visited = m.visited[:words]
	clear(m.visited)
}

func (m *machine) key(mark int32, st uint64, pos int) uint64 {
	return (uint64(mark)<<m.prog.bits|st)*m.span + uint64(pos)
}

// visit remembers a triple; it returns false if that was known already.
func (m *machine) visit(key uint64) bool {
	word := &m.page(key)[key>>6&m.mask()]
	bit := uint64(1) << (key & 63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	m.visits++
	return true
}

func (m *machine) mask() uint64 {
	if m.paged {
		return 63
	}
	return ^uint64(0)
}

func (m *machine) page(key uint64) []uint64 {
	if !m.paged {
		return m.visited
	}
	p := m.pages[key>>12]
	if p == nil {
		p = new([64]uint64)
		m.pages[key>>12] = p
	}
	return p[:]
}

func (m *machine) forget(key uint64) {
	m.page(key)[key>>6&m.mask()] &^= 1 << (key & 63)
}

func (m *machine) push(f frame) {
	f.trail = int32(len(m.trail))
	m.stack = append(m.stack, f)
}

// seenWithGroups does for instructions that can still reach a back reference
// what the marks do for the others: the spans of all groups that are referred
// to become part of what is remembered. It is slow, so it is for searches that
// have got out of hand.
func (m *machine) seenWithGroups(pc uint32, pos int, st uint64) bool {
	if op := m.prog.insts[pc].op; op != opAlt && op != opStar && op != opRef {
		return false // each way round a loop passes one of these
	}
	if m.seen == nil {
		m.seen = map[string]struct{}{}
	}
	b := binary.AppendUvarint(m.buf[:0], uint64(pc))
	b = binary.AppendUvarint(b, uint64(pos))
	b = binary.AppendUvarint(b, st)
	for _, g := range m.prog.refGroups {
		b = binary.AppendVarint(b, int64(m.caps[2*g]))
		b = binary.AppendVarint(b, int64(m.caps[2*g+1]))
	}
	m.buf = b
	if _, ok := m.seen[string(b)]; ok {
		return true
	}
	m.seen[string(b)] = struct{}{}
	return false
}

// setCap sets a slot and leaves the way back on the stack. It returns the state
// with the bit of a group that conditionals ask about.
func (m *machine) setCap(slot uint32, pos int, st uint64) uint64 {
	m.push(frame{kind: frameRestore, pc: slot, pos: int32(m.caps[slot])})
	m.caps[slot] = pos
	return m.condState(int(slot>>1), st)
}

func (m *machine) condState(group int, st uint64) uint64 {
	bit := m.prog.condBitOf[group]
	if bit < 0 {
		return st
	}
	start, end := m.caps[2*group], m.caps[2*group+1]
	if start >= 0 && end >= start {
		return st | 1<<bit
	}
	return st &^ (1 << bit)
}

// run searches from one instruction at one position. It returns the end of the
// match; the frames of the way there stay on the stack. On failure the stack
// and the captures are as they were.
func (m *machine) run(pc uint32, pos int, st uint64) (int, bool) {
	base := len(m.stack)
	insts, in := m.prog.insts, m.in
	moved := m.prog.moved
	for {
		i := &insts[pc]
		if m.free {
			if m.steps > freeSteps+freePerByte*len(in) {
				m.over = true
				return 0, false
			}
		} else if i.mark >= 0 && i.op != opStar {
			key := m.key(i.mark, st, pos)
			if !m.visit(key) {
				if m.depth > 0 && len(m.known) > 0 {
					if s, ok := m.known[key]; ok {
						return m.recall(s), true
					}
				}
				goto back
			}
			if m.depth > 0 {
				m.trail = append(m.trail, key)
			}
		}
		m.steps++
		if m.prog.refs {
			if m.steps > m.budget {
				panic(&BudgetError{Steps: m.steps, Length: len(in)})
			}
			if m.steps > rememberAfter && i.mark < 0 && m.depth == 0 && m.seenWithGroups(pc, pos, st) {
				goto back
			}
		}
		switch i.op {
		case opMatch:
			return pos, true
		case opFail:
			goto fail
		case opByte:
			if pos >= len(in) || in[pos] != byte(i.arg) {
				goto fail
			}
			pos++
			st |= moved
		case opString:
			if len(in)-pos < len(i.str) || string(in[pos:pos+len(i.str)]) != i.str {
				goto fail
			}
			pos += len(i.str)
			st |= moved
		case opSet:
			if pos >= len(in) {
				goto fail
			}
			set := &m.prog.sets[i.arg]
			if c := in[pos]; c < 0x80 {
				if set.ascii[c>>6]&(1<<(c&63)) == 0 {
					goto fail
				}
				pos++
			} else {
				r, size := decode(in[pos:])
				if !set.wide.contains(r) {
					goto fail
				}
				pos += size
			}
			st |= moved
		case opAny:
			if pos >= len(in) {
				goto fail
			}
			_, size := decode(in[pos:])
			pos += size
			st |= moved
		case opAlt:
			if f := i.fork; f != nil {
				if !f.arg.at(in, pos) {
					if !f.out.at(in, pos) {
						goto fail
					}
					break
				}
				if !f.out.at(in, pos) {
					pc = i.arg
					continue
				}
			}
			m.push(frame{kind: frameAlt, pc: i.arg, pos: int32(pos), st: st})
		case opStar:
			end := m.star(i, pos, st)
			if end < 0 {
				goto fail
			}
			if end > pos {
				if i.keeps == keepsNothing || !i.keeps.of(in[pos:end]) {
					m.push(frame{kind: frameStar, pc: pc, pos: int32(end), low: int32(pos), st: st})
				}
				pos = end
				st |= moved
			}
			if i.fork != nil && !i.fork.out.at(in, pos) {
				goto fail
			}
		case opSave:
			if m.prog.refs || len(m.prog.condBits) > 0 || i.arg != 1 && (len(m.stack) > 0 || m.depth > 0) {
				st = m.setCap(i.arg, pos, st)
			} else { // there is no way back on which it would have to be put right
				m.caps[i.arg] = pos
			}
		case opAssert:
			if !holds(assertKind(i.arg), in, pos) {
				goto fail
			}
		case opRef:
			end := m.reference(i, pos)
			if end < 0 {
				goto fail
			}
			if end > pos {
				st |= moved
			}
			pos = end
		case opCond:
			if st&(1<<i.bit) == 0 {
				pc = i.arg
				continue
			}
		case opRound:
			st &^= 1 << i.bit
		case opMoved:
			if st&(1<<i.bit) == 0 {
				pc = i.arg
				continue
			}
		case opLeave:
			st |= 1 << i.bit
		case opLook:
			end, ok := m.look(i, pos, st)
			if !ok {
				goto fail
			}
			if i.look.saves && !i.look.not {
				for _, g := range m.prog.condBits {
					st = m.condState(g, st)
				}
			}
			if end > pos {
				st |= moved
			}
			pos = end
		}
		pc = i.out
		continue

	fail:
		if m.trace != nil {
			m.trace.failed(pc, pos, m.caps[0])
		}
	back:
		for {
			if len(m.stack) == base {
				return 0, false
			}
			f := &m.stack[len(m.stack)-1]
			if f.kind == frameRestore {
				m.caps[f.pc] = int(f.pos)
				m.stack = m.stack[:len(m.stack)-1]
				continue
			}
			if m.depth > 0 {
				m.trail = m.trail[:f.trail]
			}
			if f.kind == frameAlt {
				pc, pos, st = f.pc, int(f.pos), f.st
				m.stack = m.stack[:len(m.stack)-1]
				break
			}
			star, low := &insts[f.pc], int(f.low)
			pos = int(f.pos)
			from := pos
			for {
				pos -= lastSize(in[low:pos])
				if pos == low || star.fork == nil || star.fork.out.at(in, pos) {
					break
				}
			}
			m.steps += (from - pos) / charsPerStep
			pc, st = star.out, f.st
			if pos > low {
				f.pos = int32(pos)
				st |= moved
				break
			}
			m.stack = m.stack[:len(m.stack)-1]
			if star.fork != nil && !star.fork.out.at(in, pos) {
				continue
			}
			break
		}
	}
}

// star takes as many characters as it may, but none that it took before: what
// comes after those is known to fail. It returns the end, or -1 if even pos was
// seen already.
func (m *machine) star(i *inst, pos int, st uint64) int {
	set := &m.prog.sets[i.arg]
	if i.mark < 0 || m.free {
		end := set.run(m.in, pos)
		m.steps += (end - pos) / charsPerStep
		return end
	}
	if !m.visit(m.key(i.mark, st, pos)) {
		return -1
	}
	st |= m.prog.moved
	in := m.in
	for pos < len(in) {
		size := 1
		if c := in[pos]; c < 0x80 {
			if set.ascii[c>>6]&(1<<(c&63)) == 0 {
				break
			}
		} else {
			var r rune
			if r, size = decode(in[pos:]); !set.wide.contains(r) {
				break
			}
		}
		if !m.visit(m.key(i.mark, st, pos+size)) {
			break
		}
		pos += size
	}
	return pos
}

// run returns the end of the characters of the set that stand at pos.
func (c *charSet) run(in []byte, pos int) int {
	if c.line {
		if i := bytes.IndexByte(in[pos:], '\n'); i >= 0 {
			return pos + i
		}
		return len(in)
	}
	for pos < len(in) {
		b := in[pos]
		if b < 0x80 {
			if c.ascii[b>>6]&(1<<(b&63)) == 0 {
				break
			}
			pos++
			continue
		}
		r, size := decode(in[pos:])
		if !c.wide.contains(r) {
			break
		}
		pos += size
	}
	return pos
}

// reference returns the end of the text at pos that repeats a group, or -1.
func (m *machine) reference(i *inst, pos int) int {
	start, end := m.caps[2*i.arg], m.caps[2*i.arg+1]
	if start < 0 || end < start {
		return -1
	}
	group, rest := m.in[start:end], m.in[pos:]
	if i.fold == foldNone {
		if len(rest) < len(group) || string(rest[:len(group)]) != string(group) {
			return -1
		}
		return pos + len(group)
	}
	n := 0
	for len(group) > 0 {
		if n >= len(rest) {
			return -1
		}
		a, sizeA := decode(group)
		b, sizeB := decode(rest[n:])
		if a == invalidByte && b == invalidByte && group[0] != rest[n] {
			return -1
		}
		if toLower(a, i.fold == foldASCII) != toLower(b, i.fold == foldASCII) {
			return -1
		}
		group, n = group[sizeA:], n+sizeB
	}
	return pos + n
}
