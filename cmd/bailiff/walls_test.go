package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
	"bailiff/pkg/daemon"
	"bailiff/pkg/hosttest"
)

// wallsConfig is a configuration with a bit of all that a daemon reads and writes.
const wallsConfig = `[database]
path = "@D@/db/bailiff.sqlite3"
[read]
socket = "@D@/read/sock"
group = "nogroup"
[export.proxy]
file = "@D@/export/banned.conf"
format = "plain"
[jail.web]
enabled = true
failregex = '^\s*Login failed for \S+ from <HOST>$'
logpath = "@D@/logs/auth.log"
maxretry = 3
`

// TestWalls: a process that is confined as the daemon is tries each of the walls from inside,
// and the kernel says no to every single one.
func TestWalls(t *testing.T) {
	t.Parallel()
	host := server(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "bailiff.toml")
	for _, d := range []string{"logs", "export"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hosttest.Write(t, conf, strings.ReplaceAll(wallsConfig, "@D@", dir))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := host.Command(ctx, program(t, "bailiff"), "walls", "--config", conf).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	tried := 0
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, "EPERM ") || strings.HasPrefix(line, "EACCES ") {
			tried++
		}
	}
	if tried < 45 {
		t.Errorf("%d walls, want 45 or more", tried)
	}
	confinedStatus(t, string(out))
}

// confinedStatus looks at what the kernel says of a process that is confined.
func confinedStatus(t *testing.T, status string) {
	t.Helper()
	// CAP_DAC_READ_SEARCH is bit 2, CAP_NET_ADMIN bit 12.
	for _, want := range []string{`CapPrm:\s*0000000000001004`, `CapEff:\s*0000000000001004`, `CapBnd:\s*0000000000001004`, `CapInh:\s*0000000000000000`, `CapAmb:\s*0000000000000000`, `NoNewPrivs:\s*1`, `Seccomp:\s*2`} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(status) {
			t.Errorf("no %s in\n%s", want, status)
		}
	}
}

// TestConfinedDaemon: the daemon itself is confined in every thread, and does all its work:
// it bans, follows its log over a rotation though that is root's alone, writes its export,
// answers on both sockets, stops, and starts again with its bans.
func TestConfinedDaemon(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, d := range []string{"logs", "export"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log := n.path("logs/auth.log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fail := func(who string) {
		t.Helper()
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			fmt.Fprintf(f, "%s Login failed for root from %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), who)
		}
		f.Close()
	}
	banned := func(who string) func() bool {
		return func() bool {
			text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-web").CombinedOutput()
			export, _ := os.ReadFile(n.path("export/banned.conf"))
			return strings.Contains(string(text), who) && strings.Contains(string(export), who)
		}
	}
	n.start(strings.ReplaceAll(wallsConfig, "@D@", n.dir))
	pid := n.daemon.Process.Pid
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 3 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		confinedStatus(t, string(text))
	}
	fail("192.0.2.66")
	n.until("the first ban", banned("192.0.2.66"))
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	fail("192.0.2.67")
	n.until("the ban of what came after the rotation", banned("192.0.2.67"))
	if out, err := exec.Command(n.path("bailiff"), "status", "--socket", n.path("read/sock")).CombinedOutput(); err != nil || !strings.Contains(string(out), "web") {
		t.Errorf("the read socket: %v: %s", err, out)
	}
	n.restart()
	n.until("it is up again with its bans", func() bool { return strings.Contains(n.ask("status", "web"), "192.0.2.67") })
}

// restart stops the daemon in order, and starts it anew.
func (n *network) restart() {
	n.t.Helper()
	n.ask("stop")
	if err := <-n.exited; err != nil {
		n.t.Fatal(err)
	}
	n.spawn()
}

// TestBeyondTheWalls: what a reload adds and the daemon can't reach any more is refused with
// the remedy; all else goes on, and the next start has it.
func TestBeyondTheWalls(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, d := range []string{"logs", "export"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	far := t.TempDir()
	if err := os.WriteFile(filepath.Join(far, "far.log"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	base := strings.ReplaceAll(wallsConfig, "@D@", n.dir)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(from), 0o755), os.Symlink(to, from)); err != nil {
			t.Fatal(err)
		}
	}
	write(far+"/list", "203.0.113.9\n")
	// A configuration in a directory of its own, a part of which is a link to elsewhere.
	conf := n.path("conf")
	write(conf+"/bailiff.toml", base)
	linked := t.TempDir()
	write(linked+"/linked.toml", "enabled = true\nfailregex = '^\\s*x <HOST>$'\nlogpath = '"+n.path("logs/auth.log")+"'\nmaxretry = 4\n")
	link(conf+"/jails/linked.toml", linked+"/linked.toml")
	n.tree = conf
	n.start("")
	said := func(args ...string) string {
		t.Helper()
		out, _ := exec.Command(n.path("bailiff"), append(args, "--socket", n.path("sock"))...).CombinedOutput()
		return string(out)
	}
	reload := func(more string) string {
		t.Helper()
		write(conf+"/bailiff.toml", base+more)
		return said("reload")
	}
	const remedy = "restart the daemon (bans stay in force)"
	jail := "[jail.far]\nenabled = true\nfailregex = '^\\s*x <HOST>$'\nlogpath = \"" + far + "/far.log\"\n"
	near := strings.ReplaceAll(jail, far, n.path("logs"))
	line := strings.Count(base, "\n") // of what is added, the line before the first
	at := func(l int) string { return fmt.Sprintf("%s/bailiff.toml:%d: ", conf, line+l) }
	for _, c := range []struct{ more, want string }{
		{jail, at(4) + "logpath " + far + "/far.log: " + far + " can't be read any more"},
		{near + "ignoreip = \"file:" + far + "/list\"\n", at(5) + "ignoreip " + far + "/list: " + far + " can't be read any more"},
		{"[jail.shut]\nenabled = true\nlist = \"" + far + "/list\"\n", at(3) + "list " + far + "/list: " + far + " can't be read any more"},
		{"[proxy]\ntrusted = \"file:" + far + "/list\"\n", "proxy.trusted " + far + "/list: " + far + " can't be read any more"},
		{"[jail.web.action.tell]\nban = \"true\"\n", "it has action tell, and no program can be run any more"},
		{"[export.more]\nfile = \"" + far + "/x.conf\"\nformat = \"plain\"\n", "export more: " + far + "/x.conf can't be written any more"},
		{"[export.told]\nfile = \"" + n.path("export/y.conf") + "\"\nformat = \"plain\"\nreload = \"true\"\n", "export told: its reload is a command"},
	} {
		if got := reload(c.more); !strings.Contains(got, c.want) || !strings.Contains(got, remedy) {
			t.Errorf("%q:\n%s\nwant %q, and the remedy", c.more, got, c.want)
		}
		if s := n.ask("status", "web"); !strings.Contains(s, "auth.log") {
			t.Errorf("after %q: %s", c.more, s)
		}
	}
	// What was a link when the daemon started can be changed; a new one is refused.
	write(linked+"/linked.toml", "enabled = true\nfailregex = '^\\s*x <HOST>$'\nlogpath = '"+n.path("logs/auth.log")+"'\nmaxretry = 9\n")
	if got := reload(""); !strings.Contains(got, "changed: linked\n") || strings.Contains(got, "bailiff:") {
		t.Errorf("a change of a file behind a link: %s", got)
	}
	write(far+"/more.toml", "enabled = true\nfailregex = '^\\s*x <HOST>$'\nlogpath = '"+n.path("logs/auth.log")+"'\n")
	link(conf+"/jails/more.toml", far+"/more.toml")
	if got, want := reload(""), conf+"/jails/more.toml: "+far+"/more.toml can't be read any more: "+remedy; !strings.Contains(got, want) {
		t.Errorf("a new link:\n%s\nwant %q", got, want)
	}
	if err := os.Remove(conf + "/jails/more.toml"); err != nil {
		t.Fatal(err)
	}
	// The daemon's own log, and what is set over the socket.
	write(conf+"/bailiff.toml", "logtarget = \""+far+"/own.log\"\n"+base)
	if got, want := said("reload"), "logtarget: "+far+"/own.log can't be written any more: "+remedy; !strings.Contains(got, want) {
		t.Errorf("another log:\n%s\nwant %q", got, want)
	}
	out, _ := exec.Command(program(t, "fail2ban-client"), "-s", n.path("sock"), "set", "web", "addlogpath", far+"/far.log").CombinedOutput()
	if want := "Permission denied: " + remedy; !strings.Contains(string(out), want) || !strings.Contains(string(out), far+"/far.log") {
		t.Errorf("a log over the socket: %s\nwant %q", out, want)
	}
	if got := reload(near); strings.Contains(got, remedy) {
		t.Errorf("a log beside the others: %s", got)
	}
	reload(jail)
	n.restart()
	n.until("the next start has it", func() bool { return strings.Contains(n.ask("status", "far"), "far.log") })
}

// TestWallsHang: what lies on a file system that hangs is given by the nearest directory above
// it that answers, and holds nothing up.
func TestWallsHang(t *testing.T) {
	at, under := t.TempDir(), t.TempDir()
	deep := filepath.Join(under, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	h := mountGate(t, at, under)
	h.hang("a/all")
	cfg := &config.Config{Socket: filepath.Join(t.TempDir(), "sock"), Jails: []*config.Jail{{Name: "x", LogPath: []string{filepath.Join(at, "a", "b", "x.log")}}}}
	got := make(chan confine.Walls, 1)
	go func() { got <- daemon.Walls(cfg, daemon.Options{}) }()
	select {
	case w := <-got:
		if !slices.Contains(w.Read, filepath.Dir(at)) {
			t.Errorf("not %s: %q, unasked %q", filepath.Dir(at), w.Read, w.Unasked)
		}
	case <-time.After(2 * time.Minute):
		t.Error("it waits for a file system that hangs")
	}
}

// TestAnotherUser: a daemon that root starts becomes nobody where that one may write all that
// the daemon writes, and follows a log that is root's alone over a rotation; else it stays
// root with two capabilities, and says why.
func TestAnotherUser(t *testing.T) {
	t.Parallel()
	for _, may := range []bool{true, false} {
		t.Run(fmt.Sprint(may), func(t *testing.T) {
			n := newNetwork(t)
			if err := os.Chmod(filepath.Dir(n.dir), 0o711); err != nil {
				t.Fatal(err)
			}
			for _, d := range []string{"logs", "export", "db", "read", "run"} {
				if err := os.Mkdir(n.path(d), 0o755); err != nil {
					t.Fatal(err)
				}
				if may && d != "logs" {
					if err := os.Chown(n.path(d), 65534, 65534); err != nil {
						t.Fatal(err)
					}
				}
			}
			if may {
				if err := os.Chown(n.dir, 65534, 65534); err != nil { // of the socket
					t.Fatal(err)
				}
			}
			log := n.path("logs/auth.log")
			fail := func(who string) {
				t.Helper()
				f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for range 3 {
					fmt.Fprintf(f, "%s Login failed for root from %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), who)
				}
			}
			fail("203.0.113.1")
			// The lock of the table is nobody's, too, where he is to be the daemon's user.
			n.first = "mount -t tmpfs none /run && mkdir -p /run/bailiff"
			if may {
				n.first += " && chown 65534 /run/bailiff"
			}
			n.start("[security]\nuser = \"nobody\"\n" + strings.ReplaceAll(wallsConfig, "@D@", n.dir))
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.daemon.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			confinedStatus(t, string(status))
			uid, warned := `Uid:\s*65534\s+65534\s+65534\s+65534`, false
			if !may {
				uid, warned = `Uid:\s*0\s`, true
			}
			if !regexp.MustCompile(uid).Match(status) {
				t.Errorf("no %s in\n%s", uid, status)
			}
			said, _ := os.ReadFile(n.path("out"))
			if got := strings.Contains(string(said), "WARNING the daemon goes on as root, with two capabilities: "); got != warned {
				t.Errorf("the warning is there: %v\n%s", got, said)
			}
			banned := func(who string) func() bool {
				return func() bool {
					text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-web").CombinedOutput()
					export, _ := os.ReadFile(n.path("export/banned.conf"))
					return strings.Contains(string(text), who) && strings.Contains(string(export), who)
				}
			}
			fail("192.0.2.66")
			n.until("the first ban", banned("192.0.2.66"))
			if err := os.Rename(log, log+".1"); err != nil {
				t.Fatal(err)
			}
			fail("192.0.2.67")
			n.until("the ban of what came after the rotation", banned("192.0.2.67"))
		})
	}
}
