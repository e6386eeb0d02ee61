package jail

import (
	"errors"
	"fmt"
	"time"

	"bailiff/pkg/ban"
)

// Bans that were made elsewhere, by fail2ban or on another host, each with its own time.

// ErrOver says of a ban that it has ended.
var ErrOver = errors.New("its time is over")

// Import takes bans over as they are: they began and end when they say, by the steady
// time. Who is banned already has the ban that ends later. Actions are told as of bans that
// are restored after a start, so that nobody is told twice. by is who asks. Errors are as with BanEach,
// or ErrOver.
func (j *Jail) Import(bans []ban.Ban, force bool, by string) []Banned {
	out := make([]Banned, len(bans))
	wait := patience
	for at := 0; at < len(bans); at += banPiece {
		piece := bans[at:min(at+banPiece, len(bans))]
		j.piece(&wait, out[at:at+len(piece)], func(j *Jail, results []Banned) {
			for i, b := range piece {
				results[i].Added, results[i].By, results[i].Err = j.importOne(b, force, by)
			}
		})
	}
	return out
}

// importOne is the part of Import that the jail's goroutine does for one ban.
func (j *Jail) importOne(b ban.Ban, force bool, asks string) (added bool, by ban.ID, err error) {
	if j.Configured.Observe {
		return false, by, &ObservesError{j.Configured.Name}
	}
	now := j.deps.Clock.Now()
	if !b.Permanent() && !b.End.After(now) {
		return false, by, ErrOver
	}
	b.Forced = force
	if TooWide(b.ID) && !force {
		return false, by, &TooWideError{ban.Name(b.ID), j.Config.Name}
	}
	if why := j.whyBan(b); why.Some() && !force {
		return false, by, &IgnoredError{ban.Name(b.ID), j.Config.Name, why.Text}
	}
	if !force && j.sshPeer(b.Element()) {
		return false, by, &IgnoredError{ban.Name(b.ID), j.Config.Name, "an open SSH session"}
	}
	late := j.endedOf(b.ID)
	if have, ok := j.bans.Get(b.ID); ok {
		if have.Permanent() || !b.Permanent() && !b.End.After(have.End) {
			return false, by, nil
		}
	} else if wider, ok := j.covering(b.ID); ok {
		if wider.Permanent() || !b.Permanent() && !wider.End.Before(b.End) {
			return false, wider.ID, nil
		}
		if !j.Config.Rule.Apart(b.ID.Prefix()) {
			return false, wider.ID, fmt.Errorf("jail %s: %s is part of %s, which is banned until %s, and can't be banned beside it",
				j.Config.Name, ban.Name(b.ID), ban.Name(wider.ID), wall(j.deps.Clock.ToWall(wider.End)))
		}
	}
	if b.ID.IsNetwork() {
		j.takeIn(b.ID)
	}
	_, held := j.bans.Add(b)
	j.spared(b)
	j.enforced(change{ID: b.ID, IP: b.IP, Left: b.Left(now), Replace: held || late})
	j.banEvent(b, true, nil, "handed over by hand, with its time", asks)
	j.banned(b, nil) // it was made elsewhere
	j.remember(b.ID, past{count: max(b.Count, 1), last: b.Start})
	j.notice("Restore Ban %s", b.Told())
	switch t := j.restoredTicket(b); {
	case t == nil:
	case held: // to them it is the same one
		t.BanTime = -1
		if !b.Permanent() {
			t.BanTime = b.End.Sub(b.Start).Round(time.Second)
		}
		j.actions.Prolong(t)
	default:
		j.actions.Ban(t)
	}
	return true, by, nil
}

// takeIn lifts the bans inside a network that is about to be banned: the kernel takes no
// overlap in an interval set.
func (j *Jail) takeIn(id ban.ID) {
	for _, inner := range j.bans.Inside(id) {
		if j.Config.Rule.Apart(inner.ID.Prefix()) || inner.ID == id {
			continue
		}
		j.bans.Remove(inner.ID)
		j.enforced(change{ID: inner.ID, IP: inner.IP, Remove: true})
		j.lifted(inner)
		j.notice("Unban %s", ban.Told(inner.ID))
		j.unbanEvent(inner, whyNetwork(id), "")
		j.actions.Unban(ban.Name(inner.ID))
	}
}
