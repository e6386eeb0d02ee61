package jail

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/firewall"
)

// sets are a jail's in a kernel, at moments of its timers: the test's own, or real ones.
type sets interface {
	change(now time.Duration, changes ...firewall.Change) error
	list(now time.Duration) ([]firewall.Element, error)
	lift(now time.Duration, id netip.Prefix) (bool, error)
	add(firewall.Rule) error
	remove(jail string) error
	// drop and flush are what another hand does.
	drop(id netip.Prefix) error
	flush() error
	open() error  // by a daemon that starts
	close() error // for good: nothing is left
}

// ownSets are the test's own.
type ownSets struct{ elements }

func (s ownSets) change(now time.Duration, changes ...firewall.Change) error {
	s.elements.change(now, changes...)
	return nil
}

func (s ownSets) list(now time.Duration) ([]firewall.Element, error) {
	return s.elements.list(now), nil
}

func (s ownSets) lift(now time.Duration, id netip.Prefix) (bool, error) {
	return s.elements.lift(now, id), nil
}

func (s ownSets) add(firewall.Rule) error    { return nil }
func (s ownSets) remove(string) error        { clear(s.elements); return nil }
func (s ownSets) drop(id netip.Prefix) error { delete(s.elements, id); return nil }
func (s ownSets) flush() error               { clear(s.elements); return nil }
func (s ownSets) open() error                { return nil }
func (s ownSets) close() error               { return nil }

// kernel is one with such sets, which refuses what it is told to for a while. What it
// refused is owed, as pkg/firewall does it.
type kernel struct {
	world *world
	queue atomic.Pointer[firewall.Queue]

	mu       sync.Mutex
	sets     sets
	refusing bool // changes
	noSets   bool // that a jail's sets are made, once
	owed     []firewall.Change
	since    []time.Duration // by the kernel's timers: when each was refused
}

var errRefused = errors.New("no buffer space available")

func (k *kernel) now() time.Duration { return k.world.clock.Monotonic() }

func (k *kernel) Push(c ...firewall.Change) { k.queue.Load().Push(c...) }

// settle waits for what was pushed before, as the daemon does.
func (k *kernel) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = k.queue.Load().Sync(ctx)
}

func (k *kernel) RemoveJail(jail string) error {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owed, k.since = nil, nil
	return k.sets.remove(jail)
}

func (k *kernel) AddJail(rule firewall.Rule) error {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.noSets {
		k.noSets = false
		return errRefused
	}
	return k.sets.add(rule)
}

func (k *kernel) Apply(changes []firewall.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refusing {
		k.owed = append(k.owed, changes...)
		for range changes {
			k.since = append(k.since, k.now())
		}
		return errRefused
	}
	for i, c := range k.owed { // bans go on ending
		if c.Left > 0 {
			c.Left -= k.now() - k.since[i]
			c.Remove = c.Left <= 0
		}
		if err := k.sets.change(k.now(), c); err != nil {
			return err
		}
	}
	k.owed, k.since = nil, nil
	return k.sets.change(k.now(), changes...)
}

func (k *kernel) isRefusing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refusing
}

func (k *kernel) accept() {
	k.mu.Lock()
	k.refusing, k.noSets = false, false
	k.mu.Unlock()
	_ = k.Apply(nil)
}

func (k *kernel) Elements(string) ([]firewall.Element, error) {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	list, err := k.sets.list(k.now())
	return slices.DeleteFunc(list, func(e firewall.Element) bool {
		i := len(k.owed) - 1
		for i >= 0 && k.owed[i].ID != e.ID && !k.owed[i].Clear {
			i--
		}
		if i < 0 {
			return false
		}
		c := k.owed[i]
		return c.Remove || c.Clear || c.Left > 0 && c.Left <= k.now()-k.since[i]
	}), err
}

func (k *kernel) Lift(_ string, id netip.Prefix) (bool, error) {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refusing {
		return false, errRefused
	}
	return k.sets.lift(k.now(), id)
}
