package action

import (
	"log/slog"
	"sync"
	"time"
)

// One action of a Group at work: what it has to do, and in whose turn.

// worker is one action with what it has to do.
type worker struct {
	group *Group
	def   *Definition
	act   *Action
	keep  bool // what a ticket tells is needed after the ban

	mu      sync.Mutex
	todo    []*job
	bans    map[string]bool // those among todo that are not lifted again
	wake    sync.Cond
	ended   bool
	flushed bool      // the last flush lifted all bans at once
	giveUp  time.Time // bans that are not told by then are not
	gone    chan struct{}
}

type kind int

const (
	jobStart kind = iota
	jobBan
	jobUnban
	jobUnbanUnlessFlushed
	jobProlong
	jobFlush
	jobStopping // a flush before a stop
	jobCheck
	jobReload
	jobStop
	jobCall
)

// job is something that all actions have to do, one after the other.
type job struct {
	kind   kind
	ticket *Ticket
	site   *Site // of jobReload
	defs   map[*worker]*Definition
	call   func(*Action) error // of jobCall
	err    error               // of jobCall
	given  time.Time           // when
	// turns are closed as one after the other is through with it.
	turns map[*worker]*turn
}

// turn is one worker's place in a job.
type turn struct {
	worker *worker
	after  *turn // nil: there is none before it
	done   chan struct{}
}

func (g *Group) newWorker(def *Definition) *worker {
	w := &worker{group: g, def: def, act: New(g.ctx, def, g.site), bans: map[string]bool{}, keep: def.laterTags(), gone: make(chan struct{})}
	w.wake.L = &w.mu
	go w.run()
	return w
}

// cancels has a ban that the worker has not come to passed over where it is lifted
// already. It does so only when much is waiting: else everything is told.
func (w *worker) cancels(j *job) bool {
	if j.kind != jobUnban || len(w.todo) < leanFrom || !w.bans[j.ticket.ID] {
		return false
	}
	delete(w.bans, j.ticket.ID)
	return true
}

func (w *worker) run() {
	defer close(w.gone)
	for {
		w.mu.Lock()
		for len(w.todo) == 0 && !w.ended {
			w.wake.Wait()
		}
		if len(w.todo) == 0 {
			w.mu.Unlock()
			return
		}
		j := w.todo[0]
		w.todo[0] = nil
		w.todo = w.todo[1:]
		late := !w.giveUp.IsZero() && time.Now().After(w.giveUp)
		over := j.kind == jobBan && !w.bans[j.ticket.ID]
		if j.kind == jobBan {
			delete(w.bans, j.ticket.ID)
		}
		w.mu.Unlock()
		if !over {
			w.await(j)
		}
		if !over && (!late || j.kind != jobBan && j.kind != jobProlong) {
			w.do(j)
		}
		close(j.turns[w].done)
	}
}

// await waits for the action before this one to be through with a job; the first
// one for the last one's of the job before. It does so at most until orderGrace is
// over since the job was given.
func (w *worker) await(j *job) {
	turn := j.turns[w].after
	j.turns[w].after = nil // so that what is through can be forgotten
	left := time.Until(j.given.Add(orderGrace))
	if turn == nil || turn.worker == w || left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-turn.done:
	case <-timer.C:
	}
}

func (w *worker) log(level slog.Level, format string, args ...any) {
	w.act.log(level, format, args...)
}

// do does a job, and logs what went wrong as fail2ban does.
func (w *worker) do(j *job) {
	def := w.act.def
	jail, name := w.act.site.Jail, def.Name
	failed := func(what string, err error) {
		if err != nil && w.group.ctx.Err() == nil {
			w.log(slog.LevelError, "Failed to execute %s jail '%s' action '%s' info '%s': %v", what, jail, name, j.ticket.ID, err)
		}
	}
	repaired := w.act.repaired
	var except *Ticket
	switch j.kind {
	case jobStart:
		if err := w.act.Start(); err != nil {
			w.log(slog.LevelError, "Failed to start jail '%s' action '%s': %v", jail, name, err)
		}
	case jobBan:
		if j.ticket.Restored && w.act.def.NoRestored() {
			break
		}
		failed("ban", w.act.Ban(j.ticket, false))
		except = j.ticket
	case jobProlong:
		if j.ticket.Restored && w.act.def.NoRestored() {
			break
		}
		failed("prolong", w.act.Prolong(j.ticket))
	case jobUnbanUnlessFlushed:
		if !w.flushed {
			failed("unban", w.act.Unban(j.ticket))
		}
	case jobUnban:
		failed("unban", w.act.Unban(j.ticket))
	case jobFlush, jobStopping:
		w.flushed = w.act.flush(j.kind == jobStopping)
	case jobCheck:
		w.act.Check(nil)
	case jobReload:
		w.act.site = j.site
		if w.act.def != j.defs[w] {
			w.act.def = j.defs[w]
			w.act.changed()
		}
		if err := w.act.Reload(); err != nil {
			w.log(slog.LevelError, "Failed to reload jail '%s' action '%s': %v", jail, name, err)
		}
	case jobStop:
		if err := w.act.Stop(); err != nil {
			w.log(slog.LevelError, "Failed to stop jail '%s' action '%s': %v", jail, name, err)
		}
	case jobCall:
		j.err = j.call(w.act)
	}
	if w.act.repaired != repaired && j.kind != jobStopping && j.kind != jobStop {
		w.rebanAll(except)
	}
}

// rebanAll makes the other bans in force again, in an environment that was found
// broken: with it, they are gone. fail2ban waits for the next failure of each.
func (w *worker) rebanAll(except *Ticket) {
	for _, t := range w.group.tickets() {
		if except != nil && t.ID == except.ID || t.Restored && w.act.def.NoRestored() {
			continue
		}
		w.log(slog.Level(2), "[%s] Reban %s, action '%s'", w.act.site.Jail, t.ID, w.act.def.Name)
		if err := w.act.Ban(t, true); err != nil {
			w.log(slog.LevelError, "Failed to execute reban jail '%s' action '%s' info '%s': %v", w.act.site.Jail, w.act.def.Name, t.ID, err)
			return
		}
	}
}

// finish has the worker end when it is through.
func (w *worker) finish() {
	w.mu.Lock()
	w.ended = true
	w.giveUp = time.Now().Add(stopGrace)
	w.wake.Signal()
	w.mu.Unlock()
}
