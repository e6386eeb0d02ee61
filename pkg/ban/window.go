// Package ban decides who is banned and for how long: a sliding window of
// failures, the list of bans, the addresses that are never banned. It is pure
// state: the clock is an argument, and nothing here reads a log or talks to a
// kernel. A value belongs to one goroutine.
package ban

import (
	"net/netip"
	"slices"
	"time"
)

// Window counts failures: an address is due for a ban when maxretry of them lie
// within findtime, by the lines' own times.
type Window struct {
	maxRetry int
	findTime time.Duration
	limit    int
	entries  map[netip.Prefix]*entry
	// entries in the order of their last failure, the oldest first, so that
	// forgetting is cheap: a ring through root.
	root entry

	total int // failures ever counted

	// Evicted, if not nil, is told of an address that is forgotten because there is
	// no room.
	Evicted func(netip.Prefix)
}

type entry struct {
	id         netip.Prefix
	times      []int64 // ascending, at most maxRetry, as that was then; in microseconds since 1970
	prev, next *entry
}

// DefaultTracked is how many addresses a window holds before it forgets the one
// that was quiet for longest: about 20 MB at maxretry 5.
const DefaultTracked = 100_000

// NewWindow makes an empty window. limit is the greatest number of addresses
// that it keeps; 0 means DefaultTracked.
func NewWindow(maxRetry int, findTime time.Duration, limit int) *Window {
	if limit <= 0 {
		limit = DefaultTracked
	}
	w := &Window{maxRetry: max(maxRetry, 1), findTime: findTime, limit: limit, entries: map[netip.Prefix]*entry{}}
	w.root.prev, w.root.next = &w.root, &w.root
	return w
}

// Add counts one failure. It reports how many now lie in the window that ends
// with the latest of them, and whether the address is due; then its count
// begins anew.
func (w *Window) Add(id netip.Prefix, at time.Time) (count int, due bool) {
	w.total++
	e := w.entries[id]
	if e == nil {
		if len(w.entries) >= w.limit {
			if w.Evicted != nil {
				w.Evicted(w.root.next.id)
			}
			w.remove(w.root.next)
		}
		e = &entry{id: id}
		w.entries[id] = e
		w.append(e)
	} else if e.next != &w.root {
		e.prev.next, e.next.prev = e.next, e.prev
		w.append(e)
	}

	// Lines may come out of order: put it where it belongs.
	i, when := len(e.times), at.UnixMicro()
	for i > 0 && e.times[i-1] > when {
		i--
	}
	e.times = slices.Insert(e.times, i, when)
	if extra := len(e.times) - w.maxRetry; extra > 0 { // more than one if maxretry was lowered
		e.times = slices.Delete(e.times, 0, extra)
	}
	oldest := e.times[len(e.times)-1] - w.findTime.Microseconds()
	first := 0
	if e.times[0] < oldest {
		first, _ = slices.BinarySearch(e.times, oldest)
	}
	count = len(e.times) - first
	if count >= w.maxRetry {
		w.remove(e)
		return count, true
	}
	return count, false
}

// append puts an entry at the end of the ring.
func (w *Window) append(e *entry) {
	e.prev, e.next = w.root.prev, &w.root
	e.prev.next, w.root.prev = e, e
}

// Limit changes how many failures within what time are one too many. Who has that many
// by then is due with the next.
func (w *Window) Limit(maxRetry int, findTime time.Duration) {
	w.maxRetry, w.findTime = max(maxRetry, 1), findTime
}

// Count returns how many failures of an address are kept.
func (w *Window) Count(id netip.Prefix) int {
	if e := w.entries[id]; e != nil {
		return len(e.times)
	}
	return 0
}

// Times returns the failures of an address that lie in the window, ascending.
func (w *Window) Times(id netip.Prefix) []time.Time {
	e := w.entries[id]
	if e == nil {
		return nil
	}
	out := make([]time.Time, len(e.times))
	for i, t := range e.times {
		out[i] = TimeOf(t)
	}
	return out
}

// Each calls f with every address, the one that was quiet for longest first, and its
// failures as TimeOf reads them. They are not to be kept.
func (w *Window) Each(f func(id netip.Prefix, times []int64)) {
	for e := w.root.next; e != &w.root; e = e.next {
		f(e.id, e.times)
	}
}

// TimeOf is the time of a failure that Each tells.
func TimeOf(t int64) time.Time { return time.UnixMicro(t).UTC() }

// Restore puts back what Times told before a restart. Addresses come in the order
// of their last failures.
func (w *Window) Restore(id netip.Prefix, times []time.Time) {
	if len(times) == 0 || w.entries[id] != nil || len(w.entries) >= w.limit {
		return
	}
	e := &entry{id: id, times: make([]int64, len(times))}
	for i, t := range times {
		e.times[i] = t.UnixMicro()
	}
	w.entries[id] = e
	w.append(e)
}

func (w *Window) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	delete(w.entries, e.id)
}

// Forget drops what is known of an address; it reports whether there was any.
func (w *Window) Forget(id netip.Prefix) bool {
	e := w.entries[id]
	if e != nil {
		w.remove(e)
	}
	return e != nil
}

// Expire forgets the addresses whose last failure is older than findtime, and
// returns them.
func (w *Window) Expire(now time.Time) (forgotten []netip.Prefix) {
	for e := w.root.next; e != &w.root; {
		next := e.next
		if now.UnixMicro()-e.times[len(e.times)-1] <= w.findTime.Microseconds() {
			break // the ring is in the order of arrival: the rest is younger
		}
		w.remove(e)
		forgotten = append(forgotten, e.id)
		e = next
	}
	return forgotten
}

// Len returns the number of addresses with failures in the window.
func (w *Window) Len() int { return len(w.entries) }

// Carry has failures counted that were added to the window before this one.
func (w *Window) Carry(total int) { w.total += total }

// Total returns the number of failures ever added.
func (w *Window) Total() int { return w.total }
