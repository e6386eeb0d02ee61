// Package filter turns lines of a log into failures. A filter is what fail2ban's
// filter.d describes: expressions with tags like <HOST>, applied to the line with
// its date cut out, to several lines at once where maxlines says so, and to the
// lines of one connection together where F-MLFID ties them.
//
//	f, err := filter.Compile(filter.Definition{Name: "django-auth",
//		Failregex: []filter.Expr{{Text: `Login failure <HOST>`}}}, time.Local)
//	for _, failure := range f.Match(line, now).Failures { … }
//
// A Filter keeps state (which date form won last, connections that are pending),
// so each jail has its own; it never asks the clock. Whether a failure counts is
// for others to decide.
package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"bailiff/pkg/iplist"
	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/transport"
)

// Expr is one expression as configured.
type Expr struct {
	Text string
	File string // where it stands, if known
	Line int
	// Weight is for how many failures a match counts, which whoever counts them sees to; 0: one.
	Weight int
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
	Prefregex   Expr   // empty: none
	Failregex   []Expr // nil is an error; of an empty list, nothing matches
	Ignoreregex []Expr
	// Success are lines of who has logged in. They are looked for with Logins only.
	Success     []Expr
	DatePattern []string // empty: the default forms
	LogTimezone string   // of dates that name none; empty: the location given to Compile
	Year        int      // the present one, by which %ExY is bounded
	UseDNS      UseDNS   // empty: warn
	MaxLines    int      // lines looked at together; 0: 1
	// Attempts says that several lines of one connection (F-MLFID) may tell of the same
	// attempt: of one connection, as many failures count as the expression found that
	// matched most often.
	Attempts bool
	// Logins says that successful logins are told, too (Result.Logins): those of Success, and of
	// F-MLFGAINED.
	Logins bool
	// Unwritten says that expressions come later, if at all: none is no mistake.
	Unwritten bool
	// Journal says that lines come with a time of their own and hold no date.
	Journal bool
	// JSON is what is looked at in place of expressions; nil: those are.
	JSON *JSON
	// Head says what becomes of the head of syslog that a line may have.
	Head Head
	// Transport are the names of what stands around the lines of the log; nil: that is
	// found by the lines.
	Transport []string
	// Proxies are the trusted ones; nil: nobody has named them.
	Proxies *Proxies
}

type expression struct {
	Expr
	re      *pyregexp.Regexp
	names   []string
	merged  []merged
	skips   []int // groups of <SKIPLINES>
	order   []string
	places  places
	held    []named // the places that are somewhere
	content int     // group of that name; 0: none
	// alternatives are those for what identifies; tuples: there is more to merge than
	// alternatives.
	alternatives []alternative
	tuples       bool
	success      bool // of Definition.Success
}

// group is a list of expressions that are looked for at once.
type group struct {
	list    []expression
	set     *pyregexp.Set
	matcher *pyregexp.Matcher
	maybe   []int
}

func newGroup(list []expression, set *pyregexp.Set) group {
	return group{list: list, set: set, matcher: set.NewMatcher()}
}

// Filter is a compiled filter.
type Filter struct {
	Name string
	// CheckAll tries every failregex on a line even after one matched, as
	// fail2ban-regex does to count the hits of each.
	CheckAll bool
	// Detail is how much is told; what is not is not worked out, either. CheckAll and
	// several lines looked at together want DetailAll.
	Detail Detail
	// Unnamed says that with CheckAll and DetailIDs nobody asks whose it is what is no
	// failure: its address isn't told.
	Unnamed bool
	// RawHosts takes what identifies as it is: nothing is resolved.
	RawHosts bool
	// Trusted says of an address whether it is one of the trusted proxies; nil: nobody has
	// named them.
	Trusted func(netip.Prefix) bool
	// UnknownProxies says where proxies are named of which none is known, "" if nowhere;
	// nil: nowhere. As long as it says so, nothing is told that could be a proxy's.
	UnknownProxies func() string

	pref     *expression
	searcher *pyregexp.Searcher // of pref
	preCaps  []int
	prefix   prefix
	fail     group
	ignore   group
	// within is the failregexes in what the prefregex leaves of a line; nil: what may
	// match in there is not known beforehand.
	within *pyregexp.Set
	lines  *lineMatcher // for when only failures are asked for
	line   found        // by lines
	// For many lines at once.
	sightings Sightings
	result    Result
	compiled  *compiled
	key       unique.Handle[string]
	dates     *logtime.Detector
	dns       UseDNS
	maxLines  int
	attempts  bool
	logins    bool
	journal   bool
	json      *JSON
	forwards  bool // it tells of proxies
	heads     bool // lines are looked at without their heads, too
	// head is what was taken off the line at work, to be told with it.
	head        []byte
	headDates   *logtime.Detector // nil: not needed yet
	dateOptions logtime.Options
	// jsonFields are those that json looks at.
	jsonFields []string

	last     time.Time // of the last dated line
	lastText string
	// lately is the date of the last line, if nobody needed its time yet.
	lately     logtime.Date
	latelyText []byte
	latelyNow  time.Time
	isLately   bool
	buffer     []Line
	buf        []byte
	spare      []byte
	org        []Line // the lines that buf was made from
	caps       []int
	conns      connections
	number     number // of the last time
	explain    bool   // keep what the expressions saw, and the date that was found
	seen       []byte
	dated      *logtime.Match

	undated      int         // lines without a date, since TakeUndated
	showPrefixed atomic.Bool // as ShowPrefixed was told

	// With others (Together).
	alone    bool    // it knows what it was told itself, or is to know
	in       *member // else, its place among the others; nil: it was given no line yet
	logs     string
	beside   int
	def      Definition
	location *time.Location
}

// Forget has it know nothing of the lines that it was given before.
func (f *Filter) Forget() {
	f.part()
	f.conns, f.buffer = connections{}, nil
	f.last, f.lastText, f.isLately = time.Time{}, "", false
}

// Buffered returns the lines that wait for more, where maxlines is not 1.
func (f *Filter) Buffered() []Line {
	if f.maxLines == 1 {
		return nil
	}
	f.part()
	return f.buffer
}

// MaxLines is the number of lines looked at together.
func (f *Filter) MaxLines() int { return f.maxLines }

// Prefregex returns the prefregex with its tags written out, "" if there is none.
func (f *Filter) Prefregex() string {
	if f.pref == nil {
		return ""
	}
	return f.pref.re.String()
}

// SameYears reports whether a filter that was compiled with one Definition.Year finds
// the same dates as with another.
func SameYears(a, b int) bool { return logtime.SameYears(a, b) }

// Compile reads a definition. The error joins everything that is wrong with it,
// each with its place.
func Compile(d Definition, loc *time.Location) (*Filter, error) {
	f := &Filter{
		Name: d.Name, dns: d.UseDNS, maxLines: max(d.MaxLines, 1), attempts: d.Attempts, logins: d.Logins, journal: d.Journal, json: d.JSON,
		heads: d.Around().Heads, forwards: d.Head != HeadAsIs && d.Forwards(), key: d.key(loc),
		dateOptions: logtime.Options{Location: loc, Zone: d.LogTimezone, Year: d.Year},
		def:         d, location: loc,
	}
	if f.dns == "" {
		f.dns = DNSWarn
	}
	if d.Proxies != nil { // what files hold, others look after
		own := iplist.Of(d.Proxies.Prefixes)
		f.Trusted = own.Overlaps
		if d.Proxies.Unknown {
			f.UnknownProxies = func() string { return "proxy.trusted" }
		}
	}
	if f.json != nil {
		f.jsonFields = f.json.fields()
	}
	var err error
	expressions := d.expressionsKey(f.dns != DNSNo, f.maxLines > 1)
	if f.compiled = compiledBefore(expressions); f.compiled == nil {
		f.compiled, err = compileDefinition(&d, f.dns != DNSNo, f.maxLines > 1)
	}
	var datesErr error
	if f.dates, datesErr = logtime.NewDetector(d.DatePattern, f.dateOptions); err != nil || datesErr != nil {
		return nil, errors.Join(err, datesErr)
	}
	if f.compiled.failSet == nil {
		f.compiled.join(expressions)
	}
	f.pref, f.within = f.compiled.pref, f.compiled.within
	f.fail, f.ignore = newGroup(f.compiled.fail, f.compiled.failSet), newGroup(f.compiled.ignore, f.compiled.ignoreSet)
	if f.pref != nil {
		f.searcher = f.pref.re.NewSearcher()
	}
	f.lines = f.newLineMatcher()
	f.lines.conns = &f.conns
	return f, nil
}

// Failregex returns the expressions in order, as configured.
func (f *Filter) Failregex() []Expr {
	if f.json != nil {
		return f.json.exprs()
	}
	list := exprs(f.fail.list)
	for i, x := range f.def.Failregex { // what was compiled is shared with others that differ in that
		list[i].Weight = x.Weight
	}
	return list
}

// Captures returns the names of what the prefregex and the failregexes capture, sorted, but for what
// tells an address or a connection.
func (f *Filter) Captures() (out []string) {
	for i := range f.fail.list {
		if x := &f.fail.list[i]; !x.success {
			out = append(out, x.captured()...)
		}
	}
	if f.pref != nil {
		out = append(out, f.pref.captured()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (x *expression) captured() (out []string) {
	names := slices.Clone(x.names)
	for _, m := range x.merged {
		names = append(names, m.into)
	}
	for _, n := range names {
		switch n {
		case "", "ip4", "ip6", "cidr", "dns", "content", "mlfid", "nofail", "mlfgained", "mlfforget", "chain", "forwarded":
			continue
		}
		if !strings.HasPrefix(n, "skiplines") {
			out = append(out, n)
		}
	}
	return out
}

// Ignoreregex returns the expressions in order, as configured.
func (f *Filter) Ignoreregex() []Expr { return exprs(f.ignore.list) }

// Expanded returns the failregexes with their tags written out.
func (f *Filter) Expanded() []string {
	if f.json != nil {
		var out []string
		for _, x := range f.json.exprs() {
			out = append(out, x.Text)
		}
		return out
	}
	out := make([]string, len(f.fail.list))
	for i, x := range f.fail.list {
		out[i] = x.re.String()
	}
	return out
}

// ExpandedIgnore returns the ignoreregexes with their tags written out.
func (f *Filter) ExpandedIgnore() []string {
	out := make([]string, len(f.ignore.list))
	for i, x := range f.ignore.list {
		out[i] = x.re.String()
	}
	return out
}

func exprs(list []expression) []Expr {
	out := make([]Expr, len(list))
	for i, x := range list {
		out[i] = x.Expr
	}
	return out
}

// Dates returns the filter's date templates with their hits.
func (f *Filter) Dates() []*logtime.Template {
	if m := f.in; m != nil {
		m.run.mu.Lock()
		defer m.run.mu.Unlock()
		dates, _ := m.run.front.dates.Clone()
		return dates.Templates()
	}
	return f.dates.Templates()
}

// LineTime returns the date of a line without moving the filter's own state
// otherwise: for finding a place in a log by time.
func (f *Filter) LineTime(line []byte, now time.Time) (time.Time, bool) {
	f.part()
	if f.json != nil {
		if in, ok := readObject(line, f.jsonFields, f.json.Forwarded); ok {
			if text, ok := plain(in, f.json.Time); ok {
				return f.jsonTime(text, now)
			}
		}
		return time.Time{}, false
	}
	m, ok := f.dates.Find(line, now)
	return m.Time, ok && m.Valid
}

// undatedAge is how long a line without a date takes that of the line before.
const undatedAge = 60 * time.Second

// Match applies the filter to one line, without its newline. now is the time by
// which dates without a year are read.
func (f *Filter) Match(line []byte, now time.Time) Result { return f.match(line, time.Time{}, now) }

// match is Match for a line whose wrapper tells a time, or none.
func (f *Filter) match(line []byte, stamp, now time.Time) Result {
	if !f.alone {
		f.part()
	}
	if f.json != nil {
		return f.matchJSON(line, stamp, now)
	}
	r := Result{Ignored: -1}
	if brief := f.brief(); (brief || f.counts()) && stamp.IsZero() {
		if q, ok := f.dates.Quick(line, now); ok {
			if brief {
				f.quick(&r, &q, line, now)
			} else {
				f.note(&q, line, now)
				f.count(&r, line[:q.Start], line[q.End:])
			}
			return r
		}
	}
	f.catchUp()
	recent := func() bool { return !f.last.IsZero() && f.last.After(now.Add(-undatedAge)) }
	before, date, after := line[:0], line[:0], line
	m, found := f.dates.Find(line, now)
	if f.explain && found {
		f.dated = &m
	}
	if found {
		before, date, after = line[:m.Start], line[m.Start:m.End], line[m.End:]
	}
	switch {
	case !stamp.IsZero() && (!found || stamped(&m, stamp)):
		f.number = fullFloat
		r.Time, r.Dated = stamp, true
		f.last, f.lastText = stamp, ""
		if len(date) == 0 && len(f.head) == 0 {
			date = []byte(transport.ISO(stamp) + " ")
		}
	case found && m.Valid:
		f.number = wholeFloat
		switch {
		case m.Integer:
			f.number = integer
		case m.Template.Seconds():
			f.number = fullFloat
		}
		r.Time, r.Dated = m.Time, true
		f.last, f.lastText = m.Time, string(date)
	case found && m.Start == m.End && !recent():
		f.number = fullFloat
		r.Time = now // the pattern lets lines do without a date
	case recent():
		r.Time = f.last
		before, date, after = nil, []byte(f.lastText), line
	}
	if !r.Dated && !(found && m.Start == m.End) {
		f.undated++
	}
	f.find(&r, before, date, after)
	return r
}

// brief reports whether lines without a failure can be passed over.
func (f *Filter) brief() bool {
	return f.json == nil && f.Detail != DetailAll && f.maxLines == 1 && !f.CheckAll && !f.explain
}

// quick is Match for a line whose date is known, but was not read yet: its time is
// wanted only if the line tells of something, or a later line has none of its own.
func (f *Filter) quick(r *Result, q *logtime.Date, line []byte, now time.Time) {
	f.note(q, line, now)
	f.whole(r, q, line)
}

// whole looks at a line whose date is noted.
func (f *Filter) whole(r *Result, q *logtime.Date, line []byte) {
	before, after := line[:q.Start], line[q.End:]
	regex, err := f.lines.match(before, after, &f.line)
	r.Err = err
	if regex >= 0 {
		f.catchUp()
		r.Time, r.Dated = f.last, true
		f.told(regex, &f.line, before, f.latelyText, after, r)
	}
}

// note keeps the date of the last line, whose time was not asked for yet.
func (f *Filter) note(q *logtime.Date, line []byte, now time.Time) {
	f.lately, f.latelyNow, f.isLately = *q, now, true
	f.latelyText = append(f.latelyText[:0], line[q.Start:q.End]...)
}

// told is failure for a line in its parts.
func (f *Filter) told(regex int, found *found, before, date, after []byte, r *Result) {
	f.org = f.org[:0]
	if f.Detail != DetailIDs {
		f.org = append(f.org, f.lineOf(before, date, after))
	}
	f.failure(regex, found, f.org, r)
}

// catchUp reads the time of the last line's date.
func (f *Filter) catchUp() {
	if !f.isLately {
		return
	}
	f.isLately = false
	when, zoned, ok := f.dates.Time(&f.lately, f.latelyNow)
	if !ok {
		return
	}
	f.number = wholeFloat
	if zoned {
		f.number = integer
	}
	f.last = when
	if f.lastText != view(f.latelyText) {
		f.lastText = string(f.latelyText)
	}
}

// MatchAt applies the filter to a line that comes with its time, as from the
// journal. date is how the time is written where the line is shown.
func (f *Filter) MatchAt(date string, line []byte, when time.Time) Result {
	f.part()
	if f.json != nil {
		return f.matchJSON(line, when, when)
	}
	r := Result{Ignored: -1, Time: when, Dated: true}
	f.number = fullFloat
	f.last, f.lastText = when, ""
	f.find(&r, nil, []byte(date), line)
	return r
}

// ParseID reads an address, or a network if bits is not -1. IPv4 addresses
// written as IPv6 are taken as IPv4. The result is not valid if it is none.
func ParseID(id string, bits int) netip.Prefix {
	if bits < 0 && strings.Contains(id, "/") {
		return netip.Prefix{}
	}
	p, err := iplist.Parse(id)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
