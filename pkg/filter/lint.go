package filter

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
)

// Finding is something about a filter that may let a client decide whose failure a
// line tells of, or that costs time on every line.
type Finding struct {
	Expr Expr
	Rule string // one of the Rule constants
	Text string
}

// Rules of Lint.
const (
	RuleStart   = "unanchored-start"
	RuleEnd     = "unanchored-end"
	RuleMoved   = "movable-host"
	RuleLiteral = "no-literal"
	RuleTime    = "ambiguous-time"
	RuleGreedy  = "partial-host"
	RuleID      = "lone-id"
)

// String is the finding in a line.
func (f Finding) String() string {
	return f.Expr.where() + f.Rule + ": " + f.Text
}

// Greedy says whether an expression has something greedy before the address, of which it
// takes the beginning: nothing of it, or another address, is found then.
func Greedy(text string) string {
	re, err := pyregexp.Compile(expandTags(text, true), 0)
	if err != nil {
		return "" // which is told elsewhere
	}
	return greedy(re)
}

// Greedy tells of the failregexes of which Greedy says something.
func (f *Filter) Greedy(tell func(x Expr, text string)) {
	for i := range f.fail.list {
		x := &f.fail.list[i]
		text := ""
		if f.dns == DNSNo || f.maxLines > 1 { // it was compiled otherwise
			text = Greedy(x.Text)
		} else {
			text = greedy(x.re)
		}
		if text != "" {
			tell(x.Expr, text)
		}
	}
}

func greedy(re *pyregexp.Regexp) string {
	for _, one := range []struct{ text, left, least string }{
		{"192.0.2.17", "2.0.2.17", "7"},
		{"2001:db8::17", "1:db8::17", "7"},
	} {
		if !re.Eats(one.text, readsAsAddress, "ip4", "ip6", "dns") {
			continue
		}
		return fmt.Sprintf("something like .* stands before the address and takes its beginning: of %s, %s is left, or %s; put what the service writes there between, or make it .*?", one.text, one.left, one.least)
	}
	return ""
}

var (
	onlyIP4 = sync.OnceValue(func() *pyregexp.Regexp { return pyregexp.MustCompile("^"+exprIP4+"$", 0) })
	onlyIP6 = sync.OnceValue(func() *pyregexp.Regexp { return pyregexp.MustCompile("^"+exprIP6+"$", 0) })
)

// readsAsAddress reports whether the group of a tag takes a text.
func readsAsAddress(group, text string) bool {
	switch group {
	case "ip4":
		return onlyIP4().Match([]byte(text))
	case "ip6":
		return onlyIP6().Match([]byte(text))
	}
	return !strings.Contains(text, ":") // a name
}

// Lint says what can be said of a definition by rule. The error is that of Compile.
func Lint(d Definition) ([]Finding, error) {
	f, err := Compile(d, time.UTC)
	if err != nil || d.JSON != nil {
		return nil, err
	}
	var out []Finding
	add := func(x *expression, rule, format string, args ...any) {
		out = append(out, Finding{x.Expr, rule, fmt.Sprintf(format, args...)})
	}
	if f.pref != nil {
		if s, ok := f.pref.re.Around(idGroups...); ok {
			switch {
			case !s.Start:
				add(f.pref, RuleStart, "begin it with ^: what a client writes may stand before")
			case s.Before:
				add(f.pref, RuleMoved, "something like .* stands before the address: a client can put another one there")
			}
		}
	}
	prefTold := false
	for i := range f.fail.list {
		x := &f.fail.list[i]
		if e := lone(f.pref, x); e != nil && (e != f.pref || !prefTold) {
			prefTold = prefTold || e == f.pref
			add(e, RuleID, "what <F-ID> takes may read as an address: a client who can choose it (a user name) has that address banned; take the client's address with <ADDR> beside it, which is shut out then")
		}
		if text := Greedy(x.Text); text != "" {
			add(x, RuleGreedy, "%s", text)
		}
		literal := x.re.RequiresLiteral() || f.pref != nil && f.pref.re.RequiresLiteral()
		s, ok := x.re.Around(idGroups...)
		switch {
		case !ok:
		case !s.Start:
			add(x, RuleStart, "begin it with ^: what a client writes may stand before")
		case s.Before && s.After:
			add(x, RuleMoved, "something like .* stands before and after the address: a client can have another one taken for it")
		case s.Before && !s.End:
			add(x, RuleEnd, "end it with $: behind something like .*, the address is not surely the last one")
		}
		if !literal {
			add(x, RuleLiteral, "no text that every match holds: each line costs a try; and is it narrow enough?")
		}
	}
	if d.Journal {
		return out, nil
	}
	dates, err := logtime.NewDetector(d.DatePattern, logtime.Options{})
	if err != nil {
		return out, err
	}
	for _, t := range dates.Templates() {
		if !t.Anchored() {
			x := Expr{}
			if len(d.Failregex) > 0 {
				x.File = d.Failregex[0].File
			}
			out = append(out, Finding{x, RuleTime, "set datepattern to {^LN-BEG} where a line begins with its time (in TOML datepattern = '{^LN-BEG}'), or to another one that is bound to a place: else a date that a client writes may be taken for the line's"})
			break
		}
	}
	return out, nil
}
