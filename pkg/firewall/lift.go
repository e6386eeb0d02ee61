package firewall

import (
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Lift takes one element out of a jail's sets at once. It reports whether the kernel
// had it, whoever put it there.
func (f *Firewall) Lift(jail string, id netip.Prefix) (was bool, err error) {
	f.mu.Lock()
	j := f.jails[jail]
	if j == nil || j.sets[j.rule.kindOf(id)] == nil {
		f.mu.Unlock()
		return false, nil
	}
	set := j.sets[j.rule.kindOf(id)]
	if o := f.owed[jail]; o != nil {
		delete(o.changes, id)
	}
	f.mu.Unlock()
	// Mostly it isn't there: who is let in again is looked for in all jails. To ask takes
	// the kernel microseconds, and holds up nobody; a transaction that it refuses takes it
	// 10 to 20 ms, in which no ban is made.
	if !set.Interval {
		if has, err := f.has(set.Name, id.Masked().Addr()); err == nil && !has {
			return false, nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.commit([]Change{{Jail: jail, ID: id, Remove: true}}, false)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// has reports whether a set that is no interval set holds an element.
func (f *Firewall) has(set string, key netip.Addr) (bool, error) {
	_, err := f.askElement(set, key)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// askElement asks a set for one element.
func (f *Firewall) askElement(set string, key netip.Addr) ([]netlink.Message, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	e := netlink.NewAttributeEncoder()
	e.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(e *netlink.AttributeEncoder) error {
		e.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.Nested(unix.NFTA_SET_ELEM_KEY, func(e *netlink.AttributeEncoder) error {
				e.Bytes(unix.NFTA_DATA_VALUE, key.AsSlice())
				return nil
			})
			return nil
		})
		return nil
	})
	element, err := e.Encode()
	if err != nil {
		return nil, err
	}
	return c.Execute(request(unix.NFT_MSG_GETSETELEM, unix.NFPROTO_INET, 0, append(names(f.opts.Table, set), element...)))
}
