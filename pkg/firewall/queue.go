package firewall

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/fair"
)

// Applier is what a Queue needs of a firewall.
type Applier interface {
	Apply([]Change) error
}

// Queue sends changes to the kernel from a goroutine of its own. What arrives
// while a transaction is under way makes up the next one, so a flood of bans
// costs few transactions and a single ban waits for nobody: each jail whose changes wait
// has its share of every transaction, and none is longer than a moment.
type Queue struct {
	fw      Applier
	failed  func([]Change, error)
	cut     func(banned map[string][]netip.Prefix)
	mu      sync.Mutex
	wake    sync.Cond
	lanes   map[string]*lane
	waiting []*lane // those with changes, whose turn is first at the beginning
	size    int     // of a transaction, in changes
	closed  bool
	done    chan struct{}
	syncs   []*awaited
	urgent  func() // there is more than one transaction's worth; run's alone
	spare   func() // and than backlog of them
	behind  int    // for how many transactions in a row there was more
	rushed  bool   // fw knows that there is much
	watch   func(changes []Change, took time.Duration, err error)
}

// lane is what waits of one jail, in order.
type lane struct {
	changes []Change
	stamps  []stamp // when they were handed over
	pushed  uint64  // changes ever handed over
	applied uint64  // of these, those that the kernel took or refused
	taken   int     // those in the transaction that is under way
}

// stamp is when changes were handed over, up to one of those that ever were.
type stamp struct {
	upTo uint64
	at   time.Time
}

// stampEvery is how exactly that is known.
const stampEvery = 100 * time.Millisecond

// awaited is somebody who waits for the changes up to some.
type awaited struct {
	upTo map[*lane]uint64
	done chan struct{}
}

// NewQueue starts a queue. failed is told of transactions that the kernel
// refused; cut, if not nil, of bans by jail that are in force now.
func NewQueue(fw Applier, failed func([]Change, error), cut func(map[string][]netip.Prefix)) *Queue {
	q := &Queue{fw: fw, failed: failed, cut: cut, done: make(chan struct{}), lanes: map[string]*lane{}, size: sizeFirst}
	q.wake.L = &q.mu
	go q.run()
	return q
}

// Watch has f told of every transaction from now on: of its changes, how long it took, and what the
// kernel said. f waits for nothing.
func (q *Queue) Watch(f func(changes []Change, took time.Duration, err error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch = f
}

// Waiting is how many changes wait for a transaction.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.waiting {
		n += len(l.changes)
	}
	return n
}

// Push hands changes over and returns at once.
func (q *Queue) Push(changes ...Change) {
	q.mu.Lock()
	var l *lane
	jail := ""
	now := time.Now()
	for i := range changes {
		if name := changes[i].Jail; l == nil || name != jail {
			jail = name
			if l = q.lanes[name]; l == nil {
				l = &lane{}
				q.lanes[name] = l
			}
		}
		if len(l.changes) == 0 {
			q.waiting = append(q.waiting, l)
		}
		l.changes = append(l.changes, changes[i])
		l.pushed++
		if n := len(l.stamps); n > 0 && now.Sub(l.stamps[n-1].at) < stampEvery {
			l.stamps[n-1].upTo = l.pushed
		} else {
			l.stamps = append(l.stamps, stamp{l.pushed, now})
		}
	}
	q.mu.Unlock()
	q.wake.Broadcast()
}

// Under waits until fewer changes of a jail wait than most, at most for a while; and not where the
// queue has ended. Who has a million of them would hold them twice.
func (q *Queue) Under(jail string, most int, while time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	few := func() bool { l := q.lanes[jail]; return l == nil || len(l.changes) < most || q.closed }
	if few() {
		return
	}
	end := time.Now().Add(while)
	timer := time.AfterFunc(while, q.wake.Broadcast)
	defer timer.Stop()
	for !few() && time.Now().Before(end) {
		q.wake.Wait()
	}
}

// Sync waits until everything pushed before is in the kernel or was refused; not for
// what is pushed later. The error is ctx's.
func (q *Queue) Sync(ctx context.Context) error {
	q.mu.Lock()
	one := &awaited{map[*lane]uint64{}, make(chan struct{})}
	for _, l := range q.lanes {
		if l.applied < l.pushed {
			one.upTo[l] = l.pushed
		}
	}
	if len(one.upTo) == 0 {
		q.mu.Unlock()
		return nil
	}
	q.syncs = append(q.syncs, one)
	q.mu.Unlock()
	select {
	case <-one.done:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.syncs = slices.DeleteFunc(q.syncs, func(s *awaited) bool { return s == one })
	q.mu.Unlock()
	return ctx.Err()
}

// took notes that the kernel took or refused what was under way. The caller holds the lock.
func (q *Queue) took() {
	for jail, l := range q.lanes {
		l.applied += uint64(l.taken)
		l.taken = 0
		if l.applied == l.pushed {
			delete(q.lanes, jail) // who waits for it has it
		}
	}
	q.syncs = slices.DeleteFunc(q.syncs, func(s *awaited) bool {
		for l, upTo := range s.upTo {
			if l.applied >= upTo {
				delete(s.upTo, l)
			}
		}
		if len(s.upTo) > 0 {
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

const (
	// perTransaction bounds the changes of one transaction.
	perTransaction = 20_000
	// Within that, one has so many that it takes transactionMost: while it is under way,
	// a ban that has just come waits.
	sizeFirst, sizeLeast = 500, 100
	transactionMost      = 2 * time.Millisecond
)

// take takes the changes of the next transaction, a share of each jail that waits. The
// caller holds the lock.
func (q *Queue) take() (changes []Change) {
	if l := q.waiting[0]; l.changes[0].Clear {
		return q.takeOf(l, 1, nil)
	}
	for left := q.size; left > 0 && len(q.waiting) > 0; {
		share := max(left/len(q.waiting), 1)
		round := slices.Clone(q.waiting)
		had := len(changes)
		for _, l := range round {
			if left <= 0 {
				break
			}
			n := min(share, left, len(l.changes))
			if i := slices.IndexFunc(l.changes[:n], func(c Change) bool { return c.Clear }); i >= 0 {
				n = i
			}
			if n == 0 {
				continue // its turn comes when it is the first
			}
			changes = q.takeOf(l, n, changes)
			left -= n
		}
		if len(changes) == had {
			break // all that is left begins with emptying sets
		}
	}
	return changes
}

// takeOf takes some changes of a jail; those of others come before the next ones.
func (q *Queue) takeOf(l *lane, n int, changes []Change) []Change {
	// A ban ends when it should, however long it has waited here.
	next, now := l.pushed-uint64(len(l.changes))+1, time.Now()
	for _, c := range l.changes[:n] {
		for l.stamps[0].upTo < next {
			l.stamps = l.stamps[1:]
		}
		next++
		if waited := now.Sub(l.stamps[0].at); waited > stampEvery {
			c = c.after(waited)
		}
		changes = append(changes, c)
	}
	l.taken += n
	q.waiting = slices.DeleteFunc(q.waiting, func(o *lane) bool { return o == l })
	if l.changes = l.changes[n:]; len(l.changes) == 0 {
		l.changes, l.stamps = nil, nil
	} else {
		q.waiting = append(q.waiting, l)
	}
	return changes
}

// pace has the next transactions take as long as they may.
func (q *Queue) pace(changes int, took time.Duration) {
	switch {
	case took > transactionMost && changes > sizeLeast:
		q.size = max(sizeLeast, min(q.size, changes)/2)
	case took < transactionMost/2 && changes >= q.size:
		q.size = min(2*q.size, perTransaction)
	}
}

// backlog is after how many transactions, with more to do behind each, there is a second core:
// while the kernel is at one, Go gives the only one to somebody else after up to ten
// milliseconds, and a transaction takes two. So who makes the next ones, and who reads what is to
// be in them, would wait for the kernel.
const backlog = 3

// rushMost is how many changes wait where the guard waits, too, until they are through. With
// it, each is two elements for the kernel.
const rushMost = 5_000

// rusher is an Applier that may be told that much is to be done in haste, and that it is done.
type rusher interface {
	Rush(changes int)
	Calm()
}

// hurry says that the database can wait for the kernel, as long as so many changes wait behind
// those that come now.
func (q *Queue) hurry(waiting int) {
	if r, ok := q.fw.(rusher); ok {
		switch {
		case waiting >= rushMost && !q.rushed:
			r.Rush(waiting)
			q.rushed = true
		case waiting == 0 && q.rushed:
			r.Calm()
			q.rushed = false
		}
	}
	if waiting == 0 {
		for _, done := range []*func(){&q.urgent, &q.spare} {
			if *done != nil {
				(*done)()
				*done = nil
			}
		}
		q.behind = 0
		return
	}
	if q.urgent == nil {
		q.urgent = fair.Urgent()
	}
	if q.behind++; q.behind == backlog {
		q.spare = fair.Spare()
	}
}

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
		changes := q.take()
		waiting := 0
		for _, l := range q.waiting {
			waiting += len(l.changes)
		}
		watch := q.watch
		q.mu.Unlock()
		q.hurry(waiting)
		q.wake.Broadcast() // there is room for more
		changes = compact(changes)
		began := time.Now()
		err := q.fw.Apply(changes)
		took := time.Since(began)
		if watch != nil {
			watch(changes, took, err)
		}
		if err != nil {
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
		if err == nil {
			q.pace(len(changes), took)
		}
		q.took()
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
