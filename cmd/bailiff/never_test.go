package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// program runs ours against the network's daemon.
func (n *network) program(args ...string) (out string, ok bool) {
	n.t.Helper()
	said, err := exec.Command(n.path("bailiff"), append(args, "--socket", n.path("sock"))...).CombinedOutput()
	return string(said), err == nil
}

func (n *network) logged(text string) func() bool {
	return func() bool { all, _ := os.ReadFile(n.path("out")); return strings.Contains(string(all), text) }
}

// TestNever: who is never to be banned is let in at once, alone, within a network and on a list, is not counted from
// then on, and why says by whom; over a kill, too, until it is taken back. In one jail it holds for that one.
func TestNever(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	hosttest.Write(t, n.path("auth.log"), "")
	hosttest.Write(t, n.path("feed.txt"), "192.0.2.67\n")
	config := n.twoInAnHour() + fmt.Sprintf(`
[jail.other]
enabled = true
maxretry = 2
findtime = "1h"
failregex = '^never <ADDR>$'
logpath = %q

[jail.feed]
enabled = true
list = %q
`, n.path("auth.log"), n.path("feed.txt"))
	in := func(who string, want bool) { t.Helper(); n.comesTo(n.attacker, who, "192.0.2.1:80", want) }
	does := func(says string, args ...string) {
		t.Helper()
		if out, ok := n.program(args...); !ok || !strings.Contains(out, says) {
			t.Errorf("%v: %v %q, want %q", args, ok, out, says)
		}
	}
	n.start(config)
	n.until("the list is in force", n.logged("[feed] list loaded"))
	n.failures(2, "192.0.2.66")
	n.until("banned", n.logged("] Ban 192.0.2.66"))
	does("", "ban", "other", "192.0.2.66")
	in("192.0.2.66", false)
	in("192.0.2.67", false)

	does("192.0.2.66 unbanned in django-auth, and never banned from now on in django-auth", "never", "192.0.2.66", "--jail", "django-auth")
	in("192.0.2.66", false) // the other jail
	does("192.0.2.66 unbanned in other, and never banned from now on", "never", "192.0.2.66")
	in("192.0.2.66", true)
	does("list feed leaves it out", "never", "192.0.2.67")
	in("192.0.2.67", true)
	n.failures(3, "192.0.2.66")
	n.until("it is told", n.logged("] Ignore 192.0.2.66 by bailiff never (by root since 2"))
	does("bailiff never, by root since 2", "why", "192.0.2.66")
	does("never banned from now on", "events", "--ip", "192.0.2.66", "--kind", "allow")
	if out, ok := n.program("ban", "other", "192.0.2.64/29"); ok || !strings.Contains(out, "bailiff never, by root") {
		t.Errorf("%v %q", ok, out)
	}
	for _, c := range []struct{ args, says string }{
		{"never somebody", "somebody"},
		{"never 0.0.0.0/0", "wider than"},
		{"never 192.0.2.9 --jail nothing", "no jail nothing"},
		{"never --end 198.51.100.9", "198.51.100.9 is not what bailiff never keeps from being banned in all jails"},
		{"never --jail other", "whom?"},
	} {
		if out, ok := n.program(strings.Fields(c.args)...); ok || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v %q", c.args, ok, out)
		}
	}

	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	kept, err := os.ReadFile(n.path("db.sqlite3.never"))
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, n.path("db.sqlite3.never"), `{"ip":"0.0.0.0/0","since":"2026-01-31T12:00:00Z"}`+"\nnothing\n"+string(kept)+string(kept))
	n.launch(config)
	n.until("it is up", func() bool { out, _ := n.program("never"); return strings.Contains(out, "192.0.2.66") })
	n.until("what is no line is told", n.logged("db.sqlite3.never:1: no address with a time, nor in 1 lines behind it: left out"))
	if out, _ := n.program("never"); strings.Count(out, "\n") != 4 { // a head, and three
		t.Errorf("%q", out)
	}
	n.until("the list is in force again", n.logged("[feed] list loaded"))
	in("192.0.2.67", true)
	in("192.0.2.66", true)

	does("192.0.2.66 may be banned again", "never", "--end", "192.0.2.66")
	if out, ok := n.program("ban", "django-auth", "192.0.2.66"); ok { // that of the jail is still there
		t.Error(out)
	}
	does("192.0.2.66 may be banned again in django-auth", "never", "--end", "192.0.2.66", "-j", "django-auth")
	n.failures(2, "192.0.2.66")
	in("192.0.2.66", false)
	does("192.0.2.67 may be banned again", "never", "--end", "192.0.2.67")
	in("192.0.2.67", false)
	does("nobody is kept from being banned", "never")
	if _, err := os.Stat(n.path("db.sqlite3.never")); !os.IsNotExist(err) {
		t.Errorf("its file: %v", err)
	}
}

// TestBanFor: a ban lasts as long as is asked for, in the kernel, the database and over a kill and a reload; who is
// banned already has the new end, be it later or earlier, and an event says by whom.
func TestBanFor(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	hosttest.Write(t, n.path("auth.log"), "")
	config := n.twoInAnHour()
	n.start(config)
	api := control.NewClient(n.path("sock"))
	ban := func(last string) control.BanResult {
		t.Helper()
		out, ok := n.program("ban", "django-auth", "192.0.2.66", "--json", "--for", last)
		var r []control.BanResult
		if err := json.Unmarshal([]byte(out), &r); !ok || err != nil || len(r) != 1 {
			t.Fatalf("--for %s: %v %q %v", last, ok, out, err)
		}
		return r[0]
	}
	// left is how long the ban has to go, as the daemon and the kernel say; -1: it has no end.
	left := func(what string, want time.Duration) {
		t.Helper()
		n.until(what, func() bool {
			w, err := api.Why("192.0.2.66")
			if err != nil || len(w.Banned) != 1 || len(w.Kernel) == 0 {
				return false
			}
			for _, k := range w.Kernel {
				if d := time.Duration(k.Left * float64(time.Second)); want < 0 && d != 0 || want > 0 && (d > want || d < want-time.Hour) {
					return false
				}
			}
			if end := w.Banned[0].End; want < 0 || end == nil {
				return want < 0 && end == nil
			} else if d := time.Until(*end); d > want || d < want-time.Hour {
				return false
			}
			return true
		})
	}
	const day = 24 * time.Hour
	if r := ban("1d"); !r.Added || r.Until == nil {
		t.Errorf("%+v", r)
	}
	left("a day", day)
	if r := ban("30d"); r.Added || !r.Changed {
		t.Errorf("%+v", r)
	}
	left("30 days", 30*day)
	if out, ok := n.program("ban", "django-auth", "192.0.2.66"); !ok || !strings.Contains(out, "was banned in django-auth already") {
		t.Errorf("%v %q", ok, out)
	}
	left("30 days, whatever the jail bans for", 30*day)
	if _, err := api.Reload(); err != nil {
		t.Error(err)
	}
	left("30 days behind a reload", 30*day)
	n.until("it is in the database", func() bool {
		out, ok := n.program("bans", "export")
		return ok && strings.Contains(out, `"bantime":2592000`)
	})
	if r := ban("1w"); !r.Changed {
		t.Errorf("%+v", r)
	}
	left("a week, which is sooner", 7*day)
	if r := ban("-1"); !r.Changed || !r.Permanent {
		t.Errorf("%+v", r)
	}
	left("for good", -1)
	events := func() string {
		out, _ := n.program("events", "--ip", "192.0.2.66", "--json", "--kind", "ban")
		return out
	}
	n.until("its event is kept", func() bool { return strings.Contains(events(), `"permanent":true`) })
	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	n.launch(config)
	n.until("it is up", func() bool { return api.Ping() == nil })
	left("for good, over a kill", -1)
	if r := ban("1d"); !r.Changed {
		t.Errorf("%+v", r)
	}
	left("a day again", day)
	for _, want := range []string{"it lasts longer by now", "it ends earlier by now", `"by":"root"`} {
		n.until("an event says "+want, func() bool { return strings.Contains(events(), want) })
	}
	for _, wrong := range []string{"0", "soon", "200y"} {
		if out, ok := n.program("ban", "django-auth", "192.0.2.66", "--for", wrong); ok || !strings.Contains(out, "--for "+wrong) {
			t.Errorf("--for %s: %v %q", wrong, ok, out)
		}
	}
	for _, wrong := range []float64{-2, 0.5, 1e300} {
		if _, err := api.Ban("django-auth", control.BanRequest{IPs: []string{"192.0.2.66"}, Seconds: wrong}); err == nil || !strings.Contains(err.Error(), "seconds") {
			t.Errorf("%v seconds: %v", wrong, err)
		}
	}
}
