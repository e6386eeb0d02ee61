package action

import (
	"sync/atomic"
	"time"
)

// What is counted of an action, for who watches.

type counts struct {
	succeeded, failed atomic.Uint64
	took              atomic.Int64 // nanoseconds, in all
}

// ran counts a command or a mail.
func (a *Action) ran(ok bool, took time.Duration) {
	if ok {
		a.counts.succeeded.Add(1)
	} else {
		a.counts.failed.Add(1)
	}
	a.counts.took.Add(int64(took))
	if a.site.Took != nil {
		a.site.Took(took)
	}
}

// Numbers are what was counted of one action since it began.
type Numbers struct {
	Name              string
	Succeeded, Failed uint64        // commands and mails
	Took              time.Duration // those, in all
	Waiting           int           // bans and unbans that it has not come to
}

// Numbers returns what was counted, by action in their order. It waits for no command.
func (g *Group) Numbers() (out []Numbers) {
	for _, w := range g.working() {
		c := &w.act.counts
		w.mu.Lock()
		waiting := w.todo.n - w.dead
		w.mu.Unlock()
		out = append(out, Numbers{
			Name: w.title, Succeeded: c.succeeded.Load(), Failed: c.failed.Load(), Took: time.Duration(c.took.Load()), Waiting: waiting + w.skippedNow(),
		})
	}
	return out
}

// skippedNow is how many bans it was not given since too much waited.
func (w *worker) skippedNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skipped
}
