package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/source"
	"bailiff/pkg/store"
)

// What outlives the daemon. A jail gathers what changed in a store.Delta: bans,
// the failures in its window, and how far its logs are accounted for. They are
// handed over together, so that after a crash reading goes on at a place up to
// which everything is known, and a line is neither lost nor counted twice.

const (
	// saveEvery is how long changes are gathered.
	saveEvery = 100 * time.Millisecond
	// saveAtLast is how long they wait for failures that wait themselves (for the address
	// of a name, for ignorecommand): a position must not be ahead of those. With failures
	// that wait for longer, it is, and those are lost if the daemon ends.
	saveAtLast = 15 * time.Second
)

// load asks the store for what is known of the jail, or the jail that it takes the place
// of; nil: there is none.
func (j *Jail) load(before *Jail) (state store.State, err error) {
	j.delta = &store.Delta{Jail: j.Config.Name}
	j.kept = newKeptLines(linesBudget)
	j.logs = map[store.LogKey]store.Position{}
	if j.deps.Memory == nil {
		j.deps.Memory = NewMemory()
	}
	j.window.Evicted = j.evicted
	switch {
	case before != nil:
		for _, p := range before.logs {
			state.Logs = append(state.Logs, p)
		}
	case j.deps.Store != nil:
		j.generation = j.storeGeneration()
		if state, err = j.deps.Store.Load(j.Config.Name, j.deps.Clock.Now()); err != nil {
			j.deps.Log.With("component", "database").Error(fmt.Sprintf("[%s] %v: nothing is known of before but what the kernel holds", j.Config.Name, err))
			state, err = store.State{New: true}, nil
		}
	}
	for _, p := range state.Logs {
		j.logs[store.LogKey{Path: p.Path, Dev: p.Dev, Inode: p.Inode}] = p
	}
	return state, nil
}

// inherit takes over what the jail before this one had, and goes on with it: failures
// and their lines, those that wait, what was not handed to the store yet.
func (j *Jail) inherit(before *Jail) {
	j.delta, j.held, j.pending = before.delta, before.held, before.pending
	j.window = before.window
	j.window.Limit(j.Config.MaxRetry, j.Config.FindTime)
	j.window.Evicted = j.evicted
	j.kept = before.kept
	j.names, j.checks, j.pasts = before.names, before.checks, before.pasts
	j.gaveUp, j.unasked, j.takenNew = before.gaveUp, before.unasked, before.takenNew
	if j.growth != nil && before.history != nil {
		j.history = before.history
	}
	j.inbox = before.inbox
}

// takeOver puts what is known on the list and into the window: bans of the store,
// and those that the jail had before a reload. Without a store, what the kernel
// holds is all that is known.
func (j *Jail) takeOver(state store.State, before Carry) error {
	now := j.deps.Clock.Now()
	known := before.Bans
	var restored []netip.Prefix
	if before.left == nil {
		for _, b := range state.Bans {
			known = append(known, b)
			restored = append(restored, b.ID)
		}
	}
	changes := make([]firewall.Change, 0, len(known))
	restored = slices.DeleteFunc(restored, func(id netip.Prefix) bool { return j.ignored(id) != "" })
	for _, b := range known {
		if reason := j.ignored(b.ID); reason != "" && !b.Forced {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s: its ban is lifted", j.Config.Name, ban.Name(b.ID), reason))
			j.lifted(b)
			changes = append(changes, firewall.Change{Jail: j.Config.Name, ID: b.ID, Remove: true})
			continue
		}
		b = corrected(j.Config, b)
		if b.Permanent() || b.End.After(now) {
			j.bans.Add(b)
			changes = append(changes, firewall.Change{Jail: j.Config.Name, ID: b.ID, Left: b.Left(now)})
		}
	}
	if j.deps.Store == nil || state.New {
		held, err := j.deps.Firewall.Elements(j.Config.Name)
		if err != nil {
			return err
		}
		inKernel := map[netip.Prefix]bool{}
		for _, e := range held {
			inKernel[e.ID] = true
			if _, ok := j.bans.Get(e.ID); ok {
				continue
			}
			// Of what has a timeout, the kernel is our only memory.
			if reason := j.unwanted(e, e.Left == 0); reason != "" {
				j.tookOut(e.ID, reason)
				changes = append(changes, firewall.Change{Jail: j.Config.Name, ID: e.ID, Remove: true})
				continue
			}
			b := j.adopt(e, now)
			if b.Permanent() != (e.Left == 0) {
				changes = append(changes, firewall.Change{Jail: j.Config.Name, ID: e.ID, Left: b.Left(now), Replace: true})
			}
			restored = append(restored, b.ID)
		}
		changes = slices.DeleteFunc(changes, func(c firewall.Change) bool { return inKernel[c.ID] && !c.Remove && !c.Replace })
	}
	j.deps.Firewall.Push(changes...)
	for _, id := range restored { // only now: the kernel comes first
		j.notice("Restore Ban %s", ban.Name(id))
		if b, ok := j.bans.Get(id); ok {
			j.actions.Ban(j.restoredTicket(b))
		}
	}
	j.retain()
	slices.SortFunc(state.Failures, func(a, b store.Failures) int { return a.Times[len(a.Times)-1].Compare(b.Times[len(b.Times)-1]) })
	for _, f := range state.Failures {
		if now.Sub(f.Times[len(f.Times)-1]) <= j.Config.FindTime {
			j.window.Restore(f.ID, f.Times)
		} else {
			j.failuresChanged(f.ID) // over: it need not be kept
		}
	}
	return nil
}

func resume(known []store.Position) map[string][]source.Position {
	out := map[string][]source.Position{}
	for _, p := range known {
		out[p.Path] = append(out[p.Path], source.Position{
			File: source.FileID{Dev: p.Dev, Inode: p.Inode}, FirstLine: p.FirstLine, Offset: p.Offset,
			Before: p.Before, Cursor: p.Cursor, Time: p.Time,
		})
	}
	return out
}

// batch is the way of some lines of one log. Between its pieces, others have their say.
func (j *Jail) batch(b source.Batch) {
	j.read = j.deps.Clock.Read()
	j.noteStep()
	j.newYears(j.read.Wall.Year())
	times := j.batchTimes(&b)
	first := 0 // line of the piece
	told := func(i int, r *filter.Result) {
		if !b.Replay {
			j.line(r, &times, first+i)
		}
	}
	for from := 0; from < len(b.Lines); {
		first = from
		to := j.pace.piece(b.Lines, from)
		j.filter.Detail = filter.DetailLines
		if j.Config.IgnoreCommand != "" || j.actions.UsesGroups() {
			j.filter.Detail = filter.DetailAll
		}
		begun := time.Now()
		j.work.begin(&readingPiece)
		if b.Times == nil {
			j.filter.MatchBlock(b.Lines[from:to], shareOf(b.Notes, from, to), j.read.Wall, told)
		} else {
			for i, when := range b.Times[from:to] {
				r := j.filter.MatchAt(source.ISO(when)+" ", b.Lines[from+i], when)
				told(i, &r)
			}
		}
		j.work.end()
		j.pace.took(time.Since(begun))
		if from = to; from < len(b.Lines) {
			j.midway = true
			j.publish()
			j.serve()
			j.midway = false
		}
	}
	if b.Replay {
		return
	}
	times.upTo(j, len(b.Lines))
	p := store.Position{
		Path: b.Path, Dev: b.File.Dev, Inode: b.File.Inode, FirstLine: b.FirstLine, Offset: b.End, Before: b.Before, Gone: b.Done,
		Cursor: b.Cursor, Time: b.Stored,
	}
	if b.Cursor == "" {
		p.Time = j.read.Wall
	}
	if b.File == (source.FileID{}) && b.Cursor == "" {
		return // what has no place can't be read again
	}
	if j.delta.Logs == nil {
		j.delta.Logs = map[store.LogKey]store.Position{}
	}
	key := store.LogKey{Path: b.Path, Dev: b.File.Dev, Inode: b.File.Inode}
	j.delta.Logs[key] = p
	if j.logs[key] = p; b.Done {
		delete(j.logs, key)
	}
	j.changed()
	switch {
	case j.inFlight() > 0 && len(j.delta.Events) > 0:
		j.pushEvents(false)
	case b.Opened || len(j.delta.Events) > 0:
		j.push() // a ban is kept as soon as it is made, and so is where a log begins
	}
}

// shareOf has what is found in a piece of a block shared with other jails.
func shareOf(notes *source.Notes, from, to int) filter.Share {
	if notes == nil {
		return nil
	}
	type piece struct {
		filter.SharedKey
		from, to int
	}
	return func(key filter.SharedKey, look func() *filter.Sightings) *filter.Sightings {
		seen, _ := notes.Get(piece{key, from, to}, func() any { return look() }).(*filter.Sightings)
		return seen
	}
}

func (j *Jail) banned(b ban.Ban) {
	lines := j.kept.lines(b.ID)
	if j.deps.Store == nil {
		j.deps.Memory.Add(j.Config.Name, b, lines, j.deps.MaxMatches)
	}
	j.event(store.Event{Ban: b, Matches: lines})
	j.kept.drop(b.ID)
	j.changed()
}

func (j *Jail) lifted(b ban.Ban) {
	j.remember(b.ID, past{}) // the store forgets it, as fail2ban's does
	j.deps.Memory.Forget(j.Config.Name, b.ID)
	j.event(store.Event{Ban: b, Lifted: true})
	j.changed()
}

func (j *Jail) allLifted() {
	j.kept.clear()
	clear(j.history)
	j.deps.Memory.ForgetAll(j.Config.Name)
	j.event(store.Event{AllLifted: true})
	j.changed()
}

// changed sees to it that the delta is handed over soon.
func (j *Jail) changed() {
	if !j.flushing && j.flush != nil {
		j.flushing = true
		j.flush.Reset(saveEvery)
	}
}

// save hands the delta over, unless failures before its positions wait for something to
// be said of them.
func (j *Jail) save() {
	if j.inFlight() > 0 {
		if j.held.IsZero() {
			j.held = time.Now()
		}
		if time.Since(j.held) < saveAtLast {
			j.changed()
			return
		}
	}
	j.push()
}

// push hands the delta over at once; in the middle of a batch, bans alone: what was
// counted is ahead of the position there.
func (j *Jail) push() {
	if j.midway {
		j.pushEvents(false)
		return
	}
	j.held = time.Time{}
	j.handOver(false)
}

// pushKept hands over what is left when nobody takes the place of the jail. Failures
// that nothing was said of in time are read again after the next start, with what
// stands behind them; but no more than saveAtLast of them.
func (j *Jail) pushKept() {
	if j.inFlight() > 0 && (j.held.IsZero() || time.Since(j.held) < saveAtLast) {
		j.pushEvents(true)
		return
	}
	j.held = time.Time{}
	j.handOver(true)
}
