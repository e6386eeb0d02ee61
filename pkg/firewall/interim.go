package firewall

import (
	"errors"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// What a new interval set holds is seen by packets a moment after the rules of the same
// transaction are (Linux 6.18: in one of three transactions a packet of a flood came
// through). Where such a set takes over what others held, a table beside ours shuts it out
// meanwhile, which is there before and goes behind.

// interimTable is the name of that table, for ours.
func (f *Firewall) interimTable() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: f.opts.Table + "-interim"}
}

// bridge makes that table if the plan needs it, and returns what takes it away.
func (p *plan) bridge() (end func() error, err error) {
	f := p.f
	none := func() error { return nil }
	type filled struct {
		jail string
		kind int
		set  filledSet
	}
	var all []filled
	n := 0
	for _, s := range p.addSets {
		if !s.set.Interval || len(s.spans) == 0 {
			continue
		}
		for name, sets := range p.sets {
			if kind := slices.Index(sets[:], s.set); kind >= 0 {
				all = append(all, filled{name, kind, s})
				n += len(s.spans)
			}
		}
	}
	if len(all) == 0 {
		return none, nil
	}
	c, err := f.conn(roomFor(n))
	if err != nil {
		return none, explain("open a netlink socket", err)
	}
	table := f.interimTable()
	c.AddTable(table) // one that was left is no other than this
	c.DelTable(table)
	c.AddTable(table)
	accept := nftables.ChainPolicyAccept
	for _, h := range f.opts.Hooks {
		c.AddChain(&nftables.Chain{
			Name: h.Name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hookNumbers[h.Name],
			Priority: nftables.ChainPriorityRef(nftables.ChainPriority(h.Priority)), Policy: &accept,
		})
	}
	for _, s := range all {
		set := *s.set.set
		set.Table = table
		if err := addSet(c, &set, nil); err != nil {
			return none, explain("make set "+set.Name, err)
		}
		for chunk := range slices.Chunk(elementsOf(s.set.spans, true), perMessage) {
			if err := c.SetAddElements(&set, chunk); err != nil {
				return none, explain("put elements into set "+set.Name, err)
			}
		}
		for _, h := range f.opts.Hooks {
			for _, w := range f.jails[s.jail].wanted(s.kind, &set, h.Name) {
				if err := w.add(c, table); err != nil {
					return none, err
				}
			}
		}
	}
	f.interim = true
	if err := f.gens.own(c.Flush); err != nil {
		return none, explain("make table inet "+table.Name, err)
	}
	return f.endInterim, nil
}

// endInterim takes that table away, also one that was left by somebody who ended meanwhile.
func (f *Firewall) endInterim() error {
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	table := f.interimTable()
	c.DelTable(table)
	if err := f.gens.own(c.Flush); err != nil && !errors.Is(err, unix.ENOENT) {
		return explain("remove table inet "+table.Name, err)
	}
	f.interim = false
	return nil
}
