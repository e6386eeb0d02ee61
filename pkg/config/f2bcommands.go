package config

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
)

// Actions that shut addresses out by commands of their own: what is lost by it, and which
// of them nftables' sets can do in their place.

// ByCommand is one of them.
type ByCommand struct {
	Action string
	// Note says what bans by it lack that those in nftables' own sets have, and the remedy.
	Note string
}

func (b ByCommand) String() string { return b.Action + " bans by commands: " + b.Note }

// ForJails is a line that holds for several jails.
func ForJails(jails []string, text string) string {
	if n := len(jails); n > 5 {
		jails = append(slices.Clone(jails[:4]), fmt.Sprintf("and %d more", n-4))
	}
	return fmt.Sprintf("[%s] %s", strings.Join(jails, ", "), text)
}

// NativeAction returns an action of the jail whose work the kernel's sets do.
func (j *Jail) NativeAction(name string) (d action.Definition, ok bool) {
	for _, n := range j.Native {
		if n.Name == name {
			return *n, true
		}
	}
	return d, false
}

// Moved reports whether the jail bans by commands that have nothing to do with sets of its
// name: what there is of those is of a daemon that had its bans there.
func (j *Jail) Moved() bool {
	return j.Unenforced && len(j.ByCommands) > 0 && !slices.Contains(j.OthersSets, j.Name)
}

// CommandNotes returns a line for each way in which jails ban by commands, or would if
// nftables' sets did not, with those jails.
func CommandNotes(jails []*Jail) (out []string) {
	var order []ByCommand
	of := map[ByCommand][]string{}
	var inSets []string
	for _, j := range jails {
		if j.Translated {
			inSets = append(inSets, j.Name)
		}
		for _, b := range j.ByCommands {
			if of[b] == nil {
				order = append(order, b)
			}
			of[b] = append(of[b], j.Name)
		}
	}
	for _, b := range order {
		out = append(out, ForJails(of[b], b.String()))
	}
	if len(inSets) > 0 {
		out = append(out, ForJails(inSets, "in the place of iptables' commands, nftables' sets hold the bans, as translate = true says: nft list table inet f2b-table shows them, iptables does not"))
	}
	return out
}

// translation is what becomes of an action of iptables.
type translation struct {
	iptables
	done bool // nftables' sets do its work
}

// translate recognises an action of iptables, and decides whether it is done by nftables'
// sets.
func (l *loader) translate(d *action.Definition, jail string) (t translation) {
	t.iptables = iptablesRule(d, jail)
	if !t.known || t.err != nil {
		return t
	}
	if !slices.Contains(l.chains[t.target], jail) {
		if l.chains == nil {
			l.chains = map[string][]string{}
		}
		l.chains[t.target] = append(l.chains[t.target], jail)
	}
	if len(l.chains[t.target]) > 1 && t.why == "" {
		t.why = fmt.Sprintf("%s has the bans of several jails: %s", t.target, strings.Join(l.chains[t.target], ", "))
	}
	if t.why != "" || !l.cfg.Translate {
		return t
	}
	for _, p := range t.programs {
		if t.why = l.iptablesKind(p); t.why != "" {
			return t
		}
	}
	t.done = true
	return t
}

// kindMost is how long a program of iptables may take to say which kind it is.
const kindMost = 2 * time.Second

// iptablesKind says why rules of a program of iptables are none of nftables'; empty: they
// are, or there is no such program.
func (l *loader) iptablesKind(program string) (why string) {
	if known, ok := l.cfg.iptables[program]; ok {
		return known
	}
	defer func() {
		if l.cfg.iptables == nil {
			l.cfg.iptables = map[string]string{}
		}
		l.cfg.iptables[program] = why
	}()
	res, err := action.Command{Text: program + " -V"}.Run(context.Background(), kindMost)
	said := strings.TrimSpace(action.Cut(res.Output(), 100))
	switch {
	case err != nil:
		if l.was != nil {
			if was, ok := l.was.iptables[program]; ok {
				return was // it was asked before, and does not answer now
			}
		}
		return fmt.Sprintf("%s -V did not say of which kind it is: %v", program, err)
	case res.Code == 127:
		return ""
	case strings.Contains(said, "nf_tables"):
		return ""
	}
	return fmt.Sprintf("%s is not the kind that uses nftables: %s -V says %q", program, program, said)
}

// endsInKernel reports whether the command of a ban gives it an end.
func endsInKernel(d *action.Definition) bool {
	all, err := d.Resolve("inet4")
	return err == nil && strings.Contains(all.Values["actionban"], "<bantime>") && strings.Contains(all.Values["actionban"], "timeout")
}

// commandNote says what is lost by an action's commands.
func (l *loader) commandNote(d *action.Definition, t translation) string {
	note := "a ban has no end in the kernel, and one that ends after the daemon was killed stays for good"
	switch {
	case endsInKernel(d):
		note = "a ban has an end of its own"
	case d.ClearsLeft():
		note = "a ban has no end in the kernel, and stays until the next start if the daemon is killed"
	}
	check, asks := false, false
	for _, family := range []string{"inet4", "inet6"} {
		if all, err := d.Resolve(family); err == nil && strings.TrimSpace(all.Values["actioncheck"]) != "" {
			check = true
			asks = asks || strings.Contains(all.Values["actioncheck"], "firewall-cmd")
		}
	}
	switch {
	case asks:
		note += "; what others do to its rules is found only as far as firewalld knows of it"
	case check:
		note += "; what others do to its rules is found by actioncheck within a minute, and not within a second"
	default:
		note += "; what others do to its rules is not found, since it has no actioncheck"
	}
	switch {
	case t.known && t.err == nil && t.why == "" && !l.cfg.Translate:
		note += "; translate = true under [firewall] of fail2ban.local has bailiff hold its bans in nftables' sets, which lack neither"
	case t.known && t.why != "" && l.cfg.Translate:
		note += "; translate = true does not reach it: " + t.why
	}
	return note
}
