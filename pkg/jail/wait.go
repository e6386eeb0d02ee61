package jail

import (
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/chain"
	"bailiff/pkg/clock"
	"bailiff/pkg/filter"
)

// waitingFailures wait for something to be said of them; and what of that is told.
type waitingFailures struct {
	names                     waitlist[string]
	checks                    checks
	pasts                     pasts
	gaveUp, unasked, takenNew given
	unheard                   *unheard  // nil: the store has told what it knows
	waits                     *alarm    // when the next of them has waited for long enough
	waitsAt                   time.Time // that; zero: none
}

// Failures that wait for something outside the jail to be said of them: the address of
// a name, the word of ignorecommand, how often an address was banned before. They are
// the jail's goroutine's; who finds it out only knows the key. How many wait is
// bounded, and what is over the bound is handed on without an answer, the oldest first.

const (
	// waitingMost is how many failures wait in one jail, for each kind of answer.
	waitingMost = 10_000
	// waitingBytes is how many bytes of lines, and of what was found in them, wait.
	waitingBytes = 8 << 20
)

// found is a failure on its way to be counted.
type found struct {
	id      ban.ID
	at      time.Time // steady
	catchUp bool
	written int64  // when its line was written, as source.Moment has it; 0: it is not known, or was there at the start
	log     string // in which its line stands
	failure filter.Failure
	times   int // for how many it counted; 0: as ever
	// forgiven says that its user has logged in while it waited.
	forgiven bool
}

// ban is the ban that it may lead to.
func (q *found) ban() ban.Ban { return ban.Ban{ID: q.id, IP: ban.AddressOf(q.failure.IP)} }

// who is whose failure it is, for the log.
func (q *found) who() string {
	if q.failure.IP.IsValid() {
		return q.ban().Told()
	}
	return ban.Told(q.id)
}

// told is when it was, as it is said to people: what its line says, if it has one.
func (q *found) told(c *clock.Clock) time.Time {
	if q.failure.Time.IsZero() {
		return c.ToWall(q.at)
	}
	return q.failure.Time
}

// waitlist holds failures by what they wait for.
type waitlist[K comparable] struct {
	by    map[K]*waiting[K]
	order chain.List[waiting[K], *waiting[K]] // the one that waits for longest first
	n     int                                 // failures
	bytes int                                 // of waitingBytes
}

type waiting[K comparable] struct {
	chain.Links[waiting[K]] // in waitlist.order

	key      K
	failures []found
	bytes    int
	until    time.Time // then it waits no longer; zero: whoever answers says so
	asked    bool
}

// add has a failure wait. It returns what waits for the same key with it, and, if there
// is no room, what must wait no longer: the one that has waited for longest, or of
// these perKey that wait for the same key, the oldest.
func (l *waitlist[K]) add(key K, q found, perKey int) (w *waiting[K], over []found) {
	if l.by == nil {
		l.by = map[K]*waiting[K]{}
	}
	w = l.by[key]
	if w == nil {
		w = &waiting[K]{key: key}
		l.order.Append(w)
		l.by[key] = w
	}
	size := sizeOf(&q.failure)
	w.failures = append(w.failures, q)
	w.bytes += size
	l.bytes += size
	l.n++
	if len(w.failures) > perKey {
		size := sizeOf(&w.failures[0].failure)
		over = append(over, w.failures[0])
		w.failures = append(w.failures[:0], w.failures[1:]...)
		w.bytes -= size
		l.bytes -= size
		l.n--
	}
	for (l.n > waitingMost || l.bytes > waitingBytes) && l.order.First() != w {
		over = append(over, l.take(l.order.First().key)...)
	}
	return w, over
}

// sizeOf is about how many bytes a failure holds.
func sizeOf(f *filter.Failure) (n int) {
	n = len(f.ID)
	for _, lines := range [][]filter.Line{f.Lines, f.NofailLines} {
		for _, l := range lines {
			n += len(l.Before) + len(l.Date) + len(l.After)
		}
	}
	for name := range f.Groups {
		text, _ := f.Groups.Text(name)
		n += len(text)
	}
	for _, u := range f.Users {
		n += len(u)
	}
	return n
}

// take takes out what waits for a key.
func (l *waitlist[K]) take(key K) []found {
	w := l.by[key]
	if w == nil {
		return nil
	}
	delete(l.by, key)
	l.order.Remove(w)
	l.n -= len(w.failures)
	l.bytes -= w.bytes
	return w.failures
}

// late takes out what has waited for as long as it may.
func (l *waitlist[K]) late(now time.Time) (out []found) {
	for w := range l.order.All() {
		if w.until.IsZero() || now.Before(w.until) {
			break
		}
		out = append(out, l.take(w.key)...)
	}
	return out
}
