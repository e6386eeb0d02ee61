package fleet

import (
	"net/netip"
	"slices"
	"time"
)

// Rule is what decides which bans are in force. It looks at what the stream holds and at nothing else: in which
// order that came, and what a host's clock says, make no difference.
//
// A ban stands against a lift of its address, of a network that holds it, or of its whole host, by the
// first of these that applies:
//
//  1. The same host said both: its later one counts.
//  2. Who banned had seen the lift: the ban stands.
//  3. Who lifted had seen the ban: it is lifted.
//  4. Neither knew of the other: the ban stands if it was made later, by more than Grace, in the time of the
//     servers that stored them.
//
// A ban is in force that stands against all lifts, until it ends; where a group wants several hosts to
// have seen somebody, as long as bans of so many stand; or the hub's stands that has counted failures on so many.
type Rule struct {
	// Epoch is that of the stream: what words of another one say to have seen means nothing here.
	Epoch string
	// Grace is how far servers' clocks may be apart; 0 is DefaultGrace.
	Grace time.Duration
	// Most is the longest time that a ban has in the fleet, from its making on; 0 is DefaultMost.
	Most time.Duration
}

// What a Rule has that says nothing else.
const (
	DefaultGrace = 5 * time.Second
	DefaultMost  = 7 * 24 * time.Hour
)

// word is what the rule wants to know of a ban or a lift. Times are the servers', in milliseconds.
type word struct {
	made, end    int64
	rev, seen, n uint64
	// current: seen is a number of this stream.
	current bool
}

// milli is a time as words have it.
func milli(t time.Time) int64 { return t.UnixMilli() }

func (r Rule) grace() int64 {
	if r.Grace == 0 {
		return DefaultGrace.Milliseconds()
	}
	return r.Grace.Milliseconds()
}

func (r Rule) most() time.Duration {
	if r.Most == 0 {
		return DefaultMost
	}
	return r.Most
}

// word is what s says to the rule. A number that is said to have been seen before it was there
// is none.
func (r Rule) word(s Said) word {
	made := milli(s.Stored) - s.Entry.Age*1000
	return word{
		made: made, end: made + within(s.Entry.Left, r.most()).Milliseconds(),
		rev: s.Rev, seen: min(s.Entry.Seen, s.Rev-1), n: s.Entry.N,
		current: s.Entry.Epoch != "" && s.Entry.Epoch == r.Epoch,
	}
}

// stands is the rule itself.
func stands(b, l word, same bool, grace int64) bool {
	switch {
	case same:
		return b.n > l.n
	case b.current && b.seen >= l.rev:
		return true
	case l.current && l.seen >= b.rev:
		return false
	}
	return b.made > l.made+grace
}

// Stands reports whether a ban stands against a lift, or a distrust, that concerns it.
func (r Rule) Stands(b, l Said) bool {
	return stands(r.word(b), r.word(l), b.Key.Host == l.Key.Host, r.grace())
}

// Concerns reports whether a lift or a distrust is about a ban.
func Concerns(l, b Key) bool {
	switch l.Kind {
	case Distrust:
		return l.Target() == b.Host
	case Lift:
		p, q := l.Prefix(), b.Prefix()
		return l.Group == b.Group && p.Bits() <= q.Bits() && p.Contains(q.Addr())
	}
	return false
}

// Until returns, of all that a stream holds, until when the ban of an address or a network is in force in a
// group, in the servers' time; the zero time: not at all. Quorum is how many hosts must have banned it. It
// looks at everything each time: a View is what remembers.
func (r Rule) Until(held []Said, group string, p netip.Prefix, quorum int) time.Time {
	var ends []int64
	var all int64
	for _, b := range held {
		if b.Key.Kind == Ban && b.Key.Group == group && b.Key.Prefix() == p && !b.Entry.Gone() &&
			!slices.ContainsFunc(held, func(l Said) bool { return Concerns(l.Key, b.Key) && !r.Stands(b, l) }) {
			switch {
			case b.Key.Host != Hub || quorum <= 1:
				ends = append(ends, r.word(b).end)
			case int(b.Entry.Count) >= quorum: // it was counted over so many, of which others may be some
				all = r.word(b).end
			}
		}
	}
	return when(max(nth(ends, quorum), all))
}

// nth is the end until which so many of the bans last; 0: there are fewer.
func nth(ends []int64, quorum int) int64 {
	quorum = max(quorum, 1)
	if len(ends) < quorum {
		return 0
	}
	if quorum == 1 {
		return slices.Max(ends)
	}
	slices.Sort(ends)
	return ends[len(ends)-quorum]
}

// when is a time of words as people have it.
func when(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
