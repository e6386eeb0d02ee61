package daemon

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What changes which jails run (a reload, a stop, a jail that is made over the socket)
// takes its turn, one after the other, and may have to wait for what lies outside: a
// log, a disk, a firewall. No lock is held over that: questions are answered meanwhile,
// and tell what is waited for.

// Deadlines of changes. They are variables so that tests need not wait.
var (
	// changeMost is how long a command that changes what runs may take.
	changeMost = 14 * time.Second
	// stepsMost is how long the steps of one change are waited for together, and stepLeast
	// how long each is in any case. What is not through then goes on beside the rest.
	stepsMost = 9 * time.Second
	stepLeast = 200 * time.Millisecond
	// configMost is how long reading the configuration may take.
	configMost = 4 * time.Second
)

// turn is whose turn it is to change what runs.
type turn struct {
	free  chan struct{} // has a value while it is nobody's
	doing atomic.Pointer[doing]
}

// doing is what is being done.
type doing struct {
	what  string
	since time.Time
	waits atomic.Pointer[string] // for what
}

func newTurn() *turn {
	t := &turn{free: make(chan struct{}, 1)}
	t.free <- struct{}{}
	return t
}

// take waits until it is the caller's turn, at most so long. what is told to others.
func (t *turn) take(what string, most time.Duration) (release func(), err error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-t.free:
	case <-timer.C:
		return nil, fmt.Errorf("%s: try again", t.state())
	}
	d := &doing{what: what, since: time.Now()}
	t.doing.Store(d)
	return sync.OnceFunc(func() {
		t.doing.CompareAndSwap(d, nil)
		t.free <- struct{}{}
	}), nil
}

// waits says what whose turn it is waits for.
func (t *turn) waits(format string, args ...any) {
	if d := t.doing.Load(); d != nil {
		text := fmt.Sprintf(format, args...)
		d.waits.Store(&text)
	}
}

// state says what is being done, since when, and what it waits for; empty: nothing is.
func (t *turn) state() string {
	d := t.doing.Load()
	if d == nil {
		return ""
	}
	text := fmt.Sprintf("%s is under way since %s", d.what, d.since.Format("15:04:05"))
	if w := d.waits.Load(); w != nil {
		text += ", waiting for " + *w
	}
	return text
}

// works are jails that are being started, stopped or replaced.
type works struct {
	mu sync.Mutex
	by map[string]*work
}

// work is a step of a change that concerns one jail.
type work struct {
	what  string // what is done to the jail
	since time.Time
	done  chan struct{}
	again bool // the configuration changed meanwhile
}

// begin does something to a jail beside the caller. If something else is still done to
// it, nothing is begun: that is returned, and ok is false; then is called when it is
// through.
func (w *works) begin(name, what string, f func(), then func()) (one *work, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was := w.by[name]; was != nil {
		was.again = true
		return was, false
	}
	if w.by == nil {
		w.by = map[string]*work{}
	}
	one = &work{what: what, since: time.Now(), done: make(chan struct{})}
	w.by[name] = one
	go func() {
		f()
		w.mu.Lock()
		delete(w.by, name)
		again := one.again
		w.mu.Unlock()
		close(one.done)
		if again && then != nil {
			then()
		}
	}()
	return one, true
}

// of returns what is done to a jail, nil if nothing is.
func (w *works) of(name string) *work {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.by[name]
}

// all returns what is done, by jail.
func (w *works) all() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for name, one := range w.by {
		out[name] = one.state()
	}
	return out
}

func (w *work) state() string {
	return fmt.Sprintf("%s since %s", w.what, w.since.Format("15:04:05"))
}

// through waits until a step is done; false: it is not in time, and goes on.
func (w *work) through(ctx context.Context) bool {
	select {
	case <-w.done:
		return true
	case <-ctx.Done():
	}
	timer := time.NewTimer(stepLeast)
	defer timer.Stop()
	select {
	case <-w.done:
		return true
	case <-timer.C:
		return false
	}
}

// step does something to a jail, and waits for it as long as ctx says. The error says
// that it is not through, or was not begun since something else is not.
func (d *Daemon) step(ctx context.Context, name, what string, f func()) error {
	d.turn.waits("jail %s, which is being %s", name, what)
	w, ok := d.works.begin(name, "being "+what, f, func() {
		_, _ = d.reload(name, false, "") // it is told
	})
	if !ok {
		return fmt.Errorf("jail %s is %s, and not through yet: its new settings hold as soon as it is", name, w.state())
	}
	if !w.through(ctx) {
		return fmt.Errorf("jail %s is %s, and not through yet: what it waits for hangs; it goes on as soon as it can", name, w.state())
	}
	return nil
}

// waiting is what the daemon is about, for a status: changes that are under way.
func (d *Daemon) waiting() (out []string) {
	if s := d.turn.state(); s != "" {
		out = append(out, s)
	}
	if d.store != nil && d.store.store.Load() == nil {
		out = append(out, fmt.Sprintf("database %s is waited for since the start: does its disk hang?", d.store.path))
	}
	all := d.works.all()
	for _, name := range sortedKeys(all) {
		out = append(out, fmt.Sprintf("jail %s is %s", name, all[name]))
	}
	return out
}

// startMost is how long questions wait for the jails of a start.
const startMost = 15 * time.Second

// awaitStart waits until the jails are there, where the daemon has just been started.
func (d *Daemon) awaitStart() {
	select {
	case <-d.up:
		return
	default:
	}
	timer := time.NewTimer(startMost)
	defer timer.Stop()
	select {
	case <-d.up:
	case <-d.stopping:
	case <-timer.C:
	}
}
