package jail

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/filter"
)

// What takes its time is asked beside the way of the lines, so that an attacker
// who runs a slow name server, or makes a command slow, holds up nobody else's
// ban: names are looked up, and ignorecommand is run, by a few workers.

const (
	lookupTimeout = 5 * time.Second
	lookups       = 8    // at once
	waiting       = 1000 // more hold the reader back: the log is the queue
	namesCached   = 1000
	nameTTL       = 5 * time.Minute
)

// found is a failure on its way to be counted.
type found struct {
	id      netip.Prefix
	at      time.Time // steady
	catchUp bool
	failure filter.Failure
}

// told is when it was, as it is said to people: what its line says, if it has one.
func (q *found) told(c *clock.Clock) time.Time {
	if q.failure.Time.IsZero() {
		return c.ToWall(q.at)
	}
	return q.failure.Time
}

// pool answers questions of one jail: ask is called by its goroutine only.
type pool[Q, A any] struct {
	questions chan *Q // pointers: room for many, and mostly empty
	answers   chan A
	ctx       context.Context
}

// newPool starts workers, each with an answering function of its own.
func newPool[Q, A any](ctx context.Context, workers int, worker func() func(context.Context, Q) A) *pool[Q, A] {
	p := &pool[Q, A]{questions: make(chan *Q, waiting), answers: make(chan A, workers), ctx: ctx}
	for range workers {
		go p.work(worker())
	}
	return p
}

func (p *pool[Q, A]) work(answer func(context.Context, Q) A) {
	for {
		var q *Q
		select {
		case <-p.ctx.Done():
			return
		case q = <-p.questions:
		}
		a := answer(p.ctx, *q)
		select {
		case p.answers <- a:
		case <-p.ctx.Done():
			return
		}
	}
}

// ask hands a question over. While too many wait, it deals with answers: those
// who give them must not wait for the one who asks.
func (p *pool[Q, A]) ask(q Q, got func(A)) {
	for {
		select {
		case p.questions <- &q:
			return
		case a := <-p.answers:
			got(a)
		case <-p.ctx.Done():
			return
		}
	}
}

// resolved is a failure of a host name with the addresses of that.
type resolved struct {
	found
	addrs []netip.Addr
	err   error
}

// lookupWorker looks host names up and keeps what it found for a while.
func lookupWorker(lookup func(context.Context, string) ([]netip.Addr, error)) func() func(context.Context, found) resolved {
	type known struct {
		addrs []netip.Addr
		err   error
		asked time.Time
	}
	return func() func(context.Context, found) resolved {
		cache := map[string]known{} // one a worker: a name is soon known to all
		return func(ctx context.Context, q found) resolved {
			name := q.failure.ID
			k, ok := cache[name]
			if !ok || time.Since(k.asked) > nameTTL {
				limited, cancel := context.WithTimeout(ctx, lookupTimeout)
				k.addrs, k.err = lookup(limited, name)
				cancel()
				k.asked = time.Now()
				if len(cache) >= namesCached {
					clear(cache)
				}
				cache[name] = k
			}
			return resolved{q, k.addrs, k.err}
		}
	}
}

// cache remembers answers for a while, at most so many: the oldest goes first.
type cache struct {
	most int
	ttl  time.Duration

	mu      sync.Mutex
	answers map[string]cached
	order   []string
}

type cached struct {
	answer bool
	until  time.Time
}

func (c *cache) get(key string, now time.Time) (answer, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[key]
	if !ok || !a.until.After(now) {
		return false, false
	}
	return a.answer, true
}

func (c *cache) set(key string, answer bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[string]cached{}
	}
	if _, ok := c.answers[key]; !ok {
		for len(c.order) >= c.most {
			delete(c.answers, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, key)
	}
	c.answers[key] = cached{answer, now.Add(c.ttl)}
}
