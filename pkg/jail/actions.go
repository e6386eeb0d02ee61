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
	site := &action.Site{
		Jail: j.Config.Name, Log: j.deps.Log, Run: j.deps.RunAction,
		Now: func() string { return epoch(j.deps.Clock.Wall()) }, Numbers: j.numbers,
	}
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
		ID: ban.Name(b.ID), IP: b.ID.Addr(), Time: epoch(j.deps.Clock.ToWall(b.Start)), Failures: b.Failures, BanTime: -1, BanCount: max(b.Count, 1),
		Matches: j.kept.lines(b.ID), Groups: j.kept.groups(b.ID), Host: j.hostName,
	}
	if !b.Permanent() {
		t.BanTime = b.End.Sub(b.Start).Round(time.Second)
	}
	if j.deps.Store == nil {
		return t
	}
	id, lines, failures, since := b.ID, t.Matches, b.Failures, b.Start.Truncate(time.Second)
	most := max(j.deps.MaxMatches, 1)
	t.Merged = func(all bool) (int, []string, bool) {
		n, merged, last, known, err := j.deps.Store.Merged(j.Configured.Name, id, all, most)
		if err != nil {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] earlier bans of %s: %v", j.Configured.Name, ban.Name(id), err))
			return 0, nil, false
		}
		if !known || last.Before(since) { // this ban is not written yet
			n += failures
			merged = append(merged, lines...)
			merged = merged[max(len(merged)-most, 0):]
		}
		return n, merged, true
	}
	return t
}

// restoredTicket is a ban of before the start.
func (j *Jail) restoredTicket(b ban.Ban) *action.Ticket {
	t := j.banTicket(b)
	if t == nil || j.deps.Store == nil {
		return t
	}
	t.Restored = true
	t.BanCount++ // fail2ban counts the restoring as one
	t.Time = strconv.FormatInt(j.deps.Clock.ToWall(b.Start).Unix(), 10)
	store, name, most := j.deps.Store, j.Config.Name, max(j.deps.MaxMatches, 1)
	t.Load = func(t *action.Ticket) {
		if n, lines, _, known, err := store.Merged(name, b.ID, false, most); err == nil && known {
			t.Failures, t.Matches = n, lines
		}
	}
	return t
}

// numbers is what <jail.…> tells; asked by the actions' goroutines.
func (j *Jail) numbers() action.JailNumbers {
	return action.JailNumbers{
		Banned: int(j.shown.banned.Load()), TotalBanned: int(j.shown.totalBanned.Load()),
		Found: int(j.shown.failed.Load()), TotalFound: int(j.shown.totalFailed.Load()),
	}
}

// checkEvery is how often a failure of a banned address has the actions look
// whether their environment is in order; a ban younger than that says nothing.
const checkEvery = 3 * time.Second

func (j *Jail) checkActions(b ban.Ban) {
	now := j.deps.Clock.Now()
	if now.Sub(b.Start) > checkEvery && now.Sub(j.checkedAt) > checkEvery {
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
	for _, b := range j.bans.All() {
		inForce[ban.Name(b.ID)] = true
	}
	j.actions.Retain(func(id string) bool { return inForce[id] })
}
