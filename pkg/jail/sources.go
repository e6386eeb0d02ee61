package jail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
	"bailiff/pkg/store"
	"bailiff/pkg/syslog"
	"bailiff/pkg/transport"
)

// Where a jail's lines come from, and what is told of that.

func (j *Jail) journal(known []store.Position) Source {
	s := &source.Journal{
		JournalOptions: *j.Config.Journal, Encoding: j.Config.Encoding,
		Since: j.deps.Clock.Wall().Add(-j.Config.FindTime), Notify: j.sourceEvent,
	}
	s.Resume = resume(known)[source.JournalName]
	return s
}

func (j *Jail) containers(known []store.Position) Source {
	c := j.Configured
	return &source.Containers{
		ContainerOptions: *c.Containers, Transport: c.Filter.Around(), Encoding: c.Encoding,
		Since: j.deps.Clock.Wall().Add(-c.FindTime), Resume: resume(known), Notify: j.sourceEvent,
	}
}

func (j *Jail) syslog() Source {
	o := *j.Config.Syslog
	return &source.Syslog{SyslogOptions: o, Encoding: j.Config.Encoding, From: j.deps.Syslog.Attach(j.Config.Name, o.Wants(func(e syslog.Event) {
		j.sourceEvent(source.Event{Path: e.Listen.String(), Err: e.Err, Text: e.Text})
	}))}
}

func (j *Jail) files(known []store.Position) Source {
	c := j.Configured // settings may change while files are opened
	return &source.Files{
		Globs:     c.LogPath,
		FIFOs:     c.LogFIFO,
		Encoding:  c.Encoding,
		Polling:   c.Polling,
		Transport: c.Filter.Around(),
		Resume:    resume(known),
		Start: func(f *os.File, size int64) int64 {
			for _, glob := range c.LogTail {
				if ok, _ := filepath.Match(glob, f.Name()); ok {
					return size
				}
			}
			if size == 0 {
				return 0
			}
			// A filter of its own: dates found here must not move the jail's.
			seek, err := compile(c.Filter, &j.deps)
			if err != nil {
				return 0
			}
			now := j.deps.Clock.Wall()
			since := now.Add(-c.FindTime).Add(j.old(f, seek)) // as the log writes it
			log := transport.New(c.Filter.Around())
			return source.SeekTime(f, size, c.Encoding, func(line []byte) (older, dated bool) {
				t, ok := timeOf(log, seek, line, now)
				return t.Before(since), ok
			})
		},
		Resumed: func(f *os.File) {
			if dates, err := compile(c.Filter, &j.deps); err == nil {
				j.old(f, dates)
			}
		},
		Notify: j.sourceEvent,
	}
}

// sourceEvent logs what a source tells; from its goroutine.
func (j *Jail) sourceEvent(e source.Event) {
	log := j.log
	if e.Err != nil {
		if !e.Often || j.tells(j.often.source, log, slog.LevelError) {
			log.Error(fmt.Sprintf("[%s] log %s: %v: %s", j.Configured.Name, e.Path, e.Err, LogRemedy(e.Err)))
		}
		return
	}
	level := slog.LevelInfo
	if e.Warn {
		level = slog.LevelWarn
	}
	if e.Begun && j.Configured.Fail2ban && !j.hadLogs[e.Path] { // in fail2ban's words: people's tools look for them
		log.Info(fmt.Sprintf("Added logfile: '%s' (pos = %d)", e.Path, e.At))
	}
	log.Log(context.Background(), level, fmt.Sprintf("[%s] log %s: %s", j.Configured.Name, e.Path, e.Text))
}

// LogRemedy says what becomes of a log that can't be read, and what to do.
func LogRemedy(err error) string {
	switch {
	case errors.As(err, new(*syslog.ListenError)): // it says itself what helps
		return "trying again"
	case errors.Is(err, os.ErrNotExist):
		return "waiting for it to appear; see logpath if it is the wrong name"
	case errors.As(err, new(*safefile.LinkError)), errors.Is(err, source.ErrFIFO):
		return "not read until then"
	case errors.As(err, new(*safefile.KindError)):
		return "not read until it is a log; see logpath if it is the wrong name"
	case errors.Is(err, os.ErrPermission):
		return "let the daemon read it (CAP_DAC_READ_SEARCH, or the log's group); trying again"
	}
	return "trying again"
}
