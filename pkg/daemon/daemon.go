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
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/firewall"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/resolve"
)

// Options of Run.
type Options struct {
	Config      config.Options
	Socket      string // empty: as configured
	Database    string // empty: as configured; "none": nothing is kept
	DryRun      bool   // touch no firewall
	FlushOnStop bool   // take the bans out of the kernel at the end
	Version     string
	Log         *slog.Logger
	// Reopen opens the log's file anew; it reports whether there is one. nil: there
	// is none.
	Reopen func() (file bool, err error)
	// Logging changes what the log tells, and where; nil: nobody does.
	Logging Logging
}

// Daemon is a running daemon.
type Daemon struct {
	opts    Options
	log     *slog.Logger
	clock   *clock.Clock
	started time.Time // steady

	names *resolve.Names
	fw    *firewall.Firewall // nil with DryRun
	queue *firewall.Queue
	store *keeper // nil: nothing is kept
	guard *guard.Guard

	endings *action.Endings // of jails that are gone
	memory  *jail.Memory    // of bans, where nothing is kept

	mu     sync.Mutex // guards what follows; held over a reload
	cfg    *config.Config
	jails  map[string]*jail.Jail
	lists  map[string]*blocklist
	failed map[string]error // jails that could not start

	syslogSocket string // empty: the usual one

	failures failureLog // of readers' commands

	exporting chan struct{} // has a value when who is banned may have changed

	stopping      chan struct{}
	stopOnce      sync.Once
	down          chan struct{} // closed when the jails are stopped and everything is written
	removeForeign atomic.Bool   // what is in our sets and on no list

	mender *mender
}

// Run runs a daemon until ctx ends or it is told to stop. ready is called once
// it answers and all jails are up. The error is why it could not start.
func Run(ctx context.Context, cfg *config.Config, opts Options, ready func()) error {
	syscall.Umask(0o077) // as fail2ban-server: what we and actions make is ours
	d := &Daemon{
		opts: opts, log: opts.Log, clock: clock.System(), started: clock.System().Now(), cfg: cfg,
		endings: &action.Endings{}, memory: jail.NewMemory(),
		jails: map[string]*jail.Jail{}, lists: map[string]*blocklist{}, failed: map[string]error{},
		exporting: make(chan struct{}, 1), stopping: make(chan struct{}), down: make(chan struct{}),
	}
	d.mender = newMender(d)
	server := d.log.With("component", "server")
	d.names = resolve.New(lookup, d.nameServer)
	defer d.names.Close()
	d.guard = guard.New(guard.Options{Log: d.log, Sessions: d.peers})
	defer d.guard.Close()
	if !opts.DryRun && !cfg.NoFirewall {
		if err := firewall.Available(); err != nil {
			return err
		}
	}
	action.SetEnvironment(cfg.Environment)
	d.mu.Lock() // questions wait until the jails are there
	control, err := control.Listen(cmp.Or(opts.Socket, cfg.Socket), d, control.Options{
		Commander: d, Warn: func(text string) { server.Warn(text) },
	})
	if err != nil {
		return err
	}
	defer control.Close()
	var found firewall.Report
	if !opts.DryRun && !cfg.NoFirewall {
		if d.fw, found, err = openFirewall(cfg); err != nil {
			d.mu.Unlock()
			return err
		}
		defer d.fw.Close()
		d.queue = firewall.NewQueue(d.fw, d.refused, d.cutOff)
	}
	if read := d.readSocket(); read != nil {
		defer read.Close()
	}
	server.Info(strings.Repeat("-", 50))
	server.Info("Starting bailiff " + opts.Version)
	for _, text := range found.Mended {
		server.Warn("nftables: " + text)
	}
	d.mender.note(found.Notes)
	d.store = d.keep()
	for _, err := range cfg.Errors {
		server.Error(err.Error())
	}
	var loading []*blocklist
	for _, j := range cfg.Jails {
		if j.List != nil {
			if l := d.startList(j, nil); l != nil {
				loading = append(loading, l)
			}
			continue
		}
		d.start(j, jail.Carry{})
	}
	loaded(loading)
	none := len(d.jails)+len(d.lists) == 0 && len(d.failed) > 0
	empty := len(cfg.Jails) == 0
	d.mu.Unlock()
	if none {
		return errors.New("no jail could be started")
	}
	if empty {
		server.Warn("no jail is enabled: set enabled = true in a jail, or use --jail NAME=LOGPATH")
	}
	ready()
	exports := d.exports(ctx)
	defer exports()
	defer d.watchClock(ctx)()
	if !opts.DryRun {
		mending, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { d.mender.run(mending) })
		defer wg.Wait()
		defer stop()
	}
	// What the start took is given back once logs and kernel are compared.
	settled := time.AfterFunc(10*time.Second, debug.FreeOSMemory)
	defer settled.Stop()
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
			return nil
		case <-purging.C:
			d.purge()
		}
	}
}

// readSocket opens the socket over which can only be asked, where one is
// configured. The daemon does its work without it, too.
func (d *Daemon) readSocket() *control.Server {
	if d.cfg.ReadSocket == "" {
		return nil
	}
	log := d.log.With("component", "server")
	s, err := control.Listen(d.cfg.ReadSocket, d, control.Options{
		Commander: d, ReadGroup: d.cfg.ReadGroup, Warn: func(text string) { log.Warn(text) },
	})
	if err != nil {
		log.Error(fmt.Sprintf("[read]: %v: nobody can ask there", err))
		return nil
	}
	return s
}

// start starts one jail; an error stays with it. The caller holds the lock.
func (d *Daemon) start(c *config.Jail, before jail.Carry) {
	log := d.log.With("component", "jail")
	log.Info(fmt.Sprintf("Creating new jail '%s'", c.Name))
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	for _, e := range c.Faults {
		log.Error(fmt.Sprintf("[%s] %v", c.Name, e))
	}
	err := c.Broken()
	var j *jail.Jail
	if err == nil {
		j, err = jail.Start(c, d.deps(), before)
	}
	if err != nil {
		before.Close(time.Time{})
		d.failed[c.Name] = err
		for _, line := range strings.Split(err.Error(), "\n") {
			log.Error(fmt.Sprintf("[%s] not started: %s", c.Name, line))
		}
		return
	}
	delete(d.failed, c.Name)
	d.jails[c.Name] = j
	if !c.Held {
		log.Info(fmt.Sprintf("Jail '%s' started", c.Name))
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
	deps.Guard = d.guard
	deps.Changed = d.changed
	deps.Endings, deps.Memory = d.endings, d.memory
	deps.Sessions = d.peers
	deps.RemoveForeign = d.removeForeign.Load
	d.removeForeign.Store(d.cfg.RemoveForeign)
	deps.MaxMatches = d.cfg.Database.MaxMatches // with a database or without
	if d.store != nil {
		deps.Store, deps.ClockSet = d.store, d.store.Moved()
	}
	return deps
}

// kernel is the real firewall as jails see it.
type kernel struct{ d *Daemon }

func (k *kernel) AddJail(r firewall.Rule) error {
	k.d.queue.Sync() // what was pushed before comes first
	report, err := k.d.fw.AddJail(r)
	k.d.settled(report)
	return err
}

func (k *kernel) Elements(name string) ([]firewall.Element, error) {
	k.d.queue.Sync()
	return k.d.fw.Elements(name)
}

func (k *kernel) RemoveJail(name string) error {
	k.d.queue.Sync()
	report, err := k.d.fw.RemoveJail(name)
	k.d.settled(report)
	return err
}

func (k *kernel) Lift(name string, id netip.Prefix) (bool, error) {
	k.d.queue.Sync()
	return k.d.fw.Lift(name, id)
}

func (k *kernel) Push(c ...firewall.Change) { k.d.queue.Push(c...) }

// dry is the firewall of --dry-run.
type dry struct{ log *slog.Logger }

func (d *dry) AddJail(firewall.Rule) error                 { return nil }
func (d *dry) Elements(string) ([]firewall.Element, error) { return nil, nil }
func (d *dry) RemoveJail(string) error                     { return nil }
func (d *dry) Lift(string, netip.Prefix) (bool, error)     { return false, nil }

func (d *dry) Push(changes ...firewall.Change) {
	for _, c := range changes {
		if c.Clear {
			d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf("[%s] dry run: would empty the kernel's sets", c.Jail))
			continue
		}
		what := "add to"
		if c.Remove {
			what = "remove from"
		}
		d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice,
			fmt.Sprintf("[%s] dry run: would %s the kernel's sets: %s", c.Jail, what, ban.Name(c.ID)))
	}
}

// refused is told of changes that the kernel did not take.
func (d *Daemon) refused(_ []firewall.Change, err error) {
	log := d.log.With("component", "actions")
	for _, line := range strings.Split(err.Error(), "\n") {
		log.Error(line)
	}
	d.mender.poke() // they are owed, and tried again
}

// cutOff closes connections that banned addresses still have open. The bans are
// in force already, so this may take its time.
func (d *Daemon) cutOff(banned map[string][]netip.Prefix) {
	go func() {
		for name, ids := range banned {
			d.mu.Lock()
			j := d.jails[name]
			d.mu.Unlock()
			if j == nil {
				continue
			}
			n, err := firewall.CutOff(j.Configured.Rule, ids)
			log := d.log.With("component", "actions")
			if err != nil {
				log.Debug(fmt.Sprintf("[%s] open connections: %v", name, err))
			}
			if n > 0 {
				log.Info(fmt.Sprintf("[%s] closed %d open connections of banned addresses", name, n))
			}
		}
	}()
}

func (d *Daemon) shutdown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	server := d.log.With("component", "server")
	server.Info("Shutdown in progress...")
	if d.store != nil {
		d.store.look() // so that jails tell everything, should it be gone
	}
	by := time.Now().Add(action.StopTime)
	var stopping sync.WaitGroup // side by side: actions may take their time
	for _, name := range sortedJails(d.jails) {
		stopping.Go(func() {
			j := d.jails[name]
			kept := j.Stop(d.opts.FlushOnStop)
			<-kept.Close(by)
			text := fmt.Sprintf("Jail '%s' stopped", name)
			if n := len(kept.Bans); n > 0 && d.fw != nil && !j.Configured.Unenforced {
				text += fmt.Sprintf("; %d bans stay in the kernel until they end", n)
			}
			d.log.With("component", "jail").Info(text)
		})
	}
	for _, l := range d.lists {
		l.end(d.opts.FlushOnStop)
	}
	stopping.Wait()
	d.endings.Wait(by)
	if d.queue != nil {
		d.queue.Close()
	}
	if d.store != nil {
		d.store.close()
	}
	server.Info("Exiting bailiff")
	close(d.down)
}

func sortedJails(m map[string]*jail.Jail) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Stop ends the daemon.
func (d *Daemon) Stop() { d.stopOnce.Do(func() { close(d.stopping) }) }

// Reload reads the configuration anew. Jails that did not change go on
// undisturbed, those that did are started again with their bans. When the
// configuration can't be read, everything stays as it is.
func (d *Daemon) Reload() (control.ReloadResult, error) { return d.reload("") }

// reload is Reload of one jail, or of all that there are where only is empty.
func (d *Daemon) reload(only string) (control.ReloadResult, error) {
	res := control.ReloadResult{Started: []string{}, Changed: []string{}, Stopped: []string{}, Errors: []string{}}
	cfg, err := config.Load(d.opts.Config)
	if err != nil {
		return res, fmt.Errorf("reload: %w; everything stays as it was", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	log := d.log.With("component", "server")
	log.Info("Reload configuration")
	for _, err := range cfg.Errors {
		log.Error(err.Error())
		res.Errors = append(res.Errors, err.Error())
	}
	res.Errors = append(res.Errors, d.firewallChanged(cfg)...)
	if cfg.Socket != d.cfg.Socket || cfg.ReadSocket != d.cfg.ReadSocket || cfg.ReadGroup != d.cfg.ReadGroup ||
		cfg.NoFirewall != d.cfg.NoFirewall {
		text := "changes of the socket and of [firewall] enabled need a restart"
		log.Warn(text)
		res.Errors = append(res.Errors, text)
	}
	concerned := func(name string) bool { return only == "" || only == name }
	wanted := map[string]*config.Jail{}
	for _, c := range cfg.Jails {
		wanted[c.Name] = c
	}
	for _, name := range sortedJails(d.jails) {
		if (wanted[name] == nil || wanted[name].List != nil) && concerned(name) {
			d.jails[name].Stop(true)
			delete(d.jails, name)
			if d.store != nil {
				d.store.disable(name)
			}
			res.Stopped = append(res.Stopped, name)
			d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
		}
	}
	for name, l := range d.lists {
		if (wanted[name] == nil || wanted[name].List == nil) && concerned(name) {
			l.end(true)
			delete(d.lists, name)
			res.Stopped = append(res.Stopped, name)
			d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
		}
	}
	for name := range d.failed {
		if wanted[name] == nil && concerned(name) {
			delete(d.failed, name)
		}
	}
	var loading []*blocklist
	for _, c := range cfg.Jails {
		if !concerned(c.Name) {
			continue
		}
		for _, e := range c.Faults {
			res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %v", c.Name, e))
		}
		if c.List != nil {
			did, l, err := d.reloadList(c)
			if l != nil {
				loading = append(loading, l)
			}
			switch {
			case err != nil:
				res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %v", c.Name, err))
			case did == "started":
				res.Started = append(res.Started, c.Name)
			case did == "changed":
				res.Changed = append(res.Changed, c.Name)
			}
			continue
		}
		running := d.jails[c.Name]
		if running != nil && unchanged(running.Configured, c) && !running.Changed() {
			running.ReloadActions()
			continue
		}
		var before jail.Carry
		if running != nil {
			if err := c.Broken(); err != nil {
				// Better the old rules than none.
				text := fmt.Sprintf("jail %s: %v; it goes on with its old settings", c.Name, err)
				log.Error(text)
				res.Errors = append(res.Errors, text)
				continue
			}
			before = running.Stop(false)
			delete(d.jails, c.Name)
			res.Changed = append(res.Changed, c.Name)
		} else {
			res.Started = append(res.Started, c.Name)
		}
		d.start(c, before)
		if err := d.failed[c.Name]; err != nil {
			res.Started = slices.DeleteFunc(res.Started, func(n string) bool { return n == c.Name })
			res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %v", c.Name, err))
		}
	}
	for _, l := range loaded(loading) {
		res.Errors = append(res.Errors, l)
	}
	d.cfg = cfg
	action.SetEnvironment(cfg.Environment)
	return res, nil
}

func (d *Daemon) jail(name string) (*jail.Jail, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jails[name]
	if j == nil {
		if err := d.failed[name]; err != nil {
			return nil, fmt.Errorf("jail %s is not running: %w", name, err)
		}
		return nil, &control.NotFoundError{Jail: name}
	}
	return j, nil
}

// Status implements control.Daemon.
func (d *Daemon) Status(name string, bans bool) (control.Status, error) {
	s := control.Status{Version: d.opts.Version, PID: os.Getpid(), Started: d.clock.ToWall(d.started), Config: d.opts.Config.Path, DryRun: d.opts.DryRun, Jails: []jail.Status{}}
	d.mu.Lock()
	list := d.lists[name]
	d.mu.Unlock()
	if list != nil {
		s.Jails = append(s.Jails, list.status())
		return s, nil
	}
	if name != "" {
		j, err := d.jail(name)
		if err != nil {
			return s, err
		}
		s.Jails = append(s.Jails, j.Status(bans))
		return s, nil
	}
	d.mu.Lock()
	running := make([]*jail.Jail, 0, len(d.jails))
	for _, n := range sortedJails(d.jails) {
		running = append(running, d.jails[n])
	}
	lists := slices.Collect(maps.Values(d.lists))
	for n, err := range d.failed {
		s.Jails = append(s.Jails, jail.Status{Name: n, Error: err.Error()})
	}
	d.mu.Unlock()
	for _, j := range running {
		s.Jails = append(s.Jails, j.Status(bans))
	}
	for _, l := range lists {
		s.Jails = append(s.Jails, l.status())
	}
	slices.SortFunc(s.Jails, func(a, b jail.Status) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// Bans implements control.Daemon.
func (d *Daemon) Bans(name string) ([]jail.BanStatus, error) {
	if name != "" {
		j, err := d.jail(name)
		if err != nil {
			return nil, err
		}
		return j.Bans()
	}
	out := []jail.BanStatus{}
	for _, j := range d.running() {
		bans, err := j.Bans()
		if err != nil {
			return nil, err
		}
		out = append(out, bans...)
	}
	return out, nil
}

func (d *Daemon) running() []*jail.Jail {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*jail.Jail
	for _, n := range sortedJails(d.jails) {
		out = append(out, d.jails[n])
	}
	return out
}

// ParseIP reads an address or a network as a person writes it.
func ParseIP(s string) (netip.Prefix, error) {
	return iplist.Parse(s)
}

// Ban implements control.Daemon.
func (d *Daemon) Ban(name string, r control.BanRequest) ([]control.BanResult, error) {
	j, err := d.jail(name)
	if err != nil {
		return nil, err
	}
	out := []control.BanResult{}
	for _, s := range r.IPs {
		res := control.BanResult{IP: s}
		id, err := ParseIP(s)
		if err == nil {
			res.IP = ban.Name(id)
			res.Added, err = j.Ban(id, r.Force)
		}
		if err != nil {
			res.Error = err.Error()
		}
		out = append(out, res)
	}
	d.settle(j)
	return out, nil
}

// actionsSettle is how long a command waits for what actions do of it.
const actionsSettle = 10 * time.Second

// settle waits until the kernel has what was asked, so that a command's answer
// is the truth.
func (d *Daemon) settle(jails ...*jail.Jail) {
	ctx, cancel := context.WithTimeout(context.Background(), actionsSettle)
	defer cancel()
	for _, j := range jails {
		j.Actions().Sync(ctx)
	}
	if d.queue != nil {
		d.queue.Sync()
	}
	if d.store != nil {
		_ = d.store.queue.SyncFor(syncMost) // that it can't be written was told
	}
}

// Unban implements control.Daemon.
func (d *Daemon) Unban(r control.UnbanRequest) ([]control.UnbanResult, error) {
	jails := d.running()
	if r.Jail != "" {
		j, err := d.jail(r.Jail)
		if err != nil {
			return nil, err
		}
		jails = []*jail.Jail{j}
	}
	defer d.settle(jails...)
	if r.All {
		res := control.UnbanResult{Jails: []string{}}
		for _, j := range jails {
			n, err := j.UnbanAll()
			if err != nil {
				res.Error = err.Error()
			}
			if n > 0 {
				res.Jails = append(res.Jails, j.Configured.Name)
				res.Count += n
			}
		}
		return []control.UnbanResult{res}, nil
	}
	out := []control.UnbanResult{}
	for _, s := range r.IPs {
		res := control.UnbanResult{IP: s, Jails: []string{}}
		id, err := ParseIP(s)
		if err != nil {
			res.Error = err.Error()
			out = append(out, res)
			continue
		}
		res.IP = ban.Name(id)
		for _, j := range jails {
			found, err := j.Unban(id)
			if err != nil {
				res.Error = err.Error()
			}
			if found {
				res.Jails = append(res.Jails, j.Configured.Name)
				res.Count++
			}
		}
		out = append(out, res)
	}
	return out, nil
}
