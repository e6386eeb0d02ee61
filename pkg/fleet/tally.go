package fleet

import (
	"net/netip"
	"slices"
	"time"
)

// Bounds of what a host tells of failures.
const (
	// tallyMost is how many addresses are kept; of more, none is told until others are old.
	tallyMost = 10_000
	// tallyEvery is between two words, tallyFull where the one before was full: so a host sends some 8 a second at most.
	tallyEvery = time.Second
	tallyFull  = 125 * time.Millisecond
	// tallyWait is how long an answer is waited for.
	tallyWait = 5 * time.Second
	// tallyRetry and tallyRetryMost are between tries that come to nothing.
	tallyRetry     = 2 * time.Second
	tallyRetryMost = time.Minute
	// tallyAgain is how often all of it is told: a hub that has missed some, or begun anew, knows it then.
	tallyAgain = 2 * time.Minute
	// defaultFind is how long failures are kept until the hub has said how long they count.
	defaultFind = 10 * time.Minute
)

// tally is what an Agent keeps of failures that are counted over all hosts: of each address the newest. It tells what is new, and
// all of it to a hub that may not know.
type tally struct {
	run  string
	find map[string]time.Duration // by group
	shy  map[string]time.Time     // groups that the hub doesn't count, until when they are not told
	at   map[countKey]*failed
	// dirty are those of which the hub is to be told.
	dirty  []countKey
	ticket uint64
	told   []countKey // on their way
	sentAt time.Time
	next   time.Time
	wait   time.Duration
	fresh  bool      // the hub is another one, perhaps: when everything is read, all is told
	again  time.Time // when all is told anyway
	stats  TallyStats
}

type failed struct {
	times []time.Time // the newest first
	dirty bool
}

// TallyStats are what an Agent has told of failures.
type TallyStats struct {
	// Addresses are kept, Waiting of them wait to be told.
	Addresses, Waiting int
	// Failures were handed over; Lost of them were not kept, since there were too many addresses.
	Failures, Lost uint64
	// Told is how many words were counted by the hub, Refused how many not; Why says why not the last time, empty: it was.
	Told, Refused uint64
	Why           Reason
}

func (t *tally) mark(k countKey, f *failed) {
	if !f.dirty {
		f.dirty = true
		t.dirty = append(t.dirty, k)
	}
}

func (t *tally) findOf(group string) time.Duration {
	if d := t.find[group]; d > 0 {
		return d
	}
	return defaultFind
}

// Failed tells of failures that a jail has counted, at a time of the host's.
func (a *Agent) Failed(now time.Time, group string, p netip.Prefix, at time.Time, n int) {
	t := &a.tally
	if !a.policy.Counts[group] || n < 1 || now.Sub(at) >= t.findOf(group) {
		return
	}
	t.stats.Failures += uint64(n)
	k := countKey{group, plain(p)}
	f := t.at[k]
	if f == nil {
		if len(t.at) >= tallyMost {
			t.sweep(now)
		}
		if len(t.at) >= tallyMost {
			t.stats.Lost += uint64(n)
			return
		}
		f = &failed{}
		t.at[k] = f
	}
	for range min(n, AgesMost) {
		i, _ := slices.BinarySearchFunc(f.times, at, func(x, y time.Time) int { return y.Compare(x) })
		f.times = slices.Insert(f.times, i, at)
	}
	f.times = f.times[:min(len(f.times), AgesMost)]
	t.mark(k, f)
}

func (t *tally) sweep(now time.Time) {
	for k, f := range t.at {
		if !f.dirty && (len(f.times) == 0 || now.Sub(f.times[0]) >= t.findOf(k.group)) {
			delete(t.at, k)
		}
	}
}

// forget drops failures that are not later than a lift, or than a ban that they have led to. tell: the hub doesn't know that by itself.
func (a *Agent) forget(group string, p netip.Prefix, until time.Time, tell bool) {
	t := &a.tally
	if len(t.at) == 0 || !a.policy.Counts[group] {
		return
	}
	of := countKey{group, p}
	drop := func(k countKey, f *failed) {
		kept := slices.DeleteFunc(f.times, func(at time.Time) bool { return !at.After(until) })
		if len(kept) < len(f.times) || len(kept) == 0 {
			f.times = kept
			if tell {
				t.mark(k, f)
			}
		}
	}
	if f := t.at[of]; f != nil {
		drop(of, f)
	}
	if p.IsSingleIP() {
		return
	}
	for k, f := range t.at {
		if of.holds(k) {
			drop(k, f)
		}
	}
}

// tellAll has everything told anew: to a hub that may not know of it.
func (t *tally) tellAll() {
	for k, f := range t.at {
		if len(f.times) > 0 {
			t.mark(k, f)
		}
	}
	t.fresh = false
}

// lost is of a connection: what was on its way is told again.
func (t *tally) lost() {
	t.ticket = 0
	for _, k := range t.told {
		if f := t.at[k]; f != nil {
			t.mark(k, f)
		}
	}
	t.told = nil
}

// later has it told again, longer after each time.
func (t *tally) later(now time.Time) {
	t.lost()
	t.wait = min(max(2*t.wait, tallyRetry), tallyRetryMost)
	t.next = now.Add(jitter(t.wait))
}

// tell sends what is new, of one group at a time. It begins when everything is read: so nothing is told that was lifted meanwhile.
func (a *Agent) tell(now time.Time) {
	t := &a.tally
	if t.ticket != 0 && now.Sub(t.sentAt) > tallyWait {
		t.later(now)
	}
	if !a.connected || !a.complete {
		return
	}
	if t.fresh || !now.Before(t.again) {
		t.sweep(now)
		t.tellAll()
		t.again = now.Add(jitter(tallyAgain))
	}
	if len(t.dirty) == 0 || t.ticket != 0 || now.Before(t.next) {
		return
	}
	msg := Failures{Run: t.run}
	size := len(`{"v":1,"run":"","group":"","of":[]}`) + 2*nameMost
	var left []countKey
	full := false
	for i, k := range t.dirty {
		if full {
			left = append(left, t.dirty[i:]...)
			break
		}
		f := t.at[k]
		if f == nil {
			continue
		}
		if now.Before(t.shy[k.group]) {
			left = append(left, k)
			continue
		}
		if msg.Group == "" {
			msg.Group = k.group
		}
		if k.group != msg.Group {
			left = append(left, k)
			continue
		}
		of := FailuresOf{Prefix: k.prefix}
		find := t.findOf(k.group)
		for _, at := range f.times {
			if age := now.Sub(at); age < find {
				of.Ages = append(of.Ages, max(int64((age+time.Second-1)/time.Second), 0)) // up: no younger than it is
			}
		}
		if size += of.bytes(); size > FailuresMost {
			full = true
			left = append(left, k)
			continue
		}
		f.dirty = false
		t.told = append(t.told, k)
		msg.Of = append(msg.Of, of)
	}
	t.dirty = left
	if len(msg.Of) == 0 {
		return
	}
	t.ticket, t.sentAt = a.next(), now
	t.next = now.Add(tallyEvery)
	if full {
		t.next = now.Add(tallyFull)
	}
	a.link.Fail(t.ticket, msg)
}

// Failing tells the hub's answer to failures, or that there is none.
func (a *Agent) Failing(now time.Time, ticket uint64, group string, answer FailAnswer, err error) {
	t := &a.tally
	if ticket != t.ticket {
		return
	}
	t.ticket = 0
	switch {
	case err != nil:
		t.later(now)
	case answer.Reason != "":
		t.stats.Refused++
		t.stats.Why = answer.Reason
		if reasons[answer.Reason] == Refused { // as long as the hub is not told otherwise
			t.shy[group] = now.Add(jitter(tallyRetryMost))
			t.lost()
		} else {
			t.later(now)
		}
	default:
		t.stats.Told++
		t.stats.Why = ""
		t.wait = 0
		t.find[group] = answer.Find
		for _, k := range t.told {
			if f := t.at[k]; f != nil && len(f.times) == 0 && !f.dirty {
				delete(t.at, k)
			}
		}
		t.told = nil
	}
	a.tell(now)
}

// Tally is what was told of failures.
func (a *Agent) Tally() TallyStats {
	s := a.tally.stats
	s.Addresses, s.Waiting = len(a.tally.at), len(a.tally.dirty)+len(a.tally.told)
	return s
}
