package pyregexp

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

// The lazy DFA runs the over-approximation of one or several patterns, one table
// look-up a byte, and says which of them may match. Its states are sets of
// places in the automaton, made when a text first leads to them and kept in a
// table of bounded size, which is thrown away when it is full (the idea is that
// of RE2). A search that fills the table too fast is given up: then all patterns
// may match, and the matcher has the word.
//
// A state carries the members that have accepted already; their places are
// dropped from it, since nothing more is asked of them.
type dfa struct {
	insts   []approxInst
	entries []uint32
	members int
	words   int // of a member mask

	class   [256]uint8 // bytes that no part of the automaton tells apart
	bytes   []byte     // by class: one of its bytes
	stride  int        // classes and the end of the text
	newline int        // its class

	first     []uint32 // places at the start of the text
	firstMask []uint64
	again     []uint32 // places at which a match may begin further on
	againMask []uint64
	minor     []uint64 // as Set.Minor was told; nil: none

	mu    sync.Mutex
	spare []*dfaCache // of searches that have ended
}

const (
	// maxDFA bounds the table of one cache, in bytes.
	maxDFA = 4 << 20
	// dfaPatience is the number of bytes that a table must last for each of its
	// states; a search that wears two tables out faster is given up.
	dfaPatience = 10
)

// dfaCache is a table with its states; one search at a time uses it.
type dfaCache struct {
	trans  []int32 // state*stride + class: the next state times stride; unknown; or doneAt
	states []dfaState
	index  map[string]int32
	bytes  int
	start  int32
	heads  heads
	digits []uint8 // by state: whether digits lead to itself, if that is known

	mark  []uint32 // by inst: generation in which it was added
	gen   uint32
	stack []uint32
	next  []uint32
	mask  []uint64
	live  []uint64
	key   []byte
}

type dfaState struct {
	places []uint32
	mask   []uint64 // members that have accepted
	any    bool     // some have
	done   bool     // nothing more can come: no places, and no new starts
}

const unknown = -1

// doneAt stands for a transition to a state that is done; it is its own inverse.
func doneAt(s int32) int32 { return -2 - s }

// newDFA joins patterns, which outer may stand around; nil if one of them is too
// large.
func newDFA(outer *outerPattern, roots []*node) *dfa {
	d := &dfa{members: len(roots), words: (len(roots) + 63) / 64}
	if outer != nil {
		insts, entry, ok := outer.approximate(roots)
		if !ok {
			return nil
		}
		d.insts, d.entries, d.minor = insts, []uint32{entry}, outer.minor
	} else {
		for i, root := range roots {
			insts, entry, ok := approximate(d.insts, root, i)
			if !ok {
				return nil
			}
			d.insts = insts
			d.entries = append(d.entries, entry)
		}
	}
	d.classes()
	c := d.newCache()
	d.firstMask, d.againMask = make([]uint64, d.words), make([]uint64, d.words)
	d.first = slices.Clone(d.begin(c, d.firstMask, true))
	d.again = slices.Clone(d.begin(c, d.againMask, false))
	d.spare = append(d.spare, c)
	return d
}

// begin returns the places at which matches begin, at the start of the text or
// further on.
func (d *dfa) begin(c *dfaCache, mask []uint64, atStart bool) []uint32 {
	c.generation()
	c.next = c.next[:0]
	for _, e := range d.entries {
		d.close(c, e, mask, atStart, false, false)
	}
	return c.next
}

func (d *dfa) classes() {
	// Refine: bytes that some set parts get different classes.
	var class [256]int
	n := 1
	part := func(set *byteSet) {
		inside := map[int]int{}
		outside := map[int]bool{}
		for b := range 256 {
			if set.has(byte(b)) {
				inside[class[b]] = -1
			} else {
				outside[class[b]] = true
			}
		}
		for b := range 256 {
			old := class[b]
			if !set.has(byte(b)) || !outside[old] {
				continue
			}
			if inside[old] < 0 {
				inside[old] = n
				n++
			}
			class[b] = inside[old]
		}
	}
	seen := map[byteSet]bool{}
	var newline byteSet
	newline.add('\n')
	part(&newline)
	for i := range d.insts {
		if in := &d.insts[i]; in.op == approxBytes && !seen[in.set] {
			seen[in.set] = true
			part(&in.set)
		}
	}
	d.bytes = make([]byte, n)
	for b := 255; b >= 0; b-- {
		d.class[b] = uint8(class[b])
		d.bytes[class[b]] = byte(b)
	}
	d.newline = class['\n']
	d.stride = n + 1
}

func (d *dfa) newCache() *dfaCache {
	return &dfaCache{
		index: map[string]int32{}, mark: make([]uint32, len(d.insts)), mask: make([]uint64, d.words),
		start: unknown,
	}
}

func (c *dfaCache) generation() {
	c.gen++
	if c.gen == 0 {
		clear(c.mark)
		c.gen = 1
	}
}

// close adds what can be reached from a place without taking a byte. start and
// the two kinds of end say which assertions hold.
func (d *dfa) close(c *dfaCache, at uint32, mask []uint64, start, end, textEnd bool) {
	c.stack = append(c.stack[:0], at)
	for len(c.stack) > 0 {
		i := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		if c.mark[i] == c.gen {
			continue
		}
		c.mark[i] = c.gen
		in := &d.insts[i]
		if d.accepted(in.member, mask) {
			continue
		}
		switch in.op {
		case approxBytes:
			c.next = append(c.next, i)
		case approxSplit:
			c.stack = append(c.stack, in.arg, in.out)
		case approxTextStart:
			if start {
				c.stack = append(c.stack, in.out)
			}
		case approxEnd:
			if end {
				c.stack = append(c.stack, in.out)
			} else {
				c.next = append(c.next, i)
			}
		case approxTextEnd:
			if textEnd {
				c.stack = append(c.stack, in.out)
			} else {
				c.next = append(c.next, i)
			}
		case approxMatch:
			mask[in.member>>6] |= 1 << (in.member & 63)
		}
	}
}

// accepted reports whether a member is among those of a mask; every one, where the
// place is everyMember's.
func (d *dfa) accepted(m int32, mask []uint64) bool {
	if m == everyMember {
		n := 0
		for _, w := range mask {
			n += bits.OnesCount64(w)
		}
		return n == d.members
	}
	return mask[m>>6]&(1<<(m&63)) != 0
}

// state returns the number of the state with these places, making it if needed.
func (d *dfa) state(c *dfaCache, places []uint32, mask []uint64) int32 {
	keep := places[:0]
	for _, p := range places {
		if !d.accepted(d.insts[p].member, mask) {
			keep = append(keep, p)
		}
	}
	slices.Sort(keep)
	if d.minor != nil && d.onlyMinor(c, keep, mask) {
		keep, mask = keep[:0], c.live
	}
	c.key = c.key[:0]
	for _, w := range mask {
		c.key = binary.LittleEndian.AppendUint64(c.key, w)
	}
	for _, p := range keep {
		c.key = binary.LittleEndian.AppendUint32(c.key, p)
	}
	if s, ok := c.index[string(c.key)]; ok {
		return s
	}
	s := int32(len(c.states))
	st := dfaState{places: slices.Clone(keep), mask: slices.Clone(mask)}
	st.done = len(keep) == 0
	st.any = slices.ContainsFunc(mask, func(w uint64) bool { return w != 0 })
	for _, p := range d.again { // does a start further on still matter?
		st.done = st.done && d.accepted(d.insts[p].member, mask)
	}
	c.states = append(c.states, st)
	for range d.stride {
		c.trans = append(c.trans, unknown)
	}
	c.index[string(c.key)] = s
	c.bytes += d.stride*4 + len(c.key)*3 + 100
	return s
}

// onlyMinor reports whether of all members only minor ones have accepted or still may, and
// any; they are then in c.live.
func (d *dfa) onlyMinor(c *dfaCache, places []uint32, mask []uint64) bool {
	if len(d.again) > 0 {
		return false
	}
	c.live = append(c.live[:0], mask...)
	for _, p := range places {
		m := d.insts[p].member
		if m == everyMember {
			return false
		}
		c.live[m>>6] |= 1 << (m & 63)
	}
	return slices.Max(c.live) != 0 && within(c.live, d.minor)
}

// step makes the transition of a state for a class; the class after the last is
// the end of the text.
func (d *dfa) step(c *dfaCache, s int32, class int) int32 {
	copy(c.mask, c.states[s].mask)
	atEnd := class == d.stride-1
	places := c.states[s].places
	if atEnd || class == d.newline {
		// What stands before the end or a newline may pass here.
		c.generation()
		c.next = c.next[:0]
		for _, p := range places {
			d.close(c, p, c.mask, true, true, atEnd) // the text may be empty: both its begin and its end
		}
		places = slices.Clone(c.next)
	}
	c.generation()
	c.next = c.next[:0]
	if !atEnd {
		b := d.bytes[class]
		for _, p := range places {
			if in := &d.insts[p]; in.op == approxBytes && in.set.has(b) {
				d.close(c, in.out, c.mask, false, false, false)
			}
		}
		for _, p := range d.again {
			if c.mark[p] != c.gen {
				c.mark[p] = c.gen
				c.next = append(c.next, p)
			}
		}
		for i, w := range d.againMask {
			c.mask[i] |= w
		}
	}
	next := d.state(c, c.next, c.mask)
	if c.states[next].done {
		c.trans[int(s)*d.stride+class] = doneAt(next)
	} else {
		c.trans[int(s)*d.stride+class] = next * int32(d.stride)
	}
	return next
}

func (d *dfa) take() *dfaCache {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.spare); n > 0 {
		c := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return c
	}
	return d.newCache()
}

func (d *dfa) give(c *dfaCache) {
	d.mu.Lock()
	d.spare = append(d.spare, c)
	d.mu.Unlock()
}

// begun returns the state in which a text begins.
func (d *dfa) begun(c *dfaCache) int32 {
	if c.start == unknown {
		places := append([]uint32{}, d.first...)
		c.start = d.state(c, places, slices.Clone(d.firstMask))
	}
	return c.start
}

// clear empties a full table but for one state, whose new number it returns.
func (d *dfa) clear(c *dfaCache, s int32) int32 {
	places, mask := c.states[s].places, c.states[s].mask
	c.trans, c.states, c.bytes, c.start = c.trans[:0], c.states[:0], 0, unknown
	clear(c.index)
	c.heads.forget()
	c.digits = c.digits[:0]
	return d.state(c, slices.Clone(places), mask)
}

// run returns the mask of the members that may match the text, which is given in
// parts; nil if it gave up, and then all may. The mask is valid until the cache
// is used again.
func (d *dfa) run(c *dfaCache, parts ...[]byte) []uint64 {
	s := d.begun(c)
	worn, since := 0, 0
	for _, b := range parts {
		for i := 0; i < len(b); {
			// The loop that counts: nothing but known transitions.
			trans, class := c.trans, &d.class
			at, next := uint32(s)*uint32(d.stride), int32(0)
			for i < len(b) {
				next = trans[at+uint32(class[b[i]])]
				if next < 0 {
					break
				}
				at = uint32(next)
				i++
			}
			s = int32(at / uint32(d.stride))
			if i >= len(b) {
				break
			}
			if next < unknown {
				return c.states[doneAt(next)].mask
			}
			if c.states[s].done { // where the text begins
				return c.states[s].mask
			}
			if c.bytes > maxDFA {
				if i-since < dfaPatience*len(c.states) {
					if worn++; worn > 1 {
						return nil
					}
				}
				since = i
				s = d.clear(c, s)
			}
			s = d.step(c, s, int(d.class[b[i]]))
			i++
			if c.states[s].done {
				return c.states[s].mask
			}
		}
	}
	return c.states[d.last(c, s)].mask
}

// last is the state after the text's end.
func (d *dfa) last(c *dfaCache, s int32) int32 {
	switch next := c.trans[int(s)*d.stride+d.stride-1]; {
	case next == unknown:
		return d.step(c, s, d.stride-1)
	case next < unknown:
		return doneAt(next)
	default:
		return next / int32(d.stride)
	}
}
