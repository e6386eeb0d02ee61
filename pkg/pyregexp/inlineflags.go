package pyregexp

import (
	"unicode"
)

var flagLetters = map[rune]Flag{
	'i': IGNORECASE, 'm': MULTILINE, 's': DOTALL, 'x': VERBOSE, 'a': ASCII, 'u': unicodeFlag,
	'L': 0, // known, and refused for text
}

// inlineFlags reads the letters after "(?"; c is the first.
func (p *parser) inlineFlags(c rune) (add, del Flag, global bool) {
	if c != '-' {
		for {
			if c == 'L' {
				p.fail(p.pos, "bad inline flags: cannot use 'L' flag with a str pattern")
			}
			f := flagLetters[c]
			add |= f
			if f&typeFlags != 0 && add&typeFlags != f {
				p.fail(p.pos, "bad inline flags: flags 'a', 'u' and 'L' are incompatible")
			}
			c = p.get()
			if c == none {
				p.fail(p.pos, "missing -, : or )")
			}
			if c == ')' || c == '-' || c == ':' {
				break
			}
			if _, ok := flagLetters[c]; !ok {
				if unicode.IsLetter(c) {
					p.fail(p.pos-1, "unknown flag")
				}
				p.fail(p.pos-1, "missing -, : or )")
			}
		}
	}
	if c == ')' {
		return add, 0, true
	}
	if c == '-' {
		c = p.get()
		if c == none {
			p.fail(p.pos, "missing flag")
		}
		if _, ok := flagLetters[c]; !ok {
			if unicode.IsLetter(c) {
				p.fail(p.pos-1, "unknown flag")
			}
			p.fail(p.pos-1, "missing flag")
		}
		for {
			f := flagLetters[c]
			if f&typeFlags != 0 || c == 'L' {
				p.fail(p.pos, "bad inline flags: cannot turn off flags 'a', 'u' and 'L'")
			}
			del |= f
			c = p.get()
			if c == none {
				p.fail(p.pos, "missing :")
			}
			if c == ':' {
				break
			}
			if _, ok := flagLetters[c]; !ok {
				if unicode.IsLetter(c) {
					p.fail(p.pos-1, "unknown flag")
				}
				p.fail(p.pos-1, "missing :")
			}
		}
	}
	if add&del != 0 {
		p.fail(p.pos, "bad inline flags: flag turned on and off")
	}
	return add, del, false
}
