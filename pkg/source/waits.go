package source

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A file system may keep who asks it waiting for ever: a network that is gone, FUSE.
// Such a call can't be broken off. So each log has its goroutines (one that looks, one
// that reads), nobody waits for those, and it is written down since when they wait.

// began is what times are measured from, by a clock that isn't set.
var began = time.Now()

// moment is now, in nanoseconds after began, and never 0.
func moment() int64 { return int64(time.Since(began)) + 1 }

// waits tells since when the goroutines of a log wait for the file system.
type waits struct {
	at   [2]atomic.Int64 // nanoseconds after began; 0: it doesn't. The reader's or a glob's, the lookout's
	told atomic.Bool
	// When the first write was noticed since the log was last read, and that of what is read now;
	// 0: there is none.
	unread, reading atomic.Int64
}

func (w *waits) begin(who int) { w.at[who].Store(moment()) }
func (w *waits) end(who int)   { w.at[who].Store(0) }

// since is for how long it waits already, and whether that is too long.
func (w *waits) since() (longest time.Duration, hung bool) {
	if w == nil {
		return 0, false
	}
	for i := range w.at {
		if at := w.at[i].Load(); at != 0 {
			longest = max(longest, time.Since(began)-time.Duration(at))
		}
	}
	return longest, longest >= hungShown
}

func (s *Files) waitsOf(path string) *waits {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[path]
	if w == nil {
		w = &waits{}
		s.waiting[path] = w
	}
	return w
}

// tellHung logs who has begun to wait too long, and who goes on.
func (s *Files) tellHung() {
	var events []Event
	s.mu.Lock()
	for path, w := range s.waiting {
		switch since, _ := w.since(); {
		case since >= hungAfter && !w.told.Swap(true):
			events = append(events, Event{Path: path, Err: fmt.Errorf("the file system hasn't answered for %v: this log waits for it, and nothing else does", since.Round(time.Second))})
		case since < hungAfter && w.told.Swap(false):
			events = append(events, Event{Path: path, Text: "the file system answers again"})
		}
	}
	s.mu.Unlock()
	for _, e := range events {
		s.note(e)
	}
}

// mostStuck is how many may be left behind in the same path, of all jails and all
// reloads; the next one waits until one of them has come back.
const mostStuck = 4

// behind counts those that are to end and haven't, by path.
var behind = struct {
	mu sync.Mutex
	n  map[string]int
}{n: map[string]int{}}

func leftBehind(name string, more int) int {
	behind.mu.Lock()
	defer behind.mu.Unlock()
	n := behind.n[name] + more
	if behind.n[name] = n; n == 0 {
		delete(behind.n, name)
	}
	return n
}

// counted runs f, unless too many are left behind in the same path.
func (s *Files) counted(ctx context.Context, name string, f func(context.Context)) {
	for told := false; leftBehind(name, 0) >= mostStuck; {
		if !told {
			told = true
			s.setStatus(name, 0, fmt.Sprintf("the file system hasn't answered %d earlier attempts: waiting for one of them", mostStuck))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	stop := context.AfterFunc(ctx, func() { leftBehind(name, 1) })
	f(ctx)
	if !stop() {
		leftBehind(name, -1)
	}
}
