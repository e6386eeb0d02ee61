package logtime

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/pyregexp"
)

// Match is the time found in a line.
type Match struct {
	Time       time.Time
	Start, End int // of the date's own text, in bytes; what is left of the line is matched by filters
	Template   *Template
}

// Detector finds dates. It remembers which template won last and tries that one
// first, so it is not safe for concurrent use: one belongs to one log.
type Detector struct {
	templates []*Template
	last      int // index of the winner, -1: none yet
	loc       *time.Location
	buf       []int
}

// NewDetector takes datepatterns, or nil for the default ones, and the zone of
// dates that name none.
func NewDetector(patterns []string, loc *time.Location) (*Detector, error) {
	d := &Detector{last: -1, loc: loc}
	if len(patterns) == 0 {
		for _, p := range defaultPatterns {
			patterns = append(patterns, lineBegin+p)
		}
		patterns = append(patterns, defaultPatterns...)
	}
	for _, p := range patterns {
		t, err := newTemplate(p)
		if err != nil {
			return nil, err
		}
		d.templates = append(d.templates, t)
	}
	return d, nil
}

// Templates returns the templates with their hits, in order.
func (d *Detector) Templates() []*Template { return d.templates }

// Find returns the first date of a line. now decides the year of a date without
// one: this year's, or last year's if it would be more than a day ahead.
func (d *Detector) Find(line []byte, now time.Time) (Match, bool) {
	if d.last >= 0 {
		if m, ok := d.try(d.last, line, now); ok {
			m.Template.Hits++
			return m, true
		}
	}
	best, found := -1, Match{}
	for i := range d.templates {
		if i == d.last {
			continue
		}
		m, ok := d.try(i, line, now)
		if ok && (best < 0 || m.Start < found.Start) {
			best, found = i, m
			if m.Start <= 2 { // at the line's beginning: no other can be nearer
				break
			}
		}
	}
	if best < 0 {
		return Match{}, false
	}
	d.last = best
	found.Template.Hits++
	return found, true
}

func (d *Detector) try(i int, line []byte, now time.Time) (Match, bool) {
	t := d.templates[i]
	m, err := t.re.Search(line, d.buf)
	var budget *pyregexp.BudgetError
	if errors.As(err, &budget) || m == nil {
		return Match{}, false // a line that costs too much has no date
	}
	d.buf = m
	when, ok := t.read(line, m, now, d.loc)
	if !ok {
		return Match{}, false
	}
	return Match{Time: when, Start: m[2*t.date], End: m[2*t.date+1], Template: t}, true
}

var monthNumbers = map[string]time.Month{
	"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
	"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}

// read turns the groups of a match into a time.
func (t *Template) read(line []byte, m []int, now time.Time, loc *time.Location) (time.Time, bool) {
	if t.epoch > 0 && m[2*t.epoch] >= 0 {
		return readEpoch(string(line[m[2*t.epoch]:m[2*t.epoch+1]]))
	}
	now = now.In(loc)
	year, month, day := 0, time.Month(0), 0
	var hour, minute, second, nano int
	pm, twelve := false, false
	zone := loc
	for _, g := range t.groups {
		if m[2*g.index] < 0 {
			continue
		}
		s := strings.TrimSpace(string(line[m[2*g.index]:m[2*g.index+1]]))
		n, _ := strconv.Atoi(s)
		switch strings.TrimPrefix(g.code, "Ex") {
		case "Y":
			year = n
		case "y":
			year = 2000 + n
			if n > 68 { // POSIX: 69 to 99 are of the last century
				year = 1900 + n
			}
		case "m":
			month = time.Month(n)
		case "b", "B":
			month = monthNumbers[strings.ToLower(s[:3])]
		case "d":
			day = n
		case "H", "k":
			hour = n
		case "I":
			hour, twelve = n%12, true
		case "p":
			pm = strings.EqualFold(s, "pm")
		case "M":
			minute = n
		case "S":
			second = n
		case "f":
			nano, _ = strconv.Atoi((s + "000000000")[:9])
		case "z":
			zone = readZone(s)
		}
	}
	if twelve && pm {
		hour += 12
	}
	guessYear := year == 0
	if guessYear {
		year = now.Year()
	}
	if month == 0 || day == 0 { // a time of day alone is today's, or yesterday's if ahead
		when := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, second, nano, zone)
		if when.After(now) {
			when = when.AddDate(0, 0, -1)
		}
		return when, true
	}
	when := time.Date(year, month, day, hour, minute, second, nano, zone)
	if guessYear && when.After(now.Add(24*time.Hour)) {
		year--
		when = time.Date(year, month, day, hour, minute, second, nano, zone)
	}
	return when, when.Day() == day || second > 59 // 31 February is no date
}

func readEpoch(s string) (time.Time, bool) {
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nano := 0
	if frac != "" {
		nano, _ = strconv.Atoi((frac + "000000000")[:9])
	}
	return time.Unix(n, int64(nano)), true
}

func readZone(s string) *time.Location {
	if s[0] != '+' && s[0] != '-' {
		return time.UTC
	}
	digits := strings.ReplaceAll(s[1:], ":", "")
	h, _ := strconv.Atoi(digits[:2])
	m := 0
	if len(digits) >= 4 {
		m, _ = strconv.Atoi(digits[2:4])
	}
	offset := h*3600 + m*60
	if s[0] == '-' {
		offset = -offset
	}
	return time.FixedZone(s, offset)
}
