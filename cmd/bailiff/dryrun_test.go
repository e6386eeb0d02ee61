package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// TestDryRun: a dry run runs no action, sends no mail, writes no export and runs no
// reload, at no command either; it says what it would do, and no line of its log reads as
// a ban.
func TestDryRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ran, export := filepath.Join(dir, "ran"), filepath.Join(dir, "banned.conf")
	logFile := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "feed.txt"), "198.51.100.0/28\n")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
[database]
path = %[5]q

[export.nginx]
file = %[3]q
format = "nginx"
reload = "echo reload >> %[2]s"

[security]
fixed_actions = false # one is changed over the socket

[default]
ignoreself = false

[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %[1]q
maxretry = 2
bantime = "1h"

[jail.app.action.tell]
start = "echo start >> %[2]s"
stop = "echo stop >> %[2]s"
ban = "echo ban <ip> <word> >> %[2]s"
unban = "echo unban <ip> >> %[2]s"
param = { word = "up" }

[jail.feed]
enabled = true
list = %[4]q
`, logFile, ran, export, filepath.Join(dir, "feed.txt"), filepath.Join(dir, "db.sqlite3")))
	d := daemonHere(t, dir, "--dry-run")
	d.said("[feed] dry run: list read, nothing is shut out: 1 entries")
	d.said("dry run: would write export nginx to " + export + ": 1 addresses and networks")
	d.said("dry run: would run its reload: echo reload >> " + ran)
	log, err := os.OpenFile(logFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 2 {
		fmt.Fprintf(log, "%s login failed from 192.0.2.7\n", time.Now().Format("2006-01-02 15:04:05"))
	}
	d.said("[app] dry run: would add to the kernel's sets: 192.0.2.7")
	d.said("[app] dry run: Ban 192.0.2.7")
	d.said("[app] tell: dry run: would run: echo start >> " + ran)
	d.said("[app] tell: dry run: would run: echo ban 192.0.2.7 up >> " + ran)
	d.said("would write export nginx to " + export + ": 2 addresses and networks")
	if out, code := d.run("ban", "app", "203.0.113.9"); code != 0 || out != "203.0.113.9 banned in app; this is a dry run: nothing is done\n" {
		t.Errorf("%d %q", code, out)
	}
	if got, err := d.api.Unban(control.UnbanRequest{IPs: []string{"192.0.2.7"}}); err != nil || got[0].Count != 1 || got[0].Pending == "" {
		t.Errorf("%+v %v", got, err)
	}
	d.said("[app] tell: dry run: would run: echo unban 192.0.2.7 >> " + ran)
	if out, code := d.run("fail2ban-client", "set", "app", "action", "tell", "actionban", "echo other >> "+ran); code != 0 {
		t.Errorf("%d %q", code, out)
	}
	if out, code := d.run("fail2ban-client", "set", "app", "action", "tell", "ban", `{"ip": "203.0.113.10"}`); code != 0 {
		t.Errorf("%d %q", code, out)
	}
	d.said("[app] tell: dry run: would run: echo other >> " + ran)
	d.end()
	if text := d.text(); !strings.Contains(text, "[app] tell: dry run: would run: echo stop >> "+ran) {
		t.Errorf("not said that the action would be stopped:\n%s", text)
	}
	for _, name := range []string{ran, export, filepath.Join(dir, "db.sqlite3")} {
		if text, err := os.ReadFile(name); err == nil {
			t.Errorf("%s was made: %s", name, text)
		}
	}
	for _, line := range strings.Split(d.text(), "\n") {
		if strings.Contains(line, "put right") || strings.Contains(line, "ERROR") {
			t.Errorf("the log says %s", line)
		}
		if strings.Contains(line, "] Ban ") || strings.Contains(line, "] Unban ") {
			t.Errorf("the log tells of a ban: %s", line)
		}
	}
}
