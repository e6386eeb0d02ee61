package replay

import (
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/chart"
)

// What came of a replay, in JSON: as `bailiff replay --json` prints it and the API answers it.

// BanAnswer is a ban.
type BanAnswer struct {
	ID       string     `json:"id"`
	Name     bool       `json:"name,omitempty"`
	Address  string     `json:"address,omitempty"`
	Start    time.Time  `json:"start"`
	End      *time.Time `json:"end"` // null: for ever
	Count    int        `json:"count"`
	Failures int        `json:"failures"`
	Lines    []string   `json:"lines"`
}

// Answer is what stands behind the bans of a jail.
type Answer struct {
	MaxRetry   int        `json:"maxretry"`
	FindTime   float64    `json:"findtime"` // seconds
	BanTime    float64    `json:"bantime"`  // seconds; -1: for ever
	Lines      int64      `json:"lines"`
	First      *time.Time `json:"first"`
	Last       *time.Time `json:"last"`
	Failures   int64      `json:"failures"`
	LetThrough int64      `json:"let_through"`
	ShutOut    int64      `json:"shut_out"`
	BanCount   int64      `json:"ban_count"`
	Banned     int64      `json:"banned"`
	NotCounted NotCounted `json:"not_counted"`
	Notes      []string   `json:"notes"`
	Problems   []string   `json:"problems"`
	Complete   bool       `json:"complete"` // all logs were read to their ends
	// Logins is how many there were; null: the filter knows none.
	Logins *int64          `json:"logins"`
	Hurt   []HurtAnswer    `json:"hurt"`
	Sweep  []OutcomeAnswer `json:"sweep,omitempty"`
	Best   *OutcomeAnswer  `json:"best,omitempty"` // of sweep
}

// NotCounted are failures that did not count, by why.
type NotCounted struct {
	Ignored    int64 `json:"ignored"`
	TooOld     int64 `json:"too_old"`
	NamedHosts int64 `json:"named_hosts"`
	Withheld   int64 `json:"withheld"`
	Nobody     int64 `json:"nobody"`
}

// HurtAnswer is somebody who was hurt.
type HurtAnswer struct {
	Address string    `json:"address"`
	Users   []string  `json:"users"`
	Banned  time.Time `json:"banned"`
	Login   time.Time `json:"login"`
}

// OutcomeAnswer is what came of a setting of a sweep.
type OutcomeAnswer struct {
	MaxRetry      int          `json:"maxretry"`
	FindTime      float64      `json:"findtime"` // seconds
	BanTime       float64      `json:"bantime"`  // seconds; -1: for ever
	Distinct      string       `json:"count_distinct,omitempty"`
	Forgives      bool         `json:"success_forgives,omitempty"`
	Weights       []int        `json:"weights,omitempty"`  // of the failregexes; none: each counts once
	Forgiven      int64        `json:"forgiven,omitempty"` // how often failures were taken back
	Failures      int64        `json:"failures"`
	LetThrough    int64        `json:"let_through"`
	ShutOut       int64        `json:"shut_out"`
	Bans          int64        `json:"ban_count"`
	Banned        int64        `json:"banned"`
	HurtAddresses int          `json:"hurt_addresses"`
	HurtUsers     int          `json:"hurt_users"`
	Hurt          []HurtAnswer `json:"hurt"`
}

// PlotAnswer is what a picture of the jail's own setting is drawn from.
type PlotAnswer struct {
	Begin    *time.Time    `json:"begin"` // of the first step; null: there is none
	Step     float64       `json:"step"`  // seconds
	Failures []int64       `json:"failures"`
	Bans     []int64       `json:"bans"`
	Networks []chart.Count `json:"networks"` // of most failures, /24 and IPv6 /64
	Users    []chart.Count `json:"users"`    // who were tried most
}

// Answer is the ban in JSON, with its times in a zone.
func (b *Ban) Answer(zone *time.Location) BanAnswer {
	out := BanAnswer{ID: ban.Name(b.ID), Name: b.ID.IsName(), Start: b.Start.In(zone), Count: b.Count, Failures: b.Failures, Lines: append([]string{}, b.Lines...)}
	if b.Address.IsValid() {
		out.Address = ban.Name(b.Address)
	}
	if !b.End.IsZero() {
		end := b.End.In(zone)
		out.End = &end
	}
	return out
}

// seconds are those of a ban time; -1: for ever.
func seconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return d.Seconds()
}

// Answer is the report in JSON, with its times in a zone.
func (r *Report) Answer(zone *time.Location) Answer {
	out := Answer{
		MaxRetry: r.MaxRetry, FindTime: r.FindTime.Seconds(), BanTime: seconds(r.BanTime), Lines: r.Lines,
		Failures: r.Failures, LetThrough: r.LetThrough, ShutOut: r.ShutOut, BanCount: r.Bans, Banned: r.Banned,
		NotCounted: NotCounted{r.Ignored, r.TooOld, r.NamedHosts, r.Withheld, r.Nobody},
		Notes:      append([]string{}, r.Left...), Problems: []string{}, Complete: true,
	}
	if !r.First.IsZero() {
		first, last := r.First.In(zone), r.Last.In(zone)
		out.First, out.Last = &first, &last
	}
	for _, problem := range r.Problems {
		out.Problems = append(out.Problems, problem.String())
		out.Complete = out.Complete && !problem.Missing
	}
	if r.KnowsLogins {
		out.Logins = &r.Logins
	}
	out.Hurt = r.Outcome.hurtAnswer(zone)
	for i := range r.Sweep {
		out.Sweep = append(out.Sweep, r.Sweep[i].answer(zone))
	}
	if best := r.Best(); best >= 0 {
		out.Best = &out.Sweep[best]
	}
	return out
}

func (o *Outcome) hurtAnswer(zone *time.Location) []HurtAnswer {
	out := []HurtAnswer{}
	for _, h := range o.Hurt {
		out = append(out, HurtAnswer{h.Addr.String(), append([]string{}, h.Users...), h.Ban.In(zone), h.Login.In(zone)})
	}
	return out
}

func (o *Outcome) answer(zone *time.Location) OutcomeAnswer {
	return OutcomeAnswer{
		o.MaxRetry, o.FindTime.Seconds(), seconds(o.BanTime), o.Distinct, o.Forgives, o.Weights.Numbers(), o.Forgiven, o.Failures, o.LetThrough, o.ShutOut, o.Bans, o.Banned,
		o.HurtAddresses, o.HurtUsers, o.hurtAnswer(zone),
	}
}

// Plot is what a picture is drawn from; top is how many networks and users there may be.
func (r *Report) Plot(zone *time.Location, top int) PlotAnswer {
	c := &r.Chart
	out := PlotAnswer{Step: c.Width.Seconds(), Failures: []int64{}, Bans: []int64{}, Networks: c.Networks(top), Users: c.Users(top)}
	if len(c.Times) > 0 {
		begin := c.Begin.In(zone)
		out.Begin = &begin
	}
	for _, b := range c.Times {
		out.Failures, out.Bans = append(out.Failures, b.Failures), append(out.Bans, b.Bans)
	}
	return out
}
