package pyregexp

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// The parser reads a pattern as Python 3.11's re does for str: the same
// patterns are accepted, and what is refused is refused with Python's words and
// position. Flags are resolved here, so that what follows sees only sets of
// characters and structure.

// maxNesting bounds the depth of groups, since parser and compiler recurse on
// the pattern (never on a text).
const maxNesting = 500

type parser struct {
	pattern string
	in      []rune
	pos     int
	flags   Flag // global ones
	names   map[string]int
	groups  []groupState // by number; [0] is the whole match
	behind  int          // groups open before the outermost look-behind that we are in; -1 outside
	condPos map[int]int  // position of the first (?(n) by number

	variable bool // a look-behind has no fixed width
}

type groupState struct {
	name   string
	closed bool
	width  [2]int
}

func parse(pattern string, flags Flag) (root *node, p *parser, err error) {
	p = &parser{
		pattern: pattern, in: []rune(pattern), flags: flags, names: map[string]int{},
		groups: []groupState{{}}, behind: -1, condPos: map[int]int{},
	}
	defer func() {
		if e, ok := recover().(*Error); ok { // only ours: anything else is a defect and goes on
			root, err = nil, e
		}
	}()
	n := p.alternatives(p.flags, 0)
	if p.flags&ASCII != 0 && p.flags&unicodeFlag != 0 {
		p.fail(-1, "ASCII and UNICODE flags are incompatible")
	}
	if p.pos < len(p.in) {
		p.fail(p.pos, "unbalanced parenthesis")
	}
	for g, at := range p.condPos {
		if g >= len(p.groups) {
			p.fail(at, "invalid group reference %d", g)
		}
	}
	if p.variable { // Python finds this only once the whole pattern is read
		p.fail(-1, "look-behind requires fixed-width pattern")
	}
	return n, p, nil
}

func (p *parser) fail(pos int, format string, args ...any) {
	if last := len(p.in) - 1; p.pos == last && p.in[last] == '\\' {
		// Python reads one token ahead, so it has met this already.
		panic(&Error{Pattern: p.pattern, Msg: "bad escape (end of pattern)", Pos: last})
	}
	panic(&Error{Pattern: p.pattern, Msg: fmt.Sprintf(format, args...), Pos: pos})
}

const none = rune(-1)

// peek returns the next character, or none at the end. A backslash stands for
// itself; its escape is read by the caller.
func (p *parser) peek() rune {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return none
}

func (p *parser) get() rune {
	c := p.peek()
	if c != none {
		p.pos++
	}
	return c
}

// token returns the next character together with what a backslash escapes, as
// Python's error messages quote it. There is one.
func (p *parser) token() string {
	start := p.pos
	p.pos++
	if p.in[start] == '\\' && p.pos < len(p.in) {
		p.pos++
	}
	return string(p.in[start:p.pos])
}

func (p *parser) accept(c rune) bool {
	if p.peek() == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) until(end rune, what string) string {
	start := p.pos
	for p.pos < len(p.in) && p.in[p.pos] != end {
		p.token()
	}
	p.pos = min(p.pos, len(p.in))
	name := string(p.in[start:p.pos])
	if p.pos == len(p.in) {
		if name == "" {
			p.fail(p.pos, "missing %s", what)
		}
		p.fail(start, "missing %c, unterminated name", end)
	}
	p.pos++
	if name == "" {
		p.fail(p.pos-1, "missing %s", what)
	}
	return name
}

// alternatives reads a|b|c up to a closing parenthesis or the end.
func (p *parser) alternatives(flags Flag, depth int) *node {
	if depth > maxNesting {
		p.fail(p.pos, "groups nested more than %d deep", maxNesting)
	}
	var subs []*node
	for {
		seq, global := p.sequence(flags, depth, depth == 0 && len(subs) == 0)
		if depth == 0 {
			flags = global
		}
		subs = append(subs, seq)
		if !p.accept('|') {
			break
		}
	}
	if len(subs) == 1 {
		return subs[0]
	}
	return &node{kind: nodeAlt, subs: subs}
}

// sequence reads one alternative. It returns the flags in force at its end,
// since (?i) at the start of the pattern holds for all of it.
func (p *parser) sequence(flags Flag, depth int, first bool) (*node, Flag) {
	var subs []*node
	for {
		c := p.peek()
		if c == none || c == '|' || c == ')' {
			break
		}
		start := p.pos
		p.pos++
		if flags&VERBOSE != 0 {
			if strings.ContainsRune(" \t\n\r\v\f", c) {
				continue
			}
			if c == '#' {
				for c := p.get(); c != none && c != '\n'; c = p.get() {
				}
				continue
			}
		}
		switch c {
		case '\\':
			subs = append(subs, p.escape(start, flags))
		case '[':
			subs = append(subs, p.class(start, flags))
		case '.':
			set := runeSet{{'\n', '\n'}}.negate()
			if flags&DOTALL != 0 {
				set = runeSet{{0, invalidByte}}
			}
			subs = append(subs, &node{kind: nodeSet, set: set})
		case '^':
			at := atTextStart
			if flags&MULTILINE != 0 {
				at = atLineStart
			}
			subs = append(subs, &node{kind: nodeAssert, at: at})
		case '$':
			at := atEnd
			if flags&MULTILINE != 0 {
				at = atLineEnd
			}
			subs = append(subs, &node{kind: nodeAssert, at: at})
		case '*', '+', '?', '{':
			subs = p.quantifier(c, start, subs, flags)
		case '(':
			n, global := p.group(start, flags, depth, first && len(subs) == 0)
			flags = global
			if n != nil {
				subs = append(subs, n)
			}
		default:
			subs = append(subs, p.literal(c, flags))
		}
		if len(subs) > 0 {
			if n := subs[len(subs)-1]; n.span.to == 0 {
				n.span = span{int32(start), int32(p.pos)}
			}
		}
	}
	switch len(subs) {
	case 0:
		return &node{kind: nodeEmpty}, flags
	case 1:
		return subs[0], flags
	}
	return &node{kind: nodeConcat, subs: subs}, flags
}

func (p *parser) literal(c rune, flags Flag) *node {
	return &node{kind: nodeSet, set: p.folded(runeSet{{c, c}}, flags)}
}

// folded returns the set of characters that match one of s under flags.
func (p *parser) folded(s runeSet, flags Flag) runeSet {
	if flags&IGNORECASE == 0 {
		return s
	}
	ascii := flags&ASCII != 0
	if len(s) == 1 && s[0].lo == s[0].hi && s[0].lo < 0x80 {
		// What nearly every literal is; only i, k and s have equivalents beyond ASCII.
		one := &foldedOnes[s[0].lo]
		if ascii {
			one = &foldedASCII[s[0].lo]
		}
		one.once.Do(func() { one.set = s.lowered(ascii).unlowered(ascii) })
		return one.set
	}
	return s.lowered(ascii).unlowered(ascii)
}

// foldedOnes and foldedASCII are the characters of ASCII in both cases, as they were
// worked out first.
var foldedOnes, foldedASCII [0x80]struct {
	once sync.Once
	set  runeSet
}

func (p *parser) quantifier(c rune, start int, subs []*node, flags Flag) []*node {
	lo, hi := 0, unlimited
	switch c {
	case '?':
		hi = 1
	case '+':
		lo = 1
	case '{':
		if p.peek() == '}' {
			return append(subs, p.literal(c, flags))
		}
		here := p.pos
		least := p.digits()
		most := least
		if p.accept(',') {
			most = p.digits()
		}
		if !p.accept('}') {
			p.pos = here
			return append(subs, p.literal(c, flags))
		}
		if least != "" {
			lo = p.count(least)
		}
		if most != "" {
			hi = p.count(most)
			if hi < lo {
				p.fail(start+1, "min repeat greater than max repeat")
			}
		}
	}
	if len(subs) == 0 || subs[len(subs)-1].kind == nodeAssert {
		p.fail(start, "nothing to repeat")
	}
	item := subs[len(subs)-1]
	if item.kind == nodeRepeat {
		p.fail(start, "multiple repeat")
	}
	mode := greedy
	if p.accept('?') {
		mode = lazy
	} else if p.accept('+') {
		mode = possessive
	}
	if item.kind == nodeConcat && len(item.subs) == 1 { // a (?:…) that was only a wrapper
		item = item.subs[0]
	}
	subs[len(subs)-1] = &node{kind: nodeRepeat, min: lo, max: hi, mode: mode, subs: []*node{item}}
	return subs
}

func (p *parser) digits() string {
	start := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	return string(p.in[start:p.pos])
}

func (p *parser) count(digits string) int {
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n >= unlimited {
		p.fail(-1, "the repetition number is too large")
	}
	return int(n)
}

// group reads what follows an opening parenthesis. It returns nil for a
// comment or global flags, and the flags that hold after it.
func (p *parser) group(start int, flags Flag, depth int, first bool) (*node, Flag) {
	if !p.accept('?') {
		return p.capture(start, "", flags, depth), flags
	}
	c := p.get()
	switch c {
	case none:
		p.fail(p.pos, "unexpected end of pattern")
	case 'P':
		switch c := p.get(); c {
		case '<':
			name := p.until('>', "group name")
			p.checkName(name, 1)
			return p.capture(start, name, flags, depth), flags
		case '=':
			name := p.until(')', "group name")
			p.checkName(name, 1)
			g, ok := p.names[name]
			if !ok {
				p.fail(p.pos-len([]rune(name))-1, "unknown group name %s", pyRepr(name))
			}
			if !p.groups[g].closed {
				p.fail(p.pos-len([]rune(name))-1, "cannot refer to an open group")
			}
			p.checkBehind(g)
			return p.reference(g, flags), flags
		case none:
			p.fail(p.pos, "unexpected end of pattern")
		default:
			p.pos--
			p.fail(start+1, "unknown extension ?P%s", p.token())
		}
	case ':':
		return p.wrap(start, flags, depth), flags
	case '>':
		return &node{kind: nodeAtomic, subs: []*node{p.wrap(start, flags, depth)}}, flags
	case '#':
		for {
			if p.peek() == none {
				p.fail(start, "missing ), unterminated comment")
			}
			if p.get() == ')' {
				return nil, flags
			}
		}
	case '=', '!':
		return p.look(start, c, false, flags, depth), flags
	case '<':
		c := p.get()
		if c == none {
			p.fail(p.pos, "unexpected end of pattern")
		}
		if c != '=' && c != '!' {
			p.pos--
			p.fail(start+1, "unknown extension ?<%s", p.token())
		}
		return p.look(start, c, true, flags, depth), flags
	case '(':
		return p.conditional(start, flags, depth), flags
	}
	if _, ok := flagLetters[c]; !ok && c != '-' {
		p.pos--
		p.fail(start+1, "unknown extension ?%s", p.token())
	}
	add, del, global := p.inlineFlags(c)
	if global {
		if !first {
			p.fail(start, "global flags not at the start of the expression")
		}
		p.flags |= add
		return nil, flags | add
	}
	n := p.wrap(start, combine(flags, add, del), depth)
	return n, flags
}

func combine(flags, add, del Flag) Flag {
	if add&typeFlags != 0 {
		flags &^= typeFlags
	}
	return (flags | add) &^ del
}

// wrap reads a group that captures nothing. The node is never a bare repeat or
// assertion, so that a quantifier after the parenthesis finds something to repeat.
func (p *parser) wrap(start int, flags Flag, depth int) *node {
	n := p.alternatives(flags, depth+1)
	p.close(start)
	if n.kind == nodeRepeat || n.kind == nodeAssert || n.kind == nodeConcat {
		return &node{kind: nodeConcat, subs: []*node{n}}
	}
	return n
}

func (p *parser) close(start int) {
	if !p.accept(')') {
		p.fail(start, "missing ), unterminated subpattern")
	}
}

func (p *parser) capture(start int, name string, flags Flag, depth int) *node {
	g := len(p.groups)
	if name != "" {
		if old, ok := p.names[name]; ok {
			p.fail(p.pos-len([]rune(name))-1, "redefinition of group name %s as group %d; was group %d", pyRepr(name), g, old)
		}
		p.names[name] = g
	}
	p.groups = append(p.groups, groupState{name: name})
	n := p.alternatives(flags, depth+1)
	p.close(start)
	lo, hi := n.widths(p.groupWidths())
	p.groups[g].closed = true
	p.groups[g].width = [2]int{min(lo, unlimited-1), hi}
	return &node{kind: nodeGroup, group: g, subs: []*node{n}}
}

func (p *parser) groupWidths() [][2]int {
	w := make([][2]int, len(p.groups))
	for i, g := range p.groups {
		w[i] = g.width
	}
	return w
}

func (p *parser) reference(g int, flags Flag) *node {
	fold := foldNone
	if flags&IGNORECASE != 0 {
		fold = foldUnicode
		if flags&ASCII != 0 {
			fold = foldASCII
		}
	}
	return &node{kind: nodeRef, group: g, fold: fold}
}

func (p *parser) look(start int, kind rune, behind bool, flags Flag, depth int) *node {
	outer := p.behind
	if behind && outer < 0 {
		p.behind = len(p.groups)
	}
	n := p.alternatives(flags, depth+1)
	p.behind = outer
	p.close(start)
	look := &node{kind: nodeLook, behind: behind, not: kind == '!', subs: []*node{n}}
	if behind {
		lo, hi := n.widths(p.groupWidths())
		if min(lo, unlimited-1) != hi {
			p.variable = true
		}
		look.width = lo
	}
	return look
}

func (p *parser) conditional(start int, flags Flag, depth int) *node {
	name := p.until(')', "group name")
	width := len([]rune(name))
	var g int
	if isIdentifier(name) {
		var ok bool
		if g, ok = p.names[name]; !ok {
			p.fail(p.pos-width-1, "unknown group name %s", pyRepr(name))
		}
	} else {
		n, ok := pyInt(name)
		if !ok || n < 0 {
			p.fail(p.pos-width-1, "bad character in group name %s", pyRepr(name))
		}
		if n == 0 {
			p.fail(p.pos-width-1, "bad group number")
		}
		if n >= 1<<30 {
			p.fail(p.pos-width-1, "invalid group reference %d", n)
		}
		g = n
		if _, ok := p.condPos[g]; !ok {
			p.condPos[g] = p.pos - width - 1
		}
	}
	p.checkBehind(g)
	if depth+1 > maxNesting {
		p.fail(p.pos, "groups nested more than %d deep", maxNesting)
	}
	n := &node{kind: nodeCond, group: g}
	yes, _ := p.sequence(flags, depth+1, false)
	n.subs = []*node{yes}
	if p.accept('|') {
		no, _ := p.sequence(flags, depth+1, false)
		n.subs = append(n.subs, no)
		if p.peek() == '|' {
			p.fail(p.pos, "conditional backref with more than two branches")
		}
	}
	p.close(start)
	return n
}

// checkBehind refuses a reference to a group that the same look-behind defines.
func (p *parser) checkBehind(g int) {
	if p.behind < 0 {
		return
	}
	if g >= len(p.groups) || !p.groups[g].closed {
		p.fail(p.pos, "cannot refer to an open group")
	}
	if g >= p.behind {
		p.fail(p.pos, "cannot refer to group defined in the same lookbehind subpattern")
	}
}

func (p *parser) checkName(name string, offset int) {
	if !isIdentifier(name) {
		p.fail(p.pos-len([]rune(name))-offset, "bad character in group name %s", pyRepr(name))
	}
}
