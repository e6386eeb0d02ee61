package logtime

import (
	"fmt"
	"regexp"
	"strings"

	"bailiff/pkg/pyregexp"
)

// directive is one %-code: the expression that takes its text, and the name by
// which fail2ban's reports call it.
type directive struct {
	expr string
	name string
}

const (
	shortMonths = "[Jj]an|[Ff]eb|[Mm]ar|[Aa]pr|[Mm]ay|[Jj]un|[Jj]ul|[Aa]ug|[Ss]ep|[Oo]ct|[Nn]ov|[Dd]ec"
	longMonths  = "[Jj]anuary|[Ff]ebruary|[Mm]arch|[Aa]pril|[Mm]ay|[Jj]une|[Jj]uly|[Aa]ugust|[Ss]eptember|[Oo]ctober|[Nn]ovember|[Dd]ecember"
	shortDays   = "[Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un"
	longDays    = "[Mm]onday|[Tt]uesday|[Ww]ednesday|[Tt]hursday|[Ff]riday|[Ss]aturday|[Ss]unday"
)

// directives by their letters after the percent sign. Each takes a group named
// after itself, so a pattern may hold each once. The Ex forms want every digit.
var directives = map[string]directive{
	"Y":   {`\d{4}`, "Year"},
	"ExY": {`(?:19|20|21)\d{2}`, "ExYear"},
	"y":   {`\d{2}`, "Year2"},
	"Exy": {`\d{2}`, "ExYear2"},
	"m":   {`1[0-2]|0?[1-9]`, "Month"},
	"Exm": {`1[0-2]|0[1-9]`, "ExMonth"},
	"b":   {shortMonths, "MON"},
	"B":   {longMonths, "Month"},
	"d":   {`3[01]|[12]\d|[ 0]?[1-9]`, "Day"},
	"Exd": {`3[01]|[12]\d|0[1-9]`, "ExDay"},
	"a":   {shortDays, "DAY"},
	"A":   {longDays, "DAYNAME"},
	"H":   {`2[0-3]|[01]\d|\d`, "24hour"},
	"ExH": {`2[0-3]|[01]\d`, "Ex24hour"},
	"k":   {`2[0-3]|1\d|[ 0]?\d`, "%k"},
	"I":   {`1[0-2]|0?[1-9]`, "12hour"},
	"p":   {`[AaPp][Mm]`, "AMPM"},
	"M":   {`[0-5]\d|\d`, "Minute"},
	"ExM": {`[0-5]\d`, "ExMinute"},
	"S":   {`6[01]|[0-5]\d|\d`, "Second"},
	"ExS": {`6[01]|[0-5]\d`, "ExSecond"},
	"f":   {`\d{1,6}`, "Microseconds"},
	"z":   {`Z|UTC|GMT|[+-][01]\d(?::?\d{2})?`, "Zone offset"},
}

var percent = regexp.MustCompile(`%(Ex[A-Za-z]|[A-Za-z%])`)

// epochExpr is EPOCH: seconds since 1970 with an optional fraction, at the
// line's start or in brackets or after audit( as auditd writes it.
const epochExpr = `(?P<epoch>\d{10,11}(?:\.\d{1,9})?)\b`

// Template is one form of a date.
type Template struct {
	Pattern string // as configured
	Name    string // as reports call it: {^LN-BEG}ExYear…
	Hits    int

	re     *pyregexp.Regexp
	groups []group
	epoch  int // group of EPOCH, 0: none
	date   int // group that holds the whole date
}

type group struct {
	code  string
	index int
}

const lineBegin = "{^LN-BEG}"

// newTemplate compiles a datepattern.
func newTemplate(pattern string) (*Template, error) {
	t := &Template{Pattern: pattern}
	body, atBegin := strings.CutPrefix(pattern, lineBegin)
	anchored := atBegin
	if !atBegin {
		var caret bool
		if body, caret = strings.CutPrefix(body, "^"); caret {
			anchored = true
		}
	}
	var seen []string
	var bad error
	expr, name := body, body
	if body == "EPOCH" || body == "Epoch" {
		expr, name = epochExpr, "Epoch"
	} else {
		expr = percent.ReplaceAllStringFunc(body, func(m string) string {
			code := m[1:]
			if code == "%" {
				return "%"
			}
			d, ok := directives[code]
			if !ok {
				bad = fmt.Errorf("datepattern %q: unknown directive %s", pattern, m)
				return m
			}
			for _, s := range seen {
				if s == code {
					return "(?:" + d.expr + ")"
				}
			}
			seen = append(seen, code)
			return "(?P<" + code + ">" + d.expr + ")"
		})
		name = percent.ReplaceAllStringFunc(body, func(m string) string {
			if d, ok := directives[m[1:]]; ok {
				return d.name
			}
			return m
		})
	}
	if bad != nil {
		return nil, bad
	}
	if len(seen) == 0 && expr != epochExpr {
		return nil, fmt.Errorf("datepattern %q: no %%-directive and not EPOCH: nothing says what is the date", pattern)
	}
	switch {
	case atBegin:
		expr = `^\W{0,2}(` + expr + `)(?=\b|\W|$)`
		name = lineBegin + name
	case anchored:
		expr = `^(` + expr + `)`
		name = "^" + name
	default:
		expr = `(?:^|\b|\W)(` + expr + `)(?=\b|\W|$)`
	}
	re, err := pyregexp.Compile(expr, 0)
	if err != nil {
		return nil, fmt.Errorf("datepattern %q: %w", pattern, err)
	}
	t.re, t.Name, t.date = re, name, 1
	t.epoch = max(re.SubexpIndex("epoch"), 0)
	for _, code := range seen {
		t.groups = append(t.groups, group{code, re.SubexpIndex(code)})
	}
	return t, nil
}

// defaultPatterns are tried in this order where no datepattern is configured;
// each at the line's beginning first.
var defaultPatterns = []string{
	// ISO 8601 and its kin; Django, syslog with RFC 3339 stamps, nginx's error log.
	`%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?`,
	// syslog, asctime, Apache's error log.
	`(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?`,
	`(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?`,
	`%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S`,
	// Access logs of Apache and nginx.
	`%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?`,
	`%m/%d/%ExY:%H:%M:%S`,
	`%m-%d-%ExY %k:%M:%S(?:\.%f)?`,
	`EPOCH`,
}
