package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestWhyLine: each enabled jail says what it makes of a line, and why it does not count. The
// exit code says whether it does for one.
func TestWhyLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
socket = %q
[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
ignoreregex = 'of the monitor'
logpath = "/var/log/app.log"
ignoreip = ["198.51.100.0/24"]
[jail.seen]
enabled = true
failregex = '^\s*login failed from <ADDR>( of the monitor)?$'
logpath = "/var/log/app.log"
observe = true
maxretry = 2
findtime = "1h30m"
[jail.other]
enabled = true
failregex = '^\s*denied <ADDR>$'
logpath = "/var/log/other.log"
[jail.off]
failregex = '^\s*login failed from <ADDR>$'
logpath = "/var/log/app.log"
[jail.broken]
enabled = true
failregex = '(<ADDR>'
logpath = "/var/log/app.log"
`, filepath.Join(dir, "sock")))
	bailiff := program(t, "bailiff")
	line := func(age time.Duration, text string) string {
		return time.Now().Add(-age).UTC().Format("2006-01-02 15:04:05") + " " + text
	}
	for name, c := range map[string]struct {
		line string
		code int
		says map[string]string // by jail
	}{
		"it counts": {line(0, "login failed from 192.0.2.7"), 0, map[string]string{
			"app":    "A failure of 192.0.2.7. It counts: 5 within 10m ban.",
			"seen":   "A failure of 192.0.2.7. It counts: 2 within 1h30m would ban (observe).",
			"other":  "No failure.",
			"broken": "The jail is broken: ",
		}},
		"older than findtime": {line(time.Hour, "login failed from 192.0.2.7"), 0, map[string]string{
			"app": "It does not count: it is of ", "seen": "It counts: 2 within 1h30m",
		}},
		"too old for all": {line(48*time.Hour, "login failed from 192.0.2.7"), 1, map[string]string{
			"app": "older than findtime, 10m.", "seen": "older than findtime, 1h30m.",
		}},
		"ignoreip": {line(0, "login failed from 198.51.100.9"), 0, map[string]string{
			"app": "It does not count, since it is never banned: ignoreip 198.51.100.0/24.", "seen": "It counts",
		}},
		"this host":   {line(0, "login failed from 127.0.0.1"), 1, map[string]string{"app": "never banned: own address.", "seen": "never banned: own address."}},
		"ignoreregex": {line(0, "login failed from 192.0.2.7 of the monitor"), 0, map[string]string{"app": "No failure: it is ignored.", "seen": "It counts"}},
		"the last of several": {line(0, "login failed from 192.0.2.7") + "\n" + line(0, "denied 192.0.2.8"), 0, map[string]string{
			"app": "No failure.", "other": "A failure of 192.0.2.8. It counts",
		}},
		"nobody's": {"hello world", 1, map[string]string{"app": "No failure.", "seen": "No failure."}},
	} {
		t.Run(name, func(t *testing.T) {
			c0 := exec.Command(bailiff, "why", "--config", conf, "--json", c.line)
			c0.Env = append(c0.Environ(), "TZ=UTC")
			out, _ := c0.Output()
			if code := c0.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			var said []struct {
				Jail, Verdict string
				Counts        bool
			}
			if err := json.Unmarshal(out, &said); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := map[string]string{}
			for _, s := range said {
				got[s.Jail] = s.Verdict
				if s.Counts != strings.Contains(s.Verdict, "It counts") {
					t.Errorf("%+v", s)
				}
			}
			if len(got) != 4 {
				t.Errorf("%d jails: %v", len(got), got)
			}
			for jail, want := range c.says {
				if !strings.Contains(got[jail], want) {
					t.Errorf("%s: %q, want %q", jail, got[jail], want)
				}
			}
			if len(said) > 0 && c.code == 0 && !said[0].Counts {
				t.Errorf("the first is of %s, for which it does not count", said[0].Jail)
			}
		})
	}
	c := exec.Command(bailiff, "why", "--config", conf, line(0, "login failed from 192.0.2.7"))
	c.Env = append(c.Environ(), "TZ=UTC")
	out, err := c.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "app: A failure of 192.0.2.7. It counts") || !strings.HasSuffix(string(out), "No failure for, and farther from one: other\n") {
		t.Errorf("%v: %s", err, out)
	}
}
