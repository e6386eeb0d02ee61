package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// Bans that commands of iptables hold: whether packets come to them.

const (
	// rulesMost is how many bytes of rules are looked at, and toolMost how long iptables may
	// take to list them.
	rulesMost, toolMost = 16 << 20, 5 * time.Second
)

// iptables looks at the chains of jails whose actions are iptables'.
func (d *doctor) iptables(ctx context.Context, b *bans) {
	var four, six []string
	listed, asked := map[string]error{}, map[string]bool{}
	list := func(program string) []string {
		if !asked[program] {
			asked[program] = true
			lines, err := listRules(ctx, program)
			listed[program] = err
			if program == "ip6tables" {
				six = lines
			} else {
				four = lines
			}
		}
		if program == "ip6tables" {
			return six
		}
		return four
	}
	for _, j := range b.jails {
		for _, a := range j.IPTables() {
			if d.Inside {
				b.say(Finding{Jail: j.Name, Level: Unlooked, Cause: inside + "iptables' rules" + fromOutside})
				break
			}
			rules := list("iptables")
			if err := listed["iptables"]; err != nil {
				if !errors.Is(err, exec.ErrNotFound) { // that, the actions tell
					b.say(Finding{Jail: j.Name, Level: Unlooked, Cause: notLooked + "iptables' rules: " + err.Error()})
				}
				continue
			}
			d.chain(b, j, &a, "iptables", rules, false)
			d.escapes(b, j, &a)
			fails := d.sixOf(j.Name)
			list("ip6tables")
			switch err := listed["ip6tables"]; {
			case fails == 0:
			case a.Only4, errors.Is(err, exec.ErrNotFound):
				b.say(Finding{
					Jail: j.Name, Symptom: "ban-ipv6", Level: Broken, Cause: fmt.Sprintf("action %s shuts out no IPv6 address, and %d failures are of such", a.Action, fails),
					Seen: []string{"ip6tables -S"}, Remedy: "name an action that does: " + d.setAction(j),
				})
			case err == nil:
				d.chain(b, j, &a, "ip6tables", six, fails >= j.MaxRetry)
			}
		}
	}
}

// escapes tells of published ports of containers that a chain behind INPUT doesn't shut.
func (d *doctor) escapes(b *bans, j *config.Jail, a *config.IPTables) {
	if slices.ContainsFunc(a.Chains, func(c string) bool { return c != "INPUT" }) {
		return
	}
	all, err := firewall.PublishedPorts()
	if err != nil {
		return
	}
	for _, p := range all {
		for _, text := range p.Ports {
			if len(a.Ports) == 0 || overlaps(strings.ReplaceAll(text, "-", ":"), a.Ports) {
				b.say(Finding{
					Jail: j.Name, Symptom: "ban-published", Level: Broken, Cause: fmt.Sprintf("port %s is passed on to a container, and never comes to INPUT, where the bans are", text), Seen: []string{p.String()},
					Remedy: fmt.Sprintf("in [%s] of %s/jail.local set\nchain = DOCKER-USER", j.Name, d.dir()),
				})
				return
			}
		}
	}
}

func (d *doctor) dir() string {
	if d.cfg.Fail2ban != nil {
		return d.cfg.Fail2ban.Dir
	}
	return config.DefaultDir
}

// sixOf is how many failures of IPv6 addresses a jail's logs have.
func (d *doctor) sixOf(jail string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.six[jail]
}

// listRules lists the rules of iptables' table filter.
func listRules(ctx context.Context, program string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolMost)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-S")
	cmd.Env = append(cmd.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin")
	if cmd.Err != nil {
		for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
			if isProgram(dir + program) {
				cmd.Path, cmd.Err = dir+program, nil
			}
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = time.Second
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out, rulesMost}, &limited{&complaints, 4 << 10}
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(complaints.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, clip([]byte(text)))
		}
		return nil, fmt.Errorf("%s -S: %w", program, err)
	}
	return strings.Split(out.String(), "\n"), nil
}

// chain looks whether packets come to a jail's own chain, or set. due: it should be there.
func (d *doctor) chain(b *bans, j *config.Jail, a *config.IPTables, by string, rules []string, due bool) {
	there := a.Set || slices.Contains(rules, "-N "+a.Target)
	seen := func(more ...string) []string { return append(more, by+" -S") }
	if s, ok := d.state[j.Name]; ok && s.Banned > 0 && by == "iptables" {
		due = true
	}
	var jumps []int // rules that lead to it
	from := map[string]bool{}
	for i, r := range rules {
		w := strings.Fields(r)
		if len(w) > 2 && w[0] == "-A" && (valueOf(w, "-j") == a.Target || valueOf(w, "--match-set") == a.Target) {
			jumps = append(jumps, i)
			from[w[1]] = true
		}
	}
	remedy := "bailiff reload makes its chain anew; find out who undoes it (iptables-restore, ufw, firewalld)"
	if d.status == nil {
		remedy = "start the daemon, which makes its chain anew: systemctl start bailiff"
	}
	if len(jumps) == 0 {
		switch {
		case there && !a.Set:
			b.say(Finding{Jail: j.Name, Symptom: "ban-unhooked", Level: Broken, Cause: fmt.Sprintf("no rule of %s leads to chain %s: whom it holds isn't shut out", strings.Join(a.Chains, ", "), a.Target), Seen: seen("-N " + a.Target), Remedy: remedy})
		case due && by == "ip6tables":
			b.say(Finding{Jail: j.Name, Symptom: "ban-ipv6", Level: Broken, Cause: fmt.Sprintf("%s has no rule for chain %s, and %d failures are of IPv6 addresses", by, a.Target, d.sixOf(j.Name)), Seen: seen(), Remedy: remedy})
		case due:
			b.say(Finding{Jail: j.Name, Symptom: "ban-no-rule", Level: Broken, Cause: fmt.Sprintf("there is no rule of iptables' for %s, though addresses are banned", a.Target), Seen: seen(), Remedy: remedy})
		}
		return
	}
	for _, i := range jumps {
		w := strings.Fields(rules[i])
		for _, before := range rules[:i] {
			v := strings.Fields(before)
			if len(v) < 3 || v[0] != "-A" || v[1] != w[1] {
				continue
			}
			accepting := ""
			if accepts(v, a.Ports) {
				accepting = before
			} else if to := valueOf(v, "-j"); to != "" && to != a.Target && slices.Contains(rules, "-N "+to) && open(v, a.Ports) {
				for _, inner := range rules { // one step further: ufw's and others' own chains
					if u := strings.Fields(inner); len(u) > 2 && u[0] == "-A" && u[1] == to && accepts(u, a.Ports) && valueOf(u, "-j") == "ACCEPT" {
						accepting = before + "; " + inner
						break
					}
				}
			}
			if accepting != "" {
				b.say(Finding{
					Jail: j.Name, Symptom: "ban-accepted-before", Level: Broken, Cause: fmt.Sprintf("a rule before the jail's accepts its packets: no packet comes to chain %s", a.Target),
					Seen: append(seen(), accepting, rules[i]), Remedy: fmt.Sprintf("put that rule behind it: %s -D, and -A; or restart the jail, which puts its own first", by),
				})
				return
			}
		}
	}
}

// valueOf is the word behind an option; empty: it isn't there, or is inverted.
func valueOf(words []string, option string) string {
	for i, w := range words[:max(len(words)-1, 0)] {
		if w == option && (i == 0 || words[i-1] != "!") {
			return words[i+1]
		}
	}
	return ""
}

// accepts reports whether a rule of iptables lets strangers' packets to some of the ports pass.
func accepts(words []string, ports []firewall.PortRange) bool {
	to := valueOf(words, "-j")
	return (to == "ACCEPT" || to == "RETURN") && open(words, ports)
}

// open reports whether a rule is for strangers who begin a connection to some of the ports.
func open(words []string, ports []firewall.PortRange) bool {
	for i, w := range words {
		switch w {
		case "-s", "-i", "--match-set", "--sport", "--sports", "--mark", "--limit", "--mac-source", "--uid-owner":
			if w == "-i" && !(i+1 < len(words) && words[i+1] == "lo") {
				continue // strangers come by some interface
			}
			return false
		case "--ctstate", "--state":
			if i+1 < len(words) && !slices.Contains(strings.Split(words[i+1], ","), "NEW") {
				return false
			}
		case "-p":
			if i+1 < len(words) && words[i+1] != "tcp" && words[i+1] != "all" {
				return false
			}
		case "--dport", "--dports":
			if i+1 < len(words) && len(ports) > 0 && !overlaps(words[i+1], ports) {
				return false
			}
		}
	}
	return true
}

// overlaps reports whether a list of ports of iptables' has some of others.
func overlaps(list string, ports []firewall.PortRange) bool {
	for _, one := range strings.Split(list, ",") {
		a, z, ok := strings.Cut(one, ":")
		if !ok {
			z = a
		}
		first, err1 := strconv.Atoi(a)
		last, err2 := strconv.Atoi(z)
		if err1 != nil || err2 != nil {
			continue
		}
		for _, p := range ports {
			if int(p.First) <= last && first <= int(p.Last) {
				return true
			}
		}
	}
	return false
}
