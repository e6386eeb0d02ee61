package jail

import (
	"fmt"
	"net/netip"

	"bailiff/pkg/ban"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
)

// What others ask of a running jail. Each method is safe for concurrent use; on
// a jail that has ended it does nothing.

// IgnoredError says that an address is never banned in a jail.
type IgnoredError struct {
	IP, Jail, Reason string
}

func (e *IgnoredError) Error() string {
	return fmt.Sprintf("%s is never banned in jail %s: %s", e.IP, e.Jail, e.Reason)
}

// TooWideError says that a network is wider than what is banned without force.
type TooWideError struct{ IP, Jail string }

func (e *TooWideError) Error() string {
	return fmt.Sprintf("%s is wider than /%d (IPv6: /%d): if you mean it, bailiff ban --force %s %s",
		e.IP, iplist.Shortest4, iplist.Shortest6, e.Jail, e.IP)
}

// Ban bans by hand. It reports whether the ban is new: false if a ban of at
// least the same length was there. force bans even what is ignored, and networks of
// any width.
func (j *Jail) Ban(id netip.Prefix, force bool) (added bool, err error) {
	if iplist.TooWide(id) && !force {
		return false, &TooWideError{ban.Name(id), j.Configured.Name}
	}
	j.do(func() {
		if reason := j.ignored(id); reason != "" && !force {
			err = &IgnoredError{ban.Name(id), j.Config.Name, reason}
			return
		}
		if !force && j.sshPeer(id) {
			err = &IgnoredError{ban.Name(id), j.Config.Name, "an open SSH session"}
			return
		}
		now := j.deps.Clock.Now()
		b := ban.Ban{ID: id, Start: now}
		grown := j.sentence(&b)
		if wider, ok := j.covering(id); ok && wider.ID != id {
			if wider.Permanent() || !b.Permanent() && !wider.End.Before(b.End) {
				return
			}
			err = fmt.Errorf("jail %s: %s is part of %s, whose ban ends earlier: unban that first", j.Config.Name, ban.Name(id), ban.Name(wider.ID))
			return
		}
		// Networks that the new one holds go: the kernel takes no overlap.
		for _, inner := range j.bans.Inside(id) {
			if inner.ID.IsSingleIP() {
				continue
			}
			j.bans.Remove(inner.ID)
			j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, ID: inner.ID, Remove: true})
			j.lifted(inner)
			j.notice("Unban %s", ban.Name(inner.ID))
			j.actions.Unban(ban.Name(inner.ID))
		}
		if _, held := j.bans.Get(id); !held {
			added = true
		}
		j.enforce(b)
		if grown {
			j.increased(b)
		}
		j.push()
	})
	return added, err
}

// Unban lifts a ban and forgets the failures. It reports whether there was one. An
// address that is banned with its network, since the jail bans networks, is
// unbanned with it.
func (j *Jail) Unban(id netip.Prefix) (found bool) {
	var also []netip.Prefix
	running := j.do(func() {
		if _, ok := j.bans.Get(id); !ok {
			for _, wider := range []netip.Prefix{j.widened(id), j.aggregated(id)} {
				if _, ok := j.bans.Get(wider); ok {
					id = wider
				}
			}
		}
		if j.window.Forget(id) {
			j.failuresChanged(id)
		}
		var b ban.Ban
		if b, found = j.bans.Remove(id); found {
			j.lifted(b)
			j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, ID: id, Remove: true})
			j.notice("Unban %s", ban.Name(id))
			j.actions.Unban(ban.Name(id))
		}
		if also = []netip.Prefix{id}; !found && j.widened(id) != id {
			also = append(also, j.widened(id))
		}
		j.push()
	})
	if found || !running {
		return found
	}
	// Nobody knows of it; but if the kernel has it, from wherever, it is what shuts them
	// out.
	for _, id := range also {
		was, err := j.deps.Firewall.Lift(j.Configured.Name, id)
		if err != nil {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Configured.Name, err))
		}
		if was {
			found = true
			j.notice("Unban %s", ban.Name(id))
		}
	}
	return found
}

// UnbanAll lifts every ban and returns how many there were.
func (j *Jail) UnbanAll() (n int) {
	j.do(func() {
		all := j.bans.All()
		n = len(all)
		for _, b := range all {
			j.bans.Remove(b.ID)
			if j.window.Forget(b.ID) {
				j.failuresChanged(b.ID)
			}
		}
		if j.Config.Native != nil {
			j.notice("Flush ticket(s) with %s", j.Config.Native.Name)
		}
		j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, Clear: true})
		j.actions.Flush()
		j.allLifted()
		j.push()
		for _, b := range all {
			j.notice("Unban %s", ban.Name(b.ID))
		}
	})
	return n
}

// Status returns what the jail tells of itself. withBans adds the list of bans.
func (j *Jail) Status(withBans bool) Status {
	s := Status{Name: j.Configured.Name}
	j.do(func() {
		s.MaxRetry, s.FindTime, s.BanTime = j.Config.MaxRetry, j.Config.FindTime.Seconds(), max(j.Config.BanTime.Seconds(), -1)
		s.Failed, s.TotalFailed = j.window.Len(), j.window.Total()
		s.Banned, s.TotalBanned = j.bans.Len(), j.bans.Total()
		if withBans {
			s.Bans = j.banStatus()
		}
	})
	s.Files = j.source.Status()
	for _, e := range j.Configured.Faults {
		s.Problems = append(s.Problems, e.Error())
	}
	return s
}

// Bans returns the bans in force.
func (j *Jail) Bans() (out []BanStatus) {
	j.do(func() { out = j.banStatus() })
	return out
}

func (j *Jail) banStatus() []BanStatus {
	out := make([]BanStatus, 0, j.bans.Len())
	for _, b := range j.bans.All() {
		s := BanStatus{Jail: j.Config.Name, IP: ban.Name(b.ID), Start: j.deps.Clock.ToWall(b.Start)}
		if !b.Permanent() {
			end := s.Start.Add(b.End.Sub(b.Start))
			s.End = &end
		}
		out = append(out, s)
	}
	return out
}

// Repair makes the jail's sets anew where something else removed them, fills
// them, and returns with how many bans.
func (j *Jail) Repair() (n int, err error) {
	j.do(func() {
		if err = j.deps.Firewall.AddJail(j.Config.Rule); err != nil {
			return
		}
		now := j.deps.Clock.Now()
		var changes []firewall.Change
		for _, b := range j.bans.All() {
			changes = append(changes, firewall.Change{Jail: j.Config.Name, ID: b.ID, Left: b.Left(now)})
		}
		j.deps.Firewall.Push(changes...)
		n = len(changes)
	})
	return n, err
}
