package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// A list of many networks at once, in the interval sets of a jail.

// Interval is addresses of one family from First to Last; both belong to it.
type Interval struct{ First, Last netip.Addr }

// LoadList puts a list in the place of everything that a jail's interval sets hold, in
// one transaction: at no moment is what both lists have let through. The intervals
// neither touch nor overlap.
func (f *Firewall) LoadList(jail string, list []Interval) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ports.deaf(func() (int, error) {
		if err := f.loadList(jail, list); err != nil {
			return 0, err
		}
		return 1, nil
	})
}

// bytesPerInterval is what an interval takes of a message, with its end, at most.
const bytesPerInterval = 128

func (f *Firewall) loadList(jail string, list []Interval) error {
	j := f.jails[jail]
	if j == nil {
		return fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	c, err := f.conn(func(c *netlink.Conn) error {
		// All of it is one message to the kernel.
		_ = c.SetWriteBuffer(max(16<<20, len(list)*bytesPerInterval))
		return nil
	})
	if err != nil {
		return explain("open a netlink socket", err)
	}
	made := false
	for _, kind := range []int{setNet4, setNet6} {
		if j.sets[kind] == nil {
			j.sets[kind] = f.newSet(kind, jail)
			if err := c.AddSet(j.sets[kind], nil); err != nil {
				return explain("make set "+j.sets[kind].Name, err)
			}
			made = true
		}
	}
	if made {
		if err := f.addRules(c, j); err != nil {
			return err
		}
	}
	var elements [2][]nftables.SetElement
	for _, r := range list {
		six := 0
		if r.First.Is6() {
			six = 1
		}
		elements[six] = append(elements[six], nftables.SetElement{Key: r.First.AsSlice()})
		if end := r.Last.Next(); end.IsValid() {
			elements[six] = append(elements[six], nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	for six, kind := range []int{setNet4, setNet6} {
		c.FlushSet(j.sets[kind])
		for chunk := range slices.Chunk(elements[six], perMessage) {
			if err := c.SetAddElements(j.sets[kind], chunk); err != nil {
				return explain("put elements into set "+j.sets[kind].Name, err)
			}
		}
	}
	if err := c.Flush(); err != nil {
		if made { // what the transaction would have made is not there
			j.sets[setNet4], j.sets[setNet6] = nil, nil
		}
		return explain(fmt.Sprintf("load a list of %d intervals", len(list)), err)
	}
	return nil
}
