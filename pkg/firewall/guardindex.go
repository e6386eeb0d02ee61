package firewall

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Who bans what until when, as far as the guard has to know: it holds an address until
// the last jail lets it go. For a million bans there must be little of it, so that it is
// kept in tables of 10 bytes an entry (22 for IPv6), half to four fifths full.

// guardIndex is what jails hold, by the guard's keys. It is not safe for concurrent use.
type guardIndex struct {
	base  time.Time
	at    time.Duration               // since base, as of the last tick
	four  map[int]*holdings[uint32]   // by the length of keys
	six   map[int]*holdings[[16]byte] // the same
	rough map[netip.Prefix][]holding  // networks of which the key is but a part, or more than all
	jails map[string]uint16
	names []string // by number; "" is free
}

// holding is that a jail has an address or network in its sets.
type holding struct {
	id   netip.Prefix
	jail uint16
	end  uint32
}

// Ends are seconds since base, so that they are of the clock that the kernel's timers
// run by, which nobody sets.
const (
	noEntry  = 0
	noMore   = 1 // there was one
	firstEnd = 2
	forEver  = math.MaxUint32
)

// endAgrees is by how many seconds an end may differ from what is known and still be
// the same: whoever says it anew reckons anew.
const endAgrees = 2

func newGuardIndex() *guardIndex {
	return &guardIndex{
		base: time.Now(), four: map[int]*holdings[uint32]{}, six: map[int]*holdings[[16]byte]{},
		rough: map[netip.Prefix][]holding{}, jails: map[string]uint16{},
	}
}

// tick looks at the clock: for many in a row, once will do.
func (x *guardIndex) tick() { x.at = time.Since(x.base) }

func (x *guardIndex) now() uint32 {
	return uint32(min(firstEnd+int64(x.at/time.Second), forEver-1))
}

// endOf is when something ends that lasts for so long; 0: for ever.
func (x *guardIndex) endOf(left time.Duration) uint32 {
	if left == 0 {
		return forEver
	}
	return uint32(min(firstEnd+int64((x.at+left+time.Second-1)/time.Second), forEver-1))
}

// over reports whether an end has been for so long that not even the guard can still
// have it.
func over(end, now uint32) bool { return end != forEver && uint64(end)+guardGrace < uint64(now) }

// number returns the number of a jail. Not ok: there are too many.
func (x *guardIndex) number(jail string) (n uint16, ok bool) {
	if n, ok := x.jails[jail]; ok {
		return n, true
	}
	at := -1
	for i, name := range x.names {
		if name == "" {
			at = i
			break
		}
	}
	if at < 0 {
		if len(x.names) > math.MaxUint16 {
			return 0, false
		}
		at = len(x.names)
		x.names = append(x.names, "")
	}
	x.names[at] = jail
	x.jails[jail] = uint16(at)
	return uint16(at), true
}

// put notes that a jail holds something until end, or with noMore that it does not, and
// returns until when it did; noMore: not at all.
func (x *guardIndex) put(jail uint16, id netip.Prefix, end uint32) (was uint32) {
	key := guardKey(id)
	if key != id {
		return x.putRough(key, holding{id, jail, end})
	}
	if a := id.Addr(); a.Is4() {
		b := a.As4()
		return holdingsOf(x.four, id.Bits()).put(binary.BigEndian.Uint32(b[:]), jail, end, x.now())
	} else {
		return holdingsOf(x.six, id.Bits()).put(a.As16(), jail, end, x.now())
	}
}

func (x *guardIndex) putRough(key netip.Prefix, h holding) (was uint32) {
	list := x.rough[key]
	for i, o := range list {
		if o.jail != h.jail || o.id != h.id {
			continue
		}
		if h.end != noMore {
			list[i].end = h.end
			return o.end
		}
		list[i] = list[len(list)-1]
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(x.rough, key)
		} else {
			x.rough[key] = list
		}
		return o.end
	}
	if h.end == noMore {
		return noMore
	}
	now, n := x.now(), 0
	for _, o := range list {
		if !over(o.end, now) {
			list[n] = o
			n++
		}
	}
	x.rough[key] = append(list[:n], h)
	return noMore
}

// get returns until when a jail holds something; noMore: it does not.
func (x *guardIndex) get(jail uint16, id netip.Prefix) (end uint32) {
	end = noMore
	x.each(guardKey(id), func(h holding) {
		if h.jail == jail && h.id == id {
			end = h.end
		}
	})
	return end
}

// each hands over who holds something of a key.
func (x *guardIndex) each(key netip.Prefix, f func(holding)) {
	if a := key.Addr(); a.Is4() {
		if t := x.four[key.Bits()]; t != nil {
			b := a.As4()
			t.each(binary.BigEndian.Uint32(b[:]), func(jail uint16, end uint32) { f(holding{key, jail, end}) })
		}
	} else if t := x.six[key.Bits()]; t != nil {
		t.each(a.As16(), func(jail uint16, end uint32) { f(holding{key, jail, end}) })
	}
	for _, h := range x.rough[key] {
		f(h)
	}
}

// end returns until when the last one holds a key; noMore: nobody does. What is over for
// less than guardGrace counts: the kernel may still have it.
func (x *guardIndex) end(key netip.Prefix) uint32 {
	end, now := uint32(noMore), x.now()
	x.each(key, func(h holding) {
		if h.end > end && !over(h.end, now) {
			end = h.end
		}
	})
	return end
}

// of hands over everything that a jail holds. f must not change the index.
func (x *guardIndex) of(jail uint16, f func(id netip.Prefix)) {
	x.all(func(_ netip.Prefix, h holding) {
		if h.jail == jail {
			f(h.id)
		}
	})
}

// all hands over everything with its key. f must not change the index.
func (x *guardIndex) all(f func(key netip.Prefix, h holding)) {
	for bits, t := range x.four {
		t.all(0, len(t.ends), func(k uint32, jail uint16, end uint32) {
			key := keyOf4(k, bits)
			f(key, holding{key, jail, end})
		})
	}
	for bits, t := range x.six {
		t.all(0, len(t.ends), func(k [16]byte, jail uint16, end uint32) {
			key := netip.PrefixFrom(netip.AddrFrom16(k), bits)
			f(key, holding{key, jail, end})
		})
	}
	for key, list := range x.rough {
		for _, h := range list {
			f(key, h)
		}
	}
}

func keyOf4(k uint32, bits int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], k)
	return netip.PrefixFrom(netip.AddrFrom4(b), bits)
}

// forget takes a jail out that holds nothing any more.
func (x *guardIndex) forget(jail string) {
	if n, ok := x.jails[jail]; ok {
		x.names[n] = ""
		delete(x.jails, jail)
	}
}

// len is how many entries there are, of those that are over some, too.
func (x *guardIndex) len() (n int) {
	for _, t := range x.four {
		n += t.live
	}
	for _, t := range x.six {
		n += t.live
	}
	return n + len(x.rough)
}

// lenOf is how many there are of one kind, but for those of rough.
func (x *guardIndex) lenOf(k guardKind) int {
	if t := x.four[k.bits]; !k.six && t != nil {
		return t.live
	}
	if t := x.six[k.bits]; k.six && t != nil {
		return t.live
	}
	return 0
}

// kinds returns the sets that the guard has to have for what is in the index, and those
// for addresses in any case.
func (x *guardIndex) kinds() map[guardKind]bool {
	out := map[guardKind]bool{{false, 32}: true, {true, 128}: true}
	for bits, t := range x.four {
		if t.live > 0 {
			out[guardKind{false, bits}] = true
		}
	}
	for bits, t := range x.six {
		if t.live > 0 {
			out[guardKind{true, bits}] = true
		}
	}
	for key := range x.rough {
		out[kindOfKey(key)] = true
	}
	return out
}

// some reports whether something of a kind is there that is not about to end.
func (x *guardIndex) some(k guardKind) bool {
	soon := x.now() + endAgrees
	found := false
	look := func(end uint32) bool {
		found = found || end > soon
		return !found
	}
	if t := x.four[k.bits]; !k.six && t != nil {
		t.until(look)
	}
	if t := x.six[k.bits]; k.six && t != nil {
		t.until(look)
	}
	for key, list := range x.rough {
		if kindOfKey(key) == k {
			for _, h := range list {
				look(h.end)
			}
		}
	}
	return found
}

// guardSeen tells who was asked for among those of a kind: a bit for each place of its table.
// The index must not change meanwhile.
type guardSeen struct {
	of    *guardIndex
	kind  guardKind
	bits  []uint64
	rough map[netip.Prefix]bool
}

func (x *guardIndex) seen(k guardKind) *guardSeen {
	s := &guardSeen{of: x, kind: k, rough: map[netip.Prefix]bool{}}
	n := 0
	if t := x.four[k.bits]; !k.six && t != nil {
		n = len(t.ends)
	}
	if t := x.six[k.bits]; k.six && t != nil {
		n = len(t.ends)
	}
	s.bits = make([]uint64, (n+63)/64)
	return s
}

// end returns until when the last one holds a key of the kind; noMore or less: nobody does
// that isn't over.
func (s *guardSeen) end(key netip.Prefix, now uint32) (end uint32) {
	look := func(at int, e uint32) {
		if at >= 0 {
			s.bits[at/64] |= 1 << (at % 64)
		}
		if e >= now {
			end = max(end, e)
		}
	}
	if a := key.Addr(); s.kind.six {
		if t := s.of.six[s.kind.bits]; t != nil {
			t.places(a.As16(), func(at int) { look(at, t.ends[at]) })
		}
	} else if t := s.of.four[s.kind.bits]; t != nil {
		b := a.As4()
		t.places(binary.BigEndian.Uint32(b[:]), func(at int) { look(at, t.ends[at]) })
	}
	if list := s.of.rough[key]; len(list) > 0 {
		s.rough[key] = true
		for _, h := range list {
			look(-1, h.end)
		}
	}
	return end
}

// others hands over the keys of those who were not asked for and aren't over, some more than
// once.
func (s *guardSeen) others(now uint32, f func(key netip.Prefix)) {
	is := func(at int, end uint32) bool { return end > noMore && end >= now && s.bits[at/64]&(1<<(at%64)) == 0 }
	if t := s.of.four[s.kind.bits]; !s.kind.six && t != nil {
		for i, end := range t.ends {
			if is(i, end) {
				f(keyOf4(t.keys[i], s.kind.bits))
			}
		}
	}
	if t := s.of.six[s.kind.bits]; s.kind.six && t != nil {
		for i, end := range t.ends {
			if is(i, end) {
				f(netip.PrefixFrom(netip.AddrFrom16(t.keys[i]), s.kind.bits))
			}
		}
	}
	for key, list := range s.of.rough {
		if kindOfKey(key) != s.kind || s.rough[key] {
			continue
		}
		for _, h := range list {
			if h.end >= now {
				f(key)
			}
		}
	}
}

// until hands over ends while f says so.
func (t *holdings[K]) until(f func(end uint32) bool) {
	for _, end := range t.ends {
		if end > noMore && !f(end) {
			return
		}
	}
}

// holdings is a table of who holds what: open addressing, with an entry for each jail.
type holdings[K comparable] struct {
	seed  maphash.Seed
	keys  []K
	ends  []uint32
	jails []uint16
	used  int // entries and what is left of some
	live  int
	moves int // how often entries have changed their places
}

func holdingsOf[K comparable](m map[int]*holdings[K], bits int) *holdings[K] {
	t := m[bits]
	if t == nil {
		t = &holdings[K]{seed: maphash.MakeSeed()}
		m[bits] = t
	}
	return t
}

func (t *holdings[K]) home(k K) int {
	at, _ := bits.Mul64(maphash.Comparable(t.seed, k), uint64(len(t.ends)))
	return int(at)
}

func (t *holdings[K]) each(k K, f func(jail uint16, end uint32)) {
	t.places(k, func(i int) { f(t.jails[i], t.ends[i]) })
}

// places hands over where the entries of a key are.
func (t *holdings[K]) places(k K, f func(at int)) {
	if t.live == 0 {
		return
	}
	for i := t.home(k); t.ends[i] != noEntry; {
		if t.ends[i] != noMore && t.keys[i] == k {
			f(i)
		}
		if i++; i == len(t.ends) {
			i = 0
		}
	}
}

func (t *holdings[K]) put(k K, jail uint16, end, now uint32) (was uint32) {
	if len(t.ends) == 0 {
		if end == noMore {
			return noMore
		}
		t.resize(now)
	}
	free := -1
	i := t.home(k)
	for ; t.ends[i] != noEntry; i++ {
		switch {
		case t.ends[i] == noMore:
			if free < 0 {
				free = i
			}
		case t.keys[i] == k && t.jails[i] == jail:
			was, t.ends[i] = t.ends[i], end
			if end == noMore {
				if t.live--; len(t.ends) > 256 && t.live < len(t.ends)/8 {
					t.resize(now)
				}
			}
			return was
		}
		if i == len(t.ends)-1 {
			i = -1
		}
	}
	if end == noMore {
		return noMore
	}
	if free < 0 {
		if t.used+1 > len(t.ends)*4/5 {
			t.resize(now)
			return t.put(k, jail, end, now)
		}
		free = i
		t.used++
	}
	t.keys[free], t.jails[free], t.ends[free] = k, jail, end
	t.live++
	return noMore
}

// all hands over the entries of some places.
func (t *holdings[K]) all(from, to int, f func(k K, jail uint16, end uint32)) {
	for i := from; i < to; i++ {
		if t.ends[i] > noMore {
			f(t.keys[i], t.jails[i], t.ends[i])
		}
	}
}

// resize moves what is there into a table that is half full with it, and leaves out what
// is over.
func (t *holdings[K]) resize(now uint32) {
	old := *t
	live := 0
	old.all(0, len(old.ends), func(_ K, _ uint16, end uint32) {
		if !over(end, now) {
			live++
		}
	})
	n := max(16, 2*live)
	*t = holdings[K]{seed: old.seed, keys: make([]K, n), ends: make([]uint32, n), jails: make([]uint16, n), moves: old.moves + 1}
	old.all(0, len(old.ends), func(k K, jail uint16, end uint32) {
		if over(end, now) {
			return
		}
		i := t.home(k)
		for t.ends[i] != noEntry {
			if i++; i == n {
				i = 0
			}
		}
		t.keys[i], t.jails[i], t.ends[i] = k, jail, end
		t.used++
		t.live++
	})
}
