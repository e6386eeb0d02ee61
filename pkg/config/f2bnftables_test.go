package config

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/action"
	"bailiff/pkg/firewall"
	"bailiff/pkg/hosttest"
)

// twoChains has two hooks, each with a rule: the kernel's sets of a jail have one.
const twoChains = "nftables[actionstart=\"<nftables> add table inet f2b-table\n\t<nftables> -- add chain inet f2b-table a \\{ type filter hook input priority -1 \\; \\}" +
	"\n\t<nftables> add set inet f2b-table <addr_set> \\{ type <addr_type>\\; \\}\n\t<nftables> add rule inet f2b-table a <addr_family> saddr @<addr_set> drop" +
	"\n\t<nftables> -- add chain inet f2b-table f2b-chain \\{ type filter hook forward priority -1 \\; \\}\n\t<nftables> add rule inet f2b-table f2b-chain <addr_family> saddr @<addr_set> drop\"]"

// nftActions are uses of the stock nftables action; byCommand says that one does what the
// kernel's sets of a jail don't.
var nftActions = []struct {
	action    string
	byCommand bool
	only      string // as of this version
}{
	{action: `nftables`},
	{action: `nftables-multiport[port="http,https"]`},
	{action: `nftables[type=allports]`},
	{action: `nftables[type=allports, protocol="tcp,udp"]`},
	{action: `nftables[type=multiport, port="ssh,8000:8100", protocol="tcp,udp"]`},
	{action: `nftables[blocktype=drop]`},
	{action: `nftables[blocktype="counter drop"]`},
	{action: `nftables[blocktype="reject with tcp reset"]`},
	{action: `nftables[blocktype="counter reject with icmpx type admin-prohibited"]`},
	{action: `nftables[blocktype="reject with icmpx type host-unreachable", port=443]`},
	{action: `nftables[chain_hook=forward, chain_priority=-10]`},
	{action: `nftables[chain_hook=prerouting, chain_priority="raw - 5", table=guard, chain=first]`},
	{action: `nftables[type=custom, rule_match-custom="tcp dport 8080"]`},
	{action: `nftables[type=custom, rule_match-custom=]`},
	{action: `nftables[nftables="/usr/sbin/nft"]`},
	{action: `nftables[name=other]`, byCommand: true},
	{action: `nftables[table_family=ip]`, byCommand: true},
	{action: `nftables[chain_type=nat, chain_hook=prerouting, blocktype="redirect to 2222"]`, byCommand: true},
	{action: `nftables[blocktype="jump elsewhere"]`, byCommand: true},
	{action: `nftables[actionban="<nftables> add element <table_family> <table> <addr_set> \{ <ip> \}; echo <ip>"]`, byCommand: true},
	{action: `nftables[actionstart="touch /tmp/x"]`, byCommand: true},
	{action: `nftables[type=custom, rule_match-custom="tcp dport != 22"]`, byCommand: true},
	{action: `nftables[type=custom, rule_match-custom="tcp dport 22 ct state new"]`, byCommand: true},
	{action: `nftables[type=custom, rule_match-custom="meta l4proto tcp tcp dport 22"]`, byCommand: true},
	{action: `nftables[type=custom, rule_match-custom="tcp dport @ports"]`, byCommand: true},
	{action: `nftables[type=custom, rule_match-custom="meta l4proto != icmp"]`, byCommand: true},
	{action: `nftables[actionstop="<nftables> delete set inet f2b-table addr-set-x; touch /tmp/x"]`, byCommand: true},
	{action: `nftables[actionflush="<nftables> flush set inet f2b-table addr-set-x | touch /tmp/x"]`, byCommand: true},
	{action: `nftables[actioncheck="if [ -e /tmp/x ]; then"]`, byCommand: true},
	{action: `nftables[actionstop="/usr/bin/touch delete set inet f2b-table x"]`, byCommand: true},
	{action: `nftables[nftables="/opt/x/nft"]`, byCommand: true},
	{action: `nftables[chain_priority=99999999999]`, byCommand: true},
	{action: twoChains, byCommand: true},
	{action: `nftables[type=multiport, protocol=all, port="ssh,80"]`, only: "1.1.1"},
	{action: `nftables[type=allports, protocol=all]`, only: "1.1.1"},
	{action: `nftables[addr_options=]`, only: "1.1.1"},
	{action: `nftables[blocktype=drop, blocktype?family=inet6="reject"]`, only: "1.1.1", byCommand: true},
	{action: `nftables[blocktype="reject with icmp type host-prohibited", blocktype?family=inet6="reject with icmpv6 type no-route"]`, only: "1.1.1"},
}

// TestNativeActions: the stock nftables action of each fail2ban is known by what it does,
// whatever its parameters are, and the rules that are made in its place are those that its
// own commands make, as nft lists them.
func TestNativeActions(t *testing.T) {
	sequential(t)
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
		for _, c := range nftActions {
			if c.only != "" && version < c.only {
				continue
			}
			t.Run(version+" "+c.action, func(t *testing.T) {
				text := c.action + "[name=x]"
				if name, options, ok := strings.Cut(c.action, "["); ok {
					text = name + "[name=x, " + options
				}
				dir := directory(
					t, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n",
					"jail.conf", "[x]\nenabled = true\nfilter = f\nlogpath = /x.log\naction = "+text+"\n",
				)
				if out, err := exec.Command("cp", "-a", filepath.Join(r.Config, "action.d"), dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				cfg := load(t, Options{Path: dir})
				j := jail(t, cfg, "x")
				if j.Broken() != nil || j.Unenforced != c.byCommand {
					t.Fatalf("%v; by commands %v, want %v", j.Broken(), j.Unenforced, c.byCommand)
				}
				if c.byCommand {
					return
				}
				theirs := ruleset(t, cfg.Firewall.Table, func() {
					for _, family := range []string{"inet4", "inet6"} {
						v, err := j.Native[0].Resolve(family)
						if err != nil {
							t.Fatal(err)
						}
						if out, err := exec.Command("sh", "-c", action.Fill(v.Values["actionstart"], func(string) (string, bool) { return "", false }, nil).Text).CombinedOutput(); err != nil {
							t.Fatalf("%v: %s\n%s", err, out, v.Values["actionstart"])
						}
					}
				})
				ours := ruleset(t, cfg.Firewall.Table, func() {
					f, _, err := firewall.Open(firewall.Options{Table: cfg.Firewall.Table, Chain: cfg.Firewall.Chain, Hooks: cfg.Firewall.Hooks}, j.Rule)
					if err != nil {
						t.Fatal(err)
					}
					f.Close()
				})
				if !slices.Equal(ours, theirs) {
					t.Errorf("ours\n\t%s\ntheirs\n\t%s", strings.Join(ours, "\n\t"), strings.Join(theirs, "\n\t"))
				}
			})
		}
	}
}

// ruleset returns the chains and rules of a table that are made by do, in a network
// namespace of its own.
func ruleset(t *testing.T, table string, do func()) (lines []string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		hosttest.InNamespace(t)
		do()
		out, err := exec.Command("nft", "-y", "-p", "list", "table", "inet", table).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if strings.Contains(line, "hook ") || strings.Contains(line, "saddr ") || strings.HasPrefix(line, "chain ") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
	}()
	<-done
	return lines
}

// TestNftCommands: what is not understood of a script is not taken for something else.
func TestNftCommands(t *testing.T) {
	for text, want := range map[string]string{
		"nft add table inet t": "add table inet t",
		"/sbin/nft -- add chain inet t c \\{ type filter hook input priority -1 \\; \\}":         "add chain inet t c { type filter hook input priority -1 ; }",
		"for p in $(echo 'tcp,udp' | sed 's/,/ /g'); do\nnft a b $p\ndone":                       "a b tcp|a b udp",
		"for p in $(echo '' | sed 's/,/ /g'); do\nnft a b $p\ndone\nnft a b c":                   "a b c",
		"if [ 'tcp' != \"all\" ]; then\nnft a b c\nelse\nnft d e f\nfi":                          "a b c",
		"if [ 'all' != \"all\" ]; then\nnft a b c\nelse\nnft d e f\nfi":                          "d e f",
		"if [ 'all' = 'all' ]; then\nnft a b c\nfi\nnft d e f":                                   "a b c|d e f",
		"if [ 'a' = 'b' ]; then\nfor p in $(echo 'x' | sed 's/,/ /g'); do\nnft a $p c\ndone\nfi": "",
		"if [ \"$(uname)\" = \"Linux\" ]; then\nnft a b c\nfi":                                   "-", "if [ \"$p\" = \"x\" ]; then\nnft a b c\nfi": "-", "if [ '$p' = 'x' ]; then\nnft a b c\nfi": "",
		"for p in $(echo 'a,b' | sed 's/,/ /g'); do\nfor q in $(echo 'c,d' | sed 's/,/ /g'); do\nnft a b c\ndone\ndone": "-",
		"nft a b c; rm x": "-", "nft a b c | rm": "-", "nft a $x c": "-", "echo nft a b c": "-", "if [ 'a' = 'b' ]; then\nnft a b c": "-",
		"done": "-", "else": "-", "fi\nnft a b c": "-", "nft a b c &": "-", "nft a `x` c": "-", "nft a b c > d": "-", "nft a b '": "-", "for p in *; do\nnft a b c\ndone": "-",
	} {
		cs, ok := nftCommands(text)
		var got []string
		for _, c := range cs {
			got = append(got, strings.Join(c, " "))
		}
		if ok != (want != "-") || ok && strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v; want %q", text, got, ok, want)
		}
	}
}

// TestSeveralActions: where several actions of a jail are about its sets, all are run as they
// are written, each has rules of its own; an action's sets of another name are known.
func TestSeveralActions(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	for text, want := range map[string]string{
		"nftables[name=x]\n\tnftables-allports[name=x, protocol=udp, blocktype=drop]":         "by commands true: [nftables nftables-allports], faults 0, sets [x x]",
		"nftables[name=x]\n\tnftables[name=x, blocktype=drop]":                                "by commands true: [nftables], faults 1, sets [x]",
		"nftables[name=x]\n\tnftables[name=x-udp, actname=udp, protocol=udp, blocktype=drop]": "by commands false: [udp], faults 0, sets [x-udp]",
		"nftables[name=y]": "by commands true: [nftables-y], faults 0, sets [y]",
	} {
		dir := directory(
			t, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n",
			"jail.conf", "[x]\nenabled = true\nfilter = f\nlogpath = /x.log\naction = "+text+"\n",
		)
		if out, err := exec.Command("cp", "-a", filepath.Join(newest.Config, "action.d"), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		j := jail(t, load(t, Options{Path: dir}), "x")
		var names []string
		for _, a := range j.Actions {
			names = append(names, a.Name)
		}
		if got := fmt.Sprintf("by commands %v: %v, faults %d, sets %v", j.Unenforced, names, len(j.Faults), j.OthersSets); j.Broken() != nil || got != want {
			t.Errorf("%q: %v, %s; want %s", text, j.Broken(), got, want)
		}
	}
}

// TestExportNative: what ours can't say of a stock action's rules is told when a
// configuration is imported, and nobody is shut out of more than before.
func TestExportNative(t *testing.T) {
	sequential(t)
	newest := hosttest.Fail2ban(t)
	for options, want := range map[string][]string{
		`protocol=all, port="22,80"`:                    {"\"tcp\",\n  \"udp\",\n  \"sctp\",\n  \"dccp\",\n  \"udplite\",", `port = "22,80"`},
		`blocktype="counter drop"`:                      {`blocktype = "drop"`, "jail x: counter is not carried"},
		`blocktype="reject with tcp reset", port=22`:    {"jail x: reject with tcp reset is not carried for IPv4", "jail x: reject with tcp reset is not carried for IPv6"},
		`type=allports, protocol=all, blocktype=reject`: {`protocol = "all"`, `port = "all"`},
	} {
		dir := directory(
			t, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n",
			"jail.conf", "[x]\nenabled = true\nfilter = f\nlogpath = /x.log\naction = nftables[name=x, "+options+"]\n",
		)
		if out, err := exec.Command("cp", "-a", filepath.Join(newest.Config, "action.d"), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files, notes := Export(load(t, Options{Path: dir}))
		text := files["jails/x.toml"] + strings.Join(notes, "\n")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", options, w, text)
			}
		}
	}
}
