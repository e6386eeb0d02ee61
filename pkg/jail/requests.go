package jail

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
	"bailiff/pkg/store"
)

// What others ask of a running jail. Each method is safe for concurrent use; on
// a jail that has ended it does nothing.

// IgnoredError says that an address is never banned in a jail.
type IgnoredError struct {
	IP, Jail, Reason string
}

func (e *IgnoredError) Error() string {
	return fmt.Sprintf("%s is never banned in jail %s: %s; if you mean it, bailiff ban --force %s %s", e.IP, e.Jail, e.Reason, e.Jail, e.IP)
}

// TooWideError says that a network is wider than what is banned without force.
type TooWideError struct{ IP, Jail string }

func (e *TooWideError) Error() string {
	return fmt.Sprintf("%s is wider than /%d (IPv6: /%d): if you mean it, bailiff ban --force %s %s",
		e.IP, iplist.Shortest4, iplist.Shortest6, e.Jail, e.IP)
}

// ByHand says how somebody bans by hand.
type ByHand struct {
	// Force bans even what is ignored, and networks of any width.
	Force bool
	By    string // who asks
	// Lasts is for how long from now; 0: as long as the jail bans for, below 0: for good. Who is banned already is
	// so until then, be that later or earlier.
	Lasts time.Duration
}

// sets sets a ban's end, if one was given.
func (h *ByHand) sets(b *ban.Ban, now time.Time) {
	switch b.Set = b.Set || h.Lasts != 0; {
	case h.Lasts > 0:
		b.End = now.Add(h.Lasts)
	case h.Lasts < 0:
		b.End = time.Time{}
	}
}

// Ban bans by hand. It reports whether the ban is new: false if a ban of at
// least the same length was there. force bans even what is ignored, and networks of
// any width. The error is a *BusyError if the jail has not come to it: it bans as soon
// as it does.
func (j *Jail) Ban(id ban.ID, force bool) (added bool, err error) {
	done := j.BanEach([]ban.ID{id}, ByHand{Force: force})[0]
	return done.Added, done.Err
}

// Banned is what became of one address.
type Banned struct {
	Added bool
	// Moved: it was banned already, and has the end now that was asked for.
	Moved bool
	// End is when the ban ends, by the wall clock, if it was Added or Moved; zero: never.
	End time.Time
	By  ban.ID // the banned network that it is part of, if that is why it was not added
	Err error
}

// banPiece is how many bans by hand a jail makes before it does something else.
const banPiece = 100

// BanEach is Ban of several. Once the jail is busy, or the database, the rest does not
// wait for it: what can be done later is.
func (j *Jail) BanEach(ids []ban.ID, how ByHand) []Banned {
	out := make([]Banned, len(ids))
	ask, wait := true, patience
	for at := 0; at < len(ids); at += banPiece {
		piece := ids[at:min(at+banPiece, len(ids))]
		results := out[at : at+len(piece)]
		pasts := make([]*pastAnswer, len(piece))
		for i, id := range piece {
			if j.Configured.Observe {
				results[i].Err = &ObservesError{j.Configured.Name}
			} else if TooWide(id) && !how.Force {
				results[i].Err = &TooWideError{ban.Name(id), j.Configured.Name}
			} else if ask {
				pasts[i], ask = j.pastOf(id)
			}
		}
		j.piece(&wait, results, func(j *Jail, todo []Banned) {
			for i, id := range piece {
				if todo[i].Err == nil {
					todo[i] = j.banByHand(id, &how, pasts[i])
				}
			}
		})
	}
	return out
}

// piece has the jail's goroutine make some bans, and fills in what became of them. It waits
// so long for the jail; once that is busy, the next piece hardly waits.
func (j *Jail) piece(wait *time.Duration, results []Banned, ban func(j *Jail, results []Banned)) {
	todo := slices.Clone(results) // who asked may not wait for it
	did := make(chan []Banned, 1)
	err := j.within(*wait, true, func(j *Jail) {
		ban(j, todo)
		j.push()
		did <- todo
	})
	if err == nil {
		copy(results, <-did)
		return
	}
	var busy *BusyError
	if errors.As(err, &busy) {
		*wait = time.Millisecond
	}
	for i := range results {
		if results[i].Err == nil {
			results[i].Err = err
		}
	}
}

// banByHand is the part of BanEach that the jail's goroutine does; was, if not nil, are the
// earlier bans.
func (j *Jail) banByHand(id ban.ID, how *ByHand, was *pastAnswer) (did Banned) {
	if reason := j.ignored(id); reason != "" && !how.Force {
		return Banned{Err: &IgnoredError{ban.Name(id), j.Config.Name, reason}}
	}
	if !how.Force && j.sshPeer(id) {
		return Banned{Err: &IgnoredError{ban.Name(id), j.Config.Name, "an open SSH session"}}
	}
	if was != nil {
		j.pastKnown(*was)
	}
	now, late := j.deps.Clock.Now(), j.endedOf(id)
	if have, ok := j.bans.Get(id); ok {
		if have.IsBeside() && !id.IsName() { // to say that it is banned would be untrue
			return Banned{Err: fmt.Errorf("jail %s: %s is banned as an id, for which %s is shut out, and not as an address: to ban the address, bailiff unban %s --jail %s first",
				j.Config.Name, have.Told(), have.IP.Addr(), ban.Name(id), j.Config.Name)}
		}
		return j.again(have, now, how)
	}
	b := ban.Ban{ID: id, Start: now, Forced: how.Force}
	grown := false
	if how.Lasts == 0 {
		grown = j.sentence(&b)
	} else if how.sets(&b, now); j.growth != nil {
		b.Count = j.before(id).count + 1
	}
	if wider, ok := j.covering(id); ok && wider.ID != id {
		if wider.Permanent() || !b.Permanent() && !wider.End.Before(b.End) {
			return Banned{By: wider.ID}
		}
		// Where both have room, it is banned beside: so it stays when the network's ban ends.
		if !j.Config.Rule.Apart(id.Prefix()) {
			return Banned{By: wider.ID, Err: fmt.Errorf("jail %s: %s is part of %s, which is banned until %s, and can't be banned beside it: to have it last, ban %[3]s once more",
				j.Config.Name, ban.Name(id), ban.Name(wider.ID), wall(j.deps.Clock.ToWall(wider.End)))}
		}
	}
	j.takeIn(id)
	j.enforce(b, late, whyHand, how.By)
	if grown {
		j.increased(b)
	}
	return Banned{Added: true, End: j.endOf(b)}
}

// endOf is when a ban ends, by the wall clock; zero: never.
func (j *Jail) endOf(b ban.Ban) (end time.Time) {
	if b.Permanent() {
		return end
	}
	return j.deps.Clock.ToWall(b.End)
}

// again is a ban by hand of who is banned already. Without an end that was asked for, the one that ends later
// stays, for list, kernel, database and actions alike; it is no new one, and who reads the log for
// bans is told of none.
func (j *Jail) again(have ban.Ban, now time.Time, how *ByHand) (did Banned) {
	name := have.Told()
	j.notice("%s already banned", name)
	moved := have // it lasts from now on: else a restart would cut it to bantime
	moved.Start, moved.End = now, time.Time{}
	if j.Config.BanTime >= 0 {
		moved.End = now.Add(j.Config.BanTime)
	}
	how.sets(&moved, now)
	later := !have.Permanent() && (moved.Permanent() || moved.End.After(have.End))
	if !later && how.Lasts == 0 {
		return did
	}
	moved.Forced = have.Forced || how.Force
	j.bans.Move(moved)
	j.enforced(change{ID: have.ID, IP: have.IP, Left: moved.Left(now), Replace: true})
	why, lasts := whyLonger, "lasts longer by now"
	if !later {
		why, lasts = whySooner, "ends earlier by now"
	}
	j.banEvent(moved, false, nil, why, how.By)
	j.event(store.Event{Ban: moved, Moved: true, Said: j.said(moved)})
	j.changed()
	did.Moved, did.End = true, j.endOf(moved)
	until := "for ever"
	if !moved.Permanent() {
		until = "until " + wall(did.End)
	}
	j.deps.Log.With("component", "actions").Info(fmt.Sprintf("[%s] the ban of %s %s: %s", j.Config.Name, name, lasts, until))
	if t := j.banTicket(have); t != nil { // to them it is the same one
		t.BanTime = -1
		if !moved.Permanent() {
			t.BanTime = moved.End.Sub(have.Start).Round(time.Second)
		}
		j.actions.Prolong(t)
	}
	j.push()
	return did
}

// pastOf asks for earlier bans of an address that is banned by hand; nil: nothing is to
// be asked, or nobody told in time, and then inTime is false. The jail does not wait for
// it.
func (j *Jail) pastOf(id ban.ID) (was *pastAnswer, inTime bool) {
	settings := j.settings.Load()
	if j.deps.Store == nil || settings.Increase == nil {
		return nil, true
	}
	if known, err := ask(j, patience, func(j *Jail) bool { return j.knowsPast(id) }); known || err != nil {
		return nil, err == nil
	}
	got := make(chan pastAnswer, 1)
	go func() { got <- askPast(j.deps.Store, settings.Name, id, settings.Increase.OverallJails) }()
	timer := time.NewTimer(pastByHand)
	defer timer.Stop()
	select {
	case a := <-got:
		return &a, true
	case <-timer.C:
		j.inbox.tell(func(j *Jail) { j.takenNew.add(ban.Name(id)) })
		return nil, false
	}
}

// Unban lifts a ban and forgets the failures. It reports whether there was one. An
// address that is banned with its network, since the jail bans networks, is
// unbanned with it. The error is a *BusyError if the jail has not come to it: it lifts
// the ban as soon as it does.
func (j *Jail) Unban(id ban.ID) (found bool, err error) {
	each, err := j.UnbanEach([]ban.ID{id}, "")
	return err == nil && each[0].Found, err
}

// Unbanned is what became of one address.
type Unbanned struct {
	Found bool   // it was banned
	By    ban.ID // the banned network that shuts it out all the same; not valid: none does
	// Inside is how many bans there still are in a network.
	Inside int
}

// UnbanEach is Unban of several, in one go; by is who asks.
func (j *Jail) UnbanEach(ids []ban.ID, by string) (found []Unbanned, err error) {
	type unbanned struct {
		Unbanned
		also []ban.ID // where else to look
	}
	done, err := command(j, func(j *Jail) ([]unbanned, error) {
		out := make([]unbanned, len(ids))
		for i, id := range ids {
			out[i].Found, out[i].also = j.unban(id, by)
		}
		for i, id := range ids { // only now: a network may have been one of them
			if wider, ok := j.bans.Covering(id); ok {
				out[i].By = wider.ID
			} else if b, ok := j.bans.Holder(id); ok && b.ID != id {
				out[i].By = b.ID
			}
			if id.IsNetwork() {
				out[i].Inside = j.bans.CountInside(id)
			}
		}
		j.push()
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	found = make([]Unbanned, len(ids))
	var unknown []int
	for i := range done {
		if found[i] = done[i].Unbanned; !found[i].Found {
			unknown = append(unknown, i)
		}
	}
	if len(unknown) == 0 {
		return found, nil
	}
	// Nobody knows of it; but if the kernel has it, from wherever, it is what shuts them
	// out. If that takes its time, it is done all the same.
	lifted := make(chan []bool, 1)
	go func() {
		was := make([]bool, len(ids))
		for _, i := range unknown {
			for _, id := range done[i].also {
				was[i] = j.lift(id, by) || was[i]
			}
		}
		lifted <- was
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case was := <-lifted:
		for i := range found {
			found[i].Found = found[i].Found || was[i]
		}
		return found, nil
	case <-timer.C:
		return found, &BusyError{Jail: j.Configured.Name, Doing: "the kernel is still asked for what is on no list", Later: true, Unlisted: true}
	}
}

// lift takes what no list knows of out of the kernel.
func (j *Jail) lift(id ban.ID, by string) bool {
	if id.IsName() {
		return false
	}
	was, err := j.deps.Firewall.Lift(j.Configured.Name, id.Prefix())
	if err != nil {
		j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Configured.Name, err))
	}
	if was {
		j.notice("Unban %s", ban.Told(id))
		j.unbanEvent(ban.Ban{ID: id}, whyHand+": the kernel had it, and no list", by)
	}
	return was
}

// unban takes a ban off the list. If there is none, also are those that the kernel may
// have all the same.
func (j *Jail) unban(id ban.ID, by string) (found bool, also []ban.ID) {
	return j.unbanFor(id, whyHand, by)
}

func (j *Jail) unbanFor(id ban.ID, why, by string) (found bool, also []ban.ID) {
	if _, ok := j.bans.Get(id); !ok {
		for _, wider := range []ban.ID{j.widened(id), j.aggregated(id)} {
			if _, ok := j.bans.Get(wider); ok {
				id = wider
			}
		}
	}
	if j.window.Forget(id) {
		j.failuresChanged(id)
	}
	b, found := j.bans.Remove(id)
	j.liftedByHand(id)
	if _, held := j.bans.Holder(id); !found && held {
		return false, nil // for somebody else's: to take it out of the kernel would last for a moment
	}
	if !found {
		if also = []ban.ID{id}; j.widened(id) != id {
			also = append(also, j.widened(id))
		}
		for _, id := range also {
			j.bans.Went(id) // it may be about to be adopted
			j.liftedByHand(id)
		}
		return false, also
	}
	j.lifted(b)
	j.enforced(change{ID: id, IP: b.IP, Remove: true})
	j.notice("Unban %s", b.Told())
	j.unbanEvent(b, why, by)
	j.actions.Unban(ban.Name(id))
	return true, nil
}

// UnbanAll lifts every ban and returns how many there were; by is who asks. The error is as with Unban.
func (j *Jail) UnbanAll(by string) (n int, err error) {
	return command(j, func(j *Jail) (int, error) {
		if j.unheard != nil {
			j.unheard.all = true
		}
		all := j.bans.All()
		for _, b := range all {
			j.bans.Remove(b.ID)
			if j.window.Forget(b.ID) {
				j.failuresChanged(b.ID)
			}
		}
		for _, d := range j.Config.Native {
			j.notice("Flush ticket(s) with %s", d.Name)
		}
		j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, Clear: true})
		j.actions.Flush()
		j.allLifted()
		j.push()
		for _, b := range all {
			j.notice("Unban %s", b.Told())
			j.unbanEvent(b, whyHand+": all of the jail's", by)
		}
		j.tellFlush(len(all))
		return len(all), nil
	})
}

// Status returns what the jail tells of itself. withBans adds the list of bans. It does
// not wait for a jail that is busy: Busy says what is missing then.
func (j *Jail) Status(withBans bool) Status {
	s := j.Summary()
	s.Counting = countingText(j.settings.Load())
	if withBans {
		bans, err := j.listed()
		if err != nil {
			s.Busy = err.Error() + ": its bans are not listed"
		}
		if s.Bans = bans; s.Observe {
			s.WouldBans, s.Bans = bans, []BanStatus{}
		}
	}
	s.Files = j.source.Status()
	for _, e := range j.Configured.Faults {
		s.Problems = append(s.Problems, e.Error())
	}
	if of, ok := j.source.(interface{ Problems() []string }); ok {
		s.Problems = append(s.Problems, of.Problems()...)
	}
	s.Problems = append(s.Problems, j.view.Problems()...)
	if j.unheld.Load() {
		s.Problems = append(s.Problems, j.Unheld())
	}
	s.Problems = append(s.Problems, j.actions.Problems()...)
	for _, b := range j.Configured.ByCommands {
		s.ByCommands = append(s.ByCommands, b.String())
	}
	return s
}

// Summary is Status without logs, bans and problems: it is told by atomics alone, and waits for
// nobody.
func (j *Jail) Summary() Status {
	c := j.settings.Load()
	s := Status{
		Name: j.Configured.Name, MaxRetry: c.MaxRetry, FindTime: c.FindTime.Seconds(), BanTime: max(c.BanTime.Seconds(), -1),
		Failed: int(j.shown.failed.Load()), TotalFailed: int(j.shown.totalFailed.Load()),
		Banned: int(j.shown.banned.Load()), TotalBanned: int(j.shown.totalBanned.Load()),
	}
	if j.Configured.Observe {
		s.Observe, s.WouldBan, s.TotalWouldBan = true, s.Banned, s.TotalBanned
		s.Banned, s.TotalBanned = 0, 0
	}
	return s
}
