package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// network is a server with bailiff and a listener on port 80, an attacker and a
// customer, each in a network namespace, joined by cables. Kernel and nftables
// are the real ones. Needs root.
type network struct {
	t                          *testing.T
	server, attacker, customer *netlab.Host
	dir                        string
	tree                       string // a configuration of fail2ban's in place of ours
	daemon                     *exec.Cmd
	exited                     chan error
	patience                   time.Duration // of until; 0: a minute
	first                      string        // what a shell does before it becomes the daemon
	env                        []string      // more of its environment
}

// networks counts them: several may be at work at once.
var networks atomic.Int32

// twoInAnHour is a configuration that bans for an hour, after two failures in auth.log.
func (n *network) twoInAnHour() string {
	return fmt.Sprintf(`
[database]
path = %q
[default]
maxretry = 2
findtime = "1h"
bantime = "1h"
[jail.django-auth]
enabled = true
logpath = %q
`, n.path("db.sqlite3"), n.path("auth.log"))
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	lab := netlab.New(fmt.Sprintf("bailiff-test-%d-%d", os.Getpid(), networks.Add(1)))
	n := &network{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	for name, host := range map[string]**netlab.Host{"server": &n.server, "attacker": &n.attacker, "customer": &n.customer} {
		if *host, err = lab.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Cable(n.server, n.attacker, []string{"192.0.2.1/24", "2001:db8:a::1/64"}, []string{"192.0.2.66/24", "192.0.2.67/24", "2001:db8:a::66/64", "2001:db8:a::67/64"}); err != nil {
		t.Fatal(err)
	}
	if err := lab.Cable(n.server, n.customer, []string{"198.51.100.1/24", "2001:db8:c::1/64"}, []string{"198.51.100.7/24", "2001:db8:c::7/64"}); err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"80", "8080"} {
		l, err := n.server.Listen(":" + port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		netlab.Serve(l, func(c net.Conn) { _, _ = io.Copy(c, c) }) // an echo
	}
	return n
}

// server is a host in a network namespace of its own. Needs root.
func server(t *testing.T) *netlab.Host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes a network namespace: run it as root (make test says how)")
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	lab := netlab.New(fmt.Sprintf("bailiff-%s-%d", name, os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	host, err := lab.Host("server")
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// program returns a path under which the test binary is the program of a name.
func program(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (n *network) path(name string) string { return filepath.Join(n.dir, name) }

// start runs the daemon until the test's end.
func (n *network) start(config string) {
	n.t.Helper()
	hosttest.Write(n.t, n.path("bailiff.toml"), config)
	n.spawn()
	n.until("bailiff answers", func() bool { return n.ask("status") != "" })
}

// spawn runs the daemon with the configuration that is there.
func (n *network) spawn() {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	link := n.path("bailiff") // the test binary under this name is the program
	_ = os.Symlink(self, link)
	os.Remove(n.path("out"))
	out, err := os.Create(n.path("out"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	n.daemon = n.command(link, "run", "--config", cmp.Or(n.tree, n.path("bailiff.toml")), "--socket", n.path("sock"))
	n.daemon.Stdout, n.daemon.Stderr = out, out
	n.daemon.Env = append(n.daemon.Env, "STATE_DIRECTORY="+n.path("state"))
	if err := n.daemon.Start(); err != nil {
		n.t.Fatal(err)
	}
	d, exited := n.daemon, make(chan error, 1)
	n.exited = exited
	go func() { exited <- d.Wait() }()
	n.t.Cleanup(func() { _ = d.Process.Kill() })
}

// command prepares a program on the server, as the daemon.
func (n *network) command(args ...string) *exec.Cmd {
	if n.first != "" {
		args = append([]string{"sh", "-c", n.first + ` && exec "$@"`, "sh"}, args...)
	}
	c := n.server.Command(context.Background(), args[0], args[1:]...)
	c.Env = append(append(os.Environ(), "TZ=UTC"), n.env...)
	return c
}

// ask runs a command against the daemon; an empty answer is an error.
func (n *network) ask(args ...string) string {
	out, err := exec.Command(n.path("bailiff"), append(args, "--socket", n.path("sock"))...).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// until waits for what is promised at once, or within seconds.
func (n *network) until(what string, f func() bool) {
	n.t.Helper()
	patience := cmp.Or(n.patience, time.Minute)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		asked := time.Now()
		if f() {
			return
		}
		time.Sleep(max(2*time.Millisecond, time.Since(asked))) // who asks leaves room for who is to answer
	}
	text, _ := os.ReadFile(n.path("out"))
	n.t.Fatalf("not in %v: %s\n%s", patience, what, text)
}

func (n *network) failures(count int, who string) {
	n.t.Helper()
	f, err := os.OpenFile(n.path("auth.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for range count {
		fmt.Fprintf(f, "%s ERROR Login failure %s\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), who)
	}
}

// set lists what the kernel holds.
func (n *network) set(name string) string {
	n.t.Helper()
	out, err := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", name).CombinedOutput()
	if err != nil {
		n.t.Fatalf("nft list set %s: %v: %s", name, err, out)
	}
	return string(out)
}

func (n *network) banned(who string) {
	n.t.Helper()
	n.until(who+" is in the kernel's set", func() bool { return holds(n.t, n.server, "addr", "django-auth", who) })
}

// connects checks whether a connection is possible.
func (n *network) connects(from *netlab.Host, local, to string, want bool) {
	n.t.Helper()
	if err := n.reaches(from, local, to, want); err != nil {
		n.t.Error(err)
	}
}

// comesTo waits until a connection is possible, or not any more: an answer on a busy machine
// does not wait for the kernel.
func (n *network) comesTo(from *netlab.Host, local, to string, want bool) {
	n.t.Helper()
	var err error
	n.until(fmt.Sprintf("%s reaches %s: %v", local, to, want), func() bool {
		err = n.reaches(from, local, to, want)
		return err == nil || !want && !errors.Is(err, errConnected)
	})
	if err != nil {
		n.t.Error(err)
	}
}

var errConnected = errors.New("connected, want none")

// reaches returns what is wrong with a connection that is wanted, or that is to be refused.
func (n *network) reaches(from *netlab.Host, local, to string, want bool) error {
	c, err := from.Dial(local, to, 20*time.Second) // refused is at once
	if err == nil {
		c.Close()
	}
	switch {
	case want && err != nil:
		return fmt.Errorf("%s to %s: %w, want a connection", local, to, err)
	case !want && err == nil:
		return fmt.Errorf("%s to %s: %w", local, to, errConnected)
	case !want && !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s to %s: %w, want it to be refused", local, to, err)
	}
	return nil
}

const endToEndConfig = `
[jail.django-auth]
enabled = true
logpath = "auth.log"
bantime = "%s"
port = "http"
ban.prefix6 = 128
`

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.start(strings.Replace(fmt.Sprintf(endToEndConfig, "5m"), "auth.log", n.path("auth.log"), 1))
	for _, c := range []struct{ attacker, other, server, customer, serverForCustomer string }{
		{"192.0.2.66", "192.0.2.67", "192.0.2.1", "198.51.100.7", "198.51.100.1"},
		{"2001:db8:a::66", "2001:db8:a::67", "2001:db8:a::1", "2001:db8:c::7", "2001:db8:c::1"},
	} {
		to, customerTo := net.JoinHostPort(c.server, "80"), net.JoinHostPort(c.serverForCustomer, "80")
		n.connects(n.attacker, c.attacker, to, true)
		open, err := n.attacker.Dial(c.attacker, to, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n.failures(4, c.attacker)
		n.connects(n.attacker, c.attacker, to, true)
		n.failures(1, c.attacker)
		n.banned(c.attacker)

		n.connects(n.attacker, c.attacker, to, false)
		n.connects(n.attacker, c.other, to, true)
		n.connects(n.customer, c.customer, customerTo, true)
		n.connects(n.attacker, c.attacker, net.JoinHostPort(c.server, "8080"), true) // only the jail's ports
		// The connection that was open is cut off.
		_ = open.SetDeadline(time.Now().Add(time.Minute))
		_, _ = open.Write([]byte("x"))
		if _, err := io.ReadFull(open, make([]byte, 1)); err == nil {
			t.Errorf("%s: the open connection goes on", c.attacker)
		}
		open.Close()

		if out := n.ask("unban", c.attacker); !strings.Contains(out, "unbanned in django-auth") {
			t.Errorf("unban says %q", out)
		}
		n.comesTo(n.attacker, c.attacker, to, true)
	}

	// A network by hand.
	n.ask("ban", "django-auth", "192.0.2.64/28")
	n.comesTo(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	n.comesTo(n.attacker, "192.0.2.67", "192.0.2.1:80", false)
	n.ask("unban", "192.0.2.64/28")
	n.comesTo(n.attacker, "192.0.2.66", "192.0.2.1:80", true)

	// Somebody flushes the ruleset; the bans come back with the next one.
	n.failures(5, "192.0.2.66")
	n.banned("192.0.2.66")
	if out, err := n.server.Command(context.Background(), "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.failures(5, "192.0.2.67")
	n.until("all bans are back", func() bool {
		out, err := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-django-auth").Output()
		return err == nil && strings.Contains(string(out), "192.0.2.66 ") && strings.Contains(string(out), "192.0.2.67 ")
	})
	n.connects(n.attacker, "192.0.2.67", "192.0.2.1:80", false)
}

// end is when the ban of an address ends, as the daemon says.
func (n *network) end(jail, ip string) time.Time {
	n.t.Helper()
	var told struct {
		Bans []struct {
			IP  string
			End time.Time
		}
	}
	out := n.ask("status", "--json", jail)
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		n.t.Fatalf("status of %s: %v: %s", jail, err, out)
	}
	for _, b := range told.Bans {
		if b.IP == ip {
			return b.End
		}
	}
	n.t.Fatalf("%s is not banned: %s", ip, out)
	return time.Time{}
}

// TestRestart checks that bans outlive the daemon, however it ends, and are
// taken over with their ends by the next one.
func TestRestart(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	config := strings.Replace(fmt.Sprintf(endToEndConfig, "1h"), "auth.log", n.path("auth.log"), 1)
	n.start(config)
	n.failures(5, "192.0.2.66")
	n.banned("192.0.2.66")
	end := n.end("django-auth", "192.0.2.66")
	if err := n.daemon.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	os.Remove(n.path("auth.log")) // else its failures would ban again
	n.start(config)
	// A disk that is busy holds up no start: what the database has may come behind it.
	n.until("the ban is known", func() bool { return strings.Contains(n.ask("status", "django-auth"), "192.0.2.66") })
	if again := n.end("django-auth", "192.0.2.66"); again.Sub(end).Abs() > time.Second {
		t.Errorf("a ban until %v lasts until %v after a restart", end, again)
	}
	if m := regexp.MustCompile(`192.0.2.66 timeout (\S+) expires`).FindStringSubmatch(n.set("addr-set-django-auth")); m == nil {
		t.Error("the element was made anew, or is gone")
	}
	n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	// Its end comes: in some three seconds, by a reload that lowers bantime.
	lasting := func(bantime time.Duration) {
		t.Helper()
		hosttest.Write(t, n.path("bailiff.toml"), strings.Replace(config, `"1h"`, fmt.Sprintf("%q", bantime), 1))
		if out := n.ask("reload"); out == "" {
			t.Fatal("reload fails")
		}
	}
	start := end.Add(-time.Hour)
	shorter := time.Since(start).Truncate(time.Second) + 4*time.Second
	lasting(shorter)
	end = start.Add(shorter)
	n.until("the ban ends", func() bool { return !holds(t, n.server, "addr", "django-auth", "192.0.2.66") })
	if now := time.Now(); now.Before(end.Add(-time.Second)) { // the kernel's seconds are whole
		t.Errorf("the ban ended %v early", end.Sub(now))
	}
	n.connects(n.attacker, "192.0.2.66", "192.0.2.1:80", true)
	n.until("the daemon says so", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "[django-auth] Unban 192.0.2.66\n")
	})
	// An orderly stop leaves the bans in the kernel, too.
	lasting(time.Hour)
	n.failures(5, "192.0.2.67")
	n.banned("192.0.2.67")
	if out := n.ask("stop"); out != "stopped\n" {
		t.Errorf("stop says %q", out)
	}
	if err := <-n.exited; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	n.connects(n.attacker, "192.0.2.67", "192.0.2.1:80", false)
}

// TestNetworkBan: where a jail bans networks, addresses of one share their fate.
func TestNetworkBan(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.start(fmt.Sprintf("[jail.django-auth]\nenabled = true\nlogpath = %q\nmaxretry = 2\nban.prefix4 = 31\n", n.path("auth.log")))
	for _, c := range []struct{ a, b, server, customer, serverForCustomer, set string }{
		{"192.0.2.66", "192.0.2.67", "192.0.2.1", "198.51.100.7", "198.51.100.1", "192.0.2.66/31"},
		{"2001:db8:a::66", "2001:db8:a::67", "2001:db8:a::1", "2001:db8:c::7", "2001:db8:c::1", "2001:db8:a::/64"},
	} {
		to, customerTo := net.JoinHostPort(c.server, "80"), net.JoinHostPort(c.serverForCustomer, "80")
		n.failures(1, c.a)
		n.connects(n.attacker, c.a, to, true)
		n.failures(1, c.b)
		if strings.Contains(c.set, ":") {
			// The server's own address is in that network: each is banned for itself.
			n.failures(1, c.a)
			n.until("the address is banned", func() bool { return strings.Contains(n.ask("status", "django-auth"), c.a) })
			n.comesTo(n.attacker, c.a, to, false)
			n.connects(n.attacker, c.b, to, true)
			continue
		}
		n.until("the network is banned", func() bool { return strings.Contains(n.ask("status", "django-auth"), c.set) })
		n.until("both are shut out", func() bool {
			for _, who := range []string{c.a, c.b} {
				if conn, err := n.attacker.Dial(who, to, time.Second); err == nil {
					conn.Close()
					return false
				}
			}
			return true
		})
		n.connects(n.customer, c.customer, customerTo, true)
		if out := n.ask("unban", c.b); !strings.Contains(out, "unbanned in django-auth") {
			t.Errorf("unban says %q", out)
		}
		n.comesTo(n.attacker, c.a, to, true)
	}
}

// TestStandardInput: a jail reads what another program prints.
func TestStandardInput(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := n.path("bailiff")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	n.daemon = n.server.Command(t.Context(), link, "run", "--jail", "django-auth=-", "--socket", n.path("sock"), "--database", "none")
	in, err := n.daemon.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	n.until("bailiff answers", func() bool { return n.ask("status") != "" })
	for range 5 {
		fmt.Fprintf(in, "%s ERROR Login failure 192.0.2.66\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"))
	}
	n.until("the address is banned", func() bool { return strings.Contains(n.ask("status", "django-auth"), "192.0.2.66") })
	n.comesTo(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	in.Close()
	n.until("the end is told", func() bool { return strings.Contains(n.ask("status", "django-auth"), "ended") })
	if out := n.ask("stop"); out != "stopped\n" {
		t.Errorf("stop says %q", out)
	}
}
