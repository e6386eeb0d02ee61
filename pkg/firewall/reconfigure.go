package firewall

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Settings of the table that change while we run.

// Reconfigure brings the table in line with other settings, in one transaction and with
// all that its sets hold. Where the name of the table changes, all that is ours moves.
func (f *Firewall) Reconfigure(opts Options) (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.opts
	if err := f.setOptions(opts); err != nil {
		return Report{}, err
	}
	if f.opts.Table == before.Table {
		report, err := f.settle(true)
		if err != nil {
			_ = f.setOptions(before)
		}
		return report, err
	}
	report, err := f.move(before)
	if err != nil {
		_ = f.setOptions(before)
	}
	return report, err
}

// move goes from the table of other settings to that of those which hold now.
func (f *Firewall) move(before Options) (Report, error) {
	lock, err := lockTable(f.opts.Table)
	var none *noLockError
	if err != nil && !asNoLock(err, &none) {
		return Report{}, err
	}
	moved := false
	defer func() {
		if lock != nil && !moved {
			unlock(lock)
		}
	}()
	old := &Firewall{gens: f.gens, jails: map[string]*jailSets{}, leaving: map[string]*jailSets{}, owed: f.owed, chains: f.chains, guard: guard{index: newGuardIndex(), off: true}}
	if err := old.setOptions(before); err != nil {
		return Report{}, err
	}
	target := &Firewall{gens: f.gens, opts: f.opts, table: f.table, jails: map[string]*jailSets{}, leaving: map[string]*jailSets{}, owed: f.owed, guard: guard{index: newGuardIndex(), off: true}}
	for name, j := range f.jails {
		old.leaving[name] = j
		target.jails[name] = &jailSets{rule: j.rule}
	}
	maps.Copy(old.leaving, f.leaving)

	var plans []*plan
	elements := 0
	for _, t := range []*Firewall{target, old} {
		s, err := t.look()
		if err != nil {
			return Report{}, err
		}
		if s.exists && s.owner != 0 {
			return Report{}, s.ownedBy(t.opts.Table)
		}
		p, err := t.plan(s, t == target)
		if err != nil {
			return Report{}, err
		}
		plans = append(plans, p)
	}
	to, from := plans[0], plans[1]
	for name, j := range f.jails {
		if err := to.bring(name, j, old); err != nil {
			return Report{}, err
		}
	}
	from.chainsGo()
	elements = to.elements()
	c, err := f.conn(roomFor(elements))
	if err != nil {
		return Report{}, explain("open a netlink socket", err)
	}
	end, err := to.bridge()
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = end() }() // what it leaves, the next start removes
	if err := to.write(c); err != nil {
		return Report{}, err
	}
	if from.s.exists && from.nothingElse() {
		c.DelTable(old.table)
	} else if err := from.write(c); err != nil {
		return Report{}, err
	}
	if err := f.gens.own(c.Flush); err != nil {
		return Report{}, explain(fmt.Sprintf("move from table inet %s to inet %s", before.Table, f.opts.Table), err)
	}
	to.done()
	moved = true
	var former *os.File
	former, f.lock = f.lock, lock
	if former != nil {
		unlock(former)
	}
	f.chains, f.jails, f.contents = target.chains, target.jails, nil
	for _, j := range f.jails {
		j.known = false // it is read by and by, and there is no guard until then
	}
	f.guard = guard{index: newGuardIndex()}
	f.leaving = map[string]*jailSets{} // what is left of those is in the old table, and told
	report := to.Report
	report.Notes = append(report.Notes, from.Notes...)
	if none != nil {
		report.Notes = append(report.Notes, none.Error())
	}
	return report, nil
}

// bring fills the sets of a jail with what they hold in another table.
func (p *plan) bring(name string, j *jailSets, old *Firewall) error {
	var all []span
	for kind, set := range j.sets {
		if set == nil {
			continue
		}
		spans, err := old.readSpans(set.Name, j.rule.bitsOf(kind), set.Interval)
		if err != nil {
			return err
		}
		all = append(all, spans...)
	}
	sets := p.sets[name]
	for kind, spans := range j.rule.sorted(all) {
		if len(spans) == 0 {
			continue
		}
		if sets[kind] == nil {
			sets[kind] = p.f.newSet(kind, SetNames(name)[kind])
			for _, chain := range p.chains {
				p.addRules = append(p.addRules, p.f.jails[name].wanted(kind, sets[kind], chain)...)
			}
		}
		i := slices.IndexFunc(p.addSets, func(s filledSet) bool { return s.set == sets[kind] })
		if i < 0 {
			p.addSets = append(p.addSets, filledSet{set: sets[kind]})
			i = len(p.addSets) - 1
		}
		p.addSets[i].spans = append(p.addSets[i].spans, spans...)
	}
	p.sets[name] = sets
	return nil
}

// chainsGo has chains removed in which there is nothing but rules that go.
func (p *plan) chainsGo() {
	for _, name := range p.f.chains {
		c := p.s.chains[name]
		if c == nil || slices.Contains(p.delChains, name) {
			continue
		}
		all := p.rulesOf(name)
		going := !slices.ContainsFunc(all, func(r *foundRule) bool { return p.delRules[r.handle] == nil })
		if going && int(c.use) == len(all) {
			p.delChains = append(p.delChains, name)
		}
	}
}

// nothingElse reports whether all that is in the table goes.
func (p *plan) nothingElse() bool {
	for name := range p.s.chains {
		if !slices.Contains(p.delChains, name) {
			return false
		}
	}
	for name, set := range p.s.sets {
		if set.flags&unix.NFT_SET_ANONYMOUS == 0 && !slices.Contains(p.delSets, name) {
			return false
		}
	}
	return true
}
