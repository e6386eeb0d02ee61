package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/source"
)

// NoLogs is what a jail of fail2ban's does where none of its logs is there.
type NoLogs struct {
	Journal *source.JournalOptions // it reads this (systemd_if_nologs); nil: it has no journalmatch
	Skip    bool                   // it is left out (skip_if_nologs)
	Skipped bool                   // it was, for that
}

// NoLogsError: none of a jail's logs is there. fail2ban's client fails with these words;
// here the jail waits for them.
type NoLogsError struct{ Jail string }

func (e *NoLogsError) Error() string {
	return fmt.Sprintf("Have not found any log file for '%s' jail.", e.Jail)
}

// LookForLogs looks whether any log of a jail of fail2ban's is there, and does what its
// settings say where none is: it has the jail read the journal, which it warns of, or
// leaves the jail out, which is an error of it. The error is for one that waits for
// its logs. It asks file systems; others' jails are not looked at.
func (j *Jail) LookForLogs() error {
	if !j.Fail2ban || j.Broken() != nil || j.Journal != nil || len(j.LogPath) == 0 {
		return nil
	}
	for _, glob := range j.LogPath {
		if glob == source.Stdin {
			return nil
		}
		paths := []string{glob}
		if source.IsGlob(glob) {
			paths, _ = filepath.Glob(glob) // the pattern was checked
		}
		for _, p := range paths {
			if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
				return nil
			}
		}
	}
	at := func(format string, args ...any) *fail2ban.Error {
		e := &fail2ban.Error{Msg: fmt.Sprintf(format, args...)}
		for _, s := range j.Settings {
			if s.Name == "logpath" {
				e.File, e.Line = s.File, s.Line
			}
		}
		return e
	}
	switch {
	case j.NoLogs.Journal != nil:
		j.Journal, j.LogPath, j.LogTail, j.LogFIFO = j.NoLogs.Journal, nil, nil, nil
		j.Warnings = append(j.Warnings, at("Have not found any log file for '%s' jail. Jail will monitor systemd journal.", j.Name))
	case j.NoLogs.Skip:
		e := at("Jail '%s' skipped, because of missing log files.", j.Name)
		e.Skips, j.NoLogs.Skipped = true, true
		j.Errors = append(j.Errors, e)
	default:
		return &NoLogsError{j.Name}
	}
	return nil
}

// Skipped reports whether a jail is broken only by what fail2ban leaves out a jail for,
// and goes on with the others as if nothing was: a filter or an action that isn't there,
// or missing logs where the jail says so.
func (j *Jail) Skipped() bool {
	for _, err := range j.Errors {
		var e *fail2ban.Error
		if !errors.As(err, &e) || !e.Skips {
			return false
		}
	}
	return len(j.Errors) > 0
}
