package action

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// do does a job, and logs what went wrong as fail2ban does.
func (w *worker) do(ctx context.Context, j job) {
	def := w.act.def
	jail, name := w.act.site.Jail, def.Name
	bad := false
	failed := func(what string, err error) {
		bad = bad || err != nil
		if err != nil && ctx.Err() != nil && def.Mail != nil {
			err = fmt.Errorf("%w (it was not waited for, since the action ends)", err)
		}
		if err != nil && (ctx.Err() == nil || def.Mail != nil) { // of a command, it is told what is not lifted
			w.act.log(slog.LevelError, "Failed to execute %s jail '%s' action '%s' info '%s': %v", what, jail, name, j.entry.id(), err)
		}
	}
	ticket := func() *Ticket {
		w.group.mu.Lock()
		defer w.group.mu.Unlock()
		t := j.entry.ticket(j.facts(), w.act.site)
		t.Restored = t.Restored || j.known
		return t
	}
	repaired := w.act.repaired
	defer func() { w.noteTrouble(j, bad) }()
	switch j.kind {
	case jobStart:
		w.act.clearLeft("and bans are made anew")
		if err := w.act.Start(); err != nil {
			w.act.log(slog.LevelError, "Failed to start jail '%s' action '%s': %v", jail, name, err)
		}
	case jobBan:
		if t := ticket(); !t.Restored || !def.NoRestored() {
			failed("ban", w.act.Ban(t, false))
		}
	case jobProlong:
		if t := ticket(); !t.Restored || !def.NoRestored() {
			failed("prolong", w.act.Prolong(t))
		}
	case jobUnban, jobUnbanUnlessFlushed:
		err := w.act.Unban(ticket())
		failed("unban", err)
		if err != nil && ctx.Err() != nil && def.Mail == nil {
			w.mu.Lock()
			w.left.add(j.entry.id())
			w.mu.Unlock()
		}
	case jobFlush, jobStopping:
		w.flushed = w.act.flush(j.kind == jobStopping)
	case jobCheck:
		w.check(ctx)
	case jobReload:
		w.act.site = j.more.site
		if w.act.def != j.more.defs[w] {
			w.act.def = j.more.defs[w]
			w.act.changed()
		}
		if err := w.act.Reload(); err != nil {
			w.act.log(slog.LevelError, "Failed to reload jail '%s' action '%s': %v", jail, name, err)
		}
	case jobStop:
		if err := w.act.Stop(); err != nil {
			w.act.log(slog.LevelError, "Failed to stop jail '%s' action '%s': %v", jail, name, err)
		}
	case jobCall:
		j.more.err = j.more.call(w.act)
	}
	if w.act.repaired != repaired && j.kind != jobStopping && j.kind != jobStop {
		var except *entry
		if j.kind == jobBan {
			except = j.entry // it was made just now
		}
		w.rebanAll(ctx, except)
	}
}

// checkPause is the least time between two checks: each change of the ruleset asks for
// one, and the action's own commands change it, too.
const checkPause = time.Second

// check looks whether the environment is in order, and brings it in order.
func (w *worker) check(ctx context.Context) {
	if since := time.Since(w.checked); since < checkPause {
		if w.recheck == nil || !w.recheck.Reset(checkPause-since) {
			w.recheck = time.AfterFunc(checkPause-since, w.checkAgain)
		}
		return
	}
	repaired := w.act.repaired
	w.act.CheckAll()
	w.checked = time.Now()
	if w.act.repaired == repaired && (len(w.missing) > 0 || w.unsound && len(w.act.unsound) == 0) {
		all := make([]*entry, 0, len(w.missing))
		for e := range w.missing {
			all = append(all, e)
		}
		slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.no, b.no) })
		w.reban(ctx, all)
	}
}

func (w *worker) checkAgain() {
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	if !w.group.closed {
		w.group.submit([]*worker{w}, job{kind: jobCheck})
	}
}

// rebanMost is how many bans in a row may fail to be made again before the rest waits
// for the next check.
const rebanMost = 3

// rebanAll makes the bans in force again, in an environment that was found broken and
// is in order now: with it, they are gone. fail2ban waits for the next failure of each.
// What can't be made again is tried at the next check.
func (w *worker) rebanAll(ctx context.Context, except *entry) {
	w.group.mu.Lock()
	all := w.group.sorted()
	w.group.mu.Unlock()
	w.missing = nil
	w.reban(ctx, slices.DeleteFunc(all, func(e *entry) bool { return e == except }))
}

func (w *worker) reban(ctx context.Context, all []*entry) {
	failed := 0
	var first error
	missing := map[*entry]struct{}{}
	at := map[*entry]int{} // what was made, and in which environment
	wasUnsound := len(w.act.unsound) > 0
	one := func(e *entry) {
		w.mu.Lock()
		told := w.isTold(e)
		w.mu.Unlock()
		w.group.mu.Lock()
		t := e.ticket(e.last(), w.act.site)
		w.group.mu.Unlock()
		switch {
		case !told || t.Restored && w.act.def.NoRestored():
			return
		case failed >= rebanMost && len(at) == 0:
			missing[e] = struct{}{}
			return
		}
		if !w.unsound || !wasUnsound { // once a minute else
			w.act.log(slog.Level(2), "[%s] Reban %s, action '%s'", w.jail, t.ID, w.title)
		}
		err := w.act.Ban(t, true)
		w.mu.Lock()
		if delete(w.unmade, e); err != nil {
			w.notMade(e)
		}
		w.mu.Unlock()
		if err != nil {
			missing[e] = struct{}{}
			if failed++; failed == 1 {
				first = err
				w.act.log(slog.LevelError, "Failed to execute reban jail '%s' action '%s' info '%s': %v", w.jail, w.title, t.ID, err)
			}
			return
		}
		at[e] = w.act.repaired
	}
	for _, e := range all {
		if one(e); ctx.Err() != nil {
			return // it is about to end
		}
	}
	// An environment that was found broken among them, and is in order now, was made anew
	// without those before. In one that can't be brought in order bans are made all the
	// same, it may be the check that is wrong.
	unsound := len(w.act.unsound) > 0
	gone := func() []*entry {
		return slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { n, ok := at[e]; return !ok || n == w.act.repaired })
	}
	if again := gone(); !unsound && len(again) > 0 {
		for _, e := range again {
			delete(at, e)
			if one(e); ctx.Err() != nil {
				return
			}
		}
		unsound = len(w.act.unsound) > 0
	}
	for _, e := range gone() {
		missing[e] = struct{}{} // is tried when it is in order
		if !unsound {
			delete(at, e)
		}
	}
	made := len(at)
	w.missing = missing
	before := w.unsound
	w.unsound = unsound
	switch {
	case unsound && before: // it was told
	case unsound:
		w.say(slog.LevelError, "its environment can't be brought in order, actioncheck fails: %d of its bans were made in it all the same, and may not hold; it is tried again once a minute", made)
	case len(missing) > 0 && first != nil:
		w.say(slog.LevelError, "its environment was made anew, but %d of %d bans are not in it again (%v); they are tried at the next check, in a minute at most", len(missing), len(missing)+made, first)
	case len(missing) > 0:
		w.say(slog.LevelError, "its environment was made anew, and found broken again: its bans are tried at the next check, in a minute at most")
	case before:
		w.say(slog.LevelWarn, "its environment is in order again, and its bans are in it")
	case made > 0:
		w.say(slog.LevelWarn, "its environment was made anew; its %d bans are in it again", made)
	}
}
