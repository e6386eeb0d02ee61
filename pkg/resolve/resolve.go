// Package resolve asks name servers beside the way of those who want to know: many
// names at a time, each once, and never without a bound. Whoever asks is called back
// with the answer, and waits for nothing.
//
// The names that are asked for may be an attacker's, and so may be the server that
// answers for them. So the answers are kept, those that say no, too; how many names
// wait is bounded; and a server that keeps silent is noticed, so that it costs each
// name a second and not five. What waits while it is silent is asked again and again
// until it answers.
//
//	names := resolve.New(lookup, tell)
//	if a, known := names.Ask(jail, "host.example.org", func(a resolve.Answer) { … }); known { … }
package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/chain"
)

// The bounds. Those of time are variables so that tests need not wait.
const (
	// AtOnce is how many names are looked up at a time.
	AtOnce = 8
	// Waiting is how many names wait for an answer; with more, the one that has waited
	// for longest is given up.
	Waiting = 1000
	// Kept is how many answers are kept.
	Kept = 10_000
	// longestName is that of the DNS, with the dots.
	longestName = 253
	// silentAfter is after how many questions in a row without an answer a name server
	// is taken for silent.
	silentAfter = AtOnce
	// tries is how often a name is asked for while the server answers others.
	tries = 2
)

var (
	timeout     = 5 * time.Second // for one question
	brief       = time.Second     // the same, while the server is silent
	again       = 5 * time.Second // between two questions for the same name
	keepAddrs   = 5 * time.Minute
	keepNone    = time.Minute
	waitLongest = 10 * time.Minute // then a name is given up
)

// Lookup finds the addresses of a name.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// Answer is what is known of a name.
type Answer struct {
	Addrs []netip.Addr
	// Err says why there are none: the server's word, or a *GivenUpError.
	Err error
}

// GivenUpError says that a name was not looked up, or not to the end.
type GivenUpError struct {
	// Crowded: more than Waiting names waited. Else, no server answered for a while.
	Crowded bool
}

func (e *GivenUpError) Error() string {
	if e.Crowded {
		return fmt.Sprintf("more than %d names wait for the name server", Waiting)
	}
	return "no name server answers"
}

// Names looks names up. It is safe for concurrent use.
type Names struct {
	lookup Lookup
	tell   func(silent bool, waiting int)

	mu      sync.Mutex
	known   map[string]known
	kept    []string // the names of known in the order in which they came
	waiting map[string]*question
	arrived []*question                     // of waiting, the oldest first; others that are over among them
	next    chain.List[question, *question] // those that wait and are not asked just now
	running int
	streak  int // questions in a row without an answer
	silent  bool
	timer   *time.Timer
	closed  bool
}

type known struct {
	Answer
	until time.Time
}

// question is a name that somebody waits for.
type question struct {
	chain.Links[question] // in Names.next

	name    string
	since   time.Time
	asked   time.Time // the last time
	tries   int       // while the server answered others
	running bool
	over    bool // answered, or given up
	who     map[any]func(Answer)
}

// New returns a resolver. tell, if not nil, is told when the name server becomes
// silent, with how many names wait, and when it answers again.
func New(lookup Lookup, tell func(silent bool, waiting int)) *Names {
	n := &Names{lookup: lookup, tell: tell, known: map[string]known{}, waiting: map[string]*question{}}
	n.timer = time.AfterFunc(time.Hour, n.wake)
	n.timer.Stop()
	return n
}

// Ask returns what is known of a name, or has got called when it is known, from
// another goroutine. Of one asker, the last got is called.
func (n *Names) Ask(who any, name string, got func(Answer)) (a Answer, ok bool) {
	if len(name) > longestName {
		return Answer{Err: fmt.Errorf("longer than %d bytes: no name of a host", longestName)}, true
	}
	now := time.Now()
	n.mu.Lock()
	if k, ok := n.known[name]; ok && now.Before(k.until) {
		n.mu.Unlock()
		return k.Answer, true
	}
	if n.closed {
		n.mu.Unlock()
		return Answer{Err: &GivenUpError{}}, true
	}
	q := n.waiting[name]
	var crowded *question
	if q == nil {
		q = &question{name: name, since: now, who: map[any]func(Answer){}}
		if len(n.waiting) >= Waiting {
			crowded = n.oldest()
		}
		n.waiting[name] = q
		n.arrive(q)
		n.next.Append(q)
		n.pump(now)
	}
	q.who[who] = got
	n.mu.Unlock()
	if crowded != nil {
		crowded.answer(Answer{Err: &GivenUpError{Crowded: true}})
	}
	return Answer{}, false
}

// Forget has an asker called no more.
func (n *Names) Forget(who any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.waiting {
		if delete(q.who, who); len(q.who) == 0 && !q.running {
			n.drop(q)
		}
	}
}

// Waiting returns how many names wait, and whether the name server is silent.
func (n *Names) Waiting() (names int, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.waiting), n.silent
}

// Close asks nothing more.
func (n *Names) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.timer.Stop()
	clear(n.waiting)
	n.next = chain.List[question, *question]{}
}

// answer calls those who asked. The question is nobody's any more.
func (q *question) answer(a Answer) {
	for _, got := range q.who {
		got(a)
	}
}

// arrive keeps account of who came when. The caller holds the lock.
func (n *Names) arrive(q *question) {
	if len(n.arrived) > 2*Waiting {
		n.arrived = slices.DeleteFunc(n.arrived, func(q *question) bool { return q.over })
	}
	n.arrived = append(n.arrived, q)
}

// oldest takes out what has waited for longest. The caller holds the lock.
func (n *Names) oldest() *question {
	for n.arrived[0].over {
		n.arrived = n.arrived[1:]
	}
	q := n.arrived[0]
	n.drop(q)
	return q
}

// drop has nobody wait for a question. The caller holds the lock.
func (n *Names) drop(q *question) {
	delete(n.waiting, q.name)
	q.over = true
	if !q.running {
		n.next.Remove(q)
	}
}

// wake goes on with what waits for its time, and gives up what has waited for too long.
func (n *Names) wake() {
	now := time.Now()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	late := n.late(now)
	n.pump(now)
	n.mu.Unlock()
	giveUp(late)
}

// late takes out what has waited for too long; the caller holds the lock. The timer alone
// would not do: each look-up that comes back sets it anew, and where they come back all
// the time it never rings.
func (n *Names) late(now time.Time) (late []*question) {
	for len(n.arrived) > 0 {
		q := n.arrived[0]
		if !q.over {
			if now.Sub(q.since) < waitLongest {
				break
			}
			n.drop(q)
			late = append(late, q)
		}
		n.arrived = n.arrived[1:]
	}
	return late
}

func giveUp(late []*question) {
	for _, q := range late {
		q.answer(Answer{Err: &GivenUpError{}})
	}
}

// pump asks for what may be asked for now. The caller holds the lock.
func (n *Names) pump(now time.Time) {
	for n.running < AtOnce && n.next.First() != nil {
		q := n.next.First() // who was asked for last stands last
		if wait := q.asked.Add(again).Sub(now); !q.asked.IsZero() && wait > 0 {
			n.timer.Reset(wait)
			return
		}
		n.next.Remove(q)
		q.running, q.asked = true, now
		n.running++
		limit := timeout
		if n.silent {
			limit = brief
		}
		go n.ask(q, limit)
	}
	if len(n.waiting) > 0 {
		n.timer.Reset(again)
	}
}

// ask asks for a name once. The place among those that are asked at a time is given
// back when the look-up returns, so that look-ups that hang (reading /etc/hosts, say)
// don't become more and more; but nobody waits for that.
func (n *Names) ask(q *question, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	hung := time.AfterFunc(limit+limit/2, func() { n.back(q, Answer{Err: context.DeadlineExceeded}, false) })
	addrs, err := n.lookup(ctx, q.name)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no addresses")
	}
	n.back(q, Answer{Addrs: addrs, Err: err}, true)
	hung.Stop()
}

// back takes what a look-up brought. returned: its place is free.
func (n *Names) back(q *question, a Answer, returned bool) {
	now := time.Now()
	late := unanswered(a.Err)
	n.mu.Lock()
	if returned {
		n.running--
	}
	wasSilent := n.silent
	done := false // there is an answer
	switch {
	case !q.running: // it hung, and was taken for unanswered then
		if !late && !n.closed {
			n.keep(q.name, a, now)
		}
	case late:
		q.running = false
		if n.streak++; n.streak >= silentAfter {
			n.silent = true
		}
		if !n.silent {
			q.tries++
		}
		switch {
		case q.over || n.closed:
		case q.tries >= tries:
			n.keep(q.name, a, now)
			delete(n.waiting, q.name)
			q.over, done = true, true
		case len(q.who) == 0:
			delete(n.waiting, q.name)
			q.over = true
		default:
			n.next.Append(q)
		}
	default:
		q.running = false
		n.keep(q.name, a, now)
		if done = !q.over && !n.closed; done {
			delete(n.waiting, q.name)
			q.over = true
		}
	}
	if !late {
		n.streak = 0
		if n.silent {
			n.silent = false
			for x := range n.next.All() {
				x.asked = time.Time{} // at once
			}
		}
	}
	var given []*question
	if !n.closed {
		given = n.late(now)
		n.pump(now)
	}
	silent, waiting := n.silent, len(n.waiting)
	n.mu.Unlock()
	giveUp(given)
	if silent != wasSilent && n.tell != nil {
		n.tell(silent, waiting)
	}
	if done {
		q.answer(a)
	}
}

// keep remembers an answer. The caller holds the lock.
func (n *Names) keep(name string, a Answer, now time.Time) {
	lasts := keepAddrs
	if a.Err != nil {
		lasts = keepNone
	}
	if _, ok := n.known[name]; !ok {
		if len(n.kept) >= Kept {
			delete(n.known, n.kept[0])
			n.kept = n.kept[1:]
		}
		n.kept = append(n.kept, name)
	}
	n.known[name] = known{a, now.Add(lasts)}
}

// unanswered reports whether an error means that nobody said anything.
func unanswered(err error) bool {
	if err == nil {
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound && !slices.Contains(answers, dns.Err)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// answers are errors of package net that a name server's word stands behind. With the
// others (a refused connection, a timeout) there was none.
var answers = []string{"server misbehaving", "lame referral", "cannot unmarshal DNS message", "invalid DNS response", "no suitable address"}
