package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestContainerLog follows a container's log over a restart in the middle of a line that
// came in parts: each failure counts once, at its own time, and the lines that are told of
// a ban are the service's, each with its date.
func TestContainerLog(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	hosttest.Write(t, path("log.json"), "")
	hosttest.Write(t, path("bailiff.toml"), fmt.Sprintf(`
[firewall]
enabled = false

[database]
path = %[1]q

[jail.app]
enabled = true
failregex = '^\s*(?:\[\] )?login of \S* failed from <ADDR>$'
logpath = %[2]q
maxretry = 3

[jail.app.action.tell]
ban = "printf '%%s\n' \"<matches>\" > %[3]s"
`, path("db"), path("log.json"), path("told")))
	now := time.Now().UTC().Truncate(time.Second)
	record := func(text string) string {
		b, _ := json.Marshal(text)
		return fmt.Sprintf(`{"log":%s,"stream":"stdout","time":%q}`+"\n", b, now.Format(time.RFC3339Nano))
	}
	say := func(records ...string) {
		t.Helper()
		f, err := os.OpenFile(path("log.json"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(strings.Join(records, "")); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", 20_000)
	d := daemonHere(t, dir)
	say(record("login of alice failed from 192.0.2.7\n"), record("\x1b[33mlogin of bob failed from 192.0.2.99\x1b[0m\n"), record("login of "+long[:16_000]))
	d.said("Found 192.0.2.99")
	d.end()
	before := d.text()
	say(record(long[16_000:]+" failed from 192.0.2.7\n"), record("["+now.Add(-time.Minute).Format("2006-01-02T15:04:05Z")+"] login of carol failed from 192.0.2.7\n"))
	d = daemonHere(t, dir)
	d.said("Ban 192.0.2.7")
	d.until("the action is not told", func() bool { text, _ := os.ReadFile(path("told")); return strings.HasSuffix(string(text), "\n") })
	after := strings.TrimPrefix(d.text(), before)
	if n := strings.Count(before, "Found 192.0.2.7 - "); n != 1 {
		t.Errorf("%d failures before the restart:\n%s", n, before)
	}
	if n := strings.Count(after, "Found 192.0.2.7 - "); n != 2 {
		t.Errorf("%d failures after it:\n%s", n, after)
	}
	if want := "Found 192.0.2.7 - " + now.Add(-time.Minute).Local().Format(time.DateTime); !strings.Contains(after, want) {
		t.Errorf("not said: %s:\n%s", want, after)
	}
	text, _ := os.ReadFile(path("told"))
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	iso := now.Local().Format("2006-01-02T15:04:05-07:00")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], iso+" login of xxx") || // those of before a restart are not kept
		lines[1] != "["+now.Add(-time.Minute).Format("2006-01-02T15:04:05Z")+"] login of carol failed from 192.0.2.7" {
		for i := range lines {
			lines[i] = lines[i][:min(len(lines[i]), 100)]
		}
		t.Errorf("told of %q", lines)
	}
}
