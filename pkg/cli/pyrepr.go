package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// What fail2ban prints of values is Python's repr of them. These write it.

// pyString is the repr of a str.
func pyString(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0x100 && !unicode.IsPrint(r):
			b = fmt.Appendf(b, `\x%02x`, r)
		case r >= 0x100 && !unicode.IsPrint(r):
			if r > 0xffff {
				b = fmt.Appendf(b, `\U%08x`, r)
			} else {
				b = fmt.Appendf(b, `\u%04x`, r)
			}
		default:
			b = append(b, string(r)...)
		}
	}
	return string(append(b, quote))
}

// pyValue is the repr of a value: nil, int, string, []string (a tuple), and
// pySet.
func pyValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case int:
		return strconv.Itoa(v)
	case string:
		return pyString(v)
	case []string:
		if len(v) == 1 {
			return "(" + pyString(v[0]) + ",)"
		}
		return "(" + pyStrings(v) + ")"
	case pySet:
		return "{" + pyStrings(v) + "}"
	case pyRaw:
		return string(v)
	}
	return fmt.Sprint(v)
}

// pySet is a set of strings; pyRaw is written as it stands.
type (
	pySet []string
	pyRaw string
)

func pyStrings(list []string) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pyString(s))
	}
	return b.String()
}

// pyDict is the repr of a dict in the order of its keys.
func pyDict(keys []string, value func(string) any) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pyString(k) + ": " + pyValue(value(k)))
	}
	b.WriteByte('}')
	return b.String()
}
