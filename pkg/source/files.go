package source

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/transport"
)

// Timing of a follower. Events make it quick; these bound what a lost event costs.
const (
	checkEvery = 250 * time.Millisecond // how often a path is looked at
	globCheck  = 500 * time.Millisecond // how often the directories of globs are looked at
	globEvery  = 5 * time.Second        // how often globs are expanded anew in any case
	holdOld    = 10 * time.Second       // how long a renamed file is read after its last line
	mostOld    = 64                     // how many of them are held at once
	leaveAfter = time.Second            // how long Run's end waits for who is stuck in a file system
	hungShown  = 2 * time.Second        // when the status tells of that
	hungAfter  = 10 * time.Second       // when the log does
)

// Files follows the files that match some globs.
type Files struct {
	Globs []string
	// FIFOs are those of them that are named pipes. A FIFO that isn't named as one is
	// not read: it may have been put in a log's place.
	FIFOs []string
	// Encoding of the files; nil: UTF-8.
	Encoding *Encoding
	// Transport is what is taken off their lines.
	Transport transport.Options
	// Start returns the offset from which a file that is there at the start is
	// read; files that come later are read whole. nil: from the beginning.
	Start func(f *os.File, size int64) int64
	// Resumed, if not nil, is told of a file that is read on from where it was left,
	// before its lines come.
	Resumed func(f *os.File)
	// Resume is where reading goes on, by path; it has precedence over Start.
	Resume map[string][]Position
	// Polling: changes are looked for four times a second and not waited for.
	Polling bool
	// Notify tells of rotation and errors; each error once until it changes.
	Notify func(Event)

	mu      sync.Mutex
	status  map[string]*Status
	waiting map[string]*waits // by path or glob: for whose answer
	added   map[string]bool   // while running, and whether from their end on
	kick    chan struct{}     // nil before Run
	kept    ledger
}

// Add follows another log from now on: where it was left, if it was followed before,
// or like one that is there at the start, or from its end on.
func (s *Files) Add(path string, tail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.Globs, path) {
		return
	}
	s.Globs = append(slices.Clone(s.Globs), path)
	if s.added == nil {
		s.added = map[string]bool{}
	}
	s.added[path] = tail
	s.again()
}

// Remove follows a log no longer. It reports whether it was followed.
func (s *Files) Remove(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.Globs, path) {
		return false
	}
	s.Globs = slices.DeleteFunc(slices.Clone(s.Globs), func(g string) bool { return g == path })
	delete(s.added, path)
	s.again()
	return true
}

// again has the globs looked at anew. The caller holds the lock.
func (s *Files) again() {
	if s.kick != nil {
		signal(s.kick)
	}
}

func (s *Files) globs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Globs
}

// NameFIFO names a path as that of a FIFO.
func (s *Files) NameFIFO(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.FIFOs = append(slices.Clone(s.FIFOs), path)
}

// fifo reports whether a path is named as a FIFO.
func (s *Files) fifo(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.FIFOs, func(g string) bool {
		ok, _ := filepath.Match(g, path)
		return ok || filepath.Clean(g) == path
	})
}

// Run delivers batches until ctx ends. A full channel holds the reader back. It
// returns within about a second of that, whatever a file system does: who is stuck
// in one then is left behind, and delivers nothing any more.
func (s *Files) Run(ctx context.Context, out chan<- Batch) {
	r := &running{src: s, out: out, ctx: ctx, logs: map[string]*run{}, globs: map[string]*run{}, found: make(chan expansion)}
	s.mu.Lock()
	s.status, s.waiting, s.kick = map[string]*Status{}, map[string]*waits{}, make(chan struct{}, 1)
	s.Resume = maps.Clone(s.Resume)
	s.kept.begin(s.Resume, s.Globs)
	kick := s.kick
	s.mu.Unlock()
	look := time.NewTicker(hungAfter / 2)
	defer look.Stop()
	for {
		r.update()
		select {
		case <-ctx.Done():
			for _, x := range r.globs {
				x.stop()
			}
			leave(slices.Concat(slices.Collect(maps.Values(r.logs)), slices.Collect(maps.Values(r.globs))))
			return
		case <-kick:
		case <-look.C:
			s.tellHung()
		case e := <-r.found:
			for _, path := range e.paths {
				r.follow(path, e.glob, e.later)
			}
		}
	}
}

// running is what one Run has at work.
type running struct {
	src   *Files
	out   chan<- Batch
	ctx   context.Context
	logs  map[string]*run // by path
	globs map[string]*run // those with wildcards
	found chan expansion
}

// run is a log, or a glob, that is followed.
type run struct {
	glob string
	stop context.CancelFunc
	done chan struct{}
}

// leave waits a while until all have ended.
func leave(all []*run) {
	timer := time.NewTimer(leaveAfter)
	defer timer.Stop()
	for _, r := range all {
		select {
		case <-r.done:
		case <-timer.C:
			return
		}
	}
}

// begin has f run until its end, or until r.stop is called.
func (r *running) begin(name, glob string, f func(context.Context)) *run {
	ctx, stop := context.WithCancel(r.ctx)
	x := &run{glob: glob, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		defer stop()
		r.src.counted(ctx, name, f)
	}()
	return x
}

// update follows what is to be followed, and no more.
func (r *running) update() {
	globs := r.src.globs()
	for path, x := range r.logs {
		if !slices.Contains(globs, x.glob) {
			x.stop()
			leave([]*run{x})
			delete(r.logs, path)
			r.src.forget(path)
		}
	}
	for glob, x := range r.globs {
		if !slices.Contains(globs, glob) {
			x.stop()
			delete(r.globs, glob)
			r.src.forget(glob)
		}
	}
	for _, g := range globs {
		switch {
		case g == Stdin:
			r.follow(g, g, false)
		case !hasWildcard(g):
			r.follow(filepath.Clean(g), g, false)
		case r.globs[g] == nil:
			r.globs[g] = r.begin(g, g, func(ctx context.Context) { r.src.expand(ctx, g, r.found) })
		}
	}
}

// follow begins to follow a path, unless that is done already. later: it came while
// we watch.
func (r *running) follow(path, glob string, later bool) {
	if r.logs[path] != nil {
		return
	}
	s := r.src
	r.logs[path] = r.begin(path, glob, func(ctx context.Context) {
		if path == Stdin {
			s.stdin(ctx, r.out)
			return
		}
		s.mu.Lock()
		tail, added := s.added[glob]
		s.mu.Unlock()
		f := &follower{src: s, path: path, out: r.out, ctx: ctx, fromStart: later && !added, tail: tail}
		f.waits = s.waitsOf(path)
		f.run()
	})
}

// Status returns the logs that are followed, by path, and the globs that no file
// matched yet. It waits for nothing.
func (s *Files) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.status))
	for path, st := range s.status {
		x := *st
		x.Unread = s.waiting[path].unreadSince()
		if since, hung := s.waiting[path].since(); hung && x.Error == "" {
			x.Error = fmt.Sprintf("the file system hasn't answered for %v", since.Round(time.Second))
		}
		out = append(out, x)
	}
	for path, w := range s.waiting {
		if since, hung := w.since(); hung && s.status[path] == nil {
			out = append(out, Status{Path: path, Error: fmt.Sprintf("the file system hasn't answered for %v", since.Round(time.Second))})
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

func (s *Files) note(e Event) {
	if s.Notify != nil {
		s.Notify(e)
	}
}

// forget drops what is told of a path.
func (s *Files) forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.status, path)
	delete(s.waiting, path)
}

func (s *Files) setStatus(path string, offset int64, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.status[path]; st != nil {
		*st = Status{Path: path, Offset: offset, Error: problem}
		return
	}
	s.status[path] = &Status{Path: path, Offset: offset, Error: problem}
}
