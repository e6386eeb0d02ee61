package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// daemonAt is a daemon in a network of its own.
type daemonAt struct {
	t      *testing.T
	host   *netlab.Host
	socket string
	log    string
	api    *control.Client
	end    func()
}

// daemonIn starts a daemon with a configuration, and waits until it answers.
func daemonIn(t *testing.T, host *netlab.Host, dir string, more ...string) *daemonAt {
	t.Helper()
	d := daemonBy(t, func(args ...string) *exec.Cmd {
		return host.Command(context.Background(), program(t, "bailiff"), args...)
	}, dir, more...)
	d.host = host
	return d
}

// daemonHere starts one without a network of its own, for a configuration without a
// firewall, or a dry run.
func daemonHere(t *testing.T, dir string, more ...string) *daemonAt {
	t.Helper()
	return daemonBy(t, func(args ...string) *exec.Cmd { return exec.Command(program(t, "bailiff"), args...) }, dir, more...)
}

func daemonBy(t *testing.T, command func(...string) *exec.Cmd, dir string, more ...string) *daemonAt {
	t.Helper()
	d := &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	c := command(append([]string{"run", "--config", dir, "--socket", d.socket, "--log-target", d.log}, more...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	d.end = func() {
		if !ended {
			ended = true
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
		}
	}
	t.Cleanup(d.end)
	d.api = control.NewClient(d.socket)
	d.until("it does not start", func() bool { _, err := d.api.Status(); return err == nil })
	return d
}

func (d *daemonAt) text() string {
	text, _ := os.ReadFile(d.log)
	return string(text)
}

// until waits for what is promised within seconds, for three minutes.
func (d *daemonAt) until(what string, true func() bool) {
	d.t.Helper()
	if !hosttest.Soon(true) {
		d.t.Fatalf("%s:\n%s", what, d.text())
	}
}

// run runs a command of bailiff's, or a program of its other names, on the daemon's socket.
func (d *daemonAt) run(args ...string) (out string, code int) {
	d.t.Helper()
	c := exec.Command(program(d.t, "bailiff"), append(args, "--socket", d.socket)...)
	if strings.HasPrefix(args[0], "fail2ban-") {
		c = exec.Command(program(d.t, args[0]), append([]string{"-s", d.socket}, args[1:]...)...)
	}
	text, err := c.CombinedOutput()
	if c.ProcessState == nil {
		d.t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

// prompt is what a ban or an unban by hand says where nothing is late. On a busy machine, an
// answer says that the jail or the kernel will do it.
func prompt(out string) string { return lateAnswer.ReplaceAllString(out, "$1 $2") }

var lateAnswer = regexp.MustCompile(`(?m)^(\S+) (?:will be )?((?:un)?banned in \S+?); (?:the kernel has not taken it yet|jail \S+ is busy.*)$`)

func (d *daemonAt) said(text string) {
	d.t.Helper()
	d.until("not said: "+text, func() bool { return strings.Contains(d.text(), text) })
}

// holds reports whether one of a jail's sets has an address.
func (d *daemonAt) holds(jail, addr string) bool {
	d.t.Helper()
	return holds(d.t, d.host, "net", jail, addr) || holds(d.t, d.host, "addr", jail, addr)
}

// holds asks the kernel whether a jail's set of a kind, addr or net, has an address. Who waits
// for that asks often: so not by a program.
func holds(t *testing.T, host *netlab.Host, kind, jail, addr string) (has bool) {
	t.Helper()
	a := netip.MustParseAddr(addr)
	set := kind + "-set-" + jail
	if a.Is6() {
		set = kind + "6-set-" + jail
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: host.NsFd()})
	if err == nil {
		defer c.Close()
		has, err = netlab.InSet(c, "f2b-table", set, a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// shopWithoutFirewall is a configuration with one jail, which bans after two failures in a log, and
// asks nothing of the kernel.
func shopWithoutFirewall(log string) string {
	return fmt.Sprintf(`
[firewall]
enabled = false

[jail.shop]
enabled = true
maxretry = 2
failregex = '^\s*login failed from <ADDR>$'
logpath = %q
`, log)
}

// TestListOfOwner: a list with loopback, with the host's own network and with everything
// (which is wider than what a list may shut out) shuts out neither the host nor what it needs: it is told, by check as well, and holds
// for addresses that come later.
func TestListOfOwner(t *testing.T) {
	t.Parallel()
	host, client := pair(t)
	ctx := context.Background()
	run := func(args ...string) {
		t.Helper()
		if out, err := host.Command(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	run("ip", "route", "add", "default", "via", "203.0.113.254")
	run("ip", "route", "add", "198.51.100.0/25", "via", "192.0.2.77", "table", "77")
	dir := t.TempDir()
	list := hosttest.Write(t, filepath.Join(dir, "bogons.txt"), "# bogons\n127.0.0.0/8\n192.0.2.0/24 ; its own network\n::/0\n203.0.113.254\n203.0.113.9\n198.51.100.0/24\n224.0.0.0/4\n::/19\n2001::/19\nfe80::/19\n0.0.0.0-1.0.0.0\n5.0.0.0/8\n")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf("[jail.feed]\nenabled = true\nlist = %q\nport = \"all\"\nprotocol = \"all\"\nblocktype = \"drop\"\n", list))
	out, err := host.Command(ctx, program(t, "bailiff"), "check", "--config", dir).CombinedOutput()
	if err != nil {
		t.Errorf("check: %v", err) // it is a warning
	}
	lines := []string{
		`bogons.txt:2: "127.0.0.0/8" would shut out this host: left out of it: 127.0.0.0/8 (loopback)`,
		`bogons.txt:3: "192.0.2.0/24 ; its own network" would shut out this host: left out of it: 192.0.2.0/24 (network of cable0)`,
		`bogons.txt:4: "::/0" is wider than /8 (IPv6: /19; if you mean it, write it as networks of that length): left out`,
		`bogons.txt:8: "224.0.0.0/4" is wider than /8`,
		`bogons.txt:9: "::/19" would shut out this host: left out of it: :: (unspecified address), ::1 (loopback)`,
		`bogons.txt:10: "2001::/19" would shut out this host: left out of it: 2001:db8:f::/64 (network of cable0)`,
		`bogons.txt:11: "fe80::/19" would shut out this host: left out of it: fe80::/19 (link-local)`,
		`bogons.txt:12: "0.0.0.0-1.0.0.0" is wider than /8`,
		`bogons.txt:5: "203.0.113.254" would shut out this host: left out of it: 203.0.113.254 (gateway of cable0)`,
	}
	for _, l := range lines {
		if !bytes.Contains(out, []byte(l)) {
			t.Errorf("check does not say %s:\n%s", l, out)
		}
	}
	d := daemonIn(t, host, dir, "--database", "none")
	d.said("list loaded")
	for _, l := range lines {
		d.said(l)
	}
	for addr, want := range map[string]bool{
		"127.0.0.1": false, "127.0.0.53": false, "192.0.2.1": false, "192.0.2.66": false, "203.0.113.1": false, "203.0.113.9": true, "203.0.113.254": false, "198.51.100.9": true,
		"224.0.0.1": false, "0.0.0.9": false, "2a00::1": false, "5.6.7.8": true, "::": false, "::1": false, "fe80::1": false, "2001:db8:f::1": false, "2001:db8:f::66": false, "2001:db8:9::1": true,
	} {
		if got := d.holds("feed", addr); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	// They are reached: from the host itself, and from its network.
	reach := func(from *netlab.Host, addr string) {
		t.Helper()
		l, err := host.Listen(net.JoinHostPort(addr, "8099"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		source := addr
		if from == client {
			source = map[string]string{"192.0.2.1": "192.0.2.66", "2001:db8:f::1": "2001:db8:f::66"}[addr]
		}
		c, err := from.Dial(source, net.JoinHostPort(addr, "8099"), 10*time.Second)
		if err != nil {
			t.Errorf("%s is not reached: %v", addr, err)
			return
		}
		c.Close()
	}
	check := func() {
		t.Helper()
		for _, addr := range []string{"127.0.0.1", "::1", "192.0.2.1", "2001:db8:f::1"} {
			reach(host, addr)
		}
		reach(client, "192.0.2.1")
		reach(client, "2001:db8:f::1")
	}
	check()
	// An address that the host gets, and a gateway, while it runs.
	run("ip", "addr", "add", "198.51.100.9/32", "dev", "lo")
	run("ip", "route", "add", "198.51.100.128/25", "via", "inet6", "2001:db8:f::66")
	run("ip", "route", "add", "2001:db8:7::/48", "via", "2001:db8:f::77")
	d.until("the new address is not taken out", func() bool { return !d.holds("feed", "198.51.100.9") })
	d.said("198.51.100.9 (own address)")
	if !d.holds("feed", "198.51.100.10") {
		t.Error("the rest of the network is out, too")
	}
	run("ip", "addr", "del", "198.51.100.9/32", "dev", "lo")
	d.until("the address is not back", func() bool { return d.holds("feed", "198.51.100.9") })
	s, err := d.api.Jail("feed")
	if err != nil || !strings.Contains(strings.Join(s.Problems, "\n"), "127.0.0.0/8 (loopback)") {
		t.Errorf("status: %+v %v", s, err)
	}
	d.end()
	check()
	if d.holds("feed", "127.0.0.1") || !d.holds("feed", "203.0.113.9") {
		t.Error("what stays after the end is another list")
	}
}

// TestOwnerByHand: who is protected, and networks that are too wide, are refused by hand,
// over the API and over fail2ban's protocol, but for --force.
func TestOwnerByHand(t *testing.T) {
	t.Parallel()
	host, _ := pair(t)
	ctx := context.Background()
	if out, err := host.Command(ctx, "ip", "route", "add", "default", "via", "203.0.113.254").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	hosttest.Write(t, filepath.Join(dir, "x.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf("[jail.web]\nenabled = true\nfilter = \"sshd\"\nlogpath = %q\n", filepath.Join(dir, "x.log")))
	d := daemonIn(t, host, dir, "--database", "none")
	run := func(name string, args ...string) (string, error) {
		out, err := host.Command(ctx, program(t, name), args...).CombinedOutput()
		return string(out), err
	}
	for ip, want := range map[string]string{
		"128.0.0.0/1": "128.0.0.0/1 is wider than /8 (IPv6: /19): if you mean it, bailiff ban --force web 128.0.0.0/1", "::/0": "is wider than", "2000::/3": "is wider than",
		"192.0.2.1": "own address", "203.0.113.254": "gateway of cable0", "fe80::1": "link-local", "203.0.113.0/24": "is never banned in jail web",
		"::ffff:203.0.113.0/95": "its length has to be 96 or more", "fe80::1%eth0": "has a zone", "010.0.0.1": "is no address", "198.51.100.1-198.51.100.9": "is no address",
	} {
		if out, err := run("bailiff", "ban", "web", ip, "--socket", d.socket); err == nil || !strings.Contains(out, want) {
			t.Errorf("ban %s: %v %s", ip, err, out)
		}
	}
	for ip, shown := range map[string]string{"::ffff:198.51.100.0/120": "198.51.100.0/24", "[2001:db8:9::1]": "2001:db8:9::1", "198.18.2.3/255.254.0.0": "198.18.0.0/15"} {
		if out, err := run("bailiff", "ban", "web", ip, "--socket", d.socket); err != nil || prompt(out) != shown+" banned in web\n" {
			t.Errorf("ban %s: %v %s", ip, err, out)
		}
	}
	for _, a := range []string{"198.51.100.77", "2001:db8:9::1", "198.19.9.9"} {
		d.until(a+" is not in the kernel", func() bool { return d.holds("web", a) })
	}
	if out, err := run("fail2ban-client", "-s", d.socket, "set", "web", "banip", "128.0.0.0/1"); err == nil || !strings.Contains(out, "bailiff ban --force web 128.0.0.0/1") {
		t.Errorf("fail2ban's protocol: %v %s", err, out)
	}
	if d.holds("web", "128.9.9.9") {
		t.Error("it is banned all the same")
	}
	if out, err := run("bailiff", "ban", "web", "128.0.0.0/1", "--force", "--socket", d.socket); err != nil {
		t.Errorf("--force: %v %s", err, out)
	}
	d.until("it is not banned with force", func() bool { return d.holds("web", "128.9.9.9") })
}

// TestFilesThatAreMissing: an allow-list, or a list, that is missing stops no jail at a
// start or a reload: it is an error of check, said, and tried again; what was read before
// holds.
func TestFilesThatAreMissing(t *testing.T) {
	t.Parallel()
	host, _ := pair(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	hosttest.Write(t, at("x.log"), "")
	config := func(allow, list string, retry int) {
		t.Helper()
		hosttest.Write(t, at("bailiff.toml"), fmt.Sprintf("[jail.web]\nenabled = true\nfilter = \"sshd\"\nlogpath = %q\nignoreip = [\"file:%s\"]\nmaxretry = %d\n[jail.feed]\nenabled = true\nlist = %q\nignoreip = [\"file:%[2]s\"]\n",
			at("x.log"), allow, retry, list))
	}
	check := func(want string) {
		t.Helper()
		out, err := host.Command(context.Background(), program(t, "bailiff"), "check", "--config", dir).CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) {
			t.Errorf("check: %v %s, want %q", err, out, want)
		}
	}
	config(at("allow"), at("list"), 3)
	check("jail web: ignoreip file:" + at("allow"))
	check("jail feed: list: " + at("list") + ": no such file")
	d := daemonIn(t, host, dir, "--database", "none")
	ban := func(jail, ip string, refused bool) bool {
		t.Helper()
		r, err := d.api.Ban(jail, control.BanRequest{IPs: []string{ip}})
		return err == nil && len(r) == 1 && (r[0].Error != "") == refused
	}
	d.said("[feed] list: " + at("list") + ": no such file or directory: nothing is shut out; it is tried again")
	d.said("ignoreip file:" + at("allow") + ": ")
	// They are tried again.
	hosttest.Write(t, at("list"), "198.51.100.0/24\n")
	hosttest.Write(t, at("allow"), "192.0.2.7, 198.51.100.7 2001:db8::/32 # office\n")
	d.until("the list is not read", func() bool { return d.holds("feed", "198.51.100.9") && !d.holds("feed", "198.51.100.7") })
	d.until("the allow-list is not read", func() bool { return ban("web", "2001:db8:9::9", true) })
	check("")
	if !ban("web", "203.0.113.77", false) {
		t.Error("the jail does not ban")
	}
	// A reload with files that are missing: nothing of what holds is gone.
	if err := os.Remove(at("allow")); err != nil {
		t.Fatal(err)
	}
	config(at("allow"), at("list.new"), 4)
	res, err := d.api.Reload()
	if err != nil || !strings.Contains(strings.Join(res.Errors, "\n"), "list.new: no such file") || !strings.Contains(strings.Join(res.Changed, " "), "feed") || !strings.Contains(strings.Join(res.Changed, " "), "web") {
		t.Errorf("%+v %v", res, err)
	}
	if !d.holds("feed", "198.51.100.9") || d.holds("feed", "198.51.100.7") || !d.holds("web", "203.0.113.77") {
		t.Error("what was in force is gone")
	}
	if !ban("web", "2001:db8:9::9", true) {
		t.Error("what was allowed is forgotten")
	}
	d.until("status says nothing of it", func() bool {
		s, err := d.api.Status()
		n := 0
		for _, j := range s.Jails {
			if strings.Contains(fmt.Sprint(j.Error, j.Problems), "no such file") {
				n++
			}
		}
		return err == nil && n == 2
	})
	hosttest.Write(t, at("list.new"), "198.51.100.128/25\n")
	d.until("the new list is not read", func() bool { return !d.holds("feed", "198.51.100.9") && d.holds("feed", "198.51.100.200") })
	// A jail that goes leaves nothing.
	hosttest.Write(t, at("bailiff.toml"), "")
	if _, err := d.api.Reload(); err != nil {
		t.Fatal(err)
	}
	if d.holds("feed", "198.51.100.200") || d.holds("web", "203.0.113.77") {
		t.Error("sets of jails that are gone are left")
	}
}
