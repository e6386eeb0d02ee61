package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// foundBans is how many addresses are banned in the tables that the daemon finds.
const foundBans = 1000

// foundState is a table as somebody has left it.
type foundState struct {
	name   string
	script string // for nft -f; %E stands for banned addresses, %T for them with a timeout
	jail   string // more settings of the jail
	config string // [firewall]
	fresh  bool   // nothing is in force before
	bans   int    // after the start; 0: foundBans
	want   []string
	never  []string // what is not in the table any more
	log    []string
	real   bool // fail2ban itself makes it
}

const (
	ourSets   = "set addr-set-sshd { type ipv4_addr; flags timeout; elements = { %T } }\nset addr6-set-sshd { type ipv6_addr; flags timeout; }\n"
	ourRules  = "ip saddr @addr-set-sshd drop; ip6 saddr @addr6-set-sshd drop;"
	ourChain  = "chain f2b-chain { type filter hook input priority -1; policy accept; " + ourRules + " }\n"
	allPorts4 = "meta l4proto { tcp, udp } ip saddr @addr-set-sshd reject;"
	ruleFour  = "ip saddr @addr-set-sshd drop"
)

var foundStates = []foundState{
	{name: "fail2ban as installed, killed", real: true, log: []string{"flags timeout: made anew, with the 300 elements"}, bans: 300},
	{name: "fail2ban 1.0.2, all ports", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; elements = { %E } }\nchain f2b-chain { type filter hook input priority -1; " + allPorts4 + " } }"},
	{name: "fail2ban 1.1.1, interval sets, all ports", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; flags interval; elements = { %E } }\nchain f2b-chain { type filter hook input priority -1; " + allPorts4 + " } }", log: []string{"flags interval"}},
	{name: "fail2ban 1.1.1, with a network", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; flags interval; elements = { %E, 198.51.100.0/24 } }\nchain f2b-chain { type filter hook input priority -1; udp dport { 9, 22 } ip saddr @addr-set-sshd reject; } }", bans: foundBans + 1, want: []string{"198.51.100.0/24 timeout", "ip saddr @net-set-sshd drop"}},
	{name: "fail2ban 1.1.1, all protocols", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; flags interval; elements = { %E } }\nchain f2b-chain { type filter hook input priority -1; th dport { 9, 22 } ip saddr @addr-set-sshd reject; } }", never: []string{"dport"}},
	{name: "fail2ban 1.1.0, some ports, drop", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; elements = { %E } }\nchain f2b-chain { type filter hook input priority -1; udp dport { 9, 22 } ip saddr @addr-set-sshd drop; } }", never: []string{"dport"}},
	{name: "fail2ban, two protocols, IPv6 too", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; elements = { %E } }\nset addr6-set-sshd { type ipv6_addr; flags interval; elements = { 2001:db8::7 } }\nchain f2b-chain { type filter hook input priority -1; tcp dport { 22 } ip saddr @addr-set-sshd reject; udp dport { 9 } ip saddr @addr-set-sshd reject; tcp dport { 22 } ip6 saddr @addr6-set-sshd reject; } }", bans: foundBans + 1, want: []string{"2001:db8::7 timeout"}},
	{name: "ours", script: "table inet f2b-table { " + ourSets + ourChain + "}", log: []string{}},
	{name: "ours, at input as it was by default", script: "table inet f2b-table { " + ourSets + ourChain + "}", config: "default", want: []string{"hook prerouting priority -150"}, never: []string{"hook input"}, log: []string{"made anew"}},
	{name: "ours, hook prerouting now", script: "table inet f2b-table { " + ourSets + ourChain + "}", config: "hook = 'prerouting'", want: []string{"hook prerouting priority -1"}, never: []string{"hook input"}, log: []string{"should be of type filter, hook prerouting"}},
	{name: "ours, priority -150 now", script: "table inet f2b-table { " + ourSets + ourChain + "}", config: "priority = -150", want: []string{"hook input priority -150"}, never: []string{"priority -1;"}},
	{name: "ours, chain INPUT now", script: "table inet f2b-table { " + ourSets + ourChain + "}", config: "chain = 'INPUT'", want: []string{"chain INPUT {"}, never: []string{"chain f2b-chain"}, log: []string{"chain f2b-chain held nothing but rules of our jails"}},
	{name: "ours, one hook of two now", script: "table inet f2b-table { " + ourSets + ourChain + "chain f2b-chain-forward { type filter hook forward priority -1; " + ourRules + " } }", never: []string{"chain f2b-chain-forward"}},
	{name: "ours, two hooks now", script: "table inet f2b-table { " + ourSets + ourChain + "}", config: "hook = ['input', 'forward']", want: []string{"chain f2b-chain-forward {"}},
	{name: "ours, networks of /24 before", script: "table inet f2b-table { set prefix4-set-sshd { type ipv4_addr; flags timeout; elements = { 203.0.113.0 timeout 1h, 198.51.100.0 timeout 1h } }\nchain f2b-chain { type filter hook input priority -1; ip saddr & 255.255.255.0 == @prefix4-set-sshd drop; } }", bans: 2, want: []string{"203.0.113.0/24 timeout", "@net-set-sshd drop"}, never: []string{"prefix4-set"}},
	{name: "ours, networks of /26 now, /25 before", script: "table inet f2b-table { set prefix4-set-sshd { type ipv4_addr; flags timeout; elements = { 203.0.113.0 timeout 1h } }\nchain f2b-chain { type filter hook input priority -1; ip saddr & 255.255.255.128 == @prefix4-set-sshd drop; } }", jail: "[jail.sshd.ban]\nprefix4 = 26", bans: 1, want: []string{"203.0.113.0/25 timeout"}, log: []string{"held networks of /25, and the jail bans /26 now"}},
	{name: "ours, other ports before", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; udp dport { 9, 1000-2000 } ip saddr @addr-set-sshd drop; } }", never: []string{"dport"}},
	{name: "ours, reject before", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; ip saddr @addr-set-sshd reject; } }", never: []string{"reject"}},
	{name: "ours, jail of another name before", script: "table inet f2b-table { " + strings.ReplaceAll(ourSets+ourChain, "sshd", "ssh") + "}", bans: -1, want: []string{"ip saddr @addr-set-ssh drop"}, log: []string{"sets of jail ssh, which is not configured"}},
	{name: "set of another type", script: "table inet f2b-table { set addr6-set-sshd { type ipv4_addr; flags timeout; elements = { %T } }\nchain f2b-chain { type filter hook input priority -1; ip saddr @addr6-set-sshd drop; } }", log: []string{"set addr6-set-sshd was type ipv4_addr, flags timeout, and should be type ipv6_addr"}},
	{name: "set without timeouts", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; elements = { %E } }\n" + strings.ReplaceAll(ourChain, "ip6 saddr @addr6-set-sshd drop;", "") + "}"},
	{name: "set of a bounded size", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; flags timeout; size 1000; elements = { %T } }\n" + strings.ReplaceAll(ourChain, "ip6 saddr @addr6-set-sshd drop;", "") + "}", never: []string{"size"}},
	{name: "set with a timeout of its own", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; timeout 2h; elements = { %E } }\n" + strings.ReplaceAll(ourChain, "ip6 saddr @addr6-set-sshd drop;", "") + "}", never: []string{"\t\ttimeout 2h"}},
	{name: "rules missing", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; } }", fresh: true},
	{name: "rules twice", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; " + ourRules + ourRules + ourRules + " } }", log: []string{"4 removed"}},
	{name: "a saved ruleset restored, with more in it", script: "table inet f2b-table { " + strings.Replace(ourSets, "%T", "%T, 203.0.113.77", 1) + ourChain + "}", bans: foundBans + 1, want: []string{"203.0.113.77 timeout 1h"}},
	{name: "rules of somebody else's in our chain", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; ip saddr 203.0.113.1 accept; " + ourRules + " } }", want: []string{"ip saddr 203.0.113.1 accept"}, log: []string{"holds a rule that is not ours"}},
	{name: "rules of somebody else's in our chain, which is elsewhere", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook prerouting priority 5; ip saddr 203.0.113.1 counter; " + ourRules + " } }", want: []string{"ip saddr 203.0.113.1 counter", "chain f2b-chain-own {", "hook prerouting priority 5"}, log: []string{"ours is f2b-chain-own beside it"}},
	{name: "the table's name in another family", script: "table ip f2b-table { set addr-set-sshd { type ipv4_addr; }\nchain f2b-chain { type filter hook input priority -1; } }\ntable inet f2b-table { " + ourSets + ourChain + "}"},
	{name: "our chain without a hook", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { " + ourRules + " }\nchain in { type filter hook input priority 0; jump f2b-chain; } }", want: []string{"jump f2b-chain", "chain f2b-chain-own {"}, log: []string{"a jump to it from elsewhere"}},
	{name: "our chain without a hook, unused", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { " + ourRules + " }\nchain in { type filter hook input priority 0; ip saddr @addr-set-sshd drop; } }", log: []string{"chain f2b-chain has no hook"}},
	{name: "our chain of type nat", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type nat hook input priority 5; }\nchain other { type filter hook input priority 0; " + ourRules + " } }", want: []string{"chain f2b-chain {\n\t\ttype filter hook input priority -1"}},
	{name: "a set of the wrong form in somebody's rule", script: "table inet f2b-table { set addr-set-sshd { type ipv4_addr; elements = { %E } }\nchain f2b-chain { type filter hook input priority -1; ip saddr @addr-set-sshd reject; }\nchain in { type filter hook input priority 0; ip saddr @addr-set-sshd counter; } }", want: []string{"ip saddr @addr-set-sshd counter", "ip saddr @own-addr-set-sshd drop"}, log: []string{"a rule of somebody else's looks into it"}},
	{name: "a set in somebody's rule", script: "table inet f2b-table { " + ourSets + ourChain + "chain in { type filter hook input priority 0; ip saddr @addr-set-sshd counter; } }", want: []string{"ip saddr @addr-set-sshd counter"}},
	{name: "a set without a name", script: "table inet f2b-table { " + ourSets + "chain f2b-chain { type filter hook input priority -1; ip saddr { 203.0.113.66, 203.0.113.9 } drop; " + ourRules + " } }", want: []string{"ip saddr { 203.0.113.9, 203.0.113.66 } drop"}},
	{name: "a dormant table", script: "table inet f2b-table { flags dormant; " + ourSets + ourChain + "}", fresh: true, never: []string{"dormant"}, log: []string{"was dormant"}},
	{name: "policy drop", script: "table inet f2b-table { " + ourSets + strings.ReplaceAll(ourChain, "policy accept", "policy drop") + "}", want: []string{"policy accept"}, log: []string{"had the policy drop"}},
}

// addresses are the banned ones; the first is the client's.
func addresses(more string) string {
	all := []string{"203.0.113.66" + more}
	for i := range foundBans - 1 {
		all = append(all, attackerAddr(i).String()+more)
	}
	return strings.Join(all, ", ")
}

var (
	throughPackets = regexp.MustCompile(`counter packets (\d+) `)
	elementsOfSets = regexp.MustCompile(`(?s)set (\S+) \{.*?\n\t\}`)
)

// TestTableAsFound starts the daemon on tables that others and other settings have left.
// While it starts, a banned client sends a packet each 200 µs, of which none may come
// through. Needs root and Debian's fail2ban.
func TestTableAsFound(t *testing.T) {
	t.Parallel()
	lab := netlab.New(fmt.Sprintf("bailiff-found-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	server, err := lab.Host("server")
	if err != nil {
		t.Fatalf("%v: run it as root (make test says how)", err)
	}
	client, err := lab.Host("client")
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Cable(server, client, []string{"192.0.2.1/24"}, []string{"192.0.2.66/24", "203.0.113.66/32"}); err != nil {
		t.Fatal(err)
	}
	// No network of the server's own, since that is never banned.
	if out, err := server.Command(context.Background(), "ip", "route", "add", "203.0.113.0/24", "dev", "cable0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plain, timed := addresses(""), addresses(" timeout 1h")
	for _, s := range foundStates {
		t.Run(s.name, func(t *testing.T) {
			s.script = strings.NewReplacer("%E", plain, "%T", timed, "; } }", "; }\n}", "} }\n", "}\n}\n", "} }", "}\n}").Replace(s.script)
			s.try(t, server, client)
		})
	}
}

var moreElements = regexp.MustCompile(`(?s)(elements = \{[^,}]*,[^,}]*,)[^}]*\}`)

// shortened leaves out most elements.
func shortened(table string) string { return moreElements.ReplaceAllString(table, "$1 … }") }

// nftScript feeds nft.
func nftScript(t *testing.T, host *netlab.Host, script string) {
	t.Helper()
	c := host.Command(context.Background(), "nft", "-f", "-")
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %.2000s", err, out)
	}
}

func (s *foundState) try(t *testing.T, server, client *netlab.Host) {
	ctx := context.Background()
	dir := t.TempDir()
	nftScript(t, server, "flush ruleset")
	if s.real {
		realFail2ban(t, server, dir, s.bans)
	} else {
		nftScript(t, server, s.script)
	}
	nftScript(t, server, "table inet seen { chain in { type filter hook input priority 10; ip saddr 203.0.113.66 udp dport 9 counter; }; }")
	through := func() int {
		out, err := server.Command(ctx, "nft", "list", "table", "inet", "seen").Output()
		m := throughPackets.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v: %s", err, out)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	flood, halt := context.WithCancel(ctx)
	flooded := make(chan int, 1)
	go func() { flooded <- floodFrom(flood, client, "203.0.113.66", "192.0.2.1:9") }()
	defer halt()

	place := s.config
	switch {
	case s.config == "default":
		place = ""
	case !strings.Contains(s.config, "hook"):
		place += "\nhook = 'input'" // where fail2ban's chain is
	}
	config := "[security]\nuser = 'root'\n[firewall]\n" + place + "\n[jail.sshd]\nenabled = true\nlogpath = '" + filepath.Join(dir, "auth.log") + "'\nport = 'all'\nprotocol = 'all'\nblocktype = 'drop'\nbantime = '1h'\n" + s.jail + "\n"
	for name, text := range map[string]string{"bailiff.toml": config, "auth.log": ""} {
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	own := filepath.Join(dir, "own") // not beside the configuration, since the daemon writes there
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	logFile, socket := filepath.Join(own, "log"), filepath.Join(own, "sock")
	log := func() string {
		text, _ := os.ReadFile(logFile)
		return clipped(string(text), 4000)
	}
	daemon := server.Command(ctx, program(t, "bailiff"), "run", "--config", filepath.Join(dir, "bailiff.toml"), "--socket", socket, "--database", "none", "--log-target", logFile)
	var said strings.Builder
	daemon.Stdout, daemon.Stderr = &said, &said
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	}()
	table := func() string {
		out, _ := server.Command(ctx, "nft", "-y", "list", "table", "inet", "f2b-table").Output()
		return string(out)
	}
	wanted := s.bans
	switch wanted {
	case 0:
		wanted = foundBans
	case -1:
		wanted = 0
	}
	api := control.NewClient(socket)
	timeouts := func(text string) (with, without int) {
		for _, set := range elementsOfSets.FindAllStringSubmatch(text, -1) {
			_, list, ok := strings.Cut(set[0], "elements = {")
			if !ok || strings.HasPrefix(set[1], "f2b-guard") || strings.HasPrefix(s.name, "a set of the wrong form") && set[1] == "addr-set-sshd" || strings.HasSuffix(set[1], "-ssh") {
				continue
			}
			for e := range strings.SplitSeq(list, ",") {
				if strings.Contains(e, "timeout") {
					with++
				} else {
					without++
				}
			}
		}
		return with, without
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, err := api.Status()
		if err == nil && len(status.Jails) == 1 && status.Jails[0].Banned == wanted {
			if with, without := timeouts(table()); with == wanted && without == 0 {
				break
			}
		}
		if time.Now().After(end) {
			with, without := timeouts(table())
			t.Fatalf("want %d bans: %+v %v; %d elements with a timeout, %d without\n%s%s\n%s", wanted, status.Jails, err, with, without, said.String(), log(), clipped(shortened(table()), 3000))
		}
	}
	if s.fresh {
		before := through()
		if before == 0 {
			t.Error("nothing was counted before the start, when nothing was banned")
		}
		time.Sleep(20 * time.Millisecond) // some hundred packets
		if n := through(); n != before {
			t.Errorf("%d packets came through after the start", n-before)
		}
	} else if n := through(); n != 0 {
		t.Errorf("%d packets came through", n)
	}
	halt()
	if sent := <-flooded; sent < 50 {
		t.Errorf("only %d packets were sent", sent)
	}
	got := table()
	never := append([]string{}, s.never...)
	if wanted > 0 && !strings.Contains(got, "drop") {
		t.Errorf("no rule:\n%s", clipped(shortened(got), 3000))
	}
	for _, text := range s.want {
		if !strings.Contains(got, text) {
			t.Errorf("the table lacks %q:\n%s", text, clipped(shortened(got), 3000))
		}
	}
	for _, text := range never {
		if strings.Contains(got, text) {
			t.Errorf("the table has %q:\n%s", text, clipped(shortened(got), 3000))
		}
	}
	for _, text := range s.log {
		if !strings.Contains(log(), text) {
			t.Errorf("the log lacks %q:\n%s", text, log())
		}
	}
	if s.log != nil && len(s.log) == 0 && strings.Contains(log(), "WARNING") {
		t.Errorf("a warning where all was right:\n%s", log())
	}
}

// realFail2ban has Debian's fail2ban ban addresses, and kills it.
func realFail2ban(t *testing.T, host *netlab.Host, dir string, bans int) {
	t.Helper()
	etc := filepath.Join(dir, "fail2ban")
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", etc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	if err := os.RemoveAll(filepath.Join(etc, "jail.d")); err != nil {
		t.Fatal(err)
	}
	local := "[DEFAULT]\nbanaction = nftables-allports\nbackend = polling\nprotocol = tcp,udp\n[sshd]\nenabled = true\nlogpath = " + filepath.Join(dir, "f2b.log") + "\n"
	for name, text := range map[string]string{filepath.Join(etc, "jail.local"): local, filepath.Join(etc, "fail2ban.local"): "[Definition]\ndbfile = None\n", filepath.Join(dir, "f2b.log"): ""} {
		hosttest.Write(t, name, text)
	}
	ctx := context.Background()
	socket := filepath.Join(dir, "f2b.sock")
	server := host.Command(ctx, "/usr/bin/fail2ban-server", "-c", etc, "-s", socket, "-p", filepath.Join(dir, "f2b.pid"), "-f", "-x", "--logtarget", filepath.Join(dir, "f2b.out"), "start")
	var said strings.Builder
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatalf("%v (make test installs Debian's fail2ban)", err)
	}
	killed := false
	defer func() {
		if !killed {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
	}()
	ask := func(args ...string) error {
		return host.Command(ctx, "/usr/bin/fail2ban-client", append([]string{"-s", socket}, args...)...).Run()
	}
	until := func(what string, done func() bool) {
		t.Helper()
		if !hosttest.Soon(done) {
			text, _ := os.ReadFile(filepath.Join(dir, "f2b.out"))
			t.Fatalf("%s\n%s\n%s", what, said.String(), clipped(string(text), 3000))
		}
	}
	until("fail2ban does not start", func() bool { return ask("ping") == nil })
	if err := ask(append([]string{"set", "sshd", "banip"}, strings.Split(addresses(""), ", ")[:bans]...)...); err != nil {
		t.Fatal(err)
	}
	until("fail2ban does not ban", func() bool {
		out, _ := host.Command(ctx, "nft", "-j", "list", "set", "inet", "f2b-table", "addr-set-sshd").Output()
		return strings.Count(string(out), `"198.18.`)+strings.Count(string(out), `"203.0.113.`) == bans
	})
	_ = server.Process.Kill()
	_ = server.Wait()
	killed = true
}
