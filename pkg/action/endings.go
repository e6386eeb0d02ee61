package action

import (
	"slices"
	"sync"
	"time"
)

// Endings are the actions of jails that are gone, as long as they are still at work:
// those that take their place begin when they are through. The zero value is ready, a
// nil one knows of none. It is safe for concurrent use.
type Endings struct {
	mu  sync.Mutex
	all []ending
}

type ending struct {
	jail  string
	group *Group
	ended <-chan struct{}
}

// Add adds a jail's actions that are ending; ended is what Close returned.
func (e *Endings) Add(jail string, g *Group, ended <-chan struct{}) {
	if e == nil || g == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tidy()
	e.all = append(e.all, ending{jail, g, ended})
}

func (e *Endings) tidy() {
	e.all = slices.DeleteFunc(e.all, func(x ending) bool {
		select {
		case <-x.ended:
			return true
		default:
			return false
		}
	})
}

// Of returns what is closed when the earlier actions of a jail have ended.
func (e *Endings) Of(jail string) (after []<-chan struct{}) {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tidy()
	for _, x := range e.all {
		if x.jail == jail {
			after = append(after, x.ended)
		}
	}
	return after
}

// Wait waits until all have ended; they have time until by.
func (e *Endings) Wait(by time.Time) {
	if e == nil {
		return
	}
	e.mu.Lock()
	all := slices.Clone(e.all)
	e.mu.Unlock()
	for _, x := range all {
		x.group.Close(by)
	}
	for _, x := range all {
		<-x.ended
	}
}
