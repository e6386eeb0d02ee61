package top

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// clean makes a text one that can stand in a line on a terminal: strangers wrote it. What would
// steer a terminal, change the direction of the text or take no place becomes U+FFFD.
func clean(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r): // which no control and no format character is
			return utf8.RuneError
		case unicode.In(r, unicode.Mn, unicode.Me): // heaped upon one letter they reach other lines
			return -1
		}
		return r
	}, s)
}

// fit makes a text exactly so wide, in cells. Numbers stand at the right.
func fit(s string, width int, right bool) string {
	if width <= 0 {
		return ""
	}
	w := ansi.StringWidth(s)
	if w > width {
		s = ansi.Truncate(s, width, "…")
		w = ansi.StringWidth(s)
	}
	pad := strings.Repeat(" ", max(width-w, 0))
	if right {
		return pad + s
	}
	return s + pad
}

// Sparks are the characters of a line of bars, from nothing to the most.
var (
	sparks      = []rune(" ▁▂▃▄▅▆▇█")
	sparksASCII = []rune(" .:-=+*#@")
)

// sparkline draws the last values, so many.
func sparkline(values []int, width int, plain bool) string {
	width = max(width, 0)
	set := sparks
	if plain {
		set = sparksASCII
	}
	if len(values) > width {
		values = values[len(values)-width:]
	}
	most := 1
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(width-len(values), 0)))
	for _, v := range values {
		n := 0
		if v > 0 {
			n = 1 + (len(set)-2)*v/most
		}
		b.WriteRune(set[min(n, len(set)-1)])
	}
	return b.String()
}
