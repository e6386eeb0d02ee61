package jail

import (
	"fmt"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/events"
	"bailiff/pkg/filter"
)

// What a jail tells the table of events: each failure and what became of it, each ban, each end of
// one. Failures come as often as a client likes, so that only those of which the table takes one
// more are put into words; the others cost a comparison and are counted.

const (
	// eventCost is about what an event of a failure has beside its line, in bytes.
	eventCost = 190
	// restoredTold is how many bans of a jail are told one by one as those that a start goes
	// on with; all of them are told in sum.
	restoredTold = 200
)

// steady is a steady time that is at hand, for what need not be exact.
func (j *Jail) steady() time.Time {
	if j.reading {
		return j.read.Steady
	}
	return j.deps.Clock.Now()
}

// tellsFound reports whether the table takes one more failure.
func (j *Jail) tellsFound(f *filter.Failure) bool {
	if j.share == nil {
		return false
	}
	size := eventCost
	if f.User != "" {
		size += len(`,"user":""`) + min(len(f.User), events.UserMost)
	}
	if n := len(f.Lines); n > 0 {
		l := &f.Lines[n-1]
		size += min(len(l.Before)+len(l.Date)+len(l.After), events.LineMost)
	}
	return j.share.Take(j.steady(), size)
}

// happened tells the table of a failure: n is how many of its address are counted by now, why says
// why it isn't counted, or why nothing comes of it.
func (j *Jail) happened(q *found, counted bool, n int, why string) {
	j.hits.add(q.failure.Regex)
	if !j.tellsFound(&q.failure) {
		return
	}
	e := j.foundEvent(&q.failure, q.log, ban.Name(q.id))
	e.Name = q.id.IsName()
	if q.failure.IP.IsValid() {
		e.Address = q.failure.IP.String()
	}
	if e.Why = why; counted {
		e.Failures, e.MaxRetry = n, j.Config.MaxRetry
		if q.times > 1 {
			e.Count = q.times
		}
	} else {
		e.Counted = &counted
	}
	j.deps.Events.Add(e)
}

// turnedAway tells the table of a failure that counts for nobody.
func (j *Jail) turnedAway(f *filter.Failure, log, why string) {
	j.hits.add(f.Regex)
	if !j.tellsFound(f) {
		return
	}
	e := j.foundEvent(f, log, f.ID)
	counted := false
	e.Counted, e.Why = &counted, why
	if id, _ := whoIs(f); !f.Name && id.IsValid() {
		e.IP, e.Name = ban.Name(id), id.IsName()
	} else {
		e.Name = true
	}
	j.deps.Events.Add(e)
}

func (j *Jail) foundEvent(f *filter.Failure, log, who string) *events.Event {
	e := &events.Event{Kind: events.Found, Time: j.deps.Clock.Wall(), Jail: j.Config.Name, IP: who, Log: log, Regex: f.Regex + 1, User: f.User}
	if n := len(f.Lines); n > 0 {
		e.Line = f.Lines[n-1].String()
	}
	if at := f.Time; !at.IsZero() && e.Time.Sub(at).Abs() > time.Second {
		e.At = &at
	}
	return e
}

// banEvent tells the table of a ban, and after which lines; it counts it unless it is one that lasts longer by
// now.
func (j *Jail) banEvent(b ban.Ban, anew bool, lines []string, why, by string) {
	if j.Configured.Observe {
		why = events.WhyObserve
	} else if anew {
		j.deps.Tally.Ban()
	}
	if j.deps.Events == nil {
		return
	}
	e := j.eventOf(events.Ban, b, why, by)
	e.Failures, e.Count, e.Lines = b.Failures, b.Count, lines
	j.until(e, b)
	j.deps.Events.Add(e)
}

// unbanEvent tells the table of the end of a ban.
func (j *Jail) unbanEvent(b ban.Ban, why, by string) {
	if !j.Configured.Observe {
		j.deps.Tally.Unban()
	}
	if j.deps.Events != nil {
		j.deps.Events.Add(j.eventOf(events.Unban, b, why, by))
	}
}

func (j *Jail) eventOf(kind events.Kind, b ban.Ban, why, by string) *events.Event {
	e := &events.Event{Kind: kind, Time: j.deps.Clock.Wall(), Jail: j.Config.Name, IP: ban.Name(b.ID), Name: b.ID.IsName(), Why: why, By: by}
	if b.IP.IsValid() {
		e.Address = b.IP.Addr().String()
	}
	return e
}

func (j *Jail) until(e *events.Event, b ban.Ban) {
	if e.Permanent = b.Permanent(); !e.Permanent {
		end := j.deps.Clock.ToWall(b.End)
		e.Until = &end
	}
}

// restored counts what a start goes on with, for the table.
type restored struct{ bans, failures int }

// ban tells of a ban that a start goes on with.
func (r *restored) ban(j *Jail, b ban.Ban) {
	r.bans++
	if j.deps.Events == nil || r.bans > restoredTold {
		return
	}
	e := j.eventOf(events.Restored, b, "known from before the start", "")
	j.until(e, b)
	j.deps.Events.Add(e)
}

// tell sums up.
func (r *restored) tell(j *Jail) {
	if j.deps.Events == nil || r.bans+r.failures == 0 {
		return
	}
	j.deps.Events.Add(&events.Event{
		Kind: events.Restored, Time: j.deps.Clock.Wall(), Jail: j.Config.Name, Count: r.bans, Failures: r.failures,
		Text: fmt.Sprintf("goes on with %d bans, and the failures of %d addresses", r.bans, r.failures),
	})
}

// Reasons that more than one place gives.
const (
	whyHand    = "by hand"
	whyOver    = events.WhyOver
	whyShorter = "bantime is shorter by now"
	whyEnded   = "the jail has ended"
	whyLonger  = whyHand + ": it lasts longer by now"
	whySooner  = whyHand + ": it ends earlier by now"
)

// CountsAsBan reports whether an event of a ban, by why it was made, is that of one that began.
func CountsAsBan(why string) bool {
	return why != events.WhyObserve && why != whyLonger && why != whySooner
}

func whyNetwork(id ban.ID) string { return "its network " + ban.Name(id) + " is banned" }

func whyNever(reason string) string { return "it is never banned by now: " + reason }
