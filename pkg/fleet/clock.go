package fleet

import "time"

// The clocks of a host and of the hub. Only durations are told, and only the servers' time is compared with itself; so
// neither has to be right. What does harm is one that is set: this is how it is noticed, and what is done about it.

// stepOff is by how much a clock is set at least for that to be noticed here; less is what words are late by.
const stepOff = time.Minute

// stepAgree is how well two beats agree about a clock that was set.
const stepAgree = 3 * time.Second

// clocks is what an Agent knows of how much the servers' time is ahead of the host's.
type clocks struct {
	ahead  time.Duration // the larger of before and lately
	before time.Duration
	lately time.Duration // since turned
	turned time.Time
	known  bool
	sure   bool // a word that was told live in this life says so
	// by and at are what a beat says and nothing else yet.
	by time.Duration
	at time.Time
	// first is the number of the first word that says so: those from there on have times by the clock that was set. 0: none does.
	first uint64
}

// hear takes the servers' time of a word that came just now. One that was late, as all are of which a host
// hears that slept, has a time that is too early: so the latest of some seconds counts.
func (c *clocks) hear(now time.Time, ahead time.Duration) {
	switch {
	case !c.known:
		c.known, c.before, c.lately, c.turned = true, ahead, ahead, now
	case now.Sub(c.turned) > clockFor:
		c.before, c.lately, c.turned = c.lately, ahead, now
	default:
		c.lately = max(c.lately, ahead)
	}
	c.ahead = max(c.before, c.lately)
}

// far reports whether that is not what words have said until now, by more than they are late by.
func (c *clocks) far(ahead time.Duration) bool {
	off := ahead - c.ahead
	return c.known && (off > stepOff || off < -stepOff)
}

// agrees reports whether a beat says the same of a clock as the one before: then it was set. Words that were
// held up come all at once, and say something else each.
func (c *clocks) agrees(now time.Time, ahead time.Duration) bool {
	off, apart := ahead-c.by, now.Sub(c.at)
	same := !c.at.IsZero() && apart >= BeatEvery/4 && apart < 2*beatsMissed && off < stepAgree && off > -stepAgree
	if !same || c.at.IsZero() {
		c.by, c.at = ahead, now
	}
	return same
}

// clock takes the servers' time of a word. live: it was told just now. A bad word has none.
func (a *Agent) clock(now time.Time, s Said, live bool) {
	if s.Stored.IsZero() {
		return
	}
	a.newest = max(a.newest, s.Rev)
	ahead, c := s.Stored.Sub(now), &a.clocks
	switch {
	case live && !c.sure:
		c.sure = true
		switch {
		case !c.far(ahead):
			c.hear(now, ahead)
		case a.steady: // what was read in this life is by the clock as it is now
			c.first = a.from + 1
			a.stepped(now, ahead)
		default:
			a.woke(now, ahead)
		}
		if a.view.NoLater(a.server(now)) && !a.bulk {
			a.all(now)
		}
	case c.far(ahead): // what was looked up may be old
		if live && c.first == 0 {
			c.first = s.Rev
		}
		if live && s.Key.Kind == Beat && c.agrees(now, ahead) {
			a.stepped(now, ahead)
		}
		return
	default:
		c.at, c.first = time.Time{}, 0
		c.hear(now, ahead)
	}
	if off := c.ahead - a.toldBy; !a.bulk && (off > clockOff || off < -clockOff) {
		a.all(now) // the ends that were told are wrong by as much
	}
}

// woke is of a clock that was set between two lives, the host's or the servers': the servers' is believed. What waits to be said
// was made by the one of before.
func (a *Agent) woke(now time.Time, ahead time.Duration) {
	by := ahead - a.clocks.ahead
	for _, w := range a.out {
		if w.old {
			w.Made = w.Made.Add(-by)
			a.kept.Out, a.dirty = append(a.kept.Out, w.Out), true
		}
	}
	a.clocks.before, a.clocks.lately, a.clocks.ahead, a.clocks.turned = ahead, ahead, ahead, now
	a.stats.Steps++
	a.host.Clock(by, false)
}

// stepped is of the servers' clock, which was set while this host listened. What it holds goes on by the time that passes;
// what it has said itself it says once more, since the stream counts by that clock, and has ended what is over by it.
func (a *Agent) stepped(now time.Time, ahead time.Duration) {
	by := ahead - a.clocks.ahead
	a.clocks.before, a.clocks.lately, a.clocks.ahead, a.clocks.turned, a.clocks.at = ahead, ahead, ahead, now, time.Time{}
	a.since = a.since.Add(by)
	a.view.Shift(by, a.clocks.first)
	a.clocks.first = 0
	if a.toldBy += by; !a.bulk {
		a.all(now)
	}
	a.view.Own(func(o Said) {
		if a.out[o.Key] != nil || !a.counts(o) {
			return
		}
		a.enqueue(Out{Key: o.Key, Entry: o.Entry, Made: a.local(o.Stored)}, now)
		w := a.out[o.Key]
		w.anew, w.phase = true, doubted
	})
	a.stats.Steps++
	a.host.Clock(by, true)
	a.KeepAll(now)
}

// counts reports whether something that this host has said is to be said again. A ban that others have lifted is not: who has
// lifted it may not be there to say so.
func (a *Agent) counts(o Said) bool {
	return o.Key.Kind != Ban || o.Entry.Gone() || a.view.Stands(o.Key)
}

// right reports whether the stream has a word with the time at which it was made.
func (a *Agent) right(w *waiting, s Said) bool {
	off := s.Stored.Add(-time.Duration(s.Entry.Age) * time.Second).Sub(a.server(w.Made))
	return off < stepOff && off > -stepOff
}

// NoLater has no word be made later than now, in the servers' time: it is by a clock that was set back since, and what it says lasts
// no longer than it says. It reports whether there was one.
func (v *View) NoLater(now time.Time) (some bool) {
	v.records.each(func(r *record) {
		if r.made > milli(now.Add(stepOff)) {
			r.made, some = milli(now), true
		}
	})
	return some
}

// Shift moves the times at which words were made that are before a number in the stream: there the servers' clock was set.
func (v *View) Shift(by time.Duration, before uint64) {
	v.records.each(func(r *record) {
		if r.rev < before {
			r.made += by.Milliseconds()
		}
	})
	for i := range v.origins {
		if v.origins[i].distrusted && v.origins[i].distrust.rev < before {
			v.origins[i].distrust.made += by.Milliseconds()
		}
	}
}
