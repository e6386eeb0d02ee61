package daemon

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
	"bailiff/pkg/transmit"
)

// What fail2ban's words (package transmit) ask of the daemon.

// Command implements control.Commander.
func (d *Daemon) Command(r *control.Request) (any, error) { return d.words.Command(r) }

// Log implements transmit.Daemon.
func (d *Daemon) Log() *slog.Logger { return d.log }

// AwaitStart implements transmit.Daemon; 15 seconds at the most.
func (d *Daemon) AwaitStart() { d.awaitStart() }

// Running implements transmit.Daemon.
func (d *Daemon) Running() []*jail.Jail { return d.running() }

// InOrder implements transmit.Daemon.
func (d *Daemon) InOrder() []*jail.Jail {
	jails := d.running()
	d.mu.Lock()
	defer d.mu.Unlock()
	at := map[string]int{}
	for i, c := range d.cfg.Jails {
		at[c.Name] = i + 1
	}
	place := func(j *jail.Jail) int { return cmp.Or(at[j.Configured.Name], len(at)+1) }
	slices.SortStableFunc(jails, func(a, b *jail.Jail) int { return place(a) - place(b) })
	return jails
}

// ListFiles implements transmit.Daemon.
func (d *Daemon) ListFiles(name string) (files []string, is bool) {
	l := d.listsNow()[name]
	if l == nil {
		return nil, false
	}
	return l.c.List, true
}

// Tree implements transmit.Daemon.
func (d *Daemon) Tree() string {
	t := d.tree()
	if t == nil {
		return ""
	}
	dir, err := filepath.Abs(t.Dir)
	if err != nil { // the working directory is gone
		return t.Dir
	}
	return dir
}

// CheckConfig implements transmit.Daemon.
func (d *Daemon) CheckConfig() error {
	_, err := d.load()
	return err
}

// StopJails implements transmit.Daemon.
func (d *Daemon) StopJails(names []string) error { return d.stopJails(names) }

// ReloadJail implements transmit.Daemon.
func (d *Daemon) ReloadJail(only string, restart bool, by string) (control.ReloadResult, error) {
	return d.reload(only, restart, by)
}

// Settle implements transmit.Daemon.
func (d *Daemon) Settle(begun time.Time, patient bool, jails ...*jail.Jail) string {
	return d.settle(begun, patient, jails...)
}

// UnbanInWords implements transmit.Daemon.
func (d *Daemon) UnbanInWords(r control.UnbanRequest) ([]control.UnbanResult, error) {
	return d.unbanNow(r, true)
}

// End implements transmit.Daemon.
func (d *Daemon) End() {
	d.Stop()
	<-d.down
}

// AddJail implements transmit.Daemon.
func (d *Daemon) AddJail(s *config.Jail) error {
	ctx, release, err := d.turnFor("a new jail")
	if err != nil {
		return err
	}
	defer release()
	if d.jailsNow()[s.Name] != nil {
		return transmit.ErrThere
	}
	if err := d.startJail(ctx, s); err != nil {
		d.mu.Lock()
		delete(d.failed, s.Name)
		d.mu.Unlock()
		return &control.Exception{Class: "ValueError", Args: []any{err.Error()}}
	}
	return nil
}

// Remake implements transmit.Daemon.
func (d *Daemon) Remake(name string, change func(*config.Jail) error) (*jail.Jail, error) {
	ctx, release, err := d.turnFor("a change of jail " + name)
	if err != nil {
		return nil, err
	}
	defer release()
	j := d.jailsNow()[name]
	if j == nil {
		return nil, nil
	}
	s := j.Settings()
	if err := change(&s); err != nil {
		return nil, err
	}
	s.Held = s.Held && !j.Begun()
	if err := d.replace(ctx, name, &s, false); err != nil {
		return nil, &control.Exception{Class: "ValueError", Args: []any{err.Error()}}
	}
	return d.jailsNow()[name], nil
}
