package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/fleet"
)

// Failures that the hub counts over all hosts. Jails hand theirs over and wait for nothing; what they count themselves knows nothing of it.

// fleetFailuresMost is how many failures are handed over in a second; more count in their jails alone.
const fleetFailuresMost = 20_000

// fleetFailure is a failure that a jail has counted.
type fleetFailure struct {
	group string
	p     netip.Prefix
	at    time.Time
	n     int
}

// fleetFailed takes a failure of a jail.
func (d *Daemon) fleetFailed(name string, p netip.Prefix, at time.Time, n int) {
	r := d.fleet.now()
	if r == nil || len(r.counts[name]) == 0 {
		return
	}
	r.sayMu.Lock()
	defer r.sayMu.Unlock()
	for _, group := range r.counts[name] {
		if len(r.failures) >= fleetFailuresMost {
			r.uncounted += uint64(n)
			continue
		}
		r.failures = append(r.failures, fleetFailure{group, p, at, n})
	}
}

// countedGroups are the groups in which a jail's failures are counted over all hosts.
func (r *fleetRun) countedGroups() map[string][]string {
	out := map[string][]string{}
	for _, name := range r.cfg.Count {
		for _, jail := range r.cfg.Group(name).Publish {
			out[jail] = append(out[jail], name)
		}
	}
	return out
}

// tellFailures hands over what came in the last second, and says in the log whether the hub counts.
func (r *fleetRun) tellFailures() {
	if len(r.cfg.Count) == 0 {
		return
	}
	r.sayMu.Lock()
	some := r.failures
	r.failures = nil
	r.sayMu.Unlock()
	select {
	case <-r.ready:
	default:
		return // what is kept is being read: a second's failures are not counted over all hosts
	}
	r.link.Do(r.ctx, func(a *fleet.Agent, now time.Time) {
		for _, f := range some {
			a.Failed(now, f.group, f.p, f.at, f.n)
		}
		if why := a.Tally().Why; why != r.countedWhy {
			if r.countedWhy = why; why != "" {
				r.log.Warn("fleet: failures are not counted over all hosts: " + uncountedText(why))
			} else {
				r.log.Info("fleet: failures are counted over all hosts")
			}
		}
	})
}

// uncountedText says why the hub doesn't count.
func uncountedText(why fleet.Reason) string {
	switch why {
	case fleet.NoCount:
		return "the hub counts none in a group of [fleet] count (it has no [count.GROUP] in hub.toml)"
	case fleet.Quota:
		return "this host has reported failures of as many addresses as it may"
	case fleet.Rate:
		return "this host reports them faster than it may"
	}
	if text := hubSays[why]; text != "" {
		return text
	}
	return "the hub says " + string(why)
}

// countingStatus is what was told of failures; nil: none are.
func (r *fleetRun) countingStatus(t fleet.TallyStats) *control.FleetCounting {
	if len(r.cfg.Count) == 0 {
		return nil
	}
	r.sayMu.Lock()
	lost := r.uncounted + t.Lost
	r.sayMu.Unlock()
	c := &control.FleetCounting{Groups: slices.Clone(r.cfg.Count), Addresses: t.Addresses, Waiting: t.Waiting, Failures: t.Failures, Lost: lost, Told: t.Told, Refused: t.Refused}
	if t.Why != "" {
		c.Problem = uncountedText(t.Why)
	}
	return c
}

// countedText says what the hub has banned for.
func countedText(s fleet.Said) string {
	return fmt.Sprintf("the hub has counted %d failures on %d hosts (%s)", s.Entry.Failures, s.Entry.Count, s.Entry.Jail)
}
