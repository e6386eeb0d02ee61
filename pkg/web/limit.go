package web

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// How often somebody may try to log in, by his address: of IPv6 by his network, since whoever has
// one address has a /64.

const (
	triesAtOnce = 10
	triesEvery  = 30 * time.Second // one more
	triesKept   = 10_000           // addresses; beyond, the one that tried longest ago is forgotten
)

// limit counts tries.
type limit struct {
	now   func() time.Time
	mu    sync.Mutex
	by    map[netip.Prefix]*list.Element
	order *list.List // of *tries, who tried last first
}

type tries struct {
	who  netip.Prefix
	left float64
	at   time.Time
}

func newLimit(now func() time.Time) *limit {
	return &limit{now: now, by: map[netip.Prefix]*list.Element{}, order: list.New()}
}

// networkOf is by what an address is counted; of who has none all are one.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// take has somebody try once more, or reports that he may not now.
func (l *limit) take(a netip.Addr) bool {
	who := networkOf(a)
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.by[who]
	if e == nil {
		if l.order.Len() >= triesKept {
			last := l.order.Back()
			delete(l.by, last.Value.(*tries).who)
			l.order.Remove(last)
		}
		e = l.order.PushFront(&tries{who: who, left: triesAtOnce, at: now})
		l.by[who] = e
	}
	t := e.Value.(*tries)
	l.order.MoveToFront(e)
	if d := now.Sub(t.at); d > 0 {
		t.left = min(triesAtOnce, t.left+float64(d)/float64(triesEvery))
	}
	t.at = now
	if t.left < 1 {
		return false
	}
	t.left--
	return true
}

// right gives back what somebody took who had the right password.
func (l *limit) right(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.by[networkOf(a)]; e != nil {
		t := e.Value.(*tries)
		t.left = min(triesAtOnce, t.left+1)
	}
}
