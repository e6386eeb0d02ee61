package logtime

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// fractionsBehind are zones as they stand behind a fraction of a second, and how far
// ahead of UTC they are.
var fractionsBehind = []struct {
	zone  string
	ahead time.Duration
}{
	{"Z", 0},
	{"z", 0},
	{" Z", 0},
	{"UTC", 0},
	{"+0200", 2 * time.Hour},
	{"+02:00", 2 * time.Hour},
	{" +0200", 2 * time.Hour},
	{"-0930", -9*time.Hour - 30*time.Minute},
	{"+02", 2 * time.Hour},
	{"", -1},
}

// TestFractions: a fraction of a second may have any number of digits; what stands
// behind it belongs to the date, and the date is cut out as a whole.
func TestFractions(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	digits := "467434244123987"
	for _, patterns := range [][]string{
		nil,
		{"{^LN-BEG}"},
		{"^{DATE}"},
		{`^\[?({DATE})`, "{^LN-BEG}"},
		{`{UNB}%ExY-%m-%d[T ]%H:%M:%S(?:[.,]%f)?(?:\s*%z)?`},
		{`^%Y-%m-%dT%H:%M:%S(?:[.,]%f\d*)?%Exz`, "{^LN-BEG}"},
		{`%ExY(?P<_sep>[-/.])%m(?P=_sep)%d[T ]%H:%M:%S(?:[.,]%f)?(?:\s*%z)?`},
	} {
		for _, behind := range fractionsBehind {
			for _, sep := range []string{".", ","} {
				for n := range len(digits) + 1 {
					date := "2026-10-10T14:47:35"
					if n > 0 {
						date += sep + digits[:n]
					}
					date += behind.zone
					nano := 0
					_, _ = fmt.Sscan("1"+(digits[:n] + "000000000")[:9], &nano)
					want := time.Date(2026, 10, 10, 14, 47, 35, nano-1e9, berlin)
					if behind.ahead != -1 {
						want = time.Date(2026, 10, 10, 14, 47, 35, nano-1e9, time.UTC).Add(-behind.ahead)
					}
					d, err := NewDetector(patterns, Options{Location: berlin, Year: 2026})
					if err != nil {
						t.Fatal(err)
					}
					// Twice: the second one is found by its form.
					for turn := range 2 {
						line := date + " host app: login failed from 192.0.2.7"
						m, ok := d.Find([]byte(line), want.Add(time.Minute))
						if !ok || !m.Valid || !m.Time.Equal(want) || strings.TrimSpace(line[m.Start:m.End]) != date {
							t.Fatalf("%q %q, turn %d: %v %q, want %v", patterns, line, turn, m.Time.UTC(), line[m.Start:m.End], want.UTC())
						}
					}
				}
			}
		}
	}
	// Where the year stands behind it.
	for n := 1; n <= len(digits); n++ {
		for _, form := range []string{"Sat Oct 10 14:47:35.%s 2024 x", "10/Oct/2024:14:47:35.%s +0000 x", "20241010T144735.%sZ x"} {
			d, _ := NewDetector(nil, Options{Location: time.UTC, Year: 2026})
			m, ok := d.Find([]byte(fmt.Sprintf(form, digits[:n])), time.Date(2026, 10, 10, 15, 0, 0, 0, time.UTC))
			if !ok || m.Time.Truncate(time.Second) != time.Date(2024, 10, 10, 14, 47, 35, 0, time.UTC) {
				t.Errorf(form+": %v", digits[:n], m.Time)
			}
		}
	}
}

// TestYearByTheZone: what a date leaves open, the year or the day, is that of a clock
// where the log is written, also at the turn of the year, and also where many dates
// were read before (they are counted from the begin of their hour).
func TestYearByTheZone(t *testing.T) {
	for _, c := range []struct{ zone, now, line, want string }{
		{"UTC-0500", "2027-01-01T04:31:00Z", "Dec 31 23:30:00 x", "2027-01-01T04:30:00Z"},
		{"UTC+0900", "2026-12-31T15:31:00Z", "Jan  1 00:30:00 x", "2026-12-31T15:30:00Z"},
		{"UTC-0500", "2027-01-01T04:31:00Z", "23:30:00 x", "2027-01-01T04:30:00Z"},
		{"UTC+0900", "2026-12-31T15:31:00Z", "00:30:00 x", "2026-12-31T15:30:00Z"},
		{"UTC+0900", "2026-12-31T15:31:00Z", "00:32:00 x", "2026-12-30T15:32:00Z"},
		{"UTC-0500", "2027-01-01T05:01:00Z", "Dec 31 23:30:00 x", "2027-01-01T04:30:00Z"},
		{"UTC-0500", "2027-01-01T05:01:00Z", "Jan  1 00:00:30 x", "2027-01-01T05:00:30Z"},
		{"", "2027-01-01T00:01:00Z", "Dec 31 23:59:00 x", "2026-12-31T23:59:00Z"},
		{"", "2026-12-31T23:59:00Z", "Jan  1 00:01:00 x", "2026-01-01T00:01:00Z"},
	} {
		now, _ := time.Parse(time.RFC3339, c.now)
		d, err := NewDetector(nil, Options{Location: time.UTC, Zone: c.zone, Year: 2027})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if m, ok := d.Find([]byte(c.line), now); !ok || m.Time.UTC().Format(time.RFC3339) != c.want {
				t.Errorf("zone %q, now %s, %q: %v, want %s", c.zone, c.now, c.line, m.Time.UTC(), c.want)
			}
		}
	}
	// A year of lines, each read a minute after it was written, in hours that repeat.
	for _, zone := range []string{"", "UTC+1400", "UTC+0900", "UTC+0530", "UTC-0500", "UTC-1200"} {
		d, err := NewDetector(nil, Options{Location: time.UTC, Zone: zone, Year: 2028})
		if err != nil {
			t.Fatal(err)
		}
		minutes := 0
		if zone != "" {
			minutes, _ = zoneMinutes(zone)
		}
		for at := time.Date(2026, 12, 29, 0, 0, 30, 0, time.UTC); at.Before(time.Date(2028, 1, 4, 0, 0, 0, 0, time.UTC)); {
			line := at.In(time.FixedZone("", minutes*60)).Format("Jan _2 15:04:05") + " x"
			for _, late := range []time.Duration{time.Second, time.Minute, 3 * time.Hour, 20 * 24 * time.Hour} {
				if m, ok := d.Find([]byte(line), at.Add(late)); !ok || !m.Time.Equal(at) {
					t.Fatalf("zone %q, %q read %v later: %v, want %v", zone, line, late, m.Time.UTC(), at)
				}
			}
			if step := 17 * time.Minute; at.Month() == time.December && at.Day() > 28 || at.Month() == time.January && at.Day() < 4 {
				at = at.Add(step)
			} else {
				at = at.Add(60 * step)
			}
		}
	}
}
