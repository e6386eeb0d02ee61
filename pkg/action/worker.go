package action

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bailiff/pkg/fair"
)

// One action of a Group at work: what it has to do, and in whose turn.

const (
	// StopTime is how long an action has for lifting its bans and stopping, when
	// nothing else is said.
	StopTime = 12 * time.Second
	// killGrace is how much later everything has ended, if it can be killed at all.
	killGrace = 1200 * time.Millisecond
)

// stopReserve is what of the time for a stop is kept for actionflush and actionstop:
// when only that is left, bans are not lifted one by one any more. Tests make it
// shorter.
var stopReserve = 2 * time.Second

// worker is one action with what it has to do. Where both are needed, the group's lock
// is taken before the worker's.
type worker struct {
	group  *Group
	act    *Action // its goroutine's alone
	title  string  // the action's name
	jail   string
	log    *slog.Logger
	before []<-chan struct{} // what has to end before it begins
	ctx    context.Context   // ended when its time is over
	cancel context.CancelFunc
	gone   chan struct{} // closed when it has ended
	spare  func()        // gives a second core back; nil: it has none. Its goroutine's alone

	// The group's lock guards these.
	def        *Definition
	usesGroups bool

	mu      sync.Mutex // guards what follows
	wake    sync.Cond
	todo    jobs
	dead    int           // how many of todo are to be passed over
	waiting marks         // bans that it has not come to
	told    marks         // bans that it was told of and that are not lifted
	skipped int           // bans that were not given, since too much waited
	behind  bool          // that was said
	running uint64        // number of the job that it does; 0: none
	step    chan struct{} // closed when it is through with a job; nil: nobody waits
	checks  bool          // a check waits
	flushed bool          // the last flush lifted all bans at once

	ended     bool // nothing more will come
	by        time.Time
	timers    [2]*time.Timer
	late      bool               // bans are not lifted one by one any more
	interrupt context.CancelFunc // of what it does; nil: nothing, or it stops
	dropUpTo  uint64             // bans given up to this job …
	dropAfter time.Time          // … are not told after this
	dropped   count              // those
	left      count              // bans that were not lifted

	// What is wrong with it: see trouble.go.
	failing, failingWhy string
	broken              bool
	unmade              map[*entry]struct{}

	// Its goroutine's alone:
	missing map[*entry]struct{} // bans that could not be made again
	unsound bool                // it was told that its environment can't be brought in order
	checked time.Time           // when it last looked at its environment
	recheck *time.Timer         // rings for the next look; nil: none was asked for too soon
}

// count is a number of bans, with one of them.
type count struct {
	n  int
	of string
}

func (c *count) add(id string) {
	if c.n == 0 {
		c.of = id
	}
	c.n++
}

func (g *Group) newWorker(def *Definition, before []<-chan struct{}) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		group: g, act: New(ctx, def, g.site), title: def.Name, jail: g.site.Jail, log: g.site.Log, before: before, ctx: ctx, cancel: cancel, gone: make(chan struct{}),
		waiting: marksOf(g.came, 0), told: marksOf(g.came, 1),
	}
	g.came++
	w.define(def)
	w.wake.L = &w.mu
	go w.run()
	return w
}

// define says how it does its work from now on.
func (w *worker) define(def *Definition) {
	w.def, w.usesGroups = def, def.UsesGroups()
}

func (w *worker) isGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// give adds a job to what it has to do; false if there is no need. The caller holds the
// group's lock.
func (w *worker) give(j job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	behind := w.todo.n - w.dead
	e := j.entry
	switch j.kind {
	case jobBan:
		if behind >= behindMost {
			if w.skipped++; !w.behind {
				w.behind = true
				w.say(slog.LevelWarn, "%d jobs wait for it: it gets later bans when it has caught up by half", behind)
			}
			return false
		}
		w.waiting.add(e)
	case jobUnban, jobUnbanUnlessFlushed:
		if w.isWaiting(e) {
			if behind < leanFrom {
				break
			}
			w.waiting.remove(e)
			w.dead++
			if j.kind == jobUnbanUnlessFlushed {
				w.dropped.add(e.id())
			}
			w.compact()
			return false
		}
		if !w.isTold(e) {
			return false
		}
	case jobProlong:
		if w.isWaiting(e) && behind >= leanFrom || !w.isWaiting(e) && !w.isTold(e) {
			return false // it is told of the ban as it is now, if at all
		}
	case jobCheck:
		if w.checks {
			return false
		}
		w.checks = true
	}
	w.todo.push(j)
	w.wake.Signal()
	return true
}

func (w *worker) isWaiting(e *entry) bool { return w.waiting.has(e) }

func (w *worker) isTold(e *entry) bool { return w.told.has(e) }

// compact takes out what is to be passed over when it is the greater part. The caller
// holds both locks.
func (w *worker) compact() {
	if w.dead < leanFrom || w.dead < w.todo.n/2 {
		return
	}
	var live jobs
	for w.todo.n > 0 {
		j := w.todo.pop()
		if j.kind == jobBan && !w.isWaiting(j.entry) {
			w.dead--
			w.group.through(j.entry)
			continue
		}
		live.push(j)
	}
	w.todo = live
}

// dropLater has bans that wait now told for a moment longer, and then no more: they
// are about to be lifted.
func (w *worker) dropLater() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropUpTo, w.dropAfter = w.group.jobs, time.Now().Add(orderGrace)
}

// through reports whether it is through with all jobs up to one. The caller holds the
// lock.
func (w *worker) through(upTo uint64) bool {
	return (w.running == 0 || w.running > upTo) && (w.todo.n == 0 || w.todo.at(0).no > upTo)
}

// wait waits until it is through with all jobs up to one; false if ctx ended before.
func (w *worker) wait(ctx context.Context, upTo uint64) bool {
	for {
		w.mu.Lock()
		if w.through(upTo) {
			w.mu.Unlock()
			return true
		}
		if w.step == nil {
			w.step = make(chan struct{})
		}
		step := w.step
		w.mu.Unlock()
		select {
		case <-step:
		case <-ctx.Done():
			return false
		}
	}
}

// stepped tells those who wait that it got further. The caller holds the lock.
func (w *worker) stepped() {
	if w.step != nil {
		close(w.step)
		w.step = nil
	}
}

func (w *worker) run() {
	defer w.cancel()
	defer close(w.gone)
	for _, c := range w.before {
		select {
		case <-c:
		case <-w.ctx.Done():
		}
	}
	for {
		j, ok := w.next()
		if !ok {
			break
		}
		w.hurry()
		w.await(j)
		ctx, do := w.begin(j)
		if do {
			w.act.ctx = ctx
			w.do(ctx, j)
		}
		if j.entry != nil && j.kind != jobProlong {
			w.group.cameTo(j.entry)
		}
		if j.more != nil && j.more.done != nil {
			if !do {
				j.more.err = errStopping
			}
			close(j.more.done)
		}
		w.end()
	}
	if w.recheck != nil {
		w.recheck.Stop()
	}
	w.sayLeft()
	if w.spare != nil {
		w.spare()
	}
}

// hurryAfter is how many jobs wait before there is a second core for the commands: each
// keeps the one that starts it until its program is loaded.
const hurryAfter = 20

// hurry sees to that.
func (w *worker) hurry() {
	w.mu.Lock()
	n := w.todo.n
	w.mu.Unlock()
	switch {
	case n > hurryAfter && w.spare == nil:
		w.spare = fair.Spare()
	case n == 0 && w.spare != nil:
		w.spare()
		w.spare = nil
	}
}

var errStopping = fmt.Errorf("the action is stopping")

// next waits for the next job; false if none will come.
func (w *worker) next() (job, bool) {
	w.mu.Lock()
	for {
		for w.todo.n == 0 && !w.ended {
			w.wake.Wait()
		}
		if w.todo.n == 0 {
			w.mu.Unlock()
			return job{}, false
		}
		j := w.todo.pop()
		if j.kind == jobBan && !w.isWaiting(j.entry) {
			w.dead--
			w.stepped()
			w.mu.Unlock()
			w.group.cameTo(j.entry)
			w.mu.Lock()
			continue
		}
		w.running = j.no
		catchUp := w.skipped > 0 && w.todo.n-w.dead < behindMost/2 && !w.ended
		w.mu.Unlock()
		if catchUp {
			w.group.catchUp(w)
		}
		return j, true
	}
}

// catchUp tells an action of the bans that it was not told of, since too much waited.
func (g *Group) catchUp(w *worker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.mu.Lock()
	w.skipped = 0
	w.mu.Unlock()
	for _, e := range g.sorted() {
		w.mu.Lock()
		known := w.isWaiting(e) || w.isTold(e)
		w.mu.Unlock()
		if !known {
			g.submit([]*worker{w}, job{kind: jobBan, entry: e})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.behind = w.skipped > 0; !w.behind {
		w.say(slog.LevelInfo, "it has caught up: it gets all bans again")
	}
}

// await waits for the action before this one to be through with a job; the first
// one for the last one's of the job before. It does so at most until orderGrace is
// over since the job was given.
func (w *worker) await(j job) {
	left := orderGrace - time.Duration(w.group.age()-j.given)*time.Millisecond
	if j.after == nil || j.after == w || left <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, left)
	defer cancel()
	j.after.wait(ctx, j.afterNo)
}

// begin says whether a job is to be done still, and for how long it may be.
func (w *worker) begin(j job) (ctx context.Context, do bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := j.entry
	if j.no > w.dropUpTo && w.dropped.n > 0 {
		w.say(slog.LevelWarn, "%d bans that it had not come to were dropped: neither its actionban nor its actionunban was run for them (%s is one)", w.dropped.n, w.dropped.of)
		w.dropped = count{}
	}
	switch j.kind {
	case jobBan:
		if !w.isWaiting(e) {
			w.dead--
			return nil, false
		}
		w.waiting.remove(e)
		if j.no <= w.dropUpTo && (w.late || time.Now().After(w.dropAfter)) {
			w.dropped.add(e.id())
			return nil, false
		}
		w.told.add(e)
	case jobUnban, jobUnbanUnlessFlushed:
		was := w.isTold(e)
		w.told.remove(e)
		if !was || j.kind == jobUnbanUnlessFlushed && w.flushed {
			return nil, false
		}
		if w.late {
			if w.act.def.Mail == nil { // a mail lifts nothing
				w.left.add(e.id())
			}
			return nil, false
		}
	case jobCheck:
		w.checks = false
	}
	ctx = w.ctx
	var cancel context.CancelFunc
	switch {
	case j.kind == jobStop:
		w.interrupt = nil
		return ctx, true
	case !w.late:
		ctx, cancel = context.WithCancel(ctx)
	case j.kind == jobStopping: // what may lift all at once is worth half of what is left
		ctx, cancel = context.WithTimeout(ctx, time.Until(w.by)/2)
	default:
		return nil, false
	}
	w.interrupt = cancel
	return ctx, true
}

// end says that the job which was begun is over.
func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.interrupt != nil {
		w.interrupt()
		w.interrupt = nil
	}
	w.running = 0
	w.stepped()
}

// finish has the worker end when it is through, at the latest at a time.
func (w *worker) finish(by time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.wake.Signal()
	if !w.by.IsZero() && !by.Before(w.by) {
		return
	}
	w.by = by
	for _, t := range w.timers {
		if t != nil {
			t.Stop()
		}
	}
	left := time.Until(by)
	w.timers[0] = time.AfterFunc(max(left-stopReserve, left/2), w.cutShort)
	w.timers[1] = time.AfterFunc(left, w.cancel)
}

// cutShort ends what it does, unless it stops, and has bans lifted one by one no more.
func (w *worker) cutShort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = true
	if w.interrupt != nil {
		w.interrupt()
	}
}

// say logs something of the action. It needs no lock.
func (w *worker) say(level slog.Level, format string, args ...any) {
	w.log.With("component", "actions").Log(context.Background(), level, fmt.Sprintf("[%s] action '%s': %s", w.jail, w.title, fmt.Sprintf(format, args...)))
}

func (w *worker) sayLeft() {
	w.mu.Lock()
	left := w.left
	w.mu.Unlock()
	if left.n > 0 {
		w.say(slog.LevelError, "the time for its end is over: %d of its bans are not lifted (%s is one); run its actionunban by hand, or start the jail with it again: it gets the bans then, and their end",
			left.n, left.of)
	}
}

// sayStuck tells of one that has not ended.
func (w *worker) sayStuck() {
	if !w.isGone() {
		w.say(slog.LevelError, "a command of it does not end, though it was killed: it is left alone")
	}
}
