package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Queue writes deltas from a goroutine of its own. What arrives while a
// transaction is under way makes up the next one. If the database can't be
// written (the disk is full), everything is kept and tried again: the positions
// of logs are not ahead of what is stored, so nothing is lost even then.
type Queue struct {
	write  func([]*Delta) error
	failed func(error)

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []*Delta
	byJail  map[string]*Delta
	lines   int // bytes of lines that wait, or are being written
	writing []*Delta
	busy    bool
	broken  error
	closed  bool
	done    chan struct{}
	nudge   chan struct{}
	watch   func(took time.Duration, err error)
}

// Times between tries to write what could not be written.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
	// closeMost is how long Close waits for what is waiting to be written.
	closeMost = 5 * time.Second
)

// NewQueue starts a queue. failed is told when writing fails for the first time,
// and, with nil, when it works again.
func NewQueue(write func([]*Delta) error, failed func(error)) *Queue {
	q := &Queue{write: write, failed: failed, byJail: map[string]*Delta{}, done: make(chan struct{}), nudge: make(chan struct{}, 1)}
	q.wake = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Watch has f told of every try to write from now on: how long it took, and what came of it. f waits
// for nothing.
func (q *Queue) Watch(f func(took time.Duration, err error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch = f
}

// Push hands a delta over; the caller does not touch it again.
func (q *Queue) Push(d *Delta) {
	q.mu.Lock()
	q.weigh(d)
	if have := q.byJail[d.Jail]; have != nil {
		if have.merge(d) {
			q.recount()
		}
	} else {
		q.byJail[d.Jail] = d
		q.waiting = append(q.waiting, d)
	}
	q.mu.Unlock()
	q.wake.Broadcast()
}

// linesMost is how many bytes of lines of the log wait to be written. Bans beyond are
// kept with a word in place of their lines: a client chooses how long those are, and a
// disk how long they wait.
const linesMost = 8 << 20

// weigh takes account of the lines in a delta.
func (q *Queue) weigh(d *Delta) {
	for i := range d.Events {
		e := &d.Events[i]
		size := linesOf(e)
		if q.lines+size > linesMost {
			e.Matches = []string{fmt.Sprintf("[cut: %d lines; the database was behind when it was given this ban]", len(e.Matches))}
			e.Groups, e.Captured = nil, nil
			size = linesOf(e)
		}
		q.lines += size
	}
}

func linesOf(e *Event) (size int) {
	for _, l := range e.Matches {
		size += len(l)
	}
	for name, text := range e.Groups {
		size += len(name) + len(text)
	}
	return size
}

// written takes a delta's lines off the account.
func (q *Queue) written(batch []*Delta) {
	for _, d := range batch {
		for i := range d.Events {
			q.lines -= linesOf(&d.Events[i])
		}
	}
}

// Room reports whether what a jail has to say next can wait here, too. While there is
// none, it holds that back: where it is it takes no more room, however much changes.
func (q *Queue) Room(jail string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.writing {
		if d.Jail == jail && (len(d.Window.ids) > RoomMost || d.Bans.Len() > RoomMost) {
			return false // one such list at a time is enough
		}
	}
	d := q.byJail[jail]
	return d == nil || d.weight() < RoomMost/2
}

// ErrSlow says that the database has not answered in time.
var ErrSlow = errors.New("it has not answered in time: is its disk hanging?")

// SyncFor is Sync that waits no longer than a while, and, with jails, for what was pushed of
// those only.
func (q *Queue) SyncFor(d time.Duration, jails ...string) error {
	timer := time.AfterFunc(d, q.wake.Broadcast)
	defer timer.Stop()
	end := time.Now().Add(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.has(jails) && q.broken == nil {
		if !time.Now().Before(end) {
			return ErrSlow
		}
		q.wake.Wait()
	}
	return q.broken
}

// has reports whether something waits, or is being written, of some jails; none: of any.
func (q *Queue) has(jails []string) bool {
	if len(jails) == 0 {
		return len(q.waiting) > 0 || q.busy
	}
	return slices.ContainsFunc(jails, func(name string) bool {
		return q.byJail[name] != nil || slices.ContainsFunc(q.writing, func(d *Delta) bool { return d.Jail == name })
	})
}

// gather is how long what is no ban waits for more of its kind: at a start, each jail tells
// where its logs begin.
const gather = 20 * time.Millisecond

// await waits until something is to be written.
func (q *Queue) await() {
	for len(q.waiting) == 0 && !q.closed {
		q.wake.Wait()
	}
	urgent := func() bool {
		return q.closed || slices.ContainsFunc(q.waiting, func(d *Delta) bool { return len(d.Events) > 0 || d.AllBans || d.Jail == checkOnly || d.Jail == "" })
	}
	if urgent() {
		return
	}
	end := time.Now().Add(gather)
	timer := time.AfterFunc(gather, q.wake.Broadcast)
	defer timer.Stop()
	for !urgent() && time.Now().Before(end) {
		q.wake.Wait()
	}
}

// recount adds the lines up anew, where events were dropped.
func (q *Queue) recount() {
	q.lines = 0
	for _, list := range [][]*Delta{q.waiting, q.writing} {
		for _, d := range list {
			for i := range d.Events {
				q.lines += linesOf(&d.Events[i])
			}
		}
	}
}

// Sync waits until everything pushed before is written, or can't be: then the
// error says why.
func (q *Queue) Sync() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.waiting) > 0 || q.busy) && q.broken == nil {
		q.wake.Wait()
	}
	return q.broken
}

// Close writes what is waiting, if that is possible in time, and ends the queue.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake.Broadcast()
	select {
	case q.nudge <- struct{}{}:
	default:
	}
	select {
	case <-q.done:
		return q.broken
	case <-time.After(closeMost):
		return ErrSlow
	}
}

func (q *Queue) run() {
	defer close(q.done)
	wait := retryFirst
	for {
		q.mu.Lock()
		q.await()
		if len(q.waiting) == 0 {
			q.mu.Unlock()
			return
		}
		batch := q.waiting
		q.waiting, q.byJail, q.writing = nil, map[string]*Delta{}, batch
		q.busy = true
		last := q.closed
		watch := q.watch
		q.mu.Unlock()
		began := time.Now()
		err := q.write(batch)
		if watch != nil {
			watch(time.Since(began), err)
		}
		q.mu.Lock()
		q.busy, q.writing = false, nil
		was := q.broken
		q.broken = err
		if err == nil {
			q.written(batch)
		}
		if err != nil {
			// Put it back before what came meanwhile.
			for _, d := range batch {
				if later := q.byJail[d.Jail]; later != nil {
					d.merge(later)
				}
				q.byJail[d.Jail] = d
			}
			q.waiting = q.waiting[:0]
			for _, d := range q.byJail {
				q.waiting = append(q.waiting, d)
			}
			q.recount()
		}
		q.mu.Unlock()
		q.wake.Broadcast()
		if (err == nil) != (was == nil) {
			q.failed(err)
		}
		if err == nil {
			wait = retryFirst
			continue
		}
		if last {
			return // it was tried once more
		}
		select {
		case <-time.After(wait):
		case <-q.nudge:
		}
		wait = min(2*wait, retryMost)
	}
}
