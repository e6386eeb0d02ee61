package check

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"bailiff/pkg/ban"
)

// Set holds the addresses and networks that one jail shuts out. It is told of them as a
// [ban.Watcher], by one goroutine at a time, and asked by any number meanwhile: it is in parts, by a
// hash that nobody outside can foresee, and who asks waits for nobody but who changes that very part, which takes
// microseconds.
//
// It takes 6 to 11 bytes for an address of IPv4, 23 to 46 for one of IPv6 or a network. The zero
// Set is not usable; see [NewSet].
type Set struct {
	// Changed, if not nil, is told of each address and network that comes or goes, when it has, by who changes
	// the set. It is not to be set later.
	Changed func(netip.Prefix)

	seed  maphash.Seed
	parts [setParts]setPart
	len   atomic.Int64
	// How many networks there are of each length, the owner's alone; and which lengths
	// occur, for everybody.
	counts4 [33]int32
	counts6 [129]int32
	lengths [4]atomic.Uint64 // of IPv4; of IPv6 from 0, from 64, 128
}

const setParts = 64

// setPart has what falls to a part of the hash.
type setPart struct {
	mu    sync.RWMutex
	four  table[uint32]  // addresses of IPv4 but 0.0.0.0
	other table[network] // all else
	_     [64]byte       // parts have cache lines of their own
}

// network is an address with the length of its network and 1: the zero network is none.
type network struct {
	addr [16]byte
	bits uint8
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{seed: maphash.MakeSeed()} }

// Len is how many addresses and networks there are.
func (s *Set) Len() int { return int(s.len.Load()) }

// Shut implements ban.Watcher.
func (s *Set) Shut(id ban.ID) { s.change(id, true) }

// Let implements ban.Watcher.
func (s *Set) Let(id ban.ID) { s.change(id, false) }

func (s *Set) change(id ban.ID, add bool) {
	p := id.Prefix()
	if !p.IsValid() {
		return
	}
	var changed bool
	if a := p.Addr(); a.Is4() && p.Bits() == 32 && !a.IsUnspecified() {
		k := four(a)
		h := maphash.Comparable(s.seed, k)
		part := &s.parts[h%setParts]
		part.mu.Lock()
		changed = part.four.change(h, k, add, func(k uint32) uint64 { return maphash.Comparable(s.seed, k) })
		part.mu.Unlock()
	} else {
		k := of(a, p.Bits())
		h := maphash.Comparable(s.seed, k)
		part := &s.parts[h%setParts]
		if add {
			s.count(p, 1) // its length is looked for before it can be found
		}
		part.mu.Lock()
		changed = part.other.change(h, k, add, func(k network) uint64 { return maphash.Comparable(s.seed, k) })
		part.mu.Unlock()
		if add != changed { // it was there already, or has gone
			s.count(p, -1)
		}
	}
	switch {
	case !changed:
		return
	case add:
		s.len.Add(1)
	default:
		s.len.Add(-1)
	}
	if s.Changed != nil {
		s.Changed(p)
	}
}

// count keeps account of which lengths of networks occur.
func (s *Set) count(p netip.Prefix, by int32) {
	counts, at := s.counts6[:], 1+p.Bits()/64
	if p.Addr().Is4() {
		counts, at = s.counts4[:], 0
	}
	counts[p.Bits()] += by
	bit := uint64(1) << (p.Bits() % 64)
	switch l := &s.lengths[at]; {
	case counts[p.Bits()] > 0:
		l.Or(bit)
	default:
		l.And(^bit)
	}
}

// Holds reports whether an address, or a network that it lies in, is shut out.
func (s *Set) Holds(a netip.Addr) bool {
	if s.len.Load() == 0 {
		return false
	}
	if a.Is4() {
		if !a.IsUnspecified() {
			k := four(a)
			h := maphash.Comparable(s.seed, k)
			part := &s.parts[h%setParts]
			part.mu.RLock()
			held := part.four.has(h, k)
			part.mu.RUnlock()
			if held {
				return true
			}
		}
		return s.within(a, s.lengths[0].Load(), 0)
	}
	return s.within(a, s.lengths[3].Load(), 128) || s.within(a, s.lengths[2].Load(), 64) || s.within(a, s.lengths[1].Load(), 0)
}

// Has reports whether just that address or network was shut out.
func (s *Set) Has(p netip.Prefix) bool {
	if a := p.Addr(); a.Is4() && p.Bits() == 32 && !a.IsUnspecified() {
		k := four(a)
		h := maphash.Comparable(s.seed, k)
		part := &s.parts[h%setParts]
		part.mu.RLock()
		defer part.mu.RUnlock()
		return part.four.has(h, k)
	}
	k := of(p.Addr(), p.Bits())
	h := maphash.Comparable(s.seed, k)
	part := &s.parts[h%setParts]
	part.mu.RLock()
	defer part.mu.RUnlock()
	return part.other.has(h, k)
}

// All goes through what there is, part by part: what comes or goes meanwhile may be among it or
// not.
func (s *Set) All() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for i := range s.parts {
			part := &s.parts[i]
			part.mu.RLock()
			fours, others := slices.Clone(part.four.slots), slices.Clone(part.other.slots)
			part.mu.RUnlock()
			for _, k := range fours {
				if k != 0 && !yield(netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}), 32)) {
					return
				}
			}
			for _, k := range others {
				if k != (network{}) && !yield(k.prefix()) {
					return
				}
			}
		}
	}
}

func (n network) prefix() netip.Prefix {
	a := netip.AddrFrom16(n.addr)
	if bits := int(n.bits) - 1; bits <= 128 {
		return netip.PrefixFrom(a, bits)
	}
	return netip.PrefixFrom(a.Unmap(), int(n.bits)-130)
}

// within looks for the networks of some lengths, the longest first.
func (s *Set) within(a netip.Addr, lengths uint64, from int) bool {
	for lengths != 0 {
		n := bits.Len64(lengths) - 1
		lengths &^= 1 << n
		p, err := a.Prefix(from + n)
		if err != nil {
			continue
		}
		k := of(p.Addr(), from+n)
		h := maphash.Comparable(s.seed, k)
		part := &s.parts[h%setParts]
		part.mu.RLock()
		held := part.other.has(h, k)
		part.mu.RUnlock()
		if held {
			return true
		}
	}
	return false
}

func four(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// of is a network; those of IPv4 are told from mapped ones by their lengths, which no set has of those.
func of(a netip.Addr, length int) network {
	n := network{addr: a.As16(), bits: uint8(length) + 1}
	if a.Is4() {
		n.bits += 129
	}
	return n
}

// table is a hash table with linear probing, at most three quarters full. Its zero key is
// none.
type table[K comparable] struct {
	slots []K
	len   int
}

func (t *table[K]) has(h uint64, k K) bool {
	if t.len == 0 {
		return false
	}
	var none K
	mask := uint64(len(t.slots) - 1)
	for i := h / setParts & mask; ; i = (i + 1) & mask {
		switch t.slots[i] {
		case k:
			return true
		case none:
			return false
		}
	}
}

// change puts a key in or takes it out, and reports whether that changed anything.
func (t *table[K]) change(h uint64, k K, add bool, hash func(K) uint64) bool {
	if t.has(h, k) == add {
		return false
	}
	if add {
		if 4*(t.len+1) > 3*len(t.slots) {
			t.resize(max(2*len(t.slots), 8), hash)
		}
		t.put(h, k)
		t.len++
		return true
	}
	t.remove(h, k, hash)
	if t.len--; t.len == 0 {
		t.slots = nil
	} else if len(t.slots) > 64 && 8*t.len < len(t.slots) { // what a flood took is given back
		t.resize(len(t.slots)/2, hash)
	}
	return true
}

func (t *table[K]) put(h uint64, k K) {
	var none K
	mask := uint64(len(t.slots) - 1)
	i := h / setParts & mask
	for t.slots[i] != none {
		i = (i + 1) & mask
	}
	t.slots[i] = k
}

func (t *table[K]) resize(n int, hash func(K) uint64) {
	var none K
	had := t.slots
	t.slots = make([]K, n)
	for _, k := range had {
		if k != none {
			t.put(hash(k), k)
		}
	}
}

// remove takes out a key that is there; those behind it that would not be found any more come closer.
func (t *table[K]) remove(h uint64, k K, hash func(K) uint64) {
	var none K
	mask := uint64(len(t.slots) - 1)
	i := h / setParts & mask
	for t.slots[i] != k {
		i = (i + 1) & mask
	}
	for at := i; ; {
		at = (at + 1) & mask
		o := t.slots[at]
		if o == none {
			break
		}
		home := hash(o) / setParts & mask
		if (at-home)&mask >= (at-i)&mask {
			t.slots[i] = o
			i = at
		}
	}
	t.slots[i] = none
}
