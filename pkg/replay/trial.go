package replay

import (
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/jail"
)

// Setting is how many failures within what time lead to a ban, and how long that is.
type Setting struct {
	MaxRetry int
	FindTime time.Duration
	BanTime  time.Duration // negative: for ever
	// Distinct is count.distinct, a group of the filter's; empty: each failure counts.
	Distinct string
	Forgives bool // success.forgives
	Weights  Weights
}

// Weights are those of the failregexes, in their order, a byte each; empty: each counts once.
type Weights string

// WeightsOf are those of a filter.
func WeightsOf(d *filter.Definition) Weights {
	b, all := make([]byte, len(d.Failregex)), true
	for i, x := range d.Failregex {
		b[i] = byte(max(x.Weight, 1))
		all = all && b[i] == 1
	}
	if all {
		return ""
	}
	return Weights(b)
}

// With are the weights with that of one expression, of so many, set to another.
func (w Weights) With(expressions, n, weight int) Weights {
	d := filter.Definition{Failregex: make([]filter.Expr, expressions)}
	for i := range d.Failregex {
		if i < len(w) {
			d.Failregex[i].Weight = int(w[i])
		}
	}
	d.Failregex[n].Weight = weight
	return WeightsOf(&d)
}

// Numbers are the weights as such.
func (w Weights) Numbers() (out []int) {
	for i := range len(w) {
		out = append(out, int(w[i]))
	}
	return out
}

// own is a jail's setting.
func own(c *config.Jail) Setting {
	return Setting{c.MaxRetry, c.FindTime, c.BanTime, c.Counting.Distinct, c.Counting.Forgives, WeightsOf(&c.Filter)}
}

// apply gives a jail a setting.
func (s *Setting) apply(c *config.Jail) {
	c.MaxRetry, c.FindTime, c.BanTime = s.MaxRetry, s.FindTime, s.BanTime
	c.Counting.Distinct, c.Counting.Forgives = s.Distinct, s.Forgives
	if c.Counting.Most == 0 { // a configuration of fail2ban's
		c.Counting.Most = config.ForgivesMost
	}
	c.Filter.Failregex = slices.Clone(c.Filter.Failregex)
	for i := range c.Filter.Failregex {
		c.Filter.Failregex[i].Weight = 0
		if i < len(s.Weights) {
			c.Filter.Failregex[i].Weight = int(s.Weights[i])
		}
	}
}

// Outcome is what came of a setting.
type Outcome struct {
	Setting
	Failures   int64 // that counted
	LetThrough int64 // of those, while nobody was shut out for them
	ShutOut    int64 // of who was banned already
	TooOld     int64 // failures that were longer than findtime before the line before
	Forgiven   int64 // how often failures were taken back after a login
	Bans       int64
	Banned     int64 // addresses, or other ids, that were banned; about, if more than a million

	// Who was hurt: addresses that logged in within a day of being banned, before or after, or
	// while they were; and users that did so from these.
	HurtAddresses, HurtUsers int
	Hurt                     []Hurt // the first ones, hurtMost
}

// Hurt is an address that logged in, and was banned.
type Hurt struct {
	Addr  netip.Addr
	Users []string // that are known, the first ones
	Ban   time.Time
	Login time.Time // the one that was next to that
}

const (
	hurtMost   = 1000    // addresses that are told
	hurtKnown  = 100_000 // addresses and users that are told apart
	loginsMost = 20_000  // addresses that logged in lately
	usersMost  = 20      // of an address
	bansMost   = 100_000 // ids that were banned lately
	lately     = 24 * time.Hour
)

// trial is a setting at work.
type trial struct {
	run    *run
	jail   *jail.Replay
	first  bool // it is the jail's own
	out    Outcome
	banned idSet
	bans   recent[time.Time]
	hurt   map[netip.Addr]int // where it is in out.Hurt; -1: nowhere
	merged []merged           // of out.Hurt
	users  map[string]struct{}
}

// merged is which login, and how many users of it, were noted last of somebody who was hurt.
type merged struct {
	of    *login
	users int
}

// login is who logged in lately. While trials are at work it does not change.
type login struct {
	id    ban.ID // whom failures of the address count for
	addr  netip.Addr
	at    time.Time
	users []string
}

func (r *run) trial(s Setting) (*trial, error) {
	c := *r.Jail
	s.apply(&c)
	if len(r.Sweep) > 0 {
		c.MaxMatches = 0
	}
	of, err := jail.NewReplay(&c, jail.ReplayOptions{Location: r.Location, Guard: r.Guard, Addresses: r.Most.Addresses})
	if err != nil {
		return nil, err
	}
	t := &trial{run: r, jail: of, first: len(r.trials) == 0, out: Outcome{Setting: s}, hurt: map[netip.Addr]int{}, users: map[string]struct{}{}}
	t.bans.most = bansMost
	of.Banned = t.ban
	return t, nil
}

// sum is what came of it.
func (t *trial) sum() *Outcome {
	t.out.Banned, t.out.Forgiven = int64(t.banned.len()), int64(t.jail.Forgiven())
	t.out.HurtAddresses, t.out.HurtUsers = len(t.hurt), len(t.users)
	return &t.out
}

// apply counts what was told of a line.
func (t *trial) apply(e *event) {
	s := &t.out
	for i := range e.failures {
		var verdict jail.Verdict
		if len(e.sure) > 0 && e.sure[i].IsValid() {
			verdict = t.jail.Counts(e.sure[i], &e.failures[i], e.now)
		} else {
			verdict, _ = t.jail.Failure(&e.failures[i], e.now)
		}
		if t.first && verdict <= jail.ShutOut {
			t.run.report.Chart.Failure(whose(&e.failures[i]), e.failures[i].User, e.failures[i].Time)
		}
		switch verdict {
		case jail.Bans, jail.Counted:
			s.Failures++
			s.LetThrough++
		case jail.ShutOut:
			s.Failures++
			s.ShutOut++
		case jail.TooOld:
			s.TooOld++
		case jail.Ignored, jail.Nobody, jail.NamedHost:
			if t.first {
				t.run.report.uncounted(verdict)
			}
		}
	}
	for i := range e.logins {
		t.jail.Login(&e.logins[i], e.at, e.now)
	}
	for _, l := range e.who {
		began, banned := t.bans.get(l.id)
		if banned && e.at.Sub(began) <= lately {
			t.hurts(l, began)
		} else if t.jail.InForce() > 0 {
			if t.jail.Advance(e.now); t.jail.Covers(l.id) {
				t.hurts(l, began)
			}
		}
	}
}

// uncounted counts a failure that does not.
func (s *Report) uncounted(why jail.Verdict) {
	switch why {
	case jail.Ignored:
		s.Ignored++
	case jail.Nobody:
		s.Nobody++
	default:
		s.NamedHosts++
	}
}

// whose is the address of a failure, or the network.
func whose(f *filter.Failure) netip.Prefix {
	if f.IP.IsValid() {
		return netip.PrefixFrom(f.IP, f.IP.BitLen())
	}
	return f.Addr
}

// ban is told of a ban.
func (t *trial) ban(b ban.Ban, lines []string) {
	t.out.Bans++
	t.run.bans.Add(1)
	t.banned.add(b.ID)
	t.bans.put(b.ID, b.Start)
	if l, ok := t.run.logins.get(b.ID); ok && b.Start.Sub(l.at) <= lately {
		t.hurts(l, b.Start)
	}
	if t.first {
		t.run.report.Chart.At(b.Start).Bans++
	}
	if !t.first || t.run.Ban == nil || t.run.err != nil {
		return
	}
	out := Ban{Jail: t.run.Jail.Name, ID: b.ID, Start: b.Start, End: b.End, Count: max(b.Count, 1), Failures: b.Failures, Lines: lines}
	if b.IsBeside() {
		out.Address = b.Element()
	}
	t.run.err = t.run.Ban(&out)
}

// hurts notes somebody who was hurt.
func (t *trial) hurts(l *login, banned time.Time) {
	n, known := t.hurt[l.addr]
	if known && (n < 0 || t.merged[n] == merged{l, len(l.users)}) {
		return
	}
	for _, u := range l.users {
		if len(t.users) < hurtKnown {
			t.users[u] = struct{}{}
		}
	}
	switch {
	case !known && len(t.hurt) >= hurtKnown:
		return
	case !known && len(t.out.Hurt) >= hurtMost:
		t.hurt[l.addr] = -1
		return
	case !known:
		n = len(t.out.Hurt)
		t.hurt[l.addr] = n
		t.out.Hurt = append(t.out.Hurt, Hurt{Addr: l.addr, Ban: banned, Login: l.at})
		t.merged = append(t.merged, merged{})
	}
	t.merged[n] = merged{l, len(l.users)}
	h := &t.out.Hurt[n]
	for _, u := range l.users {
		if len(h.Users) < usersMost && !slices.Contains(h.Users, u) {
			h.Users = append(h.Users, u)
		}
	}
}

// recent holds the newest of something by whom it is of.
type recent[T any] struct {
	most  int
	by    map[ban.ID]T
	order []ban.ID // as they were first put; some twice, and some gone
}

func (r *recent[T]) get(id ban.ID) (T, bool) {
	v, ok := r.by[id]
	return v, ok
}

func (r *recent[T]) put(id ban.ID, v T) {
	if r.by == nil {
		r.by = map[ban.ID]T{}
	}
	if _, ok := r.by[id]; !ok {
		if len(r.order) >= r.most {
			half := len(r.order) / 2
			for _, old := range r.order[:half] {
				delete(r.by, old)
			}
			r.order = append(r.order[:0], r.order[half:]...)
		}
		r.order = append(r.order, id)
	}
	r.by[id] = v
}

// Best returns the setting that shuts out the most failures without hurting anybody; where each
// hurts somebody, of those that hurt the fewest addresses. It is an index of Sweep, -1 where
// that is empty. Of equal ones, it is that with fewer bans, then the one that was named first.
func (r *Report) Best() int {
	best := -1
	for i := range r.Sweep {
		if best < 0 || r.Sweep[i].better(&r.Sweep[best]) {
			best = i
		}
	}
	return best
}

func (o *Outcome) better(than *Outcome) bool {
	switch {
	case o.HurtAddresses != than.HurtAddresses:
		return o.HurtAddresses < than.HurtAddresses
	case o.ShutOut != than.ShutOut:
		return o.ShutOut > than.ShutOut
	}
	return o.Bans < than.Bans
}
