package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// A stop is over within 15 seconds, whatever hangs; what it did not wait for is said.

var (
	// stopMost is how long jails are waited for, and stopActions how long their actions
	// have for lifting bans and ending.
	stopMost    = 9500 * time.Millisecond
	stopActions = 9 * time.Second
	// stopTurn is how long a change that is under way is.
	stopTurn = time.Second
	// stopQueues is how long the kernel is waited for, and the database.
	stopQueues = 2 * time.Second
	// stopOthers is how long what else is at work is: exports, repairs.
	stopOthers = 500 * time.Millisecond
)

func (d *Daemon) shutdown() {
	begun := time.Now()
	server := d.log.With("component", "server")
	server.Info("Shutdown in progress...")
	var given []string // what was not waited for
	if release, err := d.turn.take("the stop", stopTurn); err == nil {
		defer release()
	} else {
		given = append(given, d.turn.state())
	}
	if d.store != nil {
		safefile.Within(stopOthers, d.store.look) // so that jails tell everything, should it be gone
	}
	d.drainSyslog()
	var apart sync.WaitGroup
	apart.Go(func() { d.fleet.end(false) }) // what jails ban from now on is told at the next start, if it is kept
	jails, lists := d.jailsNow(), d.listsNow()
	var mu sync.Mutex
	left := map[string]bool{}
	var stopping sync.WaitGroup // side by side: actions may take their time
	for _, name := range sortedKeys(jails) {
		left[name] = true
		stopping.Go(func() {
			d.stopped(name, jails[name], begun.Add(stopActions))
			mu.Lock()
			delete(left, name)
			mu.Unlock()
		})
	}
	for _, name := range sortedKeys(lists) {
		left[name] = true
		stopping.Go(func() {
			lists[name].end(d.opts.FlushOnStop)
			mu.Lock()
			delete(left, name)
			mu.Unlock()
		})
	}
	stopping.Go(func() { d.endings.Wait(begun.Add(stopActions)) })
	if !safefile.Within(stopMost-time.Since(begun), stopping.Wait) {
		mu.Lock()
		for _, name := range sortedKeys(left) {
			given = append(given, "jail "+name)
		}
		mu.Unlock()
	}
	var last sync.WaitGroup
	closing := func(what string, f func()) {
		last.Go(func() {
			if !safefile.Within(stopQueues, f) {
				mu.Lock()
				given = append(given, what)
				mu.Unlock()
			}
		})
	}
	if d.queue != nil {
		closing("the kernel's firewall", d.queue.Close)
	}
	if d.store != nil {
		closing("the database", d.store.close)
	}
	closing("the history", d.saveHistory)
	last.Wait()
	if len(given) > 0 {
		server.Error(fmt.Sprintf("not waited for, since it did not end in time: %s", strings.Join(given, ", ")))
	}
	d.often.Close()
	if d.asFail2ban() {
		server.Info("Exiting Fail2ban")
	} else {
		server.Info("Exiting bailiff")
	}
	d.events.Add(&events.Event{Kind: events.Stop})
	close(d.down)
}

// asFail2ban reports whether the configuration is one of fail2ban's.
func (d *Daemon) asFail2ban() bool { return d.tree() != nil }

// tree is fail2ban's configuration, if it is one.
func (d *Daemon) tree() *fail2ban.Tree {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg.Fail2ban
}

// repealed says of a jail of fail2ban's whose bans are lifted since it ends, in
// fail2ban's words.
func (d *Daemon) repealed(j *jail.Jail, left jail.Carry) {
	if !j.Configured.Fail2ban {
		return
	}
	log := d.log.With("component", "actions")
	for _, b := range left.Bans {
		log.Log(context.Background(), slog.Level(2), fmt.Sprintf("[%s] Repeal Ban %s", j.Configured.Name, ban.Name(b.ID)))
	}
}

// removed says which logs a jail of fail2ban's reads no more: next is what it is from now
// on; nil: nothing.
func (d *Daemon) removed(j *jail.Jail, next *config.Jail) {
	if !j.Configured.Fail2ban || j.Configured.Journal != nil {
		return
	}
	for _, s := range j.Status(false).Files {
		if next != nil && next.Journal == nil && slices.ContainsFunc(next.LogPath, func(glob string) bool {
			is, _ := filepath.Match(glob, s.Path)
			return is || glob == s.Path
		}) {
			continue
		}
		d.log.With("component", "filter").Info(fmt.Sprintf("Removed logfile: '%s'", s.Path))
	}
}

// stopped stops a jail at the end.
func (d *Daemon) stopped(name string, j *jail.Jail, by time.Time) {
	d.removed(j, nil)
	kept := j.Stop(d.opts.FlushOnStop)
	if !d.opts.FlushOnStop && j.Configured.Unenforced && len(j.Configured.Actions) > 0 {
		d.repealed(j, kept)
	}
	<-kept.Close(by)
	text := fmt.Sprintf("Jail '%s' stopped", name)
	if n := len(kept.Bans); n > 0 && d.fw != nil && !j.Configured.Unenforced {
		text += fmt.Sprintf("; %d bans stay in the kernel until they end", n)
	}
	d.log.With("component", "jail").Info(text)
}
