package logtime

import (
	"testing"
	"time"
)

// TestTwice: a time that clocks show twice is the one near the clock that it is read
// by, in every way in which dates are read.
func TestTwice(t *testing.T) {
	quick := 0
	for _, zone := range []struct {
		name string
		back time.Time // when clocks are set back
		by   time.Duration
	}{
		{"Europe/Berlin", time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC), time.Hour},
		{"America/New_York", time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC), time.Hour},
		{"Australia/Lord_Howe", time.Date(2026, 4, 4, 15, 0, 0, 0, time.UTC), 30 * time.Minute},
	} {
		loc, err := time.LoadLocation(zone.name)
		if err != nil {
			t.Fatal(err)
		}
		detectors := map[string]*Detector{"2006-01-02 15:04:05": nil, "Jan _2 15:04:05": nil}
		for format := range detectors {
			if detectors[format], err = NewDetector(nil, Options{Location: loc}); err != nil {
				t.Fatal(err)
			}
		}
		for step := -2 * zone.by; step <= 2*zone.by; step += 7 * time.Minute {
			written := zone.back.Add(step)
			// Ten minutes later where the two don't lie nearer to each other.
			for _, late := range []time.Duration{0, time.Second, 10 * time.Minute} {
				now := written.Add(late)
				// The second of two moments is already there: the line is taken for it.
				want := written
				if second := written.Add(zone.by); written.Before(zone.back) && !written.Before(zone.back.Add(-zone.by)) && !second.After(now.Add(time.Minute)) {
					want = second
				}
				for format, d := range detectors {
					line := []byte(written.In(loc).Format(format) + " host x")
					if q, ok := d.Quick(line, now); ok {
						quick++
						if at, _, ok := d.Time(&q, now); !ok || !at.Equal(want) {
							t.Errorf("%s: %s read quickly at %v: %v, want %v", zone.name, line, now.In(loc), at, want.In(loc))
						}
						continue
					}
					m, ok := d.Find(line, now)
					if !ok || !m.Valid || !m.Time.Equal(want) {
						t.Errorf("%s: %s read at %v: %v, want %v", zone.name, line, now.In(loc), m.Time, want.In(loc))
					}
				}
			}
		}
	}
	if quick < 100 {
		t.Errorf("only %d dates were read quickly", quick)
	}
}

// TestSameYears: which years the default templates know.
func TestSameYears(t *testing.T) {
	for _, c := range []struct {
		a, b int
		same bool
	}{{2026, 2016, true}, {2026, 2036, false}, {2000, 2026, true}, {1970, 2026, false}, {2026, 2027, false}, {2030, 2036, true}} {
		if SameYears(c.a, c.b) != c.same || SameYears(c.b, c.a) != c.same {
			t.Errorf("%d and %d: want %v", c.a, c.b, c.same)
		}
	}
}
