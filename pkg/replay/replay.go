// Package replay runs a jail over logs of the past, in their own time: who would have been
// banned, when and for how long, and after which lines. It drives the daemon's own jail
// (jail.Replay) with a clock that the lines move, reads rotated and compressed files in order
// (Files), and touches nothing: no kernel, no database, no action, no name server but for
// ignoreip.
//
//	set, _ := replay.Files([]string{"/var/log/auth.log", "/var/log/auth.log.1.gz"})
//	report, err := replay.Run(ctx, replay.Options{Jail: jail, Logs: set.Logs, Guard: g,
//		Ban: func(b *replay.Ban) error { fmt.Println(b.ID, b.Start, b.End); return nil }})
//
// What it takes does not grow with the logs: what a jail may hold is bounded, and so is what is
// told of them.
package replay

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
	"bailiff/pkg/jail"
	"bailiff/pkg/source"
)

// Options say what is run over what.
type Options struct {
	Jail *config.Jail
	// Logs are read at the same time, as a daemon follows them; of each, one file after the
	// other.
	Logs     []Log
	Encoding *source.Encoding // nil: the jail's
	Location *time.Location   // of dates that name no zone
	// Now is the time by which dates without a year are read; zero: when each file was written
	// to last.
	Now time.Time
	// Stdin is what the path - stands for.
	Stdin io.Reader
	// Guard says who is never banned.
	Guard *guard.Guard
	// Ban is told of each ban, in order; an error ends it.
	Ban func(*Ban) error
	// Progress is told how many bytes were read of all files, as they are there, and of how
	// many; and of lines.
	Progress func(lines int, read, all int64)
}

// Ban is one ban that would have been made.
type Ban struct {
	Jail     string
	ID       ban.ID
	Address  ban.ID // that is shut out, where it is not ID
	Start    time.Time
	End      time.Time // zero: for ever
	Count    int       // how often there was one, where ban times grow
	Failures int
	Lines    []string // that led to it, the last ones: maxmatches of the jail
}

// Report is what came of it, in sums.
type Report struct {
	Jail     string
	MaxRetry int
	FindTime time.Duration
	BanTime  time.Duration // negative: for ever

	Lines       int64
	First, Last time.Time // of lines that the filter told of; zero: it told of none

	Failures   int64 // that counted
	Bans       int64
	Banned     int64 // addresses, or other ids, that were banned; about, if more than a million
	LetThrough int64 // failures while nobody was shut out for it
	ShutOut    int64 // failures of who was banned already
	// Failures that did not count: of who is never banned; longer than findtime before the
	// line before; of nobody; of hosts' names, which are not looked up.
	Ignored, TooOld, Nobody, NamedHosts int64
	// Withheld are those of which it can't be told whose they are, for lack of trusted proxies.
	Withheld int64
	// Ahead are lines that are of later than their file was last written to: they are taken as
	// of the line before.
	Ahead int64
	// Left says what of the jail was left out.
	Left []string
	// Problems say what could not be read, or what is doubtful in what was.
	Problems []Problem
}

// Problem is what is wrong with a log.
type Problem struct {
	File string
	Err  error
	// Missing: lines are missing in the result.
	Missing bool
}

func (p Problem) String() string { return fmt.Sprintf("%s: %v", p.File, p.Err) }

// run is one replay under way.
type run struct {
	Options
	report *Report
	jail   *jail.Replay
	banned idSet
	err    error // of Ban

	mu sync.Mutex // of report.Problems
}

// Run reads the logs. The report is there with an error, too, as far as it came.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &run{Options: o, report: &Report{Jail: o.Jail.Name, MaxRetry: o.Jail.MaxRetry, FindTime: o.Jail.FindTime, BanTime: o.Jail.BanTime}}
	if r.Location == nil {
		r.Location = time.Local
	}
	if r.Encoding == nil {
		r.Encoding = o.Jail.Encoding
	}
	r.report.Left = leftOut(o.Jail)
	if err := r.sortFiles(); err != nil {
		return r.report, err
	}
	var err error
	if r.jail, err = jail.NewReplay(o.Jail, jail.ReplayOptions{Location: r.Location, Guard: o.Guard}); err != nil {
		return r.report, err
	}
	defer r.jail.Close()
	if err := r.waitReady(ctx); err != nil {
		return r.report, err
	}
	r.jail.Banned = r.ban
	if err := r.readAll(ctx); err != nil {
		return r.report, err
	}
	r.report.Banned = int64(r.banned.len())
	return r.report, r.err
}

// leftOut says what a jail does that a replay does not.
func leftOut(c *config.Jail) (out []string) {
	if c.IgnoreCommand != "" {
		out = append(out, "ignorecommand was not asked: whom it ignores is counted")
	}
	if c.Increase != nil && c.Increase.Random > 0 {
		out = append(out, "bantime.rndtime makes bans longer by chance: their ends differ from run to run")
	}
	return out
}

// waitReady waits until it is known who is never banned, as a jail does before it begins.
func (r *run) waitReady(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !r.jail.Ready() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// event is what a filter told of a line.
type event struct {
	now      time.Time // the clock's, of its log
	failures []filter.Failure
	withheld int
}

// apply counts what was told of a line.
func (r *run) apply(e *event) error {
	s := r.report
	s.Withheld += int64(e.withheld)
	if len(e.failures) == 0 {
		return nil
	}
	if s.First.IsZero() {
		s.First = e.now
	}
	s.Last = e.now
	for i := range e.failures {
		verdict, _ := r.jail.Failure(&e.failures[i], e.now)
		switch verdict {
		case jail.Bans, jail.Counted:
			s.Failures++
			s.LetThrough++
		case jail.ShutOut:
			s.Failures++
			s.ShutOut++
		case jail.Ignored:
			s.Ignored++
		case jail.TooOld:
			s.TooOld++
		case jail.Nobody:
			s.Nobody++
		case jail.NamedHost:
			s.NamedHosts++
		}
	}
	return r.err
}

// ban is told of a ban.
func (r *run) ban(b ban.Ban, lines []string) {
	r.report.Bans++
	r.banned.add(b.ID)
	if r.Ban == nil || r.err != nil {
		return
	}
	out := Ban{Jail: r.Jail.Name, ID: b.ID, Start: b.Start, End: b.End, Count: max(b.Count, 1), Failures: b.Failures, Lines: lines}
	if b.IsBeside() {
		out.Address = b.Element()
	}
	r.err = r.Ban(&out)
}

// idSet counts different ids, up to a bound; from there on it takes every ban for one of
// somebody new that is not in it.
type idSet struct {
	has  map[ban.ID]struct{}
	more int
}

// idsMost is how many are told apart.
const idsMost = 1_000_000

func (s *idSet) add(id ban.ID) {
	if s.has == nil {
		s.has = map[ban.ID]struct{}{}
	}
	if _, ok := s.has[id]; ok {
		return
	}
	if len(s.has) >= idsMost {
		s.more++
		return
	}
	s.has[id] = struct{}{}
}

func (s *idSet) len() int { return len(s.has) + s.more }
