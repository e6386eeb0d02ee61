package logtime

import (
	"fmt"
	"strings"
	"sync"

	"bailiff/pkg/pyregexp"
)

// Template is one form of a date.
type Template struct {
	Pattern string // as configured
	Name    string // as reports call it: {^LN-BEG}ExYear…
	Hits    int    // lines that it won

	kind   kind
	re     *pyregexp.Regexp // nil: not compiled yet
	date   int              // group of the date's text as a whole
	value  int              // group of EPOCH's digits
	fields []fieldGroup
	weight float64
	bound  bound

	matches  int   // lines on which it matched, won or not
	lastUsed int64 // seconds since 1970
	distance int   // from the line's begin to the date, when it last won
}

type kind uint8

const (
	kindDate kind = iota
	kindEpoch
	kindLongEpoch
	kindTAI64N
)

type fieldGroup struct {
	code  byte
	index int
}

// Weight is how near a template is to the top: hits by preference and distance;
// Preference is the second.
func (t *Template) Weight() float64 { return t.rank() }

// Preference is the weight of a single hit.
func (t *Template) Preference() float64 { return t.weight }

// Regex is the expression that finds the date.
func (t *Template) Regex() string { return t.bound.expr }

// Fail2banRegex is the expression as fail2ban has it. Ours takes more digits of a
// fraction, and a small z.
func (t *Template) Fail2banRegex() string {
	return strings.ReplaceAll(strings.ReplaceAll(t.bound.expr, fraction, field("f", `[0-9]{1,6}`)), "|"+smallZ, "")
}

// Seconds reports whether the date is a count of seconds since 1970.
func (t *Template) Seconds() bool { return t.kind == kindEpoch || t.kind == kindLongEpoch }

// HasPattern reports whether the template is written with %-directives.
func (t *Template) HasPattern() bool { return t.kind == kindDate }

// Anchored reports whether the template finds a date at one place of a line only.
func (t *Template) Anchored() bool { return t.anchored() }

// anchored reports whether the template can match at one place of a line only.
func (t *Template) anchored() bool { return t.bound.lineBegin || t.bound.lineEnd }

// AtBegin reports whether the template finds a date at the line's begin only, two signs
// behind it at most, whatever stands behind the date.
func (t *Template) AtBegin() bool {
	return strings.HasPrefix(strings.TrimPrefix(t.bound.expr, "(?iu)"), `^(?:\W{0,2})?(`)
}

// Walkable is the expression with its back references taken for what they may refer to,
// so that it can be walked (pyregexp.Walk): what it does not find, the template does not.
// group is the name of the group that takes the date.
func (t *Template) Walkable() (re *pyregexp.Regexp, group string, err error) {
	expr, n := strings.ReplaceAll(t.bound.expr, "(?P=_sep)", "[-/.]"), 0
	group = "when"
	for i := 0; i < len(expr) && n < t.date; i++ {
		switch {
		case expr[i] == '\\':
			i++
		case expr[i] == '[':
			for i += 2; i < len(expr) && expr[i] != ']'; i++ {
				if expr[i] == '\\' {
					i++
				}
			}
		case expr[i] != '(':
		case !strings.HasPrefix(expr[i:], "(?"):
			if n++; n == t.date {
				expr = expr[:i+1] + "?P<" + group + ">" + expr[i+1:]
			}
		case strings.HasPrefix(expr[i:], "(?P<"):
			if n++; n == t.date {
				group, _, _ = strings.Cut(expr[i+4:], ">")
			}
		}
	}
	re, err = pyregexp.Compile(expr, 0)
	return re, group, err
}

const (
	lineBegin = "{^LN-BEG}"
	unbound   = "{UNB}"
	unused    = 1<<31 - 1 // distance of a template that never won
)

// Digits of EPOCH and LEPOCH: seconds with a fraction; the long form takes
// milliseconds and microseconds, too.
const (
	epochDigits = `\d{10,11}\b(?:\.\d{3,6})?`
	longDigits  = `\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?`
)

func (t *Template) finish() (*Template, error) {
	t.distance = unused
	if t.weight == 0 {
		t.weight = 1
	}
	if t.date == 0 {
		t.date = 1
	}
	if t.value == 0 {
		t.value = 1
	}
	return t, nil
}

// check says what is wrong with the expression, without compiling it.
func (t *Template) check() error {
	if err := checked(t.bound.expr); err != nil {
		return fmt.Errorf("datepattern %q: %w", t.Pattern, err)
	}
	return nil
}

// compile makes the template ready to search. Most of the default ones are never
// asked for, since an earlier one finds the date; so they wait until they are.
func (t *Template) compile() error {
	if t.re != nil {
		return nil
	}
	re, err := t.bound.compile(t.Pattern)
	if err != nil {
		return err
	}
	for i, name := range re.SubexpNames() {
		if len(name) == 1 {
			t.fields = append(t.fields, fieldGroup{name[0], i})
		}
	}
	t.re = re
	return nil
}

// read are templates of the year that was asked for last, which nobody uses: jails with the same
// patterns have copies, whose texts are one.
var read struct {
	sync.Mutex
	year int
	by   map[string]*Template
}

// newTemplate reads one datepattern, once.
func newTemplate(pattern string, year int) (*Template, error) {
	read.Lock()
	defer read.Unlock()
	if read.year != year || len(read.by) >= expressionsMost {
		read.year, read.by = year, map[string]*Template{}
	}
	t := read.by[pattern]
	if t == nil {
		var err error
		if t, err = readTemplate(pattern, year); err != nil {
			return nil, err
		}
		read.by[pattern] = t
	}
	out := *t
	return &out, nil
}

func readTemplate(pattern string, year int) (*Template, error) {
	key := pattern
	if !strings.Contains(pattern, "%") {
		key = strings.ToUpper(pattern)
	}
	if key == "{NONE}" {
		t, err := datePattern(unbound+"^", year)
		if err == nil {
			t.Pattern = pattern
		}
		return t, err
	}
	if strings.Contains(key, "EPOCH") {
		if t, ok, err := epochTemplate(pattern, key); ok {
			return t, err
		}
	}
	switch key {
	case "TAI64N":
		return (&Template{Pattern: pattern, Name: "TAI64N", kind: kindTAI64N, bound: bind("@[0-9a-f]{24}", bindNever, true)}).finish()
	case lineBegin + "TAI64N", "^TAI64N":
		return (&Template{Pattern: pattern, Name: lineBegin + "TAI64N", kind: kindTAI64N, bound: bind("@[0-9a-f]{24}", bindLine, true)}).finish()
	}
	return datePattern(pattern, year)
}

func datePattern(pattern string, year int) (*Template, error) {
	begin, end := bindWord, true
	body := pattern
	if rest, ok := strings.CutPrefix(body, unbound); ok {
		body, begin, end = rest, bindNever, false
	} else if rest, ok := strings.CutPrefix(body, lineBegin); ok {
		body, begin = rest, bindLine
	}
	expr, name, err := writeOut(body, year)
	if err != nil {
		return nil, err
	}
	if folds(body) {
		expr = "(?iu)" + expr
	}
	t := &Template{Pattern: pattern, Name: name, bound: bind(expr, begin, end)}
	if t.bound.named && !strings.HasPrefix(name, lineBegin) {
		t.Name = lineBegin + name
	}
	return t.finish()
}

// epochTemplate reads EPOCH, LEPOCH, and a pattern that holds {EPOCH}.
func epochTemplate(pattern, key string) (t *Template, ok bool, err error) {
	k, digits, name := kindEpoch, epochDigits, "Epoch"
	if strings.Contains(key, "LEPOCH") {
		k, digits, name = kindLongEpoch, longDigits, "LongEpoch"
	}
	if from, to := findEpoch(pattern); from >= 0 {
		expr := pattern[:from] + "(" + digits + ")" + pattern[to:]
		if !grouped(pattern) { // else the first group is what is cut out as the date
			expr = "(" + expr + ")"
		}
		if next, _ := findEpoch(pattern[to:]); next >= 0 {
			return nil, true, fmt.Errorf("datepattern %q: {EPOCH} is there twice", pattern)
		}
		t, err = (&Template{Pattern: pattern, Name: pattern, kind: k, value: 2, bound: bind(expr, bindWord, true)}).finish()
		return t, true, err
	}
	switch strings.TrimPrefix(strings.TrimPrefix(key, lineBegin), "^") {
	case "EPOCH", "LEPOCH":
	default:
		return nil, false, nil
	}
	if key == "EPOCH" || key == "LEPOCH" {
		// At the line's begin, in brackets there, or where auditd writes it.
		expr := `((?:^|(?P<square>(?<=^\[))|(?P<selinux>(?<=\baudit\()))` + digits + `)(?:(?(selinux)(?=:\d+\)))|(?(square)(?=\])))`
		t, err = (&Template{Pattern: pattern, Name: name, kind: k, bound: bind(expr, bindNever, true)}).finish()
		return t, true, err
	}
	expr := `((?P<square>(?<=^\[))?` + digits + `)(?(square)(?=\]))`
	t, err = (&Template{Pattern: pattern, Name: lineBegin + name, kind: k, bound: bind(expr, bindLine, true)}).finish()
	return t, true, err
}

// grouped reports whether a pattern holds a group without a name that captures, as
// fail2ban looks for one.
func grouped(pattern string) bool {
	for i := range len(pattern) {
		if pattern[i] == '(' && !strings.HasPrefix(pattern[i+1:], "?") && !strings.HasSuffix(pattern[:i], `\`) && !strings.HasSuffix(pattern[:i], "(?") {
			return true
		}
	}
	return false
}

// findEpoch finds {EPOCH} or {LEPOCH} that is not escaped.
func findEpoch(pattern string) (from, to int) {
	upper := strings.ToUpper(pattern)
	for _, word := range []string{"{LEPOCH}", "{EPOCH}"} {
		if i := strings.Index(upper, word); i >= 0 && (i == 0 || pattern[i-1] != '\\') {
			return i, i + len(word)
		}
	}
	return -1, -1
}

// defaultPatterns are tried where no datepattern is configured. Each that is not
// bound to the line's begin has a twin that is, which is preferred.
var defaultPatterns = []string{
	// 2026-01-31 21:59:59,123 +0100, 2026-01-31T21:59:59.981746Z, 2026/01/31 8:59:59
	`%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?`,
	// Sat Jan 31 21:59:59.011 2026, Jan 31 21:59:59
	`(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?`,
	// Sat Jan 31 2026 21:59:59.011
	`(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?`,
	// 31/01/2026 21:59:59, 31-01-26 21:59:59
	`%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S`,
	// 31/Jan/2026:21:59:59 +0100, 31-Jan-2026 21:59:59.252
	`%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?`,
	// 01/31/2026:21:59:59
	`%m/%d/%ExY:%H:%M:%S`,
	// 01-31-2026 21:59:59.252
	`%m-%d-%ExY %k:%M:%S(?:\.%f)?`,
	`EPOCH`,
	// 21:59:59
	`{^LN-BEG}%H:%M:%S`,
	// <01/31/26@21:59:59>
	`^<%m/%d/%Exy@%H:%M:%S>`,
	// 260131 21:59:59
	`%Exy%Exm%Exd  ?%H:%M:%S`,
	// Jan 31, 2026 9:59:59 PM
	`%b %d, %ExY %I:%M:%S %p`,
	// Jan-31-26 21:59:59
	`^%b-%d-%Exy %k:%M:%S`,
	// 20260131T215959, 20260131 215959
	`%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?`,
	// CET Jan 31 21:59:59
	`(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?`,
	// +01:00 Jan 31 21:59:59
	`(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?`,
	`TAI64N`,
}

// preferred is the weight of a default template that is bound to the line's
// begin.
const preferred = 100

// defaults are the default templates of the year that was asked for last, which nobody uses:
// each detector has its own, since they count.
var defaults struct {
	sync.Mutex
	year int
	list []*Template
}

// defaultTemplates are the default ones, those bound to the line's begin first.
func defaultTemplates(year int) ([]*Template, error) {
	defaults.Lock()
	defer defaults.Unlock()
	if defaults.list == nil || defaults.year != year {
		list, err := makeDefaults(year)
		if err != nil {
			return nil, err
		}
		defaults.year, defaults.list = year, list
	}
	out := make([]*Template, len(defaults.list))
	all := make([]Template, len(out))
	for i, t := range defaults.list {
		all[i] = *t
		out[i] = &all[i]
	}
	return out, nil
}

func makeDefaults(year int) ([]*Template, error) {
	var begin, all []*Template
	for _, p := range defaultPatterns {
		t, err := newTemplate(p, year)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(t.Name, "^") && !strings.HasPrefix(t.Name, lineBegin) {
			twin, err := newTemplate(lineBegin+p, year)
			if err != nil {
				return nil, err
			}
			twin.weight = preferred
			begin = append(begin, twin)
		}
		all = append(all, t)
	}
	return append(begin, all...), nil
}

// wrapped are the default templates inside of a pattern that holds {DATE}.
func wrapped(pattern string, year int) ([]*Template, error) {
	at := strings.Index(strings.ToUpper(pattern), "{DATE}")
	before, after := pattern[:at], pattern[at+len("{DATE}"):]
	var out []*Template
	for _, p := range defaultPatterns {
		if p == "EPOCH" || p == "TAI64N" { // they have no pattern of their own to put in
			plain, err := newTemplate(p, year)
			if err != nil {
				return nil, err
			}
			p = unboundPattern(plain.Name)
		}
		t, err := newTemplate(before+unboundPattern(p)+after, year)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// unboundPattern takes off what binds a pattern.
func unboundPattern(p string) string {
	p = strings.TrimPrefix(strings.TrimPrefix(p, unbound), lineBegin)
	for _, head := range []string{`(^|\b|\W)`, `(?:^|\b|\W)`} {
		p = strings.TrimPrefix(p, head)
	}
	return strings.TrimSuffix(p, `(?=\b|\W|$)`)
}
