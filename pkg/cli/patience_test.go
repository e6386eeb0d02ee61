package cli

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestPing: the time that ping is given holds with a server that accepts and says nothing.
func TestPing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out, errs strings.Builder
	code := fail2banClient("", []string{"-c", dir, "-s", path, "ping", "0.1"}, strings.NewReader(""), &out, &errs)
	if code != exitFail2ban || !strings.Contains(errs.String(), "ERROR   timed out") || out.Len() > 0 {
		t.Errorf("exit code %d, %q, %q", code, out.String(), errs.String())
	}
}
