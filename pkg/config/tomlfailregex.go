package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// failList is what failregex holds: an expression or several, each a text or a table
// { regex = '…', weight = 3 }.
type failList []rawExpr

// rawExpr are the expressions of one text, one a line.
type rawExpr struct {
	text   string
	weight int // for how many failures each match counts; 0: nothing is said
}

// WeightMost is for how many failures a match counts at most.
const WeightMost = 100

// itemError is wrong with a part of a value, which is told where that part stands.
type itemError struct {
	path []string // within the value
	text string
}

func (e *itemError) Error() string { return e.text }

// UnmarshalTOML implements toml.Unmarshaler.
func (l *failList) UnmarshalTOML(v any) error {
	list, ok := listOf(v)
	if !ok {
		x, err := rawExprOf(v, nil)
		if err != nil {
			return err
		}
		*l = failList{x}
		return nil
	}
	*l = make(failList, 0, len(list))
	for i, v := range list {
		x, err := rawExprOf(v, []string{strconv.Itoa(i)})
		if err != nil {
			return err
		}
		*l = append(*l, x)
	}
	return nil
}

// rawExprOf reads one item, which stands at a path within the value.
func rawExprOf(v any, path []string) (x rawExpr, err error) {
	fail := func(key, format string, args ...any) error {
		at := slices.Clone(path)
		if key != "" {
			at = append(at, key)
		}
		return &itemError{at, fmt.Sprintf(format, args...)}
	}
	switch v := v.(type) {
	case string:
		return rawExpr{text: v}, nil
	case int64:
		return rawExpr{text: fmt.Sprint(v)}, nil
	case map[string]any:
		for _, key := range sortedKeys(v) {
			switch key {
			case "regex":
				text, ok := v[key].(string)
				if !ok {
					return x, fail(key, "regex: want a string, not %s", described(v[key]))
				}
				x.text = text
			case "weight":
				switch n := v[key].(type) {
				case int64:
					if n < 1 || n > WeightMost {
						return x, fail(key, "weight %d: want a whole number from 1 to %d, for how many failures a match counts", n, WeightMost)
					}
					x.weight = int(n)
				case float64:
					if n == math.Trunc(n) && n >= 1 && n <= WeightMost {
						return x, fail(key, "weight %s: want a whole number: write weight = %d", described(v[key]), int(n))
					}
					return x, fail(key, "weight %s: want a whole number from 1 to %d, for how many failures a match counts", described(v[key]), WeightMost)
				default:
					return x, fail(key, "weight: want a whole number from 1 to %d, for how many failures a match counts, not %s", WeightMost, described(v[key]))
				}
			default:
				return x, fail(key, "unknown key %q%s: an expression has regex and weight", key, closest(key, []string{"regex", "weight"}))
			}
		}
		if strings.TrimSpace(x.text) == "" {
			return x, fail("", "want { regex = '…', weight = N }: there is no regex")
		}
		return x, nil
	}
	return x, fail("", "want strings, or tables { regex = '…', weight = N }, not %s", described(v))
}

// texts are the expressions as they are written.
func (l failList) texts() (out []string) {
	for _, x := range l {
		out = append(out, x.text)
	}
	return out
}

// String is the list as settings show it.
func (l failList) String() string {
	var lines []string
	for _, x := range l {
		text := strings.TrimSpace(x.text)
		if x.weight > 1 {
			text = fmt.Sprintf("%s (weight %d)", text, x.weight)
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}
