package fleet

import (
	"iter"
	"math/rand/v2"
	"strconv"
	"time"
)

// Link is what an Agent asks of its connection to the hub. Nothing waits: the answers come by the
// Agent's methods, with the ticket of the question.
type Link interface {
	// Ask asks for words from a number on, some PageMost of them: Paged.
	Ask(ticket, from uint64)
	// Look asks for the newest word of a key: Looked.
	Look(ticket uint64, k Key)
	// Put asks the hub to store an entry: Answered.
	Put(ticket uint64, k Key, p Put)
	// Fail tells the hub of failures that it counts over all hosts: Failing.
	Fail(ticket uint64, f Failures)
	// Move goes to another server, if there is one.
	Move()
}

// PageMost is how many words are asked for at a time, at first.
const PageMost = 1000

// Host is what an Agent tells the rest of the daemon. Times are the host's, as the Agent is given them.
type Host interface {
	// Changed tells what a word changes.
	Changed(Change)
	// All tells all that is in force: what else the host has of the fleet is not, any more.
	All(iter.Seq[Change])
	// Keep keeps what is new, in one transaction.
	Keep(Kept)
	// Refused tells that the hub will never store what this host said.
	Refused(Out, Reason)
	// Clock tells that a clock was set, by so much seen from the host: the servers', or, where that was found at the
	// start, one of the two.
	Clock(by time.Duration, servers bool)
}

// Kept is what an Agent wants to find again after a restart.
type Kept struct {
	// Forget: of the words of others nothing is kept any more; that comes first.
	Forget bool
	// Words replace those of the same keys, Dropped go.
	Words   []Said
	Dropped []Key
	// Out has what is to be said, in the place of what has the same key; Done is what needn't be any more, unless
	// there is a later one by now.
	Out  []Out
	Done []Out
	// Epoch, Cursor and N are where the host is in the stream, and the number of what it has said last.
	Epoch  string
	Cursor uint64
	N      uint64
	// Ahead is how much the servers' clock is ahead of the host's.
	Ahead time.Duration
}

// Out is something that this host says and the stream doesn't hold yet.
type Out struct {
	Key   Key
	Entry Entry
	// Made is when, by the host's time.
	Made time.Time
}

// Bounds and patience of an Agent.
const (
	outMost     = 100_000     // what waits to be said; beyond, the oldest ban is forgotten
	flightMost  = 32          // puts on their way
	aheadMost   = 20_000      // words that came before others
	keepMost    = 1000        // words until they are kept
	keepEvery   = time.Minute // until it is kept how far was read, where that is all
	ackPatience = 3 * time.Second
	beatsMissed = 3 * BeatEvery
	askPatience = 5 * time.Second
	// moveEvery is between two moves, moveMost where they don't help: a hub that has too much to do has not less with new connections.
	moveEvery   = 5 * time.Second
	moveMost    = time.Minute
	backoffMin  = 500 * time.Millisecond
	backoffMost = 30 * time.Second
	askAgain    = 100 * time.Millisecond
	clockFor    = 5 * time.Second
	strayFor    = time.Minute     // so long words of the stream before may come
	clockOff    = 3 * time.Second // all ends are told anew if they are wrong by more
	quotaAgain  = time.Minute
	// backBeats is how many beats in a row with smaller numbers than what was read say that the stream is not
	// the one that it was.
	backBeats = 3
)

// Stats are what an Agent has counted.
type Stats struct {
	Counts
	// Complete: everything that the stream had when the newest beat was written has been read.
	Complete bool
	// Quiet is since when no beat was told, though there ought to be one each two seconds; the zero time: there are.
	Quiet time.Time
	// Waiting is how much waits to be said; Since when.
	Waiting int
	Since   time.Time
	// Cursor is the number up to which everything was read; Newest the largest that is known.
	Cursor, Newest uint64
	// Bad are messages that were not to be believed; Gaps are words that had to be asked for; Moves,
	// Epochs, Steps (of a clock), Asked, Sent, Stored, Refused, Busy, Conflicts say how often.
	Bad, Gaps, Moves, Epochs, Steps, Asked, Sent, Stored, Refused, Busy, Conflicts uint64
}

// Agent has a host take part in a fleet. It is a state and the events that change it: it never waits, its clock is an
// argument, and it belongs to one goroutine. The host's time may be any that only goes forward.
type Agent struct {
	policy Policy
	view   *View
	link   Link
	host   Host
	stats  Stats
	ticket uint64

	connected bool
	n         uint64
	cursor    uint64
	beat      uint64 // the newest beat's number
	beatAt    time.Time
	back      int // beats in a row that were before the cursor
	backRev   uint64
	newest    uint64
	clocks    clocks
	since     time.Time // the servers' time of the beat by which this stream was known, and the host's
	sinceAt   time.Time
	toldBy    time.Duration // clocks.ahead when everything was told
	complete  bool
	// live is when the hub told of a beat last on this connection; the zero time: not yet. One that was looked up may be old.
	live  time.Time
	quiet time.Time // since when there is none
	bulk  bool      // everything is read anew: changes are told when that is done

	early map[uint64]Said // words that came before others; of a bad one the key is the zero one
	ask   question
	moved time.Time
	stays time.Duration // until the next move

	out map[Key]*waiting
	// order is all of them, and for a while what is done; queue are those to be put next.
	order, queue []*waiting
	flight       int
	pause        time.Time
	wait         time.Duration
	hold         time.Duration
	steady       bool
	from         uint64 // what was read before this life
	acked        time.Time

	tally tally

	kept   Kept
	dirty  bool // there is something to be kept
	keptAt time.Time
	keptTo uint64
}

type question struct {
	ticket uint64 // 0: none is on its way
	at     time.Time
	again  time.Time
	wait   time.Duration
}

// Start is where an Agent goes on.
type Start struct {
	Epoch  string
	Cursor uint64
	N      uint64
	Ahead  time.Duration
	// Words tells each word that was kept. If it fails, everything is read anew.
	Words func(each func(Said)) error
	Out   []Out
	// Hold is how long what is said waits at the most until the host has kept it (Release). So the hub knows of nothing
	// that this host would not know of after a kill. 0: it goes at once.
	Hold time.Duration
	// Steady: the host's time is known to be the one by which all this was kept. Else its clock may have been set.
	Steady bool
}

// NewAgent returns one that goes on where it was, and tells the host what is in force by that.
func NewAgent(p Policy, s Start, link Link, host Host, now time.Time) *Agent {
	p.Epoch = s.Epoch
	a := &Agent{
		policy: p, view: NewView(p), link: link, host: host, n: s.N, cursor: s.Cursor, from: s.Cursor, hold: s.Hold, steady: s.Steady,
		early: map[uint64]Said{}, out: map[Key]*waiting{},
		tally: tally{run: strconv.FormatUint(rand.Uint64(), 36), find: map[string]time.Duration{}, shy: map[string]time.Time{}, at: map[countKey]*failed{}},
	}
	if s.Ahead != 0 {
		a.clocks = clocks{known: true, ahead: s.Ahead, before: s.Ahead, lately: s.Ahead}
	}
	if a.n == 0 {
		// A host that has lost its number, and perhaps not its name, goes on behind all that it has said.
		a.n = uint64(max(now.UnixMilli(), 0))
	}
	a.view.Bulk(true)
	if s.Words != nil {
		err := s.Words(func(w Said) { a.view.Apply(w, now, nil) })
		if err != nil {
			a.view.Forget("")
			a.policy.Epoch, a.cursor, a.kept.Forget, a.dirty = "", 0, true, true
		}
	}
	a.view.Bulk(false)
	for _, o := range s.Out {
		a.n = max(a.n, o.Entry.N)
		a.enqueue(o, now)
		a.out[o.Key].old = true
	}
	a.beatAt, a.acked, a.quiet = now, now, now
	a.bulk = a.policy.Epoch == "" || a.cursor == 0
	a.view.Bulk(a.bulk)
	if !a.bulk {
		a.all(now)
	}
	return a
}

// server is the servers' time; local turns one of theirs into the host's.
func (a *Agent) server(now time.Time) time.Time { return now.Add(a.clocks.ahead) }

func (a *Agent) local(server time.Time) time.Time { return server.Add(-a.clocks.ahead) }

func (a *Agent) next() uint64 {
	a.ticket++
	return a.ticket
}

// all tells the host everything.
func (a *Agent) all(now time.Time) {
	a.toldBy = a.clocks.ahead
	a.host.All(func(yield func(Change) bool) {
		ok := true
		a.view.Each(a.server(now), func(c Change) {
			if w := a.out[BanKey(a.policy.Self, c.Group, c.Prefix)]; w != nil && !w.Entry.Gone() && w.Entry.N > c.Lifted {
				c.Lifted = 0
			}
			ok = ok && yield(a.told(c))
		})
	})
}

// told is a change in the host's time. What this host has lifted and not been answered yet is let in all the same.
func (a *Agent) told(c Change) Change {
	switch {
	case c.Until.IsZero():
	case a.Lifting(c.Group, c.Prefix):
		c.Until = time.Time{}
	default:
		c.Until = a.local(c.Until)
	}
	return c
}

// Connected tells that there is a connection, perhaps to another server than before: what came meanwhile
// is asked for.
func (a *Agent) Connected(now time.Time) {
	a.connected, a.complete, a.live, a.tally.fresh = true, false, time.Time{}, true
	a.beatAt, a.acked, a.pause, a.wait = now, now, time.Time{}, 0
	a.ask = question{}
	a.look(now)
	a.read(now)
	a.send(now)
}

// Disconnected tells that there is none. What was on its way may have come there or not.
func (a *Agent) Disconnected(now time.Time) {
	a.connected, a.complete, a.live = false, false, time.Time{}
	if a.quiet.IsZero() {
		a.quiet = now
	}
	a.tally.lost()
	a.ask = question{}
	for _, w := range a.out {
		a.doubt(w, now)
	}
	a.flight = 0
}

// look asks for the beat: which stream it is, and how far it goes.
func (a *Agent) look(time.Time) { a.link.Look(a.next(), BeatKey()) }

// Bad tells of a message that ReadLive refused.
func (a *Agent) Bad(now time.Time, err *BadMessage) {
	a.stats.Bad++
	if err.Rev != 0 {
		a.take(now, Said{Rev: err.Rev})
	}
}

// Live tells of a word that the hub told of. Connections may give them twice, late, or not at all.
func (a *Agent) Live(now time.Time, s Said) {
	a.clock(now, s, true)
	if s.Key.Kind == Beat && (s.Epoch != a.policy.Epoch || s.Rev >= a.beat) {
		a.live = now
	}
	a.take(now, s)
}

func (a *Agent) take(now time.Time, s Said) {
	if late := a.since.Sub(s.Stored); !s.Stored.IsZero() && late >= 0 && late < strayFor && now.Sub(a.sinceAt) < strayFor {
		return // of the stream before this one, or it is asked for
	}
	if s.Key.Kind == Beat && !a.heard(now, s) {
		return
	}
	switch {
	case a.policy.Epoch == "": // it isn't known yet of which stream this is
	case s.Rev <= a.cursor:
	case s.Rev == a.cursor+1:
		a.apply(now, s)
		a.join(now)
	default:
		if len(a.early) == 0 {
			a.stats.Gaps++
		}
		if len(a.early) < aheadMost { // what is left out is asked for later
			a.early[s.Rev] = s
		}
	}
	a.settle(now)
}

// heard takes a beat; false: it led to another stream.
func (a *Agent) heard(now time.Time, s Said) bool {
	a.beatAt = now
	switch {
	case s.Epoch != a.policy.Epoch:
		a.restart(now, s)
		return false
	case s.Rev <= a.cursor && s.Rev < a.beat && s.Rev > a.backRev:
		// A late one, or the stream was put back to what it was before.
		if a.back, a.backRev = a.back+1, s.Rev; a.back >= backBeats {
			a.restart(now, s)
			return false
		}
	case s.Rev > a.beat:
		a.beat, a.back, a.backRev, a.stays = s.Rev, 0, 0, 0
	}
	return true
}

// restart begins anew, with another stream: what this host has said and what still counts is said again,
// with the time at which it was made.
func (a *Agent) restart(now time.Time, s Said) {
	if a.policy.Epoch != "" {
		a.stats.Epochs++
		for _, w := range a.out {
			w.Entry.Epoch, w.Entry.Seen = "", 0
			a.again(w, now)
			a.kept.Out = append(a.kept.Out, w.Out)
		}
	}
	a.view.Own(func(o Said) {
		if a.out[o.Key] != nil {
			return
		}
		o.Entry.Epoch, o.Entry.Seen = "", 0
		out := Out{Key: o.Key, Entry: o.Entry, Made: a.local(o.Stored)}
		if !a.counts(o) {
			// Who has lifted it may not be there to say so, and a stream that was put back may have it.
			if _, over := a.aged(&waiting{Out: out}, now); over {
				return
			}
			a.n++
			out.Entry.Left, out.Entry.N, out.Made = 0, a.n, now
		}
		a.enqueue(out, now)
		a.kept.Out = append(a.kept.Out, out)
	})
	a.view.Forget(s.Epoch)
	a.policy.Epoch, a.cursor = s.Epoch, 0
	a.beat, a.back, a.backRev = s.Rev, 0, 0
	a.newest = s.Rev
	a.since, a.sinceAt = s.Stored, now
	clear(a.early)
	a.kept.Words, a.kept.Dropped, a.kept.Forget, a.dirty = nil, nil, true, true
	a.complete, a.bulk = false, true
	a.ask = question{}
	a.view.Bulk(true)
	a.read(now)
	a.send(now)
}

// apply takes the word that comes next.
func (a *Agent) apply(now time.Time, s Said) {
	a.cursor = s.Rev
	if at := a.server(now); a.clocks.sure && (a.clocks.first == 0 || s.Rev < a.clocks.first) && s.Stored.After(at.Add(stepOff)) {
		s.Stored = at // by a clock that was set back since: nothing lasts for longer than it says
	}
	if made := s.Stored.Add(-time.Duration(s.Entry.Age) * time.Second); s.Key.Kind == Lift || s.Key.Kind == Ban && s.Key.Host == Hub {
		a.forget(s.Key.Group, s.Key.addr, a.local(made), false)
	}
	if s.Key.Kind == Ban || s.Key.Kind == Lift || s.Key.Kind == Distrust {
		if a.view.Apply(s, a.server(now), func(c Change) { c.Cause = s; a.changed(c) }) {
			s.Stored = s.Stored.Add(-time.Duration(s.Entry.Age) * time.Second)
			s.Entry.Age = 0
			a.kept.Words, a.dirty = append(a.kept.Words, s), true
		}
	}
	if s.Key.Host == a.policy.Self {
		a.n = max(a.n, s.Entry.N)
		a.echo(s)
	}
	if len(a.kept.Words) >= keepMost {
		a.keep(now)
	}
}

// changed tells of a change, unless it is of a ban of this host's own that has said a later one by now.
func (a *Agent) changed(c Change) {
	if w := a.out[BanKey(a.policy.Self, c.Group, c.Prefix)]; w != nil && !w.Entry.Gone() && w.Entry.N > c.Lifted {
		c.Lifted = 0
	}
	a.host.Changed(a.told(c))
}

// join takes what came before its turn, now that it is.
func (a *Agent) join(now time.Time) {
	for {
		s, ok := a.early[a.cursor+1]
		if !ok {
			return
		}
		delete(a.early, s.Rev)
		a.apply(now, s)
	}
}

// settle sees whether everything is there, and asks for what isn't.
func (a *Agent) settle(now time.Time) {
	heard := !a.live.IsZero() && now.Sub(a.live) <= beatsMissed
	if heard {
		a.quiet = time.Time{}
	} else if a.quiet.IsZero() {
		a.quiet = now
	}
	read := a.policy.Epoch != "" && a.connected && a.cursor >= a.beat && a.beat > 0
	done := read && heard
	if done && !a.complete && a.bulk {
		a.bulk = false
		a.view.Bulk(false)
		a.all(now)
	}
	a.complete = done
	if !read || len(a.early) > 0 {
		a.read(now)
	}
}

// read asks for what is missing.
func (a *Agent) read(now time.Time) {
	if !a.connected || a.policy.Epoch == "" || a.ask.ticket != 0 || now.Before(a.ask.again) {
		return
	}
	a.stats.Asked++
	a.ask.ticket, a.ask.at = a.next(), now
	a.link.Ask(a.ask.ticket, a.cursor+1)
}

// Page is an answer to Ask: words in the stream's order, those that could not be read with their
// number alone.
type Page struct {
	Words []Said
	Bad   int
	// Whole: the server that was asked had no more. It may be behind.
	Whole bool
}

// Paged tells the answer to Ask, or that there is none, or what came of it before it broke off.
func (a *Agent) Paged(now time.Time, ticket uint64, p Page, err error) {
	if ticket != a.ask.ticket {
		return
	}
	a.ask.ticket = 0
	before := a.cursor
	if err == nil || len(p.Words) > 0 { // what came before it broke off counts
		a.stats.Bad += uint64(p.Bad)
		for _, s := range p.Words {
			// A word proves that the server had all before it; what isn't among them is not in the stream any more.
			if s.Rev <= a.cursor {
				continue
			}
			if s.Key.Kind == Beat && (s.Epoch != a.policy.Epoch) {
				a.restart(now, s)
				return
			}
			a.apply(now, s)
		}
		for rev := range a.early {
			if rev <= a.cursor {
				delete(a.early, rev)
			}
		}
		a.join(now)
	}
	if a.cursor > before {
		a.ask.again, a.ask.wait = time.Time{}, 0
	} else {
		a.ask.wait = min(max(2*a.ask.wait, askAgain), askPatience)
		a.ask.again = now.Add(jitter(a.ask.wait))
	}
	a.settle(now)
}

// Tick is to be called some ten times a second.
func (a *Agent) Tick(now time.Time) {
	if a.ask.ticket != 0 && now.Sub(a.ask.at) > askPatience {
		a.Paged(now, a.ask.ticket, Page{}, errNoAnswer)
	}
	if a.connected {
		if now.Sub(a.beatAt) > beatsMissed {
			a.beatAt = now
			a.move(now)
		}
		a.settle(now)
	}
	a.see(now)
	a.tell(now)
	if a.clocks.sure && a.clocks.first == 0 { // else nobody knows what is over: a clock may have been set
		a.view.Sweep(a.server(now), 1000, func(k Key) {
			a.kept.Dropped, a.dirty = append(a.kept.Dropped, k), true
		})
	}
	// That the beat goes on is no reason to write to a disk every two seconds.
	a.dirty = a.dirty || a.cursor != a.keptTo && now.Sub(a.keptAt) > keepEvery
	a.keep(now)
}

// move goes to another server: a connection to one that is cut off from the others stays up.
func (a *Agent) move(now time.Time) {
	if now.Sub(a.moved) < jitter(max(a.stays, moveEvery)) {
		return
	}
	a.stays = min(2*max(a.stays, moveEvery/2), moveMost)
	a.moved = now
	a.stats.Moves++
	a.link.Move()
}

// KeepAll has everything kept anew: what was kept is gone. It is Host.Keep's, several times.
func (a *Agent) KeepAll(now time.Time) {
	a.kept, a.dirty = Kept{Forget: true, Done: a.kept.Done}, true
	for _, w := range a.out {
		a.kept.Out = append(a.kept.Out, w.Out)
	}
	// Until all is kept, nothing is behind the cursor.
	cursor := a.cursor
	a.cursor = 0
	a.view.Held(func(s Said) {
		a.kept.Words, a.dirty = append(a.kept.Words, s), true
		if len(a.kept.Words) >= keepMost {
			a.keep(now)
		}
	})
	a.cursor, a.dirty = cursor, true
	a.keep(now)
}

// keep hands over what is new.
func (a *Agent) keep(now time.Time) {
	if !a.dirty {
		return
	}
	k := a.kept
	k.Epoch, k.Cursor, k.N, k.Ahead = a.policy.Epoch, a.cursor, a.n, a.clocks.ahead
	a.kept, a.dirty, a.keptAt, a.keptTo = Kept{}, false, now, a.cursor
	a.host.Keep(k)
}

// Recheck is View.Recheck, for whom the host never shuts out.
func (a *Agent) Recheck(now time.Time) {
	a.view.Recheck(a.server(now), a.changed)
}

// jitter is d and up to half of it more, so that a thousand hosts don't do it at once.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/2+1) }
