package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// Reload reads the configuration anew. Jails that did not change go on
// undisturbed, those that did are started again with their bans. When the
// configuration can't be read, everything stays as it is; a jail of which it can't be read
// goes on as it was.
func (d *Daemon) Reload() (control.ReloadResult, error) { return d.reload("", false) }

// reload is Reload of one jail, or of all that there are where only is empty. restart has
// jails that did not change start again, too. It answers within 15 seconds, whatever hangs.
func (d *Daemon) reload(only string, restart bool) (res control.ReloadResult, err error) {
	d.awaitStart()
	defer func() {
		if err != nil {
			d.log.With("component", "server").Error(err.Error())
		}
	}()
	type outcome struct {
		res control.ReloadResult
		err error
	}
	got := make(chan outcome, 1)
	go func() {
		release, err := d.turn.take("a reload", changeMost-time.Second)
		if err != nil {
			got <- outcome{err: fmt.Errorf("reload: %w", err)}
			return
		}
		defer release()
		res, err := d.reloadNow(only, restart)
		got <- outcome{res, err}
	}()
	timer := time.NewTimer(changeMost)
	defer timer.Stop()
	select {
	case o := <-got:
		return o.res, o.err
	case <-timer.C:
		return control.ReloadResult{}, fmt.Errorf("%s: it goes on", d.turn.state())
	}
}

// hungLoads is how many readings of the configuration hang.
var hungLoads atomic.Int32

// loadsMost is how many may.
const loadsMost = 3

// load reads the configuration, which lies on a disk.
func (d *Daemon) load() (cfg *config.Config, err error) {
	if n := hungLoads.Load(); n >= loadsMost {
		return nil, fmt.Errorf("reading the configuration hangs, %d times by now: look at the disk that it is on, and for FIFOs among its files", n)
	}
	type loaded struct {
		cfg *config.Config
		err error
	}
	got := make(chan loaded, 1)
	hungLoads.Add(1)
	opts := d.opts.Config
	d.mu.Lock()
	was := *d.cfg // what can be set over the socket is not read without the lock
	d.mu.Unlock()
	opts.Was = &was
	go func() {
		defer hungLoads.Add(-1)
		cfg, err := config.Load(opts)
		got <- loaded{cfg, err}
	}()
	timer := time.NewTimer(configMost)
	defer timer.Stop()
	select {
	case l := <-got:
		return l.cfg, l.err
	case <-timer.C:
		return nil, fmt.Errorf("reading the configuration takes longer than %v: look at the disk that it is on, and for FIFOs among its files", configMost)
	}
}

// reloadNow is reload, by whose turn it is.
func (d *Daemon) reloadNow(only string, restart bool) (control.ReloadResult, error) {
	res := control.ReloadResult{Started: []string{}, Changed: []string{}, Stopped: []string{}, Errors: []string{}}
	d.turn.waits("the files of the configuration")
	cfg, err := d.load()
	if err != nil {
		return res, fmt.Errorf("reload: %w; everything stays as it was", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepsMost)
	defer cancel()
	log := d.log.With("component", "server")
	log.Info("Reload configuration")
	fault := func(err error) {
		if err != nil {
			res.Errors = append(res.Errors, err.Error())
		}
	}
	faults := func(jail string, err error) {
		for _, line := range linesOf(err) {
			res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %s", jail, line))
		}
	}
	for _, err := range cfg.Errors {
		for _, line := range linesOf(err) {
			log.Error(line)
			res.Errors = append(res.Errors, line)
		}
	}
	for _, w := range cfg.Warnings {
		log.Warn(w.Error())
	}
	was := d.cfgNow()
	d.turn.waits("the kernel's firewall")
	res.Errors = append(res.Errors, d.firewallChanged(cfg)...)
	if cfg.Socket != was.Socket || cfg.ReadSocket != was.ReadSocket || cfg.ReadGroup != was.ReadGroup || cfg.NoFirewall != was.NoFirewall {
		text := "changes of the socket and of [firewall] enabled need a restart"
		log.Warn(text)
		res.Errors = append(res.Errors, text)
	}
	concerned := func(name string) bool { return only == "" || only == name }
	wanted := map[string]*config.Jail{}
	for _, c := range cfg.Jails {
		wanted[c.Name] = c
	}
	jails, lists := d.jailsNow(), d.listsNow()
	// gone reports whether nothing is left for a jail or a list to do. What is broken may be
	// either, and goes on.
	gone := func(name string, list bool) bool {
		w := wanted[name]
		return concerned(name) && (w == nil || w.Broken() == nil && (w.List != nil) != list)
	}
	for _, name := range sortedKeys(jails) {
		if gone(name, false) {
			if err := d.step(ctx, name, "stopped", func() { d.end(name) }); err != nil {
				fault(err)
				continue
			}
			res.Stopped = append(res.Stopped, name)
		}
	}
	for _, name := range sortedKeys(lists) {
		if gone(name, true) {
			if err := d.step(ctx, name, "stopped", func() { d.endList(name) }); err != nil {
				fault(err)
				continue
			}
			res.Stopped = append(res.Stopped, name)
		}
	}
	d.mu.Lock()
	for name := range d.failed {
		if wanted[name] == nil && concerned(name) {
			delete(d.failed, name)
		}
	}
	d.mu.Unlock()
	var loading []*blocklist
	for _, c := range cfg.Jails {
		if !concerned(c.Name) {
			continue
		}
		for _, e := range c.Faults {
			res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %v", c.Name, e))
		}
		if d.works.of(c.Name) != nil {
			if err := d.step(ctx, c.Name, "started", func() {}); err != nil { // it is noted
				fault(err)
				continue
			}
		}
		running := d.jailsNow()[c.Name]
		if c.Broken() != nil && (running != nil || d.listsNow()[c.Name] != nil) {
			// Better the old rules than none.
			for _, line := range linesOf(c.Broken()) {
				text := fmt.Sprintf("jail %s: %s; it goes on with its old settings", c.Name, line)
				log.Error(text)
				res.Errors = append(res.Errors, text)
			}
			continue
		}
		if c.List != nil {
			did, l, err := d.reloadList(ctx, c)
			if l != nil {
				loading = append(loading, l)
			}
			switch {
			case err != nil:
				faults(c.Name, err)
			case did == "started":
				res.Started = append(res.Started, c.Name)
			case did == "changed":
				res.Changed = append(res.Changed, c.Name)
			}
			continue
		}
		switch {
		case running == nil:
			if err := d.startJail(ctx, c); err != nil {
				faults(c.Name, err)
				continue
			}
			res.Started = append(res.Started, c.Name)
		case restart:
			if err := d.restart(ctx, running, c); err != nil {
				faults(c.Name, err)
				continue
			}
			res.Changed = append(res.Changed, c.Name)
		case unchanged(running.Configured, c) && !running.Changed():
			running.ReloadActions()
		default:
			if err := d.replace(ctx, c.Name, c); err != nil {
				faults(c.Name, err)
				continue
			}
			res.Changed = append(res.Changed, c.Name)
		}
	}
	d.turn.waits("the files of lists")
	res.Errors = append(res.Errors, loaded(loading)...)
	d.mu.Lock()
	d.cfg = cfg
	d.mu.Unlock()
	action.SetEnvironment(cfg.Environment)
	d.changed() // exports may be others
	return res, nil
}

// startJail starts a jail that does not run.
func (d *Daemon) startJail(ctx context.Context, c *config.Jail) error {
	if err := d.step(ctx, c.Name, "started", func() { d.start(c) }); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed[c.Name]
}

// replace starts a running jail anew with other settings. It is known by its name all
// the while: what is asked of it then is done by the jail that takes its place.
func (d *Daemon) replace(ctx context.Context, name string, c *config.Jail) error {
	failed := make(chan error, 1)
	if err := d.step(ctx, name, "replaced", func() { failed <- d.replaceNow(name, c) }); err != nil {
		return err
	}
	return <-failed
}

func (d *Daemon) replaceNow(name string, c *config.Jail) error {
	old := d.jailsNow()[name]
	if old == nil {
		return &control.NotFoundError{Jail: name}
	}
	log := d.log.With("component", "jail")
	log.Info(fmt.Sprintf("Creating new jail '%s'", name))
	next, err := d.prepare(c)
	if err != nil {
		// Better the old rules than none.
		err = fmt.Errorf("%w; it goes on with its old settings", err)
		for _, line := range linesOf(err) {
			log.Error(fmt.Sprintf("[%s] not started: %s", name, line))
		}
		return err
	}
	j := next.Start(old.Stop(false))
	d.mu.Lock()
	d.jails[name] = j
	delete(d.failed, name)
	d.mu.Unlock()
	if !j.Configured.Held {
		log.Info(fmt.Sprintf("Jail '%s' started", name))
	}
	return nil
}

// start starts one jail; an error stays with it.
func (d *Daemon) start(c *config.Jail) {
	log := d.log.With("component", "jail")
	log.Info(fmt.Sprintf("Creating new jail '%s'", c.Name))
	next, err := d.prepare(c)
	if err != nil {
		d.mu.Lock()
		d.failed[c.Name] = err
		d.mu.Unlock()
		for _, line := range linesOf(err) {
			log.Error(fmt.Sprintf("[%s] not started: %s", c.Name, line))
		}
		return
	}
	j := next.Start(jail.Carry{})
	d.mu.Lock()
	delete(d.failed, c.Name)
	d.jails[c.Name] = j
	d.mu.Unlock()
	if !c.Held {
		log.Info(fmt.Sprintf("Jail '%s' started", c.Name))
	}
}

// linesOf are errors that were joined, each for a line of the log, which has no newlines.
func linesOf(err error) []string { return strings.Split(err.Error(), "\n") }

// prepare gets a jail ready; nothing of what runs is touched.
func (d *Daemon) prepare(c *config.Jail) (*jail.Prepared, error) {
	log := d.log.With("component", "jail")
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	for _, e := range c.Faults {
		log.Error(fmt.Sprintf("[%s] %v", c.Name, e))
	}
	if err := c.Broken(); err != nil {
		return nil, err
	}
	return jail.Prepare(c, d.deps())
}

// end stops a jail for good; nothing of it is left.
func (d *Daemon) end(name string) {
	j := d.jailsNow()[name]
	if j == nil {
		return
	}
	left := j.Stop(true)
	d.mu.Lock()
	if d.jails[name] == j {
		delete(d.jails, name)
	}
	d.mu.Unlock()
	left.Close(time.Time{})
	if d.store != nil {
		d.store.disable(name)
	}
	d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
	d.changed() // exports may have had its bans
}

// forget stops a jail, so that a reload starts it with what the database knows.
func (d *Daemon) forget(name string) {
	j := d.jailsNow()[name]
	if j == nil {
		return
	}
	left := j.Stop(false)
	left.Close(time.Time{})
	d.mu.Lock()
	if d.jails[name] == j {
		delete(d.jails, name)
	}
	d.mu.Unlock()
	d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
}

// restart starts a running jail again with what the database knows of it. If it doesn't
// start, it does as it was.
func (d *Daemon) restart(ctx context.Context, old *jail.Jail, c *config.Jail) error {
	if err := d.step(ctx, c.Name, "stopped", func() { d.forget(c.Name) }); err != nil {
		return err
	}
	err := d.startJail(ctx, c)
	if err == nil || d.works.of(c.Name) != nil {
		return err
	}
	if again := d.startJail(ctx, old.Configured); again != nil {
		return errors.Join(err, again)
	}
	return fmt.Errorf("%w; it goes on with its old settings", err)
}

func (d *Daemon) endList(name string) {
	d.mu.Lock()
	l := d.lists[name]
	delete(d.lists, name)
	d.mu.Unlock()
	if l != nil {
		l.end(true)
		d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
	}
}

// turnFor has its turn for a change over the socket that concerns some jails.
func (d *Daemon) turnFor(what string) (ctx context.Context, release func(), err error) {
	d.awaitStart()
	free, err := d.turn.take(what, changeMost-stepsMost)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stepsMost)
	return ctx, func() { cancel(); free() }, nil
}

// stopJails stops jails for good, one after the other.
func (d *Daemon) stopJails(names []string) error {
	ctx, release, err := d.turnFor("a stop of jails")
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	for _, name := range names {
		errs = append(errs, d.step(ctx, name, "stopped", func() { d.end(name) }))
	}
	return errors.Join(slices.DeleteFunc(errs, func(e error) bool { return e == nil })...)
}
