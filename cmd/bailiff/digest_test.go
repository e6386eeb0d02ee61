package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// TestReport: what a daemon has seen is in its report, as text, as HTML and as JSON, with the daemon and
// without it; what an attacker wrote is text in each.
func TestReport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
socket = %q

[database]
path = %q

[firewall]
enabled = false

[jail.shop]
enabled = true
maxretry = 2
failregex = '^\s*login of <F-USER>\S+</F-USER> failed from <ADDR>$'
logpath = %q
`, filepath.Join(dir, "sock"), filepath.Join(dir, "db"), log))
	d := &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	c := exec.Command(program(t, "bailiff"), "run", "--config", dir, "--log-target", d.log)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	d.api = control.NewClient(d.socket)
	d.until("it does not start", func() bool { return d.api.Ping() == nil })
	const evil = `</td><script>alert(1)</script>` + "\x1b]0;x\x07"
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fmt.Fprintf(f, "%s login of %s failed from 192.0.2.7\n", time.Now().UTC().Format(time.RFC3339), evil)
	}
	f.Close()
	d.until("it is not banned", func() bool { j, err := d.api.Jail("shop"); return err == nil && j.Banned == 1 })
	if _, err := d.api.Ban("shop", control.BanRequest{IPs: []string{"2001:db8::7"}}); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, string, int) {
		t.Helper()
		cmd := exec.Command(program(t, "bailiff"), append([]string{"report", "--config", dir}, args...)...)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	sums := func(text string) {
		t.Helper()
		var r struct {
			Zone     string
			Failures int
			Bans     int
			ByHand   int `json:"bans_by_hand"`
			Jails    []struct {
				Name string
				Bans int
			}
			Users []struct{ Name string }
			Wrong *[]string `json:"wrong_now"`
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if r.Failures != 2 || r.Bans != 2 || r.ByHand != 1 || len(r.Jails) != 1 || r.Jails[0].Bans != 2 || len(r.Users) != 1 || r.Users[0].Name != evil || r.Wrong == nil {
			t.Errorf("%s", text)
		}
	}
	out, errs, code := run("--since", "1h", "--json")
	if code != 0 || errs != "" {
		t.Errorf("exit code %d, %q", code, errs)
	}
	sums(out)
	out, _, code = run("--tz", "Asia/Tokyo")
	for _, want := range []string{"times are in Asia/Tokyo, JST (+09:00); from the daemon", "nothing is known to be wrong now", "failures       2\n", "bans           2 of 2 addresses, 1 by hand", "shop  2         2     0      0", "192.0.2.7    2         1     shop", "users tried, by failures\n  </td><script>alert(1)</scr "} {
		if !strings.Contains(out, want) {
			t.Errorf("exit code %d: there is no %q in\n%s", code, want, out)
		}
	}
	if code != 0 || strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("exit code %d: %q", code, out)
	}
	page := filepath.Join(dir, "page.html")
	if out, errs, code := run("--html", "--output", page); code != 0 || out != "" || errs != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	text, err := os.ReadFile(page)
	if err != nil || regexp.MustCompile(`(?i)<script|src=|href=|url\(|@import|\son\w+=|[\x00-\x08\x0e-\x1f]`).Match(text) || !strings.Contains(string(text), "&lt;script&gt;alert(1)") || !strings.Contains(string(text), "prefers-color-scheme: dark") {
		t.Errorf("%v: %s", err, text)
	}
	if info, err := os.Stat(page); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if out, errs, code := run("--until", "2000-01-01", "--since", "1999-01-01", "--quiet"); out+errs != "" || code != 0 {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	for _, wrong := range [][]string{{"--since", "soon"}, {"--since", "1h", "--until", "2h"}, {"--html", "--json"}, {"--number", "0"}} {
		if out, errs, code := run(wrong...); out != "" || errs == "" || code != 2 {
			t.Errorf("%v: exit code %d, %q, %q", wrong, code, out, errs)
		}
	}
	if err := d.api.Stop(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	out, _, code = run("--json")
	if code != 0 || !strings.Contains(out, "no daemon answers") {
		t.Errorf("exit code %d: %s", code, out)
	}
	sums(out)
	if out, errs, code := run("--database", filepath.Join(dir, "none")); out != "" || code != 1 || !strings.Contains(errs, "no events are kept") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}
