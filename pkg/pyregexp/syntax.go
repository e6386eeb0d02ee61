package pyregexp

import (
	"fmt"
	"strings"
)

// Flag changes how a pattern is read or matched; the names are Python's.
type Flag uint8

// The flags of Python's re that make sense for text. They can be given to
// Compile or inside a pattern, as (?i) or (?i:…).
const (
	IGNORECASE Flag = 1 << iota // (?i) letters match in both cases, as Python folds them
	MULTILINE                   // (?m) ^ and $ match at every newline
	DOTALL                      // (?s) the dot matches a newline too
	VERBOSE                     // (?x) white space and comments in the pattern count for nothing
	ASCII                       // (?a) \d \s \w \b and case know ASCII only

	unicodeFlag // (?u), what is in force without (?a)
)

const typeFlags = ASCII | unicodeFlag

// Error is why a pattern was refused. Msg is Python's own text where Python
// refuses the pattern too.
type Error struct {
	Pattern string
	Msg     string
	Pos     int // in characters, from 0; -1 where Python names no position
}

func (e *Error) Error() string {
	if e.Pos < 0 {
		return e.Msg
	}
	s := fmt.Sprintf("%s at position %d", e.Msg, e.Pos)
	if !strings.Contains(e.Pattern, "\n") {
		return s
	}
	head := []rune(e.Pattern)
	head = head[:min(e.Pos, len(head))]
	line, col := 1, 1
	for _, c := range head {
		col++
		if c == '\n' {
			line, col = line+1, 1
		}
	}
	return fmt.Sprintf("%s (line %d, column %d)", s, line, col)
}

// A node is one piece of a parsed pattern. Flags are already applied: a leaf
// says exactly which characters it takes.
type node struct {
	kind   nodeKind
	set    runeSet // nodeSet
	subs   []*node // nodeConcat, nodeAlt; one for the others; nodeCond: yes, no
	group  int     // nodeGroup, nodeRef, nodeCond
	min    int     // nodeRepeat
	max    int     // nodeRepeat; unlimited without an upper bound
	mode   repeatMode
	at     assertKind // nodeAssert
	behind bool       // nodeLook: look-behind
	not    bool       // nodeLook: negative
	width  int        // nodeLook, behind: characters to step back
	fold   foldKind   // nodeRef
	span   span       // where the node stands in the pattern
}

// span is a part of a pattern, in characters.
type span struct{ from, to int32 }

type nodeKind uint8

const (
	nodeEmpty nodeKind = iota
	nodeSet
	nodeConcat
	nodeAlt
	nodeRepeat
	nodeGroup
	nodeLook
	nodeAtomic
	nodeRef
	nodeCond
	nodeAssert
)

type repeatMode uint8

const (
	greedy repeatMode = iota
	lazy
	possessive
)

// assertKind is a place in the text.
type assertKind uint8

const (
	atTextStart    assertKind = iota // \A, and ^ without MULTILINE
	atLineStart                      // ^ with MULTILINE
	atTextEnd                        // \Z
	atEnd                            // $ without MULTILINE: the end, or before a final newline
	atLineEnd                        // $ with MULTILINE
	atWord                           // \b
	atNotWord                        // \B
	atASCIIWord                      // \b under ASCII
	atNotASCIIWord                   // \B under ASCII
)

// foldKind is how a back reference compares.
type foldKind uint8

const (
	foldNone foldKind = iota
	foldUnicode
	foldASCII
)

// unlimited is Python's MAXREPEAT: no upper bound. A width that reaches it is
// unbounded too.
const unlimited = 1<<32 - 1

func saturate(n int) int { return min(n, unlimited) }

// widths returns the least and the greatest number of characters that n can
// take, computed as Python does (a look-behind needs the two to be equal).
func (n *node) widths(groups [][2]int) (lo, hi int) {
	switch n.kind {
	case nodeSet:
		return 1, 1
	case nodeConcat:
		for _, s := range n.subs {
			l, h := s.widths(groups)
			lo, hi = saturate(lo+l), saturate(hi+h)
		}
	case nodeAlt:
		lo = unlimited
		for _, s := range n.subs {
			l, h := s.widths(groups)
			lo, hi = min(lo, l), max(hi, h)
		}
	case nodeRepeat:
		l, h := n.subs[0].widths(groups)
		return saturateMul(l, n.min), saturateMul(h, n.max)
	case nodeGroup, nodeAtomic:
		return n.subs[0].widths(groups)
	case nodeRef:
		if n.group < len(groups) {
			return groups[n.group][0], groups[n.group][1]
		}
	case nodeCond:
		lo, hi = n.subs[0].widths(groups)
		if len(n.subs) == 1 {
			return 0, hi
		}
		l, h := n.subs[1].widths(groups)
		return min(lo, l), max(hi, h)
	}
	return lo, hi
}

func saturateMul(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	if a > unlimited/b {
		return unlimited
	}
	return a * b
}
