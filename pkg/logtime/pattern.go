package logtime

import (
	"fmt"
	"strings"
	"sync"

	"bailiff/pkg/pyregexp"
)

// A datepattern is a Python regular expression in which %-directives stand for
// fields of a date. This file writes them out and decides how the expression is
// bound to the words or to the line around it; fail2ban's manual describes both
// under datepattern in jail.conf(5).

const (
	hour24  = `[0-1]?\d|2[0-3]`
	weekNo  = `5[0-3]|[0-4]\d|\d`
	zoneAbr = `[A-Z](?:[A-Z]{2,4})?`
	zoneOff = `[+-][01]\d(?::?\d{2})?`
	// smallZ is a Z as RFC 3339 allows it, too; only at a second or its fraction, since a
	// word of one letter may stand behind a blank.
	smallZ = `(?<=\d)z`
)

// directive is the expression of a %-code and the name that reports give it.
type directive struct{ expr, name string }

func field(code, expr string) string { return "(?P<" + code + ">" + expr + ")" }

// words makes the alternatives of names, the longest first.
func words(names ...string) string { return strings.Join(names, "|") }

// fraction is that of a second, of any length: what stands behind it, a zone, must not be
// lost.
var fraction = field("f", `[0-9]+`)

// directives are those of Python's strptime, and fail2ban's: k and l may have a
// space for a leading zero, the Ex forms want every digit.
var directives = map[string]directive{
	"a": {field("a", "mon|tue|wed|thu|fri|sat|sun"), "DAY"},
	"A": {field("A", words("wednesday", "thursday", "saturday", "tuesday", "monday", "friday", "sunday")), "DAYNAME"},
	"b": {field("b", "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"), "MON"},
	"B": {field("B", words("september", "february", "november", "december", "january", "october", "august", "march", "april", "june", "july", "may")), "MONTH"},
	"d": {field("d", `[1-2]\d|[0 ]?[1-9]|3[0-1]`), "Day"},
	"f": {fraction, "Microseconds"},
	"G": {field("G", `\d\d\d\d`), "%G"},
	"H": {field("H", hour24), "24hour"},
	"I": {field("I", `1[0-2]|0[1-9]|[1-9]`), "12hour"},
	"j": {field("j", `36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]`), "Yearday"},
	"k": {` ?` + field("H", `[0-2]?\d`), "%k"},
	"l": {` ?` + field("I", `1?\d`), "%l"},
	"m": {field("m", `0?[1-9]|1[0-2]`), "Month"},
	"M": {field("M", `[0-5]?\d`), "Minute"},
	"p": {field("p", "am|pm"), "AMPM"},
	"S": {field("S", `[0-5]?\d|6[0-1]`), "Second"},
	"u": {field("u", `[1-7]`), "%u"},
	"U": {field("U", weekNo), "Yearweek"},
	"V": {field("V", `5[0-3]|0[1-9]|[1-4]\d|\d`), "%V"},
	"w": {field("w", `[0-6]`), "Weekday"},
	"W": {field("W", weekNo), "Yearweek"},
	"y": {field("y", `\d\d`), "Year2"},
	"Y": {field("Y", `\d{4}`), "Year"},
	"z": {field("z", `Z|`+smallZ+`|UTC|GMT|`+zoneOff), "Zone offset"},
	"Z": {field("Z", `Z|[A-Z]{3,5}`), "Zone name"},
	"%": {"%", "%"},

	"Exd": {field("d", `[1-2]\d|0[1-9]|3[0-1]`), "ExDay"},
	"ExH": {field("H", `[0-1]\d|2[0-3]`), "Ex24hour"},
	"Exk": {` ?` + field("H", hour24), "%Exk"},
	"Exl": {` ?` + field("I", `1[0-2]|\d`), "%Exl"},
	"Exm": {field("m", `0[1-9]|1[0-2]`), "ExMonth"},
	"ExM": {field("M", `[0-5]\d`), "ExMinute"},
	"ExS": {field("S", `[0-5]\d|6[0-1]`), "ExSecond"},
	"Exy": {field("y", `\d{2}`), "ExYear2"},
	"ExY": {"", "ExYear"}, // depends on the present; see exactYear
	"Exz": {field("z", `(?:`+zoneAbr+`)?`+zoneOff+`|`+zoneAbr+`|`+smallZ), "ExZone offset"},
	"ExZ": {field("Z", zoneAbr), "ExZone name"},
}

func init() {
	// What the C locale makes of whole dates and times.
	whole := func(text string) string {
		s, _, _ := writeOut(text, 0)
		return strings.ReplaceAll(s, " ", `\s+`)
	}
	date, clock := whole("%m/%d/%y"), whole("%H:%M:%S")
	directives["c"] = directive{whole("%a %b %d ") + clock + `\s+` + directives["Y"].expr, "%c"}
	directives["x"] = directive{date, "%x"}
	directives["X"] = directive{clock, "%X"}
}

// SameYears reports whether the default templates take the same years in one year as in
// another: those of a detector that was made before the clock was set, or ten years
// ago, may not know this one.
func SameYears(a, b int) bool { return exactYear(a) == exactYear(b) }

// exactYear takes the years from 2000 to the end of the decade in which the next
// three years lie.
func exactYear(year int) string {
	last := min((year+3)/10, 209) % 10
	if last < 2 {
		last = 2
	}
	set := ""
	for d := range last + 1 {
		set += string(rune('0' + d))
	}
	return field("Y", "20["+set+`]\d`)
}

// DirectiveError says that a pattern holds a % that is no directive.
type DirectiveError struct {
	Pattern string
	At      int // of the %, in bytes
}

func (e *DirectiveError) Error() string {
	return fmt.Sprintf("datepattern %q: unknown directive at %q: write %%%% for a percent sign", e.Pattern, e.Pattern[e.At:])
}

// writeOut replaces the directives of a pattern by their expressions, and by
// their names.
func writeOut(pattern string, year int) (expr, name string, err error) {
	var e, n strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			e.WriteByte(pattern[i])
			n.WriteByte(pattern[i])
			continue
		}
		code := ""
		for _, size := range []int{3, 1} {
			if i+1+size > len(pattern) {
				continue
			}
			if c := pattern[i+1 : i+1+size]; directives[c].name != "" {
				code = c
				break
			}
		}
		if code == "" {
			return "", "", &DirectiveError{Pattern: pattern, At: i}
		}
		d := directives[code]
		if code == "ExY" {
			d.expr = exactYear(year)
		}
		e.WriteString(d.expr)
		n.WriteString(d.name)
		i += len(code)
	}
	return e.String(), n.String(), nil
}

// folds reports whether a pattern holds words, whose case does not matter.
func folds(pattern string) bool {
	for i := 0; i+1 < len(pattern); i++ {
		if pattern[i] == '%' && strings.IndexByte("aAbBpc", pattern[i+1]) >= 0 && (i == 0 || pattern[i-1] != '%') {
			return true
		}
	}
	return false
}

// binding says how an expression is bound to what is around it.
type binding uint8

const (
	bindWord  binding = iota // to the beginning of a word
	bindLine                 // to the beginning of the line, at most two signs before it
	bindNever                // as it stands
)

// bound is an expression ready to be compiled.
type bound struct {
	expr      string
	lineBegin bool // anchored at the line's begin or end: tried at any
	lineEnd   bool // place of the line only once
	named     bool // the binding gives the name its {^LN-BEG}
}

// bind adds the group that holds the date, if the expression has none, and what
// binds it.
func bind(expr string, begin binding, end bool) bound {
	expr = strings.TrimSpace(expr)
	flags := ""
	if i, j := findFlags(expr); i >= 0 {
		flags = expr[i:j]
		expr = expr[:i] + expr[j:]
	}
	b := bound{}
	bindBegin := begin != bindNever && !bindsBegin(expr)
	bindEnd := end && !bindsEnd(expr)
	if !hasGroup(expr) {
		rest := strings.TrimPrefix(expr, "^")
		head := expr[:len(expr)-len(rest)]
		rest, tail := strings.TrimSuffix(rest, "$"), ""
		if len(rest) < len(expr)-len(head) {
			tail = "$"
		}
		expr = head + "(" + rest + ")" + tail
	}
	if bindBegin {
		if begin == bindLine {
			expr = `^(?:\W{0,2})?` + expr
			b.lineBegin, b.named = true, true
		} else {
			expr = `(?=^|\b|\W)` + expr
		}
	}
	if bindEnd {
		expr += `(?=\b|\W|$)`
	}
	b.lineBegin = b.lineBegin || anchoredBegin(expr)
	b.lineEnd = anchoredEnd(expr)
	b.expr = flags + dropStars(expr)
	return b
}

// findFlags finds the first (?flags).
func findFlags(s string) (from, to int) {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != '(' || s[i+1] != '?' {
			continue
		}
		j := i + 2
		for j < len(s) && s[j] >= 'a' && s[j] <= 'z' {
			j++
		}
		if j > i+2 && j < len(s) && s[j] == ')' {
			return i, j + 1
		}
	}
	return -1, -1
}

// hasGroup reports whether there is a group that captures by number alone.
func hasGroup(s string) bool {
	for i := range len(s) {
		if s[i] == '(' && !strings.HasPrefix(s[i+1:], "?") &&
			(i == 0 || s[i-1] != '\\') && (i < 2 || s[i-2:i] != "(?") {
			return true
		}
	}
	return false
}

// opening cuts leading parentheses.
func opening(s string) string { return strings.TrimLeft(s, "(") }

// caretGroup reports whether s begins with ^, (^ or (?:^.
func caretGroup(s string) (rest string, ok bool) {
	for _, p := range []string{"^", "(^", "(?:^"} {
		if r, ok := strings.CutPrefix(s, p); ok {
			return r, true
		}
	}
	return s, false
}

// bindsBegin reports whether an expression says itself where it begins: with ^,
// or with ** for anywhere.
func bindsBegin(s string) bool {
	rest := s
	for {
		if _, ok := caretGroup(rest); ok || strings.HasPrefix(opening(rest), "**") {
			return true
		}
		if !strings.HasPrefix(rest, "(") {
			return false
		}
		rest = rest[1:]
	}
}

// bindsEnd reports whether it says itself where it ends: with $, \b, \s or **.
func bindsEnd(s string) bool {
	escaped := func(t string) bool { return strings.HasSuffix(t, `\`) }
	for _, end := range []string{"$", "$)"} {
		if t, ok := strings.CutSuffix(s, end); ok && !escaped(t) {
			return true
		}
	}
	for _, end := range []string{`\b`, `\s`} {
		if t, ok := strings.CutSuffix(s, end); ok && !escaped(t) {
			return true
		}
	}
	t, ok := strings.CutSuffix(strings.TrimRight(s, ")"), "**")
	return ok && !escaped(t)
}

// dropStars takes the ** at the ends away.
func dropStars(s string) string {
	if rest := opening(s); strings.HasPrefix(rest, "**") {
		s = s[:len(s)-len(rest)] + rest[2:]
	}
	if t := strings.TrimRight(s, ")"); strings.HasSuffix(t, "**") && !strings.HasSuffix(t, `\**`) {
		s = t[:len(t)-2] + s[len(t):]
	}
	return s
}

func anchoredBegin(s string) bool {
	rest, ok := caretGroup(s)
	return ok && (strings.HasPrefix(s, "^") || !strings.HasPrefix(rest, "|"))
}

func anchoredEnd(s string) bool {
	for _, end := range []string{"$", "$)"} {
		if t, ok := strings.CutSuffix(s, end); ok && !strings.HasSuffix(t, `\`) && !strings.HasSuffix(t, "|") {
			return true
		}
	}
	return false
}

// compile makes the expression of a bound pattern; an error names the pattern.
func (b bound) compile(pattern string) (*pyregexp.Regexp, error) {
	re, err := compiled(b.expr)
	if err != nil {
		return nil, fmt.Errorf("datepattern %q: %w", pattern, err)
	}
	return re, nil
}

// expressions are those that were compiled before. Every detector has the same
// default templates, and a Regexp may be used by many at once.
var expressions = struct {
	sync.Mutex
	byText map[string]*pyregexp.Regexp
}{byText: map[string]*pyregexp.Regexp{}}

// expressionsMost is far more than there are default templates and patterns of
// one configuration.
const expressionsMost = 500

// right are those that were checked and found right: each jail asks for the same few, twice.
var right = struct {
	sync.Mutex
	texts map[string]struct{}
}{texts: map[string]struct{}{}}

// checked says what is wrong with an expression.
func checked(text string) error {
	right.Lock()
	defer right.Unlock()
	if _, ok := right.texts[text]; ok {
		return nil
	}
	if err := pyregexp.Check(text, 0); err != nil {
		return err
	}
	if len(right.texts) >= expressionsMost {
		clear(right.texts)
	}
	right.texts[text] = struct{}{}
	return nil
}

func compiled(text string) (*pyregexp.Regexp, error) {
	expressions.Lock()
	defer expressions.Unlock()
	if re := expressions.byText[text]; re != nil {
		return re, nil
	}
	re, err := pyregexp.Compile(text, 0)
	if err != nil {
		return nil, err
	}
	if len(expressions.byText) >= expressionsMost {
		clear(expressions.byText)
	}
	expressions.byText[text] = re
	return re, nil
}
