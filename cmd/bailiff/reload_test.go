package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// reloadable is a daemon whose configuration changes.
type reloadable struct {
	*daemonAt
	dir    string
	said   *bytes.Buffer
	pid    int
	exited chan struct{}
}

func (w *reloadable) path(name string) string { return filepath.Join(w.dir, name) }

// write puts a file in the place of another one, in one step; @D@ is the test's folder.
func (w *reloadable) write(name, text string) {
	w.t.Helper()
	path := w.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	next := fmt.Sprintf("%s.%d.next", path, nextFile.Add(1))
	hosttest.Write(w.t, next, strings.ReplaceAll(text, "@D@", w.dir))
	if err := os.Rename(next, path); err != nil {
		w.t.Fatal(err)
	}
}

var nextFile atomic.Int64

// newReloadable starts a daemon that logs where the configuration says.
func newReloadable(t *testing.T, config string, args ...string) *reloadable {
	t.Helper()
	w := &reloadable{dir: t.TempDir(), said: &bytes.Buffer{}, exited: make(chan struct{})}
	w.daemonAt = &daemonAt{t: t, host: server(t), socket: w.path("sock"), log: w.path("log")}
	w.write("etc/bailiff.toml", config)
	w.start(args...)
	return w
}

// start starts it with the configuration that is there.
func (w *reloadable) start(args ...string) {
	t := w.t
	t.Helper()
	w.exited = make(chan struct{})
	c := w.host.Command(context.Background(), program(t, "bailiff"), append([]string{"run", "--config", w.path("etc")}, args...)...)
	c.Env = append(os.Environ(), "TZ=UTC", "STATE_DIRECTORY="+w.path("state"), "BAILIFF_TEST_GOROUTINES="+w.path("goroutines"))
	c.Stdout, c.Stderr = w.said, w.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.pid = c.Process.Pid
	exited := w.exited
	go func() { _ = c.Wait(); close(exited) }()
	w.end = sync.OnceFunc(func() {
		_ = c.Process.Signal(os.Interrupt)
		<-exited
	})
	t.Cleanup(w.end)
	w.api = control.NewClient(w.socket)
	w.until("it does not start", func() bool { _, err := w.api.Status(); return err == nil })
}

// reload reloads, and returns what is wrong.
func (w *reloadable) reload() string {
	w.t.Helper()
	res, err := w.api.Reload()
	if err != nil {
		w.t.Fatalf("reload: %v\n%s", err, w.text())
	}
	return strings.Join(res.Errors, "\n")
}

// do sends words of fail2ban's.
func (w *reloadable) do(words ...any) (any, error) {
	c, err := control.DialFail2ban(w.socket, time.Minute)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(words, time.Minute)
}

func (w *reloadable) get(words ...any) string {
	w.t.Helper()
	v, err := w.do(append([]any{"get"}, words...)...)
	if err != nil {
		w.t.Fatal(words, err)
	}
	return fmt.Sprint(v)
}

// nft is what the kernel's ruleset holds.
func (w *reloadable) nft() string {
	w.t.Helper()
	out, err := w.host.Command(context.Background(), "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		w.t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}

const serverConfig = "socket = \"@D@/sock\"\nlogtarget = \"@D@/log\"\n[database]\npath = \"@D@/db\"\n"

const oneJail = "[jail.one]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = \"@D@/one.log\"\nmaxretry = 3\n"

// TestListsAtReload: a list, and a file of ignoreip, that are not there at a reload: what
// runs goes on, it is said each time, and they are in force as soon as they are there.
func TestListsAtReload(t *testing.T) {
	t.Parallel()
	list := "[jail.feed]\nenabled = true\nlist = \"@D@/feed%s.txt\"\n"
	w := newReloadable(t, serverConfig+oneJail)
	w.write("feed.txt", "198.51.100.0/24\n")
	w.write("etc/bailiff.toml", serverConfig+oneJail+fmt.Sprintf(list, ""))
	if wrong := w.reload(); wrong != "" {
		t.Fatal(wrong)
	}
	w.until("the list is in force", func() bool { return w.holds("feed", "198.51.100.7") })
	if _, err := w.api.Ban("one", control.BanRequest{IPs: []string{"192.0.2.1", "192.0.2.2"}}); err != nil {
		t.Fatal(err)
	}
	w.until("it bans", func() bool { return w.holds("one", "192.0.2.2") })

	w.write("etc/bailiff.toml", serverConfig+oneJail+"ignoreip = [\"file:@D@/allow.txt\"]\n"+fmt.Sprintf(list, "2"))
	for range 2 {
		wrong := strings.ReplaceAll(w.reload(), w.dir, "D")
		for _, want := range []string{"jail one: ignoreip file:D/allow.txt: ", "jail feed: list: D/feed2.txt: no such file or directory"} {
			if !strings.Contains(wrong, want) {
				t.Errorf("said: %q\nlacks %s", wrong, want)
			}
		}
		s, err := w.api.Jail("one")
		if err != nil || s.Error != "" || s.Banned != 2 {
			t.Errorf("jail one: %+v, %v", s, err)
		}
		if !w.holds("feed", "198.51.100.7") || !w.holds("one", "192.0.2.1") {
			t.Errorf("a ban went:\n%s", w.nft())
		}
	}
	w.write("allow.txt", "192.0.2.1\n")
	w.write("feed2.txt", "203.0.113.0/24\n")
	w.until("the files are in force", func() bool {
		return !w.holds("one", "192.0.2.1") && w.holds("one", "192.0.2.2") && w.holds("feed", "203.0.113.7") && !w.holds("feed", "198.51.100.7")
	})
	if wrong := w.reload(); wrong != "" {
		t.Errorf("said, though they are there: %s", wrong)
	}

	// They are known to be missing; when they are back, a reload that comes at once says so.
	for _, name := range []string{"allow.txt", "feed2.txt"} {
		if err := os.Rename(w.path(name), w.path(name+".away")); err != nil {
			t.Fatal(err)
		}
	}
	w.until("they are not missed", func() bool {
		wrong := w.reload()
		return strings.Contains(wrong, "allow.txt") && strings.Contains(wrong, "feed2.txt")
	})
	for _, name := range []string{"allow.txt", "feed2.txt"} {
		if err := os.Rename(w.path(name+".away"), w.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if wrong := w.reload(); wrong != "" {
		t.Errorf("said, though they are back: %s", wrong)
	}

	// What is gone from the configuration leaves nothing.
	w.write("etc/bailiff.toml", serverConfig+oneJail)
	w.reload()
	w.until("nothing is left of the list", func() bool { return !strings.Contains(w.nft(), "feed") })
}

// TestBrokenFromTheStart: what a daemon before this one has left in the kernel of a jail that
// can't be started stays in force, whatever reloads bring, until the jail is mended, and has
// its bans, or is not configured any more; then nothing of it is left.
func TestBrokenFromTheStart(t *testing.T) {
	t.Parallel()
	two := strings.ReplaceAll(oneJail, "one", "two") + "bantime = \"1h\"\n"
	broken := strings.Replace(two, "<HOST>", "<HOST>(", 1)
	w := newReloadable(t, serverConfig+oneJail+two)
	for name, who := range map[string]string{"one": "192.0.2.1", "two": "192.0.2.2"} {
		if _, err := w.api.Ban(name, control.BanRequest{IPs: []string{who}}); err != nil {
			t.Fatal(err)
		}
		w.until("it bans", func() bool { return w.holds(name, who) })
	}
	again := func() {
		t.Helper()
		w.end()
		w.write("etc/bailiff.toml", serverConfig+oneJail+broken)
		w.start()
		for range 2 {
			if !w.holds("two", "192.0.2.2") || !w.holds("one", "192.0.2.1") || !strings.Contains(w.nft(), "@addr-set-two") {
				t.Errorf("a ban went:\n%s", w.nft())
			}
			if wrong := w.reload(); !strings.Contains(wrong, "jail two: ") {
				t.Errorf("said: %s", wrong)
			}
		}
	}
	again()
	w.daemonAt.said("sets of jail two, which can't be started, are in table inet f2b-table: its bans are left in force")
	if strings.Contains(w.text(), "jail two, which is not configured") {
		t.Errorf("said, though it is configured:\n%s", w.text())
	}
	w.write("etc/bailiff.toml", serverConfig+oneJail+two)
	if wrong := w.reload(); wrong != "" {
		t.Error(wrong)
	}
	if s, err := w.api.Jail("two"); err != nil || s.Banned != 1 || !w.holds("two", "192.0.2.2") {
		t.Errorf("mended: %+v %v", s, err)
	}
	again()
	w.write("etc/bailiff.toml", serverConfig+oneJail)
	if wrong := w.reload(); wrong != "" {
		t.Error(wrong)
	}
	w.until("something of the jail is left", func() bool { return !strings.Contains(w.nft(), "set-two") })
	if !w.holds("one", "192.0.2.1") {
		t.Error("the other jail's ban went")
	}
}

// TestReloadsAtOnce: of reloads at once, the one that was asked for last wins.
func TestReloadsAtOnce(t *testing.T) {
	t.Parallel()
	w := newReloadable(t, serverConfig+oneJail)
	var mu sync.Mutex
	version := 3
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				mu.Lock()
				version++
				mine := version
				w.write("etc/bailiff.toml", serverConfig+strings.Replace(oneJail, "= 3", fmt.Sprintf("= %d", mine), 1))
				mu.Unlock()
				if res, err := w.api.Reload(); err != nil || len(res.Errors) > 0 {
					t.Errorf("%+v %v", res, err)
				}
				v, err := w.do("get", "one", "maxretry")
				if n, _ := strconv.Atoi(fmt.Sprint(v)); err != nil || n < mine {
					t.Errorf("maxretry is %v after it was set to %d and reloaded, %v", v, mine, err)
				}
			}
		})
	}
	wg.Wait()
	if got := w.get("one", "maxretry"); got != fmt.Sprint(version) {
		t.Errorf("maxretry is %s in the end, want %d", got, version)
	}
}

// TestRemovedWhileMended: a list and a jail that reloads take away and bring back, while
// another hand empties and removes what we have in the kernel: what is gone does not come
// back, and what is there is complete.
func TestRemovedWhileMended(t *testing.T) {
	t.Parallel()
	w := newReloadable(t, serverConfig+oneJail)
	w.write("feed.txt", "198.51.100.0/24\n203.0.113.0/24\n")
	both := serverConfig + oneJail + strings.ReplaceAll(oneJail, "one", "two") + "[jail.feed]\nenabled = true\nlist = \"@D@/feed.txt\"\n"
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			what := [][]string{{"flush", "set", "inet", "f2b-table", "net-set-feed"}, {"flush", "set", "inet", "f2b-table", "addr-set-two"}, {"delete", "table", "inet", "f2b-table"}}[i%3]
			_ = w.host.Command(ctx, "nft", what...).Run() // which may not be there
			select {
			case <-time.After(7 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	for range 10 {
		w.write("etc/bailiff.toml", both)
		if wrong := w.reload(); wrong != "" {
			t.Error(wrong)
		}
		if _, err := w.api.Ban("two", control.BanRequest{IPs: []string{"192.0.2.9"}}); err != nil {
			t.Error(err)
		}
		w.write("etc/bailiff.toml", serverConfig+oneJail)
		if wrong := w.reload(); wrong != "" {
			t.Error(wrong)
		}
	}
	stop()
	wg.Wait()
	w.until("something is left of what was removed", func() bool {
		text := w.nft()
		return !strings.Contains(text, "feed") && !strings.Contains(text, "set-two") && strings.Contains(text, "addr-set-one")
	})
	w.write("etc/bailiff.toml", both)
	w.reload()
	w.until("the list is in force", func() bool { return w.holds("feed", "203.0.113.9") && w.holds("feed", "198.51.100.1") })
}

// TestForeignRule: a jail whose sets can't be removed, since somebody's own rule looks into
// one, ends all the same: its actions stop, its bans are lifted; the set goes when that
// rule does.
func TestForeignRule(t *testing.T) {
	t.Parallel()
	two := strings.ReplaceAll(oneJail, "one", "two") + "[jail.two.action.tell]\nstart = \"echo start >>@D@/told\"\nban = \"echo ban >>@D@/told\"\nunban = \"echo unban >>@D@/told\"\nstop = \"echo stop >>@D@/told\"\n"
	w := newReloadable(t, serverConfig+oneJail+two)
	if _, err := w.api.Ban("two", control.BanRequest{IPs: []string{"192.0.2.9"}}); err != nil {
		t.Fatal(err)
	}
	w.until("it bans", func() bool { return w.holds("two", "192.0.2.9") })
	for _, rule := range []string{"add chain inet f2b-table mine", "add rule inet f2b-table mine ip saddr @addr-set-two drop"} {
		if out, err := w.host.Command(context.Background(), "nft", strings.Fields(rule)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", rule, out)
		}
	}
	w.write("etc/bailiff.toml", serverConfig+oneJail)
	w.reload()
	told := func() string {
		text, _ := os.ReadFile(w.path("told"))
		return strings.Join(strings.Fields(string(text)), " ")
	}
	w.until("the actions end", func() bool { return told() == "start ban unban stop" })
	w.until("the ban is lifted", func() bool { return !w.holds("two", "192.0.2.9") })
	if out, err := w.host.Command(context.Background(), "nft", "delete", "chain", "inet", "f2b-table", "mine").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	w.until("the set goes", func() bool { return !strings.Contains(w.nft(), "set-two") })
}

// TestRestartJail: reload --restart has a jail's actions stop and start again; its bans,
// failures and place in the log stay, and what was lifted stays lifted though the database
// can't be written.
func TestRestartJail(t *testing.T) {
	t.Parallel()
	jail := oneJail + "findtime = \"1h\"\n[jail.one.action.tell]\nstart = \"echo start >>@D@/told\"\nban = \"echo ban <ip> >>@D@/told\"\nunban = \"echo unban <ip> >>@D@/told\"\nstop = \"echo stop >>@D@/told\"\n"
	w := newReloadable(t, serverConfig+jail)
	w.write("one.log", "")
	say := func(n int, who string) {
		f, err := os.OpenFile(w.path("one.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range n {
			fmt.Fprintf(f, "%s failed %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), who)
		}
	}
	failed := func(n int) func() bool {
		return func() bool { s, err := w.api.Jail("one"); return err == nil && s.TotalFailed == n }
	}
	say(3, "192.0.2.1")
	say(2, "192.0.2.2")
	w.until("it reads", failed(5))
	w.until("it bans", func() bool { return w.holds("one", "192.0.2.1") })
	if _, err := w.do("reload", "one", control.List{"--restart"}, control.List{}); err != nil {
		t.Fatal(err)
	}
	told := func() string {
		text, _ := os.ReadFile(w.path("told"))
		return strings.Join(strings.Fields(string(text)), " ")
	}
	w.until("the actions start again", func() bool {
		return told() == "start ban 192.0.2.1 unban 192.0.2.1 stop start ban 192.0.2.1"
	})
	if !w.holds("one", "192.0.2.1") {
		t.Error("the ban went")
	}
	w.daemonAt.said("[one] Restore Ban 192.0.2.1")
	say(1, "192.0.2.2")
	w.until("its failures stay", func() bool { return w.holds("one", "192.0.2.2") })
	if res, err := w.api.Unban(control.UnbanRequest{IPs: []string{"192.0.2.1"}}); err != nil || res[0].Count != 1 {
		t.Error(res, err)
	}
	if _, err := w.do("reload", "--all", control.List{"--restart"}, control.List{}); err != nil {
		t.Fatal(err)
	}
	s, err := w.api.Jail("one")
	if err != nil || s.Banned != 1 || w.holds("one", "192.0.2.1") {
		t.Errorf("%+v %v", s, err)
	}
	// A mistake leaves it as it is.
	w.write("etc/bailiff.toml", strings.Replace(serverConfig+jail, "<HOST>", "<HOST>(", 1))
	var wrong *control.Exception
	if _, err := w.do("reload", "one", control.List{"--restart"}, control.List{}); !errors.As(err, &wrong) {
		t.Errorf("with a mistake: %v", err)
	}
	if s, err := w.api.Jail("one"); err != nil || s.Banned != 1 || !w.holds("one", "192.0.2.2") {
		t.Errorf("%+v %v", s, err)
	}
	if n := len(slices.DeleteFunc(strings.Fields(told()), func(s string) bool { return s != "stop" })); n != 2 {
		t.Errorf("stopped %d times: %s", n, told())
	}
}
