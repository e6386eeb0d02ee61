package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/firewall"
	"bailiff/pkg/lazyregexp"
)

// What the stock iptables actions of fail2ban 0.11 to 1.1.1 do is read from their commands,
// with their parameters filled in: a chain f2b-NAME with a rule for each ban, or a set of
// ipset's, and rules in chains of the host's that lead there. Where iptables is the nft kind
// those rules are nftables' own, and ours do the same. As with nftables' actions, what
// differs by a word is somebody's own, and is run.

const (
	// iptProgram is iptables itself with the option that has it wait for its lock.
	iptProgram = `((?:/usr/sbin/|/sbin/|/usr/bin/)?ip6?tables(?:-nft|-legacy)?)(?: -w| --wait)?(?: \d+)?`
	iptSet     = `([\w.:-]+)`
)

var (
	iptLoop   = lazyregexp.New(`^for (\w+) in \$\(echo '([^']*)' \| sed 's/,/ /g'\); do$`)
	iptEnsure = lazyregexp.New(`^\{ (.+) >/dev/null 2>&1; \} \|\| \{ (.+?);? \}$`)
	iptPlain  = lazyregexp.New(`^` + iptProgram + ` (-[A-Z] .+)$`)
	// What makes a set, and what is done to it.
	setCreate = lazyregexp.New(`^ipset (?:-exist |--)create ` + iptSet + ` (?:hash:(?:ip|net) timeout 0(?: maxelem \d+)?( family inet6)?|(?:maxelem \d+ )?iphash)$`)
	setAdd    = lazyregexp.New(`^ipset -exist add ` + iptSet + ` <ip> timeout (0|\$\(\[ "<bantime>" -le \d+ \] && echo "<bantime>" \|\| echo 0\))$`)
	setDel    = lazyregexp.New(`^ipset -exist del ` + iptSet + ` <ip>$`)
	setAdd4   = lazyregexp.New(`^ipset --test ` + iptSet + ` <ip> \|\| +ipset --add ` + iptSet + ` <ip>$`)
	setDel4   = lazyregexp.New(`^ipset --test ` + iptSet + ` <ip> && ipset --del ` + iptSet + ` <ip>$`)
	setEnd    = lazyregexp.New(`^ipset (?:--)?(?:flush|destroy) ` + iptSet + `(?: 2>/dev/null \|\| \{ sleep \d; ipset destroy ` + iptSet + `; \})?$`)
)

// iptFamily is what an iptables action does for one family of addresses.
type iptFamily struct {
	rule     firewall.Rule
	with     string // how packets are refused, in the words of [firewall.Rule]
	chains   []string
	ports    string
	programs []string
	target   string // the chain of its own, or the set
	set      bool
	block    string
	multi    bool // ports are those of -m multiport
}

// iptables is what is known of an action as one of iptables.
type iptables struct {
	known    bool   // it is one of the stock actions
	rule     native // what it comes to
	programs []string
	target   string // the chain, or the set, of its own
	why      string // what of it nftables' sets of a jail can't do
	refuses  string // why iptables does not take it
	err      error  // ports or protocols that are none
}

// iptCommands are the simple commands that a script comes to, loops unrolled. Not ok: there
// is something in it that is not understood.
func iptCommands(text string) (out []string, ok bool) {
	text = regexp.MustCompile(`; do for `).ReplaceAllString(strings.ReplaceAll(text, "done; done", "done\ndone"), "; do\nfor ")
	var block func(lines []string, depth int) (out, rest []string, ok bool)
	block = func(lines []string, depth int) (out, rest []string, ok bool) {
		for len(lines) > 0 {
			line := lines[0]
			if line == "done" {
				return out, lines, depth > 0
			}
			lines = lines[1:]
			m := iptLoop.FindStringSubmatch(line)
			if m == nil {
				out = append(out, line)
				continue
			}
			inner, rest, ok := block(lines, depth+1)
			words := strings.Fields(strings.ReplaceAll(m[2], ",", " "))
			if !ok || len(rest) == 0 || depth > 1 || len(words) > 20 {
				return nil, nil, false
			}
			variable := regexp.MustCompile(`\$(?:` + m[1] + `\b|\{` + m[1] + `\})`)
			for _, w := range words {
				for _, c := range inner {
					out = append(out, variable.ReplaceAllLiteralString(c, w))
				}
			}
			lines = rest[1:]
		}
		return out, nil, depth == 0
	}
	lines := commandLines(text)
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(strings.ReplaceAll(lines[i], "<sp>", " ")), " ")
	}
	out, rest, ok := block(lines, 0)
	return out, ok && len(rest) == 0
}

// iptWords parts a command of iptables: which program, and what it is told.
func iptWords(command string) (program string, words []string, ok bool) {
	m := iptPlain.FindStringSubmatch(command)
	if m == nil || strings.ContainsAny(strings.ReplaceAll(m[2], "<ip>", ""), "$`'\"|&<>()\\*?[]~#;{}") {
		return "", nil, false
	}
	return m[1], strings.Fields(m[2]), true
}

// take takes over what one command of a start does.
func (f *iptFamily) take(command string, ip6 bool) bool {
	if m := setCreate.FindStringSubmatch(command); m != nil {
		again := f.target != ""
		f.target, f.set = m[1], true
		return !again && (m[2] != "") == ip6
	}
	m := iptEnsure.FindStringSubmatch(command)
	if m == nil {
		return false
	}
	program, check, ok := iptWords(m[1])
	parts := strings.Split(m[2], "; ")
	if !ok || len(check) < 4 || check[0] != "-C" || !f.uses(program, ip6) {
		return false
	}
	chain := check[1]
	var made []string
	for i, part := range parts {
		p, words, ok := iptWords(strings.TrimSuffix(part, " || true"))
		if !ok || p != program || len(words) < 2 || words[1] != chain {
			return false
		}
		switch {
		case len(parts) == 2 && i == 0: // the chain that takes the bans, and the way out of it
			if words[0] != "-N" || len(words) != 2 || !slices.Equal(check[2:], []string{"-j", "RETURN"}) || f.target != "" {
				return false
			}
			f.target = chain
		default:
			made = words
		}
	}
	switch {
	case len(parts) == 2:
		return made != nil && made[0] == "-A" && slices.Equal(made[2:], check[2:])
	case len(parts) == 1 && made[0] == "-I" && slices.Equal(made[2:], check[2:]):
		return f.takeRule(chain, made[2:])
	}
	return false
}

// uses notes a program, which has to be the family's.
func (f *iptFamily) uses(program string, ip6 bool) bool {
	if !slices.Contains(f.programs, program) {
		f.programs = append(f.programs, program)
	}
	return strings.Contains(program, "ip6tables") == ip6
}

// takeRule takes over a rule in a chain of the host's: [STATE] [PROTOCOL [PORTS]] to where
// the bans are.
func (f *iptFamily) takeRule(chain string, words []string) bool {
	first := len(f.chains) == 0
	if !slices.Contains(f.chains, chain) {
		f.chains = append(f.chains, chain)
	}
	words, isNew := cutWords(words, "-m", "state", "--state", "NEW")
	if !isNew {
		words, isNew = cutWords(words, "-m", "conntrack", "--ctstate", "NEW")
	}
	if len(words) < 3 || words[0] != "-p" || !first && isNew != f.rule.NewOnly {
		return false
	}
	f.rule.NewOnly = isNew
	protocol, ports := words[1], ""
	words = words[2:]
	if rest, ok := cutWords(words, "-m", "multiport", "--dports"); ok && len(rest) > 0 {
		ports, words, f.multi = rest[0], rest[1:], true
	} else if rest, ok := cutWords(words, "--dport"); ok && len(rest) > 0 {
		ports, words = rest[0], rest[1:]
	}
	if !first && ports != f.ports {
		return false
	}
	f.ports = ports
	if !slices.Contains(f.rule.Protocols, protocol) {
		f.rule.Protocols = append(f.rule.Protocols, protocol)
	}
	if f.set {
		rest, ok := cutWords(words, "-m", "set", "--match-set", f.target, "src", "-j")
		block := strings.Join(rest, " ")
		if !ok || !first && block != f.block {
			return false
		}
		f.block = block
		return true
	}
	return slices.Equal(words, []string{"-j", f.target})
}

// takeBlock takes over what becomes of the packets, from iptables' words.
func (f *iptFamily) takeBlock(words []string, ip6 bool) bool {
	switch {
	case len(words) == 1 && words[0] == "DROP":
		f.with = "drop"
		return true
	case len(words) == 1 && words[0] == "REJECT":
		return true
	case len(words) != 3 || words[0] != "REJECT" || words[1] != "--reject-with":
		return false
	}
	with, ok := iptRejects[words[2]]
	if !ok {
		return false
	}
	f.with, ok = firewall.KnownReject(strings.Fields(with), ip6)
	return ok
}

// iptRejects are iptables' ways to reject, in nft's words.
var iptRejects = map[string]string{
	"icmp-port-unreachable": "icmp port-unreachable", "icmp-net-unreachable": "icmp net-unreachable", "icmp-host-unreachable": "icmp host-unreachable",
	"icmp-proto-unreachable": "icmp prot-unreachable", "icmp-net-prohibited": "icmp net-prohibited", "icmp-host-prohibited": "icmp host-prohibited",
	"icmp-admin-prohibited": "icmp admin-prohibited", "tcp-reset": "tcp reset",
	"icmp6-port-unreachable": "icmpv6 port-unreachable", "icmp6-no-route": "icmpv6 no-route", "icmp6-adm-prohibited": "icmpv6 admin-prohibited",
	"icmp6-addr-unreachable": "icmpv6 addr-unreachable", "port-unreach": "icmpv6 port-unreachable", "no-route": "icmpv6 no-route",
	"adm-prohibited": "icmpv6 admin-prohibited", "addr-unreach": "icmpv6 addr-unreachable",
}

// bans takes over what actionban and actionunban do.
func (f *iptFamily) bans(ban, unban string, ip6 bool) bool {
	one := func(text string) string {
		all, ok := iptCommands(text)
		if !ok || len(all) != 1 {
			return ""
		}
		return all[0]
	}
	ban, unban = one(ban), one(unban)
	of := func(re *lazyregexp.Regexp, command string) bool {
		m := re.FindStringSubmatch(command)
		return m != nil && m[1] == f.target && (re != setAdd4 && re != setDel4 || m[2] == f.target)
	}
	if f.set {
		return of(setAdd, ban) && of(setDel, unban) || !ip6 && of(setAdd4, ban) && of(setDel4, unban)
	}
	p1, add, ok := iptWords(ban)
	p2, del, ok2 := iptWords(unban)
	if !ok || !ok2 || !f.uses(p1, ip6) || !f.uses(p2, ip6) {
		return false
	}
	block, ok := cutWords(add, "-I", f.target, "1", "-s", "<ip>", "-j")
	rest, ok2 := cutWords(del, "-D", f.target, "-s", "<ip>", "-j")
	f.block = strings.Join(block, " ")
	return ok && ok2 && slices.Equal(block, rest)
}

// ends reports whether a script does no more than to check, empty and remove what a start
// has made.
func (f *iptFamily) ends(text string, ip6 bool) bool {
	all, ok := iptCommands(text)
	if !ok {
		return false
	}
	for _, c := range all {
		if m := setEnd.FindStringSubmatch(c); m != nil && f.set && m[1] == f.target && (m[2] == "" || m[2] == f.target) {
			continue
		}
		program, words, ok := iptWords(c)
		if !ok || len(words) < 2 || !f.uses(program, ip6) {
			return false
		}
		own := words[1] == f.target && !f.set
		switch words[0] {
		case "-F", "-X":
			ok = own && len(words) == 2
		case "-C", "-D":
			ok = slices.Contains(f.chains, words[1])
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// hooksOfChains are the places of the host's own chains of iptables' table filter.
var hooksOfChains = map[string]string{"INPUT": "input", "FORWARD": "forward"}

// iptablesRule recognises the stock iptables actions.
func iptablesRule(d *action.Definition, jail string) (t iptables) {
	var both [2]iptFamily
	for i, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			return iptables{} // told when it was read
		}
		f, ip6 := &both[i], i == 1
		known, only4 := f.read(all.Values, ip6)
		switch {
		case !known:
			return iptables{}
		case only4:
			t.known, t.why = true, "its set takes no IPv6 addresses"
			return t
		}
		if !f.takeBlock(strings.Fields(f.block), ip6) {
			t.why = fmt.Sprintf("%q is none of REJECT and DROP", f.block)
		}
		for _, p := range f.programs {
			if !slices.Contains(t.programs, p) {
				t.programs = append(t.programs, p)
			}
		}
	}
	a, b := &both[0], &both[1]
	t.known, t.target = true, a.target
	n := &t.rule
	n.rule = a.rule
	n.rule.Jail = jail
	if n.rule.Reject = [2]string{a.with, b.with}; a.with == "drop" && b.with == "drop" {
		n.rule.Drop, n.rule.Reject = true, [2]string{}
	}
	n.options = firewall.Options{Table: "f2b-table", Chain: "f2b-chain"}
	not := func(format string, args ...any) {
		if t.why == "" {
			t.why = fmt.Sprintf(format, args...)
		}
	}
	if !slices.Equal(a.chains, b.chains) || a.ports != b.ports || !slices.Equal(a.rule.Protocols, b.rule.Protocols) || a.rule.NewOnly != b.rule.NewOnly {
		not("it does something else for IPv6")
	}
	for _, c := range a.chains {
		hook, known := hooksOfChains[c]
		if !known {
			not("chain %s is none of INPUT and FORWARD", c)
		}
		n.options.Hooks = append(n.options.Hooks, firewall.Hook{Name: hook, Priority: -1})
	}
	if n.rule.Protocols, t.err = parseProtocols(a.rule.Protocols); t.err != nil {
		return t
	}
	if a.ports != "" {
		if n.rule.Ports, t.err = ParsePorts([]string{a.ports}); t.err != nil {
			return t
		}
		for _, p := range a.rule.Protocols {
			if !firewall.HasPorts(p) {
				t.refuses = fmt.Sprintf("protocol %s has no ports", p)
				not("%s", t.refuses)
			}
		}
		if t.refuses == "" {
			t.refuses = a.refusedPorts()
		}
	}
	if slices.Contains(n.rule.Reject[:], "tcp reset") && !slices.Equal(n.rule.Protocols, []string{"tcp"}) {
		not("tcp-reset answers TCP only")
	}
	return t
}

// read takes over all commands of one family. Not known: there is something in them that the
// stock actions don't have. only4: its set takes no addresses of IPv6.
func (f *iptFamily) read(v map[string]string, ip6 bool) (known, only4 bool) {
	for _, own := range []string{"actionrepair", "actionprolong", "actionreban", "actionreload"} {
		if v[own] != "" {
			return false, false
		}
	}
	start, ok := iptCommands(v["actionstart"])
	if !ok {
		return false, false
	}
	for _, c := range start {
		if m := setCreate.FindStringSubmatch(c); m != nil && ip6 && f.target == "" && strings.HasSuffix(c, "iphash") {
			only4 = true // it starts with the same set for both
			f.target, f.set = m[1], true
			continue
		}
		if !f.take(c, ip6) {
			return false, false
		}
	}
	if f.target == "" || len(f.chains) == 0 || !f.bans(v["actionban"], v["actionunban"], ip6 && !only4) {
		return false, false
	}
	for _, name := range []string{"actionflush", "actionstop", "actioncheck"} {
		if !f.ends(v[name], ip6) {
			return false, false
		}
	}
	return true, only4
}

// refusedPorts says why iptables takes no such list of ports; nftables' sets do.
func (f *iptFamily) refusedPorts() string {
	list := strings.Split(f.ports, ",")
	n := len(list)
	for _, p := range list {
		if strings.Contains(p, ":") {
			n++
		}
		if _, err := portNumber(p); err != nil && !strings.Contains(p, ":") {
			return fmt.Sprintf("port %q: a range is written %s", p, strings.Replace(p, "-", ":", 1))
		}
	}
	switch {
	case !f.multi && len(list) > 1:
		return fmt.Sprintf("port %q: --dport takes one port or one range; iptables-multiport takes several", f.ports)
	case !f.multi && slices.Contains(f.rule.Protocols, "udplite"):
		return "protocol udplite has ports with -m multiport only: iptables-multiport takes it"
	case f.multi && n > 15:
		return fmt.Sprintf("port %q: -m multiport takes 15 ports, of which a range is two", f.ports)
	}
	return ""
}
