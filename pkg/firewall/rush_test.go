package firewall

import (
	"context"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestGuardInHaste: while very many bans wait, there is no guard that takes as much again of the
// kernel's time; when they are through, it has all of them. That is done once a minute, and not
// where it holds much.
func TestGuardInHaste(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "x"})
	guardIs(t, f, true)
	apply := func(changes []Change) {
		t.Helper()
		if err := f.Apply(changes); err != nil {
			t.Fatal(err)
		}
	}
	right := func() {
		t.Helper()
		check(t, f)
		guardIs(t, f, true)
		if lacked, idle, err := f.CheckGuard(); lacked+idle != 0 || err != nil {
			t.Error(lacked, idle, err)
		}
	}
	f.Rush(rushMost)
	guardIs(t, f, false)
	apply(filled("x", 500, 100)) // sets are made for it, and no guard
	guardIs(t, f, false)
	f.Calm()
	if !f.GuardDue() {
		t.Error("nobody knows that it is to be made again")
	}
	// Before that is done, a set is needed of which there is none: both are there then, and whole.
	apply([]Change{{Jail: "x", ID: prefix("2001:db8:5::/48"), Left: time.Hour}})
	right()
	f.Rush(rushMost)
	guardIs(t, f, true) // the minute is not over
	f.guard.haste = time.Now().Add(-2 * hasteEvery)
	apply(filled("x", guardLittle, 0))
	f.Rush(rushMost)
	guardIs(t, f, true) // it holds too much
	f.Calm()
	right()
}

// hasty is an Applier that notes what it is told.
type hasty struct {
	fakeApplier
	told []int // of Rush; 0: of Calm
}

func (h *hasty) Rush(n int) { h.told = append(h.told, n) }
func (h *hasty) Calm()      { h.told = append(h.told, 0) }

// TestQueueHaste: who makes changes is told when many wait, and when none do any more.
func TestQueueHaste(t *testing.T) {
	h := &hasty{fakeApplier: fakeApplier{make(chan []Change, 1000), make(chan struct{})}}
	close(h.block)
	q := NewQueue(h, func([]Change, error) { t.Error("failed") }, nil)
	for _, n := range []int{10, rushMost + sizeFirst, 10} {
		q.Push(floodOf("x", n)...)
		if err := q.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	q.Close()
	if len(h.told) != 2 || h.told[0] < rushMost || h.told[1] != 0 {
		t.Errorf("told %v", h.told)
	}
}

// TestQueueUnder: who is ahead of the kernel waits until it has got on, and not for ever.
func TestQueueUnder(t *testing.T) {
	fake := &fakeApplier{make(chan []Change, 100), make(chan struct{})}
	q := NewQueue(fake, func([]Change, error) { t.Error("failed") }, nil)
	q.Under("flood", 1, time.Hour) // nothing waits
	q.Push(floodOf("flood", 1)...)
	<-fake.got // under way, and it hangs
	q.Push(floodOf("flood", 10)...)
	q.Under("other", 1, time.Hour)
	q.Under("flood", 11, time.Hour)
	q.Under("flood", 10, 10*time.Millisecond) // returns, though nothing gets on
	waited := make(chan struct{})
	go func() {
		q.Under("flood", 10, time.Hour)
		close(waited)
	}()
	close(fake.block)
	select {
	case <-waited:
	case <-time.After(20 * time.Second):
		t.Error("it waits, though there is room")
	}
	q.Close()
}
