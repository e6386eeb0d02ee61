package clock

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// TestSteps: whatever is done to the wall clock, the steady time goes on.
func TestSteps(t *testing.T) {
	day, year := 24*time.Hour, 365*24*time.Hour
	for _, step := range []time.Duration{0, time.Second, -time.Second, time.Hour, -time.Hour, day, -day, 10 * year, -10 * year, 300 * time.Millisecond, -300 * time.Millisecond} {
		m := NewManual(noon)
		line := m.Read().At(noon.Add(-time.Minute)) // a minute old
		m.Advance(time.Second)
		m.Set(step)
		m.Advance(time.Second)
		r := m.Read()
		if want := noon.Add(2 * time.Second); !r.Steady.Equal(want) || !m.Now().Equal(want) {
			t.Errorf("step %v: steady %v, want %v", step, r.Steady, want)
		}
		if off := r.Wall.Sub(noon.Add(2*time.Second + step)); off.Abs() > follow {
			t.Errorf("step %v: the wall clock is told %v off", step, off)
		}
		if got := r.Steady.Sub(line); got != 62*time.Second {
			t.Errorf("step %v: the line is %v old, want 1m2s", step, got)
		}
		wall := m.ToWall(line)
		if !m.FromWall(wall).Equal(line) {
			t.Errorf("step %v: %v there and back is %v", step, line, m.FromWall(wall))
		}
		if m.Offset()%time.Second != 0 || wall.Nanosecond() != 0 {
			t.Errorf("step %v: offset %v", step, m.Offset())
		}
	}
}

// TestAhead: a line that is ahead of the clock is of now.
func TestAhead(t *testing.T) {
	m := NewManual(noon)
	if r := m.Read(); !r.At(noon.Add(time.Hour)).Equal(r.Steady) {
		t.Error(r.At(noon.Add(time.Hour)))
	}
	m.Set(-24 * time.Hour)
	if r := m.Read(); !r.At(noon).Equal(r.Steady) || r.Age(noon) != 0 {
		t.Error(r.At(noon))
	}
}

// TestSuspend: the steady time runs in suspend, the kernel's timers don't.
func TestSuspend(t *testing.T) {
	m := NewManual(noon)
	m.Suspend(time.Hour)
	if !m.Now().Equal(noon.Add(time.Hour)) || m.Suspended() != time.Hour || m.Offset() != 0 {
		t.Error(m.Now(), m.Suspended(), m.Offset())
	}
}

// TestStopped: a program that is stopped between two looks at the clocks sees no step.
func TestStopped(t *testing.T) {
	m := NewManual(noon)
	s := &slow{Source: (*manualSource)(m), m: m}
	c := New(s, "slow")
	s.times = 3
	if got := c.Offset(); got != 0 {
		t.Errorf("a step of %v", got)
	}
	if s.times != 0 {
		t.Error("it was not slow")
	}
}

// slow is a source whose reader is stopped after it read the wall clock.
type slow struct {
	Source
	m     *Manual
	times int
}

func (s *slow) Wall() time.Time {
	w := s.Source.Wall()
	if s.times > 0 {
		s.times--
		s.m.Advance(time.Minute)
	}
	return w
}

// TestSystem: the machine's own clock. Nobody sets it here; what the kernel says of it
// is what it should.
func TestSystem(t *testing.T) {
	c := System()
	before := time.Now()
	r := c.Read()
	if d := r.Wall.Sub(before); d.Abs() > time.Minute {
		t.Errorf("%v off", d)
	}
	if !c.Now().After(r.Steady) {
		t.Error("it stands still")
	}
	if id, zero := c.Boot(); len(id) != 36 || zero <= 0 || time.Duration(before.UnixNano()) < zero {
		t.Errorf("boot %q at %v", id, time.Unix(0, int64(zero)))
	}
}

// TestWatch: a step and a suspend are told, with their sizes; the time that passes
// isn't.
func TestWatch(t *testing.T) {
	m := NewManual(noon)
	steps := make(chan Step)
	watching := m.Clock
	go watching.Watch(t.Context(), func(s Step) { steps <- s })
	next := func() Step {
		t.Helper()
		select {
		case s := <-steps:
			return s
		case <-time.After(2 * time.Minute):
			t.Fatal("not told")
			return Step{}
		}
	}
	m.Advance(time.Hour)
	m.Set(-24 * time.Hour)
	if s := next(); s != (Step{By: -24 * time.Hour}) {
		t.Errorf("told %+v", s)
	}
	m.Suspend(8 * time.Hour)
	if s := next(); s != (Step{Suspended: 8 * time.Hour}) {
		t.Errorf("told %+v", s)
	}
}

func BenchmarkRead(b *testing.B) {
	c := System()
	for b.Loop() {
		c.Read()
	}
}
