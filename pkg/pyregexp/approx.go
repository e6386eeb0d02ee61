package pyregexp

import "unicode/utf8"

// The over-approximation: an automaton over bytes that says yes wherever the
// pattern matches, and sometimes where it does not. That freedom is what keeps
// it small and regular: look-around is dropped, word boundaries hold anywhere, a
// conditional is both of its branches, a back reference is its group's pattern,
// atomic and possessive are plain, long counted repetitions are loops, and a
// class with many characters beyond ASCII takes any run of bytes from 0x80 on.
// The lazy DFA runs it, for one pattern or for the members of a Set at once.

type approxOp uint8

const (
	approxBytes     approxOp = iota // one byte of set
	approxSplit                     // out and arg
	approxTextStart                 // only where the text begins
	approxEnd                       // at the text's end or before a newline
	approxTextEnd                   // only at the text's end
	approxMatch
)

type approxInst struct {
	op       approxOp
	member   int32
	out, arg uint32
	set      byteSet
}

type byteSet [4]uint64

func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

const (
	// maxApprox bounds the automaton of one pattern; what would be larger is
	// built with loops in place of all counted repetitions, and given up if that
	// does not help.
	maxApprox = 20_000
	// maxRounds is the number of rounds up to which a repetition is spelled out.
	maxRounds = 48
)

type approxBuilder struct {
	insts  []approxInst
	member int32
	limit  int // length of insts that must not be passed
	rounds int
	groups map[int]*node // by number
	inRef  int
	// startHolds and endHolds: the pattern is searched for in a part of the text, and
	// its begin and end hold where the part begins and ends.
	startHolds, endHolds bool
}

// approximate appends the automaton of a pattern. It returns the entry; not ok
// if it would be too large.
func approximate(insts []approxInst, root *node, member int) (out []approxInst, entry uint32, ok bool) {
	groups := map[int]*node{}
	root.collectGroups(groups)
	for _, rounds := range []int{maxRounds, 1} {
		b := &approxBuilder{insts: insts, member: int32(member), limit: len(insts) + maxApprox, rounds: rounds, groups: groups}
		match := b.emit(approxInst{op: approxMatch})
		if entry, ok = b.node(root, match), len(b.insts) < b.limit; ok {
			return b.insts, entry, true
		}
	}
	return insts, 0, false
}

func (n *node) collectGroups(into map[int]*node) {
	if n.kind == nodeGroup {
		into[n.group] = n.subs[0]
	}
	for _, s := range n.subs {
		s.collectGroups(into)
	}
}

func (b *approxBuilder) emit(i approxInst) uint32 {
	if len(b.insts) >= b.limit {
		return b.limit32() // too large: the caller drops all of it
	}
	i.member = b.member
	b.insts = append(b.insts, i)
	return uint32(len(b.insts) - 1)
}

func (b *approxBuilder) limit32() uint32 { return uint32(b.limit - 1) }

func (b *approxBuilder) node(n *node, next uint32) uint32 {
	if len(b.insts) >= b.limit {
		return next
	}
	switch n.kind {
	case nodeSet:
		return b.set(n.set, next)
	case nodeConcat:
		for i := len(n.subs) - 1; i >= 0; i-- {
			next = b.node(n.subs[i], next)
		}
		return next
	case nodeAlt:
		entry := b.node(n.subs[len(n.subs)-1], next)
		for i := len(n.subs) - 2; i >= 0; i-- {
			entry = b.emit(approxInst{op: approxSplit, out: b.node(n.subs[i], next), arg: entry})
		}
		return entry
	case nodeGroup, nodeAtomic:
		return b.node(n.subs[0], next)
	case nodeCond:
		no := next
		if len(n.subs) == 2 {
			no = b.node(n.subs[1], next)
		}
		return b.emit(approxInst{op: approxSplit, out: b.node(n.subs[0], next), arg: no})
	case nodeRepeat:
		return b.repeat(n, next)
	case nodeRef:
		return b.reference(n, next)
	case nodeAssert:
		if b.inRef > 0 {
			return next // it held where the group matched, not where it is repeated
		}
		switch n.at {
		case atTextStart:
			if b.startHolds {
				return next
			}
			return b.emit(approxInst{op: approxTextStart, out: next})
		case atEnd, atLineEnd:
			if b.endHolds {
				return next
			}
			return b.emit(approxInst{op: approxEnd, out: next})
		case atTextEnd:
			if b.endHolds {
				return next
			}
			return b.emit(approxInst{op: approxTextEnd, out: next})
		}
	}
	return next // look-around, line starts and word boundaries hold anywhere
}

func (b *approxBuilder) repeat(n *node, next uint32) uint32 {
	body, lo, hi := n.subs[0], n.min, n.max
	if hi == 0 {
		return next
	}
	entry := next
	switch {
	case hi == unlimited || hi > b.rounds:
		if body.kind == nodeSet {
			entry = b.loopSet(body.set, next)
			break
		}
		split := b.emit(approxInst{op: approxSplit, arg: next})
		out := b.node(body, split)
		if int(split) < len(b.insts) {
			b.insts[split].out = out
		}
		entry = split
	default:
		for range hi - min(lo, hi) {
			entry = b.emit(approxInst{op: approxSplit, out: b.node(body, entry), arg: next})
		}
	}
	for range min(lo, b.rounds) {
		entry = b.node(body, entry)
	}
	return entry
}

// reference takes what the group's pattern takes, in either case.
func (b *approxBuilder) reference(n *node, next uint32) uint32 {
	body := b.groups[n.group]
	if n.fold != foldNone || body == nil || b.inRef > 0 {
		all := byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		return b.loopBytes(all, next)
	}
	b.inRef++
	entry := b.node(body, next)
	b.inRef--
	return entry
}

// exactRunes is the number of characters beyond ASCII up to which a class is
// spelled out in UTF-8.
const exactRunes = 4

// split parts a class into its ASCII bytes and the characters beyond, which are
// many if there are more than exactRunes.
func (s runeSet) split() (ascii byteSet, few []rune, many bool) {
	for _, r := range s {
		for c := r.lo; c <= r.hi && c < utf8.RuneSelf; c++ {
			ascii.add(byte(c))
		}
		for c := max(r.lo, utf8.RuneSelf); c <= r.hi && !many; c++ {
			few = append(few, c)
			many = len(few) > exactRunes || !utf8.ValidRune(c)
		}
	}
	return ascii, few, many
}

var highBytes = byteSet{0, 0, ^uint64(0), ^uint64(0)}

func (b *approxBuilder) set(s runeSet, next uint32) uint32 {
	ascii, few, many := s.split()
	entry := b.emit(approxInst{op: approxBytes, set: ascii, out: next})
	if many {
		loop := b.loopBytes(highBytes, next)
		high := b.emit(approxInst{op: approxBytes, set: highBytes, out: loop})
		return b.emit(approxInst{op: approxSplit, out: entry, arg: high})
	}
	for _, r := range few {
		text := utf8.AppendRune(nil, r)
		at := next
		for i := len(text) - 1; i >= 0; i-- {
			var one byteSet
			one.add(text[i])
			at = b.emit(approxInst{op: approxBytes, set: one, out: at})
		}
		entry = b.emit(approxInst{op: approxSplit, out: entry, arg: at})
	}
	return entry
}

func (b *approxBuilder) loopSet(s runeSet, next uint32) uint32 {
	ascii, few, many := s.split()
	if many || len(few) > 0 {
		for i := range ascii {
			ascii[i] |= highBytes[i]
		}
	}
	return b.loopBytes(ascii, next)
}

func (b *approxBuilder) loopBytes(s byteSet, next uint32) uint32 {
	split := b.emit(approxInst{op: approxSplit, arg: next})
	body := b.emit(approxInst{op: approxBytes, set: s, out: split})
	if int(split) < len(b.insts) {
		b.insts[split].out = body
	}
	return split
}
