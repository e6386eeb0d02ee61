package jail

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/source"
)

// life is a jail's start, its commands, and its end.
type life struct {
	idle   bool          // nothing is read for the time being
	begin  chan struct{} // closed when it is to begin
	begun  bool
	inbox  *inbox
	over   atomic.Bool // the goroutine has ended
	handed sync.Once   // then: what is to be stored was handed over
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}
}

// The jail's goroutine: what it waits for, and what has it look again.

const (
	// expireGrace lets the kernel end a ban before we say so, so that a new ban of
	// the same address never meets the old element.
	expireGrace  = 100 * time.Millisecond
	housekeeping = 10 * time.Second
)

func (j *Jail) run(ctx context.Context) {
	defer close(j.done)
	defer j.unprotect()
	defer func() { j.filter.Leave() }()
	batches := make(chan source.Batch, 4)
	sourceDone := make(chan struct{})
	go func() {
		defer close(sourceDone)
		select {
		case <-j.begin:
			j.source.Run(ctx, batches)
		case <-ctx.Done():
		}
	}()
	// Each channel that is waited for costs every batch a little, and a timer's own costs
	// more; so timers ring, and ring is the only one.
	ring := make(chan struct{}, 1)
	defer context.AfterFunc(ctx, func() { signal(ring) })()
	tick, ends := newAlarm(ring), newAlarm(ring)
	defer tick.Stop()
	defer ends.Stop()
	tick.Reset(housekeeping)
	j.flush = newAlarm(ring)
	defer j.flush.Stop()
	if !j.delta.Empty() || j.window.Changes() > 0 {
		j.changed()
	}
	j.waits = newAlarm(ring)
	defer j.waits.Stop()
	for _, g := range []*given{&j.gaveUp, &j.unasked, &j.takenNew} {
		g.alarm = newAlarm(ring)
		defer g.alarm.Stop()
	}
	j.inbox.rings(ring)
	defer func() {
		j.over.Store(true)
		j.inbox.rings(nil)
	}()
	j.resume()
	version := ^uint64(0)
	for {
		j.publish()
		j.tellTickets()
		if now := j.bans.Version(); now != version && j.deps.Changed != nil {
			version = now
			j.deps.Changed()
		}
		if end, ok := j.bans.NextEnd(); ok && !end.Equal(j.armed) {
			j.armed = end
			ends.Reset(max(end.Add(expireGrace).Sub(j.deps.Clock.Now()), time.Millisecond))
		}
		in := batches
		if j.idle || !j.ready {
			in = nil
		}
		select {
		case b := <-in:
			j.batch(b)
		case <-ring:
			if j.ending() {
				<-sourceDone
				return
			}
			j.serve()
			if j.flush.rang() {
				j.flushing = false
				j.save()
			}
			if ends.rang() {
				j.armed = time.Time{}
				j.expire()
			}
			if j.waits.rang() {
				j.waitsAt = time.Time{}
				now := time.Now()
				j.lateChecks(now)
				j.latePasts(now)
			}
			if j.gaveUp.alarm.rang() || j.unasked.alarm.rang() || j.takenNew.alarm.rang() {
				j.tellGivenUp()
			}
			if tick.rang() {
				tick.Reset(housekeeping)
				j.checkAtTimes()
				j.armed = time.Time{} // a timer stands still in suspend
				j.forget()
				if j.storeGeneration() != j.generation {
					j.push()
				}
			}
		}
	}
}

// ending reports whether the jail is told to stop.
func (j *Jail) ending() bool { return j.ctx.Err() != nil }

// wakeAt has the jail look at what waits at a time, or before.
func (j *Jail) wakeAt(t time.Time) {
	if j.waits == nil { // not at work yet
		return
	}
	if j.waitsAt.IsZero() || t.Before(j.waitsAt) {
		j.waitsAt = t
		j.waits.Reset(max(time.Until(t), time.Millisecond))
	}
}

// inFlight is how many failures wait for something to be said of them.
func (j *Jail) inFlight() int { return j.names.n + j.checks.n + j.pasts.n }

// resume goes on with failures that waited in the jail before this one.
func (j *Jail) resume() {
	j.recheck()
	j.pumpPasts()
	if w := j.checks.order.First(); w != nil {
		j.wakeAt(w.until)
	}
	if w := j.pasts.order.First(); w != nil {
		j.wakeAt(w.until)
	}
}

// alarm is a timer that rings through a channel of several.
type alarm struct {
	*time.Timer
	due atomic.Bool
}

// newAlarm makes one that is not set.
func newAlarm(ring chan<- struct{}) *alarm {
	a := &alarm{}
	a.Timer = time.AfterFunc(time.Hour, func() {
		a.due.Store(true)
		signal(ring)
	})
	a.Stop()
	return a
}

// rang reports whether it rang since it was asked the last time.
func (a *alarm) rang() bool { return a.due.Swap(false) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
