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
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/chart"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
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
	// Sweep are settings to be tried side by side; nil: the jail's own.
	Sweep []Setting
	// Cores is how many goroutines look ahead; 0: as many as there are cores.
	Cores int
	// Step is called again and again in between, after some microseconds of work each; nil: nobody
	// is to be given way to. It is called by several goroutines.
	Step func()
	// Most are bounds of what is read and kept, for who has little room.
	Most Most
	// Ban is told of each ban of the jail's own setting, in order; an error ends it.
	Ban func(*Ban) error
	// Progress is told how many bytes were read of all files, as they are there, and of how
	// many; and of lines.
	Progress func(lines int, read, all int64)
}

// Most are bounds; 0 is none, but for those that there are anyway.
type Most struct {
	Text, Lines int64 // bytes of all files, decompressed, and lines; the rest is missing
	Window      int64 // bytes that decompressing may take; 0: 128 MiB
	Bans        int64 // of all settings together; with more, it ends with a *BansError
	Addresses   int   // with failures, of each setting; 0: 100,000
}

// BansError says that there are more bans than may be.
type BansError struct{ Most int64 }

func (e *BansError) Error() string {
	return fmt.Sprintf("there are more than %d bans by all settings together", e.Most)
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
	Jail    string
	Outcome           // of the jail's own setting
	Sweep   []Outcome // of Options.Sweep, in its order

	Lines       int64
	First, Last time.Time // of lines that the filter told of; zero: it told of none
	// Logins are successful ones, as far as the filter knows them, and KnowsLogins says whether
	// it knows any.
	Logins      int64
	KnowsLogins bool

	// Failures that did not count: of who is never banned; of nobody; of hosts' names, which are
	// not looked up.
	Ignored, Nobody, NamedHosts int64
	// Chart is of the jail's own setting.
	Chart chart.Chart
	// Withheld are those of which it can't be determined whose they are, for lack of trusted proxies.
	Withheld int64
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
	trials []*trial       // the jail's own first
	page   []event        // that wait to be counted
	logins recent[*login] // by whom failures of the address count for
	err    error          // of Ban
	bans   atomic.Int64   // of all trials
	text   atomic.Int64   // bytes that were read
	lines  atomic.Int64

	mu sync.Mutex // of report.Problems
}

// Run reads the logs. The report is there with an error, too, as far as it came.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &run{Options: o, report: &Report{Jail: o.Jail.Name, KnowsLogins: config.KnowsLogins(&o.Jail.Filter)}}
	if r.Location == nil {
		r.Location = time.Local
	}
	if r.Encoding == nil {
		r.Encoding = o.Jail.Encoding
	}
	if r.Step == nil {
		r.Step = func() {}
	}
	r.Most.Window = cmp.Or(r.Most.Window, windowMost)
	r.report.Left = leftOut(o.Jail)
	if err := r.sortFiles(); err != nil {
		return r.report, err
	}
	r.logins.most = loginsMost
	own := own(o.Jail)
	for n, s := range append([]Setting{own}, o.Sweep...) {
		if n > 0 && s == own {
			continue
		}
		t, err := r.trial(s)
		if err != nil {
			return r.report, err
		}
		defer t.jail.Close()
		r.trials = append(r.trials, t)
	}
	if err := r.waitReady(ctx); err != nil {
		return r.report, err
	}
	err := r.readAll(ctx)
	if err == nil {
		err = r.count()
	}
	r.report.Outcome = *r.trials[0].sum()
	for n, i := 0, 1; n < len(o.Sweep); n++ {
		if o.Sweep[n] == own {
			r.report.Sweep = append(r.report.Sweep, r.report.Outcome)
			continue
		}
		r.report.Sweep = append(r.report.Sweep, *r.trials[i].sum())
		i++
	}
	return r.report, err
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
	for !r.trials[0].jail.Ready() {
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
	at       time.Time // of the line
	failures []filter.Failure
	logins   []filter.Login
	withheld int
	who      []*login // of logins
	sure     []ban.ID // whom failures count for; not valid: each trial sees for itself
}

// pageMost is how many events are counted in one go, where there are several settings: each
// has what it knows at hand then. pageFor is how much of the log's time they may be of, by far
// less than a day: logins are known to be of lately up to the end of the page.
const (
	pageMost = 1024
	pageFor  = time.Hour
)

// apply counts what was told of a line, at once or soon.
func (r *run) apply(e *event) error {
	s := r.report
	s.Withheld += int64(e.withheld)
	s.Logins += int64(len(e.logins))
	if len(e.failures) > 0 {
		if s.First.IsZero() {
			s.First = e.now
		}
		s.Last = e.now
	}
	if len(r.trials) == 1 {
		r.loggedIn(e)
		r.trials[0].apply(e)
		r.Step()
		return r.tooMany()
	}
	if len(r.page) > 0 && (len(r.page) == pageMost || e.now.Sub(r.page[0].now) > pageFor) {
		if err := r.count(); err != nil {
			return err
		}
	}
	r.page = append(r.page, e.kept())
	own := &r.page[len(r.page)-1]
	r.loggedIn(own)
	own.sure = make([]ban.ID, len(own.failures))
	for i := range own.failures {
		if id, ok := r.trials[0].jail.Sure(&own.failures[i]); ok {
			own.sure[i] = id
		}
	}
	return nil
}

// loggedIn notes who has logged in.
func (r *run) loggedIn(e *event) {
	e.who = e.who[:0]
	for i := range e.logins {
		addr := e.logins[i].Addr
		if !addr.IsSingleIP() {
			continue
		}
		id := r.trials[0].jail.Whose(addr.Addr())
		l, known := r.logins.get(id)
		if !known || l.addr != addr.Addr() || e.at.Sub(l.at) > lately {
			l = &login{id: id, addr: addr.Addr()}
			r.logins.put(id, l)
		}
		l.at = e.at
		if u := e.logins[i].User; u != "" && len(l.users) < usersMost && !slices.Contains(l.users, u) {
			l.users = append(l.users, u)
		}
		e.who = append(e.who, l)
	}
}

// kept is an event that stays.
func (e *event) kept() event {
	own := *e
	own.failures, own.logins, own.who = slices.Clone(e.failures), slices.Clone(e.logins), nil
	return own
}

// count has all settings count what waits for it, side by side.
func (r *run) count() error {
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(r.trials))
	for w := range workers {
		wg.Go(func() {
			for n := w; n < len(r.trials); n += workers {
				for i := range r.page {
					if r.trials[n].apply(&r.page[i]); i%stepEvents == 0 {
						r.Step()
					}
				}
			}
		})
	}
	wg.Wait()
	clear(r.page)
	r.page = r.page[:0]
	return r.tooMany()
}

// stepEvents is after how many events others are given way to.
const stepEvents = 32

// tooMany is why it can't go on; nil: it can.
func (r *run) tooMany() error {
	if r.Most.Bans > 0 && r.bans.Load() > r.Most.Bans && r.err == nil {
		r.err = &BansError{r.Most.Bans}
	}
	return r.err
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
