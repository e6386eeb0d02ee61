package firewall

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// What the guard has a part in each transaction: the index is changed at once, and as it
// was again if the kernel refuses the transaction.

// guardTx is the guard's part in one.
type guardTx struct {
	f    *Firewall
	was  map[netip.Prefix]uint32 // the ends of keys before it
	undo []guardUndo
}

type guardUndo struct {
	id   netip.Prefix
	end  uint32
	jail uint16
}

// guardTx begins one, in which so much is to change.
func (f *Firewall) guardTx(changes int) *guardTx {
	f.guard.index.tick()
	t := &guardTx{f: f, undo: make([]guardUndo, 0, changes)}
	if f.guard.sets == nil {
		changes = 0
	}
	t.was = make(map[netip.Prefix]uint32, changes)
	return t
}

func (t *guardTx) set(jail string, id netip.Prefix, end uint32) {
	x := t.f.guard.index
	id = id.Masked()
	n, ok := x.number(jail)
	if !ok {
		t.f.guard.doubt, t.f.guard.off = true, true // there is none without knowing who holds what
		return
	}
	if t.f.guard.sets != nil { // else there is nothing to write
		key := guardKey(id)
		if _, touched := t.was[key]; !touched {
			t.was[key] = x.end(key)
		}
	}
	t.undo = append(t.undo, guardUndo{id, x.put(n, id, end), n})
}

// put notes that a jail's sets are to hold something for so long. Where it does not take the
// place of what may be there, that keeps its time before Linux 6.12, and gets this one since:
// the guard has it for the longer of both.
func (t *guardTx) put(jail string, id netip.Prefix, left time.Duration, replace bool) {
	t.f.noteChanged(jail, id, replace)
	x := t.f.guard.index
	end := x.endOf(left)
	if n, ok := x.number(jail); ok {
		is := x.get(n, id.Masked())
		agree := is != forEver && end != forEver && is+endAgrees >= end && is <= end+endAgrees
		if is >= x.now() && (agree || !replace && is > end) {
			return
		}
	}
	t.set(jail, id, end)
}

// remove notes that they are not to hold it any more.
func (t *guardTx) remove(jail string, id netip.Prefix) {
	x := t.f.guard.index
	if n, ok := x.jails[jail]; ok && x.get(n, id.Masked()) != noMore {
		t.set(jail, id, noMore)
	}
	t.f.noteChanged(jail, id, true)
}

// clear notes that they are to hold nothing.
func (t *guardTx) clear(jail string) {
	x := t.f.guard.index
	if j := t.f.jails[jail]; j != nil && j.readers > 0 {
		j.epoch++
	}
	n, ok := x.jails[jail]
	if !ok {
		return
	}
	var all []netip.Prefix
	x.of(n, func(id netip.Prefix) { all = append(all, id) })
	for _, id := range all {
		t.set(jail, id, noMore)
	}
}

// rollback has everything as it was.
func (t *guardTx) rollback() {
	for _, u := range slices.Backward(t.undo) {
		t.f.guard.index.put(u.jail, u.id, u.end)
	}
	t.undo = nil
}

// write puts what changes in the guard's sets into a transaction. An element that may be
// there is added, removed, and added with its new time: to remove what is not there any
// more would fail, and to add what is there changes no time before Linux 6.12. It comes
// behind what changes in the jails' sets, so that the guard's time begins later.
func (t *guardTx) write(b elementSink) {
	g := &t.f.guard
	if g.sets == nil {
		return
	}
	type change struct {
		key      netip.Prefix
		was, end uint32
	}
	todo := map[guardKind][]change{}
	g.index.tick()
	now := g.index.now()
	for key, was := range t.was {
		end := g.index.end(key)
		if end < now { // it ends by itself
			end = noMore
		}
		if was != end {
			k := kindOfKey(key)
			todo[k] = append(todo[k], change{key, was, end})
		}
	}
	for k, all := range todo {
		set := g.sets[k]
		spanOf := func(c change) span { return span{c.key.Addr(), c.key.Addr(), guardLeft(c.end, now)} }
		for _, step := range []func(*nftables.Set, span){b.put, b.take} {
			for _, c := range all {
				if c.was != noMore {
					step(set, spanOf(c))
				}
			}
		}
		for _, c := range all {
			if c.end != noMore {
				b.put(set, spanOf(c))
			}
		}
	}
}

// size is how many elements write writes at most.
func (t *guardTx) size() int {
	if t.f.guard.sets == nil {
		return 0
	}
	return 3 * len(t.was)
}

// guardLeft is how long the guard is to have something that ends then.
func guardLeft(end, now uint32) time.Duration {
	if end == forEver || end < now {
		return 0
	}
	return time.Duration(end-now)*time.Second + guardSlack
}

// widen makes the sets that changes need: those of jails, and the guard's.
func (f *Firewall) widen(changes []Change) error {
	g := &f.guard
	more := false
	for _, ch := range changes {
		if ch.Remove || ch.Clear {
			continue
		}
		if j := f.jails[ch.Jail]; j != nil {
			if kind := j.rule.kindOf(ch.ID); j.sets[kind] == nil {
				j.want[kind], more = true, true
			}
		}
		if k := kindOfKey(guardKey(ch.ID)); g.sets != nil && g.sets[k] == nil {
			if g.need == nil {
				g.need = map[guardKind]bool{}
			}
			g.need[k], more = true, true
		}
	}
	if !more {
		return nil
	}
	if g.sets == nil { // there may be one behind it
		g.need = map[guardKind]bool{}
		for _, ch := range changes {
			if !ch.Remove && !ch.Clear {
				g.need[kindOfKey(guardKey(ch.ID))] = true
			}
		}
	}
	report, err := f.settle(false)
	f.aside.add(report)
	return err
}

// guardSpans returns all that the guard is to have.
func (f *Firewall) guardSpans() map[guardKind][]span {
	ends := map[netip.Prefix]uint32{}
	x := f.guard.index
	now := x.now()
	x.all(func(key netip.Prefix, h holding) {
		if h.end >= now {
			ends[key] = max(ends[key], h.end)
		}
	})
	out := map[guardKind][]span{}
	for key, end := range ends {
		k := kindOfKey(key)
		out[k] = append(out[k], span{key.Addr(), lastOf(key), guardLeft(end, now)})
	}
	return out
}

// guardFill is how far the guard's sets are filled: from the end of each table to its
// beginning.
type guardFill struct {
	kinds []guardKind
	at    int // what of the first of kinds is left; -1: all
	moves int
}

// fillGuard fills the guard's sets in pieces, if they are to be, and puts up the rules
// then. Between two pieces others have their turn.
func (f *Firewall) fillGuard() (report Report, err error) {
	for done := false; !done && err == nil; {
		f.mu.Lock()
		g := &f.guard
		if g.state != guardFilling {
			f.mu.Unlock()
			break
		}
		if g.fill != nil {
			err = f.fillSome()
		}
		if err == nil && g.fill == nil {
			done = true
			report, err = f.settle(false)
		}
		f.mu.Unlock()
	}
	return report, err
}

// fillSome is one piece. The caller holds the lock.
func (f *Firewall) fillSome() error {
	g := &f.guard
	fill, x := g.fill, g.index
	if len(fill.kinds) == 0 {
		g.fill = nil
		return nil
	}
	k := fill.kinds[0]
	keys := map[netip.Prefix]bool{}
	some := func(n, moves int, all func(from, to int)) {
		if fill.at < 0 || moves != fill.moves {
			fill.at, fill.moves = n, moves // from its end, once more
		}
		from := max(fill.at-guardAtOnce, 0)
		all(from, fill.at)
		fill.at = from
	}
	switch {
	case k.six && x.six[k.bits] != nil:
		t := x.six[k.bits]
		some(len(t.ends), t.moves, func(from, to int) {
			t.all(from, to, func(key [16]byte, _ uint16, _ uint32) { keys[netip.PrefixFrom(netip.AddrFrom16(key), k.bits)] = true })
		})
	case !k.six && x.four[k.bits] != nil:
		t := x.four[k.bits]
		some(len(t.ends), t.moves, func(from, to int) {
			t.all(from, to, func(key uint32, _ uint16, _ uint32) { keys[keyOf4(key, k.bits)] = true })
		})
	default:
		fill.at = 0
	}
	if fill.at == 0 {
		for key := range x.rough {
			if kindOfKey(key) == k {
				keys[key] = true
			}
		}
		fill.kinds, fill.at = fill.kinds[1:], -1
	}
	t := f.guardTx(0)
	for key := range keys {
		t.was[key] = noMore
	}
	return f.guardOnly(t)
}

// guardOnly is a transaction that changes nothing but the guard.
func (f *Firewall) guardOnly(t *guardTx) error {
	if len(t.was) == 0 || f.guard.sets == nil {
		return nil
	}
	b := newBatch(t.size() * batchElement)
	t.write(b)
	if err := f.gens.own(b.send); err != nil {
		f.guard.doubt = true
		f.guardDue.Store(true)
		return explain("change the guard's sets", err)
	}
	return nil
}

// noteChanged keeps in mind that what is being read of a jail's sets is no longer so.
func (f *Firewall) noteChanged(jail string, id netip.Prefix, certain bool) {
	if j := f.jails[jail]; j != nil && j.readers > 0 {
		j.changed[id.Masked()] = j.changed[id.Masked()] || certain
	}
}

// reading notes that a jail's sets are about to be read; the caller holds the lock.
func (j *jailSets) reading() (epoch int) {
	if j.readers++; j.readers == 1 {
		j.changed = map[netip.Prefix]bool{}
	}
	return j.epoch
}

// hasRead is for the end of it; the caller holds the lock.
func (j *jailSets) hasRead() {
	if j.readers--; j.readers == 0 {
		j.changed = nil
	}
}

// learn takes over what a jail's sets hold, as it was read within the last age, since its
// epoch was that.
func (f *Firewall) learn(jail string, j *jailSets, epoch int, held []Element, age time.Duration) error {
	if f.jails[jail] != j || j.epoch != epoch {
		return nil // it was emptied or made anew meanwhile
	}
	x := f.guard.index
	n, _ := x.number(jail)
	x.tick()
	now, early := x.now(), uint32(age/time.Second)+1+endAgrees
	for chunk := range slices.Chunk(held, perTransaction) {
		t := f.guardTx(0)
		changes := make([]Change, 0, len(chunk))
		for _, e := range chunk {
			certain, changed := j.changed[e.ID.Masked()]
			if certain {
				continue
			}
			is, end := x.get(n, e.ID.Masked()), x.endOf(e.Left)
			if is == end || is != forEver && end != forEver && is >= now && is+early >= end && is <= end+endAgrees {
				continue
			}
			changes = append(changes, Change{Jail: jail, ID: e.ID, Left: e.Left, Replace: !changed})
		}
		if err := f.widen(changes); err != nil {
			return err
		}
		for _, ch := range changes {
			t.put(jail, ch.ID, ch.Left, ch.Replace)
		}
		if err := f.guardOnly(t); err != nil {
			return err // what is known is true, whatever the guard has
		}
	}
	if !j.known {
		j.known = true
		f.guardDue.Store(true)
	}
	return nil
}

// CheckGuard compares what the guard's sets hold with what they should, and returns how
// much they lacked, and how much they had for nothing. It reads them, which takes as long
// as Elements does.
func (f *Firewall) CheckGuard() (lacked, idle int, err error) {
	f.mu.Lock()
	sets := f.guard.sets
	if f.guard.state != guardUp {
		sets = nil
	}
	room := map[guardKind]int{}
	for k := range sets {
		room[k] = f.guard.index.lenOf(k)
	}
	f.mu.Unlock()
	for k, set := range sets {
		began := time.Now()
		held := make([]guardHeld, 0, room[k])
		more, less := 0, 0
		for read := 1; ; read++ {
			if held, err = readInto(f, set.Name, held, k.held, guardHeld.compare); err != nil {
				return lacked, idle, err
			}
			if read > 1 { // what was read last of each is true
				slices.Reverse(held)
				slices.SortStableFunc(held, guardHeld.compare)
				held = slices.CompactFunc(held, func(a, b guardHeld) bool { return a.key == b.key })
			}
			// While the kernel moves a hash set into a larger table, some of it isn't told.
			last := read == maxReads
			if more, less, err = f.compareGuard(k, set, held, time.Since(began), last); err != nil {
				return lacked, idle, err
			}
			if more == 0 || last {
				break
			}
		}
		lacked, idle = lacked+more, idle+less
	}
	return lacked, idle, nil
}

// guardHeld is an element of one of the guard's sets: 24 bytes, since there may be a million.
type guardHeld struct {
	key  [16]byte
	left time.Duration // 0: for ever
}

func (a guardHeld) compare(b guardHeld) int { return bytes.Compare(a.key[:], b.key[:]) }

func (k guardKind) held(e element) (guardHeld, bool) {
	a, ok := netip.AddrFromSlice(e.key)
	if !ok || a.Is4() == k.six {
		return guardHeld{}, false
	}
	p, err := a.Prefix(k.bits)
	return guardHeld{p.Addr().As16(), e.left}, err == nil
}

func (k guardKind) addr(key [16]byte) netip.Addr {
	if k.six {
		return netip.AddrFrom16(key)
	}
	return netip.AddrFrom4([4]byte(key[12:]))
}

func (f *Firewall) compareGuard(k guardKind, set *nftables.Set, held []guardHeld, age time.Duration, last bool) (lacked, idle int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &f.guard
	if g.sets[k] != set {
		return 0, 0, nil
	}
	x := g.index
	t := f.guardTx(0)
	now := x.now()
	seen := x.seen(k)
	for _, h := range held {
		key := netip.PrefixFrom(k.addr(h.key), k.bits)
		end := max(seen.end(key, now), noMore)
		switch {
		case end == noMore && h.left > 0 && h.left <= guardSlack+age+2*time.Second: // it ends by itself
		case end == noMore:
			idle++
			t.was[key] = forEver
		case h.left > 0 && (end == forEver || h.left+age+time.Second < time.Duration(end-now)*time.Second):
			lacked++
			t.was[key] = firstEnd // it may be there, for another time
		}
	}
	seen.others(now, func(key netip.Prefix) {
		if _, twice := t.was[key]; !twice {
			lacked++
			t.was[key] = firstEnd
		}
	})
	if lacked > 0 && !last {
		return lacked, idle, nil
	}
	return lacked, idle, f.guardOnly(t)
}

// GuardDue reports whether the guard can be made or is to be made anew: Check does it.
func (f *Firewall) GuardDue() bool { return f.guardDue.Load() }

// Unread returns the jails of which it is not known what their sets hold, so that there
// is no guard: Elements finds out.
func (f *Firewall) Unread() (jails []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, j := range f.jails {
		if !j.known {
			jails = append(jails, name)
		}
	}
	slices.Sort(jails)
	return jails
}

// lowerGuard takes the guard away, so that who comes after us and puts rules into our
// chain need not know of it. The caller holds the lock.
func (f *Firewall) lowerGuard() error {
	if f.guard.sets == nil {
		return nil
	}
	s, err := f.look()
	if err != nil {
		return err
	}
	p := &plan{f: f, s: s, delRules: map[uint64]*foundRule{}}
	for _, r := range s.rules {
		switch {
		case r.isGuard():
			p.delRules[r.handle] = r
		case !p.ours(r):
			p.strangers = append(p.strangers, r)
		}
	}
	p.takeGuard(nil, true)
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	if err := p.write(c); err != nil {
		return err
	}
	return f.gens.own(c.Flush)
}
