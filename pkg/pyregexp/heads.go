package pyregexp

import "encoding/binary"

// What texts begin with is mostly the same few things: lines with the host's name
// and that of one of some programs, what they tell with "Accepted" or "Received". A
// DFA that remembers where eight bytes lead to takes one look-up in place of eight,
// each of which would have to wait for the one before it.

const (
	headSize  = 8
	headsDeep = 4 // so many times eight bytes
	headsSize = 1 << headsBits
	headsBits = 7
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
	return (text ^ uint64(from)<<32) * 0x9E3779B97F4A7C15 >> (64 - headsBits)
}

// heads are those of a DFA, from the beginning of a line on, which is mostly where
// lines are turned away.
type heads struct {
	table [headsSize]head
	pace  headsPace
}

// head is where eight bytes lead to, from a state times stride. A state that is done
// is as in dfaCache.trans.
type head struct {
	text uint64
	from uint32
	to   int32 // 0: nothing is remembered
}

// forget is for when states get new numbers.
func (h *heads) forget() { *h = heads{} }

// pass takes a line from its beginning as far as it can, and returns how far, and the
// state times stride there, or the state that is done as in dfaCache.trans.
func (h *heads) pass(d *dfa, c *dfaCache, line []byte, start uint32) (i int, at int32) {
	at = int32(start)
	for deep := range headsDeep {
		if !h.pace.tries(deep) || len(line)-i < headSize {
			break
		}
		text := binary.LittleEndian.Uint64(line[i:])
		x := &h.table[headAt(text, uint32(at))]
		if x.text != text || x.from != uint32(at) || x.to == 0 {
			h.pace.miss(deep)
			if to := d.eight(c, line[i:i+headSize], at); to != 0 && to != unknown {
				*x = head{text, uint32(at), to}
			}
			break
		}
		h.pace.hit(deep)
		if at = x.to; at < unknown {
			break
		}
		i += headSize
	}
	return i, at
}

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
