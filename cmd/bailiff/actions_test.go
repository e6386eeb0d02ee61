package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// tree is fail2ban's configuration of one jail with an action of the test's, and the
// daemon on it.
type tree struct {
	t              *testing.T
	dir            string
	host           *netlab.Host
	server, client string
	daemon         *exec.Cmd
	exited         chan error
}

// treeOf makes one; @D@ in the texts is its folder, @CLIENT@ the client on it.
func treeOf(t *testing.T, jail, action string) *tree {
	t.Helper()
	r := &tree{t: t, dir: t.TempDir(), host: server(t), server: program(t, "fail2ban-server"), client: program(t, "fail2ban-client")}
	for file, text := range map[string]string{
		"etc/fail2ban.conf":       "[Definition]\nlogtarget = @D@/f2b.log\ndbfile = None\nsocket = @D@/f2b.sock\npidfile = @D@/f2b.pid\n",
		"etc/jail.conf":           "[DEFAULT]\nbackend = polling\nmaxretry = 2\nfindtime = 1h\nbantime = 1h\nignoreself = false\n[web]\nenabled = true\nfilter = web\nlogpath = @D@/web.log\naction = own\n" + jail,
		"etc/filter.d/web.conf":   "[Definition]\nfailregex = ^ failed <HOST>(?: .*)?$\n",
		"etc/action.d/own.conf":   action,
		"etc/action.d/other.conf": "[Definition]\nactionban = echo <ip> >>@D@/other\n",
		"web.log":                 "",
	} {
		path := filepath.Join(r.dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text = strings.NewReplacer("@D@", r.dir, "@CLIENT@", r.client+" -c "+r.dir+"/etc").Replace(text)
		hosttest.Write(t, path, text)
	}
	r.daemon = r.host.Command(context.Background(), r.server, "-f", "-c", filepath.Join(r.dir, "etc"), "start")
	r.daemon.Dir = r.dir
	r.daemon.Env = append(os.Environ(), "TZ=UTC")
	if err := r.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	r.exited = make(chan error, 1)
	go func() { r.exited <- r.daemon.Wait() }()
	t.Cleanup(func() { _ = r.daemon.Process.Kill() })
	r.until("it answers", func() bool { out, err := r.ask("ping"); return err == nil && strings.Contains(out, "pong") })
	return r
}

func (r *tree) ask(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := r.host.Command(ctx, r.client, append([]string{"-c", filepath.Join(r.dir, "etc")}, args...)...).CombinedOutput()
	return string(out), err
}

func (r *tree) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(r.dir, name))
	return string(data)
}

// until waits for what is promised within a second.
func (r *tree) until(what string, f func() bool) { r.t.Helper(); r.within(what, time.Second, f) }

// within waits for something ten times as long as it is promised for.
func (r *tree) within(what string, promised time.Duration, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * promised); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not within ten times %v: %s\n%s", promised, what, r.read("f2b.log"))
		}
	}
}

func (r *tree) fail(lines ...string) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.dir, "web.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s failed %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), l)
	}
	if _, err := f.WriteString(b.String()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *tree) stop() {
	r.t.Helper()
	if out, err := r.ask("stop"); err != nil {
		r.t.Fatalf("stop: %v: %s", err, out)
	}
	select {
	case <-r.exited:
	case <-time.After(150 * time.Second):
		r.t.Fatalf("the daemon does not end\n%s", r.read("f2b.log"))
	}
}

// shellNft bans by commands of nft, in words of our own, so that they are run.
const shellNft = `[Definition]
actionstart = nft add table inet own
              nft 'add chain inet own in { type filter hook input priority -1; }'
              nft 'add set inet own bad { type ipv4_addr; }'
              nft add rule inet own in ip saddr @bad drop
actionstop = nft delete table inet own
actioncheck = nft list set inet own bad >/dev/null && nft list chain inet own in | grep -q @bad
actionban = nft 'add element inet own bad { <ip> }'
actionunban = nft 'delete element inet own bad { <ip> }'
`

// TestFlushedUnderCommands: where an action bans by commands and another hand flushes
// the ruleset, its bans are back by themselves, and the log says so when they are.
func TestFlushedUnderCommands(t *testing.T) {
	t.Parallel()
	r := treeOf(t, "", shellNft)
	bans := func() int {
		out, _ := r.host.Command(context.Background(), "nft", "list", "set", "inet", "own", "bad").CombinedOutput()
		return strings.Count(string(out), "192.0.2.")
	}
	for i := range 5 {
		ip := fmt.Sprintf("192.0.2.%d", i+1)
		r.fail(ip, ip)
	}
	r.until("the bans are in force", func() bool { return bans() == 5 })
	if out, err := r.host.Command(context.Background(), "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	r.until("the bans are back", func() bool { return bans() == 5 })
	r.until("the log says so", func() bool {
		return strings.Contains(r.read("f2b.log"), "[web] action 'own': its environment was made anew; its 5 bans are in it again")
	})
	// A rule alone.
	if out, err := r.host.Command(context.Background(), "nft", "flush", "chain", "inet", "own", "in").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	r.until("the rule is back", func() bool {
		out, _ := r.host.Command(context.Background(), "nft", "list", "chain", "inet", "own", "in").CombinedOutput()
		return strings.Contains(string(out), "@bad") && bans() == 5
	})
	r.stop()
}

// TestUnbanWithinUnban: an action that lifts the ban once more by the client, at its end
// (a hosting panel does), does not wait for itself; nor does one that asks during its
// stop, and during that of a jail at a reload.
func TestUnbanWithinUnban(t *testing.T) {
	t.Parallel()
	r := treeOf(t, "bantime = 3\n", `[Definition]
actionban = echo ban <ip> >>@D@/notes
actionunban = @CLIENT@ set <name> unbanip <ip> >/dev/null 2>&1; @CLIENT@ status >/dev/null 2>&1; echo unban <ip> >>@D@/notes
actionstop = timeout 5 @CLIENT@ status >/dev/null 2>&1; echo stop >>@D@/notes
`)
	r.fail("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2")
	r.until("both are banned", func() bool { return strings.Count("\n"+r.read("notes"), "\nban ") == 2 })
	r.within("both are lifted", 4*time.Second, func() bool { return strings.Count(r.read("notes"), "unban ") == 2 })
	if log := r.read("f2b.log"); strings.Contains(log, "timed out") || strings.Contains(log, "ERROR") {
		t.Errorf("the log: %s", log)
	}
	// A jail that is taken out at a reload.
	r.fail("192.0.2.3", "192.0.2.3")
	r.until("one more is banned", func() bool { return strings.Contains(r.read("notes"), "ban 192.0.2.3") })
	jail := filepath.Join(r.dir, "etc/jail.conf")
	text, err := os.ReadFile(jail)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, jail, strings.Replace(string(text), "enabled = true", "enabled = false", 1))
	if out, err := r.ask("reload"); err != nil {
		t.Fatalf("reload: %v: %s", err, out)
	}
	r.within("what the jail had is lifted", 2*time.Second, func() bool {
		return strings.Contains(r.read("notes"), "unban 192.0.2.3") && strings.Contains(r.read("notes"), "stop")
	})
	r.stop()
}

// TestStopBehindSlowAction: 20,000 bans behind an action that takes a second each; a stop
// lifts those that it had made, and ends in its time.
func TestStopBehindSlowAction(t *testing.T) {
	t.Parallel()
	r := treeOf(t, "maxretry = 1\n", "[Definition]\nactionban = echo ban <ip> >>@D@/notes; sleep 1\nactionunban = echo unban <ip> >>@D@/notes\n")
	lines := make([]string, 20_000)
	for i := range lines {
		lines[i] = attackerAddr(i).String()
	}
	r.fail(lines...)
	r.within("all are banned", 5*time.Second, func() bool {
		out, _ := r.ask("status", "web")
		return strings.Contains(out, "Currently banned:\t20000")
	})
	r.until("some were run", func() bool { return strings.Contains(r.read("notes"), "ban ") })
	r.stop()
	state := map[string]int{}
	for _, l := range strings.Split(strings.TrimSpace(r.read("notes")), "\n") {
		what, ip, _ := strings.Cut(l, " ")
		state[ip] += map[string]int{"ban": 1, "unban": -1}[what]
	}
	for ip, n := range state {
		if n != 0 {
			t.Errorf("%s: bans less unbans: %d", ip, n)
		}
	}
	said := regexp.MustCompile(`action 'own': (\d+) bans that it had not come to were dropped`).FindAllStringSubmatch(r.read("f2b.log"), -1)
	if len(said) != 1 || said[0][1] != fmt.Sprint(20_000-len(state)) {
		t.Errorf("the log says %q; %d were run", said, len(state))
	}
}
