package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
)

// TestAllowFor: nobody is let in for no time, or for longer than may be, which is the client's to mend.
func TestAllowFor(t *testing.T) {
	for _, seconds := range []float64{0, -1, 1e18} {
		var bad *control.BadError
		if _, err := (&Daemon{}).Allow(control.AllowRequest{IPs: []string{"192.0.2.7"}, Seconds: seconds}); !errors.As(err, &bad) {
			t.Errorf("%v seconds: %v", seconds, err)
		}
	}
}

// TestAllowedDisk: a disk that is full, or a name that is taken, is told in one line, the same each
// time, and leaves nothing behind.
func TestAllowedDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "db.allowed")
	if err := os.MkdirAll(filepath.Join(path, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := make([]control.Allowance, 1000)
	for i := range list {
		list[i] = control.Allowance{IP: fmt.Sprintf("2001:db8::%x", i+1), Until: time.Now().Add(time.Hour)}
	}
	first, second := writeLines(path, list), writeLines(path, list)
	if first == nil || second == nil || first.Error() != second.Error() || strings.ContainsAny(first.Error(), "\n") || !strings.Contains(first.Error(), path) {
		t.Errorf("%v, %v", first, second)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := writeLines(path, list); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != len(list) {
		t.Errorf("%v %d", err, len(text))
	}
}
