package pyregexp

import (
	"bytes"
	"unicode/utf8"
)

// Where a match can begin: at the start of the text only, at a fixed string, or
// at some of the 256 bytes. It saves the matcher most of its starts.
type startInfo struct {
	anchored bool      // only at 0
	any      bool      // anywhere: some match is empty or starts with any byte
	prefix   []byte    // every match begins with it
	first    [256]bool // bytes that a match can begin with
}

// next returns the first position from pos on where a match may begin, or -1.
func (s *startInfo) next(in []byte, pos int) int {
	switch {
	case pos > len(in):
		return -1
	case s.anchored:
		if pos == 0 {
			return 0
		}
		return -1
	case len(s.prefix) > 0:
		i := bytes.Index(in[pos:], s.prefix)
		if i < 0 {
			return -1
		}
		return pos + i
	case s.any:
		return pos
	}
	for i, c := range in[pos:] {
		if s.first[c] {
			// A continuation byte inside of a character is no start; the byte that
			// begins the character was looked at before.
			if c >= 0x80 && c < 0xC0 && insideRune(in, pos+i) {
				continue
			}
			return pos + i
		}
	}
	return -1
}

// insideRune reports whether in[i], a continuation byte, belongs to a valid
// character that begins before it.
func insideRune(in []byte, i int) bool {
	for back := 1; back <= 3 && back <= i; back++ {
		if utf8.RuneStart(in[i-back]) {
			_, size := utf8.DecodeRune(in[i-back:])
			return size > back
		}
	}
	return false
}

func findStarts(n *node) startInfo {
	s := startInfo{anchored: n.anchored()}
	if !n.firstBytes(&s.first) {
		s.any = true
		return s
	}
	s.prefix = n.prefix(nil)
	all := true
	for _, b := range s.first {
		all = all && b
	}
	s.any = all
	return s
}

// anchored reports whether every match begins at the start of the text.
func (n *node) anchored() bool {
	switch n.kind {
	case nodeAssert:
		return n.at == atTextStart
	case nodeConcat:
		for _, s := range n.subs {
			if s.anchored() {
				return true
			}
			if s.kind != nodeAssert && s.kind != nodeLook && s.kind != nodeEmpty {
				return false
			}
		}
	case nodeAlt:
		for _, s := range n.subs {
			if !s.anchored() {
				return false
			}
		}
		return true
	case nodeGroup, nodeAtomic:
		return n.subs[0].anchored()
	case nodeRepeat:
		return n.min > 0 && n.subs[0].anchored()
	}
	return false
}

// firstBytes adds the bytes that a match of n can begin with. It returns false
// if n can match without taking a character, so that what follows counts too.
func (n *node) firstBytes(first *[256]bool) (full bool) {
	switch n.kind {
	case nodeSet:
		for _, r := range n.set {
			for c := r.lo; c <= r.hi && c < 0x80; c++ {
				first[c] = true
			}
			if r.hi >= 0x80 {
				for c := 0x80; c < 256; c++ {
					first[c] = true
				}
			}
		}
		return true
	case nodeConcat:
		for _, s := range n.subs {
			if s.firstBytes(first) {
				return true
			}
		}
		return false
	case nodeAlt:
		full = true
		for _, s := range n.subs {
			full = s.firstBytes(first) && full
		}
		return full
	case nodeRepeat:
		return n.subs[0].firstBytes(first) && n.min > 0
	case nodeGroup, nodeAtomic:
		return n.subs[0].firstBytes(first)
	case nodeCond:
		full = n.subs[0].firstBytes(first)
		return len(n.subs) == 2 && n.subs[1].firstBytes(first) && full
	case nodeRef:
		// What the group holds is not known here: let it be anything.
		for c := range first {
			first[c] = true
		}
		return false
	}
	return false // assertions, look-around, the empty node
}

// prefix returns the bytes that every match begins with.
func (n *node) prefix(have []byte) []byte {
	if r, ok := n.single(); ok {
		return utf8.AppendRune(have, r)
	}
	switch n.kind {
	case nodeConcat:
		for _, s := range n.subs {
			before := len(have)
			have = s.prefix(have)
			if _, ok := s.single(); !ok && (len(have) > before || s.kind != nodeLook && s.kind != nodeAssert) {
				return have
			}
		}
	case nodeGroup, nodeAtomic:
		return n.subs[0].prefix(have)
	case nodeRepeat:
		if n.min > 0 {
			return n.subs[0].prefix(have)
		}
	}
	return have
}
