package hub

import (
	"log/slog"
	"testing"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/eventlog"
)

// TestClockSet: a hub whose machine's clock is set says so, once.
func TestClockSet(t *testing.T) {
	h, stop := running(t, made(t))
	stop()
	m, n := clock.NewManual(time.Now()), &notes{t: t}
	h.clock, h.log = m.Clock, slog.New(eventlog.New(n, "INFO"))
	was := h.clock.Offset()
	m.Set(-24 * time.Hour)
	if was = h.clockSet(h.clockSet(was)); was != -24*time.Hour {
		t.Errorf("it is set by %v", was)
	}
	m.Set(time.Second) // less than hubs' clocks may be apart
	h.clockSet(was)
	if n.count("this machine's clock was set back by 24h0m0s") != 1 || n.count("clock was set") != 1 {
		t.Errorf("the log has %q", n.text)
	}
}
