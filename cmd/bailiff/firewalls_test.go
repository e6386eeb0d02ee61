package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
)

// A server that bans by the stock actions of fail2ban's, with their real programs.

// attackers are two addresses of the attacker's host, each with the server's that it
// reaches, and its neighbour who did nothing.
var attackers = []struct{ who, other, to string }{
	{"192.0.2.66", "192.0.2.67", "192.0.2.1:80"},
	{"2001:db8:a::66", "2001:db8:a::67", "[2001:db8:a::1]:80"},
}

// treeWith gives the network a configuration of a fail2ban's with one jail, web, that
// bans by an action.
func (n *network) treeWith(r references.Fail2ban, banaction string, local ...string) {
	n.t.Helper()
	n.tree = n.path("fail2ban")
	if out, err := exec.Command("cp", "-a", r.Config, n.tree).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
	for _, old := range []string{"jail.d", "fail2ban.d"} {
		if err := os.RemoveAll(filepath.Join(n.tree, old)); err != nil {
			n.t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"filter.d/web.conf": "[Definition]\nfailregex = ^ login failure <HOST>$\n",
		"jail.local": fmt.Sprintf("[DEFAULT]\nbackend = polling\nbanaction = %s\nignoreself = false\n[web]\nenabled = true\nfilter = web\nport = http,443\nlogpath = %s\nmaxretry = 2\nbantime = 1h\n",
			banaction, n.path("web.log")),
		"fail2ban.local": fmt.Sprintf("[Definition]\nlogtarget = STDOUT\nloglevel = INFO\ndbfile = %s\npidfile = %s\n%s\n", n.path("f2b.sqlite3"), n.path("f2b.pid"), strings.Join(local, "\n")),
	} {
		hosttest.Write(n.t, filepath.Join(n.tree, name), text)
	}
	if err := os.WriteFile(n.path("web.log"), nil, 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// amend changes a file of the tree.
func (n *network) amend(file, old, with string) {
	n.t.Helper()
	path := filepath.Join(n.tree, file)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		n.t.Fatalf("%s: %q is not in it; %v", file, old, err)
	}
	hosttest.Write(n.t, path, strings.Replace(string(text), old, with, 1))
}

// fails writes what the attacker did to the log of web.
func (n *network) fails(who string) {
	n.t.Helper()
	f, err := os.OpenFile(n.path("web.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		fmt.Fprintf(f, "%s login failure %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), who)
	}
}

// shutOut reports whether a packet of an address does not come through.
func (n *network) shutOut(who, to string) bool {
	c, err := n.attacker.Dial(who, to, 300*time.Millisecond)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// untilShutOut waits until the attackers' packets are refused, and those of their neighbours
// are not.
func (n *network) untilShutOut(when string) {
	n.t.Helper()
	for _, a := range attackers {
		n.until(a.who+" is shut out "+when, func() bool { return n.shutOut(a.who, a.to) })
		n.connects(n.attacker, a.other, a.to, true)
	}
}

// on runs a command on the server.
func (n *network) on(args ...string) string {
	n.t.Helper()
	c := n.command(args...)
	late := time.AfterFunc(max(n.patience, 2*time.Minute), func() { _ = c.Process.Kill() })
	defer late.Stop()
	out, err := c.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// lists is what a command on the server lists. It fails now and then while somebody changes
// what it goes through.
func (n *network) lists(args ...string) (text string) {
	n.t.Helper()
	n.until("it is listed: "+strings.Join(args, " "), func() bool {
		out, err := n.command(args...).Output()
		text = string(out)
		return err == nil
	})
	return text
}

var (
	ruleNoise = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]|initval 0x\w+ ?|^:(INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) .*\n|^\*\w+\n|^COMMIT\n`)
	packets   = regexp.MustCompile(`packets \d+ bytes \d+ `)
	timeouts  = regexp.MustCompile(`timeout \d+|Size in memory: \d+`)
)

// rules are those that the iptables, ip6tables and ipset of the server hold, without what
// differs from one run to the next.
func (n *network) rules() string {
	n.t.Helper()
	text := n.lists("iptables-save") + n.lists("ip6tables-save") + n.lists("ipset", "save")
	text = ruleNoise.ReplaceAllString(text, "")
	return strings.TrimSpace(timeouts.ReplaceAllString(text, "timeout N"))
}

// real runs the server of a fail2ban on the tree, has it ban, and returns the rules that
// it made, and those that it left.
func (n *network) real(r references.Fail2ban, rules func() string) (made, left string) {
	n.t.Helper()
	out, err := os.Create(n.path("real.out"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	server := n.command(r.Program("fail2ban-server"), "-c", n.tree, "-s", n.path("real.sock"), "-p", n.path("real.pid"), "-f", "--logtarget", "STDOUT", "start")
	server.Env, server.Stdout, server.Stderr = append(server.Env, "PYTHONPATH="+r.Lib), out, out
	if err := server.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	n.t.Cleanup(func() { _ = server.Process.Kill() })
	said := func(what string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(n.path("real.out"))
			return strings.Contains(string(text), what)
		}
	}
	n.until("fail2ban runs", said("Jail 'web' started"))
	for _, a := range attackers {
		n.fails(a.who)
	}
	n.untilShutOut("by fail2ban")
	// While rules are loaded anew nobody comes through: that alone is no sign of a ban.
	n.until("fail2ban's rules name all attackers", func() bool {
		made = rules()
		return strings.Contains(made, attackers[0].who) && strings.Contains(made, attackers[1].who)
	})
	_ = server.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(2 * time.Minute):
		n.t.Fatal("fail2ban does not stop")
	}
	left = rules()
	for _, f := range []string{"f2b.sqlite3", "web.log"} {
		_ = os.Remove(n.path(f))
	}
	if err := os.WriteFile(n.path("web.log"), nil, 0o644); err != nil {
		n.t.Fatal(err)
	}
	return made, left
}

// through waits until the actions have done what they were told before.
func (n *network) through(some string, rules func() string) {
	n.t.Helper()
	if out := n.ask("ban", "web", some); out == "" {
		n.t.Fatal("no answer to ban")
	}
	n.until("a later ban is made", func() bool { return strings.Contains(rules(), some) })
	if out := n.ask("unban", some); out == "" {
		n.t.Fatal("no answer to unban")
	}
	n.until("and lifted", func() bool { return !strings.Contains(rules(), some) })
}

// stop has the daemon end orderly.
func (n *network) stop() {
	n.t.Helper()
	_ = n.daemon.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(2 * time.Minute):
		n.t.Fatal("the daemon does not stop")
	}
}

// TestFirewallCommands: a jail that bans by iptables' stock actions makes the rules that
// fail2ban makes, once, keeps them over a kill, makes them again when somebody flushes the
// ruleset, and takes them away.
func TestFirewallCommands(t *testing.T) {
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
		for _, c := range []struct{ banaction, of string }{
			{"iptables-multiport", ""},
			{`iptables-allports[chain="INPUT,FORWARD", protocol="tcp,udp"]`, "1.1.1"},
			{"iptables-new[blocktype=DROP]", "1.1.1"},
			{"iptables-ipset-proto6", "1.0.2"},
			{"iptables-ipset[type=allports]", "1.1.1"},
		} {
			if c.of != "" && c.of != version || version == "1.1.0" {
				continue // the same in others
			}
			t.Run(version+" "+c.banaction, func(t *testing.T) {
				t.Parallel()
				n := newNetwork(t)
				n.treeWith(r, c.banaction)
				// As the service in docs/migrate.md.
				n.first = `set -- setpriv --bounding-set=-all,+net_admin,+dac_read_search "$@"`
				if strings.Contains(c.banaction, "ipset") {
					n.first = strings.Replace(n.first, "+net_admin", "+net_admin,+net_raw", 1)
				}
				if strings.Contains(c.banaction, "-new") { // iptables' --dport takes one port
					n.amend("jail.local", "port = http,443", "port = http")
				}
				theirs, left := n.real(r, n.rules)
				if !strings.Contains(theirs, attackers[0].who) || !strings.Contains(theirs, attackers[1].who) {
					t.Fatalf("fail2ban's rules: %s", theirs)
				}
				n.spawn()
				n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "web") })
				for _, a := range attackers {
					n.fails(a.who)
				}
				n.untilShutOut("by us")
				ours := n.rules()
				if ours != theirs {
					t.Errorf("our rules\n%s\nfail2ban's\n%s", ours, theirs)
				}
				_ = n.daemon.Process.Kill()
				<-n.exited
				n.untilShutOut("without the daemon")
				n.spawn()
				n.until("the daemon knows the ban", func() bool { return strings.Contains(n.ask("status", "web"), attackers[1].who) })
				n.through("203.0.113.9", n.rules)
				n.until("the rules are as before", func() bool { return n.rules() == ours })
				n.untilShutOut("after the kill")
				n.on("nft", "flush", "ruleset")
				n.untilShutOut("after a flush")
				n.until("the rules are as before the flush", func() bool { return n.rules() == ours })
				n.letIn()
				n.stop()
				if got := n.rules(); got != left {
					t.Errorf("left behind\n%s\nby fail2ban\n%s", got, left)
				}
			})
		}
	}
}

// busyWith is what is said of a command that comes while another one takes longer than it is waited for.
const busyWith = "is busy: it has been carrying out another command"

// letIn lifts the attackers' bans and waits until their packets come through.
func (n *network) letIn() {
	n.t.Helper()
	for _, a := range attackers {
		// On a busy machine, it is done as soon as the jail comes to it.
		if out := n.ask("unban", a.who); !strings.Contains(out, "unbanned in web") && !strings.Contains(out, busyWith) {
			n.t.Errorf("unban says %q", out)
		}
		n.until(a.who+" is let in", func() bool { return !n.shutOut(a.who, a.to) })
	}
}

// TestTranslated: where the user has agreed, the bans of iptables' actions are in nftables'
// sets, with their ends, are there while no daemon runs, and are back at once when somebody
// flushes the ruleset; what commands left before is taken away, and the other way round.
func TestTranslated(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	for _, banaction := range []string{"iptables-multiport", "iptables-ipset[type=multiport]"} {
		t.Run(banaction, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.treeWith(newest, banaction)
			runs := func() {
				n.t.Helper()
				n.spawn()
				n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "web") })
			}
			dies := func() {
				_ = n.daemon.Process.Kill()
				<-n.exited
			}
			told := func(what string) {
				n.t.Helper()
				for _, text := range []string{n.ask("status"), n.ask("status", "web"), n.ask("check", "--config", n.tree)} {
					if strings.Contains(text, "bans by commands") != (what != "") || !strings.Contains(text, what) {
						t.Errorf("want %q told in\n%s", what, text)
					}
				}
			}
			held := func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				out, _ := n.server.Command(ctx, "nft", "list", "table", "inet", "f2b-table").CombinedOutput()
				text := string(out)
				return regexp.MustCompile(`192\.0\.2\.66 timeout (1h|59m)`).MatchString(text) && regexp.MustCompile(`2001:db8:a::66 timeout (1h|59m)`).MatchString(text) &&
					strings.Contains(text, "tcp dport { 80, 443 } ip saddr @addr-set-web reject") && strings.Contains(text, "tcp dport { 80, 443 } ip6 saddr @addr6-set-web reject")
			}
			empty := n.rules()
			runs()
			told("translate = true under [firewall]")
			for _, a := range attackers {
				n.fails(a.who)
			}
			n.untilShutOut("by commands")
			dies()
			n.amend("fail2ban.local", "loglevel = INFO", "loglevel = INFO\n[firewall]\ntranslate = true")
			runs()
			told("")
			n.until("the bans are in the kernel", held)
			n.until("what the commands left is gone", func() bool { return n.rules() == empty })
			n.untilShutOut("by nftables")
			dies()
			if !held() {
				t.Error("the bans are gone with the daemon")
			}
			n.untilShutOut("without the daemon")
			runs()
			n.on("nft", "flush", "ruleset")
			n.until("the bans are back", held)
			n.untilShutOut("after a flush")
			dies()
			n.amend("fail2ban.local", "translate = true", "translate = false")
			runs()
			n.untilShutOut("by commands again")
			n.until("the sets of before are gone", func() bool { return !strings.Contains(n.lists("nft", "list", "sets"), "addr-set-web") })
			n.untilShutOut("by commands alone")
			n.amend("fail2ban.local", "translate = false", "translate = true")
			if out := n.ask("reload"); !strings.Contains(out, "changed: web") {
				t.Errorf("reload says %q", out)
			}
			n.until("the bans are in the kernel after a reload", held)
			n.until("what the commands made is gone", func() bool { return n.rules() == empty })
			n.untilShutOut("by nftables after a reload")
			n.letIn()
			n.stop()
		})
	}
}

// TestFailingAction: an action that can't ban is named where one looks: with file and line
// before it is run, and with what failed and who is not banned afterwards.
func TestFailingAction(t *testing.T) {
	t.Parallel()
	newest := hosttest.Fail2ban(t)
	n := newNetwork(t)
	n.treeWith(newest, "nftables[type=allport]")
	const wrong = "jail.local:3: action nftables: it has nothing for type=allport: it has allports, custom, multiport"
	n.spawn()
	n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "web") })
	check := exec.Command(n.path("bailiff"), "check", "--config", n.tree)
	if out, err := check.CombinedOutput(); err == nil || !strings.Contains(string(out), wrong) {
		t.Errorf("check: %v\n%s", err, out)
	}
	client := n.path("fail2ban-client")
	if err := os.Symlink(n.path("bailiff"), client); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(client, "-c", n.tree, "-t").CombinedOutput(); err != nil || !strings.Contains(string(out), wrong) || !strings.Contains(string(out), "OK: configuration test is successful") {
		t.Errorf("-t: %v\n%s", err, out)
	}
	if out, _ := os.ReadFile(n.path("out")); !strings.Contains(string(out), wrong) {
		t.Errorf("the log:\n%s", out)
	}
	if out := n.ask("status"); !strings.Contains(out, wrong) || strings.Contains(out, "failed when it was run last") {
		t.Errorf("status:\n%s", out)
	}
	n.fails(attackers[0].who)
	for _, args := range [][]string{{"status"}, {"status", "web"}, {"status", "--json"}} {
		n.until("the failure is told", func() bool {
			out := n.ask(args...)
			return strings.Contains(out, "action nftables: actionstart failed when it was run last (") && strings.Contains(out, "it did not make these bans: 192.0.2.66")
		})
	}
	n.stop()
}
