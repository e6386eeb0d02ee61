package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// server answers look-ups as a test says.
type server struct {
	mu     sync.Mutex
	silent bool
	wrong  map[string]error
	asked  map[string]int
	most   int // at once
	now    int
}

func (s *server) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	s.mu.Lock()
	s.asked[name]++
	s.now++
	s.most = max(s.most, s.now)
	silent, err := s.silent, s.wrong[name]
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
}

func (s *server) says(silent bool) { s.mu.Lock(); s.silent = silent; s.mu.Unlock() }

// quick makes the times short.
func quick(t *testing.T) {
	was := []time.Duration{timeout, brief, again, waitLongest}
	timeout, brief, again = 20*time.Millisecond, 5*time.Millisecond, 10*time.Millisecond
	t.Cleanup(func() { timeout, brief, again, waitLongest = was[0], was[1], was[2], was[3] })
}

type heard struct {
	mu  sync.Mutex
	got map[string][]Answer
}

func (h *heard) ask(n *Names, name string) {
	got := func(a Answer) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got[name] = append(h.got[name], a)
	}
	if a, ok := n.Ask(h, name, got); ok {
		got(a)
	}
}

func (h *heard) of(name string) []Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got[name]
}

// TestOnce: a name is asked for once, however many want it, and its answer is kept,
// that there is none, too.
func TestOnce(t *testing.T) {
	s := &server{asked: map[string]int{}, wrong: map[string]error{"none.test": errors.New("no such host")}}
	n := New(s.lookup, nil)
	defer n.Close()
	hear := [2]*heard{{got: map[string][]Answer{}}, {got: map[string][]Answer{}}}
	for range 100 {
		for _, h := range hear {
			h.ask(n, "bad.test")
			h.ask(n, "none.test")
		}
	}
	for _, h := range hear {
		hosttest.Until(t, "answers", func() bool { return len(h.of("bad.test")) > 0 && len(h.of("none.test")) > 0 })
		if a := h.of("bad.test")[0]; len(a.Addrs) != 1 || a.Err != nil {
			t.Errorf("bad.test: %+v", a)
		}
		if a := h.of("none.test")[0]; a.Err == nil {
			t.Errorf("none.test: %+v", a)
		}
	}
	if s.asked["bad.test"] != 1 || s.asked["none.test"] != 1 {
		t.Errorf("asked %v, want once each", s.asked)
	}
}

// TestSilent: a server that keeps silent is told once; more names than may wait are
// given up, the oldest first; those that wait are answered when it speaks again.
func TestSilent(t *testing.T) {
	quick(t)
	s := &server{asked: map[string]int{}, silent: true}
	told := make(chan bool, 10)
	n := New(s.lookup, func(silent bool, _ int) { told <- silent })
	defer n.Close()
	h := &heard{got: map[string][]Answer{}}
	const extra = 500
	for i := range Waiting + extra {
		h.ask(n, fmt.Sprintf("h%d.test", i))
	}
	for i := range extra {
		var crowded *GivenUpError
		if got := h.of(fmt.Sprintf("h%d.test", i)); len(got) != 1 || !errors.As(got[0].Err, &crowded) || !crowded.Crowded {
			t.Fatalf("h%d.test: %+v, want it given up", i, got)
		}
	}
	if !<-told {
		t.Error("told that it answers again first")
	}
	if waiting, silent := n.Waiting(); waiting != Waiting || !silent {
		t.Errorf("%d names wait, silent %v", waiting, silent)
	}
	s.says(false)
	hosttest.Until(t, "the rest", func() bool { waiting, _ := n.Waiting(); return waiting == 0 })
	if <-told {
		t.Error("told twice that it is silent")
	}
	for i := extra; i < Waiting+extra; i++ {
		hosttest.Until(t, "an answer", func() bool { return len(h.of(fmt.Sprintf("h%d.test", i))) == 1 })
		if got := h.of(fmt.Sprintf("h%d.test", i)); got[0].Err != nil {
			t.Fatalf("h%d.test: %+v", i, got)
		}
	}
	if s.most > AtOnce {
		t.Errorf("%d look-ups at once", s.most)
	}
}

// TestSlowNames: names whose server is silent are given up after two tries while that
// of others answers; and what waits for too long is given up.
func TestSlowNames(t *testing.T) {
	quick(t)
	s := &server{asked: map[string]int{}, wrong: map[string]error{"slow.test": context.DeadlineExceeded}}
	n := New(s.lookup, func(silent bool, _ int) { t.Errorf("silent: %v", silent) })
	h := &heard{got: map[string][]Answer{}}
	h.ask(n, "slow.test")
	hosttest.Until(t, "it is given up", func() bool { return len(h.of("slow.test")) == 1 })
	if s.asked["slow.test"] != tries {
		t.Errorf("asked %d times", s.asked["slow.test"])
	}
	n.Close()

	waitLongest = 50 * time.Millisecond
	s = &server{asked: map[string]int{}, silent: true}
	n = New(s.lookup, nil)
	defer n.Close()
	for i := range 3 * silentAfter {
		h.ask(n, fmt.Sprintf("n%d.test", i))
	}
	for i := range 3 * silentAfter {
		hosttest.Until(t, "they are given up", func() bool { return len(h.of(fmt.Sprintf("n%d.test", i))) == 1 })
	}
}

// TestHung: look-ups that don't come back, whatever their context says, hold their
// place and nobody up.
func TestHung(t *testing.T) {
	quick(t)
	waitLongest = 50 * time.Millisecond
	release := make(chan struct{})
	n := New(func(context.Context, string) ([]netip.Addr, error) { <-release; return nil, errors.New("late") }, nil)
	defer n.Close()
	h := &heard{got: map[string][]Answer{}}
	for i := range 2 * AtOnce {
		h.ask(n, fmt.Sprintf("n%d.test", i))
	}
	for i := range 2 * AtOnce {
		hosttest.Until(t, "it is given up", func() bool { return len(h.of(fmt.Sprintf("n%d.test", i))) == 1 })
	}
	close(release)
	hosttest.Until(t, "places come back", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.running == 0 })
}
