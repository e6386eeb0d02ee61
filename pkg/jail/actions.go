package jail

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/firewall"
)

// The jail's actions: what is run for its bans beside the kernel's sets. They are
// told of bans and do their work beside the way of the lines.

// NoFirewall is the firewall of a jail whose actions do the banning, or where there is
// none.
type NoFirewall struct{}

func (NoFirewall) AddJail(firewall.Rule) error                 { return nil }
func (NoFirewall) Elements(string) ([]firewall.Element, error) { return nil, nil }
func (NoFirewall) RemoveJail(string) error                     { return nil }
func (NoFirewall) Lift(string, netip.Prefix) (bool, error)     { return false, nil }
func (NoFirewall) Push(...firewall.Change)                     {}

// startActions starts the jail's actions, or hands those that are at work what is
// configured now.
func (j *Jail) startActions(before *action.Group) {
	j.maxMatches.Store(int64(j.deps.MaxMatches))
	site := &action.Site{
		Jail: j.Config.Name, Log: j.deps.Log, Run: j.deps.RunAction, DryRun: j.deps.DryRun,
		Now: func() string { return epoch(j.deps.Clock.Wall()) }, Numbers: j.numbers,
		Host: j.hostName, Merged: j.merged, Known: j.known, After: j.deps.Endings.Of(j.Config.Name), Took: j.deps.ActionTook,
	}
	j.site = site
	if before != nil {
		before.Reload(j.Config.Actions, site)
		j.actions = before
		return
	}
	j.actions = action.NewGroup(j.Config.Actions, site)
	if j.begun {
		j.actions.Begin()
	}
}

// Actions are the jail's actions at work.
func (j *Jail) Actions() *action.Group { return j.actions }

// epoch writes a time as Python prints seconds since 1970.
func epoch(t time.Time) string {
	s := strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// banTicket is a ban as the tags of a command tell of it. It is made before the
// lines of the ban are handed to the store.
func (j *Jail) banTicket(b ban.Ban) *action.Ticket {
	if j.actions.Empty() {
		return nil
	}
	t := &action.Ticket{
		ID: ban.Name(b.ID), IP: b.ID.Addr(), Time: epoch(j.deps.Clock.ToWall(b.Start)), Began: b.Start.Unix(), Failures: b.Failures, BanTime: -1, BanCount: max(b.Count, 1),
		Matches: j.kept.lines(b.ID), Groups: j.kept.groups(b.ID),
	}
	if b.IP.IsValid() {
		t.IP = b.IP.Addr()
	}
	if !b.Permanent() {
		t.BanTime = b.End.Sub(b.Start).Round(time.Second)
	}
	return t
}

// restoredTicket is a ban of before the start.
func (j *Jail) restoredTicket(b ban.Ban) *action.Ticket {
	t := j.banTicket(b)
	if t == nil {
		return nil
	}
	t.Restored = true
	if j.deps.Store != nil {
		t.BanCount++ // fail2ban counts the restoring as one
	}
	t.Time = strconv.FormatInt(j.deps.Clock.ToWall(b.Start).Unix(), 10)
	return t
}

// earlier is who knows of earlier bans.
func (j *Jail) earlier() Past {
	if j.deps.Store != nil {
		return j.deps.Store
	}
	return j.deps.Memory
}

// merged is what <ipmatches> and its like tell of; asked by the actions' goroutines.
func (j *Jail) merged(t *action.Ticket, all bool) (int, []string, bool) {
	id := idOf(t.ID)
	if !id.IsValid() {
		return 0, nil, false
	}
	most := max(int(j.maxMatches.Load()), 1)
	var n int
	var lines []string
	var err error
	var written, still bool
	for range 3 { // the ban may be written between two questions
		if written, err = j.isWritten(t, id); err == nil {
			n, lines, _, _, err = j.earlier().Merged(j.Configured.Name, id, all, most)
		}
		if err == nil {
			still, err = j.isWritten(t, id)
		}
		if err != nil {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] earlier bans of %s: %v", j.Configured.Name, t.ID, err))
			return 0, nil, false
		}
		if written == still {
			break
		}
	}
	if !written {
		n += t.Failures
		lines = append(lines, t.Matches...)
		lines = lines[max(len(lines)-most, 0):]
	}
	return n, lines, true
}

// isWritten reports whether those who know of earlier bans know of this one.
func (j *Jail) isWritten(t *action.Ticket, id ban.ID) (bool, error) {
	_, _, last, known, err := j.earlier().Merged(j.Configured.Name, id, false, 0)
	return known && last.Unix() >= t.Began, err
}

// known fills in what is only asked for when a command tells of it: the lines that are
// not kept with a ban; asked by the actions' goroutines.
func (j *Jail) known(t *action.Ticket) {
	id := idOf(t.ID)
	if !id.IsValid() {
		return
	}
	most := max(int(j.maxMatches.Load()), 1)
	n, lines, _, known, err := j.earlier().Merged(j.Configured.Name, id, false, most)
	unread := func(err error) {
		j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] the ban of %s: %v", j.Configured.Name, t.ID, err))
	}
	if err != nil {
		unread(err)
		return
	}
	if known && t.Groups == nil {
		if t.Groups, err = j.earlier().Captures(j.Configured.Name, id); err != nil {
			unread(err)
		}
	}
	if !known || t.Groups == nil {
		if failures, last, groups, ok := j.earlier().Lifted(j.Configured.Name, id, t.Began); ok {
			if t.Groups == nil {
				t.Groups = groups
			}
			if !known {
				known, n, lines = true, failures, last[max(len(last)-most, 0):]
			}
		}
	}
	if !known {
		return // what the ticket has is all there is
	}
	if t.Matches = lines; t.Restored {
		t.Failures = n
	}
}

// numbers is what <jail.…> tells; asked by the actions' goroutines.
func (j *Jail) numbers() action.JailNumbers {
	return action.JailNumbers{
		Banned: int(j.shown.banned.Load()), TotalBanned: int(j.shown.totalBanned.Load()),
		Found: int(j.shown.failed.Load()), TotalFound: int(j.shown.totalFailed.Load()),
	}
}

const (
	// checkEvery is how often a failure of a banned address has the actions look
	// whether their environment is in order; a ban younger than that says nothing.
	checkEvery = 3 * time.Second
	// checkAtLast is how often they look while there are bans.
	checkAtLast = time.Minute
)

func (j *Jail) checkActions(b ban.Ban) {
	now := j.deps.Clock.Now()
	if now.Sub(b.Start) > checkEvery && now.Sub(j.checkedAt) > checkEvery {
		j.checkedAt = now
		j.actions.Check()
	}
}

// CheckActions has the actions look whether what they made is still there, where there
// are bans; if it is not, they make it and the bans anew.
func (j *Jail) CheckActions() {
	j.inbox.tell(func(j *Jail) {
		if j.bans.Len() > 0 {
			j.checkedAt = j.deps.Clock.Now()
			j.actions.Check()
		}
	})
}

// checkAtTimes does so now and then.
func (j *Jail) checkAtTimes() {
	now := j.deps.Clock.Now()
	if j.bans.Len() == 0 || j.checkedAt.IsZero() { // from now on
		j.checkedAt = now
		return
	}
	if now.Sub(j.checkedAt) >= checkAtLast {
		j.checkedAt = now
		j.actions.Check()
	}
}

// retain lifts for the actions what they hold and is in force no longer.
func (j *Jail) retain() {
	if j.actions.Empty() {
		return
	}
	inForce := map[string]bool{}
	for b := range j.bans.Each() {
		inForce[ban.Name(b.ID)] = true
	}
	j.actions.Retain(func(id string) bool { return inForce[id] })
}
