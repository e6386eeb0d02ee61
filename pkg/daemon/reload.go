package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// Reload reads the configuration anew. Jails that did not change go on
// undisturbed, those that did are started again with their bans. When the
// configuration can't be read, everything stays as it is; a jail of which it can't be read
// goes on as it was.
func (d *Daemon) Reload(by string) (control.ReloadResult, error) { return d.reload("", false, by) }

// reload is Reload of one jail, or of all that there are where only is empty. restart has
// jails that did not change start again, too. It answers within 15 seconds, whatever hangs.
func (d *Daemon) reload(only string, restart bool, by string) (res control.ReloadResult, err error) {
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
		d.reloaded(only, by, &res, err)
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

// load reads the configuration, which lies on a disk.
func (d *Daemon) load() (*config.Config, error) {
	opts := d.opts.Config
	d.mu.Lock()
	opts.Now = d.settingsNow
	was := *d.cfg // what can be set over the socket is not read without the lock
	d.mu.Unlock()
	opts.Was, opts.ForJails = &was, true
	cfg, err := config.LoadWithin(configMost, opts)
	config.ForgetStock()
	if err == nil {
		LookForLogs(cfg)
		if d.opts.LogTarget != "" {
			cfg.Log.Target = d.opts.LogTarget
		}
	}
	return cfg, err
}

// reloadNow is reload, by whose turn it is.
func (d *Daemon) reloadNow(only string, restart bool) (control.ReloadResult, error) {
	res := control.ReloadResult{Started: []string{}, Changed: []string{}, Stopped: []string{}, Errors: []string{}}
	d.turn.waits("the files of the configuration")
	cfg, err := d.load()
	if err != nil {
		return res, fmt.Errorf("reload: %w; everything stays as it was", err)
	}
	d.turn.waits("the files of logs")
	Trust(cfg, d.opts)
	sound := len(cfg.Problems()) == 0
	if beyond := d.withinWalls(cfg); len(beyond) > 0 && sound && only == "" && d.helps() {
		res.Anew = fmt.Sprintf("the daemon starts anew, with its bans, since that takes more than is left to it: %s", unremedied(beyond[0]))
		d.log.With("component", "server").Warn(res.Anew)
		d.anew.Store(true)
		go d.Stop() // this answer is waited for
		return res, nil
	}
	d.turn.waits("the process that runs commands")
	res.Errors = append(res.Errors, d.readCommands(cfg)...)
	ctx, cancel := context.WithTimeout(context.Background(), stepsMost)
	defer cancel()
	log := d.log.With("component", "server")
	words := cfg.Fail2ban != nil // people's tools look for fail2ban's
	switch {
	case words && only != "":
		log.Info("Reload jail " + only)
	case words:
		log.Info("Reload all jails")
	default:
		log.Info("Reload configuration")
	}
	wanted := map[string]*config.Jail{}
	all := slices.Concat(cfg.Jails, d.labels.wanted(cfg, only == ""))
	for _, c := range all {
		wanted[c.Name] = c
	}
	fault := func(err error) {
		if err != nil {
			res.Errors = append(res.Errors, err.Error())
		}
	}
	faults := func(jail string, err error) {
		if c := wanted[jail]; c != nil && c.Skipped() {
			res.Skipped += len(linesOf(err))
		}
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
	d.tellByCommands(cfg)
	d.countAlike(cfg.Jails)
	res.Errors = append(res.Errors, d.serverChanged(cfg)...)
	d.turn.waits("the kernel's firewall")
	res.Errors = append(res.Errors, d.firewallChanged(cfg)...)
	concerned := func(name string) bool { return only == "" || only == name }
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
	for _, name := range d.failedNow() {
		if wanted[name] == nil && concerned(name) {
			fault(d.step(ctx, name, "removed", func() { d.drop(name) }))
		}
	}
	for name := range d.works.all() {
		if wanted[name] == nil && concerned(name) && jails[name] == nil && lists[name] == nil { // it is still being started
			fault(d.step(ctx, name, "stopped", func() { d.end(name); d.endList(name) }))
		}
	}
	var loading []*blocklist
	for _, c := range all {
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
			if words && running != nil && backendOf(c) != backendOf(running.Configured) {
				d.sayReload(running.Configured, c)
			}
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
		case !restart && unchanged(running.Configured, c) && !running.Changed():
			if words {
				log.Info(fmt.Sprintf("Reload jail '%s'", c.Name))
			}
			running.ReloadActions()
		default:
			if err := d.replace(ctx, c.Name, c, restart); err != nil {
				faults(c.Name, err)
				continue
			}
			res.Changed = append(res.Changed, c.Name)
		}
	}
	d.turn.waits("the files of lists")
	res.Errors = append(res.Errors, loaded(loading)...)
	jails = d.jailsNow()
	for _, name := range sortedKeys(jails) {
		if concerned(name) {
			for _, text := range jails[name].IgnoreFiles(ctx) {
				res.Errors = append(res.Errors, fmt.Sprintf("jail %s: %s", name, text))
			}
		}
	}
	d.turn.waits("the part in the fleet")
	for _, err := range d.fleet.configure(cfg) {
		log.Error(err.Error())
		res.Errors = append(res.Errors, err.Error())
	}
	cfg.Filters = nil
	d.mu.Lock()
	d.cfg = cfg
	d.mu.Unlock()
	d.boundEvents(cfg)
	d.labels.ring()
	d.changed() // exports may be others
	if words {
		for _, c := range cfg.Jails {
			if jails[c.Name] != nil && concerned(c.Name) && !slices.Contains(res.Started, c.Name) && c.Broken() == nil {
				log.Info(fmt.Sprintf("Jail '%s' reloaded", c.Name))
			}
		}
		log.Info("Reload finished.")
	}
	return res, nil
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
