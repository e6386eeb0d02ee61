package firewall

import (
	"errors"

	"golang.org/x/sys/unix"
)

// What is there of jails, whoever made it, and how all of it goes: for who takes a table
// over from another program, or leaves it to one.

// lookOnly reads the table as it stands, for who changes nothing. f.gens is to be closed, unless
// there is an error.
func (f *Firewall) lookOnly(opts Options) (s *found, err error) {
	if err := f.setOptions(opts); err != nil {
		return nil, err
	}
	if f.gens, err = NewGenerations(); err != nil {
		return nil, err
	}
	if s, err = f.look(); err != nil {
		f.gens.Close()
	}
	return s, err
}

// Held returns what the sets of jails in a table hold, by the name of the jail as it stands
// in the names of the sets, whoever has made them: fail2ban, or a bailiff. Nothing is
// changed. Of an element of a range that is no network there are the networks that make it
// up.
func Held(table string) (map[string][]Element, error) {
	f := &Firewall{jails: map[string]*jailSets{}}
	s, err := f.lookOnly(Options{Table: table})
	if err != nil {
		return nil, err
	}
	defer f.gens.Close()
	bits := map[string]int{} // of the masks under which rules look into sets
	for _, r := range s.rules {
		if set, mask, ok := r.shutsOut(); ok && mask != nil {
			bits[set] = onesOf(mask)
		}
	}
	out := map[string][]Element{}
	for name, set := range s.sets {
		kind, jail, ok := namedAs(name)
		if !ok {
			continue
		}
		length := [2]int{32, 128}[kind%2]
		if kind >= setPrefix4 {
			if bits[name] == 0 {
				continue // nobody looks into it
			}
			length = bits[name]
		}
		spans, err := f.readSpans(name, length, set.flags&unix.NFT_SET_INTERVAL != 0)
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			if p, ok := span.prefix(); ok {
				out[jail] = append(out[jail], Element{p, span.left})
				continue
			}
			for _, p := range span.prefixes() {
				out[jail] = append(out[jail], Element{p, span.left})
			}
		}
	}
	return out, nil
}

// RemoveJails takes all that there is of some jails out of the kernel, and the table, too,
// if nothing is left in it then.
func (f *Firewall) RemoveJails(jails ...string) error {
	for _, name := range jails {
		if _, err := f.RemoveJail(name); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.lowerGuard(); err != nil {
		return err
	}
	s, err := f.look()
	if err != nil || !s.exists {
		return err
	}
	named := func(set *foundSet) bool { return set.flags&unix.NFT_SET_ANONYMOUS == 0 }
	for _, set := range s.sets {
		if named(set) {
			return nil
		}
	}
	if len(s.rules) > 0 {
		return nil
	}
	return f.dropTable()
}

// RemoveTable removes the table with all that is in it, whoever made it. Close is all that
// may follow.
func (f *Firewall) RemoveTable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guard.sets = nil
	return f.dropTable()
}

// Remove removes a table (empty: the one by default) with all that is in it, where it is there.
// Whoever keeps it is a HeldError, and it stays.
func Remove(table string) error {
	f := &Firewall{}
	if err := f.setOptions(Options{Table: table}); err != nil {
		return err
	}
	var err error
	if f.gens, err = NewGenerations(); err != nil {
		return err
	}
	defer f.gens.Close()
	lock, err := lockTable(f.opts.Table)
	var none *noLockError
	if err != nil && !asNoLock(err, &none) {
		return err
	}
	if lock != nil {
		defer unlock(lock)
	}
	return f.dropTable()
}

// dropTable is the part of both that does it. The caller holds the lock.
func (f *Firewall) dropTable() error {
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	c.DelTable(f.table)
	if err := f.gens.own(c.Flush); err != nil && !errors.Is(err, unix.ENOENT) {
		return explain("remove table inet "+f.opts.Table, err)
	}
	return nil
}
