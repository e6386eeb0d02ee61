package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/doctor"
	"bailiff/pkg/fair"
	"bailiff/pkg/filter"
	"bailiff/pkg/finding"
)

// What is wrong on this host, looked at by the daemon itself: one look at a time, beside everything else,
// of which whoever asks within some seconds gets the same.

const (
	// doctorLines and doctorBytes are how much of a jail's logs a look from inside takes into memory.
	doctorLines, doctorBytes = 10_000, 4 << 20
	// findingsMost is how many findings are kept of a look.
	findingsMost = 2000
	// looksMost is how many looks are kept, one of all jails and others of one each, and looksFor for
	// how long nobody has to have asked before they are forgotten.
	looksMost, looksFor = 16, 15 * time.Minute
)

// looks are what was found.
type looks struct {
	mu      sync.Mutex
	by      map[string]*lookAt // by jail; "": all
	running *lookRun           // nil: nobody looks
	forget  *time.Timer
}

// lookAt is a look that is over.
type lookAt struct {
	at      time.Time
	report  *finding.Report
	omitted int
}

// lookRun is one under way.
type lookRun struct {
	jail string
	done chan struct{}
}

// Doctor implements control.Daemon.
func (d *Daemon) Doctor(ctx context.Context, q control.DoctorQuery) (control.DoctorAnswer, error) {
	if q.Jail != "" {
		_, err := d.jail(q.Jail) // one that can't run is what is asked about
		if missing, ok := errors.AsType[*control.NotFoundError](err); ok {
			return control.DoctorAnswer{}, missing
		}
	}
	l, asked := &d.looks, time.Now()
	for {
		l.mu.Lock()
		l.keep()
		had := l.by[q.Jail]
		old := had == nil || time.Since(had.at) > q.Age && !had.at.After(asked) // what was found since is new enough
		if old && l.running == nil {
			l.running = &lookRun{q.Jail, make(chan struct{})}
			go d.lookInto(l.running)
		}
		run := l.running
		l.mu.Unlock()
		if !old || q.Now {
			a := control.DoctorAnswer{Looking: run != nil, Report: finding.Report{Jails: []string{}, Findings: []finding.Finding{}}}
			if had != nil {
				at := had.at
				a.Report, a.At, a.Omitted = *had.report, &at, had.omitted
			}
			return a, nil
		}
		select {
		case <-run.done: // of another jail, maybe: then it is this one's turn
		case <-ctx.Done():
			return control.DoctorAnswer{}, context.Cause(ctx)
		case <-d.stopping:
			return control.DoctorAnswer{}, errors.New("the daemon ends")
		}
	}
}

// keep has what was found be kept for a while longer. By mu.
func (l *looks) keep() {
	if l.forget == nil {
		l.forget = time.AfterFunc(looksFor, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			clear(l.by)
			l.forget = nil
		})
	}
	l.forget.Reset(looksFor)
}

// lookInto looks, and keeps what was found.
func (d *Daemon) lookInto(run *lookRun) {
	ctx, cancel := context.WithTimeout(context.Background(), control.DoctorMost-5*time.Second)
	defer cancel()
	go func() {
		select {
		case <-d.stopping:
			cancel()
		case <-run.done:
		}
	}()
	found := &lookAt{report: d.look(ctx, run.jail), at: time.Now()}
	if n := len(found.report.Findings); n > findingsMost {
		found.report.Findings, found.omitted = slices.Clone(found.report.Findings[:findingsMost]), n-findingsMost
	}
	l := &d.looks
	l.mu.Lock()
	if l.by == nil {
		l.by = map[string]*lookAt{}
	}
	for len(l.by) >= looksMost && l.by[run.jail] == nil {
		oldest := ""
		for jail, o := range l.by {
			if jail != "" && (oldest == "" || o.at.Before(l.by[oldest].at)) {
				oldest = jail
			}
		}
		delete(l.by, oldest)
	}
	l.by[run.jail] = found
	l.running = nil
	l.mu.Unlock()
	close(run.done)
	debug.FreeOSMemory() // lines and filters of all jails
}

// look looks at one jail, or at all, as `bailiff doctor` does, as far as it can be seen from here.
func (d *Daemon) look(ctx context.Context, jail string) *finding.Report {
	var work fair.Background
	opts := d.opts.Config
	opts.Now = nil
	cfg, err := config.LoadWithin(configMost, opts)
	config.ForgetStock()
	switch {
	case errors.Is(err, fs.ErrPermission):
		return doctor.Unseen(err)
	case err != nil:
		return doctor.Unread(cmp.Or(opts.Path, config.DefaultDir), err)
	}
	if d.opts.Database != "" {
		cfg.Database.Path = config.DatabasePath(d.opts.Database)
	}
	Trust(cfg, Options{Config: opts})
	problems := append(cfg.Problems(), CheckFilters(cfg, work.Step)...)
	warnings := slices.Clone(cfg.Warnings)
	for _, j := range cfg.Jails {
		warnings = append(warnings, j.Warnings...)
	}
	published, notes := CheckPublished(cfg)
	o := doctor.Options{
		Config: opts.Path, Problems: Texts(problems), Warnings: Texts(append(warnings, published...)),
		Inside: true, Status: func() (control.Status, error) { return d.Status("", false) },
		Lines: doctorLines, Bytes: doctorBytes, AtOnce: 1, Step: work.Step,
	}
	if jail != "" {
		o.Jails = []string{jail}
	}
	r := doctor.Look(ctx, cfg, o)
	for _, n := range notes {
		r.Findings = append(r.Findings, finding.Finding{Link: finding.LinkBan, Level: finding.Unlooked, Cause: "not looked at from inside: " + n + ": run `bailiff doctor`"})
	}
	r.Findings = append(r.Findings, finding.Finding{Link: finding.LinkConfiguration, Level: finding.Unlooked, Cause: "not looked at from inside: the files of lists, exports and reports, container engines and syslog's sockets, but for what the daemon says of them: run `bailiff doctor`"})
	r.Sort()
	return r
}

// CheckFilters looks whether the filters of a configuration that are not stock ones can be compiled, in
// each of their modes. step is called in between.
func CheckFilters(cfg *config.Config, step func()) (wrong []error) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Filters)) {
		f := cfg.Filters[name]
		if f.Stock || len(f.Errors) > 0 {
			continue
		}
		for _, mode := range append([]string{""}, f.Modes...) {
			def, err := cfg.FilterDefinition(name, mode)
			if err == nil {
				_, err = filter.Compile(def, time.Local)
			}
			step()
			if err != nil {
				wrong = append(wrong, fmt.Errorf("filter %s: %w", name, err))
				break
			}
		}
	}
	return wrong
}

// Texts are the lines of errors, each once.
func Texts(errs []error) []string {
	out := []string{}
	for _, err := range errs {
		for _, line := range strings.Split(err.Error(), "\n") {
			if !slices.Contains(out, line) {
				out = append(out, line)
			}
		}
	}
	return out
}
