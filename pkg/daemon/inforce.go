package daemon

import (
	"fmt"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
)

// What of the daemon itself a reload changes, and what it can't: that is said at every
// reload until it is so, and what is answered is what is in force.

// serverChanged takes over what another configuration says of the daemon, and returns what
// needs a restart, or could not be done. What holds in its place is put into cfg.
func (d *Daemon) serverChanged(cfg *config.Config) (wrong []string) {
	log := d.log.With("component", "server")
	say := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		log.Warn(text)
		wrong = append(wrong, text)
	}
	start := &d.atStart
	if cfg.Socket != start.Socket && d.opts.Socket == "" {
		say("socket = %q needs a restart: until then it is %s", cfg.Socket, start.Socket)
	}
	if err := d.readChanged(cfg); err != nil {
		say("%v", err)
	}
	for _, err := range d.checks.configure(cfg) {
		say("%v", err)
	}
	for _, err := range d.page.configure(cfg) {
		say("%v", err)
	}
	if cfg.Database.Path != start.Database.Path && d.opts.Database == "" && !d.opts.DryRun {
		say("[database] path = %q needs a restart: until then %s", cfg.Database.Path, keptIn(d.store))
	}
	d.logChanged(cfg, say)
	d.syslogChanged(cfg, say)
	action.SetEnvironment(cfg.Environment) // jails that start have it
	d.mu.Lock()
	kept := d.cfg.Database.MaxMatches
	d.mu.Unlock()
	if n := cfg.Database.MaxMatches; n != kept {
		for _, j := range d.jailsNow() {
			j.KeepMatches(n)
		}
	}
	return wrong
}

func keptIn(k *keeper) string {
	if k == nil {
		return "nothing is kept"
	}
	return "it is " + k.Path()
}

// logChanged changes level and target of the log, unless the command line says otherwise.
// As in fail2ban, what was set over the socket is over with a reload.
func (d *Daemon) logChanged(cfg *config.Config, say func(format string, args ...any)) {
	d.mu.Lock()
	now := d.cfg.Log
	d.mu.Unlock()
	if d.opts.LogLevel != "" {
		cfg.Log.Level = d.opts.LogLevel
	}
	switch {
	case cfg.Log == now:
		return
	case d.opts.Logging == nil:
		cfg.Log = now
		return
	}
	if cfg.Log.Level != now.Level {
		d.opts.Logging.SetLevel(cfg.Log.Level)
	}
	if target := cfg.Log.Target; target != now.Target {
		if err := d.OpenLogTarget(target); err != nil {
			cfg.Log.Target = now.Target
			say("logtarget = %q: %s: the log goes on to %s", target, strings.TrimPrefix(err.Error(), "log target: "), now.Target)
		}
	}
}
