package action

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Group is a jail's actions. Each works in a goroutine of its own and in its own
// time: what one does of a ban comes before what the next one does, as in
// fail2ban, unless it is told of it more than orderGrace later: then the others go
// on without it. Nothing of this holds up the jail, and no method but Call and Set
// waits for a command.

// Group is a jail's actions at work. Its methods are safe for concurrent use.
type Group struct {
	made time.Time

	mu      sync.Mutex
	site    *Site
	workers []*worker
	leaving []*worker // those that were taken out and are still at work
	held    entries   // bans in force
	came    int       // how many actions there ever were
	next    uint64    // number of the next ban
	jobs    uint64    // number of the last job
	last    *worker   // whose turn came last
	lastNo  uint64    // in which job
	keep    bool      // an action asks for lines after the ban
	// usesGroups says that an action tells of groups of the filter: each failure asks.
	usesGroups atomic.Bool
	begun      bool
	closed     bool
	ended      chan struct{} // closed when all is over

	texts     []keptText // in the order in which they came
	textBytes int
	textCount int
}

// NewGroup returns a jail's actions; Begin starts them.
func NewGroup(defs []Definition, site *Site) *Group {
	g := &Group{site: site, made: time.Now(), ended: make(chan struct{})}
	for i := range defs {
		g.workers = append(g.workers, g.newWorker(&defs[i], site.After))
	}
	g.keeping()
	return g
}

// keeping looks whether an action asks for lines after the ban, and whether for groups.
func (g *Group) keeping() {
	g.usesGroups.Store(slices.ContainsFunc(g.workers, func(w *worker) bool { return w.usesGroups }))
	g.keep = slices.ContainsFunc(g.workers, func(w *worker) bool { return w.def.laterTags() })
}

// Begin starts the actions.
func (g *Group) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun && !g.closed {
		g.begun = true
		g.submit(g.workers, job{kind: jobStart})
	}
}

// age is how long the group has been there, in milliseconds.
func (g *Group) age() uint32 { return uint32(time.Since(g.made).Milliseconds()) }

// submit gives a job to workers, in their order, or from the last to the first.
func (g *Group) submit(workers []*worker, j job) {
	order := workers
	if j.kind == jobStop {
		order = slices.Clone(workers)
		slices.Reverse(order)
	}
	g.jobs++
	j.no, j.given = g.jobs, g.age()
	if j.entry != nil && j.entry.now() != nil {
		j.more = &more{facts: j.entry.now()}
	}
	for _, w := range order {
		j.after, j.afterNo = g.last, g.lastNo
		if !w.give(j) {
			continue
		}
		g.last, g.lastNo = w, j.no
		if j.entry != nil && j.kind != jobProlong {
			j.entry.ahead++
		}
	}
}

// sorted returns the bans in force, in the order in which they came.
func (g *Group) sorted() []*entry {
	all := slices.AppendSeq(make([]*entry, 0, g.held.n), g.held.all())
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.no, b.no) })
	return all
}

// working are the actions now, in their order; of no group, none.
func (g *Group) working() []*worker {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.workers
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
	return g != nil && g.usesGroups.Load()
}

// Ban tells of a ban, or, of one that is in force already, that it ends later. The
// ticket's lines and groups are not to be changed afterwards.
func (g *Group) Ban(t *Ticket) {
	if g == nil || t == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.workers) == 0 {
		return
	}
	w := whoIs(t.ID)
	e, what := g.held.get(w), jobProlong
	if e == nil {
		e, what = newEntry(w, t, g.next), jobBan
		g.next++
		g.held.add(e)
	} else {
		e.take(t)
	}
	g.keepText(e, t)
	g.submit(g.workers, job{kind: what, entry: e})
}

// Prolong tells that a ban ends later than was told.
func (g *Group) Prolong(t *Ticket) {
	if g == nil || t == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.held.get(whoIs(t.ID)); e != nil && !g.closed {
		e.take(t)
		g.submit(g.workers, job{kind: jobProlong, entry: e})
	}
}

// Unban tells of a ban that is over.
func (g *Group) Unban(id string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	if e := g.held.remove(whoIs(id)); e != nil {
		e.flags |= over
		g.submit(g.workers, job{kind: jobUnban, entry: e})
		g.tidy(e)
	}
}

// Retain lifts the bans that are in force no longer.
func (g *Group) Retain(inForce func(id string) bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	all := g.sorted()
	g.mu.Unlock()
	for _, e := range all {
		if id := e.id(); !inForce(id) {
			g.Unban(id)
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
		for e := range g.held.all() {
			e.flags |= over
			g.tidy(e)
		}
		g.held.clear()
	}
}

func (g *Group) flush(workers []*worker, kind kind) {
	if len(workers) == 0 {
		return
	}
	g.submit(workers, job{kind: kind})
	for _, w := range workers {
		w.dropLater()
	}
	for _, e := range g.sorted() {
		g.submit(workers, job{kind: jobUnbanUnlessFlushed, entry: e})
	}
}

// Check has the actions look whether their environment is in order, and bring it in
// order where it is not; where it was not, the bans in force are made again.
func (g *Group) Check() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.submit(g.workers, job{kind: jobCheck})
	}
}

// Reload takes over the actions of a configuration that was read anew: those that
// did not change are told so (actionreload), new ones start and are told of the
// bans in force, those that are gone, or ban in another way, lift theirs and stop.
// It waits for nothing; new ones begin when the old ones are through.
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
	kept := func(d *Definition) int {
		return slices.IndexFunc(g.workers, func(w *worker) bool { return w.def.Name == d.Name && w.def.sameWork(d) })
	}
	for _, w := range g.workers {
		if !slices.ContainsFunc(defs, func(d Definition) bool { return w.def.Name == d.Name && w.def.sameWork(&d) }) {
			old = append(old, w)
		}
	}
	for i := range defs {
		if at := kept(&defs[i]); at >= 0 {
			w := g.workers[at]
			all, same = append(all, w), append(same, w)
			w.define(&defs[i])
			continue
		}
		var after []<-chan struct{}
		for _, w := range append(slices.Clone(g.leaving), old...) {
			after = append(after, w.gone)
		}
		w := g.newWorker(&defs[i], after)
		all, added = append(all, w), append(added, w)
	}
	changed := map[*worker]*Definition{}
	for _, w := range same {
		changed[w] = w.def
	}
	g.submit(same, job{kind: jobReload, more: &more{site: site, defs: changed}})
	g.leave(old)
	g.workers = all
	g.keeping()
	if g.begun {
		g.submit(added, job{kind: jobStart})
	}
	if len(added) > 0 {
		for _, e := range g.sorted() {
			g.submit(added, job{kind: jobBan, entry: e, known: true})
		}
	}
}

// leave has actions lift their bans and stop, beside whatever else goes on.
func (g *Group) leave(old []*worker) {
	if len(old) == 0 {
		return
	}
	g.flush(old, jobStopping)
	g.submit(old, job{kind: jobStop})
	g.leaving = slices.DeleteFunc(g.leaving, (*worker).isGone)
	by := time.Now().Add(StopTime)
	for _, w := range old {
		w.finish(by)
		g.leaving = append(g.leaving, w)
	}
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

// Close has the actions lift their bans and stop, the last one first, and what was
// taken out before end, too. It waits for nothing: what it returns is closed when they
// are through, at the latest a moment after by, when whatever is still running is
// killed; the zero time is StopTime from now. What was not lifted by then is told. To
// close again with an earlier end shortens the time.
func (g *Group) Close(by time.Time) <-chan struct{} {
	if g == nil {
		return closedChan
	}
	if by.IsZero() {
		by = time.Now().Add(StopTime)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.closed
	g.closed = true
	if first {
		g.flush(g.workers, jobStopping)
		g.submit(g.workers, job{kind: jobStop})
		g.leaving = append(g.leaving, g.workers...)
	}
	for _, w := range g.leaving {
		w.finish(by)
	}
	if first {
		go g.end(slices.Clone(g.leaving), time.Until(by)+killGrace)
	}
	return g.ended
}

var closedChan = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// end waits until all are gone, at most so long: a process can be in a state in which
// it can't be killed.
func (g *Group) end(workers []*worker, most time.Duration) {
	defer close(g.ended)
	timer := time.NewTimer(most)
	defer timer.Stop()
	for _, w := range workers {
		select {
		case <-w.gone:
		case <-timer.C:
			for _, w := range workers {
				w.sayStuck()
			}
			return
		}
	}
}

// Sync waits until everything that was told is done, or ctx ends. It returns the names
// of actions that are not through by then.
func (g *Group) Sync(ctx context.Context) (behind []string) {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	workers, upTo := g.workers, g.jobs
	if g.closed {
		workers = nil
	}
	g.mu.Unlock()
	for _, w := range workers {
		if !w.wait(ctx, upTo) {
			behind = append(behind, w.title)
		}
	}
	return behind
}

// Idle reports whether everything that was told is done.
func (g *Group) Idle() bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	workers, upTo := g.workers, g.jobs
	g.mu.Unlock()
	return !slices.ContainsFunc(workers, func(w *worker) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.through(upTo)
	})
}

// callMost is how long who asks an action for something by hand waits for it. Tests
// make it shorter.
var callMost = 10 * time.Second

// errExists says that a jail has an action of that name.
var errExists = errors.New("exists already")

var errMethod = errors.New("no such method")

// Methods are those that Call knows.
var Methods = []string{"ban", "consistencyCheck", "flush", "prolong", "reban", "reload", "start", "stop", "unban"}
