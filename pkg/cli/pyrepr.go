package cli

import (
	"fmt"
	"strconv"
	"strings"

	"bailiff/pkg/control"
)

// What fail2ban prints of values is Python's repr of them. These write it.

// pyValue is the repr of a value: nil, int, string, []string (a tuple), and
// pySet.
func pyValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case int:
		return strconv.Itoa(v)
	case string:
		return control.ReprString(v)
	case []string:
		if len(v) == 1 {
			return "(" + control.ReprString(v[0]) + ",)"
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
		b.WriteString(control.ReprString(s))
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
		b.WriteString(control.ReprString(k) + ": " + pyValue(value(k)))
	}
	b.WriteByte('}')
	return b.String()
}
