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
	// FleetFailure is told of failures that counted, n at a time; it waits for nothing. nil: nobody is told.
	FleetFailure func(jail string, id netip.Prefix, at time.Time, n int)
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

// Jail is one running jail. What it consists of is told in parts, each beside the code that works with it.
type Jail struct {
	// Configured is what the jail was started with, and Rule that of it.
	Configured *config.Jail
	// Config is what holds now; it is the jail's goroutine's alone.
	Config *config.Jail
	deps   Deps

	source Source
	filter *filter.Filter
	window *ban.Window
	bans   *ban.List

	life            // start, commands, stop: run.go
	lineClock       // the times of lines, and those of the clock that was set: linetime.go, clock.go
	exempt          // who may not be banned: allowed.go
	waitingFailures // for something to be said of them: wait.go
	sentencing      // how failures count, and how long bans last: growth.go, counting.go
	kernelSide      // what the kernel is told: kernel.go
	acting          // what actions are told: act.go
	unwritten       // what the store is to be told: keep.go
	pending         // of that, what is told as a whole: pending.go
	visible         // what others may look at at any time; the rest is the jail's goroutine's alone: status.go

	log   *slog.Logger  // of what is read
	often often         // what comes often, of its lines
	share *events.Share // of the table of events; nil: there is none
	toldOnce
}

// toldOnce is what is not told again and again.
type toldOnce struct {
	lineErrWarn time.Time   // when a line that was given up was told of, steady
	namesTold   time.Time   // when it was told that there is no room for more names, steady
	unheld      atomic.Bool // there was a ban that the kernel can't hold: it was told
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
