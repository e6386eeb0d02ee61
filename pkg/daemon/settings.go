package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/safefile"
	"bailiff/pkg/transmit"
)

// Logging is the daemon's log as far as commands can change it.
type Logging interface {
	SetLevel(name string)
	SetTarget(target, syslogSocket string) error
}

// targetMost is how long opening another log may take.
const targetMost = 5 * time.Second

// Server implements transmit.Daemon.
func (d *Daemon) Server() transmit.Server {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.server()
}

// server is Server; the caller holds the lock.
func (d *Daemon) server() transmit.Server {
	s := transmit.Server{
		LogLevel: d.cfg.Log.Level, LogTarget: d.cfg.Log.Target, SyslogSocket: d.syslogSocket, StackSize: d.stackSize,
		MaxMatches: d.cfg.Database.MaxMatches, PurgeAge: d.cfg.Database.PurgeAge, Settings: d.cfg.Settings,
	}
	if d.store != nil {
		s.Database = d.store.Path()
	}
	return s
}

// SetServer implements transmit.Daemon. What is changed holds until the next start, as in fail2ban.
func (d *Daemon) SetServer(change func(*transmit.Server)) {
	jails := d.running()
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.server()
	s := was
	change(&s)
	d.syslogSocket, d.stackSize = s.SyslogSocket, s.StackSize
	d.cfg.Database.PurgeAge = s.PurgeAge
	if s.LogLevel != was.LogLevel && d.opts.Logging != nil {
		d.opts.Logging.SetLevel(s.LogLevel)
	}
	d.cfg.Log.Level = s.LogLevel
	if s.MaxMatches != was.MaxMatches {
		for _, j := range jails {
			j.KeepMatches(s.MaxMatches)
		}
	}
	d.cfg.Database.MaxMatches = s.MaxMatches
}

// OpenLogTarget implements transmit.Daemon: it has the log go elsewhere, and says in it why it does not. No lock is held while
// that is opened.
func (d *Daemon) OpenLogTarget(value string) error {
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
