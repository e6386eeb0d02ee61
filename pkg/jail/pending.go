package jail

import (
	"fmt"
	"maps"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/store"
)

// What changed and is not handed to the store yet. It does not grow with what happens:
// where there is too much of it to be told one by one, or the store has no room for it
// since its disk is slow or full, all that there is is told at the end, be that in days.

const (
	// pendingMost is of how many addresses failures, and how many bans, are told one by
	// one.
	pendingMost = store.RoomMost
	// wholeEvery is how often all failures are told, where too many change.
	wholeEvery = 5 * time.Second
)

// pending is what is to be told as a whole.
type pending struct {
	allBans, allFailures, allLogs bool

	generation uint64    // of the store, as it was told last
	wholeAt    time.Time // when all failures were told
}

// storeGeneration is how often the store was begun anew.
func (j *Jail) storeGeneration() uint64 {
	if s, ok := j.deps.Store.(interface{ Generation() uint64 }); ok {
		return s.Generation()
	}
	return 0
}

// room reports whether the store takes more of this jail.
func (j *Jail) room() bool {
	if s, ok := j.deps.Store.(interface{ Room(jail string) bool }); ok {
		return s.Room(j.Config.Name)
	}
	return true
}

// evicted is told of an address that is forgotten since there are too many.
func (j *Jail) evicted(id ban.ID) {
	j.kept.drop(id)
	j.failuresChanged(id)
}

func (j *Jail) failuresChanged(id ban.ID) {
	j.changed()
	j.failuresOver(id)
}

// failureCounted is told of a failure that the window has taken: that knows whose those are.
func (j *Jail) failureCounted() {
	j.changed()
	if j.window.Changes()+len(j.delta.Failures) > pendingMost {
		j.allFailures, j.delta.Failures = true, nil
		j.window.Changed()
	}
}

// failuresOver notes that failures changed, which need not be kept soon: they are over.
func (j *Jail) failuresOver(id ban.ID) {
	j.saveIn(saveQuietly)
	if j.allFailures {
		return
	}
	if j.delta.Failures == nil {
		j.delta.Failures = map[ban.ID][]time.Time{}
	}
	j.delta.Failures[id] = nil // filled in when it is handed over
	if len(j.delta.Failures)+j.window.Changes() > pendingMost {
		j.allFailures, j.delta.Failures = true, nil
	}
}

// event notes that a ban was made or lifted. A jail that observes makes none.
func (j *Jail) event(e store.Event) {
	if !j.Configured.Observe || e.Lifted || e.AllLifted {
		j.noteEvent(e)
	}
}

func (j *Jail) noteEvent(e store.Event) {
	if j.allBans || j.deps.Store == nil {
		return
	}
	j.delta.Add(e)
	if len(j.delta.Events) > pendingMost {
		j.allBans, j.delta.Events = true, nil
		j.deps.Log.With("component", "database").Warn(fmt.Sprintf(
			"[%s] the database has not taken the last %d bans and unbans: who is banned when it does is written then, without the lines of the log", j.Config.Name, pendingMost))
	}
}

// handOver hands to the store what changed, if it has room for it or it must be.
func (j *Jail) handOver(must bool) {
	if j.deps.Store == nil {
		j.forgetLines(j.delta, false)
		j.delta = &store.Delta{Jail: j.Config.Name}
		j.allBans, j.allFailures = false, false
		return
	}
	if g := j.storeGeneration(); g != j.generation {
		j.generation = g
		j.allBans, j.allFailures, j.allLogs = true, true, true
	}
	now := j.deps.Clock.Now()
	switch {
	case j.delta.Empty() && j.window.Changes() == 0 && !j.allBans && !j.allFailures && !j.allLogs:
		return
	case must:
	case !j.room():
		j.changed()
		return
	case j.allFailures && !j.allLogs && !j.wholeAt.IsZero() && now.Sub(j.wholeAt) < wholeEvery:
		// The position waits with the failures before it; bans are known at once.
		j.pushEvents(false)
		j.changed()
		return
	}
	d := j.delta
	j.delta = &store.Delta{Jail: j.Config.Name}
	j.forgetLines(d, true)
	if j.allFailures {
		d.AllFailures, d.Failures, d.Window = true, nil, j.allTimes()
		d.Marked = j.allMarked()
		j.wholeAt = now
	}
	if j.allBans {
		d.AllBans, d.Events, d.Bans = true, nil, j.inForce()
	}
	if j.allLogs {
		d.AllLogs, d.Logs = true, maps.Clone(j.logs)
	}
	j.allBans, j.allFailures, j.allLogs = false, false, false
	j.deps.Store.Push(d)
}

// forgetLines gathers the failures that changed, to be told, and forgets the lines of those
// that are no more.
func (j *Jail) forgetLines(d *store.Delta, tell bool) {
	counted := j.window.Changed()
	if j.allFailures {
		counted = nil
	}
	if !tell {
		for id := range d.Failures {
			counted = append(counted, id)
		}
		for _, id := range counted {
			if j.window.Count(id) == 0 {
				j.kept.drop(id)
			}
		}
		return
	}
	if d.Failures == nil && len(counted) > 0 {
		d.Failures = make(map[ban.ID][]time.Time, len(counted))
	}
	for _, id := range counted {
		d.Failures[id] = nil
	}
	if j.counting.marks() && d.Marked == nil && len(d.Failures) > 0 {
		d.Marked = make(map[ban.ID]store.Marked, len(d.Failures))
	}
	for id := range d.Failures {
		j.pace.line()
		if j.counting.marks() {
			d.Marked[id] = j.marked(id)
		}
		if d.Failures[id] = j.window.Times(id); d.Failures[id] == nil {
			j.kept.drop(id)
		}
	}
}

// pushEvents hands bans over, and not how far the log is accounted for.
func (j *Jail) pushEvents(must bool) {
	switch {
	case j.deps.Store == nil, len(j.delta.Events) == 0 && !(must && j.allBans):
	case !must && (j.allBans || !j.room()):
		j.changed()
	default:
		d := j.delta.TakeEvents()
		if j.allBans {
			d.AllBans, d.Bans, j.allBans = true, j.inForce(), false
		}
		j.deps.Store.Push(d)
	}
}

// allTimes are all failures in the window.
func (j *Jail) allTimes() (out store.Window) {
	out.Grow(j.window.Len())
	j.window.Each(func(id ban.ID, times []int64) {
		out.Add(id, times...)
		j.pace.line()
	})
	return out
}

// Rewrite has the jail look whether the store was begun anew, and tell it everything
// then. It waits for nothing.
func (j *Jail) Rewrite() {
	_ = j.inbox.post(&order{do: func(j *Jail) { j.push() }}, false)
}

// inForce are the bans that the store is to know.
func (j *Jail) inForce() *ban.Snapshot {
	if j.Configured.Observe {
		return ban.NewList().Snapshot()
	}
	return j.bans.Snapshot()
}
