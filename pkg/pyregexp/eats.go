package pyregexp

import "strings"

// What stands directly before a group may take the beginning of what the group is to
// find: the text before an address, in `.*<address>`, goes on as far into it as still
// leaves something that reads as one.

// Eats reports whether something before one of the named groups takes the beginning of a
// text from it: it can go on inside of the text, up to a place from which the group takes
// what is left, and prefers that. tail says of a group and of the rest of a text from a
// place on whether the group takes it.
func (re *Regexp) Eats(text string, tail func(name, rest string) bool, names ...string) bool {
	for _, name := range names {
		g := re.SubexpIndex(name)
		if g <= 0 {
			continue
		}
		e := &eater{text: text, group: g, at: map[int]bool{}}
		for at := 1; at < len(text); at++ {
			if tail(name, text[at:]) {
				e.at[at] = true
			}
		}
		if e.before(re.tree()); e.eaten {
			return true
		}
	}
	return false
}

// eater goes from a group to the left, over what stands before it, through a text.
type eater struct {
	text  string
	group int
	at    map[int]bool // places in the text up to which what was passed may have come; none is its beginning
	eaten bool
}

// before passes over what stands in n before the group. It reports whether the group is
// in it.
func (e *eater) before(n *node) bool {
	if n.kind == nodeGroup && n.group == e.group {
		return true
	}
	for i, sub := range n.subs {
		if !e.before(sub) {
			continue
		}
		for i--; n.kind == nodeConcat && i >= 0; i-- {
			e.at = e.over(n.subs[i], e.at, nil)
		}
		return true
	}
	return false
}

// first notes that a character of a set was the text's first: repeat is what it is
// repeated by, nil if it isn't. What is repeated as often as can be prefers that to leaving
// it, and a character that only such a text has can do nothing else.
func (e *eater) first(set runeSet, repeat *node) {
	if repeat != nil {
		e.eaten = e.eaten || repeat.mode != lazy
		return
	}
	for _, r := range " \t\"'()<>=,;[]@-_|ghxyz" {
		if set.contains(r) {
			return
		}
	}
	e.eaten = true
}

// over returns the places up to which what was passed may have come, once n is, too.
func (e *eater) over(n *node, at map[int]bool, repeat *node) map[int]bool {
	out := map[int]bool{}
	add := func(more map[int]bool) {
		for k := range more {
			out[k] = true
		}
	}
	switch n.kind {
	case nodeSet:
		for k := range at {
			switch {
			case e.text[k-1] != anyChar && !n.set.contains(rune(e.text[k-1])):
			case k == 1:
				e.first(n.set, repeat)
			default:
				out[k-1] = true
			}
		}
	case nodeConcat:
		for i := len(n.subs) - 1; i >= 0; i-- {
			at = e.over(n.subs[i], at, repeat)
		}
		return at
	case nodeAlt, nodeCond:
		for _, s := range n.subs {
			add(e.over(s, at, repeat))
		}
	case nodeGroup, nodeAtomic:
		return e.over(n.subs[0], at, repeat)
	case nodeRepeat:
		if n.min != n.max {
			repeat = n
		}
		for range min(n.min, len(e.text)) {
			at = e.over(n.subs[0], at, repeat)
		}
		add(at)
		for rounds := n.min; (n.max == unlimited || rounds < n.max) && len(at) > 0; rounds++ {
			next := map[int]bool{}
			for k := range e.over(n.subs[0], at, repeat) {
				if !out[k] {
					next[k] = true
				}
			}
			at = next
			add(at)
		}
	case nodeLook:
		for k := range at {
			if !n.behind || e.behind(n, k) || n.not && k < n.width {
				out[k] = true
			}
		}
	case nodeAssert:
		for k := range at {
			differ := isWord(rune(e.text[k-1]), true) != isWord(rune(e.text[k]), true)
			switch n.at {
			case atWord, atASCIIWord:
				out[k] = differ
			case atNotWord, atNotASCIIWord:
				out[k] = !differ
			}
			if !out[k] {
				delete(out, k)
			}
		}
	default: // nothing, or a back reference, which may be
		return at
	}
	return out
}

// anyChar stands for a character before the text.
const anyChar = 0

// behind reports whether a look-behind may hold at a place.
func (e *eater) behind(n *node, k int) bool {
	in := &eater{text: strings.Repeat(string(rune(anyChar)), n.width+1) + e.text}
	return len(in.over(n.subs[0], map[int]bool{k + n.width + 1: true}, nil)) > 0 != n.not
}
