package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Changes of elements. What the kernel refuses is owed: it goes before whatever comes
// next for that jail, bans and unbans alike, until the kernel takes it.

// debt is what is owed to one jail's sets.
type debt struct {
	clear   bool // they are to be emptied first
	changes map[netip.Prefix]Change
	since   map[netip.Prefix]time.Time // when each was refused: bans go on ending
}

// maxOwed bounds what is owed to a jail one by one. Beyond, bans are forgotten, which a
// comparison with the list brings back; were it unbans alone, the sets are emptied first.
const maxOwed = 100_000

// without leaves out what is to be removed, or would have ended, had the kernel taken it.
func (o *debt) without(held []Element) []Element {
	if o.clear {
		return nil
	}
	return slices.DeleteFunc(held, func(e Element) bool {
		ch, ok := o.changes[e.ID]
		return ok && ch.after(time.Since(o.since[e.ID])).Remove
	})
}

// before returns what is owed and not among the changes that come now.
func (o *debt) before(jail string, now []Change) []Change {
	var out []Change
	if o.clear {
		out = append(out, Change{Jail: jail, Clear: true})
	}
	again := make(map[netip.Prefix]bool, len(now))
	for _, ch := range now {
		if ch.Jail == jail {
			if ch.Clear {
				return nil
			}
			again[ch.ID] = true
		}
	}
	for id, ch := range o.changes {
		if !again[id] {
			out = append(out, ch.after(time.Since(o.since[id])))
		}
	}
	return out
}

// after is a change that is made later than it was asked for. A ban that is over by then
// is none.
func (c Change) after(d time.Duration) Change {
	switch {
	case c.Remove || c.Clear || c.Left == 0:
	case c.Left <= d:
		return Change{Jail: c.Jail, ID: c.ID, Remove: true}
	default:
		c.Left -= d
	}
	return c
}

// owe keeps in mind what was refused.
func (f *Firewall) owe(refused []Change) {
	now := time.Now()
	for _, ch := range refused {
		if f.jails[ch.Jail] == nil {
			continue // it has gone, and so do its sets
		}
		o := f.owed[ch.Jail]
		if o == nil {
			o = &debt{changes: map[netip.Prefix]Change{}, since: map[netip.Prefix]time.Time{}}
			f.owed[ch.Jail] = o
		}
		switch {
		case ch.Clear:
			o.clear = true
			clear(o.changes)
			clear(o.since)
		default:
			if len(o.changes) >= maxOwed {
				// Bans that are missing are found by a comparison; unbans are not.
				maps.DeleteFunc(o.changes, func(_ netip.Prefix, c Change) bool { return !c.Remove })
				maps.DeleteFunc(o.since, func(id netip.Prefix, _ time.Time) bool { return !o.changes[id].Remove })
			}
			if len(o.changes) >= maxOwed {
				o.clear = true
				clear(o.changes)
				clear(o.since)
			}
			o.changes[ch.ID], o.since[ch.ID] = ch, now
		}
	}
}

// Owes reports whether the kernel has not taken something yet that it was asked for.
func (f *Firewall) Owes(jail string) bool {
	owing := f.owing.Load()
	return owing != nil && slices.Contains(*owing, jail)
}

// Owing is of how many jails the kernel has refused something that it does not hold yet.
func (f *Firewall) Owing() int {
	if owing := f.owing.Load(); owing != nil {
		return len(*owing)
	}
	return 0
}

// noteOwed keeps what Owes says, which waits for no transaction. The caller holds the lock.
func (f *Firewall) noteOwed() {
	if before := f.owing.Load(); len(f.owed) == 0 && (before == nil || len(*before) == 0) {
		return
	}
	owing := slices.Collect(maps.Keys(f.owed))
	f.owing.Store(&owing)
}

// Pay tries once more what the kernel refused, and returns the jails to whose sets nothing
// is owed any more.
func (f *Firewall) Pay() (paid []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.noteOwed()
	var errs []error
	for jail := range f.owed {
		if err := f.changeLocked(jail, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		paid = append(paid, jail)
	}
	slices.Sort(paid)
	return paid, errors.Join(errs...)
}

// Apply makes changes in one transaction. Removing what is not there is no
// error: the kernel may just have ended it. What an error says was not made is owed.
func (f *Firewall) Apply(changes []Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.noteOwed()
	var errs []error
	if gone := slices.IndexFunc(changes, func(c Change) bool { return f.jails[c.Jail] == nil }); gone >= 0 {
		// It has ended, and its sets with it; the others have nothing to do with that.
		if f.leaving[changes[gone].Jail] == nil {
			errs = append(errs, fmt.Errorf("nftables: jail %s has no sets", changes[gone].Jail))
		}
		changes = slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return f.jails[c.Jail] == nil })
		if len(changes) == 0 {
			return errors.Join(errs...)
		}
	}
	if len(f.owed) == 0 {
		refused, err := f.apply(changes)
		f.owe(refused)
		return errors.Join(append(errs, err)...)
	}
	var order []string
	by := map[string][]Change{}
	for _, ch := range changes {
		if by[ch.Jail] == nil {
			order = append(order, ch.Jail)
		}
		by[ch.Jail] = append(by[ch.Jail], ch)
	}
	for _, jail := range order {
		errs = append(errs, f.changeLocked(jail, by[jail]))
	}
	return errors.Join(errs...)
}

// changeLocked makes changes of one jail, after what is owed to it.
func (f *Firewall) changeLocked(jail string, changes []Change) error {
	o := f.owed[jail]
	delete(f.owed, jail)
	var errs []error
	if o != nil {
		owed := o.before(jail, changes)
		if len(owed) > 0 && owed[0].Clear {
			if refused, err := f.apply(owed[:1]); err != nil {
				f.owe(refused)
				f.owe(owed[1:])
				f.owe(changes)
				return err
			}
			owed = owed[1:]
		}
		for chunk := range slices.Chunk(owed, perTransaction) {
			refused, err := f.apply(chunk)
			f.owe(refused)
			errs = append(errs, err)
		}
		changes = slices.Clone(changes)
		for i, ch := range changes {
			// In the kernel is what was there before all of it.
			if owed, ok := o.changes[ch.ID]; ok && !ch.Remove && !ch.Clear {
				changes[i].Replace = owed.Remove || owed.Replace
			}
		}
	}
	if len(changes) > 0 {
		refused, err := f.apply(changes)
		f.owe(refused)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// apply makes changes in one transaction, or where something in it is not as it should
// be, in several. It returns what was refused.
func (f *Firewall) apply(changes []Change) (refused []Change, err error) {
	err = f.commit(changes, false)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, unix.EPERM):
		if s, look := f.look(); look == nil && s.owner != 0 {
			err = s.ownedBy(f.opts.Table)
		}
		return changes, err
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST):
		return changes, err
	}
	// Some element ended by itself, or a set was removed by another hand.
	if missing := f.missingSets(changes); len(missing) > 0 {
		return changes, fmt.Errorf("nftables: sets are gone (%s): something else removed them", strings.Join(missing, ", "))
	}
	// A search takes a transaction or two of any size for each that is missing.
	if errors.Is(err, unix.ENOENT) && len(changes) > 1 && f.commit(changes, true) == nil {
		return nil, nil
	}
	return f.halves(changes, err)
}

// halves finds the changes to which an error belongs.
func (f *Firewall) halves(changes []Change, err error) (refused []Change, _ error) {
	if len(changes) > 1 {
		half := len(changes) / 2
		var errs []error
		for _, part := range [][]Change{changes[:half], changes[half:]} {
			err := f.commit(part, false)
			if err != nil {
				var r []Change
				r, err = f.halves(part, err)
				refused = append(refused, r...)
			}
			errs = append(errs, err)
		}
		return refused, errors.Join(errs...)
	}
	one := changes[0]
	if errors.Is(err, unix.ENOENT) {
		if one.Remove {
			return nil, nil
		}
		one.Replace = false
		err = f.commit([]Change{one}, false)
	} else if errors.Is(err, unix.EEXIST) && !one.Remove && !one.Replace {
		one.Replace = true // with another time
		err = f.commit([]Change{one}, false)
	}
	if err != nil {
		return changes, err
	}
	return nil, nil
}

// missingSets returns the names of sets that the changes need and that are not there.
func (f *Firewall) missingSets(changes []Change) []string {
	s, err := f.look()
	if err != nil {
		return nil
	}
	var missing []string
	for _, ch := range changes {
		j := f.jails[ch.Jail]
		if j == nil || ch.Clear || j.sets[j.rule.kindOf(ch.ID)] == nil {
			continue
		}
		if name := j.sets[j.rule.kindOf(ch.ID)].Name; s.sets[name] == nil && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// commit makes changes in one transaction. With absent, what is to be removed need not be
// there: it is added first, which costs as much again. In interval sets that can't be done:
// it may lie in another one.
func (f *Firewall) commit(changes []Change, absent bool) error {
	if err := f.widen(changes); err != nil {
		return err
	}
	t := f.guardTx(len(changes))
	err := f.commitWith(t, changes, absent)
	if err != nil {
		t.rollback()
	}
	return err
}

func (f *Firewall) commitWith(t *guardTx, changes []Change, absent bool) error {
	f.tries++
	for _, ch := range changes {
		switch {
		case ch.Clear:
			t.clear(ch.Jail)
		case ch.Remove:
			t.remove(ch.Jail, ch.ID)
		default:
			t.put(ch.Jail, ch.ID, ch.Left, ch.Replace)
		}
	}
	b := newBatch((2*len(changes) + t.size()) * batchElement)
	type work struct {
		del, add []span
		puts     filling
	}
	type place struct {
		jail *jailSets
		kind int
	}
	todo := map[place]*work{}
	now := time.Now()
	var order []place
	for _, ch := range changes {
		j := f.jails[ch.Jail]
		if j == nil {
			return fmt.Errorf("nftables: jail %s has no sets", ch.Jail)
		}
		if ch.Clear {
			for kind, set := range j.sets {
				if set != nil {
					b.flush(set)
					j.filled[kind] = filling{}
				}
			}
			continue
		}
		at := place{j, j.rule.kindOf(ch.ID)}
		if j.sets[at.kind] == nil {
			if ch.Remove {
				continue
			}
			return fmt.Errorf("nftables: set %s is not there", SetNames(ch.Jail)[at.kind])
		}
		w := todo[at]
		if w == nil {
			w = &work{}
			todo[at] = w
			order = append(order, at)
		}
		s := span{ch.ID.Masked().Addr(), lastOf(ch.ID), 0}
		if ch.Remove || ch.Replace {
			w.del = append(w.del, s)
		}
		if !ch.Remove {
			s.left = ch.Left
			w.puts.add(ch.Left, now)
			w.add = append(w.add, s)
		}
	}
	for _, at := range order {
		set := at.jail.sets[at.kind]
		if absent && !set.Interval {
			for _, s := range todo[at].del {
				b.put(set, s)
			}
		}
		for _, s := range todo[at].del {
			b.take(set, s)
		}
		for _, s := range todo[at].add {
			b.put(set, s)
		}
	}
	t.write(b)
	if err := f.gens.own(b.send); err != nil {
		return explain(fmt.Sprintf("change %d elements", len(changes)), err)
	}
	for at, w := range todo {
		switch have := &at.jail.filled[at.kind]; {
		case len(w.add) > 0 && w.puts.until.IsZero():
			have.add(0, now)
		case len(w.add) > 0:
			have.add(w.puts.until.Sub(now), now)
		case have.some: // the last ones may be gone
			if empty, err := f.isEmpty(at.jail.sets[at.kind].Name); err == nil && empty {
				*have = filling{}
			}
		}
	}
	return nil
}

// bytesPerElement is what an element takes of a message, with its end, at most.
const bytesPerElement = 128

// roomFor makes room for so many elements: all of a transaction is one message to the
// kernel. Without the right to it, what the system gives has to do.
func roomFor(elements int) nftables.SockOption {
	return func(c *netlink.Conn) error {
		if n := elements * bytesPerElement; n > 16<<20 {
			_ = c.SetWriteBuffer(n)
		}
		return nil
	}
}
