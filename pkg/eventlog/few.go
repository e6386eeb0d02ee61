package eventlog

import (
	"sync"
	"time"
)

// FewAMinute is how many lines a Few lets through.
const FewAMinute = 30

// Few bounds how often something is told that somebody can cause as often as he likes. The zero value is ready; its
// methods may be called from several goroutines.
type Few struct {
	mu    sync.Mutex
	since time.Time
	told  int
}

// Allow reports whether one more may be told in this minute.
func (f *Few) Allow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.since) > time.Minute {
		f.since, f.told = time.Now(), 0
	}
	f.told++
	return f.told <= FewAMinute
}
