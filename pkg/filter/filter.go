// Package filter turns a line of a log into failures. A filter is what
// fail2ban's filter.d describes: expressions with tags like <HOST>, applied to
// the line with its date cut out.
//
//	f, err := filter.Compile(filter.Definition{Name: "django-auth",
//		Failregex: []filter.Expr{{Text: `Login failure <HOST>`}}}, time.Local)
//	for _, failure := range f.Match(line, now).Failures { … }
//
// A Filter keeps state (which date form won last), so each log has its own; it
// never asks the clock. Whether a failure counts is for others to decide.
package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
)

// Expr is one expression as configured.
type Expr struct {
	Text string
	File string // where it stands, if known
	Line int
}

func (e Expr) where() string {
	switch {
	case e.File == "":
		return ""
	case e.Line == 0:
		return e.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", e.File, e.Line)
}

// UseDNS is fail2ban's usedns: what to do with host names in a log.
type UseDNS string

// The values of usedns.
const (
	DNSYes  UseDNS = "yes"  // resolve and ban the addresses
	DNSWarn UseDNS = "warn" // the same, with a warning
	DNSNo   UseDNS = "no"   // names are no hosts
	DNSRaw  UseDNS = "raw"  // take the name as it is: for actions that want it
)

// Definition is a filter as configured, before its expressions are compiled.
type Definition struct {
	Name        string
	Failregex   []Expr
	Ignoreregex []Expr
	DatePattern []string // empty: the default forms
	LogTimezone string   // of dates that name none; empty: the location given to Compile
	Year        int      // the present one, by which %ExY is bounded
	UseDNS      UseDNS   // empty: warn
}

// Failure is what one line gave.
type Failure struct {
	ID     string            // the text that identifies the offender
	Addr   netip.Prefix      // the ID as an address or network; not valid if it is none
	Name   bool              // the ID is a host name that wants resolving
	Time   time.Time         // the line's own
	Regex  int               // index of the failregex that matched
	Groups map[string]string // all named groups that took part
}

// Result is what a filter makes of one line.
type Result struct {
	Time     time.Time // of the line, or now if it has none
	Dated    bool      // a date was found in the line
	Failures []Failure
	Ignored  int // index of the ignoreregex that matched, or -1
	// Err says that an expression was given up on this line, which then counts
	// as not matched: a *pyregexp.BudgetError.
	Err error
}

type expression struct {
	Expr
	re    *pyregexp.Regexp
	ids   []int // groups that identify, in order
	named []int
	cidr  int
}

// group is a list of expressions that are looked for at once.
type group struct {
	list  []expression
	set   *pyregexp.Set
	maybe []int
}

func (g *group) join() {
	res := make([]*pyregexp.Regexp, len(g.list))
	for i, x := range g.list {
		res[i] = x.re
	}
	g.set = pyregexp.NewSet(res...)
}

// Filter is a compiled filter.
type Filter struct {
	Name string
	// CheckAll tries every failregex on a line even after one matched, as
	// fail2ban-regex does to count the hits of each.
	CheckAll bool

	fail   group
	ignore group
	dates  *logtime.Detector
	dns    UseDNS

	last time.Time // of the last dated line
	rest []byte    // the line without its date
	caps []int
}

// Compile reads a definition. The error joins everything that is wrong with it,
// each with its place.
func Compile(d Definition, loc *time.Location) (*Filter, error) {
	f := &Filter{Name: d.Name, dns: d.UseDNS}
	if f.dns == "" {
		f.dns = DNSWarn
	}
	var errs []error
	if len(d.Failregex) == 0 {
		errs = append(errs, errors.New("no failregex"))
	}
	for _, e := range d.Failregex {
		x, err := compileExpr(e, f.dns != DNSNo)
		if err == nil && len(x.ids) == 0 {
			err = &ExprError{Expr: e}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.fail.list = append(f.fail.list, x)
	}
	for _, e := range d.Ignoreregex {
		x, err := compileExpr(e, f.dns != DNSNo)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.ignore.list = append(f.ignore.list, x)
	}
	dates, err := logtime.NewDetector(d.DatePattern, logtime.Options{Location: loc, Zone: d.LogTimezone, Year: d.Year})
	if err != nil {
		errs = append(errs, err)
	}
	f.dates = dates
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	f.fail.join()
	f.ignore.join()
	return f, nil
}

// ExprError says what is wrong with one expression.
type ExprError struct {
	Expr
	Expanded string // the expression with its tags written out
	Err      error  // why it does not compile; nil: it names no host or other id
}

func (e *ExprError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%sno failure-id group in %q: mark the address with <HOST>, <ADDR> or <F-ID>…</F-ID>", e.where(), e.Text)
	}
	return fmt.Sprintf("%sunable to compile regular expression %q: %v", e.where(), e.Text, e.Err)
}

func (e *ExprError) Unwrap() error { return e.Err }

func compileExpr(e Expr, hostNames bool) (expression, error) {
	expanded := expandTags(e.Text, hostNames)
	re, err := pyregexp.Compile(expanded, 0)
	if err != nil {
		// The position counts in the expanded text, which its reader never wrote;
		// give the one in his own where that is broken by itself.
		var own *pyregexp.Error
		if _, plain := pyregexp.Compile(e.Text, 0); errors.As(plain, &own) {
			err = plain
		}
		return expression{}, &ExprError{Expr: e, Expanded: expanded, Err: err}
	}
	x := expression{Expr: e, re: re, cidr: re.SubexpIndex("cidr")}
	for _, g := range idGroups {
		if i := re.SubexpIndex(g); i > 0 {
			x.ids = append(x.ids, i)
		}
	}
	for i, n := range re.SubexpNames() {
		if n != "" {
			x.named = append(x.named, i)
		}
	}
	return x, nil
}

// Failregex returns the expressions in order, as configured.
func (f *Filter) Failregex() []Expr { return exprs(f.fail.list) }

// Ignoreregex returns the expressions in order, as configured.
func (f *Filter) Ignoreregex() []Expr { return exprs(f.ignore.list) }

func exprs(list []expression) []Expr {
	out := make([]Expr, len(list))
	for i, x := range list {
		out[i] = x.Expr
	}
	return out
}

// Dates returns the filter's date templates with their hits.
func (f *Filter) Dates() []*logtime.Template { return f.dates.Templates() }

// LineTime returns the date of a line without moving the filter's own state
// otherwise: for finding a place in a log by time.
func (f *Filter) LineTime(line []byte, now time.Time) (time.Time, bool) {
	m, ok := f.dates.Find(line, now)
	return m.Time, ok && m.Valid
}

// undatedAge is how long a line without a date takes that of the line before.
const undatedAge = 60 * time.Second

// Match applies the filter to one line, without its newline. now is the time by
// which dates without a year are read, and that of a line without a date.
func (f *Filter) Match(line []byte, now time.Time) Result {
	r := Result{Time: now, Ignored: -1}
	f.rest = f.rest[:0]
	if m, ok := f.dates.Find(line, now); ok && m.Valid {
		r.Time, r.Dated = m.Time, true
		f.last = m.Time
		f.rest = append(f.rest, line[:m.Start]...)
		f.rest = append(f.rest, line[m.End:]...)
	} else {
		if !f.last.IsZero() && now.Sub(f.last) < undatedAge {
			r.Time = f.last
		}
		f.rest = append(f.rest, line...)
	}
	f.rest = append(f.rest, '\n')
	for _, i := range f.ignore.candidates(f.rest) {
		if f.search(&f.ignore, i, &r) != nil {
			r.Ignored = i
			return r
		}
	}
	for _, i := range f.fail.candidates(f.rest) {
		if m := f.search(&f.fail, i, &r); m != nil {
			if failure, ok := f.failure(i, m, r.Time); ok {
				r.Failures = append(r.Failures, failure)
				if !f.CheckAll {
					break // the first that matches wins
				}
			}
		}
	}
	return r
}

// candidates returns the expressions that may match.
func (g *group) candidates(line []byte) []int {
	if len(g.list) == 0 {
		return nil
	}
	g.maybe = g.set.Match(line, g.maybe)
	return g.maybe
}

func (f *Filter) search(g *group, i int, r *Result) []int {
	m, err := g.set.Confirm(i, f.rest, f.caps)
	if err != nil {
		r.Err = fmt.Errorf("%s%w", g.list[i].where(), err)
		return nil
	}
	if m != nil {
		f.caps = m
	}
	return m
}

func (f *Filter) failure(i int, m []int, when time.Time) (Failure, bool) {
	x := &f.fail.list[i]
	text := func(g int) string { return string(f.rest[m[2*g]:m[2*g+1]]) }
	out := Failure{Time: when, Regex: i, Groups: make(map[string]string, len(x.named))}
	names := x.re.SubexpNames()
	for _, g := range x.named {
		if m[2*g] >= 0 {
			out.Groups[names[g]] = text(g)
		}
	}
	for _, g := range x.ids {
		if m[2*g] < 0 {
			continue
		}
		out.ID = text(g)
		out.Name = names[g] == "dns"
		break
	}
	if out.ID == "" {
		return out, false
	}
	bits := -1
	if x.cidr > 0 && m[2*x.cidr] >= 0 {
		bits, _ = strconv.Atoi(text(x.cidr))
		out.ID += "/" + text(x.cidr)
	}
	out.Addr = ParseID(out.ID, bits)
	if out.Addr.IsValid() {
		out.Name = false
	}
	return out, true
}

// ParseID reads an address, or a network if bits is not -1. IPv4 addresses
// written as IPv6 are taken as IPv4. The result is not valid if it is none.
func ParseID(id string, bits int) netip.Prefix {
	if bits >= 0 {
		p, err := netip.ParsePrefix(id)
		if err != nil {
			return netip.Prefix{}
		}
		return p.Masked()
	}
	a, err := netip.ParseAddr(id)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}
