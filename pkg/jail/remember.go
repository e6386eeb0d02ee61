package jail

import (
	"fmt"
	"slices"

	"bailiff/pkg/ban"
	"bailiff/pkg/store"
)

// A store whose disk hangs at the start is not waited for. What it knows of bans comes
// later, when the jail has been at work for a while, and is taken over then.

// unheard is what was lifted by hand since the start, while it is not known what was banned
// before.
type unheard struct {
	lifted map[ban.ID]struct{}
	all    bool
}

// liftedMost is how many of them are kept in mind; later ones may come back.
const liftedMost = 100_000

// liftedByHand notes that a ban is not to come back.
func (j *Jail) liftedByHand(id ban.ID) {
	if j.unheard != nil && len(j.unheard.lifted) < liftedMost {
		j.unheard.lifted[id] = struct{}{}
	}
}

// Remember takes over bans that the store has told of late, in slices: those that are in
// force, and were not lifted meanwhile. It waits for nothing.
func (j *Jail) Remember(bans []ban.Ban) {
	taken := 0
	for piece := range slices.Chunk(bans, slice) {
		j.inbox.tell(func(now *Jail) { taken += now.takeLate(piece) })
	}
	j.inbox.tell(func(now *Jail) {
		now.unheard = nil
		now.log.Info(fmt.Sprintf("[%s] the database has been read: %d bans known from before are in force again", now.Config.Name, taken))
	})
}

// takeLate takes some of them over, and returns how many.
func (j *Jail) takeLate(piece []ban.Ban) (taken int) {
	now := j.deps.Clock.Now()
	var changes []change
	var again []ban.Ban
	for _, b := range piece {
		if u := j.unheard; u != nil {
			if _, ok := u.lifted[b.ID]; ok || u.all {
				j.lifted(b) // the store may not know
				j.unbanEvent(b, "lifted by hand before the database was read", "")
				continue
			}
		}
		if reason := j.whyBan(b).Text; reason != "" && !b.Forced {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s: its ban is lifted", j.Config.Name, b.Told(), reason))
			j.lifted(b)
			j.unbanEvent(b, whyNever(reason), "")
			continue
		}
		if j.letsGo(nil) {
			j.letGo(b, now)
		}
		was := b.End
		if b = corrected(j.Config, b); !b.End.Equal(was) {
			j.event(store.Event{Ban: b, Moved: true})
			j.changed()
		}
		if !b.Permanent() && !b.End.After(now) {
			continue
		}
		have, held := j.bans.Get(b.ID)
		if held && (have.Permanent() || !b.Permanent() && !b.End.After(have.End)) {
			continue // it was banned since, or adopted from the kernel
		}
		j.bans.Add(b)
		changes = append(changes, change{ID: b.ID, IP: b.IP, Left: b.Left(now), Replace: held})
		taken++
		if !held {
			again = append(again, b)
		}
	}
	j.enforced(changes...)
	var told restored
	for _, b := range again { // only now: the kernel comes first
		told.ban(j, b)
		j.notice("Restore Ban %s", b.Told())
		if b, ok := j.bans.Get(b.ID); ok {
			j.actions.Ban(j.restoredTicket(b))
		}
	}
	return taken
}
