package daemon

import (
	"fmt"
	"sync"
	"time"

	"bailiff/pkg/fleet"
	"bailiff/pkg/store"
)

// What is kept of a fleet, so that a restart asks only for what is new. The disk holds up nobody.

const (
	// fleetKeepMost is how many words wait for a disk; beyond, all is written when it answers.
	fleetKeepMost = 100_000
	fleetKeepWait = 2 * time.Second // between tries
	// fleetLoadMost is how long a start waits for the database.
	fleetLoadMost = 30 * time.Second
)

// fleetKeeper writes what an agent wants kept.
type fleetKeeper struct {
	r    *fleetRun
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	waits  *fleet.Kept
	busy   bool // something is being written
	all    bool // what waited was too much, or the database is another one: everything is asked for
	broken string
}

func newFleetKeeper(r *fleetRun) *fleetKeeper {
	return &fleetKeeper{r: r, wake: make(chan struct{}, 1)}
}

func (k *fleetKeeper) store() *store.Store {
	if k.r.d.store == nil {
		return nil
	}
	return k.r.d.store.store.Load()
}

// start is where the agent goes on.
func (k *fleetKeeper) start() (st fleet.Start) {
	d := k.r.d
	if d.store == nil {
		return st
	}
	s := k.store()
	err := error(errNotOpen)
	if s != nil {
		err = d.store.within(fleetLoadMost, func() (func(), error) {
			if err := s.FleetPolicy(k.r.policyName()); err != nil {
				return nil, err
			}
			got, err := s.Fleet()
			return func() { st = got }, err
		})
	}
	if err != nil {
		k.r.log.Warn(fmt.Sprintf("fleet: database %s: %v: what was known of the fleet is read anew from the hub", d.store.Path(), err))
		k.again()
		return fleet.Start{Hold: holdMost}
	}
	mine := st.Out[:0]
	for _, o := range st.Out { // of another name: it was in another fleet
		if o.Key.Host == k.r.name && k.r.cfg.Group(o.Key.Group) != nil {
			mine = append(mine, o)
		}
	}
	st.Out, st.Hold = mine, holdMost
	return st
}

// push takes something to be kept.
func (k *fleetKeeper) push(n fleet.Kept) {
	if k.r.d.store == nil {
		return
	}
	k.mu.Lock()
	if k.waits == nil {
		k.waits = &n
	} else {
		mergeKept(k.waits, &n)
	}
	if len(k.waits.Words)+len(k.waits.Out)+len(k.waits.Done)+len(k.waits.Dropped) > fleetKeepMost {
		k.waits, k.all = nil, true
	}
	k.mu.Unlock()
	k.ring()
}

// mergeKept puts what came later to what waits.
func mergeKept(k, later *fleet.Kept) {
	if later.Forget {
		k.Forget, k.Words, k.Dropped = true, nil, nil
	}
	k.Words = append(k.Words, later.Words...)
	if len(later.Dropped) > 0 {
		gone := make(map[fleet.Key]bool, len(later.Dropped))
		for _, key := range later.Dropped {
			gone[key] = true
		}
		kept := k.Words[:0]
		for _, w := range k.Words {
			if !gone[w.Key] {
				kept = append(kept, w)
			}
		}
		k.Words, k.Dropped = kept, append(k.Dropped, later.Dropped...)
	}
	k.Out, k.Done = append(k.Out, later.Out...), append(k.Done, later.Done...)
	k.Epoch, k.Cursor, k.N, k.Ahead = later.Epoch, later.Cursor, later.N, later.Ahead
}

// again has everything written anew.
func (k *fleetKeeper) again() {
	k.mu.Lock()
	k.waits, k.all = nil, true
	k.mu.Unlock()
	k.ring()
}

// settle waits until all is written, as long as that takes no longer than most: a command's answer waits for it.
func (k *fleetKeeper) settle(most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(time.Millisecond) {
		k.mu.Lock()
		written := k.waits == nil && !k.busy && !k.all || k.broken != ""
		k.mu.Unlock()
		if written {
			return
		}
	}
}

func (k *fleetKeeper) ring() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run writes until the part ends, and then what is left.
func (k *fleetKeeper) run() {
	for {
		select {
		case <-k.wake:
		case <-k.r.ctx.Done():
			// The agent's last word comes as the link ends.
			time.Sleep(50 * time.Millisecond)
			k.write()
			return
		}
		if !k.write() {
			select {
			case <-time.After(fleetKeepWait):
				k.ring()
			case <-k.r.ctx.Done():
			}
		}
	}
}

// write writes what waits; false: it could not be.
func (k *fleetKeeper) write() bool {
	s := k.store()
	k.mu.Lock()
	todo, all := k.waits, k.all
	k.waits, k.busy = nil, true
	k.mu.Unlock()
	if todo == nil && !all {
		return true
	}
	err := error(errNotOpen)
	if s != nil {
		err = nil
		if all {
			err = s.FleetPolicy(k.r.policyName())
		} else {
			err = s.KeepFleet(*todo)
		}
	}
	k.mu.Lock()
	k.busy = false
	told := k.broken
	if err != nil {
		k.broken = err.Error()
		if todo != nil && !k.all {
			if k.waits != nil {
				mergeKept(todo, k.waits)
			}
			k.waits = todo
		}
	} else {
		k.broken = ""
		if all {
			k.all = false
		}
	}
	k.mu.Unlock()
	switch {
	case err != nil && told == "":
		k.r.log.Error(fmt.Sprintf("fleet: what is new can't be kept: %v; it is tried again, and read anew from the hub after a restart", err))
	case err == nil && told != "":
		k.r.log.Info("fleet: what is new is kept again")
	}
	if err == nil && todo != nil {
		k.r.release(todo.Out)
	}
	if err == nil && all {
		go askFleet(k.r, time.Minute, func(a *fleet.Agent, now time.Time) bool { a.KeepAll(now); return true })
	}
	return err == nil
}
