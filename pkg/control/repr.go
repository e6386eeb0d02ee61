package control

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"bailiff/pkg/eventlog"
)

// What fail2ban prints and logs of values is Python's repr of them.

// Repr is the repr of an answer.
func Repr(v any) string {
	join := func(items []any) string {
		out := make([]string, len(items))
		for i, x := range items {
			out[i] = Repr(x)
		}
		return strings.Join(out, ", ")
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int:
		return strconv.Itoa(v)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".en") {
			s += ".0"
		}
		return s
	case string:
		return ReprString(v)
	case List:
		return "[" + join(v) + "]"
	case Tuple:
		if len(v) == 1 {
			return "(" + Repr(v[0]) + ",)"
		}
		return "(" + join(v) + ")"
	case Dict:
		out := make([]string, len(v.Keys))
		for i, k := range v.Keys {
			out[i] = ReprString(k) + ": " + Repr(v.Values[k])
		}
		return "{" + strings.Join(out, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// ReprBytes is the repr of bytes.
func ReprBytes(b []byte) string {
	quote := byte('\'')
	if bytes.IndexByte(b, '\'') >= 0 && bytes.IndexByte(b, '"') < 0 {
		quote = '"'
	}
	out := []byte{'b', quote}
	for _, c := range b {
		switch {
		case c == quote || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c >= 0x7f:
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, quote))
}

// ReprString is the repr of a str.
func ReprString(s string) string { return eventlog.Quote(s) }
