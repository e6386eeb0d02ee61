package ban

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Ban is one address, network or name that is shut out.
type Ban struct {
	ID    ID
	Start time.Time
	End   time.Time // zero: permanent
	// Count is how often the address was banned in the jail, with this time; 0 is
	// taken for 1.
	Count int
	// Failures is how many made the ban; 0 for one made by hand.
	Failures int
	// IP is the address that a line told beside the ID: where there is one, it is that which
	// is shut out.
	IP Address
	// Forced: it was made by hand of who may not be banned.
	Forced bool
	// Set: its end was given by hand, so a bantime that is shorter does not cut it.
	Set bool
}

// Permanent reports whether the ban never ends.
func (b Ban) Permanent() bool { return b.End.IsZero() }

// Element returns the address or network that is shut out; nobody if that is a name.
func (b Ban) Element() ID {
	if a := b.IP.Addr(); a.IsValid() {
		return Of(netip.PrefixFrom(a, a.BitLen()))
	}
	if b.ID.IsName() {
		return ID{}
	}
	return b.ID
}

// IsBeside reports whether who is shut out is not the ID, but an address beside it.
func (b Ban) IsBeside() bool { return b.IP.IsValid() && b.Element() != b.ID }

// Told is the ID for the log.
func (b Ban) Told() string {
	if b.IsBeside() {
		return ToldText(b.ID)
	}
	return Told(b.ID)
}

// Left returns how long the ban still lasts; 0 for a permanent one, and at least
// a millisecond for the others, so that 0 stays unmistakable.
func (b Ban) Left(now time.Time) time.Duration {
	if b.Permanent() {
		return 0
	}
	return max(b.End.Sub(now), time.Millisecond)
}

// List holds the bans of one jail and knows which ends next.
type List struct {
	table    table       // of the bans, by their IDs
	ends     ends        // by their ends
	networks map[int]int // how many bans of more than one address there are, by length
	groups   map[ID]int  // how many bans lie in a network that may be banned as a whole
	group    [2]int      // its length, for IPv4 and IPv6; 0: none
	total    int
	gone     map[ID]struct{} // taken off since Follow; nil: nobody asks
	added    uint64          // bans put on the list
	removed  uint64          // and taken off it
	names    int             // bytes of the names that are banned
	// beside are the IDs of the bans that an address is shut out for, which are not its own.
	beside map[ID]map[ID]struct{}
	watch  Watcher // nil: nobody is told
}

// NewList returns an empty list.
func NewList() *List {
	l := &List{networks: map[int]int{}}
	l.ends.of = &l.table
	return l
}

// Group has bans counted by networks of these lengths; 0: not. The list is empty
// yet.
func (l *List) Group(bits4, bits6 int) {
	l.group = [2]int{bits4, bits6}
	l.groups = map[ID]int{}
}

// Grouped returns the network of Group's length that id lies in, and how many
// bans do; not valid if there is none.
func (l *List) Grouped(id ID) (network ID, bans int) {
	bits := l.group[1]
	if id.Is4() {
		bits = l.group[0]
	}
	if bits == 0 || id.Bits() <= bits {
		return ID{}, 0
	}
	network = id.Within(bits)
	return network, l.groups[network]
}

// counted keeps account of a ban that comes (1) or goes (-1).
func (l *List) counted(b Ban, change int) {
	id := b.ID
	l.names += change * id.Size()
	if b.IP.IsValid() {
		e := b.Element()
		switch who := l.beside[e]; {
		case change < 0:
			if delete(who, id); len(who) == 0 {
				delete(l.beside, e)
			}
		case who == nil:
			if l.beside == nil {
				l.beside = map[ID]map[ID]struct{}{}
			}
			l.beside[e] = map[ID]struct{}{id: {}}
		default:
			who[id] = struct{}{}
		}
		return // what its ID is says nothing of who is shut out
	}
	if id.IsNetwork() {
		key := id.Bits()
		if id.Is4() {
			key = -key
		}
		if l.networks[key] += change; l.networks[key] == 0 {
			delete(l.networks, key)
		}
	}
	if network, _ := l.Grouped(id); network.IsValid() {
		if l.groups[network] += change; l.groups[network] == 0 {
			delete(l.groups, network)
		}
	}
}

// Add puts a ban on the list. It returns the ban that was there before, if any;
// a longer one is not shortened.
func (l *List) Add(b Ban) (old Ban, held bool) {
	if old, held = l.Get(b.ID); held && (old.Permanent() || !b.Permanent() && !b.End.After(old.End)) {
		return old, true
	}
	l.Move(b)
	return old, held
}

// Move is Add that also shortens the ban that was there before.
func (l *List) Move(b Ban) {
	old, held := l.Get(b.ID)
	if held {
		l.take(b.ID)
	} else {
		l.total++
	}
	l.added++
	n := l.table.add(b, l.added)
	l.counted(b, 1)
	if !b.Permanent() {
		l.ends.push(n)
	}
	if l.watch != nil {
		l.tellAdded(b, old, held)
	}
}

// Get returns the ban of exactly that address or network.
func (l *List) Get(id ID) (Ban, bool) {
	if n := l.table.find(keyOf(id)); n != 0 {
		return l.table.ban(n), true
	}
	return Ban{}, false
}

// Holder returns the ban that an address or network is shut out for: of several, that
// which lasts longest. It need not be the one of that ID.
func (l *List) Holder(element ID) (Ban, bool) {
	b, ok := l.Get(element)
	if ok && b.Element() != element {
		b, ok = Ban{}, false
	}
	for id := range l.beside[element] {
		if o, _ := l.Get(id); !ok || !b.Permanent() && (o.Permanent() || o.End.After(b.End)) {
			b, ok = o, true
		}
	}
	return b, ok
}

// Beside returns the addresses that are shut out for bans of others' IDs.
func (l *List) Beside() []ID { return slices.Collect(maps.Keys(l.beside)) }

// IsBeside reports whether an address is one of those.
func (l *List) IsBeside(element ID) bool { return len(l.beside[element]) > 0 }

// Covering returns the ban of a network that holds id, if there is one.
func (l *List) Covering(id ID) (Ban, bool) {
	for key := range l.networks {
		bits := key
		if id.Is4() {
			bits = -key
		}
		if bits < 0 || bits >= id.Bits() {
			continue
		}
		if b, ok := l.Get(id.Within(bits)); ok && !b.IP.IsValid() {
			return b, true
		}
	}
	return Ban{}, false
}

// Inside returns the bans that a network holds, itself left out.
func (l *List) Inside(network ID) []Ban {
	var out []Ban
	for n := range l.table.all {
		if b := l.table.ban(n); network.Holds(b.ID) && !b.IP.IsValid() {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b Ban) int { return a.ID.Compare(b.ID) })
	return out
}

// CountInside returns how many bans are inside a network, without its own.
func (l *List) CountInside(network ID) (count int) {
	for n := range l.table.all {
		if b := l.table.ban(n); network.Holds(b.ID) && !b.IP.IsValid() {
			count++
		}
	}
	return count
}

// Version is another number when a ban was added or removed.
func (l *List) Version() uint64 { return l.added + l.removed }

// Remove takes a ban off the list.
func (l *List) Remove(id ID) (Ban, bool) {
	b, ok := l.take(id)
	if ok && l.watch != nil {
		l.tellRemoved(b)
	}
	return b, ok
}

// take is Remove, of which no watcher is told.
func (l *List) take(id ID) (Ban, bool) {
	n := l.table.find(keyOf(id))
	if n == 0 {
		return Ban{}, false
	}
	b := l.table.ban(n)
	l.ends.remove(n)
	l.table.remove(n)
	l.removed++
	l.Went(id)
	if b.IP.IsValid() {
		l.Went(b.Element())
	}
	l.counted(b, -1)
	return b, true
}

// Expire takes off and returns the bans that have ended by now.
func (l *List) Expire(now time.Time) []Ban { return l.ExpireSome(now, math.MaxInt) }

// ExpireSome is Expire of so many bans at most.
func (l *List) ExpireSome(now time.Time, most int) []Ban {
	var out []Ban
	for len(out) < most && len(l.ends.heap) > 0 {
		b := l.table.ban(l.ends.heap[0])
		if b.End.After(now) {
			break
		}
		l.Remove(b.ID)
		out = append(out, b)
	}
	return out
}

// NextEnd returns when the next ban ends; false if none will.
func (l *List) NextEnd() (time.Time, bool) {
	if len(l.ends.heap) == 0 {
		return time.Time{}, false
	}
	return l.table.ban(l.ends.heap[0]).End, true
}

// All returns the bans in the order in which they were made.
func (l *List) All() []Ban { return slices.AppendSeq(make([]Ban, 0, l.Len()), l.Each()) }

// Each goes through the bans that there are when it begins, in the order in which they were
// made. The list may change meanwhile; those that are gone by then are left out.
func (l *List) Each() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		type one struct {
			no uint64
			at int32
		}
		order := make([]one, 0, l.Len())
		for n := range l.table.all {
			order = append(order, one{l.table.at(n).no, n})
		}
		slices.SortFunc(order, func(a, b one) int { return cmp.Compare(a.no, b.no) })
		for _, o := range order {
			if o.at < l.table.used && l.table.at(o.at).no == o.no && !yield(l.table.ban(o.at)) {
				return
			}
		}
	}
}

// Follow notes from now on which bans are taken off, until Unfollow. It
// returns Mark.
func (l *List) Follow() (mark uint64) {
	l.gone = map[ID]struct{}{}
	return l.added
}

// Gone reports whether a ban was taken off since Follow.
func (l *List) Gone(id ID) bool {
	_, ok := l.gone[id]
	return ok
}

// Went has an address or network counted among those that were taken off.
func (l *List) Went(id ID) {
	if l.gone != nil {
		l.gone[id] = struct{}{}
	}
}

// Mark tells those that are on the list now from later ones.
func (l *List) Mark() uint64 { return l.added }

// Unfollow ends Follow.
func (l *List) Unfollow() { l.gone = nil }

// Before returns the bans that were on the list at a mark, in no order. The list may
// change while they are gone through.
func (l *List) Before(mark uint64) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		for n := range l.table.all {
			if l.table.at(n).no <= mark && !yield(l.table.ban(n)) {
				return
			}
		}
	}
}

// NameBytes returns how many bytes the names of those take that are banned.
func (l *List) NameBytes() int { return l.names }

// Len returns the number of bans in force.
func (l *List) Len() int { return l.table.len }

// Carry has bans counted that were made before this list: total in all, those that
// are on it among them.
func (l *List) Carry(total int) { l.total = max(l.total, total) }

// Total returns the number of bans ever made.
func (l *List) Total() int { return l.total }
