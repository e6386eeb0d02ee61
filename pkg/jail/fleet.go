package jail

import (
	"net/netip"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fleet"
)

// What the fleet and a jail have to do with each other. Bans of other hosts are none of a jail's.

// failedHere tells the fleet of failures that have counted here.
func (j *Jail) failedHere(q *found) {
	if j.deps.FleetFailure == nil || j.deps.DryRun || j.Configured.Observe || q.id.IsName() {
		return
	}
	n := 1
	if j.counting != nil {
		n = j.counting.weight(q)
	}
	if p := q.id.Prefix(); p.IsValid() {
		j.deps.FleetFailure(j.Config.Name, p, q.at, n)
	}
}

// LiftedElsewhere has the jail lift a ban, and forget the failures, since the fleet has lifted it. One that was made
// later than that stays. It waits for nothing; why says who has lifted it.
func (j *Jail) LiftedElsewhere(p netip.Prefix, at time.Time, why string) {
	_ = j.inbox.post(&order{do: func(j *Jail) {
		id := ban.Of(p)
		if b, ok := j.bans.Holder(id); ok && b.Element() == id {
			id = b.ID
		}
		b, ok := j.bans.Get(id)
		if !ok || b.Start.After(at) {
			return
		}
		j.unbanFor(id, why, "")
		j.push()
	}}, false)
}

// Lasts says how long a ban lasts yet, in whole seconds as the fleet has them; false: there is none, or it could not be asked.
func (j *Jail) Lasts(p netip.Prefix) (left int64, ok bool) {
	got, err := ask(j, patience, func(j *Jail) int64 {
		b, ok := j.bans.Holder(ban.Of(p))
		if !ok || b.Element() != ban.Of(p) {
			return 0
		}
		return FleetLeft(b, j.deps.Clock.Now())
	})
	return got, err == nil && got != 0
}

// FleetLeft is how long a ban lasts yet, in seconds, as the fleet has it; 0: it is over.
func FleetLeft(b ban.Ban, now time.Time) int64 {
	if b.Permanent() {
		return fleet.Permanent
	}
	return max(int64((b.End.Sub(now)+time.Second-1)/time.Second), 0)
}
