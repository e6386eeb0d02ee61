package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/fakeengine"
	"bailiff/pkg/hosttest"
)

// dirs makes directories of a network's, for a configuration as wallsConfig.
func (n *network) dirs(names ...string) {
	n.t.Helper()
	for _, d := range names {
		if err := os.MkdirAll(n.path(d), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
}

// fails writes three failures of an address into the log of wallsConfig.
func (n *network) failsLogin(who string) {
	n.t.Helper()
	f, err := os.OpenFile(n.path("logs/auth.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for range 3 {
		fmt.Fprintf(f, "%s Login failed for root from %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), who)
	}
}

// inSet reports whether an address is banned in the kernel, in wallsConfig's jail.
func (n *network) inSet(who string) func() bool {
	return func() bool {
		text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-web").CombinedOutput()
		return strings.Contains(string(text), who)
	}
}

// said is what the daemon has said so far.
func (n *network) said() string {
	text, _ := os.ReadFile(n.path("out"))
	return string(text)
}

// rootsOf are the processes of a daemon that have root's rights: its user, or a capability beyond
// the daemon's two.
func rootsOf(t *testing.T, daemon int) (out []string) {
	t.Helper()
	pids := []int{daemon}
	if r := runnerOf(daemon); r != 0 {
		pids = append(pids, r)
	}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		s := string(status)
		const may = 0x1004 // CAP_NET_ADMIN, CAP_DAC_READ_SEARCH
		var permitted uint64
		_, _ = fmt.Sscanf(regexp.MustCompile(`(?m)^CapPrm:\s*(\S+)`).FindStringSubmatch(s)[1], "%x", &permitted)
		if regexp.MustCompile(`(?m)^Uid:.*\b0\b`).MatchString(s) || permitted&^may != 0 {
			out = append(out, s)
		}
	}
	return out
}

// asNobody gives what the daemon of wallsConfig writes to nobody, so that he can be its user.
func (n *network) asNobody() {
	n.t.Helper()
	if err := os.Chmod(filepath.Dir(n.dir), 0o711); err != nil {
		n.t.Fatal(err)
	}
	n.dirs("logs", "export", "db", "read")
	for _, d := range []string{"export", "db", "read", "."} {
		if err := os.Chown(n.path(d), 65534, 65534); err != nil {
			n.t.Fatal(err)
		}
	}
	n.first = "mount -t tmpfs none /run && mkdir -p /run/bailiff && chown 65534 /run/bailiff"
}

const nobodysConfig = "[security]\nuser = \"nobody\"\n" + wallsConfig

// TestNoRoot: without commands and without the journal, no process of the daemon's is root.
func TestNoRoot(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.failsLogin("203.0.113.1")
	n.start(strings.ReplaceAll(nobodysConfig, "@D@", n.dir))
	if r := runnerOf(n.daemon.Process.Pid); r != 0 {
		t.Errorf("process %d runs commands that there aren't", r)
	}
	if roots := rootsOf(t, n.daemon.Process.Pid); len(roots) > 0 {
		t.Errorf("root:\n%s", strings.Join(roots, "\n"))
	}
	n.failsLogin("192.0.2.66")
	n.until("the ban", n.inSet("192.0.2.66"))
}

// TestJournalRunner: for the journal alone the process that runs journalctl is nobody's, in the
// group of the journal, with the right to read all only where that does not do; and it runs nothing else.
func TestJournalRunner(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.failsLogin("203.0.113.1")
	journal := n.path("journal")
	n.dirs("journal")
	written := 0
	fail := func(who string) {
		t.Helper()
		for range 3 {
			written++
			writeJournal(t, filepath.Join(journal, "x.journal"), written, time.Now(), sshEntry("Failed password for root from "+who+" port 22 ssh2"))
		}
	}
	fail("203.0.113.2")
	conf := strings.ReplaceAll(nobodysConfig, "@D@", n.dir) + "[jail.sshd]\nenabled = true\nbackend = \"systemd[journalpath=" + journal + "]\"\nmaxretry = 3\n"
	for _, c := range []struct {
		name string
		mode os.FileMode
		caps string
		who  string
	}{
		{"everybody's", 0o644, "0000000000000000", "192.0.2.66"},
		{"root's alone", 0o600, "0000000000000004", "192.0.2.67"},
	} {
		if err := os.Chmod(filepath.Join(journal, "x.journal"), c.mode); err != nil {
			t.Fatal(err)
		}
		if n.daemon == nil {
			n.start(conf)
		} else {
			n.restart()
			n.until("it is up again", func() bool { return n.ask("status") != "" })
		}
		daemon := n.daemon.Process.Pid
		r := runnerOf(daemon)
		if r == 0 {
			t.Fatalf("%s: nobody runs journalctl: %s", c.name, n.said())
		}
		if roots := rootsOf(t, daemon); len(roots) > 0 {
			t.Errorf("%s: root:\n%s", c.name, strings.Join(roots, "\n"))
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r))
		group := "none"
		if g, err := exec.Command("getent", "group", "systemd-journal").Output(); err == nil {
			group = strings.Split(string(g), ":")[2]
		}
		for _, want := range []string{`Uid:\s*65534\s+65534\s+65534\s+65534`, `Groups:\s*` + group + `\s*`, `CapPrm:\s*` + c.caps, `CapEff:\s*` + c.caps, `CapBnd:\s*0000000000000004`, `NoNewPrivs:\s*1`} {
			if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
				t.Errorf("%s: no %s in\n%s", c.name, want, status)
			}
		}
		fail(c.who)
		n.until("what is in the journal is banned for", func() bool {
			text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-sshd").CombinedOutput()
			return strings.Contains(string(text), c.who)
		})
	}
	// A reload that adds a command is refused: nobody could run it any more.
	hosttest.Write(t, n.path("bailiff.toml"), conf+"[jail.sshd.action.tell]\nban = \"true\"\n")
	out, _ := exec.Command(n.path("bailiff"), "reload", "--socket", n.path("sock")).CombinedOutput()
	if !strings.Contains(string(out), "it has action tell, and no program can be run any more: restart the daemon") {
		t.Errorf("%s", out)
	}
}

// TestUntrustedConfiguration: where others than root could change the configuration, nothing of
// it is run, the log, the reload and check say which file it is and what helps; then it is run. With a
// configuration whose actions aren't fixed it is a warning.
func TestUntrustedConfiguration(t *testing.T) {
	n := newNetwork(t)
	n.dirs("logs", "export", "told", "conf/jails")
	n.failsLogin("203.0.113.1")
	conf := n.path("conf/bailiff.toml")
	write := func(path, text string) {
		t.Helper()
		hosttest.Write(t, path, text)
	}
	tell := "[action.tell]\nban = \"echo <ip> >> " + n.path("told/told") + "\"\nunban = \":\"\n"
	jail := n.path("conf/jails/web.toml")
	main, own, _ := strings.Cut(strings.ReplaceAll(wallsConfig, "@D@", n.dir), "[jail.web]\n")
	write(conf, main)
	write(jail, own+tell)
	if err := os.Chown(jail, 4711, 0); err != nil {
		t.Fatal(err)
	}
	what := jail + " belongs to user 4711: chown root " + jail
	check := func() string {
		out, err := exec.Command(program(t, "bailiff"), "check", "--config", n.path("conf")).CombinedOutput()
		return fmt.Sprintf("%v: %s", err, out)
	}
	if got := check(); !strings.Contains(got, "exit status 1") || !strings.Contains(got, what) {
		t.Errorf("check: %s", got)
	}
	n.tree = n.path("conf")
	n.start("")
	n.failsLogin("192.0.2.66")
	n.until("the ban is made", n.inSet("192.0.2.66"))
	n.until("it is said that no action is run", func() bool {
		s := n.said()
		return strings.Contains(s, "ERROR   nothing is run or written as root for this configuration, since others could change it: "+what) &&
			strings.Contains(s, "is not run, since others could change the configuration: "+what)
	})
	if text, err := os.ReadFile(n.path("told/told")); err == nil {
		t.Errorf("it was run: %s", text)
	}
	reload := func() string {
		out, _ := exec.Command(n.path("bailiff"), "reload", "--socket", n.path("sock")).CombinedOutput()
		return string(out)
	}
	if got := reload(); !strings.Contains(got, what) {
		t.Errorf("reload: %s", got)
	}
	if err := os.Chown(jail, 0, 0); err != nil {
		t.Fatal(err)
	}
	if got := check(); !strings.HasPrefix(got, "<nil>") {
		t.Errorf("check: %s", got)
	}
	if got := reload(); strings.Contains(got, "user 4711") {
		t.Errorf("reload: %s", got)
	}
	n.failsLogin("192.0.2.67")
	told := func(who string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(n.path("told/told"))
			return strings.Contains(string(text), who)
		}
	}
	n.until("the action is run", told("192.0.2.67"))
	if err := os.Chmod(jail, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, what := reload(), jail+" can be written by everybody: chmod go-w "+jail; !strings.Contains(got, what) {
		t.Errorf("reload: %s", got)
	}
	n.failsLogin("192.0.2.68")
	n.until("the ban is made", n.inSet("192.0.2.68"))
	n.until("it is said", func() bool { return strings.Count(n.said(), "is not run, since others could change") > 1 })
	if told("192.0.2.68")() {
		t.Error("a command that was trusted before is run")
	}
	write(conf, "[security]\nfixed_actions = false\n"+main)
	n.restart()
	n.until("what isn't fixed is run, with a warning", func() bool {
		return strings.Contains(n.said(), "WARNING others could change what is run as root, that is the configuration: "+jail) && n.ask("status") != ""
	})
	n.failsLogin("192.0.2.69")
	n.until("the action is run", told("192.0.2.69"))
}

// TestExportOfAnother: an export that belongs to somebody else is written by the other process, and
// given back to him; the daemon is confined as any.
func TestExportOfAnother(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.failsLogin("203.0.113.1")
	export := n.path("export/banned.conf")
	if err := os.WriteFile(export, []byte("old\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{n.path("export"), export} {
		if err := os.Chown(p, 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	n.tree = t.TempDir() // root's, as where the socket is isn't
	hosttest.Write(t, n.tree+"/bailiff.toml", strings.ReplaceAll(nobodysConfig, "@D@", n.dir))
	n.start("")
	n.isConfinedNobody()
	for _, who := range []string{"192.0.2.66", "192.0.2.67"} {
		n.failsLogin(who)
		n.until("the export has "+who, func() bool {
			text, _ := os.ReadFile(export)
			return strings.Contains(string(text), who)
		})
		out, err := exec.Command("stat", "-c", "%u %g %a", export).Output()
		if err != nil || string(out) != "4711 4712 640\n" {
			t.Errorf("%s, %v: want that it is given back", out, err)
		}
	}
	// His directory becomes a link to root's: nothing is written there.
	if err := os.Rename(n.path("export"), n.path("export.was")); err != nil {
		t.Fatal(err)
	}
	n.dirs("roots")
	if err := os.Symlink(n.path("roots"), n.path("export")); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(n.path("export"), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	n.failsLogin("192.0.2.68")
	n.until("it says that the link is not followed", func() bool {
		return strings.Contains(n.said(), "export proxy: ") && strings.Contains(n.said(), "is a symbolic link of user 4711")
	})
	if left, _ := os.ReadDir(n.path("roots")); len(left) > 0 {
		t.Errorf("%v", left)
	}
}

// TestStartsAnew: where somebody starts the daemon again, a reload that takes more than is left to
// it has it end with the status that he waits for; the bans are in force all the while, and the next one
// has them, and what was beyond. A configuration with a mistake doesn't have it end.
func TestStartsAnew(t *testing.T) {
	n := newNetwork(t)
	n.dirs("logs", "export")
	n.failsLogin("192.0.2.66")
	far := t.TempDir()
	if err := os.WriteFile(filepath.Join(far, "far.log"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	base := strings.ReplaceAll(wallsConfig, "@D@", n.dir)
	n.env = append(n.env, "BAILIFF_RESTART_STATUS=75")
	n.start(base)
	n.until("the ban is made", n.inSet("192.0.2.66"))
	reload := func(more string) (string, error) {
		t.Helper()
		hosttest.Write(t, n.path("bailiff.toml"), base+more)
		out, err := exec.Command(n.path("bailiff"), "reload", "--socket", n.path("sock")).CombinedOutput()
		return string(out), err
	}
	jail := "[jail.far]\nenabled = true\nfailregex = '^\\s*x <HOST>$'\nlogpath = \"" + far + "/far.log\"\n"
	if out, err := reload(jail + "[jail.bad]\nenabled = true\nmaxretry = \"x\"\n"); err == nil || !strings.Contains(out, "restart the daemon") {
		t.Errorf("with a mistake: %v: %s", err, out)
	}
	if out, err := reload(jail); err != nil || !strings.Contains(out, "the daemon starts anew, with its bans, since that takes more than is left to it: jail far: "+n.path("bailiff.toml")+":17: logpath "+far+"/far.log: "+far+" can't be read any more\n") {
		t.Errorf("%v: %s", err, out)
	}
	var status *exec.ExitError
	if err := <-n.exited; !errors.As(err, &status) || status.ExitCode() != 75 {
		t.Errorf("it ended with %v, want 75", err)
	}
	if !n.inSet("192.0.2.66")() {
		t.Error("the ban is gone")
	}
	n.spawn()
	n.until("the next one has the jail and the ban", func() bool {
		return strings.Contains(n.ask("status", "far"), "far.log") && strings.Contains(n.ask("status", "web"), "192.0.2.66")
	})
	if out, err := reload(jail); err != nil || strings.TrimSpace(out) != "reloaded" {
		t.Errorf("once more: %v: %s", err, out)
	}
}

// isConfinedNobody looks whether the daemon is nobody, and confined.
func (n *network) isConfinedNobody() {
	n.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.daemon.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	confinedStatus(n.t, string(status))
	if !regexp.MustCompile(`(?m)^Uid:\s*65534\s`).Match(status) {
		n.t.Errorf("it is not nobody:\n%s", status)
	}
}

// TestSocketOfAnother: a socket to which the daemon's user may not write (HAProxy's, of 0600) is
// connected to by the other process.
func TestSocketOfAnother(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.failsLogin("203.0.113.1")
	n.tree = t.TempDir()
	socket := filepath.Join(n.tree, "haproxy")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(nobodysConfig, "@D@", n.dir) + "[export.map]\nformat = \"haproxy\"\nfile = \"" + n.path("export/map") + "\"\nsocket = \"" + socket + "\"\n"
	hosttest.Write(t, n.tree+"/bailiff.toml", text)
	asked := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		asked <- line
	}()
	n.start("")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.daemon.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Uid:\s*65534\s`).Match(status) {
		t.Errorf("it is not nobody:\n%s", status)
	}
	select {
	case line := <-asked:
		if line == "" {
			t.Error("it asks for nothing")
		}
	case <-time.After(20 * time.Second):
		t.Errorf("it doesn't reach the socket: %s", n.said())
	}
}

// TestEngineRunner: for containers alone, the process that asks their engine is not root: it is in the
// group of the socket, or has the right to write to what is another's, where root alone may.
func TestEngineRunner(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.failsLogin("203.0.113.1")
	n.tree = t.TempDir()
	e := fakeengine.New(filepath.Join(n.tree, "engine"))
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	web := e.Add(fakeengine.Container{Name: "web", Labels: map[string]string{"bailiff.jail": "inside"}, Ports: []int{8080}})
	text := strings.ReplaceAll(nobodysConfig, "@D@", n.dir) + "[docker]\nlabels = true\nsocket = \"unix://" + e.Socket() + "\"\n[jail.inside]\nenabled = true\nbackend = \"docker\"\ncontainer = \"web\"\nfailregex = '^\\s*Login failed for \\S+ from <HOST>$'\nmaxretry = 3\n"
	hosttest.Write(t, n.tree+"/bailiff.toml", text)
	if err := os.Chmod(filepath.Dir(n.tree), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		mode      os.FileMode
		gid       int
		caps, who string
	}{
		{"a group's", 0o660, 4712, "0000000000000000", "192.0.2.66"},
		{"root's alone", 0o600, 0, "0000000000000002", "192.0.2.67"}, // CAP_DAC_OVERRIDE
	} {
		if err := os.Chown(e.Socket(), 0, c.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(e.Socket(), c.mode); err != nil {
			t.Fatal(err)
		}
		if n.daemon == nil {
			n.start("")
		} else {
			n.restart()
			n.until("it is up again", func() bool { return n.ask("status") != "" })
		}
		r := runnerOf(n.daemon.Process.Pid)
		if r == 0 {
			t.Fatalf("%s: nobody asks the engine: %s", c.name, n.said())
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r))
		for _, want := range []string{`Uid:\s*65534\s+65534\s+65534\s+65534`, `CapPrm:\s*` + c.caps, `CapEff:\s*` + c.caps, `NoNewPrivs:\s*1`} {
			if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
				t.Errorf("%s: no %s in\n%s", c.name, want, status)
			}
		}
		n.until("the container is read", func() bool {
			return strings.Contains(n.ask("status", "inside"), "web") && strings.Contains(n.ask("status", "docker-web"), "web")
		})
		for range 3 {
			web.Line("Login failed for root from " + c.who)
		}
		n.until("what the container writes is banned for", func() bool {
			text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-inside").CombinedOutput()
			return strings.Contains(string(text), c.who)
		})
		n.until("it isn't banned in the jail that the container's label has made", func() bool {
			text, _ := n.server.Command(context.Background(), "nft", "list", "table", "inet", "f2b-table").CombinedOutput()
			return regexp.MustCompile(`tcp dport 8080 .*@addr-set-docker-web `).Match(text) && strings.Contains(string(regexp.MustCompile(`(?s)set addr-set-docker-web \{.*?\n\t\}`).Find(text)), c.who)
		})
	}
}
