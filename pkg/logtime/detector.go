package logtime

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bailiff/pkg/pyregexp"
)

// Match is the date found in a line.
type Match struct {
	// Time is the date read; not valid if the text is no date (31 February), or is
	// empty, where a pattern allows that.
	Time       time.Time
	Valid      bool
	Integer    bool // fail2ban has the time as an integer: it has a zone of its own
	Start, End int  // of the date's own text, in bytes; what is left of the line is matched by filters
	Template   *Template
}

// Options of a Detector.
type Options struct {
	Location *time.Location // of dates that name no zone; nil: UTC
	Zone     string         // logtimezone: the zone of dates that name none, over Location
	Year     int            // the present one, by which %ExY is bounded; 0: 2026
}

// Detector finds dates. It remembers which templates win and where, and tries
// those first, as fail2ban does; so it is not safe for concurrent use: one
// belongs to one log.
type Detector struct {
	templates []*Template
	loc       *time.Location
	zone      int // minutes
	hasZone   bool

	searched    int           // lines that were looked at by expressions
	set         *pyregexp.Set // nil: not made yet
	order       []*Template   // as joined in set
	maybe       []int
	last        *Template
	lastAt      place
	firstUnused int
	bufs        [2][]int

	shape  *shape    // of the last date; nil: none that is sure
	shapes [4]*shape // lately
	reader formReader
	// The hour that was read last: times within it are counted from its begin.
	hour                time.Time
	hourKey             [4]int
	hourZone            int
	hourHasZone         bool
	hourFrom, hourUntil time.Time // of now
	hourKnown           bool
	fixed               *time.Location // the zone, in minutes, that was asked for last
	fixedMinutes        int
	slow                bool // remember no forms; for tests
}

// place is where the last date was: its ends, in characters, and what stood
// there.
type place struct {
	start, end      int
	before, first   rune // the characters before and at the start; noChar: none
	lastChar, after rune // the last one of the date, and the one behind
	known           bool
}

// NewDetector takes datepatterns, or nil for the default ones. The error names
// the pattern that can't be used.
func NewDetector(patterns []string, opts Options) (*Detector, error) {
	d := &Detector{loc: opts.Location}
	if d.loc == nil {
		d.loc = time.UTC
	}
	if opts.Zone != "" {
		minutes, err := zoneMinutes(opts.Zone)
		if err != nil {
			return nil, fmt.Errorf("logtimezone: %w", err)
		}
		d.zone, d.hasZone = minutes, true
	}
	year := opts.Year
	if year == 0 {
		year = 2026
	}
	var list []string
	for _, p := range patterns {
		for _, line := range strings.Split(p, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
	}
	if len(list) == 0 {
		list = []string{"{DEFAULT}"}
	}
	for _, p := range list {
		if err := d.add(p, year); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// setAfter is how many lines have their dates looked for in one template after the
// other, before a set of all is made: in most logs the first lines tell the form of
// the others.
const setAfter = 20

// begin says which templates may find a date in a line.
func (d *Detector) begin(line []byte) {
	if d.searched++; d.searched < setAfter {
		return
	}
	if d.set == nil {
		d.order = slices.Clone(d.templates)
		res := make([]*pyregexp.Regexp, 0, len(d.order))
		for _, t := range d.order {
			if err := t.compile(); err != nil {
				return // never of those that come with us; and others are compiled by now
			}
			res = append(res, t.re)
		}
		d.set = pyregexp.NewSet(res...)
	}
	d.maybe = d.set.Match(line, d.maybe)
}

// mayFind reports whether a template may find a date in the line that begin was
// given.
func (d *Detector) mayFind(t *Template) bool {
	return d.set == nil || slices.Contains(d.maybe, slices.Index(d.order, t))
}

func (d *Detector) add(pattern string, year int) error {
	key := pattern
	if !strings.Contains(pattern, "%") {
		key = strings.ToUpper(pattern)
	}
	known := len(d.templates) > 0
	var more []*Template
	var err error
	switch {
	case key == lineBegin || key == "{DEFAULT}":
		more, err = defaultTemplates(year)
		if key == lineBegin {
			more = slices.DeleteFunc(more, func(t *Template) bool { return !t.bound.lineBegin })
		}
	case strings.Contains(strings.ToUpper(key), "{DATE}"):
		more, err = wrapped(pattern, year)
	default:
		var t *Template
		t, err = newTemplate(pattern, year)
		more, known = []*Template{t}, false
	}
	if err != nil {
		return err
	}
	if key != lineBegin && key != "{DEFAULT}" {
		for i, t := range more { // of many around the same text, the others are compiled when lines ask for them
			if err := t.check(); err != nil {
				return err
			}
			if i > 0 {
				continue
			}
			if err := t.compile(); err != nil {
				return err
			}
		}
	}
	for _, t := range more {
		if slices.ContainsFunc(d.templates, func(o *Template) bool { return o.Name == t.Name }) {
			if known {
				continue // a default one that is there already
			}
			return fmt.Errorf("datepattern %q: there is already a template with name %s", pattern, t.Name)
		}
		d.templates = append(d.templates, t)
	}
	return nil
}

// Templates returns the templates with their hits, in their present order.
func (d *Detector) Templates() []*Template { return d.templates }

// Find returns the date of a line. now decides the year of a date without one,
// and the day of a time alone.
func (d *Detector) Find(line []byte, now time.Time) (Match, bool) {
	if q, ok := d.Quick(line, now); ok {
		out := Match{Template: q.Template(), Start: int(q.Start), End: int(q.End)}
		out.Time, out.Integer, out.Valid = d.Time(&q, now)
		return out, true
	}
	t, m := d.winner(line, now)
	if t == nil {
		return Match{}, false
	}
	out := Match{Template: t, Start: m[2*t.date], End: m[2*t.date+1]}
	if out.End > out.Start {
		out.Time, out.Integer, out.Valid = t.read(line, m, now, d)
	}
	if out.Valid {
		d.learn(t, m, line)
	} else {
		d.shape = nil
	}
	return out, true
}

// search looks for one template; with a place, only there.
func (d *Detector) search(t *Template, line []byte, buf int) []int {
	if t.compile() != nil {
		return nil // not of those that come with us
	}
	m, err := t.re.Search(line, d.bufs[buf])
	if err != nil || m == nil {
		return nil // a line that costs too much has no date
	}
	d.bufs[buf] = m
	t.matches++
	return m
}

// winner finds the template that is right for a line: the last one where it
// still fits, else the first that is anchored, or whose date is not further
// from the line's begin than it used to be.
func (d *Detector) winner(line []byte, now time.Time) (*Template, []int) {
	var best *Template // what was found further off
	var bestAt int
	var bestMatch []int
	skip := (*Template)(nil)
	if t := d.last; t != nil {
		var m []int
		switch {
		case t.anchored():
			m = d.search(t, line, 0)
			skip = t
		default:
			start, end := offset(line, d.lastAt.start), offset(line, d.lastAt.end)
			if !d.lastAt.fits(line, start, end) {
				m = d.search(t, line, 0)
				skip = t
				break
			}
			m, _ = t.re.SearchAt(line[:end], min(start, end), d.bufs[0])
			if m != nil {
				d.bufs[0] = m
				t.matches++
			}
		}
		if m != nil {
			if len(d.templates) == 1 || t.anchored() || utf8.RuneCount(line[:m[0]]) == d.lastAt.start && utf8.RuneCount(line[:m[1]]) == d.lastAt.end {
				d.won(t, m, line, now)
				return t, m
			}
			best, bestAt, bestMatch = t, utf8.RuneCount(line[:m[0]]), slices.Clone(m)
		}
	}
	d.begin(line)
	for i := 0; i < len(d.templates); i++ {
		t := d.templates[i]
		if t == skip || !d.mayFind(t) {
			continue
		}
		m := d.search(t, line, 1)
		if m == nil {
			continue
		}
		at := utf8.RuneCount(line[:m[0]])
		if i+1 >= len(d.templates) || t.anchored() ||
			at == 0 && t.Hits > 0 && d.templates[i+1].matches == 0 ||
			at <= t.distance && at <= d.lastStart() {
			d.won(t, m, line, now)
			return t, m
		}
		// Maybe a date in the message, not that of the line: look further, too.
		if best == nil || at < bestAt {
			best, bestAt, bestMatch = t, at, slices.Clone(m)
		}
	}
	if best != nil {
		d.won(best, bestMatch, line, now)
	}
	return best, bestMatch
}

func (d *Detector) lastStart() int {
	if !d.lastAt.known {
		return 1
	}
	return d.lastAt.start
}

// won notes a winner, and moves it forward in the order of templates.
func (d *Detector) won(t *Template, m []int, line []byte, now time.Time) {
	t.Hits++
	t.lastUsed = now.Unix()
	t.distance = utf8.RuneCount(line[:m[0]])
	i := 0
	if t != d.templates[0] {
		i = slices.Index(d.templates, t)
	}
	if d.firstUnused == i {
		d.firstUnused++
	}
	d.lastAt = placeOf(line, m[0], m[1])
	if i > 0 && t != d.last {
		d.reorder(i)
	}
	d.last = t
}

// unusedTime is how long a template keeps its place without a hit, in seconds.
const unusedTime = 300

func (t *Template) rank() float64 {
	return float64(t.Hits) * t.weight / float64(max(1, t.distance))
}

// reorder lets the template at i bubble up: to the first place that was never
// used, or half way, or by one.
func (d *Detector) reorder(i int) {
	t := d.templates[i]
	movable := func(to int) bool {
		other := d.templates[to]
		return t.rank() > other.rank() || t.lastUsed-unusedTime > other.lastUsed
	}
	to := i / 2
	if d.firstUnused < i {
		to = d.firstUnused
	}
	if !movable(to) {
		if to == i-1 {
			return
		}
		if to = i - 1; !movable(to) {
			return
		}
	}
	copy(d.templates[to+1:i+1], d.templates[to:i])
	d.templates[to] = t
	for d.firstUnused < len(d.templates) && d.templates[d.firstUnused].Hits > 0 {
		d.firstUnused++
	}
}

// noChar stands for the character outside of a line.
const noChar rune = -1

// char returns the character that begins at i.
func char(line []byte, i int) rune {
	if i < 0 || i >= len(line) {
		return noChar
	}
	if c := line[i]; c < utf8.RuneSelf {
		return rune(c)
	}
	r, _ := utf8.DecodeRune(line[i:])
	return r
}

// charBefore returns the character that ends at i.
func charBefore(line []byte, i int) rune {
	if i <= 0 || i > len(line) {
		return noChar
	}
	if c := line[i-1]; c < utf8.RuneSelf {
		return rune(c)
	}
	r, _ := utf8.DecodeLastRune(line[:i])
	return r
}

func alnum(r rune) bool {
	return r != noChar && (unicode.IsLetter(r) || unicode.IsNumber(r))
}

// offset is where the character with that number begins, in bytes.
func offset(line []byte, chars int) int {
	i := 0
	for ; chars > 0 && i < len(line); chars-- {
		if line[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, size := utf8.DecodeRune(line[i:])
		i += size
	}
	return i
}

func placeOf(line []byte, start, end int) place {
	return place{
		start: utf8.RuneCount(line[:start]), end: utf8.RuneCount(line[:end]), known: true,
		before: charBefore(line, start), first: char(line, start),
		lastChar: charBefore(line, end), after: char(line, end),
	}
}

// fits reports whether a line has the same boundaries at the place, whose ends
// are given in bytes: the same characters outside, or the same inside that are
// no letters or digits.
func (p *place) fits(line []byte, start, end int) bool {
	begin := charBefore(line, start) == p.before || !alnum(p.first) && char(line, start) == p.first
	if !begin {
		return false
	}
	return char(line, end) == p.after || !alnum(p.lastChar) && charBefore(line, end) == p.lastChar
}

// text returns a group's text, trimmed.
func text(line []byte, m []int, group int) (string, bool) {
	if m[2*group] < 0 {
		return "", false
	}
	return string(bytes.TrimSpace(line[m[2*group]:m[2*group+1]])), true
}
