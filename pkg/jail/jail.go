// Package jail is one jail at work: the only place where source, filter, window,
// bans and firewall meet. A jail owns all of its state in one goroutine; what
// others want of it, they ask through its methods, which that goroutine carries
// out between two batches of lines.
package jail

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/events"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/fleet"
	"bailiff/pkg/guard"
	"bailiff/pkg/history"
	"bailiff/pkg/report"
	"bailiff/pkg/resolve"
	"bailiff/pkg/source"
	"bailiff/pkg/store"
	"bailiff/pkg/syslog"
)

// Firewall is what a jail asks of the kernel.
type Firewall interface {
	// AddJail makes the jail's sets and rules.
	AddJail(firewall.Rule) error
	// Elements returns what the sets hold.
	Elements(name string) ([]firewall.Element, error)
	RemoveJail(name string) error
	// Lift takes one element out of the jail's sets and reports whether it was there.
	Lift(name string, id netip.Prefix) (bool, error)
	// Push hands changes over; they are in force a moment later.
	Push(...firewall.Change)
}

// Store is what a jail asks of the database.
type Store interface {
	// LoadEach returns what is known of a jail, but for the bans, which it hands over meanwhile,
	// some at a time; by the goroutine that has called it. With an error, these need not be all.
	LoadEach(name string, now time.Time, bans func([]ban.Ban)) (store.State, error)
	Past
	// Push hands over what changed; it is written soon, in one transaction.
	Push(*store.Delta)
}

// Syslog is what a jail asks of who receives syslog.
type Syslog interface {
	// Attach has a jail be given messages. Under a name there is one at a time.
	Attach(jail string, w syslog.Wants) *syslog.Subscriber
}

// Source delivers lines until its context ends.
type Source interface {
	Run(context.Context, chan<- source.Batch)
	Status() []source.Status
}

// Deps is what a jail needs from outside.
type Deps struct {
	Firewall Firewall
	Store    Store // nil: nothing is kept
	// Memory remembers bans where there is no Store; nil: the jail has one of its own.
	Memory *Memory
	// Endings knows actions of earlier jails that are still at work; nil: there are none.
	Endings *action.Endings
	Log     *slog.Logger
	// Clock has the two times: lines tell the wall clock's, windows and bans run by the
	// steady one.
	Clock *clock.Clock
	// ClockSet is by how much the wall clock was set between the last daemon and this
	// one.
	ClockSet time.Duration
	Location *time.Location // of dates that name no zone
	// Lookup resolves a host name of ignoreip.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Names resolves those of logs, for all jails; nil: the jail has one of its own,
	// which asks Lookup.
	Names *resolve.Names
	// Host returns the name of an address, "" if it has none; nil: none has.
	Host func(ctx context.Context, addr netip.Addr) string
	// Guard says who may not be banned; nil: the jail makes one of Own and Lookup.
	Guard *guard.Guard
	// Own returns this host's addresses, where there is no Guard.
	Own func() []netip.Addr
	// Sessions returns the peers of SSH sessions; nil: nobody knows.
	Sessions func() []netip.Addr
	// Syslog receives what jails want of it; nil: nobody does.
	Syslog Syslog
	// Source makes the source of a jail; nil: its log files.
	Source func(*config.Jail, *filter.Filter) Source
	// RemoveForeign says whether what is in the jail's sets and on no list is removed;
	// else, and where it is nil, it is adopted.
	RemoveForeign func() bool
	// Often sums up lines of the log that come often, for all jails; nil: the jail has one
	// of its own.
	Often *eventlog.Often
	// Beside is how many jails follow the same logs with the same filter, this one among
	// them, as far as known: they share what that finds. 0: it alone does.
	Beside int
	// MaxMatches is how many lines of the log are kept with a ban.
	MaxMatches int
	// Changed is called when bans came or went; nil: nobody asks.
	Changed func()
	// RunAction runs an action's command; nil: the shell does.
	RunAction func(ctx context.Context, c action.Command, timeout time.Duration) bool
	// Reports says whether a jail's bans are reported, and with lines, and Report takes
	// them; neither waits. nil: nobody is told.
	Reports func(jail string) (wanted, lines bool)
	Report  func(report.Offence)
	// ActionTook is told how long commands of actions take; nil: nobody is.
	ActionTook func(time.Duration)
	// Fleet is told of bans that were made here; what it returns is asked when the ban is written. It waits for nothing.
	// nil: nobody is told.
	Fleet func(jail string, b ban.Ban) (said func() []fleet.Out)
	// Events is told what happens; nil: nobody is.
	Events *events.Table
	// Tally counts failures, bans and their ends; nil: nobody does.
	Tally *history.Tally
	// DryRun: nothing is done by actions; the log says of bans that they are none.
	DryRun bool

	stamps bool // the times of files are Clock's, too: a test sees to it
	// made is told of bans, with the lines that led to them; nil: nobody is.
	made func(ban.Ban, []string)
}

// Jail is one running jail.
type Jail struct {
	// Configured is what the jail was started with, and Rule that of it.
	Configured *config.Jail
	// Config is what holds now; it is the jail's goroutine's alone.
	Config *config.Jail
	deps   Deps

	filter  *filter.Filter
	window  *ban.Window
	bans    *ban.List
	guard   *guard.Guard // its own, where it was given none
	view    *guard.View  // who may not be banned
	proxies *guard.View  // the trusted ones; nil: nobody has named them
	// withheld tells of failures of which nobody can say whose they are.
	withheld withheld
	ready    bool        // what ignoreip needs to know is known, or was waited for
	due      atomic.Bool // it is to look at the view
	source   Source
	// Failures that wait for something to be said of them; and what of that is told.
	names                     waitlist[string]
	checks                    checks
	pasts                     pasts
	gaveUp, unasked, takenNew given
	unheard                   *unheard  // nil: the store has told what it knows
	waits                     *alarm    // when the next of them has waited for long enough
	waitsAt                   time.Time // that; zero: none

	delta      *store.Delta // what changed since the last one was handed over
	logs       map[store.LogKey]store.Position
	held       time.Time // since when delta waits for failures that wait
	midway     bool      // in the middle of a batch
	written    int64     // when the line was written that leads to the ban that is made; 0: none does
	pace       pace
	rush       rush
	reading    bool          // a piece
	untold     []act         // of it
	flushing   bool          // the timer runs
	flushAt    time.Time     // until then
	flushIn    time.Duration // as it was when the timer was set
	flush      *alarm
	kept       *keptLines
	actions    *action.Group
	site       *action.Site
	maxMatches atomic.Int64 // deps.MaxMatches, for the actions' goroutines
	checkedAt  time.Time    // when the actions' environments were last looked at

	counting *counting   // nil: each failure counts once
	growth   *ban.Growth // nil: ban times don't grow
	history  map[ban.ID]past
	// historyNames is how many bytes the names in it take.
	historyNames int

	idle   bool          // nothing is read for the time being
	begin  chan struct{} // closed when it is to begin
	begun  bool
	inbox  *inbox
	over   atomic.Bool // the goroutine has ended
	handed sync.Once   // then: what is to be stored was handed over
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}
	// What others may look at at any time; the rest is the jail's goroutine's alone.
	settings atomic.Pointer[config.Jail]
	shown    numbers
	hits     hits
	counters *counters
	told     tickets         // how many bans, in the log
	telling  atomic.Bool     // it waits to be told until actions have come to them
	teller   teller          // of what the filter captured, at a ban
	hadLogs  map[string]bool // by path: those that it followed before a reload, too
	listing  listing
	hasBegun atomic.Bool
	work     work // what its goroutine does at the moment

	step struct { // the last time that the clock was set forward
		offset time.Duration // of the wall clock from the steady time, after it
		by     time.Duration
		seen   time.Time // steady
	}
	namesTold time.Time   // when it was told that there is no room for more names, steady
	unheld    atomic.Bool // there was a ban that the kernel can't hold: it was told
	year      int         // by which the filter was compiled
	comparing sync.Mutex  // held while the kernel's sets are compared with the list

	armed time.Time // the end of a ban that a timer is set for
	// endGrace is for how long after its end a ban stays on the list, if nobody is to be banned anew.
	endGrace time.Duration
	slept    time.Duration // by how much the kernel's timers were behind when it had the bans last

	read  clock.Reading // when the lines at work were read
	times lineTimes
	pending
	// When lines off the clock were last warned of, by the steady time: those taken as
	// of now, and those taken as old.
	skewWarned, oldWarned time.Time
	lineErrWarn           time.Time
	log                   *slog.Logger  // of what is read
	often                 often         // what comes often, of its lines
	share                 *events.Share // of the table of events; nil: there is none
}

// Carry is what a jail leaves to the one that takes its place at a reload. The database
// is not asked for any of it.
type Carry struct {
	Bans    []ban.Ban
	Banned  int           // in all
	Actions *action.Group // at work; nil: none are
	left    *Jail         // nil: there was none
	again   bool          // its actions are told of all that is banned, as at a start
}

// EndActions has the actions lift their bans and stop. Those of the jail that takes the
// place of this one begin when they are through, and are told of what is banned.
func (c *Carry) EndActions() {
	if j := c.left; j != nil {
		j.deps.Endings.Add(j.Config.Name, c.Actions, c.Actions.Close(time.Time{}))
	}
	c.Actions, c.again = nil, true
}

// Close ends what is left to nobody, at the latest at a time; the zero time is a while
// from now (action.StopTime). It waits for nothing: what it returns is closed when all
// has ended.
func (c *Carry) Close(by time.Time) <-chan struct{} {
	ended := c.Actions.Close(by)
	if j := c.left; j != nil {
		c.left = nil
		j.inbox.close()
		j.deps.Names.Forget(j.inbox)
		j.deps.Endings.Add(j.Config.Name, c.Actions, ended)
	}
	return ended
}

// Stop ends the jail and returns what it leaves, its actions at work: they go to
// the jail that takes its place, or are to be closed. Its bans stay in the kernel
// unless flush is set; then nothing is left.
func (j *Jail) Stop(flush bool) Carry {
	j.stop()
	<-j.done
	j.handed.Do(j.pushKept)
	bans := j.bans.All()
	left := Carry{Bans: bans, Banned: j.bans.Total(), Actions: j.actions, left: j}
	if flush {
		defer left.Close(time.Time{}) // beside: who wants to wait closes again
		if err := j.deps.Firewall.RemoveJail(j.Config.Name); err != nil {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Config.Name, err))
			return left
		}
		for _, d := range j.Config.Native {
			j.notice("Flush ticket(s) with %s", d.Name)
		}
		for _, b := range bans {
			if j.Config.Fail2ban {
				j.notice("Repeal Ban %s", b.Told())
				continue
			}
			j.notice("Unban %s", b.Told())
		}
		for _, b := range bans {
			j.unbanEvent(b, whyEnded, "")
		}
		j.tellFlush(len(bans))
		left.Bans = nil
	}
	return left
}

func (j *Jail) notice(format string, args ...any) {
	switch { // who reads the log for bans is not to find one
	case j.deps.DryRun:
		format = "dry run: " + format
	case j.Configured.Observe:
		format = would(format)
	}
	j.deps.Log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice,
		"["+j.Config.Name+"] "+fmt.Sprintf(format, args...))
}

// line is the way of what the filter says of the i-th line of a batch.
func (j *Jail) line(r *filter.Result, b *batchTimes, i int) {
	j.counters.line(r)
	if r.Err != nil && j.read.Steady.Sub(j.lineErrWarn) > time.Minute {
		j.lineErrWarn = j.read.Steady
		j.log.Warn(fmt.Sprintf("[%s] a line was given up: %v", j.Config.Name, r.Err))
	}
	if len(r.Withheld) > 0 {
		j.tellWithheld(r.Withheld, b.Path)
	}
	if r.Beside != "" {
		j.tellBeside(r)
	}
	if r.Broken {
		j.tellBroken()
	}
	for n := range r.Failures {
		if q, counts := j.inTime(&r.Failures[n], b, i); counts {
			j.failure(&q)
		} else {
			j.counters.old.Add(1)
			j.turnedAway(&q.failure, b.Path, "older than findtime")
		}
	}
	for n := range r.Logins {
		j.succeeded(&r.Logins[n], b, i, r.Time)
	}
}

func (j *Jail) failure(q *found) {
	if q.failure.Name && j.resolves() {
		j.named(q)
		return
	}
	id, why := whoIs(&q.failure)
	if why != "" {
		if log := j.deps.Log.With("component", "actions"); j.tells(j.often.nobody, log, slog.LevelWarn) {
			log.Warn(fmt.Sprintf("[%s] %s", j.Config.Name, why))
		}
		j.turnedAway(&q.failure, q.log, why)
		return
	}
	q.id = id
	if b, ok := j.bans.Get(id); ok && !id.IsName() && q.failure.IP.IsValid() && !b.IsBeside() {
		q.id, q.failure.IP = single(q.failure.IP), netip.Addr{} // that address is banned, and not who calls himself so
	}
	j.consider(q)
}

// consider counts a failure unless it is ignored.
func (j *Jail) consider(q *found) {
	if why := j.whyBan(q.ban()); why.Some() && why.Source != guard.LetInSource {
		j.counters.ignored.Add(1)
		j.ignores(q.who(), why.Log())
		j.happened(q, false, 0, "ignored: "+why.Text)
		return
	}
	j.judge(q)
}

// judge counts a failure unless ignorecommand ignores it.
func (j *Jail) judge(q *found) {
	if j.Config.IgnoreCommand != "" {
		j.check(q)
		return
	}
	j.count(q)
}

// count tells of a failure that counts.
func (j *Jail) count(q *found) {
	if j.tells(j.often.found, j.log, slog.LevelInfo) {
		j.log.Info(fmt.Sprintf("[%s] Found %s - %s", j.Config.Name, q.who(), wall(q.told(j.deps.Clock))))
	}
	if !q.failure.IP.IsValid() {
		q.id = j.widened(q.id)
	}
	if !j.knowsPast(q.id) {
		j.awaitPast(q)
		return
	}
	j.counted(q)
}

// counted adds a failure to the window, and bans when it is due.
func (j *Jail) counted(q *found) {
	id, at, catchUp := q.id, q.at, q.catchUp
	log := j.log
	if q.forgiven {
		j.happened(q, false, 0, "forgiven: the user has logged in since")
		return
	}
	j.deps.Tally.Failure()
	var n int
	var due, again bool
	if j.counting == nil {
		n, due = j.addNear(q)
		for more := j.retries(q); more > 1 && !due; more-- {
			n, due = j.window.Add(id, at)
		}
	} else {
		n, due, again = j.weigh(q)
	}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		log.With("component", "failmanager").Debug(fmt.Sprintf("Total # of detected failures: %d. Current failures (IP:count): %s:%d", j.window.Total(), q.who(), n))
	}
	j.failureCounted()
	j.keepLines(id, &q.failure)
	j.keepGroups(q)
	if q.failure.IP.IsValid() {
		j.keepIP(id, q.failure.IP)
	}
	if !due {
		if again {
			q.times = 0
			j.happened(q, true, n, "no more than before: the same "+j.counting.Distinct)
		} else {
			j.happened(q, true, n, "")
		}
		return
	}
	late := j.endedOf(id)
	if b, ok := j.covering(id); ok && (b.ID == id || !j.kept.ip(id).IsValid()) {
		j.happened(q, true, n, "it is banned already, as "+b.Told())
		if !catchUp {
			if j.tells(j.often.banned, j.deps.Log, eventlog.LevelNotice) {
				j.notice("%s already banned", b.Told())
			}
			j.checkActions(b)
		}
		return
	}
	now := j.deps.Clock.Now()
	if j.tooManyNames(id) {
		j.happened(q, true, n, "there is no room for one more ban of an id")
		return
	}
	b := ban.Ban{ID: id, IP: j.kept.ip(id), Start: at, Failures: n}
	grown := j.sentence(&b)
	if !b.Permanent() && !b.End.After(now) {
		j.happened(q, true, n, "the ban would be over by now")
		return
	}
	if why := j.whyBan(b); why.Source == guard.LetInSource {
		if log := j.deps.Log.With("component", "actions"); j.tells(j.often.ignored, log, eventlog.LevelNotice) {
			log.Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf("[%s] Would ban %s: %s", j.Config.Name, b.Told(), why.Log()))
		}
		j.happened(q, true, n, "it would be banned: "+why.Text)
		return
	} else if why.Some() { // by now: ignorecommand takes its time
		j.ignores(b.Told(), why.Log())
		j.happened(q, true, n, "not banned: "+why.Text)
		return
	}
	if e := b.Element(); j.sshPeer(e) {
		j.ignores(ban.Told(e), "an open SSH session")
		j.happened(q, true, n, "not banned: an open SSH session")
		return
	}
	j.happened(q, true, n, "")
	j.reported(b, q)
	j.written = q.written
	j.enforce(b, late, "", "")
	j.written = 0
	if grown {
		j.increased(b)
	}
	if !b.IP.IsValid() {
		j.aggregate(b.ID)
	}
}

// addNear adds a failure to the window, where others of whom it was told have counted it at once.
func (j *Jail) addNear(q *found) (n int, due bool) {
	among := q.failure.Among
	if among == nil {
		return j.window.Add(q.id, q.at)
	}
	near := among.Counted.Load()
	n, due, place := j.window.AddNear(q.id, q.at, near)
	if place != near {
		among.Counted.Store(place)
	}
	return n, due
}

// covering returns the ban in force that shuts id out.
func (j *Jail) covering(id ban.ID) (ban.Ban, bool) {
	if b, ok := j.bans.Get(id); ok {
		return b, true
	}
	return j.bans.Covering(id)
}

// enforce puts a ban on the list and into the kernel. late is what endedOf said; why and by say where it
// came from, if not from lines.
func (j *Jail) enforce(b ban.Ban, late bool, why, by string) {
	_, held := j.bans.Add(b)
	j.spared(b)
	ticket := j.banTicket(b)
	j.enforced(change{ID: b.ID, IP: b.IP, Left: b.Left(j.deps.Clock.Now()), Replace: held || late, Written: j.written})
	j.banEvent(b, true, j.kept.lines(b.ID), why, by)
	j.banned(b, j.said(b))
	j.remember(b.ID, past{count: b.Count, last: b.Start})
	j.notice("Ban %s", b.Told())
	j.acts(act{ban: ticket})
	if j.reading {
		j.rush.banned()
	}
}
