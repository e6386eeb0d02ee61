package daemon

import (
	"testing"
	"time"
)

// TestHeapRoom: a small heap may double, a large one grows by little.
func TestHeapRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 20 << 20: 50, 25 << 20: 40, 40 << 20: 25, 1 << 40: 25} {
		if got := roomFor(live); got != want {
			t.Errorf("%d MB: %d %%, want %d", live>>20, got, want)
		}
	}
}

// TestHeapPace: a start is collected often as long as it is one of few jails; afterwards a heap
// has little room where little happens, however often somebody asked for a collection.
func TestHeapPace(t *testing.T) {
	p := &heapPace{percent: startLittle}
	at := time.Unix(1764000000, 0)
	for i, step := range []struct {
		started bool
		after   time.Duration
		live    uint64
		forced  uint64
		want    int
	}{
		{false, time.Millisecond, 1 << 20, 0, startLittle},
		{false, time.Millisecond, 6 << 20, 0, 500},
		{false, time.Millisecond, 1 << 20, 0, 500},
		{false, time.Millisecond, 12 << 20, 0, 200},
		{false, time.Millisecond, 100 << 20, 0, roomLeast}, // a million bans
		{true, time.Second, 2 << 20, 1, quietRoom},
		{true, 0, 2 << 20, 2, quietRoom},
		{true, time.Second, 2 << 20, 2, quietRoom},
		{true, time.Second, 2 << 20, 2, quietRoom}, // soon after one
		{true, time.Second, 2 << 20, 2, 100},       // soon after several
		{true, time.Second, 40 << 20, 2, roomLeast},
		{true, time.Second, 2 << 20, 2, 100},
		{true, time.Second, 2 << 20, 3, 100}, // somebody asked
		{true, time.Minute, 2 << 20, 3, quietRoom},
		{true, time.Minute, 40 << 20, 3, roomLeast},
	} {
		at = at.Add(step.after)
		if p.percent = p.next(step.started, at, step.live, step.forced); p.percent != step.want {
			t.Errorf("step %d: %d %%, want %d", i, p.percent, step.want)
		}
	}
}
