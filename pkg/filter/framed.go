package filter

import (
	"slices"
	"strings"
	"time"

	"bailiff/pkg/logtime"
	"bailiff/pkg/transport"
)

// Lines of which it is known what stood around them.

// Head says what a filter makes of the head of syslog that a line may have.
type Head uint8

const (
	// HeadAsIs: a line is taken as it stands, as fail2ban's filters want it.
	HeadAsIs Head = iota
	// HeadTaken: the filter's expressions hold it; they know it in the form of syslog's
	// files.
	HeadTaken
	// HeadEither: what gives nothing with its head is looked at without it.
	HeadEither
)

// wrapperMarks are what stands in expressions that were written for a runtime's wrapper. A
// service's own "login failed" is none.
var wrapperMarks = []string{
	`"log"`, `"log\"`, `"log.`, `"log[^`, `"log:`, `"stream"`, `"stream\"`, `"stream.`, `"stream[^`, `"stream:`, "stdout F", "stderr F", "stdout P", "stdout|stderr", "stderr|stdout",
	"std(?:out|err)", "std(out|err)", "stdout [", "stderr [", `stdout \S`, `stderr \S`, `stdout\s`, `stderr\s`, "stdout .", "stderr .",
}

// Around says what is taken off the lines that the filter gets.
func (d *Definition) Around() transport.Options {
	o := transport.Options{Names: d.Transport, Runtime: !d.mentions(wrapperMarks...)}
	if d.Head != HeadAsIs {
		o.Rewrite, o.Colours = true, true
		o.Heads = d.Head == HeadEither && d.MaxLines <= 1
	}
	if slices.Contains(d.Transport, transport.Syslog) {
		o.Heads = d.MaxLines <= 1 // it was said
	}
	return o
}

// mentions reports whether some expression, or field of JSON, holds one of the texts.
func (d *Definition) mentions(texts ...string) bool {
	var all []string
	for _, x := range slices.Concat([]Expr{d.Prefregex}, d.Failregex, d.Ignoreregex) {
		all = append(all, x.Text)
	}
	all = append(all, d.DatePattern...)
	if d.JSON != nil {
		for _, f := range d.JSON.fields() {
			if !strings.Contains(f, ".") { // a runtime's are texts, with nothing in them
				all = append(all, `"`+f+`"`)
			}
		}
	}
	return slices.ContainsFunc(all, func(x string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(x, t) })
	})
}

// MatchFramed is Match for a line that something stood around. The time is the one in the
// line; if there is none, that of what stood around it.
func (f *Filter) MatchFramed(line []byte, frame transport.Frame, now time.Time) Result {
	if frame.Head == 0 || !f.heads {
		return f.match(line, frame.Stamp, now)
	}
	if f.json == nil {
		if r := f.match(line, frame.Stamp, now); len(r.Failures) > 0 || r.Tied || r.Ignored >= 0 || r.Err != nil {
			return r
		}
	}
	return f.matchMessage(line, frame, now)
}

// matchMessage looks at a line without its head.
func (f *Filter) matchMessage(line []byte, frame transport.Frame, now time.Time) Result {
	stamp := frame.Stamp
	if stamp.IsZero() {
		stamp = f.headTime(line[:frame.Head], now)
	}
	f.head = line[:frame.Head]
	defer func() { f.head = nil }()
	return f.match(line[frame.Head:], stamp, now)
}

// headTime is the time in a head; zero if there is none.
func (f *Filter) headTime(head []byte, now time.Time) time.Time {
	if f.headDates == nil {
		dates, err := logtime.NewDetector([]string{"{^LN-BEG}"}, f.dateOptions)
		if err != nil {
			return time.Time{}
		}
		f.headDates = dates
	}
	if m, ok := f.headDates.Find(head, now); ok && m.Valid {
		return m.Time
	}
	return time.Time{}
}

// MatchEntry is MatchAt for an entry of the journal whose line begins with a head.
func (f *Filter) MatchEntry(date string, line []byte, frame transport.Frame, when time.Time) Result {
	if frame.Head == 0 || !f.heads {
		return f.MatchAt(date, line, when)
	}
	if f.json == nil {
		if r := f.MatchAt(date, line, when); len(r.Failures) > 0 || r.Tied || r.Ignored >= 0 || r.Err != nil {
			return r
		}
	}
	f.head = append([]byte(date), line[:frame.Head]...)
	defer func() { f.head = nil }()
	return f.match(line[frame.Head:], when, when)
}

// stampedAge is how far a date in the middle of a message may be from when its wrapper
// says that it was written: a client may have put it there.
const stampedAge = 25 * time.Hour

// stamped has the stamp of a line count in place of a date that can't be its own.
func stamped(m *logtime.Match, stamp time.Time) bool {
	return !m.Valid || m.Start > 1 && m.Time.Sub(stamp).Abs() > stampedAge
}

// FramedTime is LineTime for a line that something stood around.
func (f *Filter) FramedTime(line []byte, frame transport.Frame, now time.Time) (time.Time, bool) {
	if t, ok := f.LineTime(line, now); ok {
		return t, ok
	}
	if frame.Head > 0 && f.heads {
		if t, ok := f.LineTime(line[frame.Head:], now); ok {
			return t, ok
		}
		if frame.Stamp.IsZero() {
			t := f.headTime(line[:frame.Head], now)
			return t, !t.IsZero()
		}
	}
	return frame.Stamp, !frame.Stamp.IsZero()
}
