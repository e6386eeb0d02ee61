package jail

import (
	"testing"
	"time"
)

// TestLoggedTimes: the log tells times as a clock on this host's wall shows them.
func TestLoggedTimes(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	before := time.Local
	time.Local = berlin
	t.Cleanup(func() { time.Local = before })
	l := start(t, nil)
	l.say("2026-01-31 11:59:57+00:00 Login failure 192.0.2.7")
	l.logged("Found 192.0.2.7 - 2026-01-31 12:59:57\n")
	l.say("2026-01-31T12:59:58.467434244+01:00 Login failure 192.0.2.8")
	l.logged("Found 192.0.2.8 - 2026-01-31 12:59:58\n")
}
