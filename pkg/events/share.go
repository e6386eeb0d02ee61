package events

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// How much is kept of what comes often. A failure costs the disk 150 bytes at the most with 500
// of them a second (docs/performance.md), and most of that is spent before this.
const (
	// sharedBurst and sharedRate are bytes of failures, and bytes a second, of all jails.
	sharedBurst = 128 << 10
	sharedRate  = 2 << 10
	// ownBurst and ownRate are what each jail has of its own, whatever the others do.
	ownBurst = 8 << 10
	ownRate  = 64
	// plentyBurst and plentyRate are those of everything else: bans above all, each of which is
	// a transaction of the database.
	plentyBurst = 4 << 20
	plentyRate  = 64 << 10
	// shareNap is for how long a jail that has had its share asks for no more.
	shareNap = time.Second
)

// bucket is a number of bytes that grows with time.
type bucket struct {
	room, most, rate int64
	at               time.Time
}

func (b *bucket) take(now time.Time, n int) bool {
	if d := now.Sub(b.at); d > 0 {
		if more := b.rate * int64(min(d, time.Hour)) / int64(time.Second); more > 0 || b.at.IsZero() {
			b.room = min(b.room+more, b.most)
			b.at = now
		}
	}
	if b.room < int64(n) {
		return false
	}
	b.room -= int64(n)
	return true
}

type lostKey struct {
	kind Kind
	jail string
}

// lost counts events that are not kept one by one.
type lost struct{ n atomic.Uint64 }

// Share is what a jail may add of its failures. It belongs to one goroutine. A nil *Share takes
// none.
type Share struct {
	t     *Table
	own   bucket
	empty time.Time // until then there is no more
	lost  *lost
}

// Share returns a jail's share.
func (t *Table) Share(jail string) *Share {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Share{t: t, own: bucket{most: ownBurst, rate: ownRate, room: ownBurst}, lost: t.lostOf(lostKey{Found, jail})}
}

// Take reports whether an event of about so many bytes may be added; else it was counted. now is
// of a clock that is not set back.
func (s *Share) Take(now time.Time, size int) bool {
	if s == nil {
		return false
	}
	if now.Before(s.empty) {
		s.lose()
		return false
	}
	if s.own.take(now, size) {
		return true
	}
	s.t.mu.Lock()
	ok := s.t.shared.take(now, size)
	s.t.mu.Unlock()
	if !ok {
		s.empty = now.Add(shareNap)
		s.lose()
	}
	return ok
}

func (s *Share) lose() {
	if s.lost.n.Add(1) == 1 {
		s.t.mu.Lock()
		s.t.arm()
		s.t.mu.Unlock()
	}
}

// lostOf returns the count of a kind and jail. The caller holds the lock.
func (t *Table) lostOf(k lostKey) *lost {
	l := t.lost[k]
	if l == nil {
		l = &lost{}
		t.lost[k] = l
	}
	return l
}

// lose counts an event that is not kept. The caller holds the lock.
func (t *Table) lose(k lostKey) {
	if t.lostOf(k).n.Add(1) == 1 {
		t.arm()
	}
}

// arm sees to it that what is not kept is told of in a while. The caller holds the lock.
func (t *Table) arm() {
	if !t.armed && !t.closing {
		t.armed = true
		time.AfterFunc(moreEvery, t.tellLost)
	}
}

// tellLost tells of events that are not kept one by one.
func (t *Table) tellLost() {
	t.mu.Lock()
	t.armed = false
	var keys []lostKey
	for k, l := range t.lost {
		if l.n.Load() > 0 {
			keys = append(keys, k)
		}
	}
	full := len(t.buf) > waitingMost-256*len(keys)
	if full {
		if len(keys) > 0 {
			t.arm()
		}
		t.mu.Unlock()
		return
	}
	counts := map[lostKey]uint64{}
	for _, k := range keys {
		counts[k] = t.lost[k].n.Swap(0)
	}
	t.mu.Unlock()
	slices.SortFunc(keys, func(a, b lostKey) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.jail, b.jail)) })
	for _, k := range keys {
		e := &Event{Kind: More, What: k.kind, Jail: k.jail, Count: int(counts[k])}
		e.Why = "more came than are kept one by one"
		t.add(e, false)
	}
}
