package firewall

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Lift takes one element out of a jail's sets at once. It reports whether the kernel
// had it, whoever put it there.
func (f *Firewall) Lift(jail string, id netip.Prefix) (was bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil || j.sets[j.rule.kindOf(id)] == nil {
		return false, nil
	}
	if o := f.owed[jail]; o != nil {
		delete(o.changes, id)
	}
	err = f.commit([]Change{{Jail: jail, ID: id, Remove: true}})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}
