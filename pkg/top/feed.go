package top

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
)

const (
	// eventsMost is how many events are at hand; the oldest go first.
	eventsMost = 1000
	// lookBack is how far back those are from which the view begins.
	lookBack = 24 * time.Hour
	// againMost is the longest pause before it is tried again to reach a daemon; it is againLeast
	// first, and twice as long each time.
	againLeast, againMost = 100 * time.Millisecond, 2 * time.Second
)

// Feed follows the events of a daemon, over its ends and starts, from one number to the next. What
// is not taken from it in time is at most the last eventsMost.
type Feed struct {
	daemon Daemon
	from   time.Time
	// Last is how many of those events are told, at most; 0: all.
	Last int
	// Wait has the daemon wait for who takes slowly, in place of leaving out the oldest.
	Wait bool

	mu      sync.Mutex
	waiting []events.Event
	dropped uint64
	last    uint64
	err     error
	up      bool
	ready   chan struct{} // has one if there is something to take
	room    chan struct{} // has one if something was taken
}

// NewFeed makes one that begins with the events since a time.
func NewFeed(d Daemon, from time.Time) *Feed {
	return &Feed{daemon: d, from: from, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// Batch is what has come.
type Batch struct {
	Events  []events.Event
	Dropped uint64 // older ones that were not taken in time, before these
	Err     error  // why there is no daemon; nil: there is one
}

// Run follows until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	pause := againLeast
	for ctx.Err() == nil {
		f.mu.Lock()
		q := control.EventsQuery{Since: f.last, Follow: true}
		if f.last == 0 {
			q.From, q.Last = f.from, f.Last
		}
		f.mu.Unlock()
		asked := time.AfterFunc(200*time.Millisecond, f.isUp) // what answers and tells nothing is there, too
		err := f.daemon.Events(ctx, q, func(line []byte) error {
			pause = againLeast
			return f.add(ctx, line)
		})
		asked.Stop()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the daemon has ended")
		}
		f.mu.Lock()
		f.err, f.up = err, false
		f.mu.Unlock()
		f.tell()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, againMost)
	}
}

// isUp notes that the daemon has not hung up.
func (f *Feed) isUp() {
	f.mu.Lock()
	was := f.up
	f.up, f.err = true, nil
	f.mu.Unlock()
	if !was {
		f.tell()
	}
}

func (f *Feed) add(ctx context.Context, line []byte) error {
	e, err := events.Parse(line)
	if err != nil {
		return err
	}
	f.mu.Lock()
	for f.Wait && len(f.waiting) >= eventsMost {
		f.mu.Unlock()
		select {
		case <-f.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
	}
	f.up, f.err = true, nil
	switch {
	case e.N > 0:
		f.last = e.N
	case e.Kind == events.Gap && e.To > 0 && e.From <= f.last: // the numbers were begun anew
		f.last = 0
	}
	if len(f.waiting) >= eventsMost {
		n := len(f.waiting) / 2
		f.waiting = append(f.waiting[:0], f.waiting[n:]...)
		f.dropped += uint64(n)
	}
	f.waiting = append(f.waiting, e)
	f.mu.Unlock()
	f.tell()
	return nil
}

func (f *Feed) tell() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// Next waits until something has come, and takes it.
func (f *Feed) Next(ctx context.Context) (b Batch, ok bool) {
	select {
	case <-f.ready:
	case <-ctx.Done():
		return b, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b = Batch{f.waiting, f.dropped, f.err}
	f.waiting, f.dropped = nil, 0
	select {
	case f.room <- struct{}{}:
	default:
	}
	return b, true
}

// oneLine is an error without line feeds.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
