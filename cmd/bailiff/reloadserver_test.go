package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bailiff/pkg/control"
)

// TestServerSettings: what of the daemon's own settings a reload can change is changed, and
// what needs a restart is said each time, with nothing of it done; what is asked for is
// what is in force.
func TestServerSettings(t *testing.T) {
	t.Parallel()
	w := newReloadable(t, serverConfig+oneJail)
	if _, err := w.api.Ban("one", control.BanRequest{IPs: []string{"192.0.2.1"}}); err != nil {
		t.Fatal(err)
	}
	w.until("it bans", func() bool { return w.holds("one", "192.0.2.1") })

	changed := strings.NewReplacer("@D@/sock", "@D@/other", "@D@/db", "@D@/otherdb").Replace(serverConfig) +
		"maxmatches = 3\npurgeage = \"2d\"\n[firewall]\nenabled = false\n" + strings.Replace(oneJail, "= 3", "= 4", 1)
	w.write("etc/bailiff.toml", "loglevel = \"DEBUG\"\n"+strings.Replace(changed, "@D@/log", "@D@/log2", 1))
	for range 3 {
		wrong := strings.ReplaceAll(w.reload(), w.dir, "D")
		for _, want := range []string{
			`socket = "D/other" needs a restart: until then it is D/sock`,
			`[database] path = "D/otherdb" needs a restart: until then it is D/db`, `D/etc/bailiff.toml:9: [firewall] enabled = false needs a restart; it stays as it was`,
		} {
			if !strings.Contains(wrong, want) {
				t.Errorf("said: %s\nlacks %s", wrong, want)
			}
		}
	}
	for what, want := range map[string]string{"loglevel": "DEBUG", "logtarget": w.path("log2"), "dbfile": w.path("db"), "dbmaxmatches": "3", "dbpurgeage": "172800"} {
		if got := w.get(what); got != want {
			t.Errorf("get %s: %s, want %s", what, got, want)
		}
	}
	w.log = w.path("log2")
	w.daemonAt.said("[firewall] enabled = false needs a restart") // in the new log
	if got := w.get("one", "maxretry"); got != "4" {
		t.Errorf("the jail was not changed: maxretry %s", got)
	}
	if !w.holds("one", "192.0.2.1") {
		t.Error("the ban went")
	}
	if _, err := w.api.Ban("one", control.BanRequest{IPs: []string{"192.0.2.2"}}); err != nil {
		t.Fatal(err)
	}
	w.until("it bans on", func() bool { return w.holds("one", "192.0.2.2") })
	for _, name := range []string{"other", "otherdb"} {
		if _, err := os.Stat(w.path(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}

	// A log that can't be opened.
	w.write("etc/bailiff.toml", "loglevel = \"INFO\"\n"+strings.Replace(serverConfig, "@D@/log", "@D@/none/log", 1)+oneJail)
	for range 2 {
		if wrong := strings.ReplaceAll(w.reload(), w.dir, "D"); wrong != `logtarget = "D/none/log": open D/none/log: no such file or directory: the log goes on to D/log2` {
			t.Errorf("said: %s", wrong)
		}
	}
	if level, target := w.get("loglevel"), w.get("logtarget"); level != "INFO" || target != w.path("log2") {
		t.Errorf("get: %s, %s", level, target)
	}
	// What was set by hand is over.
	if _, err := w.do("set", "loglevel", "ERROR"); err != nil {
		t.Fatal(err)
	}
	w.write("etc/bailiff.toml", "loglevel = \"INFO\"\n"+serverConfig+oneJail)
	if wrong := w.reload(); wrong != "" {
		t.Errorf("said, though all is as at the start: %s", wrong)
	}
	if level, target := w.get("loglevel"), w.get("logtarget"); level != "INFO" || target != w.path("log") {
		t.Errorf("get: %s, %s", level, target)
	}
}

// TestReadGroupBeyond: a daemon that gave away at its start to change groups says so of a
// reload that asks for it, and what helps.
func TestReadGroupBeyond(t *testing.T) {
	confined := newReloadable(t, serverConfig+oneJail)
	confined.write("etc/bailiff.toml", serverConfig+"[read]\nsocket = \"@D@/read\"\ngroup = \"nogroup\"\n"+oneJail)
	if wrong := confined.reload(); !strings.Contains(wrong, "[read]: the socket can't be given to group nogroup any more: restart the daemon") {
		t.Errorf("of a daemon that gave away to change groups: %s", wrong)
	}
}

// TestReadSocketAtReload: the socket for those who may only ask comes, moves, changes its
// group and goes with reloads; where it can't be made, what was there stays, and it is said
// each time.
func TestReadSocketAtReload(t *testing.T) {
	const free = serverConfig + "[security]\nconfine = false\n"
	w := newReloadable(t, free+oneJail)
	read := func(socket, group string) string {
		t.Helper()
		text := free
		if socket != "" {
			text += fmt.Sprintf("[read]\nsocket = \"@D@/%s\"\ngroup = %q\n", socket, group)
		}
		w.write("etc/bailiff.toml", text+oneJail)
		return strings.ReplaceAll(w.reload(), w.dir, "D")
	}
	// is fails unless the socket is there, a group's, and only answers.
	is := func(name string, gid uint32) {
		t.Helper()
		fi, err := os.Stat(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Gid != gid || fi.Mode().Perm() != 0o660 {
			t.Errorf("%s is of group %d, %v", name, st.Gid, fi.Mode())
		}
		api := control.NewClient(w.path(name))
		defer api.Close()
		if s, err := api.Status(); err != nil || len(s.Jails) != 1 {
			t.Errorf("%s: %+v %v", name, s, err)
		}
		if _, err := api.Reload(); err == nil {
			t.Errorf("a reload over %s", name)
		}
	}
	gone := func(name string) {
		t.Helper()
		w.until(name+" stays", func() bool { _, err := os.Stat(w.path(name)); return os.IsNotExist(err) })
	}
	const nogroup, adm = 65534, 4
	if wrong := read("read", "nogroup"); wrong != "" {
		t.Error(wrong)
	}
	is("read", nogroup)
	kept := control.NewClient(w.path("read")) // stays connected
	if err := kept.Ping(); err != nil {
		t.Fatal(err)
	}
	if wrong := read("read", "adm"); wrong != "" {
		t.Error(wrong)
	}
	is("read", adm)
	if err := kept.Ping(); err != nil {
		t.Error(err)
	}
	if wrong := read("moved", "adm"); wrong != "" {
		t.Error(wrong)
	}
	is("moved", adm)
	gone("read")
	for range 2 {
		for _, where := range []string{"moved", "elsewhere"} {
			if wrong := read(where, "nobody-has-it"); !strings.Contains(wrong, "group: unknown group nobody-has-it: until that is mended it is D/moved, for adm") {
				t.Errorf("said: %s", wrong)
			}
		}
		is("moved", adm)
		gone("elsewhere")
	}
	w.write("file", "")
	if wrong := read("file", "adm"); !strings.Contains(wrong, "that is no socket: until that is mended it is D/moved, for adm") {
		t.Errorf("said: %s", wrong)
	}
	if wrong := read("", ""); wrong != "" {
		t.Error(wrong)
	}
	gone("moved")
	for range 2 {
		if wrong := read("file", "adm"); !strings.Contains(wrong, "that is no socket: nobody can ask there") {
			t.Errorf("said: %s", wrong)
		}
	}
	if err := os.Remove(w.path("file")); err != nil {
		t.Fatal(err)
	}
	if wrong := read("file", "adm"); wrong != "" {
		t.Error(wrong)
	}
	is("file", adm)
	w.end()
	gone("file")
}

// TestEnvironmentAtReload: jails that a reload starts or changes have the environment that it
// has read, and so have commands of those that go on.
func TestEnvironmentAtReload(t *testing.T) {
	t.Parallel()
	const told = "[jail.%s.action.tell]\nstart = \"echo start %[1]s $WHO >>@D@/told\"\nban = \"echo ban %[1]s $WHO >>@D@/told\"\n"
	two := strings.ReplaceAll(oneJail, "one", "two")
	three := strings.ReplaceAll(oneJail, "one", "three")
	w := newReloadable(t, "environment = [\"WHO=alice\"]\n"+serverConfig+oneJail+fmt.Sprintf(told, "one")+two+fmt.Sprintf(told, "two"))
	w.write("etc/bailiff.toml", "environment = [\"WHO=bob\"]\n"+serverConfig+oneJail+fmt.Sprintf(told, "one")+
		two+"bantime = \"1h\"\n"+strings.Replace(fmt.Sprintf(told, "two"), "$WHO", "changed $WHO", 1)+three+fmt.Sprintf(told, "three"))
	if wrong := w.reload(); wrong != "" {
		t.Fatal(wrong)
	}
	if _, err := w.api.Ban("one", control.BanRequest{IPs: []string{"192.0.2.1"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"start one alice", "start two alice", "start two changed bob", "start three bob", "ban one bob"} {
		w.until("no "+want, func() bool {
			text, _ := os.ReadFile(w.path("told"))
			return slices.Contains(strings.Split(string(text), "\n"), want)
		})
	}
}

// TestCommandLineStays: what the command line says of the log and the socket, no reload
// changes.
func TestCommandLineStays(t *testing.T) {
	dir := t.TempDir()
	w := newReloadable(t, serverConfig+oneJail, "--log-level", "notice", "--database", filepath.Join(dir, "db"))
	w.write("etc/bailiff.toml", "loglevel = \"DEBUG\"\n"+strings.Replace(serverConfig, "@D@/db", "@D@/db2", 1)+oneJail)
	if wrong := w.reload(); wrong != "" {
		t.Errorf("said: %s", wrong)
	}
	if level, db := w.get("loglevel"), w.get("dbfile"); level != "NOTICE" || db != filepath.Join(dir, "db") {
		t.Errorf("get: %s, %s", level, db)
	}
}

// TestExportAtReload: an export that a reload brings is written at once, and the bans of a
// jail that it takes away leave those that are there.
func TestExportAtReload(t *testing.T) {
	t.Parallel()
	two := strings.ReplaceAll(oneJail, "one", "two")
	w := newReloadable(t, serverConfig+oneJail+two)
	for name, who := range map[string]string{"one": "192.0.2.1", "two": "192.0.2.2"} {
		if _, err := w.api.Ban(name, control.BanRequest{IPs: []string{who}}); err != nil {
			t.Fatal(err)
		}
	}
	const export = "[export.all]\nfile = \"@D@/all.txt\"\nformat = \"plain\"\n"
	holds := func(want ...string) {
		t.Helper()
		w.until(fmt.Sprintf("the export does not hold %q", want), func() bool {
			text, err := os.ReadFile(w.path("all.txt"))
			lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(s string) bool { return s == "" || s[0] == '#' })
			return err == nil && slices.Equal(lines, want)
		})
	}
	w.write("etc/bailiff.toml", serverConfig+oneJail+two+export) // behind the jails: they stay as they are
	if wrong := w.reload(); wrong != "" {
		t.Fatal(wrong)
	}
	holds("192.0.2.1", "192.0.2.2")
	w.write("etc/bailiff.toml", serverConfig+export+oneJail)
	if wrong := w.reload(); wrong != "" {
		t.Fatal(wrong)
	}
	holds("192.0.2.1")
	w.write("etc/bailiff.toml", serverConfig+export+"jails = [\"two\"]\n"+oneJail+two)
	if wrong := w.reload(); wrong != "" {
		t.Fatal(wrong)
	}
	holds("192.0.2.2") // as the database has it
}

// TestSocketOfConfiguration: commands find the daemon at the socket that bailiff.toml
// names, without being told.
func TestSocketOfConfiguration(t *testing.T) {
	t.Parallel()
	w := newReloadable(t, serverConfig+oneJail)
	prog := program(t, "bailiff")
	for _, c := range []struct{ args, want string }{
		{"status", "one "},
		{"ban one 192.0.2.1", "banned in one"},
		{"status one", "192.0.2.1 "},
		{"unban 192.0.2.1", "unbanned"},
		{"reload", "reloaded"},
		{"stop", ""},
	} {
		// /etc/bailiff is the test's for the command alone.
		script := fmt.Sprintf(`mount -t tmpfs tmpfs %[1]s/top && mkdir -p %[1]s/top/upper/bailiff %[1]s/top/work && cp %[1]s/etc/bailiff.toml %[1]s/top/upper/bailiff/ &&
			mount -t overlay overlay -o lowerdir=/etc,upperdir=%[1]s/top/upper,workdir=%[1]s/top/work /etc && exec %[2]s %[3]s`, w.dir, prog, c.args)
		if err := os.MkdirAll(w.path("top"), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("unshare", "--mount", "sh", "-c", script).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v %s", c.args, err, out)
		}
	}
}
