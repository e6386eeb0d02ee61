package daemon

import "testing"

// TestHeapRoom: a small heap may double, a large one grows by little.
func TestHeapRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 20 << 20: 50, 25 << 20: 40, 40 << 20: 25, 1 << 40: 25} {
		if got := roomFor(live); got != want {
			t.Errorf("%d MB: %d %%, want %d", live>>20, got, want)
		}
	}
}
