package ban

import (
	"hash/maphash"
	"math"
	"time"
)

// The bans of a list lie in pages, without pointers, so that a million of them take some 80
// bytes each and nothing of the collector's time. A ban is told by its place. What few bans
// have, a name in place of an address, or an address beside it, lies elsewhere.

// place is a ban, as its page holds it: 64 bytes.
type place struct {
	key            key
	flags          uint8
	count          int32
	start, end     int64 // in seconds since 1970
	startNs, endNs int32
	failures       int32
	heap           int32  // where it is in the heap of ends, from 1 on; 0: not in it. Of a free place: the next one
	no             uint64 // in which order they were put on the list; 0: the place is free
}

const (
	permanent uint8 = 1 << iota
	forced
	beside
	set
)

// pageSize is how many places a page has.
const pageSize = 1 << 10

// table holds bans by their IDs. Place 0 is nobody's.
type table struct {
	pages  []*[pageSize]place
	common []bool // which of the first pages a snapshot may have, too
	used   int32  // places that were in use once
	free   int32  // the first free one; 0: none is
	len    int
	index  *[shards]shard // nil: nothing was ever in it
	seed   maphash.Seed
	seeded bool
	loc    *time.Location // of times
	names  map[int32]ID
	ips    map[int32]Address
}

// shards are parts of the index, by the hash: a part that has grown too small is made anew
// by itself, which takes no time that anybody would notice.
const shards = 64

// shard is a hash table of places with linear probing.
type shard struct {
	slots []int32 // 0: free
	tags  []uint8 // a part of the hash of each: whose is another one need not be looked at in its page
	len   int
}

// tagOf is the part of a hash that is kept with a place.
func tagOf(h uint64) uint8 { return uint8(h >> 56) }

// at is the ban at a place, to be read.
func (t *table) at(n int32) *place { return &t.pages[n/pageSize][n%pageSize] }

// own is the ban at a place, to be changed.
func (t *table) own(n int32) *place {
	if i := int(n / pageSize); i < len(t.common) && t.common[i] {
		page := *t.pages[i]
		t.pages[i], t.common[i] = &page, false
	}
	return t.at(n)
}

func (t *table) hash(k *key) uint64 {
	if !t.seeded {
		t.seed, t.seeded = maphash.MakeSeed(), true
	}
	return maphash.Comparable(t.seed, *k)
}

// find returns the place of an ID; 0 if it has none.
func (t *table) find(k key) int32 {
	if t.len == 0 {
		return 0
	}
	h := t.hash(&k)
	s := &t.index[h%shards]
	if len(s.slots) == 0 {
		return 0
	}
	mask, tag := uint64(len(s.slots)-1), tagOf(h)
	for i := h / shards & mask; ; i = (i + 1) & mask {
		n := s.slots[i]
		if n == 0 || s.tags[i] == tag && t.at(n).key == k {
			return n
		}
	}
}

// add puts a ban in, of whose ID there is none.
func (t *table) add(b Ban, no uint64) int32 {
	n := t.free
	if n != 0 {
		t.free = t.at(n).heap
	} else {
		if t.used == 0 {
			t.used = 1
		}
		n = t.used
		t.used++
		if int(n/pageSize) == len(t.pages) {
			t.pages = append(t.pages, new([pageSize]place))
		}
	}
	p := t.own(n)
	*p = place{key: keyOf(b.ID), start: b.Start.Unix(), startNs: int32(b.Start.Nanosecond()), no: no, count: small(b.Count), failures: small(b.Failures)}
	if b.Permanent() {
		p.flags |= permanent
	} else {
		p.end, p.endNs = b.End.Unix(), int32(b.End.Nanosecond())
	}
	if b.Set {
		p.flags |= set
	}
	if b.Forced {
		p.flags |= forced
	}
	t.loc = b.Start.Location()
	if b.ID.IsName() {
		if t.names == nil {
			t.names = map[int32]ID{}
		}
		t.names[n] = b.ID
	}
	if b.IP.IsValid() {
		if t.ips == nil {
			t.ips = map[int32]Address{}
		}
		p.flags |= beside
		t.ips[n] = b.IP
	}
	if t.index == nil {
		t.index = new([shards]shard)
	}
	h := t.hash(&p.key)
	s := &t.index[h%shards]
	if 4*(s.len+1) > 3*len(s.slots) {
		t.grow(s)
	}
	s.put(h, n)
	s.len++
	t.len++
	return n
}

func small(n int) int32 { return int32(max(min(n, math.MaxInt32), math.MinInt32)) }

func (s *shard) put(h uint64, n int32) {
	mask := uint64(len(s.slots) - 1)
	i := h / shards & mask
	for s.slots[i] != 0 {
		i = (i + 1) & mask
	}
	s.slots[i], s.tags[i] = n, tagOf(h)
}

// grow makes a shard twice as large.
func (t *table) grow(s *shard) {
	had := s.slots
	s.slots = make([]int32, max(2*len(had), 8))
	s.tags = make([]uint8, len(s.slots))
	for _, n := range had {
		if n != 0 {
			s.put(t.hash(&t.at(n).key), n)
		}
	}
}

// ban is the one at a place.
func (t *table) ban(n int32) Ban {
	p := t.at(n)
	b := p.ban(t.loc)
	if p.key.kind == named {
		b.ID = t.names[n]
	}
	if p.flags&beside != 0 {
		b.IP = t.ips[n]
	}
	return b
}

// ban is the one at a place, without a name and an address beside it.
func (p *place) ban(loc *time.Location) Ban {
	b := Ban{
		ID: ID{addr: p.key.addr, bits: p.key.bits, kind: p.key.kind}, Start: time.Unix(p.start, int64(p.startNs)).In(loc),
		Count: int(p.count), Failures: int(p.failures), Forced: p.flags&forced != 0, Set: p.flags&set != 0,
	}
	if p.flags&permanent == 0 {
		b.End = time.Unix(p.end, int64(p.endNs)).In(loc)
	}
	return b
}

// remove takes a ban out, which is in no heap any more.
func (t *table) remove(n int32) {
	p := t.own(n)
	h := t.hash(&p.key)
	s := &t.index[h%shards]
	mask := uint64(len(s.slots) - 1)
	i := h / shards & mask
	for s.slots[i] != n {
		i = (i + 1) & mask
	}
	// Those behind it that would not be found any more come closer.
	for k := i; ; {
		k = (k + 1) & mask
		o := s.slots[k]
		if o == 0 {
			break
		}
		home := t.hash(&t.at(o).key) / shards & mask
		if (k-home)&mask >= (k-i)&mask {
			s.slots[i], s.tags[i] = o, s.tags[k]
			i = k
		}
	}
	s.slots[i] = 0
	s.len--
	t.len--
	delete(t.names, n)
	delete(t.ips, n)
	*p = place{heap: t.free}
	t.free = n
	if t.len == 0 && t.used > pageSize { // what a flood took is given back
		*t = table{seed: t.seed, seeded: t.seeded, loc: t.loc}
	}
}

// all goes through the places of all bans, in no order. Bans may come and go meanwhile.
func (t *table) all(yield func(int32) bool) {
	for n := int32(1); n < t.used; n++ {
		if t.at(n).no != 0 && !yield(n) {
			return
		}
	}
}

// ends is a heap of places, the one whose ban ends first at its top.
type ends struct {
	of   *table
	heap []int32
}

func (e *ends) before(a, b int32) bool {
	x, y := e.of.at(a), e.of.at(b)
	return x.end < y.end || x.end == y.end && x.endNs < y.endNs
}

func (e *ends) put(i int, n int32) {
	e.heap[i] = n
	if at := int32(i + 1); e.of.at(n).heap != at {
		e.of.own(n).heap = at
	}
}

func (e *ends) push(n int32) {
	e.heap = append(e.heap, n)
	e.up(len(e.heap)-1, n)
}

// up puts n at i, or above.
func (e *ends) up(i int, n int32) {
	for i > 0 {
		above := (i - 1) / 2
		if !e.before(n, e.heap[above]) {
			break
		}
		e.put(i, e.heap[above])
		i = above
	}
	e.put(i, n)
}

// down puts n at i, or below.
func (e *ends) down(i int, n int32) {
	for {
		next := 2*i + 1
		if next >= len(e.heap) {
			break
		}
		if next+1 < len(e.heap) && e.before(e.heap[next+1], e.heap[next]) {
			next++
		}
		if !e.before(e.heap[next], n) {
			break
		}
		e.put(i, e.heap[next])
		i = next
	}
	e.put(i, n)
}

// remove takes a place out, if it is in.
func (e *ends) remove(n int32) {
	i := int(e.of.at(n).heap) - 1
	if i < 0 {
		return
	}
	e.of.own(n).heap = 0
	last := e.heap[len(e.heap)-1]
	e.heap = e.heap[:len(e.heap)-1]
	switch {
	case last == n:
	case i > 0 && e.before(last, e.heap[(i-1)/2]):
		e.up(i, last)
	default:
		e.down(i, last)
	}
	if len(e.heap) == 0 {
		e.heap = nil
	}
}
