package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/filter"
	"bailiff/pkg/pyregexp"
)

// json resolves a filter of JSON. A condition is a value, a list of them, or an
// expression between slashes.
func (f *Filter) json() (*filter.JSON, error) {
	raw := f.raw.JSON
	fail := func(key, format string, args ...any) error {
		return &Error{f.Source, f.doc.line("json", key), fmt.Sprintf(format, args...)}
	}
	if len(f.raw.Failregex) > 0 || f.raw.Prefregex != "" || len(f.raw.Mode) > 0 {
		return nil, fail("", "a filter looks at [json] or has failregex, prefregex and modes, not both")
	}
	out := &filter.JSON{Time: raw.Time, User: raw.User, Peer: raw.Peer, Forwarded: raw.Forwarded}
	for _, h := range append(slices.Clone(raw.Host), raw.Hosts...) {
		if h != "" {
			out.Host = append(out.Host, h)
		}
	}
	if len(out.Host) == 0 {
		return nil, fail("host", "[json] needs host: the field that holds the address")
	}
	if len(raw.Match) == 0 {
		return nil, fail("match", "[json] needs [[json.match]]: what a failure looks like")
	}
	for i, m := range raw.Match {
		kind := filter.JSONMatch{File: f.Source, Line: f.doc.line("json", "match", strconv.Itoa(i))}
		if len(m) == 0 {
			return nil, &Error{f.Source, kind.Line, "[[json.match]] without a condition: every line would be a failure"}
		}
		for _, name := range sortedKeys(m) {
			c, err := condition(name, m[name])
			if err != nil {
				return nil, &Error{f.Source, kind.Line, fmt.Sprintf("json.match: %s: %v", name, err)}
			}
			kind.Conditions = append(kind.Conditions, c)
		}
		out.Match = append(out.Match, kind)
	}
	return out, nil
}

func condition(name string, v any) (filter.Condition, error) {
	c := filter.Condition{Field: name}
	switch v := v.(type) {
	case string:
		if len(v) > 2 && strings.HasPrefix(v, "/") && strings.HasSuffix(v, "/") {
			re, err := pyregexp.Compile(v[1:len(v)-1], 0)
			c.Regexp = re
			return c, err
		}
		c.Values = []string{v}
	case int64, bool, float64:
		c.Values = []string{fmt.Sprint(v)}
	case []any:
		for _, x := range v {
			one, err := condition(name, x)
			if err != nil || one.Regexp != nil {
				return c, cmp.Or(err, errors.New("want values in a list, no expressions"))
			}
			c.Values = append(c.Values, one.Values...)
		}
		slices.Sort(c.Values)
	default:
		return c, fmt.Errorf("want a string, a number, a list of them, or /expression/, not %v", v)
	}
	return c, nil
}
