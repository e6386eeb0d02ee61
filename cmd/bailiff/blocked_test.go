package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"bailiff/pkg/control"
	"bailiff/pkg/netlab"
)

// Each thing outside the daemon is made to hang for ever, alone and two at a time.
// Meanwhile the daemon answers, another jail bans its attacker, and when it goes on,
// nothing is lost.

// promised are what the docs promise of answers, and of what changes what runs.
const (
	promisedAnswer = 100 * time.Millisecond
	promisedChange = 15 * time.Second
)

// blockage is something that hangs.
type blockage struct {
	name   string
	config string // in which @D@ is the test's folder, @H@ one that may hang, @HANG@ a command that does
	args   func(w *blockedWorld)
	hangs  []string // operations of the folder that may hang
	begin  func(w *blockedWorld)
	end    func(w *blockedWorld)
	// late says that nothing was lost, when it goes on; nil: there is nothing to lose.
	// Unless free is set, it can't be so before.
	late func(w *blockedWorld) bool
	free bool
}

// illJail is a jail with something wrong.
func illJail(name, log, more string) string {
	return fmt.Sprintf("\n[jail.%s]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = %q\nmaxretry = 2\n%s\n", name, log, more)
}

// shellAction hangs in one of its commands.
func shellAction(which string) blockage {
	name := "action-" + which
	b := blockage{
		name:   name,
		config: illJail(name, "@D@/"+name+".log", "bantime = \"1h\"\n[jail."+name+".action.slow]\n"),
		begin:  func(w *blockedWorld) { w.fail(name+".log", "198.51.100.21") },
	}
	for _, c := range []string{"start", "stop", "check", "ban", "unban"} {
		text := "true"
		if c == "ban" {
			text = "echo <ip> >>@D@/" + name + ".told"
		}
		if c == which {
			text = "@HANG@; " + text
		}
		b.config += fmt.Sprintf("%s = %q\n", c, text)
	}
	b.late = func(w *blockedWorld) bool {
		told, _ := os.ReadFile(w.path(name + ".told"))
		return strings.Contains(string(told), "198.51.100.21")
	}
	b.free = which == "stop" || which == "check" || which == "unban"
	if which == "unban" {
		b.begin = func(w *blockedWorld) {
			w.fail(name+".log", "198.51.100.21")
			w.until("the ill jail bans", func() bool { return w.holds(name, "198.51.100.21") })
			w.answers("unban", promisedAnswer, func() error {
				_, err := w.api.Unban(control.UnbanRequest{IPs: []string{"198.51.100.21"}})
				return err
			})
		}
	}
	return b
}

var blockages = []blockage{
	{
		name:   "resolver",
		config: illJail("resolver", "@D@/resolver.log", "usedns = \"warn\"\n"),
		begin: func(w *blockedWorld) {
			var names []string
			for i := range 3000 {
				names = append(names, fmt.Sprintf("h%d.example.org", i))
			}
			w.fail("resolver.log", append(names, "late.example.org", "198.51.100.31")...)
			w.until("the address behind the names is banned", func() bool { return w.holds("resolver", "198.51.100.31") })
			w.said("[resolver] host names whose address no name server told in time were given up, ")
		},
		end:  func(w *blockedWorld) { w.names.Store(true) },
		late: func(w *blockedWorld) bool { return w.holds("resolver", "198.51.100.77") },
	},
	{
		name: "log-open", config: illJail("log-open", "@H@/open.log", ""), hangs: []string{"open", "lookup", "getattr"},
		begin: func(w *blockedWorld) { // the old one is open
			if err := os.Rename(w.path("under/open.log"), w.path("under/open.log.1")); err != nil {
				w.t.Fatal(err)
			}
			w.fail("under/open.log", "198.51.100.32")
		},
		late: func(w *blockedWorld) bool { return w.holds("log-open", "198.51.100.32") },
	},
	{
		name: "log-read", config: illJail("log-read", "@H@/read.log", ""), hangs: []string{"read"},
		begin: func(w *blockedWorld) { w.fail("under/read.log", "198.51.100.33") },
		late:  func(w *blockedWorld) bool { return w.holds("log-read", "198.51.100.33") },
	},
	shellAction("start"), shellAction("stop"), shellAction("check"), shellAction("ban"), shellAction("unban"),
	{
		name: "ignorecommand", config: illJail("ignorecommand", "@D@/ignorecommand.log", "ignorecommand = \"@HANG@; exit 1\"\n"),
		begin: func(w *blockedWorld) { w.fail("ignorecommand.log", "198.51.100.34") },
		late:  func(w *blockedWorld) bool { return w.holds("ignorecommand", "198.51.100.34") },
	},
	{
		name: "export-reload", config: "\n[export.reload]\nfile = \"@D@/reload.txt\"\nformat = \"plain\"\nreload = \"@HANG@; echo told >>@D@/reload.told\"\n",
		late: func(w *blockedWorld) bool { return w.has("reload.told", "told") && w.has("reload.txt", "192.0.2.66") },
	},
	{
		name: "export-disk", config: "\n[export.disk]\nfile = \"@H@/disk.txt\"\nformat = \"plain\"\n", hangs: []string{"all"},
		late: func(w *blockedWorld) bool { return w.has("under/disk.txt", "192.0.2.66") },
	},
	{
		name: "export-fifo", config: "\n[export.fifo]\nfile = \"@D@/fifo.txt\"\nformat = \"plain\"\n",
		args: func(w *blockedWorld) { _ = syscall.Mkfifo(w.path("fifo.txt"), 0o600) },
	},
	{
		name: "list", config: "\n[jail.feed]\nenabled = true\nlist = \"@H@/list.txt\"\n", hangs: []string{"all"},
		begin: func(w *blockedWorld) { w.write("under/list.txt", "198.51.100.35\n198.51.100.36\n") },
		late:  func(w *blockedWorld) bool { return w.holds("feed", "198.51.100.36") },
	},
	{
		name: "database", hangs: []string{"all"},
		args: func(w *blockedWorld) { w.database = w.path("h/db.sqlite3") },
		late: func(w *blockedWorld) bool {
			out, _ := exec.Command("strings", w.path("under/db.sqlite3"), w.path("under/db.sqlite3-wal")).Output()
			return strings.Contains(string(out), "192.0.2.66")
		},
	},
	{
		name: "log-target", hangs: []string{"all"},
		args: func(w *blockedWorld) { w.target = w.path("h/target.log") },
		late: func(w *blockedWorld) bool { return w.has("under/target.log", "[well] Ban 192.0.2.66") },
	},
	{
		name: "journalctl", config: "\n[jail.journal]\nenabled = true\nbackend = \"systemd\"\nfailregex = '^failed <HOST>$'\n",
		args: func(w *blockedWorld) {
			w.write("bin/journalctl", "#!/bin/sh\nexec sleep 1000\n")
			_ = os.Chmod(w.path("bin/journalctl"), 0o755)
		},
	},
	{
		name: "clients",
		begin: func(w *blockedWorld) {
			for range 20 {
				c, err := net.Dial("unix", w.path("sock"))
				if err != nil {
					w.t.Fatal(err)
				}
				w.t.Cleanup(func() { c.Close() })
				_, _ = io.WriteString(c, strings.Repeat("GET /v1/bans HTTP/1.1\r\nHost: x\r\n\r\n", 50))
			}
		},
	},
}

// blockedPairs are two at a time.
var blockedPairs = [][2]string{
	{"log-read", "database"},
	{"resolver", "action-ban"},
	{"log-target", "log-open"},
	{"action-stop", "database"},
	{"export-disk", "ignorecommand"},
	{"journalctl", "action-unban"},
	{"clients", "log-target"},
	{"action-start", "list"},
}

// blockedWorld is a daemon in a world in which something hangs.
type blockedWorld struct {
	*daemonAt
	dir              string
	database, target string
	names            atomic.Bool // the name server answers
}

func (w *blockedWorld) path(name string) string { return filepath.Join(w.dir, name) }

func (w *blockedWorld) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	writeFile(w.t, w.path(name), text)
}

func (w *blockedWorld) has(name, text string) bool {
	data, _ := os.ReadFile(w.path(name))
	return strings.Contains(string(data), text)
}

// fail writes two failures each.
func (w *blockedWorld) fail(name string, who ...string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for _, x := range who {
		line := fmt.Sprintf("%s failed %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), x)
		if _, err := f.WriteString(line + line); err != nil {
			w.t.Fatal(err)
		}
	}
}

// answers waits for an answer ten times as long as it is promised for, and five seconds
// at least.
func (w *blockedWorld) answers(what string, promised time.Duration, f func() error) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil && promised == promisedAnswer {
			w.t.Errorf("%s: %v", what, err)
		}
	case <-time.After(max(10*promised, 5*time.Second)):
		w.t.Fatalf("%s is not answered\n%s", what, w.text())
	}
}

// answersAll asks for everything that is promised.
func (w *blockedWorld) answersAll(n int) {
	w.t.Helper()
	w.answers("status", promisedAnswer, func() error { _, err := w.api.Status(); return err })
	w.answers("status of a jail", promisedAnswer, func() error { _, err := w.api.Jail("well"); return err })
	who := fmt.Sprintf("203.0.113.%d", n)
	w.answers("ban", promisedAnswer, func() error {
		res, err := w.api.Ban("well", control.BanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "" || !res[0].Added && res[0].Pending == "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	w.until("a ban by hand is in the kernel", func() bool { return w.holds("well", who) })
	w.answers("unban", promisedAnswer, func() error {
		res, err := w.api.Unban(control.UnbanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "" || res[0].Count == 0 && res[0].Pending == "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	w.until("an unban by hand is in the kernel", func() bool { return !w.holds("well", who) })
	w.answers("get", promisedAnswer, func() error {
		c, err := control.DialFail2ban(w.socket, time.Minute)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Do([]any{"get", "well", "maxretry"}, time.Minute)
		return err
	})
}

// silentNames is a name server that says nothing until it is told to.
func (w *blockedWorld) silentNames(host *netlab.Host) {
	var conn net.PacketConn
	if err := host.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", "127.0.0.1:53")
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	etc := filepath.Join("/etc/netns", host.Name)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(etc) })
	writeFile(w.t, filepath.Join(etc, "resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30\n")
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if !w.names.Load() || m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			switch {
			case q.Name.String() != "late.example.org.":
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: [4]byte{198, 51, 100, 77}},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
}

func runBlocked(t *testing.T, what ...blockage) {
	host := server(t)
	w := &blockedWorld{dir: t.TempDir()}
	w.daemonAt = &daemonAt{t: t, host: host} // for what comes before the start
	for _, dir := range []string{"h", "under", "conf", "bin"} {
		if err := os.Mkdir(w.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.database, w.target = w.path("db.sqlite3"), w.path("log")
	w.silentNames(host)
	config := "[jail.well]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = \"@D@/well.log\"\nmaxretry = 2\n"
	var hangs []string
	for _, b := range what {
		config += b.config
		hangs = append(hangs, b.hangs...)
		if b.args != nil {
			b.args(w)
		}
		for _, log := range []string{b.name + ".log", "under/open.log", "under/read.log", "under/list.txt", "well.log"} {
			if _, err := os.Stat(w.path(log)); err != nil {
				w.write(log, "")
			}
		}
	}
	w.write("under/list.txt", "198.51.100.35\n")
	hang := fmt.Sprintf("while test -e %s; do sleep 0.1; done", w.path("hang"))
	w.write("conf/bailiff.toml", strings.NewReplacer("@D@", w.dir, "@H@", w.path("h"), "@HANG@", hang).Replace(config))
	var gate *hanging
	if len(hangs) > 0 || w.database != w.path("db.sqlite3") {
		gate = mountGate(t, w.path("h"), w.path("under"))
	}
	if slices.ContainsFunc(what, func(b blockage) bool { return b.name == "action-start" }) {
		w.write("hang", "")
	}
	w.startIn()
	begin := func() {
		w.write("hang", "")
		if gate != nil {
			gate.hang(hangs...)
		}
	}
	begin()
	for _, b := range what {
		if b.begin != nil {
			b.begin(w)
		}
	}
	w.answersAll(1)
	w.fail("well.log", "192.0.2.66")
	w.until("the other jail bans its attacker", func() bool { return w.holds("well", "192.0.2.66") })
	w.write("conf/bailiff.toml", strings.Replace(strings.NewReplacer("@D@", w.dir, "@H@", w.path("h"), "@HANG@", hang).Replace(config), "maxretry = 2", "maxretry = 3", 1))
	w.answers("reload", promisedChange, func() error { _, err := w.api.Reload(); return err })
	w.answersAll(2)

	for _, b := range what {
		if b.late != nil && !b.free && b.late(w) {
			t.Errorf("%s: nothing hangs", b.name)
		}
	}

	// It goes on.
	os.Remove(w.path("hang"))
	if gate != nil {
		gate.hang()
	}
	for _, b := range what {
		if b.end != nil {
			b.end(w)
		}
		if b.late != nil {
			w.until(b.name+": something is lost", func() bool { return b.late(w) })
		}
	}
	w.answersAll(3)

	// It hangs again, and the daemon is told to stop.
	begin()
	for _, name := range []string{"action-ban", "action-unban", "action-check"} {
		if _, err := os.Stat(w.path(name + ".log")); err == nil {
			w.fail(name+".log", "198.51.100.22")
		}
	}
	w.answers("status", promisedAnswer, func() error { _, err := w.api.Status(); return err })
	stopped := make(chan error, 1)
	go func() { stopped <- w.api.Stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("stop: %v", err)
		}
	case <-time.After(10 * promisedChange):
		t.Error("stop does not return")
	}
	os.Remove(w.path("hang"))
	if gate != nil {
		gate.hang()
	}
}

// startIn starts the daemon in the world.
func (w *blockedWorld) startIn() {
	w.t.Helper()
	w.socket, w.log = w.path("sock"), strings.Replace(w.target, w.path("h")+"/", w.path("under")+"/", 1) // what hangs isn't read here
	c := w.host.Command(context.Background(), program(w.t, "bailiff"), "run", "--config", w.path("conf"), "--socket", w.socket, "--log-target", w.target, "--database", w.database)
	c.Env = append(os.Environ(), "TZ=UTC", "PATH="+w.path("bin")+":"+os.Getenv("PATH"))
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = c.Wait(); close(exited) }()
	w.t.Cleanup(func() {
		_ = w.api.Stop() // if it was not yet
		select {
		case <-exited:
		case <-time.After(10 * promisedChange):
			w.t.Error("the daemon does not end")
			_ = c.Process.Kill()
			<-exited
		}
	})
	w.api = control.NewClient(w.socket)
	w.until("it does not start", func() bool { _, err := w.api.Status(); return err == nil })
}

// TestBlockedWorld makes each thing hang alone, and some two at a time.
func TestBlockedWorld(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("this test makes file systems hang: it needs /dev/fuse, and root")
	}
	byName := map[string]blockage{}
	for _, b := range blockages {
		byName[b.name] = b
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			runBlocked(t, b)
		})
	}
	for _, p := range blockedPairs {
		t.Run(p[0]+"+"+p[1], func(t *testing.T) {
			t.Parallel()
			runBlocked(t, byName[p[0]], byName[p[1]])
		})
	}
}

// TestUnbanDuringReload: what is to be lifted while jails are replaced is lifted, and
// answered in time.
func TestUnbanDuringReload(t *testing.T) {
	host := server(t)
	w := &blockedWorld{dir: t.TempDir()}
	w.daemonAt = &daemonAt{t: t, host: host}
	w.database, w.target = w.path("db.sqlite3"), w.path("log")
	config := func(maxretry int) {
		w.write("conf/bailiff.toml", fmt.Sprintf("[jail.well]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = %q\nmaxretry = %d\n", w.path("well.log"), maxretry))
	}
	config(2)
	w.write("well.log", "")
	w.startIn()
	const many = 20_000
	var ips []string
	for i := range many {
		ips = append(ips, fmt.Sprintf("2001:db8::%x:%x", i>>8+1, i&255))
	}
	for rest := ips; len(rest) > 0; rest = rest[min(len(rest), 2000):] {
		w.answers("ban", promisedChange, func() error {
			_, err := w.api.Ban("well", control.BanRequest{IPs: rest[:min(len(rest), 2000)]})
			return err
		})
	}
	banned := func() int {
		s, err := w.api.Jail("well")
		if err != nil {
			t.Fatal(err)
		}
		return s.Banned
	}
	w.until("all are banned", func() bool { return banned() == many })
	reloads := make(chan error, 1)
	go func() {
		var err error
		for i := range 10 {
			config(3 + i)
			if _, e := w.api.Reload(); e != nil {
				err = e
			}
		}
		reloads <- err
	}()
	lost := 0
	for rest := ips; len(rest) > 0; rest = rest[min(len(rest), 500):] {
		res, err := w.api.Unban(control.UnbanRequest{IPs: rest[:min(len(rest), 500)]})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res {
			if r.Count == 0 && r.Pending == "" {
				lost++
			}
		}
	}
	if err := <-reloads; err != nil {
		t.Error(err)
	}
	if lost > 0 {
		t.Errorf("%d of %d are said not to be banned", lost, many)
	}
	w.until("all are lifted", func() bool { return banned() == 0 })
	w.until("the kernel has none", func() bool {
		out, err := w.host.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr6-set-well").CombinedOutput()
		return err == nil && !strings.Contains(string(out), "elements")
	})
}
