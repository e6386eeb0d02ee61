package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/firewall"
	"bailiff/pkg/hosttest"
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
	sequential(t)
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
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
	newest := hosttest.Fail2ban(t)
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
}

// TestIptablesRefuses: what iptables will not take is told before a ban fails of it. What
// nftables' sets take all the same is done by them, if the user has agreed.
func TestIptablesRefuses(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	sixteen := "1,2,3,4,5,6,7,8,9,10,11,12,13,14:15,16"
	for _, c := range []struct {
		action, want string
		taken        bool
	}{
		{`iptables-multiport[port=htp]`, `port "htp": want a number`, false},
		{`iptables-allports[protocol=tpc]`, `protocol "tpc": want tcp`, false},
		{`iptables-multiport[port=1, protocol=all]`, "protocol all has no ports", false},
		{`iptables-multiport[port=1, protocol="tcp,icmp"]`, "protocol icmp has no ports", false},
		{`iptables[port="http,https"]`, `port "http,https": --dport takes one port or one range`, true},
		{`iptables-multiport[port="8000-8100"]`, `port "8000-8100": a range is written 8000:8100`, true},
		{`iptables-multiport[port="` + sixteen + `"]`, `port "` + sixteen + `": -m multiport takes 15 ports`, true},
		{`iptables[port=1, protocol=udplite]`, "protocol udplite has ports with -m multiport only", true},
		{`iptables-multiport[port="http-alt:9000,22"]`, "", true},
	} {
		for _, local := range []string{"", translate} {
			dir := actionTree(t, newest, c.action, "fail2ban.local", local)
			j := jail(t, load(t, Options{Path: dir}), "x")
			got, want := said(j, dir), ""
			name, _, _ := strings.Cut(c.action, "[")
			if c.want != "" && (local == "" || !c.taken) {
				want = "fault jail.conf:5: action " + name + ": iptables refuses it, and bans nobody: " + c.want
			}
			if j.Broken() != nil || !strings.HasPrefix(got, want) || want == "" && got != "" || j.Translated != (c.taken && local != "") {
				t.Errorf("%s, %q: %v, translated %v, %q; want %q", c.action, local, j.Broken(), j.Translated, got, want)
			}
		}
	}
}

// TestSharedChain: bans of several jails in one chain are shut out of the ports of all of
// them, which sets of a jail's own don't do.
func TestSharedChain(t *testing.T) {
	sequential(t)
	newest := hosttest.Fail2ban(t)
	other := "[%s]\nenabled = true\nfilter = f\nlogpath = /x.log\naction = iptables-multiport[name=%s, port=25]\n"
	dir := actionTree(t, newest, "iptables-multiport[name=mail, port=22]", "fail2ban.local", translate,
		"jail.local", fmt.Sprintf(other, "y", "mail")+fmt.Sprintf(other, "z", "z"))
	cfg := load(t, Options{Path: dir})
	for name, want := range map[string]bool{"x": false, "y": false, "z": true} {
		j := jail(t, cfg, name)
		if j.Translated != want || !want && !strings.Contains(j.ByCommands[0].Note, "f2b-mail has the bans of several jails: x, y") {
			t.Errorf("%s: translated %v, %v", name, j.Translated, j.ByCommands)
		}
	}
}

// TestTranslatedTogether: two actions of a jail that differ in their protocols are one rule;
// of two that differ in more, the second is run.
func TestTranslatedTogether(t *testing.T) {
	sequential(t)
	newest := hosttest.Fail2ban(t)
	two := "iptables-multiport[name=x-tcp, actname=t, protocol=tcp, port=%s]\n\tiptables-multiport[name=x-udp, actname=u, protocol=udp, port=%s%s]"
	for _, c := range []struct {
		action  string
		natives int
	}{
		{fmt.Sprintf(two, "5060", "5060", ""), 2},
		{fmt.Sprintf(two, "5060", "5061", ""), 1},
		{fmt.Sprintf(two, "5060", "5060", ", blocktype=DROP"), 1},
		{fmt.Sprintf(two, "5060", "5060", ", chain=FORWARD"), 1},
	} {
		j := jail(t, load(t, Options{Path: actionTree(t, newest, c.action, "fail2ban.local", translate)}), "x")
		protocols := []string{"tcp", "udp"}[:c.natives]
		if !j.Translated || len(j.Native) != c.natives || len(j.Actions) != 2-c.natives || !slices.Equal(j.Rule.Protocols, protocols) || len(j.Rule.Ports) != 1 || len(j.ByCommands) != 2-c.natives {
			t.Errorf("%s: %d natives, %v, %v", c.action, len(j.Native), j.Rule, j.ByCommands)
		}
	}
}

// TestExportTranslated: what ours can't say of an action of iptables is told when a
// configuration is imported.
func TestExportTranslated(t *testing.T) {
	sequential(t)
	newest := hosttest.Fail2ban(t)
	dir := actionTree(t, newest, "iptables-new[port=22, blocktype=DROP, blocktype?family=inet6=REJECT]", "fail2ban.local", translate)
	files, notes := Export(load(t, Options{Path: dir}))
	text := files["jails/x.toml"] + strings.Join(notes, "\n")
	for _, want := range []string{`port = "22"`, "jail x: --state NEW is not carried: open connections are shut out, too", "jail x: drop is not carried for IPv4 alone: reject is written"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// FuzzIptables: whatever stands in an action's commands is read without a panic, and is not
// taken for a stock action unless each command of a ban is one.
func FuzzIptables(f *testing.F) {
	f.Add("{ iptables -w -C f2b-x -j RETURN >/dev/null 2>&1; } || { iptables -w -N f2b-x || true; iptables -w -A f2b-x -j RETURN; }\nfor proto in $(echo 'tcp' | sed 's/,/ /g'); do\n{ iptables -w -C INPUT -p $proto -m multiport --dports 22 -j f2b-x >/dev/null 2>&1; } || { iptables -w -I INPUT -p $proto -m multiport --dports 22 -j f2b-x; }\ndone",
		"iptables -w -I f2b-x 1 -s <ip> -j DROP", "iptables -w -D f2b-x -s <ip> -j DROP")
	f.Add("ipset -exist create f2b-x hash:ip timeout 0\nfor c in $(echo 'INPUT' | sed 's/,/ /g'); do for proto in $(echo 'tcp' | sed 's/,/ /g'); do\n{ iptables -w -C $c -p $proto -m set --match-set f2b-x src -j DROP >/dev/null 2>&1; } || { iptables -w -I $c -p $proto -m set --match-set f2b-x src -j DROP; }\ndone; done",
		"ipset -exist add f2b-x <ip> timeout 0", "ipset -exist del f2b-x <ip>")
	f.Fuzz(func(t *testing.T, start, ban, unban string) {
		var family iptFamily
		known, _ := family.read(map[string]string{"actionstart": start, "actionban": ban, "actionunban": unban}, false)
		if known && (strings.ContainsAny(ban+unban, "`#") || strings.Contains(ban, "\n") && len(commandLines(ban)) > 1) {
			t.Errorf("taken: %q, %q, %q", start, ban, unban)
		}
	})
}

// TestIptablesKind: which kind iptables is, is asked of it, with a deadline; one that is not
// there has no rules.
func TestIptablesKind(t *testing.T) {
	newest := hosttest.Fail2ban(t)
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
