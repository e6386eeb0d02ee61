package firewall

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Applier is what a Queue needs of a firewall.
type Applier interface {
	Apply([]Change) error
}

// Queue sends changes to the kernel from a goroutine of its own. What arrives
// while a transaction is under way makes up the next one, so a flood of bans
// costs few transactions and a single ban waits for nobody.
type Queue struct {
	fw      Applier
	failed  func([]Change, error)
	cut     func(banned map[string][]netip.Prefix)
	mu      sync.Mutex
	wake    sync.Cond
	waiting []Change
	busy    bool
	closed  bool
	done    chan struct{}
	pushed  uint64 // changes ever handed over
	applied uint64 // of these, those that the kernel took or refused
	syncs   []awaited
}

// awaited is somebody who waits for the changes up to one.
type awaited struct {
	upTo uint64
	done chan struct{}
}

// NewQueue starts a queue. failed is told of transactions that the kernel
// refused; cut, if not nil, of bans by jail that are in force now.
func NewQueue(fw Applier, failed func([]Change, error), cut func(map[string][]netip.Prefix)) *Queue {
	q := &Queue{fw: fw, failed: failed, cut: cut, done: make(chan struct{})}
	q.wake.L = &q.mu
	go q.run()
	return q
}

// Push hands changes over and returns at once.
func (q *Queue) Push(changes ...Change) {
	q.mu.Lock()
	q.waiting = append(q.waiting, changes...)
	q.pushed += uint64(len(changes))
	q.mu.Unlock()
	q.wake.Broadcast()
}

// Sync waits until everything pushed before is in the kernel or was refused; not for
// what is pushed later. The error is ctx's.
func (q *Queue) Sync(ctx context.Context) error {
	q.mu.Lock()
	if q.applied >= q.pushed {
		q.mu.Unlock()
		return nil
	}
	one := awaited{q.pushed, make(chan struct{})}
	q.syncs = append(q.syncs, one)
	q.mu.Unlock()
	select {
	case <-one.done:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.syncs = slices.DeleteFunc(q.syncs, func(s awaited) bool { return s == one })
	q.mu.Unlock()
	return ctx.Err()
}

// took notes changes that the kernel took or refused. The caller holds the lock.
func (q *Queue) took(n int) {
	q.applied += uint64(n)
	q.syncs = slices.DeleteFunc(q.syncs, func(s awaited) bool {
		if s.upTo > q.applied {
			return false
		}
		close(s.done)
		return true
	})
}

// Close applies what is waiting and ends the queue.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake.Broadcast()
	<-q.done
}

// perTransaction bounds the changes of one transaction.
const perTransaction = 20_000

func (q *Queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closed {
			q.wake.Wait()
		}
		if len(q.waiting) == 0 {
			q.mu.Unlock()
			return
		}
		// In pieces, so that a hundred thousand changes don't stand in memory once
		// more as messages. The next piece is compacted on its own.
		changes := q.waiting
		if len(changes) > perTransaction {
			changes = changes[:perTransaction:perTransaction]
		}
		if i := slices.IndexFunc(changes, func(c Change) bool { return c.Clear }); i == 0 {
			changes = changes[:1:1]
		} else if i > 0 {
			changes = changes[:i:i]
		}
		if q.waiting = q.waiting[len(changes):]; len(q.waiting) == 0 {
			q.waiting = nil
		}
		raw := len(changes)
		changes = compact(changes)
		q.busy = true
		q.mu.Unlock()
		if err := q.fw.Apply(changes); err != nil {
			q.failed(changes, err)
		} else if q.cut != nil {
			banned := map[string][]netip.Prefix{}
			for _, ch := range changes {
				if !ch.Remove && !ch.Clear {
					banned[ch.Jail] = append(banned[ch.Jail], ch.ID)
				}
			}
			if len(banned) > 0 {
				q.cut(banned)
			}
		}
		q.mu.Lock()
		q.busy = false
		q.took(raw)
		q.mu.Unlock()
		q.wake.Broadcast()
	}
}

// compact keeps the last word on each element: one transaction may neither name
// an element twice nor add it before it removes it.
func compact(changes []Change) []Change {
	if len(changes) < 2 {
		return changes
	}
	type key struct {
		jail string
		id   netip.Prefix
	}
	last := make(map[key]int, len(changes))
	var out []Change
	for _, ch := range changes {
		k := key{ch.Jail, ch.ID}
		i, seen := last[k]
		if !seen {
			last[k] = len(out)
			out = append(out, ch)
			continue
		}
		first := out[i]
		// In the kernel before all of this: what was replaced or removed first.
		present := first.Replace || first.Remove
		switch {
		case ch.Remove && !present:
			// Added and removed: the kernel may have it from another time, so ask for
			// the removal all the same.
			out[i] = ch
		case ch.Remove:
			out[i] = ch
		default:
			ch.Replace = present
			out[i] = ch
		}
	}
	return out
}
