package daemon

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/fleet"
	"bailiff/pkg/jail"
)

// What this host says to its fleet.

const (
	// saysMost is how many bans wait to be taken over by the agent, which hardly ever is at something else.
	saysMost = 100_000
	// saidMost is how long the database waits for what the fleet is told of a ban.
	saidMost = time.Second
	// fleetMost is how long who asks the agent something waits for its answer.
	fleetMost = 2 * time.Second
	// holdMost is how long what is said waits for the database until it is told all the same.
	holdMost = 2 * time.Second
)

// saying is a ban on its way to the agent.
type saying struct {
	keys  []fleet.Key
	entry fleet.Entry
	done  chan struct{} // closed when outs are there
	outs  []fleet.Out
	// end is who was first: the agent (1), or the database, which has waited for long enough (2).
	end atomic.Int32
}

// say tells the fleet of a ban. What it returns waits until it is known what that comes to, for saidMost.
func (d *Daemon) say(name string, b ban.Ban) func() []fleet.Out {
	r := d.fleet.now()
	if r == nil || len(r.of[name]) == 0 {
		return nil
	}
	left := jail.FleetLeft(b, d.clock.Now())
	if left == 0 {
		return nil
	}
	s := &saying{done: make(chan struct{}), entry: fleet.Entry{Jail: fleetJail(name), Left: left, Count: uint32(max(b.Count, 0)), Failures: uint32(max(b.Failures, 0))}}
	for _, group := range r.of[name] {
		s.keys = append(s.keys, fleet.BanKey(r.name, group, b.ID.Prefix()))
	}
	r.sayMu.Lock()
	if len(r.says) >= saysMost {
		r.unsaid++
		r.sayMu.Unlock()
		return nil
	}
	r.says = append(r.says, s)
	r.sayMu.Unlock()
	select {
	case r.sayWake <- struct{}{}:
	default:
	}
	return func() []fleet.Out {
		most := saidMost
		r.sayMu.Lock()
		if r.late {
			most = 0
		}
		r.sayMu.Unlock()
		timer := time.NewTimer(most)
		defer timer.Stop()
		select {
		case <-s.done:
			return r.writing(s.outs)
		case <-timer.C:
		case <-r.done:
		}
		if s.end.CompareAndSwap(0, 2) {
			r.sayMu.Lock()
			r.late = true
			r.sayMu.Unlock()
			return nil
		}
		<-s.done // just now
		return r.writing(s.outs)
	}
}

// writing notes what goes into a transaction that is under way.
func (r *fleetRun) writing(outs []fleet.Out) []fleet.Out {
	r.sayMu.Lock()
	r.inWriting = append(r.inWriting, outs...)
	r.sayMu.Unlock()
	return outs
}

// wrote has go to the hub what the database has by now: it knows of no ban that this host would not know of after a kill.
func (f *fleetSide) wrote(err error) {
	r := f.now()
	if r == nil {
		return
	}
	r.sayMu.Lock()
	some := r.inWriting
	r.inWriting = nil // what could not be written is asked for again
	r.sayMu.Unlock()
	if err == nil {
		r.release(some)
	}
}

// release has go to the hub what is kept.
func (r *fleetRun) release(some []fleet.Out) {
	if len(some) > 0 {
		r.link.Do(r.ctx, func(a *fleet.Agent, now time.Time) { a.Release(now, some) })
	}
}

// fleetJail is a jail's name as the fleet takes it: 64 characters.
func fleetJail(name string) string { return name[:min(len(name), 64)] }

// saying hands over to the agent what jails have banned.
func (r *fleetRun) saying() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.sayWake:
		}
		r.sayMu.Lock()
		some := r.says
		r.says, r.late = nil, false
		r.sayMu.Unlock()
		r.link.Do(r.ctx, func(a *fleet.Agent, now time.Time) {
			for _, s := range some {
				for _, k := range s.keys {
					s.outs = append(s.outs, a.Say(now, k, s.entry))
				}
				if !s.end.CompareAndSwap(0, 1) {
					for _, o := range s.outs {
						a.Remember(now, o)
					}
				}
				close(s.done)
			}
		})
	}
}

// groupsFor are the groups that a command is about: those of a jail, or all; or the one that is named.
func (r *fleetRun) groupsFor(jail, group string) (out []string) {
	for _, g := range r.cfg.Groups {
		if (jail == "" || jail == g.Rule.Jail || contains(r.of[jail], g.Name)) && (group == "" || group == g.Name) {
			out = append(out, g.Name)
		}
	}
	return out
}

func contains(list []string, one string) bool {
	for _, s := range list {
		if s == one {
			return true
		}
	}
	return false
}

// liftedIn is what became of a lift in the fleet.
type liftedIn struct {
	groups []string
	others []control.Wider // whose bans stay
}

// lift lifts addresses and networks in the fleet. Anyhow: also where this host knows of no ban.
func (r *fleetRun) lift(ids []ban.ID, groups []string, by string, anyhow bool) ([]liftedIn, bool) {
	got, ok := askFleet(r, fleetMost, func(a *fleet.Agent, now time.Time) []liftedIn {
		out := make([]liftedIn, len(ids))
		for i, id := range ids {
			if id.IsName() {
				continue
			}
			for _, group := range groups {
				did, others := r.liftOne(a, now, group, id, by, anyhow)
				if did {
					out[i].groups = append(out[i].groups, group)
				}
				out[i].others = append(out[i].others, others...)
			}
		}
		return out
	})
	r.keeper.settle(settleMost)
	return got, ok
}

// liftOne is lift of one, in one group.
func (r *fleetRun) liftOne(a *fleet.Agent, now time.Time, group string, id ban.ID, by string, anyhow bool) (did bool, others []control.Wider) {
	p := id.Prefix()
	k := fleet.BanKey(r.name, group, p)
	mine, said := a.Mine(k)
	said = said && !mine.Gone()
	in := !a.Until(now, group, p).IsZero()
	for _, o := range a.View().About(p, 1000) {
		if o.Key.Group != group || o.Key.Kind != fleet.Ban || !o.Stands || !o.End.After(a.Server(now)) || o.Key == k {
			continue
		}
		switch {
		case !r.cfg.Lifts && o.Key.Host != r.name && o.Key.Prefix() != p:
			others = append(others, control.Wider{Jail: r.setName(group), IP: toldPrefix(o.Key.Prefix()), Fleet: o.Key.Host})
		case o.Key.Prefix() != p:
			others = append(others, control.Wider{Jail: r.setName(group), IP: toldPrefix(o.Key.Prefix())})
		case !r.cfg.Lifts:
			others = append(others, control.Wider{Jail: r.setName(group), IP: toldPrefix(p), Fleet: o.Key.Host})
		default:
			in = true
		}
	}
	switch {
	case r.cfg.Lifts && (said || in || anyhow):
		a.Remember(now, a.Say(now, fleet.LiftKey(r.name, group, p), fleet.Entry{Jail: fleetJail(cleanBy(by))}))
		return true, others
	case said:
		mine.Left = 0
		if anyhow { // no jail tells of it
			mine.Jail = fleet.ByHand(cleanBy(by))
		}
		a.Remember(now, a.Say(now, k, mine))
		return len(others) == 0, others
	}
	return false, others
}

func (r *fleetRun) setName(group string) string { return "fleet-" + group }

// cleanBy is who asks, as the fleet takes it.
func cleanBy(by string) string {
	out := []byte{}
	for i := 0; i < len(by) && len(out) < 64; i++ {
		if c := by[i]; c > ' ' && c <= '~' && !strings.ContainsRune("\"\\<>&", rune(c)) {
			out = append(out, by[i])
		}
	}
	return string(out)
}

// takeBack takes all bans of this host's own back in the fleet that are of a jail, or of all but what was banned in the fleet by hand.
func (d *Daemon) takeBack(jail string) (pending string) {
	r := d.fleet.now()
	if r == nil {
		return ""
	}
	n, ok := askFleet(r, fleetMost, func(a *fleet.Agent, now time.Time) (n int) {
		for _, group := range r.groupsFor(jail, "") {
			for k, e := range a.Bans(group) {
				if _, hand := e.Hand(); !hand && (jail == "" || e.Jail == fleetJail(jail)) {
					e.Left = 0
					a.Remember(now, a.Say(now, k, e))
					n++
				}
			}
		}
		return n
	})
	switch {
	case !ok:
		return "the fleet's part has not come to it yet: what this host has shared of them stands there"
	case n > 0:
		return r.waits()
	}
	return ""
}

// unbanInFleet has what was unbanned here be lifted in the fleet, too, and notes that.
func (d *Daemon) unbanInFleet(jail string, out []control.UnbanResult, by string) {
	r := d.fleet.now()
	if r == nil {
		return
	}
	groups := r.groupsFor(jail, "")
	if len(groups) == 0 {
		return
	}
	var ids []ban.ID
	var of []int
	for i := range out {
		if id, err := ban.ParseID(out[i].IP); err == nil && !id.IsName() {
			ids, of = append(ids, id), append(of, i)
		}
	}
	got, ok := r.lift(ids, groups, by, false)
	for n, i := range of {
		res := &out[i]
		if !ok {
			res.Pending = joined(res.Pending, fmt.Errorf("the fleet's part has not come to it yet: bailiff unban --fleet %s repeats it", ban.Name(ids[n])))
			continue
		}
		for _, g := range got[n].groups {
			res.Jails = append(res.Jails, r.setName(g))
			res.Count++
		}
		res.By = append(res.By, got[n].others...)
		if text := r.waits(); text != "" && len(got[n].groups) > 0 {
			res.Pending = joined(res.Pending, errors.New(text))
		}
	}
}
