package jail

import (
	"fmt"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/fleet"
	"bailiff/pkg/source"
	"bailiff/pkg/store"
)

// unwritten is what the store is to be told.
type unwritten struct {
	delta    *store.Delta // what changed since the last one was handed over
	logs     map[store.LogKey]store.Position
	kept     *keptLines
	held     time.Time     // since when delta waits for failures that wait
	midway   bool          // in the middle of a batch
	flushing bool          // the timer runs
	flushAt  time.Time     // until then
	flushIn  time.Duration // as it was when the timer was set
	flush    *alarm
}

// What outlives the daemon. A jail gathers what changed in a store.Delta: bans,
// the failures in its window, and how far its logs are accounted for. They are
// handed over together, so that after a crash reading goes on at a place up to
// which everything is known, and a line is neither lost nor counted twice.

const (
	// saveEvery is how long changes are gathered. None is lost by it if the daemon is
	// killed: what was found stands behind the position that is kept, and is found again.
	saveEvery = time.Second
	// saveQuietly is how long it is if nothing was found, but lines were read, or what was
	// found is over: so a log in which nothing happens costs the disk next to nothing.
	saveQuietly = 30 * time.Second
	// saveAtLast is how long they wait for failures that wait themselves (for the address
	// of a name, for ignorecommand): a position must not be ahead of those. With failures
	// that wait for longer, it is, and those are lost if the daemon ends.
	saveAtLast = 15 * time.Second
)

// prepareKeeping makes what the jail keeps, empty.
func (j *Jail) prepareKeeping() {
	j.delta = &store.Delta{Jail: j.Config.Name}
	j.kept = newKeptLines(linesBudget)
	j.logs = map[store.LogKey]store.Position{}
	if j.deps.Memory == nil {
		j.deps.Memory = NewMemory()
	}
	j.window.Evicted, j.window.Note = j.evicted, pendingMost+1
}

// load asks the store for what is known of the jail, and hands over its bans as they come.
// Where the jail takes the place of another one, that knows where its logs were; and with no
// store, nobody knows anything.
func (j *Jail) load(before *Jail, bans func([]ban.Ban)) (state store.State) {
	switch {
	case before != nil:
		for _, p := range before.logs {
			state.Logs = append(state.Logs, p)
		}
	case j.deps.Store != nil:
		j.generation = j.storeGeneration()
		var err error
		if state, err = j.deps.Store.LoadEach(j.Config.Name, j.deps.Clock.Now(), bans); err != nil {
			j.deps.Log.With("component", "database").Error(fmt.Sprintf("[%s] %v: nothing is known of before but what the kernel holds", j.Config.Name, err))
			state = store.State{New: true}
		}
		if state.Late {
			j.unheard = &unheard{lifted: map[ban.ID]struct{}{}}
		}
	}
	for _, p := range state.Logs {
		j.logs[store.LogKey{Path: p.Path, Dev: p.Dev, Inode: p.Inode}] = p
	}
	return state
}

// inherit takes over what the jail before this one had, and goes on with it: failures
// and their lines, those that wait, what was not handed to the store yet.
func (j *Jail) inherit(before *Jail) {
	j.delta, j.held, j.pending = before.delta, before.held, before.pending
	j.window = before.window
	j.window.Limit(j.Config.MaxRetry, j.Config.FindTime)
	j.window.Evicted = j.evicted
	if j.counting != nil && j.counting.forgiven != nil && before.counting != nil && before.counting.forgiven != nil {
		j.counting.forgiven, j.counting.total = before.counting.forgiven, before.counting.total
	}
	j.window.Mark(j.counting.marks())
	j.kept = before.kept
	j.names, j.checks, j.pasts = before.names, before.checks, before.pasts
	j.gaveUp, j.unasked, j.takenNew = before.gaveUp, before.unasked, before.takenNew
	if j.growth != nil && before.history != nil {
		j.history, j.historyNames = before.history, before.historyNames
	}
	j.inbox, j.unheard = before.inbox, before.unheard
	j.counters = before.counters
}

func resume(known []store.Position) map[string][]source.Position {
	out := map[string][]source.Position{}
	for _, p := range known {
		out[p.Path] = append(out[p.Path], source.Position{
			File: source.FileID{Dev: p.Dev, Inode: p.Inode}, FirstLine: p.FirstLine, Offset: p.Offset,
			Before: p.Before, Born: p.Born, Seen: p.Seen, Cursor: p.Cursor, Time: p.Time,
		})
	}
	return out
}

// batch is the way of some lines of one log. Between its pieces, others have their say.
func (j *Jail) batch(b source.Batch) {
	if b.Take != nil && !b.Take() {
		return
	}
	j.read = j.deps.Clock.Read()
	j.noteStep()
	j.newYears(j.read.Wall.Year())
	times := j.batchTimes(&b)
	if !b.Replay {
		j.counters.batch(&b, j.read.Wall)
	}
	first := 0 // line of the piece
	told := func(i int, r *filter.Result) {
		if !b.Replay {
			j.line(r, &times, first+i)
			j.pace.line()
		}
	}
	j.pace.turn.Begin()
	for from := 0; from < len(b.Lines); {
		first = from
		to := j.pace.piece(b.Lines, from)
		j.filter.Detail = filter.DetailLines
		if j.Config.IgnoreCommand != "" || j.actions.UsesGroups() || j.counting.groups() {
			j.filter.Detail = filter.DetailAll
		}
		begun, away := time.Now(), j.pace.turn.Away()
		j.work.begin(&readingPiece)
		j.reading = true
		switch {
		case b.Times != nil:
			for i, when := range b.Times[from:to] {
				r := j.filter.MatchEntry(source.ISO(when)+" ", b.Lines[from+i], times.frame(from+i), when)
				told(i, &r)
			}
		case b.Frames != nil:
			for i, frame := range b.Frames[from:to] {
				r := j.filter.MatchFramed(b.Lines[from+i], frame, j.read.Wall)
				told(i, &r)
			}
		default:
			j.filter.MatchBlock(b.Lines[from:to], shareOf(b.Notes, from, to), j.read.Wall, told)
		}
		j.work.end()
		j.pace.took(time.Since(begun) - (j.pace.turn.Away() - away))
		j.pieceRead()
		j.pace.step()
		if from = to; from < len(b.Lines) {
			j.midway = true
			j.serve()
			j.midway = false
		}
	}
	j.rush.over()
	undated := j.filter.TakeUndated()
	if b.Replay {
		return
	}
	j.counters.undated.Add(uint64(undated))
	times.upTo(j, len(b.Lines))
	p := store.Position{
		Path: b.Path, Dev: b.File.Dev, Inode: b.File.Inode, FirstLine: b.FirstLine, Offset: b.End, Before: b.Before, Gone: b.Done,
		Born: b.Born, Seen: b.Seen, Cursor: b.Cursor, Time: b.Stored,
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
		j.changed()
	}
	j.saveIn(saveQuietly)
	if b.Opened || len(j.delta.Events) > 0 {
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

// said is what the fleet is told of a ban that was made here, or that has another end now; nil: nothing.
func (j *Jail) said(b ban.Ban) func() []fleet.Out {
	if j.deps.Fleet == nil || j.deps.DryRun || j.Configured.Observe || b.ID.IsName() || !b.Element().IsValid() {
		return nil
	}
	return j.deps.Fleet(j.Config.Name, b)
}

// banned keeps a ban; said is what the fleet is told of it.
func (j *Jail) banned(b ban.Ban, said func() []fleet.Out) {
	lines := j.kept.lines(b.ID)
	if j.deps.made != nil {
		j.deps.made(b, lines)
	}
	groups, find := j.captures(b.ID)
	if j.deps.Store == nil {
		j.deps.Memory.Add(j.Config.Name, b, lines, groups, find, j.deps.MaxMatches)
	}
	j.event(store.Event{Ban: b, Matches: lines[max(len(lines)-max(j.deps.MaxMatches, 0), 0):], Groups: groups, Captured: find, Said: said})
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
	j.historyNames = 0
	j.deps.Memory.ForgetAll(j.Config.Name)
	j.event(store.Event{AllLifted: true})
	j.changed()
}

// changed sees to it that the delta is handed over soon.
func (j *Jail) changed() { j.saveIn(saveEvery) }

// saveIn sees to it that the delta is handed over in a while, or sooner.
func (j *Jail) saveIn(d time.Duration) {
	if j.flush == nil {
		return
	}
	if j.flushing && j.flushIn <= d {
		return // it was set before: no clock need be asked
	}
	at := time.Now().Add(d)
	if j.flushing && !at.Before(j.flushAt) {
		return
	}
	j.flushing, j.flushAt, j.flushIn = true, at, d
	j.flush.Reset(d)
}

// holds reports whether failures before the positions wait for something to be said of
// them. It does so for saveAtLast at the most.
func (j *Jail) holds() bool {
	if j.inFlight() == 0 {
		j.held = time.Time{}
		return false
	}
	if j.held.IsZero() {
		j.held = time.Now()
	}
	return time.Since(j.held) < saveAtLast
}

// save hands the delta over, or later what has to wait.
func (j *Jail) save() {
	if j.holds() {
		j.changed()
		return
	}
	j.push()
}

// push hands the delta over at once; in the middle of a batch, where what was counted is
// ahead of the position, and while failures before the positions wait, bans alone.
func (j *Jail) push() {
	switch {
	case j.midway:
		j.pushEvents(false)
	case j.holds():
		j.pushEvents(false)
		j.changed()
	default:
		j.held = time.Time{}
		j.handOver(false)
	}
}

// pushKept hands over what is left when nobody takes the place of the jail. Failures
// that nothing was said of in time are read again after the next start, with what
// stands behind them; but no more than saveAtLast of them.
func (j *Jail) pushKept() {
	if j.holds() {
		j.pushEvents(true)
		return
	}
	j.held = time.Time{}
	j.handOver(true)
}
