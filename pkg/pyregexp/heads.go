package pyregexp

import (
	"encoding/binary"
	"math/bits"
)

// What texts begin with is mostly the same few things: lines with the host's name
// and that of one of some programs, what they tell with "Accepted" or "Received". A
// DFA that remembers where eight bytes lead to takes one look-up in place of eight,
// each of which would have to wait for the one before it.

const (
	headSize  = 8
	headsDeep = 4 // so many times eight bytes
	headsSize = 1 << headsBits
	headsBits = 7
	// A DFA has more of them, for few texts of a log must not drive each other out.
	dfaHeadsBits = 9
	// A miss costs about as much as four hits are worth; after that many more misses
	// than that, they are left alone for a while.
	headMiss = 4
	headMost = 200
	headLow  = -100
	headRest = -5000
)

// headsPace says how well it goes with the first eight bytes, the next, and so on;
// below headLow they are left alone for so many texts as it is below.
type headsPace [headsDeep]int

// tries reports whether to look at so many times eight bytes.
func (p *headsPace) tries(deep int) bool {
	if p[deep] >= headLow {
		return true
	}
	if p[deep]++; p[deep] == headLow {
		p[deep] = 0
	}
	return false
}

func (p *headsPace) hit(deep int) { p[deep] = min(p[deep]+1, headMost) }

func (p *headsPace) miss(deep int) {
	if p[deep] -= headMiss; p[deep] < headLow {
		p[deep] = headRest
	}
}

// headAt is where in a table eight bytes are looked for.
func headAt(text uint64, from uint32) uint64 {
	return hashOf(text, from) >> (64 - headsBits)
}

func hashOf(text uint64, from uint32) uint64 {
	return (text ^ uint64(from)<<32) * 0x9E3779B97F4A7C15
}

// heads are those of a DFA, from the beginning of a line on, which is mostly where
// lines are turned away.
type heads struct {
	table    *[2 << dfaHeadsBits]head // two for each place: the last, and the one before; nil: none yet
	pace     headsPace
	number   headsPace // of what comes behind a number
	openings *Openings // nil: none yet
}

// head is where eight bytes lead to, from a state times stride. A state that is done
// is as in dfaCache.trans.
type head struct {
	text uint64
	from uint32
	to   int32 // 0: nothing is remembered
}

// forget is for when states get new numbers.
func (h *heads) forget() { *h = heads{openings: h.openings} }

// look says where eight bytes lead to from a state; 0, if that is not remembered. Then, it is
// from now on, if it is known.
func (h *heads) look(d *dfa, c *dfaCache, line []byte, at int32, p *headsPace, deep int) (to int32) {
	text := binary.LittleEndian.Uint64(line)
	n := hashOf(text, uint32(at)) >> (64 - dfaHeadsBits) << 1
	x, y := &h.table[n&(2<<dfaHeadsBits-1)], &h.table[(n|1)&(2<<dfaHeadsBits-1)]
	switch {
	case x.text == text && x.from == uint32(at) && x.to != 0:
		to = x.to
	case y.text == text && y.from == uint32(at) && y.to != 0:
		to = y.to
	default:
		p.miss(deep)
		if to := d.eight(c, line[:headSize], at); to != 0 && to != unknown {
			*x, *y = head{text, uint32(at), to}, *x
		}
		return 0
	}
	p.hit(deep)
	return to
}

// pass takes a line from its beginning as far as it can, and returns how far, and the
// state times stride there, or the state that is done as in dfaCache.trans.
func (h *heads) pass(d *dfa, c *dfaCache, line []byte, start uint32) (i int, at int32) {
	if h.table == nil {
		h.table = new([2 << dfaHeadsBits]head)
	}
	at = int32(start)
	for deep := range headsDeep {
		if len(line)-i < headSize {
			break
		}
		if deep > 0 && h.number.tries(0) && hasDigit(binary.LittleEndian.Uint64(line[i:])) {
			return h.behindNumber(d, c, line, i, at)
		}
		if !h.pace.tries(deep) {
			break
		}
		to := h.look(d, c, line[i:], at, &h.pace, deep)
		if to == 0 {
			break
		}
		if at = to; at < unknown {
			break
		}
		i += headSize
	}
	return i, at
}

// behindNumber takes a line further from a place on, at which a number comes soon, like that
// of a process: its digits all lead to the same state, and behind it texts are the same few
// again.
func (h *heads) behindNumber(d *dfa, c *dfaCache, line []byte, i int, at int32) (int, int32) {
	for i < len(line) {
		b := line[i]
		next := c.trans[uint32(at)+uint32(d.class[b])]
		if next < unknown {
			return i, next
		}
		if next == unknown {
			return i, at
		}
		at = next
		i++
		if b-'0' <= 9 {
			break
		}
	}
	if !c.stays(d, at) {
		h.number.miss(0)
		return i, at
	}
	i, _ = pastDigits(line, i)
	for deep := range headsDeep {
		if len(line)-i < headSize || deep > 0 && !h.number.tries(deep) {
			break
		}
		to := h.look(d, c, line[i:], at, &h.number, deep)
		if to == 0 {
			break
		}
		if at = to; at < unknown {
			break
		}
		i += headSize
	}
	return i, at
}

// hasDigit reports whether there is a digit among eight bytes of ASCII.
func hasDigit(text uint64) bool { return noDigits(text) != 0x80*each }

// noDigits has the highest bit of each byte that is no digit, up to the first that is not ASCII.
func noDigits(text uint64) uint64 {
	x := text ^ '0'*each
	return ((x + (0x80-10)*each) | x) & (0x80 * each)
}

const each = 0x0101010101010101

// digits is how many digits there are at the begin of eight bytes.
func digits(text uint64) int { return bits.TrailingZeros64(noDigits(text)) / 8 }

// stays reports whether all digits lead from a state to itself.
func (c *dfaCache) stays(d *dfa, at int32) bool {
	s := uint32(at) / uint32(d.stride)
	for len(c.digits) <= int(s) {
		c.digits = append(c.digits, 0)
	}
	if c.digits[s] == 0 {
		c.digits[s] = staysNot
		for b := byte('0'); b <= '9'; b++ {
			switch next := c.trans[uint32(at)+uint32(d.class[b])]; next {
			case at:
			case unknown: // it is known later
				c.digits[s] = 0
				return false
			default:
				return false
			}
		}
		c.digits[s] = staysThere
	}
	return c.digits[s] == staysThere
}

const (
	staysNot = iota + 1
	staysThere
)

// eight is where some bytes lead to, if all transitions are known; else unknown.
func (d *dfa) eight(c *dfaCache, text []byte, at int32) int32 {
	for _, b := range text {
		if at = c.trans[uint32(at)+uint32(d.class[b])]; at < 0 {
			return at
		}
	}
	return at
}

// taggedHeads are those of a tagged DFA, whose transitions may have written to
// registers.
type taggedHeads struct {
	table [headsSize]taggedHead
	pace  headsPace
}

type taggedHead struct {
	text   uint64
	from   uint32
	to     uint32
	known  bool
	n      uint8
	writes [headWrites]headWrite
}

const headWrites = 6

// headWrite is a register, and what is written to it: how far from where the eight
// bytes begin.
type headWrite struct{ register, at uint8 }

// pass takes a text from its beginning as far as it can, and returns how far, and the
// state times stride there.
func (h *taggedHeads) pass(c *taggedCache, in []byte) (i int, at uint32) {
	for deep := range headsDeep {
		if !h.pace.tries(deep) || len(in)-i < headSize {
			break
		}
		text := binary.LittleEndian.Uint64(in[i:])
		x := &h.table[headAt(text, at)]
		if x.text != text || x.from != at || !x.known {
			h.pace.miss(deep)
			x.learn(c, in[i:i+headSize], at)
			break
		}
		h.pace.hit(deep)
		for _, w := range x.writes[:x.n] {
			c.regs[w.register&nobody] = i + int(w.at) // & says that it is in range
		}
		at = x.to
		i += headSize
	}
	return i, at
}

// learn remembers where some bytes lead to, if all transitions are known and do no
// more than to write a little.
func (x *taggedHead) learn(c *taggedCache, text []byte, from uint32) {
	to := taggedHead{text: binary.LittleEndian.Uint64(text), from: from, known: true}
	at := from
	for i, b := range text {
		e := c.trans[at+uint32(c.t.class[b])]
		if e < 0 {
			return
		}
		if register := uint8(e >> writeShift); register != nobody {
			if to.n == headWrites {
				return
			}
			to.writes[to.n] = headWrite{register, uint8(i)}
			to.n++
		}
		at = uint32(e & (1<<writeShift - 1))
	}
	to.to = at
	*x = to
}
