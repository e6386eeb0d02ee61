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
	"net/netip"
	"sync/atomic"
	"time"
	"unique"

	"bailiff/pkg/iplist"
	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/transport"
)

// Filter is a compiled filter: what is compiled, and what it remembers of the lines that it was given.
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

	program  // what is compiled, and stays as it is
	detector // of dates, and the last one
	conns    connections
	buffer   []Line // that wait for more, where maxlines is not 1
	company         // with others that are given the same lines: together.go
	scratch         // of the line at work

	explain      bool // keep what the expressions saw, and the date that was found
	seen         []byte
	dated        *logtime.Match
	undated      int         // lines without a date, since TakeUndated
	showPrefixed atomic.Bool // as ShowPrefixed was told
}

// program is what a filter's definition was compiled to. compiled is shared with others of the same expressions; what
// works with it, as its searcher, is the filter's own.
type program struct {
	def      Definition
	location *time.Location
	compiled *compiled
	key      unique.Handle[string]
	pref     *expression
	searcher *pyregexp.Searcher // of pref
	fail     group
	ignore   group
	// within is the failregexes in what the prefregex leaves of a line; nil: what may
	// match in there is not known beforehand.
	within *pyregexp.Set
	lines  *lineMatcher // for when only failures are asked for
	json   *JSON
	// jsonFields are those that json looks at.
	jsonFields []string
	dns        UseDNS
	maxLines   int
	attempts   bool
	logins     bool
	journal    bool
	forwards   bool // it tells of proxies
	heads      bool // lines are looked at without their heads, too
}

// detector finds dates, and remembers the last one for lines without.
type detector struct {
	dates       *logtime.Detector
	headDates   *logtime.Detector // nil: not needed yet
	dateOptions logtime.Options

	last     time.Time // of the last dated line
	lastText string
	number   number // of the last time
	// lately is the date of the last line, if nobody needed its time yet.
	lately     logtime.Date
	latelyText []byte
	latelyNow  time.Time
	isLately   bool
}

// company is who else is given the same lines (Together).
type company struct {
	alone  bool    // it knows what it was told itself, or is to know
	in     *member // else, its place among the others; nil: it was given no line yet
	logs   string
	beside int
}

// scratch is a filter's memory for the line at work, used again for the next one.
type scratch struct {
	// head is what was taken off the line at work, to be told with it.
	head      []byte
	prefix    prefix
	preCaps   []int
	caps      []int
	line      found  // by lines
	org       []Line // the lines that buf was made from
	buf       []byte
	spare     []byte
	sightings Sightings // for many lines at once
	result    Result
}

// Forget has it know nothing of the lines that it was given before.
func (f *Filter) Forget() {
	f.part()
	f.conns, f.buffer = connections{}, nil
	f.last, f.lastText, f.isLately = time.Time{}, "", false
}

// SameYears reports whether a filter that was compiled with one Definition.Year finds
// the same dates as with another.
func SameYears(a, b int) bool { return logtime.SameYears(a, b) }

// Compile reads a definition. The error joins everything that is wrong with it,
// each with its place.
func Compile(d Definition, loc *time.Location) (*Filter, error) {
	f := &Filter{Name: d.Name}
	f.program = program{
		def: d, location: loc, key: d.key(loc), dns: d.UseDNS, maxLines: max(d.MaxLines, 1), attempts: d.Attempts, logins: d.Logins,
		journal: d.Journal, json: d.JSON, heads: d.Around().Heads, forwards: d.Head != HeadAsIs && d.Forwards(),
	}
	f.dateOptions = logtime.Options{Location: loc, Zone: d.LogTimezone, Year: d.Year}
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
	if only := f.onlyFailures(); (only || f.counts()) && stamp.IsZero() {
		if q, ok := f.dates.Quick(line, now); ok {
			if only {
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

// onlyFailures reports whether lines without a failure can be passed over.
func (f *Filter) onlyFailures() bool {
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
