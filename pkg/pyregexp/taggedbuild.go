package pyregexp

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Transitions of a tagged DFA, made when a text first gets there.

// build makes the transition of a state for a class, where some of what can be asked
// about is known.
func (c *taggedCache) build(s int32, class int, known, values uint64) int32 {
	t := c.t
	c.over = c.steps > taggedSteps+c.read/stepBytes
	c.full = c.bytes > maxTaggedTable
	if class == t.wide || c.over || c.full {
		return actGivesUp
	}
	if c.gen++; c.gen == 0 {
		clear(c.mark)
		clear(c.after)
		c.gen = 1
	}
	c.next = taggedState{ways: c.next.ways[:0]}
	var ask uint64
	from := c.states[s]
	over := false // a match is there: what comes after it is dropped
	none := slices.Repeat([]int8{-1}, len(t.slots))
	for k := 0; k <= len(from.ways) && !over; k++ {
		regs := none
		c.stack = c.stack[:0]
		switch {
		case k < len(from.ways):
			w := &from.ways[k]
			regs = w.regs
			c.stack = append(c.stack, step{w.place, w.st, 0})
		case from.found != nil:
			c.next.found = from.found
		case !t.anchored:
			c.stack = append(c.stack, step{t.place[t.p.start], t.p.moved, 1 << t.slot[0]})
		}
		over = c.follow(s, class, regs, known, values, &ask)
		if len(c.next.ways) > maxTaggedWays {
			return actGivesUp
		}
	}
	if ask != 0 {
		n := bits.OnesCount64(ask)
		if n > maxSequels {
			return actGivesUp
		}
		c.bytes += 80 + 4<<n
		return c.act(act{ask: ask, known: known, values: values, sequel: slices.Repeat([]int32{actUnknown}, 1<<n)})
	}
	a := act{write: nobody, last: class == t.newline}
	if !c.register(&a) {
		return actGivesUp
	}
	next := c.state()
	a.next = next * int32(t.stride)
	st := &c.states[next]
	a.end = class == t.stride-1 || len(st.ways) == 0 && (t.anchored || st.found != nil)
	if len(st.ways) == 1 && (t.anchored || st.found != nil) {
		a.skip = t.rest[t.inst[st.ways[0].place]]
	}
	if !a.end && !a.skip && !a.last {
		return a.next | int32(a.write)<<writeShift
	}
	return c.act(a)
}

func (c *taggedCache) act(a act) int32 {
	c.acts = append(c.acts, a)
	c.bytes += 64
	return firstAct - int32(len(c.acts)-1)
}

// follow takes the ways on the stack, which come from one, as far as they go without
// a byte, and over it. It reports whether one has reached the match.
func (c *taggedCache) follow(s int32, class int, regs []int8, known, values uint64, ask *uint64) bool {
	t := c.t
	atEnd := class == t.stride-1
	next := 256
	if !atEnd {
		next = int(t.bytes[class])
	}
	for len(c.stack) > 0 {
		c.steps++
		x := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		if m := &c.mark[uint64(x.place)<<t.p.bits|x.st]; *m == c.gen {
			continue
		} else {
			*m = c.gen
		}
		pc := t.inst[x.place]
		in := &t.p.insts[pc]
		inside := x.place - t.place[pc]
		if inside == 0 && !t.next[pc].has(next) {
			continue // it can't end well
		}
		on := step{t.place[in.out], x.st, x.saved}
		switch in.op {
		case opMatch:
			c.next.found = written(regs, x.saved)
			return true
		case opByte:
			if next == int(in.arg) {
				c.take(on, regs)
			}
		case opString:
			if next == int(in.str[inside]) {
				if int(inside)+1 < len(in.str) {
					on.place = x.place + 1
				}
				c.take(on, regs)
			}
		case opSet:
			if !atEnd && t.p.sets[in.arg].hasASCII(byte(next)) {
				c.take(on, regs)
			}
		case opAny:
			if !atEnd {
				c.take(on, regs)
			}
		case opStar:
			if !atEnd && t.p.sets[in.arg].hasASCII(byte(next)) {
				c.take(x, regs)
				if t.ends[pc] {
					continue // with more there is a match as well, and a better one
				}
			}
			c.stack = append(c.stack, on)
		case opAlt:
			c.stack = append(c.stack, step{t.place[in.arg], x.st, x.saved}, on)
		case opSave:
			on.saved |= 1 << t.slot[in.arg]
			if bit := t.p.condBitOf[in.arg>>1]; bit >= 0 {
				on.st &^= 1 << bit
				if c.took(int(in.arg), regs, on.saved) {
					on.st |= 1 << bit
				}
			}
			c.stack = append(c.stack, on)
		case opNop:
			c.stack = append(c.stack, on)
		case opRound:
			on.st &^= 1 << in.bit
			c.stack = append(c.stack, on)
		case opLeave:
			on.st |= 1 << in.bit
			c.stack = append(c.stack, on)
		case opCond, opMoved:
			if x.st&(1<<in.bit) == 0 {
				on.place = t.place[in.arg]
			}
			c.stack = append(c.stack, on)
		case opAssert, opLook:
			yes, sure := t.decided(in, s == 0, class, next)
			if !sure {
				bit := uint64(1) << t.ask[pc]
				if known&bit == 0 {
					*ask |= bit
					continue
				}
				yes = values&bit != 0
			}
			if yes {
				c.stack = append(c.stack, on)
			}
		}
	}
	return false
}

// decided says what can be said of an assertion or a look-around beforehand.
func (t *tagged) decided(in *inst, first bool, class, next int) (yes, sure bool) {
	if in.op == opLook {
		if !in.look.behind && !t.next[in.arg].has(next) {
			return in.look.not, true
		}
		return false, false
	}
	switch assertKind(in.arg) {
	case atTextStart:
		return first, true
	case atTextEnd:
		return next == 256, true
	case atEnd, atLineEnd:
		return next == 256 || class == t.newline, true // the newline is the text's last, see act.last
	}
	return false, false
}

// took reports whether a group whose slot was just written has taken part.
func (c *taggedCache) took(slot int, regs []int8, saved uint64) bool {
	other := c.t.slot[slot^1]
	if other < 0 {
		return false
	}
	if slot&1 == 0 { // a new begin: the end counts only if it is here, too
		return saved&(1<<other) != 0
	}
	return saved&(1<<other) != 0 || regs[other] >= 0
}

// take adds a way that has taken the byte.
func (c *taggedCache) take(x step, regs []int8) {
	x.st |= c.t.p.moved
	m := &c.after[uint64(x.place)<<c.t.p.bits|x.st]
	if *m == c.gen {
		return
	}
	*m = c.gen
	c.next.ways = append(c.next.ways, way{x.place, x.st, written(regs, x.saved)})
}

// written are registers after some slots were written.
func written(regs []int8, saved uint64) []int8 {
	if saved == 0 {
		return regs
	}
	regs = slices.Clone(regs)
	for ; saved != 0; saved &= saved - 1 {
		regs[bits.TrailingZeros64(saved)] = here
	}
	return regs
}

// register finds a register for what the transition writes, if anything. It returns
// false if none is left.
func (c *taggedCache) register(a *act) bool {
	var used [maxRegisters]bool
	writes := false
	each := func(regs []int8) {
		for _, r := range regs {
			if r >= 0 {
				used[r] = true
			}
			writes = writes || r == here
		}
	}
	for i := range c.next.ways {
		each(c.next.ways[i].regs)
	}
	each(c.next.found)
	if !writes {
		return true
	}
	free := slices.Index(used[:nobody], false)
	if free < 0 {
		return false
	}
	a.write = uint8(free)
	put := func(regs []int8) {
		for i, r := range regs {
			if r == here {
				regs[i] = int8(free)
			}
		}
	}
	for i := range c.next.ways {
		put(c.next.ways[i].regs)
	}
	put(c.next.found)
	return true
}

// state returns the number of the state that build has made, which may be there
// already.
func (c *taggedCache) state() int32 {
	key := c.key[:0]
	put := func(regs []int8) {
		for _, r := range regs {
			key = append(key, byte(r))
		}
	}
	if c.next.found == nil {
		key = append(key, 0)
	} else {
		key = append(key, 1)
		put(c.next.found)
	}
	for i := range c.next.ways {
		w := &c.next.ways[i]
		key = binary.AppendUvarint(key, uint64(w.place)<<c.t.p.bits|w.st)
		put(w.regs)
	}
	c.key = key
	if s, ok := c.index[string(key)]; ok {
		return s
	}
	s := c.add(taggedState{slices.Clone(c.next.ways), c.next.found}, len(key))
	c.index[string(key)] = s
	return s
}
