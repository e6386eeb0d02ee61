package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTerminal: a line of the log that would steer a terminal is shown on one, and goes into
// a pipe as it is.
func TestTerminal(t *testing.T) {
	const line = "2026-01-31 12:00:00 Login failure \x1b]0;owned\x07 from 192.0.2.7"
	for _, c := range []string{
		program(t, "fail2ban-regex") + ` --print-all-missed "$LINE" "nosuch <HOST>"`,
		program(t, "bailiff") + ` status --socket "$LINE"`,
		program(t, "fail2ban-client") + ` -s "$LINE" ping`,
	} {
		run := func(name string, args ...string) string {
			cmd := exec.Command(name, args...)
			cmd.Env = append(cmd.Environ(), "LINE="+line, "LC_ALL=C.UTF-8")
			out, _ := cmd.CombinedOutput()
			return string(out)
		}
		if got := run("/bin/sh", "-c", c); !strings.Contains(got, "\x1b]0;owned\x07") {
			t.Errorf("%s into a pipe: %q", c, got)
		}
		// script (bsdutils) gives it a terminal.
		if got := run("script", "-qefc", c, "/dev/null"); !strings.Contains(got, `\x1b]0;owned\x07`) || strings.ContainsAny(got, "\x1b\x07") {
			t.Errorf("%s on a terminal: %q", c, got)
		}
	}
}
