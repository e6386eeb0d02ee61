package pyregexp

import "encoding/binary"

// heads remembers where the DFA is after eight bytes. The lines of a log begin alike:
// with the host's name and that of one of a few programs, which is mostly where a
// line is turned away. What was seen before takes one look-up in place of eight,
// each of which would have to wait for the one before it.
type heads struct {
	table [headsSize]head
	// How well it goes with the first eight bytes, the next, and so on; below 0 they
	// are left to the DFA for so many lines.
	score [headsDeep]int
}

// head is where eight bytes lead to, from a state times stride. A state that is done
// is as in dfaCache.trans.
type head struct {
	text uint64
	from uint32
	to   int32
}

const (
	headsSize = 256
	headsDeep = 4
	headSize  = 8
	// A miss costs about as much as four hits are worth.
	headMiss = 4
	headMost = 200
	headRest = -5000
)

// forget is for when states get new numbers.
func (h *heads) forget() { *h = heads{} }

// pass takes a line from its beginning as far as it can, and returns how far, and the
// state times stride there, or the state that is done as in dfaCache.trans.
func (h *heads) pass(d *dfa, c *dfaCache, line []byte, start uint32) (i int, at int32) {
	at = int32(start)
	for deep := range h.score {
		score := &h.score[deep]
		if *score < 0 {
			*score++
			break
		}
		if len(line)-i < headSize {
			break
		}
		text := binary.LittleEndian.Uint64(line[i:])
		x := &h.table[(text^uint64(at)<<32)*0x9E3779B97F4A7C15>>56]
		if x.text != text || x.from != uint32(at) || x.to == 0 {
			if *score -= headMiss; *score < 0 {
				*score = headRest
			}
			if to := d.eight(c, line[i:i+headSize], at); to != 0 && to != unknown {
				*x = head{text, uint32(at), to}
			}
			break
		}
		if *score < headMost {
			*score++
		}
		if at = x.to; at < unknown {
			break
		}
		i += headSize
	}
	return i, at
}

// eight is where some bytes lead to, if all transitions are known; else unknown. 0
// stands for nothing that can be remembered.
func (d *dfa) eight(c *dfaCache, text []byte, at int32) int32 {
	for _, b := range text {
		if at = c.trans[uint32(at)+uint32(d.class[b])]; at < 0 {
			return at
		}
	}
	return at
}
