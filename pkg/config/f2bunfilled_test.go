package config

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
)

// actionTree is a tree with one jail, x, that has this action of a fail2ban's.
func actionTree(t *testing.T, r references.Fail2ban, text string, more ...string) string {
	t.Helper()
	dir := directory(t, append([]string{
		"filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n",
		"jail.conf", "[x]\nenabled = true\nfilter = f\nlogpath = /x.log\naction = " + text + "\n",
	}, more...)...)
	if out, err := exec.Command("cp", "-a", filepath.Join(r.Config, "action.d"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestUnfilled: what of an action's commands nothing fills in is told with the parameter
// that was meant, its file and line, before a ban fails of it.
func TestUnfilled(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	for action, want := range map[string]string{
		`nftables[type=allport]`:                     "fault jail.conf:5: action nftables: it has nothing for type=allport: it has allports, custom, multiport;",
		`iptables[type=multiprot]`:                   "fault jail.conf:5: action iptables: it has nothing for type=multiprot: it has allports, multiport, oneport;",
		`nftables[typ=allports]`:                     "warning jail.conf:5: action nftables: it has no parameter typ, which has no effect: did you mean type?",
		`iptables-ipset[blocktyp=DROP, actname=a]`:   "warning jail.conf:5: action a: it has no parameter blocktyp, which has no effect: did you mean blocktype?",
		`dummy[actionban="echo <prot> here"]`:        "warning jail.conf:5: action dummy: nothing fills in <prot> in actionban, the shell gets it as it stands",
		`dummy[actionban="echo '<b>x</b> <prot>'"]`:  "",
		`dummy[port=1, actionban="echo <porrt>"]`:    "warning jail.conf:5: action dummy: nothing fills in <porrt> in actionban, the shell gets it as it stands: did you mean <port>?",
		`dummy[actionban="echo <failurse>"]`:         "warning jail.conf:5: action dummy: nothing fills in <failurse> in actionban, the shell gets it as it stands: did you mean <failures>?",
		`dummy[actionban="echo <F-USER> <matches>"]`: "",
		`sendmail[sender=fail2ban, dest=root]`:       "",
		`nftables[type=custom, rule_match-custom=x]`: "",
		`nftables[port="http", chain="INPUT"]`:       "",
	} {
		dir := actionTree(t, newest, action)
		if got := said(jail(t, load(t, Options{Path: dir}), "x"), dir); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", action, got, want)
		}
	}
}

func said(j *Jail, dir string) string {
	var out []string
	for _, e := range j.Faults {
		out = append(out, "fault "+e.Error())
	}
	for _, e := range j.Warnings {
		out = append(out, strings.Replace(e.Error(), "jail x: ", "warning ", 1))
	}
	return strings.ReplaceAll(strings.Join(out, "\n"), dir+"/", "")
}

// TestMisspelt: words that a firewall's program refuses are told before a ban fails of them.
func TestMisspelt(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	for action, want := range map[string]string{
		`nftables[blocktype=drp]`:                              "blocktype: nft knows no drp: did you mean drop?",
		`nftables[blocktype=DROP]`:                             "blocktype: nft knows no DROP: did you mean drop?",
		`nftables[blocktype="counter rejcet"]`:                 "blocktype: nft knows no rejcet: did you mean reject?",
		`nftables[blocktype="reject with icmpx type no-rout"]`: `blocktype: nft knows no way to reject called "icmpx type no-rout"`,
		`nftables[chain_hook=inptu]`:                           "chain_hook: nft knows no inptu: did you mean input?",
		`nftables[blocktype="jump elsewhere"]`:                 "",

		`nftables[chain_hook=prerouting, chain_type=nat, blocktype="dnat to 192.0.2.1"]`: "",
		`iptables-multiport[port=1, blocktype=drop]`:                                     "blocktype: iptables knows no drop: did you mean DROP?",
		`iptables-multiport[port=1, blocktype=REJCT]`:                                    "blocktype: iptables knows no REJCT: did you mean REJECT?",
		`iptables-ipset[port=1, blocktype="REJECT --reject-with icmp-prot-unreachable"]`: "blocktype: iptables knows no icmp-prot-unreachable: did you mean icmp-",
		`iptables-multiport[port=1, blocktype=LOG]`:                                      "",
		`iptables-multiport[port=1, blocktype=BLOCKED]`:                                  "",
		`iptables-multiport[port=1, blocktype="REJECT --reject-with tcp-reset"]`:         "",
	} {
		dir := actionTree(t, newest, action)
		got := said(jail(t, load(t, Options{Path: dir}), "x"), dir)
		name, _, _ := strings.Cut(action, "[")
		if want != "" {
			want = "fault jail.conf:5: action " + name + ": " + want
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", action, got, want)
		}
	}
}

// TestUnfilledElsewhere: the place is that of the parameter, wherever action refers to.
func TestUnfilledElsewhere(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	dir := actionTree(t, newest, "%(action_)s", "jail.local", "[DEFAULT]\nbanaction = nftables[type=allport]\naction_ = %(banaction)s[port=22]\n")
	if got := said(jail(t, load(t, Options{Path: dir}), "x"), dir); !strings.HasPrefix(got, "fault jail.local:2: action nftables: it has nothing for type=allport") {
		t.Errorf("%q", got)
	}
}

// TestStockActionsFilled: none of the actions that come with any fail2ban is complained of.
func TestStockActionsFilled(t *testing.T) {
	sequential(t)
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		files, err := filepath.Glob(filepath.Join(r.Config, "action.d", "*.conf"))
		if err != nil || len(files) < 40 {
			t.Fatalf("%d actions, %v", len(files), err)
		}
		var text []string
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), ".conf")
			if strings.HasSuffix(name, "-common") {
				continue
			}
			text = append(text, fmt.Sprintf(`%s[name=x, actname=%s, port="22", protocol="tcp", chain="INPUT", dest=root, sender=x, bantime=60]`, name, name))
		}
		dir := actionTree(t, r, strings.Join(text, "\n\t"))
		for _, line := range strings.Split(said(jail(t, load(t, Options{Path: dir}), "x"), dir), "\n") {
			if strings.Contains(line, "nothing for") || strings.Contains(line, "nothing fills in") || strings.Contains(line, "no parameter") || strings.Contains(line, "knows no") {
				t.Errorf("%s: %s", r.Version, line)
			}
		}
	}
}
