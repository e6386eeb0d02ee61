package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/jail"
)

// What is done to one jail: it starts, another one takes its place, it ends.

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
// the while: what is asked of it then is done by the jail that takes its place. With
// restart, its actions stop and start again, too.
func (d *Daemon) replace(ctx context.Context, name string, c *config.Jail, restart bool) error {
	failed := make(chan error, 1)
	if err := d.step(ctx, name, "replaced", func() { failed <- d.replaceNow(name, c, restart) }); err != nil {
		return err
	}
	return <-failed
}

func (d *Daemon) replaceNow(name string, c *config.Jail, restart bool) error {
	old := d.jailsNow()[name]
	if old == nil {
		return &control.NotFoundError{Jail: name}
	}
	log := d.log.With("component", "jail")
	kept := !restart && c.Fail2ban && old.Configured.Fail2ban // as fail2ban sees it: it goes on
	if kept {
		kept = d.sayReload(old.Configured, c)
	}
	if !kept {
		log.Info(fmt.Sprintf("Creating new jail '%s'", name))
	}
	next, err := d.prepare(c)
	if err != nil {
		// Better the old rules than none.
		err = fmt.Errorf("%w; it goes on with its old settings", err)
		d.notStarted(c, err)
		return err
	}
	if kept {
		d.removed(old, c)
	} else {
		d.removed(old, nil)
	}
	left := old.Stop(false)
	if restart {
		d.repealed(old, left)
		left.EndActions()
		left.Banned = len(left.Bans) // it counts anew, as fail2ban's does
		log.Info(fmt.Sprintf("Jail '%s' stopped", name))
	}
	j := next.Start(left)
	if c.Syslog == nil {
		d.syslog.Remove(name)
	}
	d.mu.Lock()
	d.jails[name] = j
	delete(d.failed, name)
	d.mu.Unlock()
	d.checks.follow(j)
	if !j.Configured.Held && !kept {
		log.Info(fmt.Sprintf("Jail '%s' started", name))
	}
	return nil
}

// sayReload tells in fail2ban's words that a jail is given other settings: it begins anew,
// kept is false then, only if its backend is another one.
func (d *Daemon) sayReload(was, c *config.Jail) (kept bool) {
	before, now := backendOf(was), backendOf(c)
	if before == now {
		d.log.With("component", "server").Info(fmt.Sprintf("Reload jail '%s'", c.Name))
		return true
	}
	d.log.With("component", "server").Info(fmt.Sprintf("Restart jail '%s' (reason: %s != %s)", c.Name, eventlog.Quote(before), eventlog.Quote(now)))
	return false
}

// backendOf is a jail's backend as it is configured.
func backendOf(c *config.Jail) string {
	for _, s := range c.Settings {
		if s.Name == "backend" && strings.TrimSpace(s.Value) != "" {
			return s.Value
		}
	}
	return "auto"
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
		d.notStarted(c, err)
		return
	}
	j := next.Start(jail.Carry{})
	d.mu.Lock()
	delete(d.failed, c.Name)
	d.jails[c.Name] = j
	d.mu.Unlock()
	d.checks.follow(j)
	if !c.Held {
		log.Info(fmt.Sprintf("Jail '%s' started", c.Name))
	}
}

// notStarted says why a jail was not started: of one of fail2ban's that is left out, in
// fail2ban's words.
func (d *Daemon) notStarted(c *config.Jail, err error) {
	for _, line := range linesOf(err) {
		switch {
		case c.Skipped() && strings.Contains(line, "' skipped, because of "):
			d.log.With("component", "transmitter").Error(line)
		case c.Skipped():
			d.log.With("component", "transmitter").Error(fmt.Sprintf("Jail '%s' skipped, because of wrong configuration: %s", c.Name, line))
		default:
			d.log.With("component", "jail").Error(fmt.Sprintf("[%s] not started: %s", c.Name, line))
		}
	}
}

// linesOf are errors that were joined, each for a line of the log, which has no newlines.
func linesOf(err error) []string { return strings.Split(err.Error(), "\n") }

// tellByCommands says once which jails ban by commands, and what is lost by it.
func (d *Daemon) tellByCommands(cfg *config.Config) {
	for _, note := range config.CommandNotes(cfg.Jails) {
		d.mu.Lock()
		told := d.toldNotes[note]
		if d.toldNotes == nil || len(d.toldNotes) > 1000 {
			d.toldNotes = map[string]bool{}
		}
		d.toldNotes[note] = true
		d.mu.Unlock()
		if !told {
			d.log.With("component", "jail").Info(note)
		}
	}
}

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
	deps := d.deps()
	deps.Beside = d.beside(c)
	deps.Tally = d.history.Tally(c.Name)
	return jail.Prepare(c, deps)
}

// beside is how many jails have the filter and the logs of this one, as configured.
func (d *Daemon) beside(c *config.Jail) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.alike[alike(c)]
}

// countAlike counts the jails that are to be started by what they read.
func (d *Daemon) countAlike(jails []*config.Jail) {
	n := map[string]int{}
	for _, c := range jails {
		if c.Journal == nil && c.Containers == nil && c.Syslog == nil && c.List == nil {
			n[alike(c)]++
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.alike = n
}

// alike is what jails have in common that read the same logs with the same filter.
func alike(c *config.Jail) string {
	return c.Filter.Name + "\x00" + strings.Join(c.LogPath, "\x00")
}

// drop forgets a jail that could not start, and what of its sets a daemon before this one
// has left.
func (d *Daemon) drop(name string) {
	d.mu.Lock()
	delete(d.failed, name)
	was := slices.IndexFunc(d.cfg.Jails, func(c *config.Jail) bool { return c.Name == name })
	others := was >= 0 && d.cfg.Jails[was].Unenforced // sets of its name are of commands
	d.mu.Unlock()
	if d.fw == nil || others {
		return
	}
	if err := (&kernel{d}).RemoveJail(name); err != nil {
		d.log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", name, err))
	}
}

// end stops a jail for good; nothing of it is left.
func (d *Daemon) end(name string) {
	j := d.jailsNow()[name]
	if j == nil {
		return
	}
	if j.Configured.Fail2ban {
		d.log.With("component", "jail").Debug(fmt.Sprintf("Stopping jail '%s'", name))
	}
	d.removed(j, nil)
	left := j.Stop(true)
	d.syslog.Remove(name)
	d.mu.Lock()
	if d.jails[name] == j {
		delete(d.jails, name)
	}
	d.mu.Unlock()
	left.Close(time.Time{})
	d.checks.forget(name)
	if d.store != nil {
		d.store.disable(name)
	}
	d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
	d.changed() // exports may have had its bans
}

func (d *Daemon) endList(name string) {
	d.mu.Lock()
	l := d.lists[name]
	delete(d.lists, name)
	d.mu.Unlock()
	if l != nil {
		l.end(true)
		d.checks.forget(name)
		d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", name))
	}
}
