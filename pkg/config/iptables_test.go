package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/firewall"
	"bailiff/pkg/references"
)

// translated says what becomes of a use of a stock action of iptables where the user has
// agreed to nftables' sets.
var translated = []struct {
	action string
	rules  string // as nft prints them, the ones of IPv4; empty: it is run by commands
	six    string // those of IPv6, where they are not the same in IPv6's words
	why    string // what check says of it then; empty: nothing, it is somebody's own
	only   string // as of this version
}{
	{action: `iptables[port=22]`, rules: "tcp dport 22 ip saddr @addr-set-x reject"},
	{action: `iptables`, rules: "tcp dport 22 ip saddr @addr-set-x reject"},
	{action: `iptables-multiport[port="http,https,8000:8100", protocol="tcp,udp"]`, rules: "tcp dport { 80, 443, 8000-8100 } ip saddr @addr-set-x reject|udp dport { 80, 443, 8000-8100 } ip saddr @addr-set-x reject"},
	{action: `iptables-allports`, rules: "meta l4proto 6 ip saddr @addr-set-x reject"},
	{action: `iptables-allports[protocol=all]`, rules: "ip saddr @addr-set-x reject"},
	{action: `iptables-allports[protocol="tcp,udp"]`, rules: "meta l4proto { 6, 17 } ip saddr @addr-set-x reject"},
	{action: `iptables-new[port=25, protocol=udp]`, rules: "ct state new udp dport 25 ip saddr @addr-set-x reject"},
	{action: `iptables[type=multiport, port="1,2", lockingopt="-w 5", iptables="/usr/sbin/iptables <lockingopt>", iptables?family=inet6="/usr/sbin/ip6tables <lockingopt>"]`, rules: "tcp dport { 1, 2 } ip saddr @addr-set-x reject", only: "1.1.1"},
	{action: `iptables-multiport[port=1, blocktype=DROP, blocktype?family=inet6=DROP]`, rules: "tcp dport 1 ip saddr @addr-set-x drop", only: "1.1.1"},
	{action: `iptables-multiport[port=1, blocktype=DROP, blocktype?family=inet6=REJECT]`, rules: "tcp dport 1 ip saddr @addr-set-x drop", six: "tcp dport 1 ip6 saddr @addr6-set-x reject", only: "1.1.1"},
	{action: `iptables-multiport[port=1, blocktype="REJECT --reject-with tcp-reset"]`, rules: "tcp dport 1 ip saddr @addr-set-x reject with tcp reset", six: "tcp dport 1 ip6 saddr @addr6-set-x reject with tcp reset", only: "1.1.1"},
	{action: `iptables-multiport[port=1, blocktype="REJECT --reject-with icmp-host-prohibited", blocktype?family=inet6="REJECT --reject-with icmp6-adm-prohibited"]`, rules: "tcp dport 1 ip saddr @addr-set-x reject with icmp host-prohibited", six: "tcp dport 1 ip6 saddr @addr6-set-x reject with icmpv6 admin-prohibited", only: "1.1.1"},
	{action: `iptables-multiport[chain=FORWARD, port=1]`, rules: "tcp dport 1 ip saddr @addr-set-x reject"},
	{action: `iptables-multiport[chain="INPUT,FORWARD", port=1]`, rules: "tcp dport 1 ip saddr @addr-set-x reject|tcp dport 1 ip saddr @addr-set-x reject", only: "1.1.1"},
	{action: `iptables-multiport[name=other, port=1]`, rules: "tcp dport 1 ip saddr @addr-set-x reject"},
	{action: `iptables-ipset[port=22]`, rules: "tcp dport 22 ip saddr @addr-set-x reject"},
	{action: `iptables-ipset-proto6[port="22,80"]`, rules: "tcp dport { 22, 80 } ip saddr @addr-set-x reject"},
	{action: `iptables-ipset-proto6-allports`, rules: "meta l4proto 6 ip saddr @addr-set-x reject"},
	{action: `iptables-ipset[port=22, ipsettime="<timeout-bantime>"]`, rules: "tcp dport 22 ip saddr @addr-set-x reject"},
	{action: `iptables-ipset[port=22, maxelem=200000, ipsettype="hash:net"]`, rules: "tcp dport 22 ip saddr @addr-set-x reject", only: "1.1.1"},

	{action: `iptables-ipset-proto4[port=22]`, why: "its set takes no IPv6 addresses"},
	{action: `iptables-multiport[chain=DOCKER-USER, port=1]`, why: "chain DOCKER-USER is none of INPUT and FORWARD"},
	{action: `iptables-multiport[port=1, blocktype="LOG", blocktype?family=inet6=LOG]`, why: `"LOG" is none of REJECT and DROP`, only: "1.1.1"},
	{action: `iptables-multiport[port=1, protocol=all]`, why: "iptables takes no ports for protocol all"},
	{action: `iptables-multiport[port=1, protocol="tcp,udp", blocktype="REJECT --reject-with tcp-reset"]`, why: "tcp-reset answers TCP only", only: "1.1.1"},
	{action: `iptables-multiport[port=1, iptables="iptables-legacy -w", iptables?family=inet6="ip6tables-legacy -w"]`, why: "iptables-legacy is not the kind that uses nftables: iptables-legacy -V says", only: "1.1.1"},
	{action: `iptables-ipset[port=22, ipsettime=600]`},
	{action: `iptables-multiport[port=1, returntype=ACCEPT]`},
	{action: `iptables-multiport[port=1, iptables="iptables -t mangle", iptables?family=inet6="ip6tables -t mangle"]`, only: "1.1.1"},
	{action: `iptables-multiport[port=1, iptables="/opt/iptables -w"]`},
	{action: `iptables-multiport[port=1, pre-rule="-i eth0<sp>"]`},
	{action: `iptables-multiport[port=1, actionban="<iptables> -I f2b-<name> 1 -s <ip> -j <blocktype>; echo <ip>"]`},
	{action: `iptables-multiport[port=1, actionstop="touch /tmp/x"]`},
	{action: `iptables-multiport[port=1, actioncheck="true"]`},
	{action: `iptables-multiport[port=1, actionflush="<iptables> -F INPUT"]`},
	{action: `iptables-multiport-log[port=1]`},
	{action: `iptables-xt_recent-echo`},
}

const translate = "[firewall]\ntranslate = true\n"

// TestTranslate: where the user has agreed, the stock actions of iptables of each fail2ban
// are known by what they do, whatever their parameters are, and are done by nftables' sets.
func TestTranslate(t *testing.T) {
	all, err := references.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		version, _, _ := strings.Cut(r.Version, "-")
		for _, c := range translated {
			if c.only != "" && version < c.only {
				continue
			}
			t.Run(version+" "+c.action, func(t *testing.T) {
				cfg := load(t, Options{Path: actionTree(t, r, c.action, "fail2ban.local", translate)})
				j := jail(t, cfg, "x")
				if j.Broken() != nil || len(j.Faults) > 0 || j.Unenforced != (c.rules == "") || j.Translated != (c.rules != "") || len(j.Actions) != len(j.ByCommands) {
					t.Fatalf("%v; %v; by commands %v", j.Broken(), j.Faults, j.ByCommands)
				}
				if c.rules == "" {
					if note := j.ByCommands[0].Note; strings.Contains(note, "does not reach it: "+c.why) != (c.why != "") {
						t.Errorf("the note: %s", note)
					}
					return
				}
				if version == "1.0.2" && strings.Contains(c.action, "ipset") && strings.Contains(c.action, "maxelem") {
					t.Fatal("it had none")
				}
				var want []string
				for _, line := range strings.Split(c.rules, "|") {
					want = append(want, line)
					if c.six == "" {
						want = append(want, strings.NewReplacer(" ip saddr @addr-", " ip6 saddr @addr6-").Replace(" " + line)[1:])
					}
				}
				if c.six != "" {
					want = append(want, c.six)
				}
				var rules []string
				for _, line := range ruleset(t, cfg.Firewall.Table, func() {
					f, _, err := firewall.Open(firewall.Options{Table: cfg.Firewall.Table, Chain: cfg.Firewall.Chain, Hooks: cfg.Firewall.Hooks}, j.Rule)
					if err != nil {
						t.Fatal(err)
					}
					f.Close()
				}) {
					if strings.Contains(line, "saddr") {
						rules = append(rules, strings.TrimSuffix(strings.TrimSuffix(line, " with icmp port-unreachable"), " with icmpv6 port-unreachable"))
					}
				}
				slices.Sort(want)
				slices.Sort(rules)
				if !slices.Equal(rules, want) {
					t.Errorf("rules\n\t%s\nwant\n\t%s", strings.Join(rules, "\n\t"), strings.Join(want, "\n\t"))
				}
			})
		}
	}
}

// TestTranslateAgreed: nothing is done otherwise than it is written without the user's word,
// and what would be gained is told.
func TestTranslateAgreed(t *testing.T) {
	newest, err := references.Newest()
	if err != nil {
		t.Fatal(err)
	}
	for local, want := range map[string]string{
		"": "translate = true under [firewall]", "[firewall]\ntranslate = false\n": "translate = true under [firewall]",
		"[firewall]\ntranslate = si\n": "translate = true under [firewall]",
	} {
		cfg := load(t, Options{Path: actionTree(t, newest, "iptables-multiport[port=22]", "fail2ban.local", local)})
		j := jail(t, cfg, "x")
		notes := strings.Join(CommandNotes([]*Jail{j, {Name: "y", ByCommands: j.ByCommands}}), "\n")
		if !j.Unenforced || len(j.Actions) != 1 || !strings.HasPrefix(notes, "[x, y] iptables-multiport bans by commands: a ban has no end in the kernel") || !strings.Contains(notes, want) {
			t.Errorf("%q: %s", local, notes)
		}
		if wrong := strings.Contains(local, "si"); wrong != (len(cfg.Errors) > 0) {
			t.Errorf("%q: %v", local, cfg.Errors)
		}
	}
	cfg := load(t, Options{Path: actionTree(t, newest, "iptables-multiport[port=htp]\n\tiptables-allports[protocol=tpc]", "fail2ban.local", translate)})
	if got := said(jail(t, cfg, "x"), filepath.Dir(cfg.Needed[0])); !strings.Contains(got, "fault jail.conf:5: action iptables-multiport: iptables refuses it, and bans nobody: port \"htp\"") ||
		!strings.Contains(got, "action iptables-allports: iptables refuses it, and bans nobody: protocol \"tpc\"") {
		t.Errorf("%s", got)
	}
}

// TestIptablesKind: which kind iptables is, is asked of it, with a deadline; one that is not
// there has no rules.
func TestIptablesKind(t *testing.T) {
	newest, err := references.Newest()
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"echo 'iptables v1.8.9 (nf_tables)'": "",
		"echo 'iptables v1.8.9 (legacy)'":    `says "iptables v1.8.9 (legacy)"`,
		"echo 'iptables v1.6.1'":             "is not the kind",
		"exec sleep 1000":                    "did not say of which kind it is",
		"exit 1":                             "is not the kind",
	} {
		bin := t.TempDir()
		for _, name := range []string{"iptables", "ip6tables"} {
			if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		j := jail(t, load(t, Options{Path: actionTree(t, newest, "iptables-multiport[port=22]", "fail2ban.local", translate)}), "x")
		if j.Translated != (want == "") || want != "" && !strings.Contains(j.ByCommands[0].Note, want) {
			t.Errorf("%s: translated %v, %v", script, j.Translated, j.ByCommands)
		}
	}
	t.Setenv("PATH", filepath.Dir("/bin/sh"))
	empty := t.TempDir()
	for _, name := range []string{"sh", "cp"} {
		if err := os.Symlink("/bin/"+name, filepath.Join(empty, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", empty)
	if j := jail(t, load(t, Options{Path: actionTree(t, newest, "iptables-multiport[port=22]", "fail2ban.local", translate)}), "x"); !j.Translated {
		t.Errorf("without iptables: %v", j.ByCommands)
	}
}
