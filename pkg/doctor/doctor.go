// Package doctor looks at the whole way from a log to a ban, on this host, and says of each
// link whether it is in order, what was seen where it isn't, and what to do: the log, its
// lines, who is in them, the sums of failures, the ban in the kernel, the configuration.
//
// It changes nothing. It reads the logs itself, their last 100,000 lines, with the filter,
// the window and the lists of the daemon's own code; a running daemon is asked over its
// socket for what only that knows. Nothing waits for the world: each link has a deadline, and
// one that wasn't looked at to its end says so.
//
//	report := doctor.Look(ctx, cfg, doctor.Options{})
//	for _, f := range report.Findings { … } // the likeliest cause comes first
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/finding"
	"bailiff/pkg/guard"
	"bailiff/pkg/jail"
)

// What is found is told by others, too, who know nothing of how: so its types are a package of
// their own.
type (
	Finding = finding.Finding
	Level   = finding.Level
	Report  = finding.Report
)

// The levels, and the links of the chain.
const (
	OK       = finding.OK
	Doubtful = finding.Doubtful
	Broken   = finding.Broken
	Unlooked = finding.Unlooked

	LinkConfiguration = finding.LinkConfiguration
	LinkLog           = finding.LinkLog
	LinkLines         = finding.LinkLines
	LinkWho           = finding.LinkWho
	LinkSums          = finding.LinkSums
	LinkBan           = finding.LinkBan
)

// Links are all of them, in that order.
var Links = finding.Links

// Options of Look.
type Options struct {
	// Jails are those that are looked at; nil: all that are enabled.
	Jails []string
	// Client asks the daemon; nil: nobody is asked, and nothing is said of that.
	Client *control.Client
	// Config is what was read, for the remedies; empty: the default.
	Config string
	// Problems and Warnings are what the configuration's own check says. It is told of by
	// the link configuration.
	Problems, Warnings []string
	// Now is the present; zero: the clock's.
	Now time.Time
	// Journal is a directory of journal files; empty: the system's.
	Journal string
	// Most is how long a link of a jail may take; 0: LinkMost.
	Most time.Duration

	// Inside: it is the daemon itself that looks, behind its walls. It runs no program and sees no
	// other process; what would take that is told as not looked at.
	Inside bool
	// Status asks a daemon that has no Client.
	Status func() (control.Status, error)
	// Lines and Bytes are how many of the last lines of a jail's logs are looked at, and how much
	// text they may be; 0: 100,000, 64 MiB.
	Lines int
	Bytes int64
	// AtOnce is how many jails are looked at at a time: each holds its lines in memory. 0: 2.
	AtOnce int
	// Step is called again and again in between, after some microseconds of work each; nil: nobody
	// is to be given way to. It is called by several goroutines.
	Step func()
}

// LinkMost is how long one link of a jail is looked at.
const LinkMost = 10 * time.Second

// atOnce is how many jails are looked at at a time, unless somebody says otherwise.
const atOnce = 2

// doctor is one look.
type doctor struct {
	Options
	cfg    *config.Config
	host   *guard.Host
	guard  *guard.Guard
	status *control.Status // nil: no daemon answers
	state  map[string]jail.Status

	mu    sync.Mutex
	found []Finding
	six   map[string]int                        // failures of IPv6 addresses, by jail
	shown map[string]map[string]map[uint64]bool // by log and jail: sums of the last lines that matched
}

// Look looks at everything, as far as it comes until ctx ends; what was left out is a finding.
func Look(ctx context.Context, cfg *config.Config, o Options) *Report {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Most == 0 {
		o.Most = LinkMost
	}
	o.Lines, o.Bytes, o.AtOnce = cmp.Or(o.Lines, linesMost), cmp.Or(o.Bytes, bytesMost), cmp.Or(o.AtOnce, atOnce)
	if o.Status == nil && o.Client != nil {
		o.Status = o.Client.Status
	}
	if o.Step == nil {
		o.Step = func() {}
	}
	d := &doctor{Options: o, cfg: cfg, state: map[string]jail.Status{}, six: map[string]int{}}
	d.guard = guard.New(guard.Options{})
	defer d.guard.Close()
	d.host, _ = guard.Look()
	r := &Report{Jails: []string{}}
	r.Daemon = d.ask()
	jails := d.wanted()
	for _, j := range jails {
		r.Jails = append(r.Jails, j.Name)
	}
	d.configuration(jails)
	var wg sync.WaitGroup
	few := make(chan struct{}, o.AtOnce)
	var late atomic.Int32
	for _, j := range jails {
		if j.Broken() != nil || j.List != nil {
			continue
		}
		wg.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			if ctx.Err() != nil {
				late.Add(1)
				return
			}
			d.jail(ctx, j)
		})
	}
	wg.Wait()
	if n := late.Load(); n > 0 {
		d.add(Finding{Link: LinkLog, Symptom: "not-looked", Level: Doubtful, Cause: fmt.Sprintf("%d of %d jails were not looked at: it took too long", n, len(jails)), Seen: []string{"the jails before"}, Remedy: "name some: bailiff doctor JAIL"})
	}
	d.sameLines(jails)
	d.ban(ctx, jails)
	d.fromInside()
	r.Findings = d.found
	r.Sort()
	return r
}

// inside begins what is said of what the daemon can't see, and fromOutside is who can.
const inside, fromOutside = "not looked at from inside: ", ": run `bailiff doctor`"

// fromInside tells what can't be seen from where the daemon looks.
func (d *doctor) fromInside() {
	if !d.Inside {
		return
	}
	d.add(Finding{Link: LinkLog, Level: Unlooked, Cause: inside + "which programs have the logs open, containers' files, and the journal" + fromOutside})
	d.add(Finding{Link: LinkBan, Level: Unlooked, Cause: inside + "which program listens at which port" + fromOutside})
}

// Unread is the report of a configuration that can't be read at all.
func Unread(path string, err error) *Report {
	f := Finding{Link: LinkConfiguration, Symptom: "conf-unreadable", Level: Broken, Cause: "the configuration can't be read: " + err.Error(), Remedy: "put that right: nothing runs until it can be"}
	if m := atFile.FindStringSubmatch(err.Error()); m != nil {
		f.Seen = []string{m[1]}
	} else {
		f.Seen = []string{path}
	}
	return &Report{Level: Broken, Jails: []string{}, Findings: []Finding{f}}
}

// Unseen is the report of a configuration that the daemon can't read from where it looks.
func Unseen(err error) *Report {
	return &Report{Jails: []string{}, Findings: []Finding{{Link: LinkConfiguration, Level: Unlooked, Cause: inside + "the configuration (" + err.Error() + ")" + fromOutside}}}
}

// ForCheck are the findings that `bailiff check` tells beside its own: not those of what the
// kernel holds, which may be a daemon's that hasn't read this configuration.
func ForCheck(r *Report) (out []Finding) {
	for _, f := range r.Findings {
		if f.Level.Wrong() && !f.Told && (f.Link != LinkBan || slices.Contains(ofFiles, f.Symptom)) {
			out = append(out, f)
		}
	}
	return out
}

// ofFiles are symptoms of the link ban that files show.
var ofFiles = []string{"ban-action", "ban-database", "ban-nobody", "clock-back"}

func (d *doctor) add(f Finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found = append(d.found, f)
}

// askMost is how long the daemon is waited for.
const askMost = 5 * time.Second

// ask asks the daemon how it is.
func (d *doctor) ask() string {
	if d.Status == nil {
		return ""
	}
	type answer struct {
		s   control.Status
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		s, err := d.Status()
		answers <- answer{s, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-time.After(askMost):
		a.err = fmt.Errorf("the daemon hasn't answered for %v", askMost)
	}
	if a.err != nil {
		d.add(Finding{
			Link: LinkBan, Symptom: finding.NoDaemon, Level: Doubtful,
			Cause:  "no daemon could be asked, so nobody is banned now",
			Seen:   []string{a.err.Error()},
			Remedy: "start it (systemctl start bailiff); what needs no daemon was looked at",
		})
		return a.err.Error()
	}
	d.status = &a.s
	for _, j := range a.s.Jails {
		d.state[j.Name] = j
	}
	return fmt.Sprintf("bailiff %s, pid %d, running since %s", a.s.Version, a.s.PID, a.s.Started.Local().Format(time.DateTime))
}

// wanted are the jails that are looked at.
func (d *doctor) wanted() (out []*config.Jail) {
	for _, j := range d.cfg.Jails {
		if len(d.Jails) == 0 || slices.Contains(d.Jails, j.Name) {
			out = append(out, j)
		}
	}
	return out
}

// jail looks at one jail's links, as far as those before let it.
func (d *doctor) jail(ctx context.Context, j *config.Jail) {
	l := &look{d: d, j: j, cfg: d.cfg, now: d.Now}
	for _, link := range []struct {
		name string
		do   func(*look, context.Context)
	}{{LinkLog, (*look).log}, {LinkLines, (*look).lines}, {LinkWho, (*look).who}, {LinkSums, (*look).sums}} {
		if l.nothing != "" {
			d.add(Finding{Jail: j.Name, Link: link.name, Level: Unlooked, Cause: notLooked + l.nothing})
			continue
		}
		one := *l // what hangs is left behind with its own
		one.found = nil
		c, cancel := context.WithTimeout(ctx, d.Most)
		if within(c, graceMost, func() { link.do(&one, c) }) {
			*l = one
		} else {
			l.nothing = "the " + link.name + " couldn't be"
			l.found = []Finding{{
				Symptom: link.name + "-hangs", Level: Broken, Cause: fmt.Sprintf("a file system, or a program, hasn't answered for %v", d.Most),
				Seen: []string{strings.Join(j.LogPath, " ")}, Remedy: "see what hangs: ls -l " + strings.Join(j.LogPath, " "),
			}}
		}
		cancel()
		for _, f := range l.found {
			f.Jail, f.Link = j.Name, link.name
			d.add(f)
		}
	}
}

// graceMost is how long a link that has only much to do gets to end when its time is over.
const graceMost = 2 * time.Second

// within has f do something until ctx ends and a while longer, and reports whether it was
// done. What f finds is not to be looked at else, since it goes on by itself.
func within(ctx context.Context, grace time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	case <-time.After(grace):
		return false
	}
}

// notLooked begins what is said of a link that wasn't looked at.
const notLooked = "not looked at: "
