package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/firewall"
)

// allCommands has every action run as it is written; tests set it.
var allCommands = false

// treeActions takes over a jail's actions. One of the stock nftables actions is
// done by pkg/firewall itself; all others are run as they are written.
func (l *loader) treeActions(f *fail2ban.Jail, j *Jail, fail func(string, error)) {
	j.Rule = firewall.Rule{Jail: f.Name, Prefix4: j.Networks.Prefix4, Prefix6: j.Networks.Prefix6}
	j.Unenforced = true
	for i := range f.Actions {
		a := &f.Actions[i]
		j.Sources = append(j.Sources, a.Files...)
		if a.Python != "" {
			def, err := NativeAction(a.Name, a.Python, a.Options)
			if err != nil {
				j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: action %s: %w", f.Name, a.Name, err))
				continue
			}
			j.Actions = append(j.Actions, def)
			continue
		}
		def, err := CommandAction(a.Name, a.Options)
		if err != nil {
			fail("action", err)
			continue
		}
		n, ok, err := nativeRule(&def, f.Name)
		if err != nil {
			fail("port", err)
			continue
		}
		if ok && !allCommands && j.Unenforced && l.sameFirewall(n.options) {
			n.rule.Prefix4, n.rule.Prefix6 = j.Rule.Prefix4, j.Rule.Prefix6
			j.Rule, j.Unenforced, j.Native = n.rule, false, &def
			for _, p := range n.rule.Protocols {
				if len(n.rule.Ports) > 0 && !firewall.HasPorts(p) {
					v := f.Should("protocol")
					j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{v.File, v.Line, fmt.Sprintf("protocol %s has no ports: all of it is shut out", p)}))
				}
			}
			continue
		}
		j.Actions = append(j.Actions, def)
		if j.Unenforced && len(j.Rule.Ports) == 0 {
			commandRule(a, &j.Rule)
		}
	}
}

// firewallActions begin the names of actions that shut an address out of ports.
var firewallActions = []string{"nftables", "iptables", "firewallcmd", "ufw", "shorewall", "pf", "ipfw", "ipset", "bsd-ipfw", "npf"}

func isFirewallAction(name string) bool {
	return slices.ContainsFunc(firewallActions, func(p string) bool { return strings.HasPrefix(name, p) })
}

// commandRule is what an action of a firewall does, as far as its parameters tell:
// what a configuration of ours says in its place. Nothing is enforced by it.
func commandRule(a *fail2ban.Action, r *firewall.Rule) {
	if !isFirewallAction(a.File) {
		return
	}
	protocol, _ := a.Options.Get("protocol")
	protocols, err := parseProtocols([]string{cmp.Or(protocol, "tcp")})
	if err != nil || len(protocols) == 0 {
		return
	}
	r.Protocols = protocols
	port, _ := a.Options.Get("port")
	if kind, _ := a.Options.Get("type"); !strings.Contains(a.File, "allports") && kind != "allports" {
		if ports, err := ParsePorts([]string{port}); err == nil {
			r.Ports = ports
		}
	}
	if block, _ := a.Options.Get("blocktype"); strings.Contains(strings.ToLower(block), "drop") {
		r.Drop = true
	}
}

// CommandAction makes an action of fail2ban's commands and parameters.
func CommandAction(name string, options *fail2ban.Options) (action.Definition, error) {
	d := action.Definition{Name: name, Properties: options.Clone()}
	if text, ok := d.Properties.Get("timeout"); ok {
		t, err := ParseTime(text)
		if err != nil || t <= 0 {
			return d, fmt.Errorf("action %s: timeout %q: want a time like 60 or 1m", name, text)
		}
		d.Timeout = t
	}
	for _, family := range []string{"", "inet4", "inet6"} {
		if _, err := d.Resolve(family); err != nil {
			return d, err
		}
	}
	return d, nil
}

// NativeAction returns the action that does what a stock action in Python does: the
// mail of smtp.py is sent by us. The error is for any other; there is no Python to
// run it.
func NativeAction(name, python string, options *fail2ban.Options) (action.Definition, error) {
	d := action.Definition{Name: name, Properties: &fail2ban.Options{}}
	if filepath.Base(python) != "smtp.py" {
		return d, fmt.Errorf("%s is a program of Python's, which is not run: the jail goes on without it; write it as commands (actionban, actionunban) or call it from one", python)
	}
	m := action.MailDefaults()
	for _, n := range options.Names {
		v := options.Values[n]
		switch n {
		case "host":
			m.Host = v
		case "user":
			m.User = v
		case "password":
			m.Password = v
		case "sendername":
			m.SenderName = v
		case "sender":
			m.Sender = v
		case "dest":
			m.To = strings.FieldsFunc(v, isListSpace)
		case "matches":
			if !slices.Contains([]string{"", "matches", "ipmatches", "ipjailmatches"}, v) {
				return d, fmt.Errorf("matches %q: want matches, ipmatches or ipjailmatches", v)
			}
			m.Matches = v
		case "ssl":
			m.SSL = Truth(v)
		default:
			return d, fmt.Errorf("smtp.py has no parameter %q (host, user, password, sendername, sender, dest, matches, ssl)", n)
		}
	}
	if len(m.To) == 0 {
		return d, fmt.Errorf("dest is empty: nobody would get the mail")
	}
	d.Mail = &m
	return d, nil
}

// native is what a stock nftables action asks for.
type native struct {
	rule    firewall.Rule
	options firewall.Options
}

// sameFirewall reports whether table, chain and hook are those of the jails
// before; the first one decides.
func (l *loader) sameFirewall(o firewall.Options) bool {
	if !l.firewallSet {
		l.firewallSet = true
		l.cfg.Firewall.Table, l.cfg.Firewall.Chain, l.cfg.Firewall.Hooks = o.Table, o.Chain, o.Hooks
		return true
	}
	have := l.cfg.Firewall
	return have.Table == o.Table && have.Chain == o.Chain && slices.Equal(have.Hooks, o.Hooks)
}

// The commands of the nftables actions of fail2ban 0.11 to 1.1, with their
// parameters filled in. Whatever differs is somebody's own, and is run as it is.
var (
	nftElement  = regexp.MustCompile(`^(\S+) (add|delete) element (\S+ \S+) (\S+) \\\{ <ip> \\\}$`)
	nftTable    = regexp.MustCompile(`^(\S+) add table inet (\S+)$`)
	nftChain    = regexp.MustCompile(`^(\S+) -- add chain inet (\S+) (\S+) \\\{ type filter hook (\S+) priority (-?\d+) \\; \\\}$`)
	nftSet      = regexp.MustCompile(`^(\S+) add set inet (\S+) (\S+) \\\{ type ipv[46]_addr\\;( flags interval\\;)? \\\}$`)
	nftProtos   = regexp.MustCompile(`^for proto in \$\(echo '([^']*)' \| sed 's/,/ /g'\); do$`)
	nftMulti    = regexp.MustCompile(`^(\S+) add rule inet (\S+) (\S+) \$proto dport \\\{ \$\(echo '([^']*)' \| sed s/:/-/g\) \\\} (ip6?) saddr @(\S+) (reject|drop)$`)
	nftAllports = regexp.MustCompile(`^(\S+) add rule inet (\S+) (\S+) meta l4proto \\\{ (\S+) \\\} (ip6?) saddr @(\S+) (reject|drop)$`)
	nftOther    = regexp.MustCompile(`^(\{ )?(\S+) (flush|list|-a list|delete) |^(done|\}|\} \|\| \{)$|^for proto in |^\S+ add (set|rule) |^\{ \S+ -a list chain .*\| while read -r hdl; do$`)
)

func commandLines(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// nativeRule recognises the stock nftables actions, whose work pkg/firewall does.
// The error is for one whose ports or protocols can't be.
func nativeRule(d *action.Definition, jail string) (n native, ok bool, err error) {
	for i, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			return n, false, nil // told when it was read
		}
		set := []string{"addr-set-", "addr6-set-"}[i] + jail
		one, ok, err := nativeFamily(all.Values, jail, set)
		if err != nil {
			return n, false, err
		}
		if !ok || i > 0 && (one.rule.Drop != n.rule.Drop || !slices.Equal(one.rule.Ports, n.rule.Ports) ||
			!slices.Equal(one.rule.Protocols, n.rule.Protocols) || one.options.Table != n.options.Table || one.options.Chain != n.options.Chain) {
			return n, false, nil
		}
		n = one
	}
	return n, true, nil
}

func nativeFamily(v map[string]string, jail, set string) (n native, ok bool, err error) {
	for _, own := range []string{"actionrepair", "actionprolong", "actionreban", "actionreload"} {
		if v[own] != "" {
			return n, false, nil
		}
	}
	var nft, place string
	for _, name := range []string{"actionban", "actionunban"} {
		m := nftElement.FindStringSubmatch(v[name])
		want := map[string]string{"actionban": "add", "actionunban": "delete"}[name]
		if m == nil || m[2] != want || m[4] != set || place != "" && place != m[3] {
			return n, false, nil
		}
		nft, place = m[1], m[3]
	}
	table, isInet := strings.CutPrefix(place, "inet ")
	if !isInet || filepath.Base(nft) != "nft" {
		return n, false, nil
	}
	for _, name := range []string{"actionflush", "actionstop", "actioncheck"} {
		for _, line := range commandLines(v[name]) {
			if !nftOther.MatchString(line) {
				return n, false, nil
			}
		}
	}
	n.rule.Jail = jail
	n.options.Table = table
	seen := map[string]bool{}
	protocols, ports := "", ""
	for _, line := range commandLines(v["actionstart"]) {
		what, found := "", []string(nil)
		for name, form := range map[string]*regexp.Regexp{"table": nftTable, "chain": nftChain, "set": nftSet, "protocols": nftProtos, "multiport": nftMulti, "allports": nftAllports} {
			if m := form.FindStringSubmatch(line); m != nil {
				what, found = name, m
			}
		}
		seen[what] = true
		switch what {
		case "table":
			if found[2] != table {
				return n, false, nil
			}
		case "chain":
			priority, err := strconv.Atoi(found[5])
			if found[2] != table || err != nil || !slices.Contains(hookNames, found[4]) {
				return n, false, nil
			}
			n.options.Chain = found[3]
			n.options.Hooks = []firewall.Hook{{Name: found[4], Priority: priority}}
		case "set":
			if found[2] != table || found[3] != set {
				return n, false, nil
			}
		case "protocols":
			protocols = found[1]
		case "multiport", "allports":
			if found[2] != table || found[3] != n.options.Chain || found[6] != set || (found[5] == "ip6") != strings.HasPrefix(set, "addr6-") {
				return n, false, nil
			}
			n.rule.Drop = found[7] == "drop"
			if what == "multiport" {
				ports = found[4]
			} else {
				protocols = found[4]
			}
		default:
			if line != "done" {
				return n, false, nil
			}
		}
	}
	if !seen["table"] || !seen["chain"] || !seen["set"] || seen["multiport"] == seen["allports"] || seen["multiport"] != seen["protocols"] {
		return n, false, nil
	}
	if n.rule.Protocols, err = parseProtocols([]string{protocols}); err != nil {
		return n, false, err
	}
	if ports != "" && len(n.rule.Protocols) > 0 {
		if n.rule.Ports, err = ParsePorts([]string{ports}); err != nil {
			return n, false, err
		}
	}
	return n, true, nil
}
