package syslog

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Wants say what somebody wants to be given.
type Wants struct {
	Listen []Address
	// Allow are the networks of who may send by UDP, TCP and TLS; nil: this host alone.
	Allow []netip.Prefix
	Match Match
	// Apart: what is handed out at a time is of one sender.
	Apart bool
	// Notify tells of what becomes of a listener; nil: nobody is told.
	Notify func(Event)
}

// Event is what becomes of a listener.
type Event struct {
	Listen Address
	Err    error // why it can't be read; nil: it is
	Text   string
}

// loopback is who may send where nobody is named.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func (w *Wants) allowed() []netip.Prefix {
	if len(w.Allow) == 0 {
		return loopback
	}
	return w.Allow
}

// Item is a message as it came.
type Item struct {
	Message
	// Received is when, and From who sent it: an address, or the name of this host where it
	// came over a Unix socket.
	Received time.Time
	From     string
	Listen   Address

	from *sender
	size int
}

// Subscriber is somebody who wants messages.
type Subscriber struct {
	hub  *Hub
	name string

	mu    sync.Mutex
	wants Wants
	queue queue
	// out was handed out, and nobody has said that it was taken.
	out      []*Delivery
	outBytes int
	back     []Item // was handed out, and given back
	lost     int    // since it was attached
	stalled  bool   // it has not taken anything for a while: nobody waits for it
	space    chan struct{}
	ready    chan struct{}
}

// Delivery is some messages.
type Delivery struct {
	Items []Item
	of    *Subscriber
	state atomic.Int32 // 0: on its way, 1: taken, 2: withdrawn
}

// Take says that the messages are dealt with now, so that they aren't handed out again. It
// reports false if they were withdrawn meanwhile: then somebody else is given them.
func (d *Delivery) Take() bool {
	if !d.state.CompareAndSwap(0, 1) {
		return false
	}
	s := d.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.out, d); i >= 0 {
		s.out = slices.Delete(s.out, i, i+1)
	}
	s.outBytes -= costOf(d.Items)
	s.stalled = false
	signal(s.space)
	return true
}

func costOf(items []Item) (n int) {
	for i := range items {
		n += items[i].cost()
	}
	return n
}

// errOver says that there will be no more.
var errOver = errors.New("nothing is received any more")

// Next waits for messages. The error is ctx's.
func (s *Subscriber) Next(ctx context.Context) (*Delivery, error) {
	for {
		if d := s.next(); d != nil {
			return d, nil
		}
		select {
		case <-s.ready:
		case <-s.hub.closed:
			return nil, errOver
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Subscriber) next() *Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []Item
	if len(s.back) > 0 {
		n := min(len(s.back), deliveryLines)
		for i := 1; s.wants.Apart && i < n; i++ {
			if s.back[i].From != s.back[0].From {
				n = i
			}
		}
		items = append(items, s.back[:n]...)
		s.back = s.back[n:]
	} else {
		items = s.queue.pop(deliveryLines, deliveryBytes, s.wants.Apart)
		s.outBytes += costOf(items) // what was given back counts already
	}
	if len(items) == 0 {
		return nil
	}
	d := &Delivery{Items: items, of: s}
	s.out = append(s.out, d)
	if s.queue.lines+len(s.back) > 0 {
		signal(s.ready)
	}
	return d
}

// GiveBack withdraws what was handed out and not taken: who comes next is given it first.
func (s *Subscriber) GiveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var back []Item
	for _, d := range s.out {
		if d.state.CompareAndSwap(0, 2) {
			back = append(back, d.Items...)
		}
	}
	s.out = slices.DeleteFunc(s.out, func(d *Delivery) bool { return d.state.Load() == 2 })
	s.back = append(back, s.back...)
	if len(s.back) > 0 {
		signal(s.ready)
	}
}

// waiting is how many messages were not taken.
func (s *Subscriber) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.queue.lines + len(s.back)
	for _, d := range s.out {
		n += len(d.Items)
	}
	return n
}

// Lost is how many messages it was not given since it was attached, since it was behind.
func (s *Subscriber) Lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Listeners tells of its listeners: nil is one that is open.
func (s *Subscriber) Listeners() (all []Address, errs []error) { return s.hub.listenersOf(s) }

// takes reports whether a message is wanted.
func (s *Subscriber) takes(msg *Message, from *origin) bool {
	s.mu.Lock()
	ok := !from.addr.IsValid() || within(s.wants.allowed(), from.addr)
	match := s.wants.Match
	s.mu.Unlock()
	return ok && match.holds(msg, from)
}

// streamMost is how much of one sender may wait before his streams do.
func (s *Subscriber) streamMost() int { return min(streamMost, s.hub.queueMost()/4) }

// put hands over a message. Where a stream has to wait before it goes on, full is what tells
// when; nil: it was handed over, or dropped.
func (s *Subscriber) put(it Item, stream bool) (full <-chan struct{}, dropped []*sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream && s.queue.bytesOf(it.from.key) >= s.streamMost() {
		if !s.stalled {
			return s.space, nil
		}
		s.lost++
		return nil, []*sender{it.from}
	}
	most := s.hub.queueMost()
	s.queue.most = max(most-s.outBytes, most/2)
	dropped = s.queue.push(it)
	s.lost += len(dropped)
	signal(s.ready)
	return nil, dropped
}

// stall notes that it takes nothing: streams don't wait for it any more.
func (s *Subscriber) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
