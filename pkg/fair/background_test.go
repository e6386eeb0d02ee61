package fair

import (
	"testing"
	"time"
)

// TestBackground: of the time that work in steps takes, rests are two thirds, and four fifths while
// somebody is at something urgent; by a clock that only work and rests move.
func TestBackground(t *testing.T) {
	share := func() float64 {
		at := time.Unix(1_800_000_000, 0)
		var rested, worked time.Duration
		b := Background{now: func() time.Time { return at }, sleep: func(d time.Duration) { rested += d; at = at.Add(d) }}
		for range 100_000 {
			b.Step()
			worked += 10 * time.Microsecond
			at = at.Add(10 * time.Microsecond)
		}
		if b.Rests() == 0 {
			t.Error("it never rests")
		}
		return float64(worked) / float64(worked+rested)
	}
	if s := share(); s > 0.34 || s < 0.3 {
		t.Errorf("%.2f of the core", s)
	}
	done := Urgent()
	defer done()
	if s := share(); s > 0.21 || s < 0.18 {
		t.Errorf("%.2f of the core beside something urgent", s)
	}
}

// TestBackgroundLate: who did not get to the processor for a minute does not rest for two.
func TestBackgroundLate(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	var longest time.Duration
	b := Background{now: func() time.Time { return at }, sleep: func(d time.Duration) { longest = max(longest, d) }}
	b.Step()
	at = at.Add(time.Minute)
	if b.Step(); longest != restMost {
		t.Errorf("it rests for %v", longest)
	}
}
