package daemon

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/safefile"
)

// Logging is the daemon's log as far as commands can change it.
type Logging interface {
	SetLevel(name string)
	SetTarget(target, syslogSocket string) error
}

// setServer changes settings of the daemon itself. Until the next start they hold,
// as in fail2ban.
func (d *Daemon) setServer(name, value string) (any, error) {
	jails := d.running()
	if name == "logtarget" {
		return d.setLogTarget(value)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch name {
	case "loglevel":
		level, err := config.ParseLogLevel(value)
		if err != nil {
			return nil, pyError("ValueError", "Invalid log level "+control.ReprString(strings.ToUpper(value)))
		}
		if d.opts.Logging != nil {
			d.opts.Logging.SetLevel(level)
		}
		d.cfg.Log.Level = level
	case "syslogsocket":
		d.syslogSocket = value
		if value == "auto" {
			d.syslogSocket = ""
		}
		return value, nil
	case "allowipv6": // nothing here depends on it
		return value, nil
	case "dbfile":
		if len(jails) > 0 {
			return nil, pyError("RuntimeError", "Cannot change database when there are jails present")
		}
		return nil, pyError("Exception", "dbfile can't be changed while the daemon runs: set it in the configuration and restart")
	case "dbmaxmatches":
		if d.store == nil {
			return nil, nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return nil, pyError("ValueError", "invalid literal for int() with base 10: "+control.ReprString(value))
		}
		d.cfg.Database.MaxMatches = n
		for _, j := range jails {
			j.KeepMatches(n)
		}
		return n, nil
	case "dbpurgeage":
		if d.store == nil {
			return nil, nil
		}
		t, err := config.ParseTime(value)
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		d.cfg.Database.PurgeAge = t
		return int(t / time.Second), nil
	}
	return d.serverSetting(name)
}

// targetMost is how long opening another log may take.
const targetMost = 5 * time.Second

// setLogTarget has the log go elsewhere, as a command over the socket.
func (d *Daemon) setLogTarget(value string) (any, error) {
	target, err := config.ParseLogTarget(value)
	if target == "" {
		return nil, pyError("ValueError", "unexpected option syntax")
	}
	if err != nil {
		d.log.With("component", "server").Error(err.Error())
	}
	if err := d.openLogTarget(value); err != nil {
		return nil, pyError("Exception", "Failed to change log target")
	}
	return d.getServer("logtarget")
}

// openLogTarget has the log go elsewhere, and says in it why it does not. No lock is held while
// that is opened.
func (d *Daemon) openLogTarget(value string) error {
	d.mu.Lock()
	socket, was := d.syslogSocket, d.cfg.Log.Target
	d.mu.Unlock()
	target, _ := config.ParseLogTarget(value)
	named, _, _ := strings.Cut(value, "[")
	if d.opts.Logging == nil {
		return errors.New("this log can't be changed")
	}
	set := make(chan error, 2)
	if !safefile.Within(targetMost, func() { set <- d.opts.Logging.SetTarget(target, socket) }) {
		set <- fmt.Errorf("log target %s: the disk that it is on does not answer within %v", target, targetMost)
	}
	log := d.log.With("component", "server")
	if err := <-set; err != nil {
		err = d.opts.Confined.remedied(target, true, err)
		log.Error(err.Error())
		log.Info(fmt.Sprintf("Logging to previous target %s", control.ReprString(was)))
		return err
	}
	d.mu.Lock()
	d.cfg.Log.Target = target
	d.mu.Unlock()
	log.Info(fmt.Sprintf("Changed logging target to %s for bailiff %s", named, d.opts.Version))
	return nil
}

// getServer answers for settings of the daemon itself.
func (d *Daemon) getServer(name string) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.serverSetting(name)
}

// serverSetting is getServer; the caller holds the lock.
func (d *Daemon) serverSetting(name string) (any, error) {
	switch name {
	case "loglevel":
		return d.cfg.Log.Level, nil
	case "logtarget":
		if strings.HasPrefix(d.cfg.Log.Target, "syslog[") {
			return "SYSLOG", nil
		}
		switch d.cfg.Log.Target {
		case "stderr", "stdout", "syslog":
			return strings.ToUpper(d.cfg.Log.Target), nil
		case "journal":
			return "SYSTEMD-JOURNAL", nil
		}
		return d.cfg.Log.Target, nil
	case "syslogsocket":
		if d.syslogSocket == "" {
			return "auto", nil
		}
		return d.syslogSocket, nil
	case "thread": // of Python's: told as it is configured, or was set
		size, _ := strconv.Atoi(d.stackSize)
		for _, s := range d.cfg.Settings {
			if s.Name == "thread.stacksize" && d.stackSize == "" {
				size, _ = strconv.Atoi(strings.TrimSpace(s.Value))
			}
		}
		return control.Dict{Keys: []string{"stacksize"}, Values: map[string]any{"stacksize": size}}, nil
	case "dbfile":
		if d.store == nil {
			for _, s := range d.cfg.Settings {
				if s.Name == "dbfile" && s.Value == ":memory:" { // bans outlive their jail, as there
					return s.Value, nil
				}
			}
			return nil, nil
		}
		return d.store.Path(), nil
	case "dbmaxmatches":
		if d.store == nil {
			return nil, nil
		}
		return d.cfg.Database.MaxMatches, nil
	case "dbpurgeage":
		if d.store == nil {
			return nil, nil
		}
		return seconds(d.cfg.Database.PurgeAge), nil
	}
	return nil, errNotServer
}

// setThread takes the stack size of Python's threads, which has no effect here: it is told
// again to who asks.
func (d *Daemon) setThread(c *command) error {
	if c.of == nil || !c.of.Words[2].IsDict() {
		return pyError("AttributeError", "'str' object has no attribute 'items'")
	}
	items := c.of.Words[2].Items()
	for i := 0; i+1 < len(items); i += 2 {
		if name := items[i].Text(); name != "stacksize" {
			return pyError("KeyError", "unknown option "+control.ReprString(name))
		}
		text := strings.TrimSpace(items[i+1].Text())
		if err := config.CheckStackSize(text); err != nil {
			return pyError("ValueError", err.Error())
		}
		d.mu.Lock()
		d.stackSize = text
		d.mu.Unlock()
	}
	return nil
}
