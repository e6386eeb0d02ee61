package jail

import (
	"context"
	"net/netip"
	"time"
)

// Host names in a log are looked up beside the way of the lines: an attacker who
// runs a slow name server holds up nobody's ban.

const (
	lookupTimeout = 5 * time.Second
	lookups       = 8    // at once
	namesWaiting  = 1000 // more hold the reader back: the log is the queue
	namesCached   = 1000
	nameTTL       = 5 * time.Minute
)

type question struct {
	name    string
	at      time.Time
	catchUp bool
}

type answer struct {
	question
	addrs []netip.Addr
	err   error
	asked time.Time
}

// resolver belongs to one jail: ask is called by its goroutine only.
type resolver struct {
	questions chan question
	answers   chan answer
	ctx       context.Context
}

func newResolver(ctx context.Context, lookup func(context.Context, string) ([]netip.Addr, error)) *resolver {
	r := &resolver{questions: make(chan question, namesWaiting), answers: make(chan answer, lookups), ctx: ctx}
	for range lookups {
		go r.work(lookup)
	}
	return r
}

func (r *resolver) work(lookup func(context.Context, string) ([]netip.Addr, error)) {
	cache := map[string]answer{} // one a worker: a name is soon known to all
	for {
		var q question
		select {
		case <-r.ctx.Done():
			return
		case q = <-r.questions:
		}
		a, ok := cache[q.name]
		if !ok || time.Since(a.asked) > nameTTL {
			ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
			addrs, err := lookup(ctx, q.name)
			cancel()
			a = answer{addrs: addrs, err: err, asked: time.Now()}
			if len(cache) >= namesCached {
				clear(cache)
			}
			cache[q.name] = a
		}
		a.question = q
		select {
		case r.answers <- a:
		case <-r.ctx.Done():
			return
		}
	}
}

// ask hands a name over. While too many wait, it deals with answers: those who
// give them must not wait for the one who asks.
func (r *resolver) ask(q question, resolved func(answer)) {
	for {
		select {
		case r.questions <- q:
			return
		case a := <-r.answers:
			resolved(a)
		case <-r.ctx.Done():
			return
		}
	}
}
