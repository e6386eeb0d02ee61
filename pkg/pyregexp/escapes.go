package pyregexp

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/runenames"
)

// Escapes, sets of characters in brackets, numbers and names, as Python reads them.

// escape reads a backslash outside a class; start is the backslash.
func (p *parser) escape(start int, flags Flag) *node {
	ascii := flags&ASCII != 0
	assert := func(at assertKind) *node { return &node{kind: nodeAssert, at: at} }
	c := p.get()
	switch c {
	case none:
		p.fail(start, "bad escape (end of pattern)")
	case 'A':
		return assert(atTextStart)
	case 'Z':
		return assert(atTextEnd)
	case 'b':
		if ascii {
			return assert(atASCIIWord)
		}
		return assert(atWord)
	case 'B':
		if ascii {
			return assert(atNotASCIIWord)
		}
		return assert(atNotWord)
	case 'd', 'D', 's', 'S', 'w', 'W':
		return &node{kind: nodeSet, set: category(c, ascii)}
	case '0':
		return p.literal(p.octal(0, 2), flags)
	}
	if '1' <= c && c <= '9' {
		if isDigit(p.peek()) {
			d := p.get()
			if isOctal(c) && isOctal(d) && isOctal(p.peek()) {
				n := (c-'0')<<6 | (d-'0')<<3 | (p.get() - '0')
				if n > 0o377 {
					p.fail(start, "octal escape value \\%c%c%c outside of range 0-0o377", c, d, n&7+'0')
				}
				return p.literal(n, flags)
			}
			return p.numbered(start, int(c-'0')*10+int(d-'0'), flags)
		}
		return p.numbered(start, int(c-'0'), flags)
	}
	return p.literal(p.char(start, c), flags)
}

func (p *parser) numbered(start, g int, flags Flag) *node {
	if g >= len(p.groups) {
		p.fail(start+1, "invalid group reference %d", g)
	}
	if !p.groups[g].closed {
		p.fail(start, "cannot refer to an open group")
	}
	p.checkBehind(g)
	return p.reference(g, flags)
}

func isDigit(c rune) bool { return '0' <= c && c <= '9' }
func isOctal(c rune) bool { return '0' <= c && c <= '7' }

// octal reads up to n more octal digits after v.
func (p *parser) octal(v rune, n int) rune {
	for ; n > 0 && isOctal(p.peek()); n-- {
		v = v<<3 | (p.get() - '0')
	}
	return v
}

// char reads the escapes that are the same inside and outside a class; c
// follows the backslash at start.
func (p *parser) char(start int, c rune) rune {
	switch c {
	case 'a':
		return '\a'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	case 'x':
		return p.hex(start, 2)
	case 'u':
		return p.hex(start, 4)
	case 'U':
		return p.hex(start, 8)
	case 'N':
		if !p.accept('{') {
			p.fail(p.pos, "missing {")
		}
		name := p.until('}', "character name")
		r, ok := runeByName(name)
		if !ok {
			p.fail(p.pos-len([]rune(name))-len(`\N{}`), "undefined character name %s", pyRepr(name))
		}
		return r
	}
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
		p.fail(start, "bad escape \\%c", c)
	}
	return c
}

func (p *parser) hex(start, digits int) rune {
	v := int64(0)
	for i := 0; i < digits; i++ {
		d, err := strconv.ParseUint(string(p.peek()), 16, 8)
		if p.peek() == none || err != nil {
			p.fail(start, "incomplete escape %s", string(p.in[start:p.pos]))
		}
		p.pos++
		v = v<<4 | int64(d)
	}
	if v > maxRune {
		p.fail(start, "bad escape %s", string(p.in[start:p.pos]))
	}
	return rune(v)
}

// class reads a set up to its closing bracket; start is the opening one.
func (p *parser) class(start int, flags Flag) *node {
	negate := p.accept('^')
	var set, categories runeSet // categories are not folded: \W stays what it is
	items := 0
	for {
		at := p.pos
		c := p.get()
		if c == none {
			p.fail(start, "unterminated character set")
		}
		if c == ']' && items > 0 {
			break
		}
		items++
		lo, many := p.classItem(at, c, flags)
		hi, ranged, last := lo, false, false
		if p.accept('-') {
			to := p.pos
			d := p.get()
			switch d {
			case none:
				p.fail(start, "unterminated character set")
			case ']':
				set = append(set, runeRange{'-', '-'})
				last = true
			default:
				var manyHi runeSet
				hi, manyHi = p.classItem(to, d, flags)
				if many != nil || manyHi != nil || hi < lo {
					p.fail(at, "bad character range %s-%s", string(p.in[at:to-1]), string(p.in[to:p.pos]))
				}
				ranged = true
			}
		}
		if many != nil && !ranged {
			categories = append(categories, many...)
		} else {
			set = append(set, runeRange{lo, hi})
		}
		if last {
			break
		}
	}
	set = set.normal()
	ascii := flags&ASCII != 0
	if flags&IGNORECASE != 0 {
		set = set.lowered(ascii)
	}
	set = append(set, categories...).normal()
	if negate {
		set = set.negate()
	}
	if flags&IGNORECASE != 0 {
		set = set.unlowered(ascii)
	}
	return &node{kind: nodeSet, set: set}
}

// classItem reads one member of a class: a character, or a category's set.
func (p *parser) classItem(at int, c rune, flags Flag) (rune, runeSet) {
	if c != '\\' {
		return c, nil
	}
	c = p.get()
	switch {
	case c == none:
		p.fail(at, "bad escape (end of pattern)")
	case strings.ContainsRune("dDsSwW", c):
		return 0, category(c, flags&ASCII != 0)
	case c == 'b':
		return '\b', nil
	case isOctal(c):
		v := p.octal(c-'0', 2)
		if v > 0o377 {
			p.fail(at, "octal escape value %s outside of range 0-0o377", string(p.in[at:p.pos]))
		}
		return v, nil
	case isDigit(c):
		p.fail(at, "bad escape \\%c", c)
	}
	return p.char(at, c), nil
}

func isIdentifier(s string) bool {
	for i, c := range s {
		if c == '_' || unicode.IsLetter(c) || unicode.Is(unicode.Nl, c) || unicode.Is(unicode.Other_ID_Start, c) {
			continue
		}
		if i > 0 && (unicode.In(c, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc) || unicode.Is(unicode.Other_ID_Continue, c)) {
			continue
		}
		return false
	}
	return s != ""
}

// pyInt reads a number as Python's int() does: blanks around it, a sign, single
// underscores between digits.
func pyInt(s string) (int, bool) {
	s = strings.TrimSpace(s)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n := 0
	for _, c := range s {
		if c == '_' {
			continue
		}
		if !digitSet.contains(c) {
			return 0, false
		}
		n = min(n*10+digitValue(c), 1<<40)
	}
	if neg {
		n = -n
	}
	return n, true
}

// digitValue: decimal digits come in tens, each from a zero on.
func digitValue(c rune) int {
	for _, r := range digitSet {
		if r.lo <= c && c <= r.hi {
			return int(c-r.lo) % 10
		}
	}
	return 0
}

// pyRepr quotes a name as Python's %r does.
func pyRepr(s string) string {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteByte(q)
	for _, c := range s {
		switch {
		case c == rune(q) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		case !unicode.IsPrint(c) && c <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, c)
		case !unicode.IsPrint(c) && c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\U%08x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte(q)
	return b.String()
}

// runeByName finds a character by its Unicode name, in any case.
func runeByName(name string) (rune, bool) {
	name = strings.ToUpper(name)
	if hex, ok := strings.CutPrefix(name, "CJK UNIFIED IDEOGRAPH-"); ok {
		c, err := strconv.ParseUint(hex, 16, 32)
		return rune(c), err == nil && len(hex) >= 4 && unicode.Is(unicode.Unified_Ideograph, rune(c))
	}
	if strings.HasPrefix(name, "<") {
		return 0, false
	}
	for c := rune(0); c <= maxRune; c++ {
		if runenames.Name(c) == name {
			return c, true
		}
	}
	return 0, false
}
