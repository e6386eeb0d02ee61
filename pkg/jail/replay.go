package jail

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
	"bailiff/pkg/source"
)

// A log of the past is read again: what the jail would have done then, by the code that does
// it. There is no goroutine, no source and no kernel; whoever shows it the failures says what
// time it is, and that is the time of the lines.

// Replay is such a jail. It belongs to one goroutine.
type Replay struct {
	j     *Jail
	clock *replayClock
	batch batchTimes
	told  time.Time // when failures that are over were forgotten last
	every time.Duration
	now   time.Time

	// Banned is told of each ban, with the lines that led to it, which are not to be changed;
	// nil: nobody is.
	Banned func(b ban.Ban, lines []string)
}

// ReplayOptions are what a Replay needs beside its jail.
type ReplayOptions struct {
	Location *time.Location // of dates that name no zone
	// Guard says who may not be banned.
	Guard *guard.Guard
	// Addresses is how many with failures are known at a time; 0: as many as a jail knows.
	Addresses int
}

// NewReplay makes one. Actions and ignorecommand of the jail are left out: nothing is run.
func NewReplay(of *config.Jail, o ReplayOptions) (*Replay, error) {
	c := *of
	c.Actions, c.Native, c.IgnoreCommand, c.IgnoreCache = nil, nil, "", nil
	c.Unenforced, c.Held = true, false
	begin := time.Unix(0, 0) // no line is of before
	r := &Replay{clock: &replayClock{begin}, now: begin, told: begin}
	deps := Deps{
		Firewall: NoFirewall{}, Log: slog.New(slog.DiscardHandler), Clock: clock.New(r.clock, "replay"),
		Location: o.Location, Guard: o.Guard, MaxMatches: c.MaxMatches,
		made: func(b ban.Ban, lines []string) {
			if r.Banned != nil {
				r.Banned(b, lines)
			}
		},
	}
	p, err := Prepare(&c, deps)
	if err != nil {
		return nil, err
	}
	j := p.j
	if o.Addresses > 0 {
		j.window = ban.NewWindow(c.MaxRetry, c.FindTime, o.Addresses)
	}
	r.j = j
	j.endGrace = 0 // no kernel ends them
	j.prepareKeeping()
	j.ctx, j.stop = context.WithCancel(context.Background())
	j.startActions(nil)
	j.view = o.Guard.View(Protected(&c), nil)
	j.trust(o.Guard)
	j.step.offset = j.deps.Clock.Offset()
	j.year = begin.Year()
	j.pace.turn.Most = time.Hour // there is nobody to give way to
	if r.every = housekeeping; c.MaxMatches == 0 {
		r.every = 5 * time.Minute // there are no lines to be forgotten with them
	}
	r.batch = batchTimes{Batch: &source.Batch{}, log: &logTimes{}, how: catchingUp}
	return r, nil
}

// Filter compiles the jail's filter for a year, as the jail itself has it; with logins, it tells of
// these, too.
func (r *Replay) Filter(year int, logins bool) (*filter.Filter, error) {
	d := r.j.Configured.Filter
	d.Year, d.Logins = year, logins
	f, err := filter.Compile(d, r.j.deps.Location)
	if err == nil && r.j.proxies != nil {
		f.Trusted, f.UnknownProxies = r.j.filter.Trusted, r.j.filter.UnknownProxies
	}
	return f, err
}

// Ready reports whether it is known who may not be banned: names of ignoreip may still be
// looked up.
func (r *Replay) Ready() bool { return r.j.view.Ready() }

// Verdict is what became of a failure.
type Verdict uint8

const (
	// Counted: it was, and nobody is banned for it.
	Counted Verdict = iota
	// Bans: it led to a ban.
	Bans
	// ShutOut: who it is of was banned already.
	ShutOut
	// Ignored: he is never banned.
	Ignored
	// TooOld: it was longer than findtime before the line that came before.
	TooOld
	// Nobody: it can't be told who failed, or he has no address.
	Nobody
	// NamedHost: it is of a host's name, which is not looked up.
	NamedHost
)

// Failure shows it a failure. now is what the clock says: the time of the newest line so far.
// It returns what became of it, and who it was counted for.
func (r *Replay) Failure(f *filter.Failure, now time.Time) (Verdict, ban.ID) {
	r.Advance(now)
	j := r.j
	j.read = clock.Reading{Wall: r.now, Steady: r.now}
	q, counts := j.inTime(f, &r.batch, 0)
	switch {
	case !counts:
		return TooOld, ban.ID{}
	case f.Name && j.resolves():
		return NamedHost, ban.ID{}
	}
	return r.verdict(&q, j.failure)
}

// verdict has a failure counted, and says what became of it.
func (r *Replay) verdict(q *found, count func(*found)) (Verdict, ban.ID) {
	j := r.j
	version, total := j.bans.Version(), j.window.Total()
	count(q)
	switch {
	case !q.id.IsValid():
		return Nobody, q.id
	case j.window.Total() == total:
		return Ignored, q.id
	case j.bans.Version() != version:
		return Bans, q.id
	}
	if _, ok := j.covering(q.id); ok {
		return ShutOut, q.id
	}
	return Counted, q.id
}

// Sure is whom a failure counts for in every jail that differs from this one in how it counts and
// bans only; not ok: each has to see for itself.
func (r *Replay) Sure(f *filter.Failure) (id ban.ID, ok bool) {
	j := r.j
	if f.IP.IsValid() || f.Name && j.resolves() {
		return id, false
	}
	own := *f
	id, why := whoIs(&own)
	if why != "" || j.why(id).Some() {
		return id, false
	}
	return j.widened(id), true
}

// Counts is Failure for one that Sure has told of, and whose it is.
func (r *Replay) Counts(id ban.ID, f *filter.Failure, now time.Time) Verdict {
	r.Advance(now)
	j := r.j
	j.read = clock.Reading{Wall: r.now, Steady: r.now}
	of := f
	if j.counting == nil {
		of = &filter.Failure{Time: f.Time, Regex: f.Regex}
	}
	q, counts := j.inTime(of, &r.batch, 0)
	if !counts {
		return TooOld
	}
	q.id = id
	v, _ := r.verdict(&q, j.counted)
	return v
}

// Login shows it who has logged in, at a time of the log's: what he mistyped before may be taken back.
// now is what the clock says.
func (r *Replay) Login(l *filter.Login, at, now time.Time) {
	j := r.j
	if j.counting == nil || !j.counting.Forgives {
		return
	}
	r.Advance(now)
	j.read = clock.Reading{Wall: r.now, Steady: r.now}
	j.succeeded(l, &r.batch, 0, at)
}

// Forgiven is how often failures were taken back.
func (r *Replay) Forgiven() int {
	if r.j.counting == nil {
		return 0
	}
	return r.j.counting.total
}

// Advance lets time pass: bans end, failures are forgotten. It does not go back.
func (r *Replay) Advance(now time.Time) {
	if !now.After(r.now) {
		return
	}
	j := r.j
	r.now, r.clock.now = now, now
	if end, ok := j.bans.NextEnd(); ok && !end.After(now) {
		j.expire()
	}
	if now.Sub(r.told) >= r.every {
		r.told = now
		j.forget()
		j.handOver(false)
	}
}

// Whose is whom failures of an address count for: it, or its network.
func (r *Replay) Whose(a netip.Addr) ban.ID { return r.j.widened(single(a.Unmap().WithZone(""))) }

// Covers reports whether somebody is shut out now, by a ban of his own or of a network.
func (r *Replay) Covers(id ban.ID) bool {
	_, ok := r.j.covering(id)
	return ok
}

// InForce is how many bans there are now.
func (r *Replay) InForce() int { return r.j.bans.Len() }

// Close lets go of what it holds.
func (r *Replay) Close() {
	r.j.stop()
	r.j.filter.Leave()
	r.j.unprotect()
}

// replayClock is the clock of a log of the past.
type replayClock struct{ now time.Time }

func (c *replayClock) Wall() time.Time          { return c.now }
func (c *replayClock) Boottime() time.Duration  { return time.Duration(c.now.UnixNano()) }
func (c *replayClock) Monotonic() time.Duration { return c.Boottime() }
