package fleet

import (
	"errors"
	"slices"
	"time"
)

var errNoAnswer = errors.New("the hub does not answer")

// ErrNoResponders is an answer to a put that nobody took: there is no hub behind the server.
var ErrNoResponders = errors.New("no hub listens there")

// phase is how far something is that this host says.
type phase uint8

const (
	fresh   phase = iota // to be put
	sent                 // put, and no answer yet
	doubted              // put perhaps: to be looked at before it is put again
	looking              // being looked at
	stored               // the hub has it; it stays here until it has come back, for the stream may be lost
)

type waiting struct {
	Out
	phase  phase
	ticket uint64
	at     time.Time
	expect uint64
	known  bool // expect was looked up
	again  time.Time
	wait   time.Duration
	gone   bool // another has taken its place, or it is done
	queued bool // it is in the queue
	old    bool // it is of a life before this one
	anew   bool // the stream has it, perhaps with a time that is not right any more
}

// Say has the host say something. Its number, and what it has seen, are added; what waits under the same key
// is not said any more. What is to be kept of it is returned, for the ban's own transaction; it goes to the hub when that
// is known to be done (Release), or Start.Hold is over.
func (a *Agent) Say(now time.Time, k Key, e Entry) Out {
	a.n++
	e.N, e.Seen, e.Epoch, e.Age = a.n, a.cursor, a.policy.Epoch, 0
	o := Out{Key: k, Entry: e, Made: now}
	a.dirty = true
	if k.Kind == Lift || e.Gone() {
		a.forget(k.Group, k.addr, now, true)
	}
	a.enqueue(o, now)
	a.out[k].again = now.Add(a.hold)
	if k.Kind == Lift && !a.view.Until(k.Group, k.addr).IsZero() { // here it is so at once
		a.host.Changed(Change{Group: k.Group, Prefix: k.addr, Was: true, Cause: Said{Key: k, Entry: e}})
	}
	a.send(now)
	return o
}

// Release has go to the hub what the host has kept.
func (a *Agent) Release(now time.Time, some []Out) {
	for _, o := range some {
		if w := a.out[o.Key]; w != nil && w.Entry.N == o.Entry.N && w.wait == 0 && w.again.After(now) {
			w.again = now
			a.push(w)
		}
	}
	a.send(now)
}

// enqueue has something wait to be said. Where too much waits, the oldest ban is given up: it is in force here.
func (a *Agent) enqueue(o Out, now time.Time) {
	w := &waiting{Out: o, again: now}
	old := a.out[o.Key]
	if old != nil {
		old.gone = true
		if old.phase == sent || old.phase == looking {
			a.flight--
		}
		if old.phase != fresh || old.known {
			w.phase = doubted
		}
	} else {
		for tries := len(a.queue); len(a.out) >= outMost && tries > 0; tries-- {
			first := a.pop()
			if first.Key.Kind == Ban && !first.Entry.Gone() {
				a.done(first)
			} else if !first.gone {
				a.push(first)
			}
		}
	}
	a.out[o.Key] = w
	a.order = append(a.order, w)
	a.push(w)
}

func (a *Agent) push(w *waiting) {
	if w.phase == fresh && !w.queued {
		w.queued = true
		a.queue = append(a.queue, w)
	}
}

func (a *Agent) pop() *waiting {
	w := a.queue[0]
	a.queue = a.queue[1:]
	w.queued = false
	return w
}

// done takes something off the outbox.
func (a *Agent) done(w *waiting) {
	if w.gone {
		return
	}
	w.gone = true
	if w.phase == sent || w.phase == looking {
		a.flight--
	}
	delete(a.out, w.Key)
	a.kept.Done, a.dirty = append(a.kept.Done, w.Out), true
	if w.Key.Kind == Lift { // it was let in here until now, whatever others say
		if until := a.view.Until(w.Key.Group, w.Key.addr); !until.IsZero() && !a.bulk {
			a.host.Changed(a.told(Change{Group: w.Key.Group, Prefix: w.Key.addr, Until: until}))
		}
	}
}

// doubt is of what may have been stored.
func (a *Agent) doubt(w *waiting, now time.Time) {
	if w.phase == sent || w.phase == looking {
		a.flight--
		w.phase, w.ticket, w.again = doubted, 0, now
	}
}

// again has something put as if it never had been: into another stream.
func (a *Agent) again(w *waiting, now time.Time) {
	if w.phase == sent || w.phase == looking {
		a.flight--
	}
	w.phase, w.ticket, w.again, w.wait, w.expect, w.known = fresh, 0, now, 0, 0, false
	a.push(w)
}

// echo takes a word of this host's own that the stream has.
func (a *Agent) echo(s Said) {
	if w := a.out[s.Key]; w != nil && s.Entry.N >= w.Entry.N {
		a.done(w)
	}
}

// send puts what may be put now.
func (a *Agent) send(now time.Time) {
	for a.connected && a.flight < flightMost && len(a.queue) > 0 && !now.Before(a.pause) {
		if w := a.pop(); !w.gone && w.phase == fresh && !now.Before(w.again) && (!w.old || a.clocks.sure) {
			a.put(w, now)
		}
	}
}

// see looks through all that waits: for what was not answered, and for what is to be asked again by now.
func (a *Agent) see(now time.Time) {
	a.order = slices.DeleteFunc(a.order, func(w *waiting) bool { return w.gone })
	late := false
	for _, w := range a.order {
		if (w.phase == sent || w.phase == looking) && now.Sub(w.at) > ackPatience {
			late = late || w.phase == sent && now.Sub(a.acked) > ackPatience
			a.doubt(w, now)
		}
		switch {
		case w.gone || now.Before(w.again):
		case w.phase == stored:
			if _, over := a.aged(w, now); over {
				a.done(w) // it ended before it came back
			}
		case w.phase == fresh:
			a.push(w)
		case w.phase == doubted && a.connected && a.flight < flightMost:
			w.phase, w.ticket, w.at = looking, a.next(), now
			a.flight++
			a.link.Look(w.ticket, w.Key)
		}
	}
	if late && a.connected {
		a.acked = now
		a.move(now)
	}
	a.send(now)
}

// put asks the hub to store something, if there still is something to be stored.
func (a *Agent) put(w *waiting, now time.Time) {
	held, known := a.view.Word(w.Key)
	if known && held.Entry.N >= w.Entry.N && !w.anew {
		a.done(w) // it came into the stream before a restart; a second number there would make it look unseen
		return
	}
	if !w.known {
		w.expect = 0
		if known {
			w.expect = held.Rev
		}
	}
	e, over := a.aged(w, now)
	if over {
		if e.Left == 0 || w.expect == 0 {
			a.done(w)
			return
		}
		e.Left = 0 // what it replaces may be longer
		if _, over = e.TTL(w.Key.Kind, a.policy.most()); over {
			a.done(w)
			return
		}
	}
	w.phase, w.ticket, w.at = sent, a.next(), now
	a.flight++
	a.stats.Sent++
	a.link.Put(w.ticket, w.Key, Put{Expect: w.expect, Entry: e})
}

// aged is the entry with its age, and whether it means nothing any more.
func (a *Agent) aged(w *waiting, now time.Time) (e Entry, over bool) {
	e = w.Entry
	e.Age = min(max(int64(now.Sub(w.Made)/time.Second), 0), secondsMost)
	_, over = e.TTL(w.Key.Kind, a.policy.most())
	return e, over
}

// Answered tells the hub's answer to a put, or that there is none.
func (a *Agent) Answered(now time.Time, ticket uint64, k Key, answer Answer, err error) {
	w := a.out[k]
	if w == nil || w.ticket != ticket || w.phase != sent {
		return
	}
	w.ticket = 0
	a.flight--
	w.phase = fresh
	switch {
	case errors.Is(err, ErrNoResponders):
		a.later(now)
	case err != nil:
		w.phase, w.again = doubted, now.Add(jitter(backoffMin))
	case answer.Status == Stored:
		a.acked, a.pause, a.wait = now, time.Time{}, 0
		a.stats.Stored++
		w.phase = stored
	case answer.Status == Conflict:
		a.acked = now
		a.stats.Conflicts++
		w.phase, w.again = doubted, now
	case answer.Status == Busy:
		a.acked = now
		a.stats.Busy++
		if answer.Reason == Quota {
			w.later(now, quotaAgain)
		} else {
			a.later(now)
		}
	case answer.Reason == BadSeen && w.Entry.Epoch != "":
		// The stream was put back, and the beat hasn't said so yet.
		a.acked = now
		w.Entry.Epoch, w.Entry.Seen = "", 0
		a.kept.Out, a.dirty = append(a.kept.Out, w.Out), true
		a.again(w, now)
	default:
		a.acked = now
		a.stats.Refused++
		a.done(w)
		a.host.Refused(w.Out, answer.Reason)
	}
	if !w.gone && !now.Before(w.again) {
		a.push(w)
	}
	a.send(now)
}

// later has all puts wait, longer each time.
func (a *Agent) later(now time.Time) {
	if now.Before(a.pause) {
		return // one of many that were on their way
	}
	a.wait = longer(a.wait, backoffMost)
	a.pause = now.Add(jitter(a.wait))
}

// later has one word wait, longer each time.
func (w *waiting) later(now time.Time, most time.Duration) {
	w.wait = longer(w.wait, most)
	w.again = now.Add(jitter(w.wait))
}

// longer is the wait behind one that was not enough.
func longer(wait, most time.Duration) time.Duration { return min(max(2*wait, backoffMin), most) }

// Looked tells what the stream holds under a key. Found false: nothing.
func (a *Agent) Looked(now time.Time, ticket uint64, k Key, s Said, found bool, err error) {
	if k.Kind == Beat {
		if err == nil && found {
			// A server that is behind may have an old one.
			if s.Epoch != a.policy.Epoch || s.Rev > a.beat {
				a.clock(now, s, false)
				a.take(now, s)
			}
		}
		return
	}
	w := a.out[k]
	if w == nil || w.ticket != ticket || w.phase != looking {
		return
	}
	w.ticket = 0
	a.flight--
	w.phase = doubted
	switch {
	case err != nil:
		w.later(now, backoffMost)
	case found && s.Entry.N >= w.Entry.N && (!w.anew || s.Entry.N > w.Entry.N || a.right(w, s)):
		w.phase = stored
		if s.Rev <= a.cursor {
			a.done(w)
		}
	default:
		w.phase, w.known, w.expect = fresh, true, 0
		if found {
			w.expect = s.Rev
		}
		if w.wait == 0 { // the first time at once
			w.again = now
			a.push(w)
		} else {
			w.again = now.Add(jitter(w.wait))
		}
		w.wait = min(max(2*w.wait, askAgain), backoffMost)
	}
	a.send(now)
}
