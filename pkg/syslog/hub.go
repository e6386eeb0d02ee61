package syslog

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Hub has the listeners of a process, and hands out what they receive. A listener is open as
// long as somebody wants messages of it: several who do share it.
type Hub struct {
	opts   HubOptions
	closed chan struct{}
	begun  chan struct{}
	once   sync.Once
	begin  sync.Once
	tells  sync.Once
	all    sync.WaitGroup
	each   atomic.Int64 // how much may wait for one who wants messages

	// again is when a listener is tried again, look how often it is looked whether there is
	// something to tell.
	again, look time.Duration

	settings atomic.Pointer[Settings]

	mu        sync.Mutex
	listeners map[Address]*listener
	subs      map[string]*Subscriber
}

// HubOptions are those of a hub.
type HubOptions struct {
	Settings Settings
	// Tell tells the operator of something that is wrong; nil: nobody does.
	Tell func(text string)
	// Open makes the socket of an address that this process may not open by itself, bound,
	// and listening if it is one of streams; nil, or without both file and error: nobody does.
	Open func(a Address) (*os.File, error)
	// Inherited are sockets that a service manager has made. They are the hub's.
	Inherited []*os.File
}

// NewHub makes one. Nothing is read before Begin.
func NewHub(o HubOptions) *Hub {
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	h := &Hub{
		opts: o, again: againAfter, look: time.Second, closed: make(chan struct{}), begun: make(chan struct{}),
		listeners: map[Address]*listener{}, subs: map[string]*Subscriber{},
	}
	h.use(o.Settings)
	return h
}

// use has settings hold.
func (h *Hub) use(s Settings) {
	s = s.withDefaults()
	h.settings.Store(&s)
}

// Denied are the addresses that this process may not open by itself, of those that were
// prepared.
func (h *Hub) Denied() (out []Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, l := range h.listeners {
		if errors.Is(l.problem(), unix.EACCES) {
			out = append(out, a)
		}
	}
	return out
}

// Prepare opens those of some addresses that are not Unix sockets, while this process may.
// What can't be opened is tried again when somebody wants it.
func (h *Hub) Prepare(addresses []Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range addresses {
		if h.listeners[a] == nil && !a.IsUnix() {
			l := h.listener(a)
			l.bind()
			h.listeners[a] = l
		}
	}
}

// listener makes one. From the first on, what is lost is told.
func (h *Hub) listener(a Address) *listener {
	h.tells.Do(func() { h.all.Go(h.report) })
	return newListener(h, a)
}

// Begin has the listeners read: everybody is there who wants their messages.
func (h *Hub) Begin() { h.begin.Do(func() { close(h.begun) }) }

// Trim closes listeners that nobody wants.
func (h *Hub) Trim() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, l := range h.listeners {
		if len(*l.subs.Load()) == 0 {
			l.close()
			delete(h.listeners, a)
		}
	}
}

// Configure has other settings hold, and reads the files of TLS anew for listeners at the addresses that
// go on to be wanted. The error is why they can't be read: then it goes on with what was read before.
func (h *Hub) Configure(s Settings, wanted []Address) error {
	h.use(s)
	h.mu.Lock()
	var listeners []*listener
	for _, l := range h.listeners {
		listeners = append(listeners, l)
	}
	h.mu.Unlock()
	var err error
	for _, l := range listeners {
		if l.addr.Kind == TLS && slices.Contains(wanted, l.addr) {
			if c, e := loadTLS(s); e != nil {
				err = e
			} else {
				l.tls.Store(c)
			}
		}
	}
	return err
}

// Listens reports whether there is a listener at an address.
func (h *Hub) Listens(a Address) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listeners[a] != nil
}

// Attach has somebody be given messages from now on. Under a name there is one at a time: who
// takes its place is given what it was not.
func (h *Hub) Attach(name string, w Wants) *Subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.subs[name]
	if s == nil {
		s = &Subscriber{hub: h, name: name, space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
		h.subs[name] = s
	}
	s.mu.Lock()
	s.wants, s.lost, s.stalled = w, 0, false
	s.mu.Unlock()
	h.share()
	return s
}

// Remove forgets somebody, with what waits for him.
func (h *Hub) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[name] != nil {
		delete(h.subs, name)
		h.share()
	}
}

// share gives each listener those who want its messages. Its lock is held.
func (h *Hub) share() {
	h.each.Store(int64(min(max(queuesMost/max(len(h.subs), 1), queueLeast), queueMost)))
	want := map[Address][]*Subscriber{}
	for _, s := range h.subs {
		s.mu.Lock()
		for _, a := range s.wants.Listen {
			if !slices.Contains(want[a], s) {
				want[a] = append(want[a], s)
			}
		}
		s.mu.Unlock()
	}
	select {
	case <-h.closed:
		return
	default:
	}
	for a, l := range h.listeners {
		if want[a] == nil && len(*l.subs.Load()) > 0 {
			l.close()
			delete(h.listeners, a)
		}
	}
	for a, subs := range want {
		l := h.listeners[a]
		if l == nil {
			l = h.listener(a)
			h.listeners[a] = l
		}
		var allow []netip.Prefix
		for _, s := range subs {
			s.mu.Lock()
			for _, p := range s.wants.allowed() {
				if !slices.Contains(allow, p) {
					allow = append(allow, p)
				}
			}
			s.mu.Unlock()
		}
		l.allow.Store(&allow)
		had := *l.subs.Load()
		l.subs.Store(&subs)
		l.start(func(s *Subscriber) bool { return !slices.Contains(had, s) })
	}
}

// queueMost is how much may wait for one who wants messages.
func (h *Hub) queueMost() int { return int(h.each.Load()) }

// listenersOf tells of somebody's listeners.
func (h *Hub) listenersOf(s *Subscriber) (all []Address, errs []error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.wants.Listen {
		if l := h.listeners[a]; l != nil {
			all, errs = append(all, a), append(errs, l.problem())
		}
	}
	return all, errs
}

// Drain has nothing more be read, and waits for what was read to be taken. It returns how many
// messages were not.
func (h *Hub) Drain(ctx context.Context) (left int) {
	h.mu.Lock()
	for _, l := range h.listeners {
		l.close()
	}
	clear(h.listeners)
	subs := make([]*Subscriber, 0, len(h.subs))
	for _, s := range h.subs {
		subs = append(subs, s)
	}
	h.mu.Unlock()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		left = 0
		for _, s := range subs {
			left += s.waiting()
		}
		if left == 0 {
			return 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left
		}
	}
}

// Close closes all listeners, and ends.
func (h *Hub) Close() {
	h.once.Do(func() {
		h.mu.Lock()
		close(h.closed)
		for _, l := range h.listeners {
			l.close()
		}
		clear(h.listeners)
		h.mu.Unlock()
		h.all.Wait()
		for _, f := range h.opts.Inherited {
			f.Close()
		}
	})
}

// report tells of what was lost, once a minute of each listener.
func (h *Hub) report() {
	tick := time.NewTicker(h.look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-h.closed:
			return
		}
		h.mu.Lock()
		var listeners []*listener
		for _, l := range h.listeners {
			listeners = append(listeners, l)
		}
		h.mu.Unlock()
		for _, l := range listeners {
			l.report(time.Now(), false)
		}
	}
}
