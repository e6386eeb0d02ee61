package fair

import (
	"sync"
	"time"
)

// Background is work that is much and can wait: a look at all logs, a log of last month counted anew. It
// has a third of the core at the most, and a fifth while somebody is at something Urgent, since behind
// each turn it rests for longer than that took. Several goroutines that do such work together share one.
// The zero value is one that has not begun.
type Background struct {
	mu    sync.Mutex
	began time.Time
	rests uint64

	// of tests; nil: the clock's
	now   func() time.Time
	sleep func(time.Duration)
}

// How many times as long as a turn took the rest behind it lasts, and how long it may last: who did not
// get to the processor for long has not worked all that time.
const (
	restFor, restForUrgent = 2, 4
	restMost               = 50 * time.Millisecond
)

// Step is called after each piece of work, of some microseconds, and rests if the turn is over. What
// others want to do meanwhile by the same Background waits, too.
func (b *Background) Step() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, sleep := b.now, b.sleep
	if now == nil {
		now, sleep = time.Now, time.Sleep
	}
	at := now()
	worked := at.Sub(b.began)
	switch {
	case b.began.IsZero():
		b.began = at
		return
	case worked < Most:
		return
	}
	rest := restFor * worked
	if urgent.Load() > 0 {
		rest = restForUrgent * worked
	}
	sleep(min(rest, restMost))
	b.rests++
	b.began = now()
}

// Rests is how often it has rested.
func (b *Background) Rests() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rests
}
