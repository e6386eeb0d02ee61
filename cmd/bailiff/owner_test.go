package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
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
	d := &daemonAt{t: t, host: host, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	args := append([]string{"run", "--config", dir, "--socket", d.socket, "--log-target", d.log}, more...)
	c := host.Command(context.Background(), program(t, "bailiff"), args...)
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

// until waits for what is promised within seconds, for a minute.
func (d *daemonAt) until(what string, true func() bool) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); !true(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%s:\n%s", what, d.text())
		}
	}
}

func (d *daemonAt) said(text string) {
	d.t.Helper()
	d.until("not said: "+text, func() bool { return strings.Contains(d.text(), text) })
}

// holds reports whether one of a jail's sets has an address.
func (d *daemonAt) holds(jail, addr string) bool {
	six := ""
	if netip.MustParseAddr(addr).Is6() {
		six = "6"
	}
	for _, set := range []string{"net" + six + "-set-" + jail, "addr" + six + "-set-" + jail} {
		if d.host.Command(context.Background(), "nft", "get", "element", "inet", "f2b-table", set, "{ "+addr+" }").Run() == nil {
			return true
		}
	}
	return false
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestListOfOwner: a list with loopback, with the host's own network and with everything
// shuts out neither the host nor what it needs: it is told, by check as well, and holds
// for addresses that come later.
func TestListOfOwner(t *testing.T) {
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
	list := writeFile(t, filepath.Join(dir, "bogons.txt"), "# bogons\n127.0.0.0/8\n192.0.2.0/24 ; its own network\n::/0\n203.0.113.254\n203.0.113.9\n198.51.100.0/24\n224.0.0.0/4\n")
	writeFile(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf("[jail.feed]\nenabled = true\nlist = %q\nport = \"all\"\nprotocol = \"all\"\nblocktype = \"drop\"\n", list))
	out, err := host.Command(ctx, program(t, "bailiff"), "check", "--config", dir).CombinedOutput()
	if err != nil {
		t.Errorf("check: %v", err) // it is a warning
	}
	lines := []string{
		`bogons.txt:2: "127.0.0.0/8" would shut out this host: left out of it: 127.0.0.0/8 (loopback)`,
		`bogons.txt:3: "192.0.2.0/24 ; its own network" would shut out this host: left out of it: 192.0.2.0/24 (network of cable0)`,
		`bogons.txt:4: "::/0" would shut out this host: left out of it: :: (unspecified address), ::1 (loopback), 2001:db8:f::/64 (network of cable0), fe80::/10 (link-local)`,
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
		"::": false, "::1": false, "fe80::1": false, "2001:db8:f::1": false, "2001:db8:f::66": false, "2001:db8:9::1": true,
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
