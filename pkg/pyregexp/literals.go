package pyregexp

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Required literals: strings of which every match holds at least one. Looking
// for them first is the cheapest way to turn a text away.

const (
	maxLiterals   = 8  // more are not looked for one by one
	maxLiteralLen = 64 // longer ones are cut: they are rare enough by then
)

// literals is a set of strings, empty if none is required.
type literals [][]byte

// foundIn reports whether the text holds one of them, or none is required.
func (l literals) foundIn(b []byte) bool {
	for _, s := range l {
		if bytes.Contains(b, s) {
			return true
		}
	}
	return len(l) == 0
}

// hold reports whether one of them has this byte.
func (l literals) hold(c byte) bool {
	return slices.ContainsFunc(l, func(s []byte) bool { return bytes.IndexByte(s, c) >= 0 })
}

// better reports whether l turns more texts away than other: its shortest string
// is longer, or as long and there are fewer.
func (l literals) better(other literals) bool {
	switch a, b := l.shortest(), other.shortest(); {
	case a != b:
		return a > b
	default:
		return len(l) < len(other)
	}
}

func (l literals) shortest() int {
	if len(l) == 0 {
		return 0
	}
	least := maxLiteralLen
	for _, s := range l {
		least = min(least, len(s))
	}
	return least
}

// required returns the best literals of a pattern.
func required(n *node) literals {
	best := n.required()
	if best.shortest() < 2 || len(best) > maxLiterals {
		return nil
	}
	return best
}

func (n *node) required() literals {
	if all, ok := n.exact(); ok {
		return literals(all).cut()
	}
	switch n.kind {
	case nodeConcat:
		var best literals
		take := func(l literals) {
			if l = l.cut(); len(l) <= maxLiterals && l.better(best) {
				best = l
			}
		}
		run := [][]byte{nil}
		for _, s := range n.subs {
			all, ok := s.exact()
			if ok {
				if joined := cross(run, all); joined != nil {
					run = joined
					continue
				}
			}
			take(run)
			run = [][]byte{nil}
			if ok {
				run = all
			} else {
				take(s.required())
			}
		}
		take(run)
		return best
	case nodeAlt:
		var union literals
		for _, s := range n.subs {
			part := s.required()
			if len(part) == 0 {
				return nil
			}
			union = append(union, part...)
		}
		return union
	case nodeCond:
		if len(n.subs) == 2 {
			yes, no := n.subs[0].required(), n.subs[1].required()
			if len(yes) > 0 && len(no) > 0 {
				return append(yes, no...)
			}
		}
	case nodeGroup, nodeAtomic:
		return n.subs[0].required()
	case nodeRepeat:
		if n.min > 0 {
			return n.subs[0].required()
		}
	}
	return nil
}

// exact returns all texts that n takes, if they are few.
func (n *node) exact() ([][]byte, bool) {
	switch n.kind {
	case nodeEmpty, nodeAssert, nodeLook:
		return [][]byte{nil}, true
	case nodeSet:
		var out [][]byte
		for _, r := range n.set {
			for c := r.lo; c <= r.hi; c++ {
				if len(out) == maxLiterals || !utf8.ValidRune(c) {
					return nil, false
				}
				out = append(out, utf8.AppendRune(nil, c))
			}
		}
		return out, true
	case nodeConcat:
		all := [][]byte{nil}
		for _, s := range n.subs {
			part, ok := s.exact()
			if !ok {
				return nil, false
			}
			if all = cross(all, part); all == nil {
				return nil, false
			}
		}
		return all, true
	case nodeAlt:
		var all [][]byte
		for _, s := range n.subs {
			part, ok := s.exact()
			if !ok || len(all)+len(part) > maxLiterals {
				return nil, false
			}
			all = append(all, part...)
		}
		return all, true
	case nodeGroup, nodeAtomic:
		return n.subs[0].exact()
	case nodeRepeat:
		if n.min == 1 && n.max == 1 {
			return n.subs[0].exact()
		}
	}
	return nil, false
}

// cross joins every text of a with every one of b; nil if they become too many
// or too long.
func cross(a, b [][]byte) [][]byte {
	if len(a)*len(b) > maxLiterals || len(a)*len(b) == 0 {
		return nil
	}
	out := make([][]byte, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			if len(x)+len(y) > maxLiteralLen {
				return nil
			}
			out = append(out, append(append([]byte(nil), x...), y...))
		}
	}
	return out
}

// cut drops strings of which another one is a part, and doubles.
func (l literals) cut() literals {
	var out literals
	for i, s := range l {
		keep := true
		for j, t := range l {
			if i != j && bytes.Contains(s, t) && (len(t) < len(s) || j < i) {
				keep = false
			}
		}
		if keep {
			out = append(out, s)
		}
	}
	return out
}
