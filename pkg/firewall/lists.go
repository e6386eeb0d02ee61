package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// A list of many networks at once, in the interval sets of a jail.

// Interval is addresses of one family from First to Last; both belong to it.
type Interval struct{ First, Last netip.Addr }

// LoadList puts a list in the place of everything that a jail's sets hold, in one
// transaction: at no moment is what both lists have let through. The intervals
// neither touch nor overlap.
func (f *Firewall) LoadList(jail string, list []Interval) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil {
		return fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	if err := f.listSets(jail, j, list); err != nil {
		return err
	}
	c, err := f.conn(roomFor(len(list)))
	if err != nil {
		return explain("open a netlink socket", err)
	}
	sets := j.sets
	var elements [2][]nftables.SetElement
	for _, r := range list {
		six := 0
		if r.First.Is6() {
			six = 1
		}
		elements[six] = append(elements[six], intervalOf(span{r.First, r.Last, 0})...)
	}
	for kind, set := range sets {
		if set == nil {
			continue
		}
		c.FlushSet(set)
		if kind != setNet4 && kind != setNet6 {
			continue
		}
		for chunk := range slices.Chunk(elements[kind-setNet4], perMessage) {
			if err := c.SetAddElements(set, chunk); err != nil {
				return explain("put elements into set "+set.Name, err)
			}
		}
	}
	t := f.guardTx()
	t.clear(jail)
	if err := t.write(c); err != nil {
		t.rollback()
		return err
	}
	if err := f.gens.own(c.Flush); err != nil {
		t.rollback()
		return explain(fmt.Sprintf("load a list of %d intervals", len(list)), err)
	}
	j.sets, j.loaded, j.known = sets, true, true
	for six, kind := range []int{setNet4, setNet6} {
		j.filled[kind] = filling{some: len(elements[six]) > 0}
	}
	return nil
}

// listSets makes the sets of a list, and has the guard ask them.
func (f *Firewall) listSets(jail string, j *jailSets, list []Interval) error {
	change := !j.rule.List
	j.rule.List = true
	for six, kind := range []int{setNet4, setNet6} {
		some := slices.ContainsFunc(list, func(r Interval) bool { return r.First.Is6() == (six == 1) })
		change = change || some && !j.listed[six] || j.sets[kind] == nil
		j.listed[six] = j.listed[six] || some
		j.want[kind] = true
	}
	if !change {
		return nil
	}
	report, err := f.settle(false)
	f.aside.add(report)
	if err == nil && (j.sets[setNet4] == nil || j.sets[setNet6] == nil) {
		err = fmt.Errorf("nftables: sets of jail %s could not be made", jail)
	}
	return err
}

// HoldsList reports whether a jail's sets hold just a list.
func (f *Firewall) HoldsList(jail string, list []Interval) (bool, error) {
	sets, rule, err := f.setsOf(jail)
	if err != nil {
		return false, err
	}
	var held []span
	for kind, set := range sets {
		if set == nil {
			continue
		}
		spans, err := f.readSpans(set.Name, rule.bitsOf(kind), set.Interval)
		if err != nil {
			return false, err
		}
		held = append(held, spans...)
	}
	if len(held) != len(list) {
		return false, nil
	}
	wanted := make(map[Interval]bool, len(list))
	for _, r := range list {
		wanted[r] = true
	}
	for _, s := range held {
		if !wanted[Interval{s.first, s.last}] || s.left != 0 {
			return false, nil
		}
	}
	return true, nil
}
