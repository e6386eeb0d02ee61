package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/remote/remotetest"
)

// TestReports: who lines of a log have banned is reported, once, without the user's name, by a
// confined daemon; who is banned by hand is not, nor is anybody whom another jail ignores, nor,
// after a kill, anybody again.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var forms []url.Values
	service, ca := remotetest.TLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		mu.Lock()
		defer mu.Unlock()
		forms = append(forms, form)
	}))
	sent := func() (out []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range forms {
			out = append(out, f.Get("ip"))
		}
		return out
	}
	for _, d := range []string{"secrets", "logs", "db"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	token := hosttest.Write(t, filepath.Join(dir, "secrets", "token"), "s3cret\n")
	if err := os.Chmod(token, 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "logs", "app.log")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
[database]
path = %q
[firewall]
enabled = false
[report.ipdb]
kind = "abuseipdb"
jails = ["app"]
token_file = %q
url = %q
ca_file = %q
categories = [18]
lines = true
[jail.app]
enabled = true
failregex = '^\s*login of <F-USER>\S+</F-USER> failed from <ADDR>$'
logpath = %q
maxretry = 1
bantime = "1d"
[jail.other]
enabled = true
failregex = '^\s*nothing from <ADDR>$'
logpath = %q
ignoreip = ["198.51.100.99"]
`, filepath.Join(dir, "db", "bailiff.sqlite3"), token, service, ca, log, filepath.Join(dir, "logs", "other.log")))
	hosttest.Write(t, filepath.Join(dir, "logs", "other.log"), "")
	fails := func(ips ...string) {
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, ip := range ips {
			fmt.Fprintf(f, "%s login of alice failed from %s\n", time.Now().Format("2006-01-02 15:04:05"), ip)
		}
	}
	fails("198.51.100.1")
	var process *exec.Cmd
	start := func() *daemonAt {
		return daemonBy(t, func(args ...string) *exec.Cmd {
			process = exec.Command(program(t, "bailiff"), args...)
			return process
		}, dir)
	}
	d := start()
	stands := func(what string, n, withheld int) {
		t.Helper()
		d.until(what, func() bool {
			s, err := d.api.Status()
			return err == nil && len(s.Reports) == 1 && s.Reports[0].Sent == n && s.Reports[0].Withheld == withheld && s.Reports[0].Waiting == 0
		})
	}
	if out, err := exec.Command(program(t, "bailiff"), "--socket", d.socket, "ban", "app", "198.51.100.50").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fails("198.51.100.99", "10.1.2.3", "198.51.100.2")
	stands("not all are reported", 2, 2)
	out, err := exec.Command(program(t, "bailiff"), "--socket", d.socket, "status").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "report ipdb (abuseipdb): 2 sent, 0 waiting, 2 in the last 24 hours; 2 withheld; last success ") {
		t.Errorf("%v: %s", err, out)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	d = start()
	if out, err := exec.Command(program(t, "bailiff"), "--socket", d.socket, "unban", "198.51.100.2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fails("198.51.100.2", "198.51.100.3")
	stands("the next daemon does not report", 1, 0)
	if got := strings.Join(sent(), " "); got != "198.51.100.1 198.51.100.2 198.51.100.3" {
		t.Errorf("reported: %s\n%s", got, d.text())
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range forms {
		if c := f.Get("comment"); !strings.HasPrefix(c, "1 failure, jail app\n") || !strings.Contains(c, " login of <user> failed from 198.51.100.") || strings.Contains(c, "alice") {
			t.Errorf("the comment is %q", c)
		}
	}
}
