package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/config/fail2ban"
)

// A Group is a jail's actions. Each works in a goroutine of its own and in its own
// time: what one does of a ban comes before what the next one does, as in
// fail2ban, unless it is told of it more than orderGrace later: then the others go
// on without it. Nothing of this holds up the jail.

const (
	// orderGrace is how long a job may wait for its turn behind other actions.
	orderGrace = time.Second
	// leanFrom is how many waiting bans keep their lines; the rest does without.
	leanFrom = 1000
)

// stopGrace is how long a stop waits for bans that are still to be told to an
// action that is behind. Tests make it shorter.
var stopGrace = 10 * time.Second

// Group is a jail's actions at work. Its methods are safe for concurrent use.
type Group struct {
	site   *Site
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	workers []*worker
	held    map[string]*heldTicket // bans in force, by ID
	next    uint64
	last    *turn // of the last job
	begun   bool
	closed  bool
}

type heldTicket struct {
	*Ticket
	no uint64 // in which order they came
}

// NewGroup returns a jail's actions; Begin starts them.
func NewGroup(defs []Definition, site *Site) *Group {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group{site: site, ctx: ctx, cancel: cancel, held: map[string]*heldTicket{}}
	for i := range defs {
		g.workers = append(g.workers, g.newWorker(&defs[i]))
	}
	return g
}

// Begin starts the actions.
func (g *Group) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun {
		g.begun = true
		g.submit(g.workers, &job{kind: jobStart})
	}
}

// submit gives a job to workers, in their order, or from the last to the first.
func (g *Group) submit(workers []*worker, j *job) {
	order := workers
	if j.kind == jobStop {
		order = slices.Clone(workers)
		slices.Reverse(order)
	}
	j.turns, j.given = map[*worker]*turn{}, time.Now()
	for _, w := range order {
		j.turns[w] = &turn{w, g.last, make(chan struct{})}
		g.last = j.turns[w]
	}
	if j.ticket != nil && slices.ContainsFunc(order, func(w *worker) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.todo) >= leanFrom
	}) {
		j.ticket = j.ticket.lean()
	}
	for _, w := range order {
		w.mu.Lock()
		if w.cancels(j) {
			close(j.turns[w].done)
		} else {
			w.todo = append(w.todo, j)
			if j.kind == jobBan {
				w.bans[j.ticket.ID] = true
			}
		}
		w.wake.Signal()
		w.mu.Unlock()
	}
}

// tickets returns the bans in force, in the order in which they came.
func (g *Group) tickets() []*Ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sorted()
}

func (g *Group) sorted() []*Ticket {
	all := make([]*heldTicket, 0, len(g.held))
	for _, t := range g.held {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *heldTicket) int { return cmp.Compare(a.no, b.no) })
	out := make([]*Ticket, len(all))
	for i, t := range all {
		out[i] = t.Ticket
	}
	return out
}

// Empty reports whether there are no actions. A nil Group has none.
func (g *Group) Empty() bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.workers) == 0
}

// UsesGroups reports whether an action tells of groups of the filter.
func (g *Group) UsesGroups() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.workers, func(w *worker) bool { return w.def.UsesGroups() })
}

// Ban tells of a ban, or, of one that is in force already, that it ends later.
func (g *Group) Ban(t *Ticket) {
	if g == nil || t == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.workers) == 0 {
		return
	}
	what := jobBan
	no := g.next
	if was, ok := g.held[t.ID]; ok {
		what, no = jobProlong, was.no
	} else {
		g.next++
	}
	kept := t
	if !slices.ContainsFunc(g.workers, func(w *worker) bool { return w.keep }) {
		kept = t.lean()
	}
	g.held[t.ID] = &heldTicket{kept, no}
	g.submit(g.workers, &job{kind: what, ticket: t})
}

// Prolong tells that a ban ends later than was told.
func (g *Group) Prolong(t *Ticket) {
	if g == nil || t == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed && g.held[t.ID] != nil {
		g.submit(g.workers, &job{kind: jobProlong, ticket: t})
	}
}

// Unban tells of a ban that is over.
func (g *Group) Unban(id string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.held[id]; t != nil && !g.closed {
		delete(g.held, id)
		g.submit(g.workers, &job{kind: jobUnban, ticket: t.Ticket})
	}
}

// Retain lifts the bans that are in force no longer.
func (g *Group) Retain(inForce func(id string) bool) {
	if g == nil {
		return
	}
	for _, t := range g.tickets() {
		if !inForce(t.ID) {
			g.Unban(t.ID)
		}
	}
}

// Flush tells that all bans are over.
func (g *Group) Flush() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.flush(g.workers, jobFlush)
		clear(g.held)
	}
}

func (g *Group) flush(workers []*worker, kind kind) {
	if len(workers) == 0 {
		return
	}
	g.submit(workers, &job{kind: kind})
	for _, t := range g.sorted() {
		g.submit(workers, &job{kind: jobUnbanUnlessFlushed, ticket: t})
	}
}

// Check has the actions look whether their environment is in order.
func (g *Group) Check() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.submit(g.workers, &job{kind: jobCheck})
	}
}

// Reload takes over the actions of a configuration that was read anew: those that
// did not change are told so (actionreload), new ones start and are told of the
// bans in force, those that are gone, or ban in another way, lift theirs and stop.
func (g *Group) Reload(defs []Definition, site *Site) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	if site == nil {
		site = g.site
	}
	g.site = site
	var all, same, added, old []*worker
	for i := range defs {
		at := slices.IndexFunc(g.workers, func(w *worker) bool { return w.def.Name == defs[i].Name && w.def.sameWork(&defs[i]) })
		if at >= 0 {
			w := g.workers[at]
			all, same = append(all, w), append(same, w)
			w.def, w.keep = &defs[i], defs[i].laterTags()
			continue
		}
		w := g.newWorker(&defs[i])
		all, added = append(all, w), append(added, w)
	}
	for _, w := range g.workers {
		if !slices.Contains(same, w) {
			old = append(old, w)
		}
	}
	changed := map[*worker]*Definition{}
	for _, w := range same {
		changed[w] = w.def
	}
	g.submit(same, &job{kind: jobReload, site: site, defs: changed})
	g.flush(old, jobStopping)
	g.submit(old, &job{kind: jobStop})
	for _, w := range old {
		w.finish()
	}
	g.submit(added, &job{kind: jobStart})
	if len(added) > 0 {
		for _, t := range g.sorted() {
			known := *t // to the new ones it is none of now
			known.Restored = true
			g.submit(added, &job{kind: jobBan, ticket: &known})
		}
	}
	g.workers = all
}

// Same reports whether these are the actions at work.
func (g *Group) Same(defs []Definition) bool {
	if g == nil {
		return len(defs) == 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.EqualFunc(g.workers, defs, func(w *worker, d Definition) bool { return reflect.DeepEqual(*w.def, d) })
}

// Close lifts all bans of the actions and stops them, the last one first. It
// returns when they are through.
func (g *Group) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	for _, w := range g.workers {
		w.mu.Lock()
		w.giveUp = time.Now().Add(stopGrace)
		w.mu.Unlock()
	}
	g.flush(g.workers, jobStopping)
	g.submit(g.workers, &job{kind: jobStop})
	workers := g.workers
	g.mu.Unlock()
	for _, w := range workers {
		w.finish()
		<-w.gone
	}
	g.cancel()
}

// Sync waits until everything that was told is done, at most so long.
func (g *Group) Sync(most time.Duration) {
	if g.Empty() {
		return
	}
	end := time.After(most)
	j := &job{kind: jobCall, call: func(*Action) error { return nil }}
	g.mu.Lock()
	workers := g.workers
	if g.closed {
		workers = nil
	}
	g.submit(workers, j)
	g.mu.Unlock()
	for _, w := range workers {
		select {
		case <-j.turns[w].done:
		case <-end:
			return
		}
	}
}

// UnknownError says that a jail has no action of that name.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return "Invalid Action name: " + e.Name }

// call has one action do something, and waits for it.
func (g *Group) call(name string, f func(*Action) error) error {
	g.mu.Lock()
	var only []*worker
	if !g.closed {
		for _, w := range g.workers {
			if w.def.Name == name {
				only = append(only, w)
			}
		}
	}
	if len(only) == 0 {
		g.mu.Unlock()
		return &UnknownError{name}
	}
	j := &job{kind: jobCall, call: f}
	g.submit(only, j)
	g.mu.Unlock()
	<-j.turns[only[0]].done
	return j.err
}

// Definition returns what an action holds now.
func (g *Group) Definition(name string) (Definition, bool) {
	if g == nil {
		return Definition{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		if w.def.Name == name {
			d := *w.def
			d.Properties = d.Properties.Clone()
			return d, true
		}
	}
	return Definition{}, false
}

// Names returns the actions' names in their order.
func (g *Group) Names() []string {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, w := range g.workers {
		out = append(out, w.def.Name)
	}
	return out
}

// Set changes one property of an action. What is at work is not started anew.
func (g *Group) Set(name string, change func(*Definition) error) error {
	if g == nil {
		return &UnknownError{name}
	}
	return g.call(name, func(a *Action) error {
		d := *a.def
		d.Properties = d.Properties.Clone()
		if err := change(&d); err != nil {
			return err
		}
		for _, family := range d.families() {
			if _, err := d.Resolve(family); err != nil {
				return err
			}
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, w := range g.workers {
			if w.act == a {
				w.def, w.keep = &d, d.laterTags()
			}
		}
		a.def = &d
		a.changed()
		return nil
	})
}

// errExists says that a jail has an action of that name.
var errExists = errors.New("exists already")

// Add adds an action. It is told of later bans.
func (g *Group) Add(d Definition) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.workers, func(w *worker) bool { return w.def.Name == d.Name }) {
		return fmt.Errorf("Action %s %w", d.Name, errExists)
	}
	if d.Properties == nil {
		d.Properties = &fail2ban.Options{}
	}
	w := g.newWorker(&d)
	g.workers = append(slices.Clone(g.workers), w)
	if g.begun {
		g.submit([]*worker{w}, &job{kind: jobStart})
	}
	return nil
}

// Remove ends an action; its bans are lifted.
func (g *Group) Remove(name string) error {
	if g == nil {
		return &UnknownError{name}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.workers {
		if w.def.Name != name {
			continue
		}
		g.workers = slices.Delete(slices.Clone(g.workers), i, i+1)
		old := []*worker{w}
		g.flush(old, jobStopping)
		g.submit(old, &job{kind: jobStop})
		w.finish()
		return nil
	}
	return &UnknownError{name}
}

// Call runs one method of an action by hand: start, stop, reload, flush,
// ban, unban.
func (g *Group) Call(name, method string, t *Ticket) error {
	if g == nil {
		return &UnknownError{name}
	}
	return g.call(name, func(a *Action) error {
		switch method {
		case "start":
			return a.Start()
		case "stop":
			return a.Stop()
		case "reload":
			return a.Reload()
		case "flush":
			a.flush(false)
			return nil
		case "ban":
			return a.Ban(t, false)
		case "reban":
			return a.Ban(t, true)
		case "prolong":
			return a.Prolong(t)
		case "unban":
			return a.Unban(t)
		case "consistencyCheck":
			a.Check(nil)
			return nil
		}
		return fmt.Errorf("%w: %s", errMethod, method)
	})
}

var errMethod = errors.New("no such method")

// Methods are those that Call knows.
var Methods = []string{"ban", "consistencyCheck", "flush", "prolong", "reban", "reload", "start", "stop", "unban"}
