package daemon

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/events"
	"bailiff/pkg/firewall"
	"bailiff/pkg/fleet"
)

// What the fleet tells this host; the agent's goroutine does all of it, and waits for nothing.

type firewallChange = firewall.Change

// Changed implements fleet.Host.
func (r *fleetRun) Changed(c fleet.Change) {
	now := r.d.clock.Now()
	if c.Lifted != 0 {
		r.lifted(c, now)
	}
	s := r.f.set(config.FleetSets + c.Group)
	if s == nil {
		return
	}
	changes, was := s.put(c.Prefix, c.Until, now)
	r.push(changes)
	is := c.Until.After(now)
	if was != is {
		r.d.changed()
		r.d.checks.changed(c.Prefix)
	}
	if by := c.Cause; by.Key.Host == "" {
		r.let(s.rule.Jail, c, was, is)
		return
	} else if _, hand := by.Entry.Hand(); by.Key.Host == r.name && by.Key.Kind != fleet.Lift && !hand {
		return // a jail of this host has told of it
	}
	switch {
	case is && !was:
		why := banText(c.Cause)
		r.notice("[%s] Ban %s: %s", s.rule.Jail, toldPrefix(c.Prefix), why)
		until := r.d.clock.ToWall(c.Until)
		e := events.Event{Kind: events.Ban, Jail: s.rule.Jail, IP: toldPrefix(c.Prefix), Until: &until, Failures: int(c.Cause.Entry.Failures), Count: int(c.Cause.Entry.Count), Why: why}
		if c.Cause.Key.Host == fleet.Hub {
			e.Count = 0 // that is on how many hosts it was counted
		}
		r.d.events.Add(&e)
	case was && !is:
		why := liftText(c.Cause)
		r.notice("[%s] Unban %s: %s", s.rule.Jail, toldPrefix(c.Prefix), why)
		r.d.events.Add(&events.Event{Kind: events.Unban, Jail: s.rule.Jail, IP: toldPrefix(c.Prefix), Why: why})
	}
}

// let says so where somebody is let in, or shut out again, since who is never shut out here has changed.
func (r *fleetRun) let(jail string, c fleet.Change, was, is bool) {
	e := events.Event{Kind: events.Unban, Jail: jail, IP: toldPrefix(c.Prefix), Why: "it is never shut out here now"}
	switch {
	case was == is:
		return
	case is:
		until := r.d.clock.ToWall(c.Until)
		e.Kind, e.Until, e.Why = events.Ban, &until, "nothing keeps it from being shut out here any more"
		r.notice("[%s] Ban %s: %s", jail, e.IP, e.Why)
	default:
		r.notice("[%s] Unban %s: %s", jail, e.IP, e.Why)
	}
	r.d.events.Add(&e)
}

// banText says who has banned, where and why.
func banText(s fleet.Said) string {
	if s.Key.Host == fleet.Hub {
		return countedText(s)
	}
	if who, ok := s.Entry.Hand(); ok {
		return fmt.Sprintf("%s has banned it (by hand, by %s)", s.Key.Host, who)
	}
	text := fmt.Sprintf("%s has banned it (jail %s", s.Key.Host, s.Entry.Jail)
	switch n := s.Entry.Failures; {
	case n == 1:
		text += ", 1 failure"
	case n > 1:
		text += fmt.Sprintf(", %d failures", n)
	}
	return text + ")"
}

// liftText says who has lifted.
func liftText(s fleet.Said) string {
	switch s.Key.Kind {
	case fleet.Distrust:
		return s.Key.Target() + ", which has banned it, has left the fleet or was taken out"
	case fleet.Lift:
		return s.Key.Host + " has lifted it"
	case fleet.Ban:
		text := s.Key.Host + " has taken its ban back"
		if who, ok := s.Entry.Hand(); ok {
			text += fmt.Sprintf(" (by hand, by %s)", who)
		}
		return text
	}
	return "it is lifted in the fleet"
}

// lifted has jails lift what they have banned, since the fleet has lifted it.
func (r *fleetRun) lifted(c fleet.Change, now time.Time) {
	why := "lifted in the fleet"
	if c.Cause.Key.Host != "" {
		why = "in the fleet: " + liftText(c.Cause)
	}
	if c.Cause.Key.Host == r.name && c.Cause.Key.Kind == fleet.Lift {
		return // who has asked for that has asked the jails, too, or meant the fleet alone
	}
	for _, j := range r.publishers(c.Group) {
		j.LiftedElsewhere(c.Prefix, now, why)
	}
}

// All implements fleet.Host.
func (r *fleetRun) All(each iter.Seq[fleet.Change]) {
	now := r.d.clock.Now()
	by := map[string][]fleet.Change{}
	for c := range each {
		if c.Lifted != 0 {
			r.lifted(c, now)
		}
		if !c.Until.IsZero() {
			by[c.Group] = append(by[c.Group], c)
		}
	}
	for _, g := range r.cfg.Groups {
		s := r.f.set(g.Rule.Jail)
		if s == nil {
			continue
		}
		all := by[g.Name]
		s.whole(now, func(tell func(netip.Prefix, time.Time)) {
			for _, c := range all {
				tell(c.Prefix, c.Until)
			}
		})
		if r.d.fw != nil {
			r.d.mender.soonest(s.rule.Jail)
		}
		r.log.Info(fmt.Sprintf("[%s] the fleet has %d bans in force", s.rule.Jail, s.len()))
	}
	r.d.checks.wholeNow()
	r.d.changed()
}

// Keep implements fleet.Host.
func (r *fleetRun) Keep(k fleet.Kept) { r.keeper.push(k) }

// hubSays are the hub's reasons, in words.
var hubSays = map[fleet.Reason]string{
	fleet.NoGroup: "the hub knows no such group (groups in hub.toml)", fleet.NoHost: "the hub does not know this host, or no longer", fleet.NoLift: "this host may not lift what others banned (bailiff fleet token --lift-others at the hub)",
	fleet.Allowed: "the fleet's allow-list holds it (allow in hub.toml)", fleet.TooWide: "the network is larger than the fleet bans", fleet.BadVersion: "hub and host are of different versions",
}

// Refused implements fleet.Host.
func (r *fleetRun) Refused(o fleet.Out, why fleet.Reason) {
	if len(r.refused) < 64 {
		r.refused[why]++
	}
	if why == fleet.Ended {
		return
	}
	text := hubSays[why]
	if text == "" {
		text = "the hub refuses it: " + string(why)
	}
	what := "the ban of"
	if o.Key.Kind == fleet.Lift {
		what = "the lift of"
	}
	r.log.Warn(fmt.Sprintf("fleet: %s %s in group %s is not shared: %s", what, toldPrefix(o.Key.Prefix()), o.Key.Group, text))
}

// Clock implements fleet.Host.
func (r *fleetRun) Clock(by time.Duration, servers bool) {
	text := fmt.Sprintf("fleet: the hub's clock was %s: bans go on by the time that passes, and what this host has said is said once more", clock.Told(by))
	if !servers {
		text = fmt.Sprintf("fleet: since this host's last connection the hub's clock has gone %v on against this host's: one of the two was set. Bans of others end by the hub's clock: look at both (timedatectl)", by.Round(time.Second))
	}
	r.log.Warn(text)
}

func (r *fleetRun) notice(format string, args ...any) {
	r.d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf(format, args...))
}

// compareFleet compares a group's sets in the kernel with what they are to hold, and asks for the difference.
func (d *Daemon) compareFleet(s *fleetSet) (held, missing int, err error) {
	elements, err := (&kernel{d}).Elements(s.rule.Jail)
	if err != nil {
		return 0, 0, err
	}
	changes, missing := s.against(elements, d.clock.Now())
	if len(changes) > 0 {
		d.queue.Push(changes...)
	}
	return s.len(), missing, nil
}
