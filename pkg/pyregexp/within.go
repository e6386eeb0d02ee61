package pyregexp

// A set whose members are searched for in a part of the text that another pattern
// cuts out: fail2ban's prefregex, and the failregexes in its <F-CONTENT>. One DFA
// runs the outer pattern up to the group and goes on with the members, so that a
// text in which none can match is turned away before anything is cut out.

// NewSetWithin joins patterns that are searched for in what a named group of outer
// takes, with a newline behind it. The Set is then asked about the whole text. It
// returns nil where that can't be told beforehand: where outer can match without
// the group, or the group can be empty.
func NewSetWithin(outer *Regexp, group string, res ...*Regexp) *Set {
	number := outer.SubexpIndex(group)
	if number < 0 || !outer.starts.anchored || len(res) == 0 {
		return nil
	}
	root := outer.tree()
	body, toEnd := root.find(number, true)
	if body == nil || !body.takes() {
		return nil
	}
	s := NewSet(res...)
	s.outer = &outerPattern{re: outer, group: number, toEnd: toEnd && body.restOfLine()}
	s.outer.exact = s.outer.toEnd && body.min <= 1 && root.regular(number)
	return s
}

// OuterExact reports whether outer matches every line of ASCII that goes on, with at
// least one character, from where a Matcher comes to the group: a member that takes any
// character is then named for exactly the lines that outer matches.
func (s *Set) OuterExact() bool { return s.outer != nil && s.outer.exact }

// regular reports whether an over-approximation of n takes no more than n does of a line
// of ASCII, whatever a group in it holds.
func (n *node) regular(group int) bool {
	switch n.kind {
	case nodeSet, nodeEmpty:
		return true
	case nodeGroup:
		return n.group == group || n.subs[0].regular(group)
	case nodeConcat, nodeAlt:
		for _, s := range n.subs {
			if !s.regular(group) {
				return false
			}
		}
		return true
	case nodeRepeat:
		return n.mode != possessive && n.min <= 1 && (n.max <= 1 || n.max == unlimited) && n.subs[0].regular(group)
	case nodeAssert:
		return n.at == atTextStart || n.at == atEnd || n.at == atTextEnd
	}
	return false
}

// BeginsWith reports whether every match begins at the beginning of the text, with what a
// group with that name takes.
func (re *Regexp) BeginsWith(name string) bool {
	number := re.SubexpIndex(name)
	n := re.tree()
	if number < 0 || n.kind != nodeConcat {
		return false
	}
	i := 0
	for i < len(n.subs) && n.subs[i].kind == nodeAssert && n.subs[i].at == atTextStart {
		i++
	}
	return i > 0 && i < len(n.subs) && n.subs[i].kind == nodeGroup && n.subs[i].group == number
}

// outerPattern is what stands around a Set.
type outerPattern struct {
	re    *Regexp
	group int
	toEnd bool // what the group takes goes on to the text's end
	exact bool // as Set.OuterExact
	minor []uint64
}

// Minor names members that are not looked for any further once no other can match: the text
// is then done with, and all that are left are named for it, be it that they match or not.
// It is to be told before the set is used, and counts only for a set within another pattern.
func (s *Set) Minor(members ...int) {
	if s.outer == nil || len(members) == 0 {
		return
	}
	s.outer.minor = make([]uint64, s.Words())
	for _, i := range members {
		s.outer.minor[i>>6] |= 1 << (i & 63)
	}
}

// OnlyMinor reports whether a mask of a Sieve names none but members that Minor was told.
func (s *Set) OnlyMinor(mask []uint64) bool {
	if s.outer == nil || s.outer.minor == nil {
		return false
	}
	return within(mask, s.outer.minor)
}

// AllMinor reports whether Minor was told of all of these members, as Match returns them.
func (s *Set) AllMinor(members []int) bool {
	if s.outer == nil || s.outer.minor == nil {
		return false
	}
	for _, i := range members {
		if s.outer.minor[i>>6]>>(i&63)&1 == 0 {
			return false
		}
	}
	return true
}

// within reports whether all bits of a are in b.
func within(a, b []uint64) bool {
	for i, w := range a {
		if w&^b[i] != 0 {
			return false
		}
	}
	return true
}

// Always reports whether every match has a group with that name, and something in it if
// some is true.
func (re *Regexp) Always(name string, some bool) bool {
	number := re.SubexpIndex(name)
	if number < 0 {
		return false
	}
	body, _ := re.tree().find(number, true)
	return body != nil && (!some || body.takes())
}

// find returns what a group holds, if n can't match without it, and whether n ends
// with the group. last says whether n is the end itself.
func (n *node) find(group int, last bool) (body *node, end bool) {
	switch n.kind {
	case nodeGroup:
		if n.group == group {
			return n.subs[0], last
		}
		return n.subs[0].find(group, last)
	case nodeAtomic:
		return n.subs[0].find(group, false)
	case nodeConcat:
		for i, s := range n.subs {
			rest := last
			for _, t := range n.subs[i+1:] {
				rest = rest && t.kind == nodeAssert && (t.at == atEnd || t.at == atTextEnd)
			}
			if body, end = s.find(group, rest); body != nil {
				return body, end
			}
		}
	}
	return nil, false
}

// takes reports whether n surely takes a character.
func (n *node) takes() bool {
	switch n.kind {
	case nodeSet:
		return true
	case nodeConcat:
		for _, s := range n.subs {
			if s.takes() {
				return true
			}
		}
	case nodeAlt:
		for _, s := range n.subs {
			if !s.takes() {
				return false
			}
		}
		return len(n.subs) > 0
	case nodeRepeat:
		return n.min > 0 && n.subs[0].takes()
	case nodeGroup, nodeAtomic:
		return n.subs[0].takes()
	}
	return false
}

// restOfLine reports whether n is .+ or the like: it takes all up to a newline.
func (n *node) restOfLine() bool {
	if n.kind != nodeRepeat || n.max != unlimited || n.mode == lazy || n.subs[0].kind != nodeSet {
		return false
	}
	return n.subs[0].set.all()
}

// everyMember is whose the places in the outer pattern are.
const everyMember = -1

// approximate makes the automaton of the outer pattern up to the group, and of the
// members behind that.
func (o *outerPattern) approximate(members []*node) (insts []approxInst, entry uint32, ok bool) {
	var content uint32
	for i, n := range members {
		if insts, entry, ok = o.inner(insts, n, i); !ok {
			return nil, 0, false
		}
		if i > 0 {
			insts = append(insts, approxInst{op: approxSplit, member: everyMember, out: content, arg: entry})
			entry = uint32(len(insts) - 1)
		}
		content = entry
	}
	groups, root := map[int]*node{}, o.re.tree()
	root.collectGroups(groups)
	for _, rounds := range []int{maxRounds, 1} {
		b := &approxBuilder{insts: insts, member: everyMember, limit: len(insts) + maxApprox, rounds: rounds, groups: groups}
		if entry = b.upTo(root, o.group, content); len(b.insts) < b.limit {
			return b.insts, entry, true
		}
	}
	return nil, 0, false
}

// inner appends the automaton of a member, from where the group begins.
func (o *outerPattern) inner(insts []approxInst, n *node, member int) (out []approxInst, entry uint32, ok bool) {
	groups := map[int]*node{}
	n.collectGroups(groups)
	for _, rounds := range []int{maxRounds, 1} {
		b := &approxBuilder{
			insts: insts, member: int32(member), limit: len(insts) + maxApprox, rounds: rounds, groups: groups,
			startHolds: true, endHolds: !o.toEnd,
		}
		entry = b.node(n, b.emit(approxInst{op: approxMatch}))
		if !n.anchored() {
			entry = b.loopBytes(byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, entry)
		}
		if len(b.insts) < b.limit {
			return b.insts, entry, true
		}
	}
	return insts, 0, false
}

// upTo is the part of n that stands before a group, followed by content.
func (b *approxBuilder) upTo(n *node, group int, content uint32) uint32 {
	switch n.kind {
	case nodeGroup:
		if n.group == group {
			return content
		}
		return b.upTo(n.subs[0], group, content)
	case nodeAtomic:
		return b.upTo(n.subs[0], group, content)
	case nodeConcat:
		for i, s := range n.subs {
			if body, _ := s.find(group, false); body == nil {
				continue
			}
			entry := b.upTo(s, group, content)
			for k := i - 1; k >= 0; k-- {
				entry = b.node(n.subs[k], entry)
			}
			return entry
		}
	}
	return content
}
