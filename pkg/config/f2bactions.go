package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/firewall"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// allCommands has every action run as it is written; tests set it.
var allCommands = false

// treeActions takes over a jail's actions. One of the stock nftables actions is
// done by pkg/firewall itself; all others are run as they are written.
func (l *loader) treeActions(f *fail2ban.Jail, j *Jail, fail func(string, error)) {
	j.Rule = firewall.Rule{Jail: f.Name, Prefix4: j.Networks.Prefix4, Prefix6: j.Networks.Prefix6}
	j.Unenforced = true
	seen := map[string]bool{}
	about := onSets(f)
	for i := range f.Actions {
		a := &f.Actions[i]
		if seen[a.Name] {
			v := f.Should("action")
			j.Faults = append(j.Faults, &Error{v.File, v.Line, fmt.Sprintf("action %s already exists: the second one is left out; give it a name of its own (actname=…)", a.Name)})
			continue
		}
		seen[a.Name] = true
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
		for _, name := range a.Options.Names {
			if !strings.HasPrefix(name, "action") {
				continue
			}
			if tags := literalTags(a.Options.Values[name]); len(tags) > 0 {
				v := a.Where(name)
				j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{v.File, v.Line, fmt.Sprintf("action %s: %s: %s stands in single quotes, in which the shell puts in no values: write it in double quotes", a.Name, name, strings.Join(tags, ", "))}))
			}
		}
		faults, warnings := unfilled(f, a, &def)
		j.Faults, j.Warnings = append(j.Faults, faults...), append(j.Warnings, warnings...)
		n, t, ok, err := l.inSets(f, j, a, &def, about)
		if err != nil {
			fail("port", err)
			continue
		}
		if ok {
			n.rule.Prefix4, n.rule.Prefix6 = j.Rule.Prefix4, j.Rule.Prefix6
			j.Rule, j.Unenforced, j.Native = n.rule, false, append(j.Native, &def)
			if t.known {
				j.Translated, j.chains = true, append(j.chains, t.target)
			}
			for _, p := range n.rule.Protocols {
				if len(n.rule.Ports) > 0 && !firewall.HasPorts(p) {
					v := f.Should("protocol")
					j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{v.File, v.Line, fmt.Sprintf("protocol %s has no ports: all of it is shut out", p)}))
				}
			}
			continue
		}
		j.Actions = append(j.Actions, def)
		if param, what := misspelt(&def); what != "" {
			v := f.Given(param)
			j.Faults = append(j.Faults, &Error{v.File, v.Line, fmt.Sprintf("action %s: %s: %s; as it is, it bans nobody", a.Name, param, what)})
		}
		if isFirewallAction(a.File) {
			j.ByCommands = append(j.ByCommands, ByCommand{a.Name, l.commandNote(&def, t)})
		}
		j.OthersSets = append(j.OthersSets, setsOf(&def)...)
		if j.Unenforced && len(j.Rule.Ports) == 0 {
			commandRule(a, &j.Rule)
		}
	}
}

// inSets decides whether an action is done by the kernel's sets of its jail, where about of
// the jail's actions are about those.
func (l *loader) inSets(f *fail2ban.Jail, j *Jail, a *fail2ban.Action, def *action.Definition, about int) (n native, t translation, ok bool, err error) {
	if n, ok, err = nativeRule(def, f.Name); ok || err != nil {
		return n, t, ok && about <= 1 && !allCommands && j.Unenforced && l.sameFirewall(n.options), err
	}
	t = l.translate(def, f.Name)
	defer func() {
		if t.known && !ok {
			iptablesFaults(f, j, a, &t)
		}
	}()
	if !t.done || allCommands {
		return n, t, false, nil
	}
	switch err := checkName(f.Name, false); {
	case about > 0:
		t.why = "another action of the jail is about its sets"
	case !j.Unenforced:
		var same bool
		if n.rule, same = together(j.Rule, t.rule.rule); same && j.Translated && l.sameFirewall(t.rule.options) {
			return n, t, true, nil
		}
		t.why = "another action of the jail is done so already, and shuts out otherwise"
	case err != nil:
		t.why = err.Error()
	case !l.sameFirewall(t.rule.options):
		t.why = "jails before this one have their rules at another place of the firewall"
	default:
		return t.rule, t, true, nil
	}
	return n, t, false, nil
}

// together is one rule that does what two do that differ in their protocols only. Not ok:
// they differ in more.
func together(a, b firewall.Rule) (both firewall.Rule, ok bool) {
	protocols := slices.Clone(a.Protocols)
	for _, p := range b.Protocols {
		if !slices.Contains(protocols, p) {
			protocols = append(protocols, p)
		}
	}
	ok = len(a.Protocols) > 0 && len(b.Protocols) > 0
	b.Prefix4, b.Prefix6 = a.Prefix4, a.Prefix6
	a.Protocols, b.Protocols = protocols, protocols
	return a, ok && reflect.DeepEqual(a, b) && (!slices.Contains(a.Reject[:], "tcp reset") || len(protocols) == 1)
}

// iptablesFaults tells of what iptables will not take: the bans of the action fail.
func iptablesFaults(f *fail2ban.Jail, j *Jail, a *fail2ban.Action, t *translation) {
	what := t.refuses
	if t.err != nil {
		what = t.err.Error()
	}
	if what == "" {
		return
	}
	v := f.Given("port")
	if strings.HasPrefix(what, "protocol ") {
		v = f.Given("protocol")
	}
	j.Faults = append(j.Faults, &Error{v.File, v.Line, fmt.Sprintf("action %s: iptables refuses it, and bans nobody: %s", a.Name, what)})
}

// setName finds the nftables sets that a command changes.
var setName = lazyregexp.New(`\baddr6?-set-(\S+)`)

// onSets is how many of a jail's actions are about its sets. Where several are, each has
// rules of its own that look into them, and all are run as they are written.
func onSets(f *fail2ban.Jail) (n int) {
	for i := range f.Actions {
		if f.Actions[i].Python != "" {
			continue
		}
		def, err := CommandAction(f.Actions[i].Name, f.Actions[i].Options)
		if err == nil && slices.Contains(setsOf(&def), f.Name) {
			n++
		}
	}
	return n
}

// setsOf are the jails of whose sets an action's commands are.
func setsOf(d *action.Definition) (jails []string) {
	for _, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			continue
		}
		for _, name := range []string{"actionban", "actionstart"} {
			for _, m := range setName.FindAllStringSubmatch(all.Values[name], -1) {
				if !slices.Contains(jails, m[1]) {
					jails = append(jails, m[1])
				}
			}
		}
	}
	return jails
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
func CommandAction(name string, options *tags.Options) (action.Definition, error) {
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
func NativeAction(name, python string, options *tags.Options) (action.Definition, error) {
	d := action.Definition{Name: name, Properties: &tags.Options{}}
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
	rule      firewall.Rule
	options   firewall.Options
	protocols []string // while it is read
	ports     string
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

func commandLines(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// nativeRule recognises the stock nftables actions by what they do, with whatever
// parameters; that work pkg/firewall does. The error is for one whose ports or protocols
// can't be.
func nativeRule(d *action.Definition, jail string) (n native, ok bool, err error) {
	for i, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			return n, false, nil // told when it was read
		}
		set := []string{"addr-set-", "addr6-set-"}[i] + jail
		one, ok, err := nativeFamily(all.Values, jail, set, i == 1)
		if err != nil {
			return n, false, err
		}
		if !ok {
			return n, false, nil
		}
		if i > 0 {
			one.rule.Reject[0] = n.rule.Reject[0]
			if !reflect.DeepEqual(one, withReject6(n, one.rule.Reject[1])) {
				return n, false, nil
			}
		}
		n = one
	}
	return n, true, nil
}

func withReject6(n native, with string) native {
	n.rule.Reject[1] = with
	return n
}

func nativeFamily(v map[string]string, jail, set string, ip6 bool) (n native, ok bool, err error) {
	for _, own := range []string{"actionrepair", "actionprolong", "actionreban", "actionreload"} {
		if v[own] != "" {
			return n, false, nil
		}
	}
	n.rule.Jail = jail
	start, ok := nftCommands(v["actionstart"])
	if !ok {
		return n, false, nil
	}
	rules := 0
	for _, c := range start {
		if !n.take(c, set, ip6, &rules) {
			return n, false, nil
		}
	}
	if n.options.Table == "" || len(n.options.Hooks) == 0 || rules == 0 {
		return n, false, nil
	}
	element := []string{n.options.Table, set, "{", "<ip>", "}"}
	for name, does := range map[string]string{"actionban": "add", "actionunban": "delete"} {
		cs, ok := nftCommands(v[name])
		if !ok || len(cs) != 1 || !slices.Equal(cs[0], slices.Concat([]string{does, "element", "inet"}, element)) {
			return n, false, nil
		}
	}
	for _, name := range []string{"actionflush", "actionstop", "actioncheck"} {
		for _, line := range commandLines(v[name]) {
			if !nftHarmless(line) {
				return n, false, nil
			}
		}
	}
	if n.protocols != nil {
		if n.rule.Protocols, err = parseProtocols(n.protocols); err != nil {
			return n, false, err
		}
	}
	if n.ports != "" && (len(n.rule.Protocols) > 0 || n.rule.AnyProtocol) {
		if n.rule.Ports, err = ParsePorts([]string{n.ports}); err != nil {
			return n, false, err
		}
	}
	if n.rule.Reject[0]+n.rule.Reject[1] == "tcp reset" && slices.ContainsFunc(n.rule.Protocols, func(p string) bool { return p != "tcp" }) {
		return n, false, nil // nft refuses that
	}
	n.protocols, n.ports = nil, ""
	return n, true, nil
}
