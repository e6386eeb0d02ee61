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
	c, err := f.conn(roomFor(len(list)))
	if err != nil {
		return explain("open a netlink socket", err)
	}
	sets := j.sets
	for _, kind := range []int{setNet4, setNet6} {
		if sets[kind] == nil {
			sets[kind] = f.newSet(kind, SetNames(jail)[kind])
			if err := f.grow(c, j, kind, sets[kind]); err != nil {
				return err
			}
		}
	}
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
	if err := f.gens.own(c.Flush); err != nil {
		return explain(fmt.Sprintf("load a list of %d intervals", len(list)), err)
	}
	j.sets = sets
	for six, kind := range []int{setNet4, setNet6} {
		j.filled[kind] = filling{some: len(elements[six]) > 0}
	}
	return nil
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
