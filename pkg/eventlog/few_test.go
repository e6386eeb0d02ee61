package eventlog

import (
	"testing"
	"time"
)

// TestFew: 30 are let through in a minute, and as many in the next.
func TestFew(t *testing.T) {
	var f Few
	told := func() (n int) {
		for range 1000 {
			if f.Allow() {
				n++
			}
		}
		return n
	}
	if n := told(); n != FewAMinute {
		t.Errorf("%d are told, want %d", n, FewAMinute)
	}
	f.since = f.since.Add(-2 * time.Minute)
	if n := told(); n != FewAMinute {
		t.Errorf("%d are told in the next minute, want %d", n, FewAMinute)
	}
}
