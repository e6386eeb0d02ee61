package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
)

// TestObserve: a jail that observes bans nobody, and says whom it would. When it observes no
// more, those are banned, in the kernel, by actions, in the database and exports; when it
// observes again, also after a kill, their bans are lifted everywhere.
func TestObserve(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, name := range []string{"auth.log", "ran"} {
		hosttest.Write(t, n.path(name), "")
	}
	hosttest.Write(t, n.path("feed.txt"), "203.0.113.0/24\n")
	config := func(observe bool) string {
		return fmt.Sprintf(`
[database]
path = %q
[default]
observe = %v
maxretry = 2
findtime = "1h"
bantime = "1h"
[export.plain]
file = %q
format = "plain"
[jail.django-auth]
enabled = true
logpath = %q
[jail.django-auth.action.tell]
ban = "echo ban <ip> >> %[5]s"
unban = "echo unban <ip> >> %[5]s"
[jail.feed]
enabled = true
list = %[6]q
`, n.path("db.sqlite3"), observe, n.path("export"), n.path("auth.log"), n.path("ran"), n.path("feed.txt"))
	}
	log := func(text string) func() bool {
		return func() bool { all, _ := os.ReadFile(n.path("out")); return strings.Contains(string(all), text) }
	}
	status := func(of string) (s jail.Status) {
		if err := json.Unmarshal([]byte(n.ask("status", of, "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	reload := func(observe bool) {
		hosttest.Write(t, n.path("bailiff.toml"), config(observe))
		n.ask("reload")
	}
	kernel := func() string {
		text, _ := n.server.Command(context.Background(), "nft", "list", "ruleset").CombinedOutput()
		return string(text)
	}
	inForce := func() (count int) {
		d, err := sql.Open("sqlite", "file:"+n.path("db.sqlite3")+"?mode=ro&_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_ = d.QueryRow("SELECT count(*) FROM bips WHERE timeofban + bantime > unixepoch()").Scan(&count)
		return count
	}
	file := func(name string) string { text, _ := os.ReadFile(n.path(name)); return string(text) }

	n.start(config(true))
	n.failures(2, "192.0.2.66")
	n.until("it says who would be banned", log("[django-auth] Would ban 192.0.2.66"))
	n.until("the list is read", log("nothing is shut out, since it is only observed"))
	n.failures(2, "192.0.2.66")
	n.until("and who would be already", log("[django-auth] 192.0.2.66 would be banned already"))
	if s := status("django-auth"); !s.Observe || s.WouldBan != 1 || s.Banned != 0 || len(s.Bans) != 0 || len(s.WouldBans) != 1 || s.WouldBans[0].IP != "192.0.2.66" {
		t.Errorf("%+v", s)
	}
	if s := status("feed"); !s.Observe || s.WouldBan != 1 || s.Banned != 0 {
		t.Errorf("%+v", s)
	}
	if out, err := exec.Command(n.path("bailiff"), "ban", "django-auth", "192.0.2.67", "--socket", n.path("sock")).CombinedOutput(); err == nil || !strings.Contains(string(out), "only observes") {
		t.Errorf("a ban by hand: %v %s", err, out)
	}
	if out := n.ask("status"); !strings.Contains(out, "django-auth: observe = true, nobody is banned; would be banned: 1 now, 1 in all") {
		t.Error(out)
	}
	if k := kernel(); strings.Contains(k, "192.0.2.66") || strings.Contains(k, "203.0.113.0/24") {
		t.Error(k)
	}
	if got := inForce(); got != 0 {
		t.Errorf("the database has %d bans", got)
	}
	if file("ran") != "" || strings.Contains(file("export"), "192.0.2.66") {
		t.Errorf("%q %q", file("ran"), file("export"))
	}
	n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", true)
	n.failures(2, "192.0.2.67") // would be banned, and is none of those who are
	n.until("it would be", log("[django-auth] Would ban 192.0.2.67"))
	n.ask("unban", "192.0.2.67")

	reload(false)
	n.until("it is banned for real", log("[django-auth] Ban 192.0.2.66"))
	n.until("in the kernel, with the list", func() bool {
		k := kernel()
		return strings.Contains(k, "192.0.2.66") && strings.Contains(k, "203.0.113.0/24")
	})
	n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	n.until("the action is run", func() bool { return file("ran") == "ban 192.0.2.66\n" })
	n.until("the export is written", func() bool { return strings.Contains(file("export"), "192.0.2.66\n") })
	n.until("the database knows", func() bool { return inForce() == 1 })
	if s := status("django-auth"); s.Observe || s.Banned != 1 || s.TotalBanned != 1 || s.WouldBan != 0 {
		t.Errorf("%+v", s)
	}

	reload(true)
	if s := status("django-auth"); s.TotalBanned != 0 || s.TotalWouldBan != 1 {
		t.Errorf("%+v", s)
	}
	lifted := func() {
		t.Helper()
		n.until("it is told", log("[django-auth] Unban 192.0.2.66: the jail only observes from now on"))
		n.until("out of the kernel, with the list", func() bool {
			k := kernel()
			return !strings.Contains(k, "192.0.2.66") && !strings.Contains(k, "203.0.113.0/24")
		})
		n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", true)
		n.until("out of the export", func() bool { return !strings.Contains(file("export"), "192.0.2.66") })
		n.until("the database knows", func() bool { return inForce() == 0 })
		if s := status("django-auth"); !s.Observe || s.Banned != 0 || s.WouldBan != 1 {
			t.Errorf("%+v", s)
		}
	}
	lifted()
	n.until("the action is run", func() bool { return file("ran") == "ban 192.0.2.66\nunban 192.0.2.66\n" })

	reload(false)
	n.until("it is banned again", func() bool { return strings.Contains(kernel(), "192.0.2.66") && inForce() == 1 })
	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	n.launch(config(true))
	n.until("it is up", func() bool { return n.ask("status") != "" })
	lifted()
	n.until("nothing is left of its sets", func() bool { return !strings.Contains(kernel(), "-set-django-auth") })
	if said := file("out"); strings.Contains(said, "not configured") {
		t.Errorf("the jail is configured: %s", said)
	}
}
