package pyregexp

// What stands around a group: whether the text that a pattern takes there could be
// moved by somebody who writes part of the text.

// Surroundings says what a pattern has around a group.
type Surroundings struct {
	Start, End bool // the match begins and ends where the text does
	// Before and After say whether something that takes anything, however long, may
	// stand there.
	Before, After bool
}

// Around returns what stands around the named groups, taken together; not ok if the
// pattern has none of them. Pieces with a look-ahead inside of their repetition are
// not counted as taking anything.
func (re *Regexp) Around(names ...string) (s Surroundings, ok bool) {
	wanted := map[int]bool{}
	for _, n := range names {
		if g := re.SubexpIndex(n); g > 0 {
			wanted[g] = true
		}
	}
	if len(wanted) == 0 {
		return s, false
	}
	root := re.tree()
	s = root.around(wanted)
	s.Start = root.anchored()
	return s, true
}

// RequiresLiteral reports whether every match holds one of a few known texts.
func (re *Regexp) RequiresLiteral() bool { return len(re.lits) > 0 }

func (n *node) holds(groups map[int]bool) bool {
	if n.kind == nodeGroup && groups[n.group] {
		return true
	}
	for _, s := range n.subs {
		if s.holds(groups) {
			return true
		}
	}
	return false
}

func (n *node) around(groups map[int]bool) (s Surroundings) {
	switch {
	case n.kind == nodeGroup && groups[n.group]:
		return s
	case n.kind == nodeAlt:
		s.End = true
		for _, sub := range n.subs {
			if sub.holds(groups) {
				in := sub.around(groups)
				s.Before, s.After, s.End = s.Before || in.Before, s.After || in.After, s.End && in.End
			}
		}
		return s
	case n.kind != nodeConcat:
		for _, sub := range n.subs {
			if sub.holds(groups) {
				return sub.around(groups)
			}
		}
		return s
	}
	at := 0
	for i, sub := range n.subs {
		if sub.holds(groups) {
			at = i
			s = sub.around(groups)
			break
		}
		s.Before = s.Before || sub.catchesAll()
	}
	for _, sub := range n.subs[:at] {
		s.Before = s.Before || sub.catchesAll()
	}
	for _, sub := range n.subs[at+1:] {
		s.After = s.After || sub.catchesAll()
		s.End = s.End || sub.ends()
	}
	return s
}

// catchesAll reports whether some part of n takes any characters, as many as there are.
func (n *node) catchesAll() bool {
	switch n.kind {
	case nodeLook:
		return false
	case nodeRepeat:
		body := n.subs[0]
		for body.kind == nodeGroup || body.kind == nodeConcat && len(body.subs) == 1 {
			body = body.subs[0]
		}
		if n.max == unlimited && body.kind == nodeSet && body.set.all() {
			return true
		}
	}
	for _, s := range n.subs {
		if s.catchesAll() {
			return true
		}
	}
	return false
}

// ends reports whether what n takes is followed by the text's end, in any case.
func (n *node) ends() bool {
	switch n.kind {
	case nodeAssert:
		return n.at == atEnd || n.at == atTextEnd
	case nodeAlt:
		for _, s := range n.subs {
			if !s.ends() {
				return false
			}
		}
		return len(n.subs) > 0
	case nodeConcat, nodeGroup, nodeAtomic:
		for _, s := range n.subs {
			if s.ends() {
				return true
			}
		}
	}
	return false
}

// all reports whether a set has all characters, a newline apart.
func (set runeSet) all() bool {
	for _, c := range []rune{0, '\t', ' ', 'a', '~', 0x80, 0x7ff, 0xffff, 0x10ffff, invalidByte} {
		if !set.contains(c) {
			return false
		}
	}
	for c := rune(0); c < 0x80; c++ {
		if c != '\n' && !set.contains(c) {
			return false
		}
	}
	return true
}
