package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/pyregexp"
)

// Services that log JSON tell in fields what others write into a text. A filter for
// them names the fields; no expression looks at the line, so that nothing which a
// client writes into one field can be taken for another.

// JSON is a filter of a log that holds one JSON object a line.
type JSON struct {
	// Host are the fields that may hold the address, with or without a port; the
	// first that holds one is taken. A field within another is named with a dot.
	Host []string
	// Forwarded is a field that says whom proxies had the request from, a text or a list of
	// some; Peer is the one with who connected, where Host is taken from a header. Empty:
	// there is none.
	Forwarded, Peer string
	Time            string // field with the time; empty: the lines have none
	User            string // field with the user's name; empty: none
	// Match are the kinds of failures: a line is one if all conditions of one kind hold.
	Match []JSONMatch
}

// fields are the names of the fields that are looked at.
func (j *JSON) fields() []string {
	out := append(slices.Clone(j.Host), j.Time, j.User, j.Forwarded, j.Peer)
	for _, m := range j.Match {
		for _, c := range m.Conditions {
			out = append(out, c.Field)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// JSONMatch is one kind of failure.
type JSONMatch struct {
	Conditions []Condition
	File       string
	Line       int
}

// Condition is what a field has to hold.
type Condition struct {
	Field  string
	Values []string         // one of them, as the text of a string, a number or a boolean
	Regexp *pyregexp.Regexp // over Values, searched for in the field's text
}

// String is the condition as it is configured.
func (c Condition) String() string {
	return c.Field + " = " + c.want()
}

func (c Condition) want() string {
	if c.Regexp != nil {
		return fmt.Sprintf("/%s/", c.Regexp)
	}
	return strings.Join(c.Values, " or ")
}

// String is the kind as it is configured.
func (m JSONMatch) String() string {
	parts := make([]string, len(m.Conditions))
	for i, c := range m.Conditions {
		parts[i] = c.String()
	}
	return "json: " + strings.Join(parts, ", ")
}

// field returns a field of an object by its name, or that of objects within it.
func field(object map[string]any, path string) (any, bool) {
	if v, ok := object[path]; ok {
		return v, true
	}
	for i, c := range path {
		if c != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok {
			if v, ok := field(inner, path[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// plain is a field's text; not ok if it is an object, a list or null.
func plain(object map[string]any, path string) (text string, ok bool) {
	v, _ := field(object, path)
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case []string:
		return strings.Join(v, ", "), true
	}
	return "", false
}

// holds reports whether a line's object fulfils a condition.
func (c *Condition) holds(object map[string]any) bool {
	text, ok := plain(object, c.Field)
	switch {
	case !ok:
		return false
	case c.Regexp != nil:
		return c.Regexp.Match([]byte(text))
	}
	return slices.Contains(c.Values, text)
}

// address reads what a field may hold: an address, or one with a port.
func address(s string) netip.Prefix {
	if p := ParseID(strings.Trim(s, "[]"), -1); p.IsValid() {
		return p
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return ParseID(a.Addr().WithZone("").String(), -1)
	}
	return netip.Prefix{}
}

// matchJSON is Match for a filter of JSON.
func (f *Filter) matchJSON(line []byte, stamp, now time.Time) Result {
	r := Result{Ignored: -1, Rest: line}
	in, ok := readObject(line, f.jsonFields, f.json.Forwarded)
	if !ok {
		if text := bare(line); len(text) > 0 && text[0] == '{' { // it may have been a failure
			r.Broken = true
		}
		return r
	}
	if text, ok := plain(in, f.json.Time); ok {
		r.Time, r.Dated = f.jsonTime(text, now)
	}
	if !r.Dated && !stamp.IsZero() {
		r.Time, r.Dated = stamp, true
	}
	for i := range f.json.Match {
		m := &f.json.Match[i]
		if slices.ContainsFunc(m.Conditions, func(c Condition) bool { return !c.holds(in) }) {
			continue
		}
		out := Failure{Regex: i, Time: r.Time, number: fullFloat}
		if !f.jsonClient(&out, in, &r) {
			continue
		}
		user, named := plain(in, f.json.User)
		out.User = user
		if f.Detail == DetailAll {
			group := "ip4"
			if out.Addr.Addr().Is6() {
				group = "ip6"
			}
			out.Groups, out.Order = Groups{group: out.ID}, []string{group}
			if named {
				out.Groups["user"] = user
				out.Order = append(out.Order, "user")
			}
		}
		if f.Detail != DetailIDs {
			out.Lines = []Line{f.lineOf(nil, nil, line)}
		}
		r.Failures = append(r.Failures, out)
		if !f.CheckAll {
			break
		}
	}
	return r
}

// jsonClient finds out whose failure it is.
func (f *Filter) jsonClient(out *Failure, in map[string]any, r *Result) bool {
	chain := ""
	for _, host := range f.json.Host {
		text, _ := plain(in, host)
		if out.Addr = address(text); out.Addr.IsValid() {
			chain = text
			break
		}
		if f.json.Peer != "" && strings.Contains(text, ",") { // it is a list
			chain = text
			break
		}
	}
	if chain == "" && out.Addr.IsValid() {
		chain = name(out.Addr)
	}
	if chain != "" && f.unknown(chain, r) {
		return false
	}
	if f.json.Peer != "" && chain != "" {
		text, _ := plain(in, f.json.Peer)
		peer := address(text)
		if !peer.IsValid() && !out.Addr.IsValid() && f.Trusted == nil {
			r.Withheld = append(r.Withheld, Withheld{Chain: chain[:min(len(chain), 200)]})
			return false
		}
		if out.Addr.IsValid() {
			out.ID = name(out.Addr)
		}
		return f.client(out, peer, chain, r)
	}
	if !out.Addr.IsValid() {
		return false
	}
	out.ID = name(out.Addr)
	if f.json.Forwarded == "" {
		return true
	}
	// Who connected is the last of the fields: what stands before it, the service has from
	// a header itself, perhaps with less care.
	peer := out.Addr
	for _, host := range slices.Backward(f.json.Host) {
		text, _ := plain(in, host)
		if p := address(text); p.IsValid() {
			peer = p
			break
		}
	}
	text, _ := plain(in, f.json.Forwarded)
	if f.Trusted == nil {
		if out.Addr == peer { // else the service knows its proxies
			r.beside(text)
		}
		return true
	}
	if f.Trusted(peer) && (text != "" || f.Trusted(out.Addr)) {
		return f.client(out, peer, text, r)
	}
	return true
}

// jsonTime reads a time: seconds or smaller parts of them since 1970, or a date.
func (f *Filter) jsonTime(text string, now time.Time) (time.Time, bool) {
	if len(text) > maxTimeText {
		return time.Time{}, false
	}
	text = strings.TrimSpace(text)
	if t, ok, number := sinceEpoch(text); number {
		return t, ok
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, true
	}
	m, ok := f.dates.Find([]byte(text), now)
	return m.Time, ok && m.Valid
}

// maxTimeText is the length in bytes beyond which a field holds no time.
const maxTimeText = 128

// sinceEpoch reads a number of seconds since 1970 or, where that would be beyond the
// year 3000, of milliseconds, microseconds or nanoseconds. number says that it is one;
// not ok if it is no time that a log can have: below zero, or beyond all of that.
func sinceEpoch(text string) (t time.Time, ok, number bool) {
	for _, c := range []byte(text) {
		if c-'0' > 9 && !strings.ContainsRune("+-.eE", rune(c)) {
			return t, false, false // also Infinity, NaN and hexadecimal, which Go reads
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return t, false, true
	case err != nil:
		return t, false, false // a date has such characters, too
	case math.Signbit(n) && n != 0:
		return t, false, true
	}
	const year3000 = 32503680000
	// As a whole number, where it is one: a float has no room for nanoseconds.
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		for unit := int64(1); unit <= 1e9; unit *= 1000 {
			if whole/unit <= year3000 {
				return time.Unix(whole/unit, whole%unit*(1e9/unit)), true, true
			}
		}
		return t, false, true
	}
	for unit := float64(1); unit <= 1e9; unit *= 1000 {
		if s := n / unit; s <= year3000 {
			sec := math.Floor(s)
			return time.Unix(int64(sec), int64(math.Round((s-sec)*1e6))*1000), true, true
		}
	}
	return t, false, true
}

// exprs are the kinds of failures where others have expressions.
func (j *JSON) exprs() []Expr {
	out := make([]Expr, len(j.Match))
	for i, m := range j.Match {
		out[i] = Expr{Text: m.String(), File: m.File, Line: m.Line}
	}
	return out
}
