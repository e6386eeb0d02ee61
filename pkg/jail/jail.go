// Package jail is one jail at work: the only place where source, filter, window,
// bans and firewall meet. A jail owns all of its state in one goroutine; what
// others want of it, they ask through its methods, which that goroutine carries
// out between two batches of lines.
package jail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
	"bailiff/pkg/source"
	"bailiff/pkg/store"
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
	// Load returns what is known of a jail.
	Load(name string, now time.Time) (store.State, error)
	// BanCount returns how often an address was banned, in one jail or in all, and
	// when the last time.
	BanCount(name string, id netip.Prefix, overall bool) (count int, last time.Time, err error)
	// Merged returns the failures and the last lines of all bans of an address, in
	// one jail or in all, and when the last of them began.
	Merged(name string, id netip.Prefix, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error)
	// Push hands over what changed; it is written soon, in one transaction.
	Push(*store.Delta)
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
	Log      *slog.Logger
	// Clock has the two times: lines tell the wall clock's, windows and bans run by the
	// steady one.
	Clock    *clock.Clock
	Location *time.Location // of dates that name no zone
	// Lookup resolves a host name.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Host returns the name of an address, "" if it has none; nil: none has.
	Host func(ctx context.Context, addr netip.Addr) string
	// Own returns this host's addresses.
	Own func() []netip.Addr
	// Sessions returns the peers of SSH sessions; nil: nobody knows.
	Sessions func() []netip.Addr
	// Source makes the source of a jail; nil: its log files.
	Source func(*config.Jail, *filter.Filter) Source
	// MaxMatches is how many lines of the log are kept with a ban.
	MaxMatches int
	// Changed is called when bans came or went; nil: nobody asks.
	Changed func()
	// RunAction runs an action's command; nil: the shell does.
	RunAction func(ctx context.Context, c action.Command, timeout time.Duration) bool
}

// Jail is one running jail.
type Jail struct {
	// Configured is what the jail was started with, and Rule that of it.
	Configured *config.Jail
	// Config is what holds now; it is the jail's goroutine's alone.
	Config *config.Jail
	deps   Deps

	filter *filter.Filter
	window *ban.Window
	bans   *ban.List
	ignore ban.Ignore
	source Source
	names  *pool[found, resolved]
	checks *pool[found, checked]

	delta     *store.Delta // what changed since the last one was handed over
	asked     int          // failures that workers have not answered yet
	held      time.Time    // since when delta waits for those
	flushing  bool         // the timer runs
	flush     *alarm
	kept      *keptLines
	actions   *action.Group
	checkedAt time.Time // when the actions' environments were last looked at

	growth  *ban.Growth // nil: ban times don't grow
	history map[netip.Prefix]past

	idle     bool          // nothing is read for the time being
	begin    chan struct{} // closed when it is to begin
	begun    bool
	commands chan func()
	stop     context.CancelFunc
	done     chan struct{}

	allowedSign string // of the files of ignoreip, as they were read
	allowedTold string // what was told of them last

	year  int           // by which the filter was compiled
	armed time.Time     // the end of a ban that a timer is set for
	slept time.Duration // by how much the kernel's timers were behind when it had the bans last

	read  clock.Reading // when the lines at work were read
	times lineTimes
	// When lines off the clock were last warned of, by the steady time: those taken as
	// of now, and those taken as old.
	skewWarned, oldWarned time.Time
	ownAt                 time.Time // when own addresses were last asked
	badIDs                int       // failures whose id is no address
	lineErrWarn           time.Time
	log                   *slog.Logger // of what is read
}

// Status is what a jail tells of itself.
type Status struct {
	Name        string          `json:"name"`
	Error       string          `json:"error,omitempty"` // why it is not running
	Failed      int             `json:"currently_failed"`
	TotalFailed int             `json:"total_failed"`
	Banned      int             `json:"currently_banned"`
	TotalBanned int             `json:"total_banned"`
	MaxRetry    int             `json:"maxretry"`
	FindTime    float64         `json:"findtime"`       // seconds
	BanTime     float64         `json:"bantime"`        // seconds; -1: for ever
	List        bool            `json:"list,omitempty"` // it is one of addresses; Banned are ranges of them
	Files       []source.Status `json:"files"`
	Bans        []BanStatus     `json:"bans"`
	// Problems are what is wrong in parts, and what the jail waits for, while it runs.
	Problems []string `json:"problems,omitempty"`
}

// BanStatus is one ban as others see it.
type BanStatus struct {
	Jail  string     `json:"jail"`
	IP    string     `json:"ip"` // address or network
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end"` // null: for ever
}

// Carry is what a jail leaves to the one that takes its place at a reload.
type Carry struct {
	Bans           []ban.Ban
	Failed, Banned int           // in all
	Actions        *action.Group // at work; nil: none are
}

// Close ends what is left to nobody.
func (c *Carry) Close() { c.Actions.Close() }

// Start makes the jail's sets and rules and begins to read. before is what the same
// jail left before a reload; the kernel's bans are kept anyway.
func Start(c *config.Jail, deps Deps, before Carry) (*Jail, error) {
	f, err := compile(c.Filter, &deps)
	if err != nil {
		return nil, err
	}
	j := &Jail{
		Configured: c, Config: c, deps: deps, filter: f,
		window:   ban.NewWindow(c.MaxRetry, c.FindTime, 0),
		bans:     ban.NewList(),
		commands: make(chan func()), begin: make(chan struct{}), begun: !c.Held,
		done: make(chan struct{}), log: deps.Log.With("component", "filter"),
	}
	if c.Networks.Aggregate > 0 {
		j.bans.Group(config.AggregateBits4, config.AggregateBits6)
	}
	if c.Increase != nil {
		if j.growth, err = c.Increase.Compile(); err != nil {
			return nil, err
		}
		j.history = map[netip.Prefix]past{}
	}
	if c.Unenforced {
		j.deps.Firewall = NoFirewall{}
	}
	state, err := j.load()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	j.stop = stop
	j.ignore.Prefixes = slices.Clone(c.Ignore.Prefixes)
	if err := j.readAllowed(); err != nil {
		stop()
		return nil, err
	}
	j.refreshIgnore(ctx) // before bans are taken over: who is ignored now is not
	if err := j.deps.Firewall.AddJail(c.Rule); err != nil {
		stop()
		return nil, err
	}
	j.startActions(before.Actions)
	if err := j.takeOver(state, before.Bans); err != nil {
		stop()
		return nil, err
	}
	j.window.Carry(before.Failed)
	j.bans.Carry(before.Banned)
	j.names = newPool(ctx, lookups, lookupWorker(deps.Lookup))
	j.checks = &pool[found, checked]{}
	if c.IgnoreCommand != "" {
		j.checks = newPool(ctx, ignoreWorkers, j.ignoreWorker())
	}
	switch {
	case deps.Source != nil:
		j.source = deps.Source(c, f)
	case c.Journal != nil:
		j.source = j.journal(state.Logs)
	default:
		j.source = j.files(state.Logs)
	}
	if j.begun {
		close(j.begin)
	}
	j.slept, j.year = deps.Clock.Suspended(), deps.Clock.Wall().Year()
	go j.run(ctx)
	if j.deps.Store != nil {
		go j.reconcile(ctx)
	}
	return j, nil
}

func (j *Jail) journal(known []store.Position) Source {
	s := &source.Journal{
		JournalOptions: *j.Config.Journal, Encoding: j.Config.Encoding,
		Since: j.deps.Clock.Wall().Add(-j.Config.FindTime), Notify: j.sourceEvent,
	}
	s.Resume = resume(known)[source.JournalName]
	return s
}

func (j *Jail) files(known []store.Position) Source {
	c := j.Configured // settings may change while files are opened
	return &source.Files{
		Globs:    c.LogPath,
		Encoding: c.Encoding,
		Polling:  c.Polling,
		Resume:   resume(known),
		Start: func(f *os.File, size int64) int64 {
			for _, glob := range c.LogTail {
				if ok, _ := filepath.Match(glob, f.Name()); ok {
					return size
				}
			}
			// A filter of its own: dates found here must not move the jail's.
			seek, err := compile(c.Filter, &j.deps)
			if err != nil {
				return 0
			}
			now := j.deps.Clock.Wall()
			since := now.Add(-c.FindTime).Add(j.old(f, seek)) // as the log writes it
			return source.SeekTime(f, size, c.Encoding, func(line []byte) (older, dated bool) {
				t, ok := seek.LineTime(line, now)
				return t.Before(since), ok
			})
		},
		Resumed: func(f *os.File) {
			if dates, err := filter.Compile(c.Filter, j.deps.Location); err == nil {
				j.old(f, dates)
			}
		},
		Notify: j.sourceEvent,
	}
}

// sourceEvent logs what a source tells; from its goroutine.
func (j *Jail) sourceEvent(e source.Event) {
	log := j.log
	if e.Err != nil {
		log.Error(fmt.Sprintf("[%s] log %s: %v: %s", j.Configured.Name, e.Path, e.Err, remedy(e.Err)))
		return
	}
	level := slog.LevelInfo
	if e.Warn {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, fmt.Sprintf("[%s] log %s: %s", j.Configured.Name, e.Path, e.Text))
}

func remedy(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "waiting for it to appear; see logpath if it is the wrong name"
	case errors.Is(err, os.ErrPermission):
		return "let the daemon read it (CAP_DAC_READ_SEARCH, or the log's group); trying again"
	}
	return "trying again"
}

const (
	// expireGrace lets the kernel end a ban before we say so, so that a new ban of
	// the same address never meets the old element.
	expireGrace  = 100 * time.Millisecond
	housekeeping = 10 * time.Second
)

func (j *Jail) run(ctx context.Context) {
	defer close(j.done)
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
	if !j.delta.Empty() {
		j.changed()
	}
	version := ^uint64(0)
	for {
		if now := j.bans.Version(); now != version && j.deps.Changed != nil {
			version = now
			j.deps.Changed()
		}
		if end, ok := j.bans.NextEnd(); ok && !end.Equal(j.armed) {
			j.armed = end
			ends.Reset(max(end.Add(expireGrace).Sub(j.deps.Clock.Now()), time.Millisecond))
		}
		in, resolved, checked := batches, j.names.answers, j.checks.answers
		if j.idle {
			in = nil
		}
		if j.asked == 0 {
			resolved, checked = nil, nil
		}
		select {
		case b := <-in:
			j.batch(b)
		case f := <-j.commands:
			f()
		case r := <-resolved:
			j.answered(func() { j.resolved(r) })
		case r := <-checked:
			j.answered(func() { j.checked(r) })
		case <-ring:
			if ctx.Err() != nil {
				<-sourceDone
				j.push()
				return
			}
			if j.flush.rang() {
				j.flushing = false
				j.save()
			}
			if ends.rang() {
				j.armed = time.Time{}
				j.expire()
			}
			if tick.rang() {
				tick.Reset(housekeeping)
				j.armed = time.Time{} // a timer stands still in suspend
				j.newYears()
				for _, id := range j.window.Expire(j.deps.Clock.Now()) {
					j.failuresChanged(id)
				}
				j.refreshIgnore(ctx)
				j.refreshAllowed()
			}
		}
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

// do has f carried out by the jail's goroutine; false if that has ended.
func (j *Jail) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case j.commands <- func() { f(); close(ran) }:
		<-ran
		return true
	case <-j.done:
		return false
	}
}

// Stop ends the jail and returns what it leaves, its actions at work: they go to
// the jail that takes its place, or are to be closed. Its bans stay in the kernel
// unless flush is set; then nothing is left.
func (j *Jail) Stop(flush bool) Carry {
	j.stop()
	<-j.done
	bans := j.bans.All()
	left := Carry{Bans: bans, Failed: j.window.Total(), Banned: j.bans.Total(), Actions: j.actions}
	if flush {
		if err := j.deps.Firewall.RemoveJail(j.Config.Name); err != nil {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Config.Name, err))
			return left
		}
		if j.Config.Native != nil {
			j.notice("Flush ticket(s) with %s", j.Config.Native.Name)
		}
		for _, b := range bans {
			j.notice("Unban %s", ban.Name(b.ID))
		}
		left.Close()
		return Carry{}
	}
	return left
}

func (j *Jail) notice(format string, args ...any) {
	j.deps.Log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice,
		"["+j.Config.Name+"] "+fmt.Sprintf(format, args...))
}

// line is the way of what the filter says of the i-th line of a batch.
func (j *Jail) line(r *filter.Result, b *batchTimes, i int) {
	if r.Err != nil && j.read.Steady.Sub(j.lineErrWarn) > time.Minute {
		j.lineErrWarn = j.read.Steady
		j.log.Warn(fmt.Sprintf("[%s] a line was given up: %v", j.Config.Name, r.Err))
	}
	for _, f := range r.Failures {
		age, is := j.lineAge(b, i, f.Time)
		if is != onTime && (b.how == following || age == 0) {
			j.offWarned(b.Path, f.Time, is)
		}
		switch {
		case age > j.Config.FindTime:
			continue // too old to count
		case is != onTime || f.Time.IsZero():
			f.Time = j.read.Wall.Add(-age)
		}
		j.failure(f, b.CatchUp)
	}
}

func (j *Jail) failure(f filter.Failure, catchUp bool) {
	q := found{id: f.Addr, at: j.read.At(f.Time), catchUp: catchUp, failure: f}
	if f.Addr.IsValid() {
		j.consider(q)
		return
	}
	if f.Name && (j.Config.Filter.UseDNS == filter.DNSYes || j.Config.Filter.UseDNS == filter.DNSWarn || j.Config.Filter.UseDNS == "") {
		j.asked++
		j.names.ask(q, func(r resolved) { j.answered(func() { j.resolved(r) }) })
		return
	}
	j.badIDs++
	if strings.Contains(f.ID, "/") && filter.ParseID(f.ID, 0).IsValid() {
		j.deps.Log.With("component", "actions").Warn(fmt.Sprintf("[%s] %q is a network: it matched, but is not banned (only what <SUBNET> or <CIDR> matches is, from /%d, IPv6 /%d, on)",
			j.Config.Name, f.ID, iplist.Shortest4, iplist.Shortest6))
		return
	}
	j.deps.Log.With("component", "actions").Warn(fmt.Sprintf("[%s] %q is no address: it matched, but can't be banned", j.Config.Name, f.ID))
}

func (j *Jail) resolved(r resolved) {
	log := j.log
	name := r.failure.ID
	if r.err != nil || len(r.addrs) == 0 {
		log.Warn(fmt.Sprintf("[%s] unable to find an address for %q: %v", j.Config.Name, name, r.err))
		return
	}
	if j.Config.Filter.UseDNS != filter.DNSYes {
		log.Warn(fmt.Sprintf("[%s] the address of %q was looked up: its owner decides what that is (usedns = no ignores names)", j.Config.Name, name))
	}
	for _, a := range r.addrs {
		a = a.Unmap().WithZone("")
		q := r.found
		q.id = netip.PrefixFrom(a, a.BitLen())
		j.consider(q)
	}
}

// consider counts a failure unless it is ignored.
func (j *Jail) consider(q found) {
	if reason := j.ignored(q.id); reason != "" {
		j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s", j.Config.Name, ban.Name(q.id), ignoreSource(reason)))
		return
	}
	if j.Config.IgnoreCommand != "" {
		j.asked++
		j.checks.ask(q, func(r checked) { j.answered(func() { j.checked(r) }) })
		return
	}
	j.count(q)
}

// count adds a failure to the window, and bans when it is due.
func (j *Jail) count(q found) {
	id, at, catchUp := q.id, q.at, q.catchUp
	log := j.log
	if log.Enabled(context.Background(), slog.LevelInfo) {
		log.Info(fmt.Sprintf("[%s] Found %s - %s", j.Config.Name, ban.Name(id), wall(q.told(j.deps.Clock))))
	}
	id = j.widened(id)
	q.id = id
	n, due := j.window.Add(id, at)
	for more := j.retries(q); more > 1 && !due; more-- {
		n, due = j.window.Add(id, at)
	}
	j.failuresChanged(id)
	j.keepLines(id, q.failure.Lines)
	j.keepGroups(q)
	if !due {
		return
	}
	if b, ok := j.covering(id); ok {
		if !catchUp {
			j.notice("%s already banned", ban.Name(b.ID))
			j.checkActions(b)
		}
		return
	}
	now := j.deps.Clock.Now()
	b := ban.Ban{ID: id, Start: at, Failures: n}
	grown := j.sentence(&b)
	if !b.Permanent() && !b.End.After(now) {
		return // it would be over by now
	}
	if j.sshPeer(id) {
		log.Info(fmt.Sprintf("[%s] Ignore %s by an open SSH session", j.Config.Name, ban.Name(id)))
		return
	}
	j.enforce(b)
	if grown {
		j.increased(b)
	}
	j.aggregate(b.ID)
}

// covering returns the ban in force that shuts id out.
func (j *Jail) covering(id netip.Prefix) (ban.Ban, bool) {
	if b, ok := j.bans.Get(id); ok {
		return b, true
	}
	return j.bans.Covering(id)
}

// enforce puts a ban on the list and into the kernel.
func (j *Jail) enforce(b ban.Ban) {
	_, held := j.bans.Add(b)
	ticket := j.banTicket(b)
	j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, ID: b.ID, Left: b.Left(j.deps.Clock.Now()), Replace: held})
	j.banned(b)
	j.remember(b.ID, past{b.Count, b.Start})
	j.notice("Ban %s", ban.Name(b.ID))
	j.actions.Ban(ticket)
}

// ignoreSource is why an address is ignored in fail2ban's words, for the log.
func ignoreSource(reason string) string {
	if strings.HasPrefix(reason, "ignoreip ") {
		return "ip"
	}
	return "ignoreself rule"
}

func (j *Jail) ignored(id netip.Prefix) string { return j.ignore.Contains(id) }

// refreshIgnore asks for own addresses and the names of ignoreip anew, every
// minute.
func (j *Jail) refreshIgnore(ctx context.Context) {
	now := j.deps.Clock.Now()
	if !j.ownAt.IsZero() && now.Sub(j.ownAt) < time.Minute {
		return
	}
	j.ownAt = now
	if j.Config.Ignore.Self {
		// Loopback is ours even where its interface is down.
		j.ignore.Self = append(j.deps.Own(), netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if len(j.Config.Ignore.Names) == 0 {
		return
	}
	go func() {
		prefixes := slices.Clone(j.Config.Ignore.Prefixes)
		for _, name := range j.Config.Ignore.Names {
			ask, cancel := context.WithTimeout(ctx, lookupTimeout)
			addrs, err := j.deps.Lookup(ask, name)
			cancel()
			if err != nil && ctx.Err() == nil {
				j.log.Warn(fmt.Sprintf("[%s] ignoreip %s: %v", j.Config.Name, name, err))
			}
			for _, a := range addrs {
				a = a.Unmap()
				prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		j.do(func() { j.ignore.Prefixes = prefixes })
	}()
}
