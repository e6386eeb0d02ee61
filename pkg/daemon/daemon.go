// Package daemon owns the running jails: it starts, reloads and stops them,
// answers on the control socket, and wires the real firewall, clock and resolver
// to them.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/events"
	"bailiff/pkg/firewall"
	"bailiff/pkg/guard"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
	"bailiff/pkg/resolve"
	"bailiff/pkg/runner"
	"bailiff/pkg/safefile"
	"bailiff/pkg/syslog"
	"bailiff/pkg/transmit"
)

// Options of Run.
type Options struct {
	Config      config.Options
	Socket      string // empty: as configured
	Database    string // empty: as configured; "none": nothing is kept
	LogLevel    string // of the command line, which a reload does not change; empty: as configured
	LogTarget   string // the same
	DryRun      bool   // change nothing outside: tell what would be done
	PIDFile     string // of the process; empty: none
	FlushOnStop bool   // take the bans out of the kernel at the end
	Version     string
	Log         *slog.Logger
	// Reopen opens the log's file anew; it reports whether there is one. nil: there
	// is none.
	Reopen func() (file bool, err error)
	// Logging changes what the log tells, and where; nil: nobody does.
	Logging Logging
	// Runner runs programs; nil: this process does, if it may.
	Runner *runner.Client
	// Confined is what this process has kept of what it may do; nil: everything.
	Confined *Confinement
	// StartsAnew: who has started this process starts it again when Run ends with ErrAnew.
	StartsAnew bool
	// Syslog receives what jails want of it; nil: a hub without sockets that were opened before.
	Syslog *syslog.Hub
	// Watchdog has somebody told that the daemon is well.
	Watchdog Watchdog
}

// Daemon is a running daemon.
type Daemon struct {
	opts    Options
	log     *slog.Logger
	clock   *clock.Clock
	started time.Time // steady

	names *resolve.Names
	fw    *firewall.Firewall // nil with DryRun
	// allows is who is let in for a while.
	allows *keptLines
	// nevers is who is never banned by an admin's word.
	nevers *keptLines
	queue  *firewall.Queue
	store  *keeper // nil: nothing is kept
	// events is the table of what happens.
	events *events.Table
	// history is how often it does, and tops who was most active, as it was told last.
	history *history.History
	tops    tops
	guard   *guard.Guard
	// syslog receives for all jails.
	syslog *syslog.Hub

	endings *action.Endings // of jails that are gone
	memory  *jail.Memory    // of bans, where nothing is kept
	often   *eventlog.Often

	turn  *turn         // whose it is to change what runs
	works works         // on jails
	up    chan struct{} // closed when the jails of the start are there

	mu  sync.Mutex // guards what follows; held over nothing that waits
	cfg *config.Config
	// atStart is what was configured at the start, for what only a start can change.
	atStart config.Config
	jails   map[string]*jail.Jail
	lists   map[string]*blocklist
	failed  map[string]error // jails that could not start
	// toldNotes are those of jails that ban by commands.
	toldNotes map[string]bool
	// alike is how many jails read the same logs with the same filter.
	alike map[string]int

	// settingsNow are settings of the jail that is being reloaded, which hold until the next time.
	settingsNow map[string]string

	readers readers
	owner   atomic.Pointer[control.Server] // the socket that the daemon's owner has
	counts  counts
	meter   meter
	checks  *checks // what proxies ask
	page    *page
	fleet   *fleetSide
	labels  *labels // jails of containers' labels

	syslogSocket string // empty: the usual one
	stackSize    string // as `set thread` has it; empty: as it is configured

	words   *transmit.Transmitter
	finding atomic.Int32  // searches through the files of lists that are under way
	tries   chan struct{} // of filters: the same
	looks   looks         // at what is wrong
	// replaying: a jail is run over a past log.
	replaying atomic.Bool
	searches  chan struct{} // through bans: has as many values as are under way

	exporting chan struct{} // has a value when who is banned may have changed
	elsewhere httpExports
	reports   reports

	stopping      chan struct{}
	stopOnce      sync.Once
	down          chan struct{} // closed when the jails are stopped and everything is written
	anew          atomic.Bool   // it is to be started again
	removeForeign atomic.Bool   // what is in our sets and on no list

	mender *mender

	cutting sync.Mutex
	toCut   map[string][]netip.Prefix // whose connections are to be closed next; nil: nobody is at it
}

// ErrAnew says that the daemon has ended to be started again.
var ErrAnew = errors.New("the daemon is to be started anew")

// Run runs a daemon until ctx ends or it is told to stop. ready is called once
// it answers and all jails are up. The error is why it could not start.
func Run(ctx context.Context, cfg *config.Config, opts Options, ready func()) error {
	PaceHeap()
	cfg.Filters = nil // jails have what is theirs of them
	config.ForgetStock()
	syscall.Umask(0o077) // as fail2ban-server: what we and actions make is ours
	d := &Daemon{
		opts: opts, log: opts.Log, clock: clock.System(), started: clock.System().Now(), cfg: cfg,
		endings: &action.Endings{}, memory: jail.NewMemory(), often: eventlog.NewOften(opts.Log),
		jails: map[string]*jail.Jail{}, lists: map[string]*blocklist{}, failed: map[string]error{},
		exporting: make(chan struct{}, 1), stopping: make(chan struct{}), down: make(chan struct{}),
		turn: newTurn(), up: make(chan struct{}), atStart: *cfg, searches: make(chan struct{}, searchesAtOnce), tries: make(chan struct{}, triesAtOnce),
	}
	d.mender = newMender(d)
	d.checks = newChecks(d)
	d.page = newPage(d)
	d.fleet = newFleetSide(d)
	d.words = transmit.New(d, transmit.Options{Version: opts.Version, Reopen: opts.Reopen, Stopping: d.stopping, Remedied: opts.Confined.remedied})
	d.labels = newLabels(d)
	server := d.log.With("component", "server")
	defer func() { // the very last: what an end lasts is among them
		safefile.Within(stopOthers, d.events.Close)
	}()
	d.names = resolve.New(lookup, d.nameServer)
	defer d.names.Close()
	d.guard = guard.New(guard.Options{Log: d.log, Sessions: d.peers})
	defer d.guard.Close()
	d.startAllowing()
	d.startNever()
	if d.syslog = opts.Syslog; d.syslog == nil {
		d.syslog = PrepareSyslog(cfg, opts)
	}
	defer d.syslog.Close()
	if !opts.DryRun && !cfg.NoFirewall {
		if err := firewall.Available(); err != nil {
			return err
		}
	}
	action.SetEnvironment(cfg.Environment)
	var alone <-chan struct{} // closed when there is no runner any more
	if opts.Runner != nil {
		useRunner(opts.Runner)
		alone = opts.Runner.Ended()
	}
	var owner *control.Server
	defer func() { // side by side, so that none is answered any more
		var wg sync.WaitGroup
		wg.Go(d.readers.close)
		wg.Go(d.checks.close)
		wg.Go(d.page.close)
		if owner != nil {
			wg.Go(func() { _ = owner.Close() })
		}
		wg.Wait()
	}()
	var err error
	handed := control.HandedOver()
	owner, err = control.Listen(cmp.Or(opts.Socket, cfg.Socket), d, control.Options{
		Commander: d, Warn: func(text string) { server.Warn(text) }, Inherit: true,
	})
	if err != nil {
		return err
	}
	d.owner.Store(owner)
	d.openEvents() // only now: what is kept there is nobody else's
	server = d.log.With("component", "server")
	if err := d.readChanged(cfg); err != nil { // who finds the one socket finds the other
		server.Error(err.Error())
	}
	for _, err := range d.checks.configure(cfg) {
		server.Error(err.Error())
	}
	for _, err := range d.page.configure(cfg) {
		server.Error(err.Error())
	}
	var found firewall.Report
	if !opts.DryRun && !cfg.NoFirewall {
		if d.fw, found, err = openFirewall(cfg); err != nil {
			return err
		}
		defer d.fw.Close()
		d.queue = firewall.NewQueue(d.fw, d.refused, d.cutOff)
		d.queue.Watch(d.counts.transaction)
	}
	LookForLogs(cfg)
	server.Info(strings.Repeat("-", 50))
	if cfg.Fail2ban != nil { // people's tools look for it
		server.Info(fmt.Sprintf("Starting Fail2ban v%s (bailiff %s)", fail2ban.Version, opts.Version))
	} else {
		server.Info("Starting bailiff " + opts.Version)
	}
	if handed {
		server.Info("Using socket activation, inherited socket '" + owner.Path() + "'")
	}
	for _, text := range found.Mended {
		server.Warn("nftables: " + text)
		d.repaired("", text)
	}
	d.mender.note(found.Notes)
	if d.store = d.keep(); d.store != nil {
		d.store.queue.Watch(d.counts.written)
	}
	for _, err := range cfg.Errors {
		for _, line := range linesOf(err) {
			server.Error(line)
		}
	}
	for _, w := range cfg.Warnings {
		server.Warn(w.Error())
	}
	inFleet := d.fleet.prepare(cfg) // what jails ban as they start is told, too
	d.begin(ctx)
	for _, err := range inFleet() {
		server.Error(err.Error())
	}
	d.checks.begun()
	d.syslog.Trim()
	d.syslog.Begin() // only now: all are there who share a socket
	d.mu.Lock()
	d.counts.began(len(d.failed) == 0 && len(cfg.Problems()) == 0, d.clock.Wall())
	none := len(d.jails)+len(d.lists) == 0 && len(d.failed) > 0 && len(d.failed) == len(cfg.Jails)
	d.mu.Unlock()
	empty := len(cfg.Jails) == 0 && !cfg.Docker.Labels.Allowed
	if none {
		return errors.New("no jail could be started")
	}
	if empty {
		server.Warn("no jail is enabled: set enabled = true in a jail, or use --jail NAME=LOGPATH")
	}
	ready()
	watching, unwatched := context.WithCancel(ctx)
	defer unwatched()
	go d.watch(watching, opts.Watchdog)
	go d.labels.run(watching)
	go d.keepHistory(watching)
	exports := d.exports(ctx)
	defer exports()
	defer d.watchClock(ctx)()
	if !opts.DryRun {
		mending, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { d.mender.run(mending) })
		defer safefile.Within(stopOthers, wg.Wait)
		defer stop()
	}
	startOver()
	// What the start took is given back now, and once logs and kernel are compared.
	for _, after := range []time.Duration{time.Second, 10 * time.Second} {
		settled := time.AfterFunc(after, giveBackUnused)
		defer settled.Stop()
	}
	purging := time.NewTicker(time.Hour)
	defer purging.Stop()
	for {
		select {
		case <-ctx.Done():
			exports() // before the jails end: bans stay in force
			d.shutdown()
			return nil
		case <-d.stopping:
			exports()
			d.shutdown()
			if d.anew.Load() {
				return ErrAnew
			}
			return nil
		case <-alone:
			alone = nil
			server.Error(runner.ErrEnded.Error() + "; until then bans are in nftables' sets alone, and no journal is read")
			if os.Getenv("NOTIFY_SOCKET") != "" { // the service manager starts it anew
				exports()
				d.shutdown()
				return runner.ErrEnded
			}
		case <-purging.C:
			go d.purge() // a disk may hang
		}
	}
}

// begin starts the jails. One that hangs holds up the others for a few seconds, and goes
// on beside them.
func (d *Daemon) begin(ctx context.Context) {
	defer close(d.up)
	release, err := d.turn.take("the start", changeMost)
	if err != nil {
		return // it is nobody else's yet
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, stepsMost)
	defer cancel()
	go func() {
		select {
		case <-d.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	var loading []*blocklist
	defer func() { loaded(loading) }()
	d.tellByCommands(d.cfg)
	d.countAlike(d.cfg.Jails)
	if d.store != nil {
		defer d.store.announce(d.cfg.Jails)()
	}
	for _, c := range d.cfg.Jails {
		var err error
		if c.List != nil {
			var l *blocklist
			if _, l, err = d.reloadList(ctx, c); l != nil { // what is wrong with it is told, and kept
				loading = append(loading, l)
			}
		} else {
			err = d.step(ctx, c.Name, "started", func() { d.start(c) })
		}
		if w := d.works.of(c.Name); w != nil && err != nil {
			d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %v", c.Name, err))
		}
	}
}

func lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// nameServer tells that the name server has become silent, or answers again.
func (d *Daemon) nameServer(silent bool, waiting int) {
	log := d.log.With("component", "filter")
	if !silent {
		log.Warn("the name server answers again")
		return
	}
	log.Warn(fmt.Sprintf("the name server does not answer: failures of host names wait for it, %d names now, %d at the most; nothing else does (usedns = no ignores names)", waiting, resolve.Waiting))
}

func (d *Daemon) deps() jail.Deps {
	var fw jail.Firewall = &kernel{d}
	switch {
	case d.opts.DryRun:
		fw = &dry{d.log}
	case d.fw == nil: // there was none at the start
		fw = jail.NoFirewall{}
	}
	deps := jail.Deps{
		Firewall: fw, Log: d.log, Clock: d.clock, Location: time.Local,
		Lookup: lookup, Names: d.names,
		Host: func(ctx context.Context, a netip.Addr) string {
			names, err := net.DefaultResolver.LookupAddr(ctx, a.String())
			if err != nil || len(names) == 0 {
				return ""
			}
			return strings.TrimSuffix(names[0], ".")
		},
	}
	deps.DryRun, deps.Events = d.opts.DryRun, d.events
	deps.Fleet, deps.FleetFailure = d.say, d.fleetFailed
	deps.ActionTook = d.counts.actions.Observe
	deps.Guard = d.guard
	deps.Changed = d.changed
	deps.Endings, deps.Memory, deps.Often = d.endings, d.memory, d.often
	deps.Sessions = d.peers
	deps.Syslog = d.syslog
	deps.Reports, deps.Report = d.reports.asks, d.reports.add
	d.mu.Lock()
	d.reports.want(d.cfg)
	deps.RemoveForeign = d.removeForeign.Load
	d.removeForeign.Store(d.cfg.RemoveForeign)
	deps.MaxMatches = d.cfg.Database.MaxMatches // with a database or without
	d.mu.Unlock()
	if d.store != nil {
		deps.Store, deps.ClockSet = jailKeeper{d.store, d}, d.store.Moved()
	}
	return deps
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// cfgNow is the configuration that holds.
func (d *Daemon) cfgNow() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// jailsNow returns the jails that run, and listsNow the lists.
func (d *Daemon) jailsNow() map[string]*jail.Jail {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.jails)
}

func (d *Daemon) listsNow() map[string]*blocklist {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.lists)
}

// failedNow returns the names of the jails that could not start.
func (d *Daemon) failedNow() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sortedKeys(d.failed)
}

// Stop ends the daemon.
func (d *Daemon) Stop() { d.stopOnce.Do(func() { close(d.stopping) }) }

func (d *Daemon) jail(name string) (*jail.Jail, error) {
	d.awaitStart()
	d.mu.Lock()
	j, l, err := d.jails[name], d.lists[name], d.failed[name]
	d.mu.Unlock()
	switch {
	case j != nil:
		return j, nil
	case l != nil:
		return nil, &control.ListError{Jail: name, Files: l.c.List}
	case err != nil:
		return nil, fmt.Errorf("jail %s is not running: %w", name, err)
	}
	if w := d.works.of(name); w != nil {
		return nil, fmt.Errorf("jail %s is %s", name, w.state())
	}
	return nil, &control.NotFoundError{Jail: name}
}

func (d *Daemon) running() []*jail.Jail {
	d.awaitStart()
	now := d.jailsNow()
	var out []*jail.Jail
	for _, n := range sortedKeys(now) {
		out = append(out, now[n])
	}
	return out
}
