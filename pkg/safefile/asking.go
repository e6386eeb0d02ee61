package safefile

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A file system that hangs keeps who asks it. Who gives up can say for which file.

var asking struct {
	mu sync.Mutex
	of map[*asked]struct{}
}

type asked struct {
	path  string
	since time.Time
}

// Asking notes that a file system is asked for a path, until done is called. ReadConfig
// does so by itself.
func Asking(path string) (done func()) {
	a := &asked{path, time.Now()}
	asking.mu.Lock()
	defer asking.mu.Unlock()
	if asking.of == nil {
		asking.of = map[*asked]struct{}{}
	}
	asking.of[a] = struct{}{}
	return func() {
		asking.mu.Lock()
		defer asking.mu.Unlock()
		delete(asking.of, a)
	}
}

// Unanswered returns the paths for which file systems have been asked for at least so
// long and have not answered, each once, the oldest first.
func Unanswered(least time.Duration) (paths []string) {
	asking.mu.Lock()
	defer asking.mu.Unlock()
	var late []*asked
	for a := range asking.of {
		if time.Since(a.since) >= least {
			late = append(late, a)
		}
	}
	slices.SortFunc(late, func(a, b *asked) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.path, b.path))
	})
	for _, a := range late {
		if !slices.Contains(paths, a.path) {
			paths = append(paths, a.path)
		}
	}
	return paths
}

// Within has f do something with files that may hang, and waits for it at most so long.
// It reports whether it was done; what f finds is not to be looked at else, since it goes
// on by itself.
func Within(most time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
