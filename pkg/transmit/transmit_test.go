package transmit

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
)

// logOnly is a daemon that is asked for nothing but its log.
type logOnly struct {
	Daemon
	log *slog.Logger
}

func (d *logOnly) Log() *slog.Logger { return d.log }

// TestFailuresTold: of commands of readers that fail, the log tells some in a minute; of the owner's, all.
func TestFailuresTold(t *testing.T) {
	var out bytes.Buffer
	words := New(&logOnly{log: slog.New(slog.NewTextHandler(&out, nil))}, Options{})
	told := func(role control.Role) int {
		out.Reset()
		for range 1000 {
			if _, err := words.Command(&control.Request{Role: role}); err == nil {
				t.Fatal("no word is a command")
			}
		}
		return strings.Count(out.String(), "has failed")
	}
	if n := told(control.Owner); n != 1000 {
		t.Errorf("%d of the owner's are told", n)
	}
	if n := told(control.Reader); n != eventlog.FewAMinute {
		t.Errorf("%d are told, want %d", n, eventlog.FewAMinute)
	}
}
