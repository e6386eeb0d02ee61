package main

import (
	"slices"
	"testing"
	"time"

	"bailiff/bench/measure"
)

var some = costs{put: 200 * time.Microsecond, leaf: 50 * time.Microsecond, mirror: 100 * time.Microsecond, copy: 20 * time.Microsecond, agent: 40 * time.Microsecond, fixed: time.Millisecond, hop: 2 * time.Millisecond}

// TestSimulate: where nobody waits, a ban takes what its way takes, by hand; where hubs have twice as much to do as they can, what waits grows
// with time; and messages are those of a tree.
func TestSimulate(t *testing.T) {
	// One core, a ban a second: the last of three hosts of the second of two regions.
	o := simulate(shape{2, 3}, some, 1, 1, 20, true, false, 1)
	want := some.fixed + some.put + 2*some.leaf + some.hop + some.mirror + 3*some.copy + some.agent
	if got := slices.Max(o.all); got != want || slices.Min(o.all) != want {
		t.Errorf("the last host knows after %v, want %v", got, want)
	}
	if got, want := slices.Min(o.host), want-some.leaf-2*some.copy; got != want {
		t.Errorf("the first host knows after %v, want %v", got, want)
	}
	if o.sent != 2+6 || o.over || len(o.host) != 20*2*samples {
		t.Errorf("%d messages a ban, over %v, %d looked at", o.sent, o.over, len(o.host))
	}
	if s := (shape{10, 10, 1000}); s.hosts() != 100_000 || s.hubs(2) != 100 {
		t.Errorf("%d hosts, %d hubs", s.hosts(), s.hubs(2))
	}
	// A ban takes 200 us and 1,000 times 20 us: 49.5 a second are what one core can do.
	if o := simulate(shape{1000}, some, 1, 99, 200, true, false, 1); !o.over || o.all[199] < 90*o.all[0]/2 {
		t.Errorf("over %v: the first ban took %v, the last %v", o.over, o.all[0], o.all[199])
	}
	// Near what it can do, chance makes bans wait; the more cores, the less.
	slow := simulate(shape{1000}, some, 1, 44, 4000, false, false, 1)
	fast := simulate(shape{1000}, some, 4, 44, 4000, false, false, 1)
	if slow.over || measure.Quantile(slow.all, 0.99) < 3*measure.Quantile(fast.all, 0.99) {
		t.Errorf("p99 %v and %v", measure.Quantile(slow.all, 0.99), measure.Quantile(fast.all, 0.99))
	}
}
