package jail

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/resolve"
)

// Names in logs are looked up beside the way of the lines, by pkg/resolve, for all
// jails together. Their failures wait here until the answer comes, and count then with
// the age that they have; nobody else's failure waits for that.

const (
	// perName is how many failures of a name wait, or maxretry if that is more: the
	// newest decide whether its owner is banned.
	perName = 100
	// tellAfter and tellEvery are when what was given up is told: soon, and then summed up.
	tellAfter = time.Second
	tellEvery = time.Minute
	// examples is how many names are told with that.
	examples = 3
)

// resolves reports whether the addresses of names are looked up.
func (j *Jail) resolves() bool {
	dns := j.Config.Filter.UseDNS
	return dns == filter.DNSYes || dns == filter.DNSWarn || dns == ""
}

// named has a failure wait for the address of its name.
func (j *Jail) named(q *found) {
	name := q.failure.ID
	w, over := j.names.add(name, *q, max(perName, j.Config.MaxRetry))
	for _, o := range over {
		j.gaveUp.add(o.failure.ID)
	}
	if w.asked {
		return
	}
	w.asked = true
	box := j.inbox
	a, known := j.deps.Names.Ask(box, name, func(a resolve.Answer) {
		box.tell(func(j *Jail) { j.resolved(name, a) })
	})
	if known {
		j.resolved(name, a)
	}
}

// resolved is called with what is known of a name.
func (j *Jail) resolved(name string, a resolve.Answer) {
	waited := j.names.take(name)
	if len(waited) == 0 {
		return
	}
	var gaveUp *resolve.GivenUpError
	if errors.As(a.Err, &gaveUp) {
		for i := range waited {
			j.turnedAway(&waited[i].failure, waited[i].log, "no name server answered in time")
			j.gaveUp.add(name)
		}
		return
	}
	if a.Err != nil || len(a.Addrs) == 0 {
		if j.tells(j.often.unresolved, j.log, slog.LevelWarn) {
			j.log.Warn(fmt.Sprintf("[%s] unable to find an address for %q: %v", j.Config.Name, name, a.Err))
		}
		for i := range waited {
			j.turnedAway(&waited[i].failure, waited[i].log, "the name has no address")
		}
		return
	}
	for _, q := range waited {
		if j.Config.Filter.UseDNS != filter.DNSYes && j.tells(j.often.lookedUp, j.log, slog.LevelWarn) {
			j.log.Warn(fmt.Sprintf("[%s] the address of %q was looked up: its owner decides what that is (usedns = no ignores names)", j.Config.Name, name))
		}
		for _, addr := range a.Addrs {
			addr = addr.Unmap().WithZone("")
			q.id = single(addr)
			j.consider(&q)
		}
	}
}

// given sums up what was given up until it is told.
type given struct {
	failures int
	names    int // at least: those that are examples are told apart, others by turns
	first    []string
	last     string
	due      bool // it will be told
	told     time.Time
	alarm    *alarm
}

// add counts a failure that was given up.
func (g *given) add(name string) {
	g.failures++
	if name != g.last {
		g.names++
		if len(g.first) < examples {
			g.first = append(g.first, name)
		}
		g.last = name
	}
	if !g.due && g.alarm != nil {
		g.due = true
		wait := tellAfter
		if !g.told.IsZero() {
			wait = max(wait, tellEvery-time.Since(g.told))
		}
		g.alarm.Reset(wait)
	}
}

// sum returns what is to be told, and begins anew; empty: nothing.
func (g *given) sum() string {
	if g.failures == 0 {
		g.due = false
		return ""
	}
	quoted := make([]string, 0, examples+1)
	for _, n := range g.first {
		quoted = append(quoted, shortened(n))
	}
	if g.last != g.first[len(g.first)-1] {
		if g.names > len(g.first)+1 {
			quoted = append(quoted, "…")
		}
		quoted = append(quoted, shortened(g.last))
	}
	text := fmt.Sprintf("%d failures of %d of them: %s", g.failures, g.names, strings.Join(quoted, ", "))
	*g = given{told: time.Now(), alarm: g.alarm}
	return text
}

// shortened is a text of a log as ours tells it.
func shortened(s string) string {
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// tellGivenUp tells of the failures that were given up or judged without an answer.
func (j *Jail) tellGivenUp() {
	if text := j.gaveUp.sum(); text != "" {
		j.log.Warn(fmt.Sprintf("[%s] host names for which no name server answered in time were given up, %s; they are not counted (usedns = no ignores names)", j.Config.Name, text))
	}
	if text := j.unasked.sum(); text != "" {
		j.log.Error(fmt.Sprintf("[%s] ignorecommand did not answer in time for some addresses, %s; they count", j.Config.Name, text))
	}
	if text := j.takenNew.sum(); text != "" {
		j.deps.Log.With("component", "database").Error(fmt.Sprintf("[%s] the database did not answer in time about earlier bans of some addresses, %s; they are taken for new", j.Config.Name, text))
	}
}
