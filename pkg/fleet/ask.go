package fleet

import (
	"maps"
	"net/netip"
	"time"
)

// What an Agent can be asked, beside what it is told.

// Lifting reports whether this host has lifted an address or a network, and not banned it again, and the stream
// doesn't hold that yet.
func (a *Agent) Lifting(group string, p netip.Prefix) bool {
	w := a.out[LiftKey(a.policy.Self, group, p)]
	if w == nil {
		return false
	}
	mine, said := a.Mine(BanKey(a.policy.Self, group, p))
	return !said || mine.N < w.Entry.N
}

// Until is until when an address or a network is shut out in a group, in the host's time; zero: it is not.
func (a *Agent) Until(now time.Time, group string, p netip.Prefix) time.Time {
	until := a.view.Until(group, p)
	if !until.After(a.server(now)) {
		return time.Time{}
	}
	return a.told(Change{Group: group, Prefix: p, Until: until}).Until
}

// Each tells all that is in force.
func (a *Agent) Each(now time.Time, tell func(Change)) {
	a.view.Each(a.server(now), func(c Change) {
		if c = a.told(c); !c.Until.IsZero() {
			tell(c)
		}
	})
}

// Mine is the newest that this host has said under a key of its own.
func (a *Agent) Mine(k Key) (Entry, bool) {
	if w := a.out[k]; w != nil {
		return w.Entry, true
	}
	s, known := a.view.Word(k)
	return s.Entry, known
}

// Bans are this host's own bans in a group, as it has said them last.
func (a *Agent) Bans(group string) map[Key]Entry {
	out := map[Key]Entry{}
	a.view.Own(func(s Said) {
		if s.Key.Kind == Ban && s.Key.Group == group {
			out[s.Key] = s.Entry
		}
	})
	for k, w := range a.out {
		if k.Kind == Ban && k.Group == group {
			out[k] = w.Entry
		}
	}
	maps.DeleteFunc(out, func(_ Key, e Entry) bool { return e.Gone() })
	return out
}

// Self is the host's name; Server turns a time of the host's into the servers', and Local back.
func (a *Agent) Self() string { return a.policy.Self }

// Server is a time of the host's in the servers'.
func (a *Agent) Server(t time.Time) time.Time { return a.server(t) }

// Local is a time of the servers' in the host's.
func (a *Agent) Local(t time.Time) time.Time { return a.local(t) }

// Remember has something kept that was said, and not in the ban's own transaction.
func (a *Agent) Remember(now time.Time, o Out) {
	a.kept.Out, a.dirty = append(a.kept.Out, o), true
	a.keep(now)
}

// Renew says those of this host's own bans anew that last longer than the fleet keeps a ban and have had a half of that.
// Still says of a ban how long it lasts yet, in seconds, and false: it is over.
func (a *Agent) Renew(now time.Time, due []Said, still func(Said) (left int64, ok bool)) {
	for _, s := range due {
		// Who has lifted it meanwhile was not seen by the word before, and would be by a new one.
		if left, ok := still(s); ok && a.out[s.Key] == nil && a.view.Stands(s.Key) {
			e := s.Entry
			e.Left = left
			a.Remember(now, a.Say(now, s.Key, e))
		}
	}
}

// View is what is held, to be asked; it changes with the next event.
func (a *Agent) View() *View { return a.view }

// Stats returns what was counted.
func (a *Agent) Stats() Stats {
	s := a.stats
	s.Counts, s.Complete, s.Waiting, s.Cursor, s.Newest = a.view.Counts(), a.complete, len(a.out), a.cursor, a.newest
	s.Quiet = a.quiet
	for _, w := range a.out {
		if s.Since.IsZero() || w.Made.Before(s.Since) {
			s.Since = w.Made
		}
	}
	return s
}
