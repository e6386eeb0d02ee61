package firewall

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
)

// Inspection is how the table stands, looked at by somebody who changes nothing.
type Inspection struct {
	There bool   // there is a table of the name
	Owner string // whose it is alone; empty: anybody may change it
	// Dormant: none of its rules works.
	Dormant bool
	// Wrong is what a daemon would mend, in its words.
	Wrong []string
	// Unhooked are chains of ours that no packet comes to, and how they are attached.
	Unhooked []string
	// Emptied are chains of ours in which no jail has a rule.
	Emptied []string
	// Before are rules of somebody else's in our chains that let packets pass our rules.
	Before []string
	// NoRules and NoSets are jails that have none.
	NoRules, NoSets []string
}

// Inspect looks at the table as it should be for jails with these rules, and makes nothing. It
// has to be asked in the network namespace that is meant.
func Inspect(opts Options, rules ...Rule) (*Inspection, error) {
	f := &Firewall{jails: map[string]*jailSets{}, leaving: map[string]*jailSets{}, owed: map[string]*debt{}, guard: guard{index: newGuardIndex(), off: true}}
	s, err := f.lookOnly(opts)
	if err != nil {
		return nil, err
	}
	defer f.gens.Close()
	out := &Inspection{There: s.exists, Dormant: s.flags&flagDormant != 0}
	if !s.exists {
		return out, nil
	}
	if s.owner != 0 {
		out.Owner = s.ownedBy(f.opts.Table).Error()
	}
	for _, r := range rules {
		j := &jailSets{rule: r}
		for kind, name := range SetNames(r.Jail) {
			if kind < setNet4 || s.sets[name] != nil && (kind < setPrefix4 || r.bansNetworks(kind)) {
				j.sets[kind] = f.newSet(kind, name) // as if it was made before
			}
		}
		f.jails[r.Jail] = j
	}
	f.chains = []string{}
	p, err := f.plan(s, false)
	if err != nil {
		return nil, err
	}
	p.tx.rollback()
	out.Wrong = slices.Concat(p.Mended, p.Notes)
	for i, h := range f.opts.Hooks {
		name := f.opts.Chain
		if i > 0 {
			name += "-" + h.Name
		}
		c := s.chains[name]
		switch {
		case c == nil:
			out.Unhooked = append(out.Unhooked, fmt.Sprintf("chain %s is not there", name))
			continue
		case !c.base:
			out.Unhooked = append(out.Unhooked, fmt.Sprintf("chain %s has no hook", name))
		case hookName(c.hook) != h.Name:
			out.Unhooked = append(out.Unhooked, fmt.Sprintf("chain %s is at hook %s, and should be at %s", name, hookName(c.hook), h.Name))
		}
		ours := 0
		for _, r := range p.rulesOf(name) {
			switch {
			case p.ours(r):
				ours++
			case ours == 0 && !r.isGuard() && r.letsPass():
				out.Before = append(out.Before, fmt.Sprintf("handle %d in chain %s (nft -a list chain inet %s %s)", r.handle, name, f.opts.Table, name))
			}
		}
		if ours == 0 && len(rules) > 0 {
			out.Emptied = append(out.Emptied, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.jails)) {
		if len(p.rulesFor[name]) == 0 {
			out.NoRules = append(out.NoRules, name)
		}
		if s.sets[SetNames(name)[setAddr4]] == nil {
			out.NoSets = append(out.NoSets, name)
		}
	}
	return out, nil
}

// letsPass reports whether a rule has packets, all or some, not come to the rules behind it.
func (r *foundRule) letsPass() bool {
	return slices.ContainsFunc(r.exprs, func(e expr.Any) bool {
		v, ok := e.(*expr.Verdict)
		return ok && slices.Contains([]expr.VerdictKind{expr.VerdictAccept, expr.VerdictReturn, expr.VerdictGoto}, v.Kind)
	})
}
