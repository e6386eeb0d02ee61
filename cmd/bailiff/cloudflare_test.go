package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/remote/remotetest"
)

var cloudflareBans = flag.Int("cloudflare", 2500, "how many bans TestCloudflare has; 25000 take some minutes")

// elsewhere is a configuration with a list at a server of the test's.
func elsewhere(t *testing.T, dir string, fake *remotetest.Cloudflare) (config string) {
	t.Helper()
	fake.Account, fake.List, fake.Token = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210", "s3cret-of-the-test"
	url, ca := remotetest.TLS(t, fake)
	token := hosttest.Write(t, filepath.Join(dir, "secrets", "token"), fake.Token+"\n")
	if err := os.Chmod(token, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
[database]
path = %q
[firewall]
enabled = false
[export.edge]
kind = "http"
provider = "cloudflare"
account = %q
list = %q
token_file = %q
url = %q
ca_file = %q
comment = "ours"
max_items = 60000
[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %q
maxretry = 1
bantime = "1d"
`, filepath.Join(dir, "db", "bailiff.sqlite3"), fake.Account, fake.List, token, url, ca, filepath.Join(dir, "logs", "app.log"))
}

// TestCloudflare: bans in batches, errors and cut connections in between, the daemon killed
// twice: at the end the list is equal, and what others put there has stayed. The daemon is
// confined.
func TestCloudflare(t *testing.T) {
	dir := t.TempDir()
	var requests atomic.Int64
	faults := map[int64]int{3: 429, 6: 500, 9: remotetest.FaultCut, 12: remotetest.FaultCutAfter}
	fake := &remotetest.Cloudflare{Fault: func(int, *http.Request) int { return faults[requests.Add(1)%25] }}
	fake.Put("203.0.113.9", "by hand")
	fake.Put("203.0.113.10", "ours") // of before
	for _, d := range []string{"secrets", "logs", "db"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), elsewhere(t, dir, fake))
	var want []string
	var log bytes.Buffer
	stamp := time.Now().Format("2006-01-02 15:04:05")
	for i := range *cloudflareBans {
		who, item := fmt.Sprintf("198.51.100.%d", i), fmt.Sprintf("198.51.100.%d", i)
		if i >= 200 {
			who, item = fmt.Sprintf("2001:db8:1:%x::7", i), fmt.Sprintf("2001:db8:1:%x::/64", i)
		}
		fmt.Fprintf(&log, "%s login failed from %s\n", stamp, who)
		want = append(want, item)
	}
	hosttest.Write(t, filepath.Join(dir, "logs", "app.log"), log.String())
	var process *exec.Cmd
	start := func() *daemonAt {
		return daemonBy(t, func(args ...string) *exec.Cmd {
			process = exec.Command(program(t, "bailiff"), args...)
			return process
		}, dir)
	}
	kill := func(when string, part int) {
		d := start()
		d.until(when, func() bool { return len(fake.Items("ours")) > part })
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
	}
	kill("the list does not begin to fill", 2)
	kill("the list does not fill", *cloudflareBans/2)
	d := start()
	if out, err := exec.Command(program(t, "bailiff"), "--socket", d.socket, "unban", "198.51.100.3", "2001:db8:1:d0::7").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want = slices.DeleteFunc(want, func(w string) bool { return w == "198.51.100.3" || w == "2001:db8:1:d0::/64" })
	slices.Sort(want)
	for end := time.Now().Add(time.Minute + time.Duration(*cloudflareBans)*20*time.Millisecond); !slices.Equal(fake.Items("ours"), want); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s, _ := d.api.Status()
			t.Fatalf("%d items, want %d: %+v\n%q\n%s", len(fake.Items("ours")), len(want), s.Exports, fake.Wrong(), d.text())
		}
	}
	d.until("it does not say that all is done", func() bool {
		s, err := d.api.Status()
		return err == nil && len(s.Exports) == 1 && s.Exports[0].On == len(want) && s.Exports[0].Behind == 0 && s.Exports[0].LastSuccess != nil
	})
	if got := fake.Items("by hand"); !slices.Equal(got, []string{"203.0.113.9"}) {
		t.Errorf("what another had put there is %q", got)
	}
	if w := fake.Wrong(); len(w) > 0 {
		t.Errorf("sent though it can't be on the list: %q", w)
	}
	for _, args := range [][]string{{"status", "--socket", d.socket}, {"config", "show", "--config", dir}, {"status", "--json", "--socket", d.socket}} {
		out, err := exec.Command(program(t, "bailiff"), args...).CombinedOutput()
		if err != nil || strings.Contains(string(out), fake.Token) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		if args[0] == "status" && len(args) == 3 && !strings.Contains(string(out), fmt.Sprintf("export edge (cloudflare): %d on the list, 0 behind; last success ", len(want))) {
			t.Errorf("%q: %s", args, out)
		}
	}
	if text := d.text(); strings.Contains(text, fake.Token) {
		t.Errorf("the log tells the token:\n%s", text)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Process.Pid))
	if err != nil || !strings.Contains(string(status), "Seccomp:\t2") || !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Errorf("the daemon is not confined: %v %s", err, status)
	}
	t.Logf("%d bans, %d faults, batches %v, %d requests that read", *cloudflareBans, fake.Requests("faults"), fake.Batches(), fake.Requests("GET"))
}
