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
	// Words that are no time, and 0, don't wait; what they say is said before anybody is asked.
	for word, want := range map[string]string{
		"abc": "could not convert string to float: 'abc'", "0x1": "could not convert string to float: '0x1'", "": "could not convert string to float: ''",
		"nan": "Invalid value NaN (not a number)", "0": "timed out", "1e-12": "timed out",
	} {
		var out, errs strings.Builder
		code := fail2banClient("", []string{"-c", dir, "-s", path, "ping", word}, strings.NewReader(""), &out, &errs)
		if code != exitFail2ban || !strings.Contains(errs.String(), "ERROR   "+want+"\n") || strings.Contains(errs.String(), "for 2m") || out.Len() > 0 {
			t.Errorf("ping %s: exit code %d, %q, %q; want %q", word, code, out.String(), errs.String(), want)
		}
	}
}
