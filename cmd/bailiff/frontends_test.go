package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// Firewalls that have a program of their own in front of them: firewalld, at work on a bus
// of the test's, and ufw.

// firewalld starts one on the server, which lets everybody in to port 80.
func (n *network) firewalld() {
	n.t.Helper()
	bus := "unix:path=" + n.path("bus")
	n.env = append(n.env, "DBUS_SYSTEM_BUS_ADDRESS="+bus)
	if err := os.Mkdir(n.path("firewalld"), 0o750); err != nil {
		n.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"dbus-daemon", "--config-file=/usr/share/dbus-1/system.conf", "--address=" + bus, "--nofork", "--nopidfile", "--syslog-only"},
		{"firewalld", "--nofork", "--nopid", "--system-config", n.path("firewalld"), "--log-file", n.path("firewalld.log")},
	} {
		c := n.command(args...)
		if err := c.Start(); err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		if args[0] == "dbus-daemon" {
			n.until("the bus is there", func() bool { _, err := os.Stat(n.path("bus")); return err == nil })
		}
	}
	n.until("firewalld runs", func() bool { return n.command("firewall-cmd", "--state").Run() == nil })
	n.on("firewall-cmd", "--zone=public", "--add-port=80/tcp")
}

// ufw has one at work on the server, with settings of the test's.
func (n *network) ufw() {
	n.t.Helper()
	for _, path := range []string{"ufw", "default/ufw"} {
		if out, err := exec.Command("cp", "-a", "/etc/"+path, n.path(strings.ReplaceAll(path, "/", "-"))).CombinedOutput(); err != nil {
			n.t.Fatalf("%v: %s", err, out)
		}
	}
	n.first = "mount --bind " + n.path("ufw") + " /etc/ufw && mount --bind " + n.path("default-ufw") + " /etc/default/ufw"
	n.on("ufw", "allow", "80/tcp")
	n.on("ufw", "--force", "enable")
}

// traces are the lines of all rulesets that are of bans.
func (n *network) traces() string {
	n.t.Helper()
	text := n.lists("nft", "list", "ruleset") + "\n" + n.lists("ipset", "save")
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "f2b") || strings.Contains(line, "@x") || strings.Contains(line, "table inet other") || strings.Contains(line, "192.0.2.66") || strings.Contains(line, "2001:db8:a::66") || strings.Contains(line, "203.0.113.9") {
			line = ruleNoise.ReplaceAllString(timeouts.ReplaceAllString(strings.TrimSpace(line), "timeout N"), "")
			out = append(out, packets.ReplaceAllString(line, ""))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestFirewallFrontends: a jail that bans by firewalld or ufw makes what fail2ban makes,
// once, keeps it over a kill, and takes it away; what it can't do is told.
func TestFirewallFrontends(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	const forGood = "and one that ends after the daemon was killed stays for good; what others do to its rules is not found"
	for _, c := range []struct {
		banaction string
		begin     func(*network) // nil: nothing is needed
		lacks     string
	}{
		{"firewallcmd-ipset", (*network).firewalld, forGood},
		{"firewallcmd-rich-rules", (*network).firewalld, forGood},
		{"ufw", (*network).ufw, forGood},
		// What the kernel's sets of a jail don't do, and is run therefore.
		{`nftables[table_family=inet, table=other, addr_set=x4, addr_set?family=inet6=x6]`, nil, "and stays until the next start if the daemon is killed; what others do to its rules is found by actioncheck within a minute"},
	} {
		t.Run(c.banaction, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.patience = 5 * time.Minute // firewall-cmd takes its second, many on a busy machine
			if c.begin != nil {
				c.begin(n)
			}
			n.treeWith(newest, c.banaction, "environment = DBUS_SYSTEM_BUS_ADDRESS")
			n.amend("jail.local", "port = http,443", "port = http")
			theirs, left := n.real(newest, n.traces)
			if !strings.Contains(theirs, attackers[0].who) || !strings.Contains(theirs, attackers[1].who) {
				t.Fatalf("fail2ban's rules: %s", theirs)
			}
			n.spawn()
			n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "web") })
			if out := n.ask("status"); !strings.Contains(out, " bans by commands: a ban has no end in the kernel, "+c.lacks) {
				t.Errorf("status does not tell of it:\n%s", out)
			}
			for _, a := range attackers {
				n.fails(a.who)
			}
			n.untilShutOut("by us")
			n.until("the rules are fail2ban's", func() bool { return n.traces() == theirs })
			_ = n.daemon.Process.Kill()
			<-n.exited
			n.untilShutOut("without the daemon")
			n.spawn()
			n.until("the daemon knows the ban", func() bool { return strings.Contains(n.ask("status", "web"), attackers[1].who) })
			n.through("203.0.113.9", n.traces)
			n.until("the rules are as before", func() bool { return n.traces() == theirs })
			n.untilShutOut("after the kill")
			n.letIn()
			for again := range 4 {
				n.stop()
				got := n.traces()
				if got == left {
					break
				}
				// On a busy machine, firewall-cmd may take longer than a stop waits for it: that is told.
				if out, _ := os.ReadFile(n.path("out")); again == 3 || !strings.Contains(string(out), "timed out after") {
					t.Errorf("left behind\n%s\nby fail2ban\n%s\n%s", got, left, out)
					break
				}
				n.spawn()
				n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "web") })
			}
		})
	}
}
