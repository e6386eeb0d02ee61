package pyregexp

import (
	"bytes"
	"math/bits"
	"slices"
)

// The table of a tagged DFA, and a text on its way through it.

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
	heads  taggedHeads
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
	c.bytes, c.full, c.heads = 0, false, taggedHeads{}
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
	i, at := c.heads.pass(c, in)
	steps := lookSteps + lookStepsPerByte*len(in)
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
				yes, known := t.answer(t.asked[q], in, i, &steps)
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
