package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// From the table as it is found to the table as it should be, in one transaction.

// Report says what was found otherwise than it should be.
type Report struct {
	Mended []string // what was made right
	Refill []string // jails whose sets were made anew, and lack their bans
	Notes  []string // what was left as it is, and what can be done about it
}

func (r *Report) add(more Report) {
	r.Mended = append(r.Mended, more.Mended...)
	r.Refill = append(r.Refill, more.Refill...)
	r.Notes = append(r.Notes, more.Notes...)
}

// plan is a transaction in the making. It is carried out in the order of its fields.
type plan struct {
	f *Firewall
	s *found
	// What there is of each jail, and the rules that are somebody else's: a thousand jails
	// must not each look through what there is of all.
	setsOf    map[string][]*foundSet // by name
	rulesFor  map[string][]*foundRule
	rebuilt   map[string]bool // jails whose sets are made anew; true: there was nothing in them
	strangers []*foundRule

	atStart bool // chains of other settings are looked for
	running bool // it was right once
	Report

	table     bool // it is to be made, or to be woken
	delRules  map[uint64]*foundRule
	delChains []string
	delSets   []string
	flushSets []string
	addChains []*nftables.Chain
	addSets   []filledSet
	addRules  []wantedRule

	guard  guardPlan
	tx     *guardTx
	chains []string
	ended  map[string]bool // of chains: see endedBefore
	sets   map[string][6]*nftables.Set
	gone   []string // jails of leaving of which nothing is left
}

type filledSet struct {
	set   *nftables.Set
	spans []span
}

// maxAttempts is how often it is tried where others change the table between our look at
// it and our transaction.
const maxAttempts = 5

// settle brings the table in line with what f knows. With atStart, chains that other
// settings of ours have left are removed, too. The caller holds the lock.
func (f *Firewall) settle(atStart bool) (Report, error) {
	var report Report
	var err error
	f.guardDue.Store(false)
	defer func() { f.guard.need = nil }()
	if f.interim {
		if err := f.endInterim(); err != nil {
			return report, err
		}
	}
	for range maxAttempts {
		asOf := f.gens.changes()
		var s *found
		if s, err = f.look(); err != nil {
			return report, err
		}
		if s.exists && s.owner != 0 {
			return report, s.ownedBy(f.opts.Table)
		}
		var p *plan
		if p, err = f.plan(s, atStart); err != nil {
			return report, err
		}
		report = p.Report
		if err = p.carryOut(); err == nil {
			f.asOf = asOf
			report.add(f.aside)
			f.aside = Report{}
			return report, nil
		}
		p.tx.rollback()
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return report, explain(fmt.Sprintf("make table inet %s what it should be", f.opts.Table), err)
}

func (f *Firewall) plan(s *found, atStart bool) (*plan, error) {
	p := &plan{
		f: f, s: s, atStart: atStart, running: f.chains != nil, delRules: map[uint64]*foundRule{}, sets: map[string][6]*nftables.Set{},
		rebuilt: map[string]bool{}, tx: f.guardTx(0),
	}
	if len(f.jails) == 0 && len(f.leaving) == 0 && !atStart {
		return p, nil
	}
	p.index()
	switch {
	case len(f.jails) > 0 && !s.exists:
		p.table = true
		if p.running {
			p.mended("table inet %s was gone", f.opts.Table)
		}
	case s.flags&flagDormant != 0:
		p.table = true
		p.mended("table inet %s was dormant: none of its rules worked", f.opts.Table)
	}
	if len(f.jails) > 0 {
		p.placeChains()
		p.endedBefore()
	}
	for _, name := range slices.Sorted(maps.Keys(f.jails)) {
		if err := p.placeJail(name); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.leaving)) {
		p.remove(name)
		p.tx.clear(name)
	}
	if atStart {
		p.others()
	}
	p.placeGuard()
	return p, nil
}

// index finds out whose the sets and rules are that are there.
func (p *plan) index() {
	p.setsOf, p.rulesFor = map[string][]*foundSet{}, map[string][]*foundRule{}
	for _, name := range slices.Sorted(maps.Keys(p.s.sets)) {
		if _, jail, ok := namedAs(name); ok {
			p.setsOf[jail] = append(p.setsOf[jail], p.s.sets[name])
		}
	}
	for _, r := range p.s.rules {
		if r.isGuard() {
			continue
		}
		if !p.ours(r) {
			p.strangers = append(p.strangers, r)
			continue
		}
		set, _, _ := r.shutsOut()
		jail, _ := p.jailOf(set)
		p.rulesFor[jail] = append(p.rulesFor[jail], r)
	}
}

func (p *plan) mended(format string, args ...any) {
	p.Mended = append(p.Mended, fmt.Sprintf(format, args...))
}

func (p *plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// jailOf returns whose set a name is, of the jails that we have or have had.
func (p *plan) jailOf(set string) (string, bool) {
	_, jail, ok := namedAs(set)
	if !ok || p.f.jails[jail] == nil && p.f.leaving[jail] == nil {
		return "", false
	}
	return jail, true
}

// ours reports whether all that a rule does is to shut out what is in a set of ours.
func (p *plan) ours(r *foundRule) bool {
	set, _, ok := r.shutsOut()
	if !ok {
		return false
	}
	_, ok = p.jailOf(set)
	return ok
}

// likeOurs reports whether it may have been ours: of a jail that there is no more.
func likeOurs(r *foundRule) bool {
	set, _, ok := r.shutsOut()
	if ok {
		_, _, ok = namedAs(set)
	}
	return ok || r.isGuard()
}

func (p *plan) rulesOf(chain string) []*foundRule {
	var out []*foundRule
	for _, r := range p.s.rules {
		if r.chain == chain {
			out = append(out, r)
		}
	}
	return out
}

// foreign says what of a chain is somebody else's; empty: nothing.
func (p *plan) foreign(c *foundChain) string {
	rules := p.rulesOf(c.name)
	others := 0
	for _, r := range rules {
		if !likeOurs(r) {
			others++
		}
	}
	switch {
	case others == 1:
		return "a rule that is not ours"
	case others > 1:
		return fmt.Sprintf("%d rules that are not ours", others)
	case int(c.use) > len(rules):
		return "a jump to it from elsewhere"
	}
	return ""
}

// placeChains finds or makes the chains in which the rules are.
func (p *plan) placeChains() {
	accept := nftables.ChainPolicyAccept
	for i, h := range p.f.opts.Hooks {
		name := p.f.opts.Chain
		if i > 0 {
			name += "-" + h.Name
		}
		hook := hookNumbers[h.Name]
		for {
			want := &nftables.Chain{
				Name: name, Table: p.f.table, Type: nftables.ChainTypeFilter,
				Hooknum: hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(h.Priority)), Policy: &accept,
			}
			c := p.s.chains[name]
			if c == nil {
				p.addChains = append(p.addChains, want)
				if p.running && p.s.exists {
					p.mended("chain %s was gone", name)
				}
				break
			}
			others := p.foreign(c)
			if c.base && c.kind == "filter" && c.hook == uint32(*hook) && c.priority == int32(h.Priority) {
				switch {
				case c.policy == uint32(accept):
				case others == "":
					p.addChains = append(p.addChains, want)
					p.mended("chain %s had the policy drop", name)
				default:
					p.note("chain %s has the policy drop, and %s: left as it is", name, others)
				}
				break
			}
			form := "has no hook"
			if c.base {
				form = fmt.Sprintf("is of type %s, hook %s, priority %d", c.kind, hookName(c.hook), c.priority)
			}
			if others == "" {
				for _, r := range p.rulesOf(name) {
					p.delRules[r.handle] = r
				}
				p.delChains = append(p.delChains, name)
				p.addChains = append(p.addChains, want)
				p.mended("chain %s %s, and should be of type filter, hook %s, priority %d: made anew", name, form, h.Name, h.Priority)
				break
			}
			p.note("chain %s %s, and holds %s: left as it is; ours is %s beside it, until that is gone (nft -a list table inet %s)", name, form, others, name+"-"+strings.TrimSuffix(beside, "-"), p.f.opts.Table)
			name += "-" + strings.TrimSuffix(beside, "-")
		}
		p.chains = append(p.chains, name)
	}
}

// endedBefore looks for rules of somebody else's in our chains. One behind which no packet
// comes (accept, return, goto, of whatever it is) would make all bans void: our rules come
// before it. One that lets in some is somebody's will, and told.
func (p *plan) endedBefore() {
	p.ended = map[string]bool{}
	for _, name := range p.chains {
		c := p.s.chains[name]
		if c == nil || slices.Contains(p.delChains, name) {
			continue
		}
		if others := p.foreign(c); others != "" {
			p.note("chain %s holds %s, too: left as it is; whom it lets in before our rules is not banned (nft -a list chain inet %s %s)", name, others, p.f.opts.Table, name)
		}
		var end *foundRule
		var behind []*foundRule
		for _, r := range p.rulesOf(name) {
			switch {
			case p.ours(r):
				if end != nil {
					behind = append(behind, r)
				}
			case end == nil && r.endsChain():
				end = r
			}
		}
		p.ended[name] = end != nil
		if len(behind) == 0 {
			continue
		}
		for _, r := range behind {
			p.delRules[r.handle] = r // and made anew before it
		}
		p.mended("a rule of somebody else's (handle %d in chain %s) let everybody in before our rules: they come first now", end.handle, name)
	}
}

func hookName(number uint32) string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	if int(number) < len(names) {
		return names[number]
	}
	return fmt.Sprint(number)
}

// remove takes out what is left of a jail.
func (p *plan) remove(name string) {
	left := false
	for _, r := range p.rulesFor[name] {
		p.delRules[r.handle] = r
	}
	for _, at := range p.setsOf[name] {
		set := at.name
		if rule := p.foreignIn(set); rule != nil {
			p.flushSets = append(p.flushSets, set)
			p.note("set %s of jail %s, which has ended, can't be removed, since a rule of somebody else's looks into it (nft delete rule inet %s %s handle %d): it is emptied, and removed when that rule is gone", set, name, p.f.opts.Table, rule.chain, rule.handle)
			left = true
			continue
		}
		p.delSets = append(p.delSets, set)
	}
	if !left {
		p.gone = append(p.gone, name)
	}
}

// unknownMost is of how many jails that are not configured it is told one by one.
const unknownMost = 20

// others looks at what is in the table besides: chains of earlier settings, and sets of
// jails that there are no more.
func (p *plan) others() {
	for _, name := range slices.Sorted(maps.Keys(p.s.chains)) {
		c := p.s.chains[name]
		if slices.Contains(p.chains, name) || slices.Contains(p.delChains, name) {
			continue
		}
		rules := p.rulesOf(name)
		all := len(rules) > 0 || strings.HasPrefix(name, "f2b-chain")
		for _, r := range rules {
			all = all && (p.ours(r) || r.isGuard())
		}
		if all && len(p.f.jails) > 0 && c.base && c.policy == uint32(nftables.ChainPolicyAccept) && int(c.use) == len(rules) {
			for _, r := range rules {
				p.delRules[r.handle] = r
			}
			p.delChains = append(p.delChains, name)
			p.mended("chain %s held nothing but rules of our jails, and is not named in the configuration: removed", name)
		}
	}
	unknown := map[string][]string{}
	for name := range p.s.sets {
		if _, jail, ok := namedAs(name); ok {
			if _, known := p.jailOf(name); !known && !slices.Contains(p.f.opts.Others, jail) && !slices.Contains(p.f.opts.Ending, jail) {
				unknown[jail] = append(unknown[jail], name)
			}
		}
	}
	for i, jail := range slices.Sorted(maps.Keys(unknown)) {
		if i == unknownMost {
			p.note("and sets of %d more jails that are not configured are in table inet %s: left as they are (nft list sets inet)", len(unknown)-i, p.f.opts.Table)
			break
		}
		if slices.Contains(p.f.opts.Waiting, jail) {
			p.note("sets of jail %s, which can't be started, are in table inet %s: its bans are left in force, until it is started or no longer configured", jail, p.f.opts.Table)
			continue
		}
		slices.Sort(unknown[jail])
		p.note("sets of jail %[1]s, which is not configured, are in table inet %[2]s: its bans are left in force. To lift them: `nft -a list table inet %[2]s` shows the handles of its rules; `nft delete rule inet %[2]s CHAIN handle N` for each, then `nft delete set inet %[2]s NAME` for %[3]s", jail, p.f.opts.Table, strings.Join(unknown[jail], ", "))
	}
	for _, name := range p.delChains { // with a chain go the rules of jails that are no more
		for _, r := range p.rulesOf(name) {
			p.delRules[r.handle] = r
		}
	}
}

// carryOut makes the transaction, and takes over what is there then.
func (p *plan) carryOut() error {
	c, err := p.f.conn(roomFor(p.elements()))
	if err != nil {
		return explain("open a netlink socket", err)
	}
	if p.table && p.s.exists {
		// To wake a table and to make a chain in it is too much for one transaction.
		c.AddTable(p.f.table)
		if err := p.f.gens.own(c.Flush); err != nil {
			return err
		}
		p.table = false
	}
	end, err := p.bridge()
	if err != nil {
		return err
	}
	err = p.write(c)
	if err == nil {
		err = p.f.gens.own(c.Flush)
	}
	if err == nil {
		p.done()
	}
	return errors.Join(err, end())
}

// write puts the transaction into a connection's next one.
func (p *plan) write(c *nftables.Conn) error {
	f := p.f
	if p.table {
		c.AddTable(f.table)
	}
	for _, r := range p.delRules {
		if err := c.DelRule(&nftables.Rule{Table: f.table, Chain: &nftables.Chain{Name: r.chain, Table: f.table}, Handle: r.handle}); err != nil {
			return explain("remove a rule of chain "+r.chain, err)
		}
	}
	for _, name := range p.delChains {
		c.DelChain(&nftables.Chain{Name: name, Table: f.table})
	}
	for _, name := range p.delSets {
		c.DelSet(&nftables.Set{Name: name, Table: f.table})
	}
	for _, name := range p.flushSets {
		c.FlushSet(&nftables.Set{Name: name, Table: f.table})
	}
	for _, chain := range p.addChains {
		c.AddChain(chain)
	}
	for _, s := range p.addSets {
		if err := addSet(c, s.set, nil); err != nil {
			return explain("make set "+s.set.Name, err)
		}
		for chunk := range slices.Chunk(elementsOf(s.spans, s.set.Interval), perMessage) {
			if err := c.SetAddElements(s.set, chunk); err != nil {
				return explain("put elements into set "+s.set.Name, err)
			}
		}
	}
	for i := range slices.Backward(p.addRules) { // of those at the front, the last one first
		if !p.addRules[i].front {
			continue
		}
		if err := p.addRules[i].add(c, f.table); err != nil {
			return err
		}
	}
	for i := range p.addRules {
		if p.addRules[i].front {
			continue
		}
		if err := p.addRules[i].add(c, f.table); err != nil {
			return err
		}
	}
	p.addGuard(c)
	if !p.guard.stays {
		return nil
	}
	tx := &libraryTx{c: c}
	p.tx.write(tx)
	return tx.flush()
}

// done takes over what is there after the transaction.
func (p *plan) done() {
	f := p.f
	if p.chains != nil {
		f.chains, f.ended = p.chains, p.ended
	}
	for name, sets := range p.sets {
		j := f.jails[name]
		for kind, set := range sets {
			switch {
			case set == nil:
				j.filled[kind] = filling{}
			case !j.filled[kind].some && j.sets[kind] == nil && p.s.sets[set.Name] != nil:
				// It is from before: much may be in it, or nothing.
				empty, err := f.isEmpty(set.Name)
				j.filled[kind].some = err != nil || !empty
			}
		}
		j.sets = sets
	}
	p.guardDone()
	now := time.Now()
	for _, s := range p.addSets {
		for _, j := range f.jails {
			if kind := slices.Index(j.sets[:], s.set); kind >= 0 {
				j.filled[kind] = filling{}
				for i := range s.spans {
					j.filled[kind].add(s.spans[i].left, now)
				}
			}
		}
	}
	for _, name := range p.gone {
		delete(f.leaving, name)
	}
}

func (p *plan) elements() int {
	n := 0
	for _, s := range p.addSets {
		n += len(s.spans)
	}
	return n + p.tx.size()
}
