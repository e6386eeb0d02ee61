package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// TestWhy: after failures, an ignored one, a ban, an unban by hand, a restart and a kill, the timeline
// of an address is complete, from the daemon and from the files alone.
func TestWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
[firewall]
enabled = false

[default]
ignoreip = ["203.0.113.0/24"]

[jail.shop]
enabled = true
maxretry = 3
failregex = '^\s*login failed from <ADDR>$'
logpath = %q
`, log))
	database := filepath.Join(dir, "db")
	d := &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	var c *exec.Cmd
	start := func() {
		c = exec.Command(program(t, "bailiff"), "run", "--config", dir, "--socket", d.socket, "--log-target", d.log, "--database", database)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		d.api = control.NewClient(d.socket)
		d.until("it does not start", func() bool { return d.api.Ping() == nil })
	}
	end := func(s os.Signal) {
		_ = c.Process.Signal(s)
		_ = c.Wait()
	}
	fails := func(who string) {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s login failed from %s\n", time.Now().UTC().Format(time.RFC3339), who)
		f.Close()
	}
	shows := func(who string, want ...string) {
		t.Helper()
		out := ""
		d.until("it is not told", func() bool {
			out, _ = d.run("why", who)
			rest := out
			for _, w := range want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					return false
				}
				rest = after
			}
			return true
		})
	}
	start()
	fails("203.0.113.5")
	fails("192.0.2.7")
	fails("192.0.2.7")
	shows("203.0.113.5", "203.0.113.5 is never banned in shop: ignoreip 203.0.113.0/24", "found", "not counted: ignored: ignoreip 203.0.113.0/24")
	shows("192.0.2.7", "2 of 3 failures of 192.0.2.7 are counted in shop", "1 of 3, failregex 1", log+": ", "2 of 3") // between those, when the line is of, if that was a second before
	end(os.Interrupt)
	start()
	fails("192.0.2.7")
	shows("192.0.2.7", "192.0.2.7 is banned in shop", "3 of 3", "ban", "after 3 failures")
	if out, code := d.run("unban", "192.0.2.7"); code != 0 {
		t.Fatal(out)
	}
	all := []string{"1 of 3", "2 of 3", "stop", "start", "3 of 3", "ban", "after 3 failures", "unban", "by hand, by "}
	shows("192.0.2.7", all...)
	end(syscall.SIGKILL)
	start()
	fails("192.0.2.7")
	all = append(all, "start", "the one before it was killed", "1 of 3")
	shows("192.0.2.7", all...)
	shows("192.0.2.0/24", all...)
	end(syscall.SIGKILL)
	out, err := exec.Command(program(t, "bailiff"), "why", "--database", database, "192.0.2.7").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	rest := string(out)
	for _, w := range append([]string{"no daemon answers"}, all...) {
		var ok bool
		if _, rest, ok = strings.Cut(rest, w); !ok {
			t.Fatalf("%q is not told: %s", w, out)
		}
	}
}
