// Package ban decides who is banned and for how long: a sliding window of
// failures, the list of bans, the addresses that are never banned. It is pure
// state: the clock is an argument, and nothing here reads a log or talks to a
// kernel. A value belongs to one goroutine.
package ban

import (
	"crypto/sha256"
	"math"
	"slices"
	"time"
)

// Window counts failures: an address is due for a ban when maxretry of them lie
// within findtime, by the lines' own times.
//
// Who attacks chooses how many addresses there are, so one of them takes little: entries
// lie in one piece, are told by their place in it, and hold a single failure themselves.
type Window struct {
	maxRetry int
	findTime time.Duration
	limit    int
	index    map[key]int32
	// entries are told by their place, the first of which is nobody's; the ring has them in the
	// order of their last failure, the oldest first, so that forgetting is cheap.
	entries []entry
	ring    Ring
	times   []int64 // of the entry at hand
	// marks are those of entries, the last ones of their failures; nil: none are kept.
	marks [][]Mark

	names     map[key]ID // those of entries
	nameBytes int

	changed, spare []ID
	changedAt      []int32 // their places, at that time

	total int // failures ever counted

	// Note is of how many addresses at most it is noted that failures were counted; whoever
	// sets it asks Changed before there are more.
	Note int
	// Evicted, if not nil, is told of an address that is forgotten because there is
	// no room.
	Evicted func(ID)
}

// key is an ID without pointers, in little more than half of its size. Of a name it has
// a sum, and the window has the name.
type key struct {
	addr [16]byte
	bits uint8
	kind kind
}

func keyOf(id ID) key {
	if id.kind != named {
		return key{id.addr, id.bits, id.kind}
	}
	sum := sha256.Sum256([]byte(id.name.Value()))
	return key{[16]byte(sum[:]), sum[16], named}
}

func (w *Window) idOf(k key) ID {
	if k.kind == named {
		return w.names[k]
	}
	return ID{addr: k.addr, bits: k.bits, kind: k.kind}
}

// entry is an address. Its failures are ascending, at most maxRetry, as that was then; in
// microseconds since 1970.
type entry struct {
	key   key
	noted bool // among changed
	first int64
	rest  []int64
}

func (e *entry) last() int64 {
	if n := len(e.rest); n > 0 {
		return e.rest[n-1]
	}
	return e.first
}

// moved is how many failures are moved for one more that takes the oldest one's place. With
// more of them, the oldest is passed over where it is: one more doesn't cost what there are.
const moved = 64

// restLeast is for how many failures there is room with the second one. With four it takes less
// than room that is doubled.
const restLeast = 3

// add puts a failure behind the others, of which it keeps the last most.
func (e *entry) add(when int64, most int) {
	extra := 2 + len(e.rest) - most // more than one if maxretry was lowered
	switch {
	case extra <= 0:
	case extra > len(e.rest):
		e.first, e.rest = when, e.rest[:0]
		return
	default:
		e.first = e.rest[extra-1]
		if len(e.rest) > moved {
			e.rest = e.rest[extra:]
		} else {
			e.rest = e.rest[:copy(e.rest, e.rest[extra:])]
		}
	}
	if e.rest == nil { // not one by one: who fails twice fails more often than that
		e.rest = make([]int64, 0, min(restLeast, most))
	}
	e.rest = append(e.rest, when)
}

// DefaultTracked is how many addresses a window holds before it forgets the one
// that was quiet for longest: about 14 MB with a failure each, 18 MB with four.
const DefaultTracked = 100_000

// NewWindow makes an empty window. limit is the greatest number of addresses
// that it keeps; 0 means DefaultTracked.
func NewWindow(maxRetry int, findTime time.Duration, limit int) *Window {
	if limit <= 0 {
		limit = DefaultTracked
	}
	w := &Window{maxRetry: max(maxRetry, 1), findTime: findTime, limit: limit}
	w.clear()
	return w
}

// namesMost is how many bytes the names of a window take. Beyond it, as beyond the limit,
// who was quiet for longest is forgotten.
const namesMost = 16 << 20

func (w *Window) clear() {
	w.index, w.entries = map[key]int32{}, make([]entry, 1)
	w.ring.Clear()
	w.names, w.nameBytes = nil, 0
	if w.marks != nil {
		w.marks = make([][]Mark, 1)
	}
}

// Add counts one failure. It reports how many now lie in the window that ends
// with the latest of them, and whether the address is due; then its count
// begins anew.
func (w *Window) Add(id ID, at time.Time) (count int, due bool) {
	return w.AddTimes(id, at, 1)
}

// AddNear is Add for who has seen another window count the failure, at a place of it: where both were
// told the same before, the address is at the same one here, and need not be looked for. It returns
// the place here.
func (w *Window) AddNear(id ID, at time.Time, near int32) (count int, due bool, place int32) {
	w.total++
	return w.count(id, at, near)
}

// AddTimes is Add for one failure that counts for so many.
func (w *Window) AddTimes(id ID, at time.Time, times int) (count int, due bool) {
	w.total++
	for ; times > 0 && !due; times-- {
		count, due, _ = w.count(id, at, 0)
	}
	return count, due
}

func (w *Window) count(id ID, at time.Time, near int32) (count int, due bool, n int32) {
	when := at.UnixMicro()
	n, known := w.entryOf(id, near)
	e := &w.entries[n]
	switch {
	case !known:
		e.first = when
	case e.last() <= when:
		e.add(when, w.maxRetry)
	default: // lines may come out of order: put it where it belongs
		times := w.timesOf(n)
		i := len(times)
		for i > 0 && times[i-1] > when {
			i--
		}
		times = slices.Insert(times, i, when)
		w.times = times
		times = times[max(len(times)-w.maxRetry, 0):]
		e.first, e.rest = times[0], append(e.rest[:0], times[1:]...)
	}
	count = 1 + len(e.rest)
	if oldest := e.last() - w.findTime.Microseconds(); e.first < oldest {
		first, _ := slices.BinarySearch(e.rest, oldest)
		count = len(e.rest) - first
	}
	if count >= w.maxRetry {
		w.remove(n)
		return count, true, n
	}
	return count, false, n
}

// entryOf is the entry of an address, as that which failed last; known: it was there before. near is
// where it may be; 0: nobody knows.
func (w *Window) entryOf(id ID, near int32) (n int32, known bool) {
	k := keyOf(id)
	if n, known = w.place(k, near); known {
		w.ring.Renew(n)
	} else {
		w.makeRoom(id)
		n = w.add(id, k)
	}
	if e := &w.entries[n]; !e.noted && len(w.changed) < w.Note {
		e.noted, w.changed, w.changedAt = true, append(w.changed, id), append(w.changedAt, n)
	}
	return n, known
}

// place finds the entry of an address, at first where it may be.
func (w *Window) place(k key, near int32) (n int32, known bool) {
	if near > 0 && int(near) < len(w.entries) && w.entries[near].key == k {
		return near, true
	}
	n, known = w.index[k]
	return n, known
}

// makeRoom forgets who was quiet for longest, until there is room for one more.
func (w *Window) makeRoom(id ID) {
	for len(w.index) >= w.limit || w.nameBytes+id.Size() > namesMost {
		oldest := w.ring.First()
		if w.Evicted != nil {
			w.Evicted(w.idOf(w.entries[oldest].key))
		}
		w.remove(oldest)
	}
}

// add makes an entry, the last of the ring, without a failure.
func (w *Window) add(id ID, k key) int32 {
	if k.kind == named {
		if w.names == nil {
			w.names = map[key]ID{}
		}
		w.names[k] = id
		w.nameBytes += id.Size()
	}
	n := w.ring.Take()
	if int(n) == len(w.entries) {
		if len(w.entries) == cap(w.entries) { // twice as many, but no more than there may be
			more := make([]entry, len(w.entries), max(min(2*len(w.entries), w.limit+1), len(w.entries)+1))
			copy(more, w.entries)
			w.entries = more
		}
		w.entries = append(w.entries, entry{})
	}
	w.entries[n] = entry{key: k}
	if w.marks != nil && int(n) == len(w.marks) {
		w.marks = append(w.marks, nil)
	}
	w.index[k] = n
	return n
}

// timesOf gathers the failures of an entry. They are valid until the next call.
func (w *Window) timesOf(n int32) []int64 {
	e := &w.entries[n]
	w.times = append(append(w.times[:0], e.first), e.rest...)
	return w.times
}

// Limit changes how many failures within what time are one too many. Who has that many
// by then is due with the next.
func (w *Window) Limit(maxRetry int, findTime time.Duration) {
	w.maxRetry, w.findTime = max(maxRetry, 1), findTime
}

// Count returns how many failures of an address are kept.
func (w *Window) Count(id ID) int {
	if n, ok := w.index[keyOf(id)]; ok {
		return 1 + len(w.entries[n].rest)
	}
	return 0
}

// Times returns the failures of an address that lie in the window, ascending.
func (w *Window) Times(id ID) []time.Time {
	n, ok := w.index[keyOf(id)]
	if !ok {
		return nil
	}
	times := w.timesOf(n)
	out := make([]time.Time, len(times))
	for i, t := range times {
		out[i] = TimeOf(t)
	}
	return out
}

// Each calls f with every address, the one that was quiet for longest first, and its
// failures as TimeOf reads them. They are not to be kept, nor the window to be asked
// meanwhile.
func (w *Window) Each(f func(id ID, times []int64)) {
	for n := w.ring.First(); n != 0; n = w.ring.Next(n) {
		f(w.idOf(w.entries[n].key), w.timesOf(n))
	}
}

// TimeOf is the time of a failure that Each tells.
func TimeOf(t int64) time.Time { return time.UnixMicro(t).UTC() }

// Restore puts back what Times told before a restart. Addresses come in the order
// of their last failures.
func (w *Window) Restore(id ID, times []time.Time) {
	k := keyOf(id)
	if _, known := w.index[k]; known || len(times) == 0 || len(w.index) >= w.limit || w.nameBytes+id.Size() > namesMost {
		return
	}
	e := &w.entries[w.add(id, k)]
	e.first = times[0].UnixMicro()
	for _, t := range times[1:] {
		e.rest = append(e.rest, t.UnixMicro())
	}
}

func (w *Window) remove(n int32) {
	w.ring.Drop(n)
	k := w.entries[n].key
	delete(w.index, k)
	if k.kind == named {
		w.nameBytes -= w.names[k].Size()
		delete(w.names, k)
	}
	w.entries[n] = entry{}
	if w.marks != nil {
		w.marks[n] = nil
	}
	if len(w.index) == 0 && len(w.entries) > 1000 {
		w.clear() // what a flood took is given back
	}
}

// Forget drops what is known of an address; it reports whether there was any.
func (w *Window) Forget(id ID) bool {
	n, ok := w.index[keyOf(id)]
	if ok {
		w.remove(n)
	}
	return ok
}

// Expire forgets the addresses whose last failure is older than findtime, and
// returns them.
func (w *Window) Expire(now time.Time) []ID { return w.ExpireSome(now, math.MaxInt) }

// ExpireSome is Expire of so many addresses at most.
func (w *Window) ExpireSome(now time.Time, most int) (forgotten []ID) {
	for {
		n := w.ring.First()
		if n == 0 || len(forgotten) == most || now.UnixMicro()-w.entries[n].last() <= w.findTime.Microseconds() {
			return forgotten // the ring is in the order of arrival: the rest is younger
		}
		forgotten = append(forgotten, w.idOf(w.entries[n].key))
		w.remove(n)
	}
}

// Changes is how many failures' addresses Changed would tell of, or a few more.
func (w *Window) Changes() int { return len(w.changed) }

// spareMost is for how many addresses the memory of Changed is used again.
const spareMost = 4096

// Changed returns whose failures were counted since it was asked the last time; some may be
// told twice. It is valid until it is asked the next time.
func (w *Window) Changed() []ID {
	for i, id := range w.changed {
		if n, ok := w.place(keyOf(id), w.changedAt[i]); ok {
			w.entries[n].noted = false
		}
	}
	out := w.changed
	if w.changedAt = w.changedAt[:0]; cap(w.changedAt) > spareMost {
		w.changedAt = nil
	}
	if w.changed = w.spare[:0]; cap(out) <= spareMost {
		w.spare = out
	} else {
		w.spare = nil
	}
	return out
}

// Len returns the number of addresses with failures in the window.
func (w *Window) Len() int { return len(w.index) }

// Carry has failures counted that were added to the window before this one.
func (w *Window) Carry(total int) { w.total += total }

// Total returns the number of failures ever added.
func (w *Window) Total() int { return w.total }
