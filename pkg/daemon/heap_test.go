package daemon

import "testing"

// TestHeapRoom: a small heap may double, a large one grows by little.
func TestHeapRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 4 << 20: 100, 16 << 20: 100, 32 << 20: 50, 40 << 20: 40, 100 << 20: 30, 1 << 40: 30} {
		if got := roomFor(live); got != want {
			t.Errorf("%d MB: %d %%, want %d", live>>20, got, want)
		}
	}
}
