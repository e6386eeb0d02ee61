package logtime

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How the fields of a date become a time, in fail2ban's way where a date leaves
// something open: a date without a year is of this year, or of the last if it
// would lie more than a day ahead; a time alone is today's, or yesterday's if it
// would lie ahead.

var (
	monthNumbers = map[string]int{
		"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
		"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
	}
	dayNumbers = map[string]int{"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
)

// year10000 is when years have five digits, in seconds since 1970: no log knows it.
const year10000 = 253402300800

// date is what the fields of a line say; -1 where they say nothing.
type date struct {
	year, month, day     int
	yearday              int // of a week before the year's first: 0 or less
	hasYearday           bool
	weekday, week        int
	monday               bool // weeks begin on Monday
	hour, minute, second int
	nano                 int
	zone                 int // minutes
	hasZone              bool
}

// read turns the groups of a match into a time; not ok if they are no date.
func (t *Template) read(line []byte, m []int, now time.Time, d *Detector) (when time.Time, integer, ok bool) {
	switch t.kind {
	case kindEpoch, kindLongEpoch:
		s, _ := text(line, m, t.value)
		when, ok = readEpoch(s, t.kind == kindLongEpoch)
		return when, false, ok
	case kindTAI64N:
		s, _ := text(line, m, 1)
		if len(s) < 17 {
			return time.Time{}, false, false
		}
		n, err := strconv.ParseInt(s[2:17], 16, 64)
		return time.Unix(n, 0), true, err == nil && n < year10000
	}
	x := date{year: -1, month: -1, day: -1, weekday: -1, week: -1}
	ampm, hour12 := "", -1
	for _, f := range t.fields {
		s, ok := text(line, m, f.index)
		if !ok {
			continue
		}
		n, _ := strconv.Atoi(s)
		switch f.code {
		case 'y':
			if x.year = n; n <= 2000 {
				x.year += 2000
			}
		case 'Y':
			x.year = n
		case 'm':
			x.month = n
		case 'b', 'B':
			x.month = monthNumbers[strings.ToLower(s)[:3]]
		case 'd':
			x.day = n
		case 'H':
			x.hour = n
		case 'I':
			hour12 = n
		case 'p':
			ampm = strings.ToLower(s)
		case 'M':
			x.minute = n
		case 'S':
			x.second = n
		case 'f':
			x.nano, _ = strconv.Atoi((s + "000000000")[:9])
		case 'a', 'A':
			x.weekday = dayNumbers[strings.ToLower(s)[:3]]
		case 'w':
			x.weekday = (n + 6) % 7
		case 'j':
			x.yearday, x.hasYearday = n, true
		case 'U', 'W':
			x.week, x.monday = n, f.code == 'W'
		case 'z', 'Z':
			minutes, err := zoneMinutes(s)
			if err != nil {
				return time.Time{}, false, false
			}
			x.zone, x.hasZone = minutes, true
		}
	}
	if hour12 >= 0 {
		switch x.hour = hour12; {
		case ampm == "pm" && hour12 != 12:
			x.hour += 12
		case ampm != "pm" && hour12 == 12:
			x.hour = 0
		}
	}
	when, ok = x.time(now, d)
	return when, x.hasZone, ok
}

// utc is a date and time of day without a zone, on UTC's line.
func utc(year, month, day, hour, minute, second, nano int) (time.Time, bool) {
	t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	ok := year >= 1 && year <= 9999 && t.Month() == time.Month(month) && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok
}

// time is the moment of a date. What it leaves open, the year or the day, is that of a
// clock on the wall where the line was written.
func (x *date) time(now time.Time, d *Detector) (time.Time, bool) {
	if !x.hasZone && d.hasZone {
		x.zone, x.hasZone = d.zone, true
	}
	now = now.In(d.zoneOf(x.zone, x.hasZone))
	wall, _ := utc(now.Year(), int(now.Month()), now.Day(), now.Hour(), now.Minute(), now.Second(), now.Nanosecond())
	thisYear := x.year < 0
	if thisYear {
		x.year = now.Year()
	}
	if x.month < 0 || x.day < 0 {
		if !x.hasYearday && x.week >= 0 && x.weekday >= 0 {
			x.yearday, x.hasYearday = yearday(x.year, x.week, x.weekday, x.monday), true
		}
		if x.hasYearday {
			t := time.Date(x.year, 1, x.yearday, 0, 0, 0, 0, time.UTC)
			x.year, x.month, x.day = t.Year(), int(t.Month()), t.Day()
		}
	}
	today := x.month < 0 && x.day < 0
	if today {
		x.month, x.day = int(now.Month()), now.Day()
	}
	if x.month < 0 || x.day < 0 {
		return time.Time{}, false
	}
	t, ok := utc(x.year, x.month, x.day, x.hour, x.minute, x.second, x.nano)
	if !ok {
		return time.Time{}, false
	}
	if today && t.After(wall) {
		t = t.AddDate(0, 0, -1)
	}
	if thisYear && t.After(wall.Add(24*time.Hour)) {
		if t, ok = utc(x.year-1, x.month, x.day, x.hour, x.minute, x.second, x.nano); !ok {
			return time.Time{}, false // 29 February, and the last year had none
		}
	}
	if x.hasZone {
		return t.Add(-time.Duration(x.zone) * time.Minute), true
	}
	return local(t, d.loc, now), true
}

// zoneOf is the zone of a date: one that is so many minutes ahead of UTC, or, if it
// names none, the detector's.
func (d *Detector) zoneOf(minutes int, has bool) *time.Location {
	switch {
	case !has && !d.hasZone:
		return d.loc
	case !has:
		minutes = d.zone
	}
	if d.fixed == nil || d.fixedMinutes != minutes {
		d.fixed, d.fixedMinutes = time.FixedZone("", minutes*60), minutes
	}
	return d.fixed
}

// ahead is how far a line may be ahead of the clock that it is read by.
const ahead = time.Minute

// local is the moment at which clocks of a zone show what t shows in UTC. When clocks
// are set back, they show a time twice: then it is the second unless that is ahead of
// now, so a line that was just written is not an hour old. For a time that clocks skip
// it is what time.Date and mktime(3) agree on.
func local(t time.Time, loc *time.Location, now time.Time) time.Time {
	at := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc)
	if loc == time.UTC {
		return at
	}
	_, before := at.Add(-12 * time.Hour).Zone()
	_, after := at.Add(12 * time.Hour).Zone()
	if after >= before {
		return at
	}
	first, second := t.Add(-time.Duration(before)*time.Second).In(loc), t.Add(-time.Duration(after)*time.Second).In(loc)
	if _, o := first.Zone(); o != before {
		return at
	}
	if _, o := second.Zone(); o != after {
		return at
	}
	if second.After(now.Add(ahead)) {
		return first
	}
	return second
}

// yearday is the day of the year of a weekday (0: Monday) in a week of it.
func yearday(year, week, weekday int, monday bool) int {
	first := (int(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Weekday()) + 6) % 7
	if !monday {
		first, weekday = (first+1)%7, (weekday+1)%7
	}
	toFirstWeek := (7 - first) % 7
	if week == 0 {
		return 1 + weekday - first
	}
	return 1 + toFirstWeek + 7*(week-1) + weekday
}

func readEpoch(s string, long bool) (time.Time, bool) {
	digits, frac, _ := strings.Cut(s, ".")
	scale := int64(1)
	if long && len(s) >= 13 {
		scale = 1000
		if len(s) >= 16 && frac == "" {
			scale = 1_000_000
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nano := int64(0)
	if frac != "" {
		nano, _ = strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	}
	sec := n / scale
	nano = n%scale*(1e9/scale) + nano/scale
	return time.Unix(sec, nano), true
}

// zoneMinutes reads a zone: Z, an abbreviation, an offset like +0100, +01:00 or
// +01, or both together. Abbreviations are offsets of their own: CET knows no
// summer.
func zoneMinutes(s string) (int, error) {
	name, rest := s, ""
	if i := strings.IndexAny(s, "+-"); i >= 0 {
		name, rest = s[:i], s[i:]
	}
	minutes, ok := zoneNames[name]
	if s == "z" {
		return 0, nil
	}
	if !ok && name != "" {
		return 0, fmt.Errorf("unknown zone %q: want UTC, an abbreviation like CET, or an offset like UTC+0100", s)
	}
	if rest == "" {
		return minutes, nil
	}
	digits := strings.Replace(rest[1:], ":", "", 1)
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 2 && len(digits) != 4 || n < 0 {
		return 0, fmt.Errorf("unknown zone %q: want an offset like +0100", s)
	}
	if len(digits) == 2 {
		n *= 100
	}
	off := n/100*60 + n%100
	if rest[0] == '-' {
		off = -off
	}
	return minutes + off, nil
}

// ZoneOffset is by how much a zone, as logtimezone names it, is ahead of UTC.
func ZoneOffset(zone string) (ahead time.Duration, ok bool) {
	minutes, err := zoneMinutes(zone)
	return time.Duration(minutes) * time.Minute, err == nil
}
