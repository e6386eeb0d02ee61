package jail

import (
	"time"

	"bailiff/pkg/ban"
)

// Known is what a jail knows of somebody.
type Known struct {
	// Bans are those that shut him out: his own, that of a network that holds him, and those of
	// ids that were found with his address.
	Bans []BanStatus
	// Inside is how many bans there are in a network.
	Inside int
	// Failures are the times of those that are counted, by the wall clock, and Of is whose they
	// are: his, or his network's where the jail bans networks.
	Failures []time.Time
	Of       string
	MaxRetry int
	FindTime time.Duration
	// Never is why he is never banned; empty: he may be.
	Never string
}

// Knows returns what the jail knows of somebody. The error may be a *BusyError.
func (j *Jail) Knows(id ban.ID) (Known, error) {
	return ask(j, patience, func(j *Jail) Known { return j.knows(id) })
}

func (j *Jail) knows(id ban.ID) (k Known) {
	k.MaxRetry, k.FindTime, k.Never = j.Config.MaxRetry, j.Config.FindTime, j.why(id).Text
	seen := map[ban.ID]bool{}
	add := func(b ban.Ban, ok bool) {
		if ok && !seen[b.ID] {
			seen[b.ID] = true
			k.Bans = append(k.Bans, j.statusOf([]ban.Ban{b}, j.deps.Clock.Offset())...)
		}
	}
	add(j.bans.Get(id))
	if !id.IsName() {
		add(j.bans.Covering(id))
		add(j.bans.Holder(id))
	}
	if id.IsNetwork() {
		k.Inside = j.bans.CountInside(id)
	}
	now := j.deps.Clock.Now()
	for _, of := range []ban.ID{id, j.widened(id)} {
		for _, at := range j.window.Times(of) {
			if now.Sub(at) <= k.FindTime {
				k.Failures = append(k.Failures, j.deps.Clock.ToWall(at))
			}
		}
		if len(k.Failures) > 0 || of == j.widened(id) {
			k.Of = ban.Name(of)
			break
		}
	}
	return k
}
