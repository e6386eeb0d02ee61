package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Timing of a follower. Events make it quick; these bound what a lost event costs.
const (
	checkEvery = 250 * time.Millisecond // how often a path is looked at
	globCheck  = 500 * time.Millisecond // how often the directories of globs are looked at
	globEvery  = 5 * time.Second        // how often globs are expanded anew in any case
	holdOld    = 10 * time.Second       // how long a renamed file is read after its last line
)

// Files follows the files that match some globs.
type Files struct {
	Globs []string
	// Encoding of the files; nil: UTF-8.
	Encoding *Encoding
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

	mu     sync.Mutex
	status map[string]*Status
	added  map[string]bool // while running, and whether from their end on
	kick   chan struct{}   // nil before Run
}

// Add follows another log from now on: like one that is there at the start, or
// from its end on.
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

// again has the globs expanded anew. The caller holds the lock.
func (s *Files) again() {
	if s.kick != nil {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

func (s *Files) globs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Globs
}

// Run delivers batches until ctx ends. A full channel holds the reader back.
func (s *Files) Run(ctx context.Context, out chan<- Batch) {
	s.mu.Lock()
	s.status, s.kick = map[string]*Status{}, make(chan struct{}, 1)
	kick := s.kick
	s.mu.Unlock()
	running := map[string]*run{}
	var wg sync.WaitGroup
	defer wg.Wait()
	first := true
	tick := time.NewTicker(globCheck)
	defer tick.Stop()
	var dirs string // as they were when globs were expanded
	var expanded time.Time
	for {
		if slices.ContainsFunc(s.globs(), hasWildcard) {
			tick.Reset(globCheck)
		} else {
			tick.Stop() // each path has its lookout
		}
		if now := s.directories(); now != dirs || time.Since(expanded) >= globEvery {
			dirs, expanded = now, time.Now()
			for _, path := range s.expand() {
				if running[path] != nil {
					continue
				}
				r := &run{glob: s.globOf(path), done: make(chan struct{})}
				running[path] = r
				ctx, stop := context.WithCancel(ctx)
				r.stop = stop
				later := !first
				wg.Go(func() {
					defer close(r.done)
					if path == Stdin {
						s.stdin(ctx, out)
						return
					}
					s.mu.Lock()
					tail, added := s.added[path]
					s.mu.Unlock()
					f := &follower{src: s, path: path, out: out, fromStart: later && !added, tail: tail}
					f.run(ctx)
				})
			}
			first = false
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-kick:
			dirs = ""
			for path, r := range running {
				if slices.Contains(s.globs(), r.glob) {
					continue
				}
				r.stop()
				<-r.done
				delete(running, path)
				s.mu.Lock()
				delete(s.status, path)
				s.mu.Unlock()
			}
		}
	}
}

// run is a log that is followed.
type run struct {
	glob string
	stop context.CancelFunc
	done chan struct{}
}

// globOf returns the glob for which a path is followed.
func (s *Files) globOf(path string) string {
	for _, g := range s.globs() {
		if ok, _ := filepath.Match(g, path); ok || filepath.Clean(g) == path {
			return g
		}
	}
	return path
}

// directories tells the state of the directories that globs look into: another
// state means that there may be new files.
func (s *Files) directories() string {
	var b strings.Builder
	for _, g := range s.globs() {
		dir := filepath.Dir(g)
		for hasWildcard(dir) {
			dir = filepath.Dir(dir)
		}
		if fi, err := os.Stat(dir); err == nil {
			fmt.Fprintf(&b, "%d ", fi.ModTime().UnixNano())
		} else {
			b.WriteString("- ")
		}
	}
	return b.String()
}

// expand returns the paths to follow: those that match, and those without
// wildcards even while they don't exist.
func (s *Files) expand() []string {
	var paths []string
	for _, g := range s.globs() {
		if g == Stdin {
			paths = append(paths, g)
			continue
		}
		found, err := filepath.Glob(g)
		if err != nil || len(found) == 0 {
			if !hasWildcard(g) {
				paths = append(paths, filepath.Clean(g))
			}
			continue
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

func hasWildcard(s string) bool {
	for _, c := range s {
		if c == '*' || c == '?' || c == '[' {
			return true
		}
	}
	return false
}

// Status returns the logs that are followed, by path.
func (s *Files) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.status))
	for _, st := range s.status {
		out = append(out, *st)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

func (s *Files) note(e Event) {
	if s.Notify != nil {
		s.Notify(e)
	}
}

// follower reads one path. A second goroutine, its lookout, opens what the path
// names, file after file.
type follower struct {
	src       *Files
	path      string
	out       chan<- Batch
	fromStart bool // the file came while we watch: read it whole
	tail      bool // the first file is read from its end on

	look    lookout
	cur     *lineReader
	fifo    *fifo
	old     []oldFile // renamed or deleted, maybe still written to
	err     string    // last error told
	opened  bool      // some file was read under this path before
	cuts    int
	badTold bool
}

type oldFile struct {
	*lineReader
	until time.Time
}

func (f *follower) run(ctx context.Context) {
	defer f.close()
	if !f.resume(ctx) {
		return
	}
	f.look.path, f.look.polling = f.path, f.src.Polling
	f.look.found, f.look.kick = make(chan sighting, 256), make(chan struct{}, 1)
	if f.cur != nil {
		f.look.id = f.cur.id
	}
	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		f.look.run(ctx)
	}()
	defer func() {
		cancel()
		<-watching
		f.look.close()
	}()
	// What there is to do is told by kick alone: to wait for one channel is much cheaper
	// than for several, and a busy log has its followers wait all the time.
	kick := func() { signal(f.look.kick) }
	defer context.AfterFunc(ctx, kick)()
	again := time.AfterFunc(time.Hour, kick)
	defer again.Stop()
	for {
		if !f.read(ctx) {
			return
		}
		// Nobody tells of what is written to a file that was renamed.
		if len(f.old) > 0 {
			again.Reset(checkEvery)
		}
		<-f.look.kick
		if ctx.Err() != nil {
			return
		}
	}
}

func (f *follower) close() {
	f.closeFIFO()
	if f.cur != nil {
		f.cur.close()
	}
	for _, o := range f.old {
		o.close()
	}
}

// read delivers all that there is. It returns false when ctx ended.
func (f *follower) read(ctx context.Context) bool {
	for {
		if !f.drainOld(ctx) {
			return false
		}
		if f.cur != nil && !f.drain(ctx, f.cur) {
			return false
		}
		select {
		case s := <-f.look.found:
			if !f.sighted(ctx, s) {
				return false
			}
		default:
			return true
		}
	}
}

// sighted takes over what the lookout found. It returns false when ctx ended.
func (f *follower) sighted(ctx context.Context, s sighting) bool {
	if f.cur != nil && !f.drain(ctx, f.cur) {
		return false
	}
	switch {
	case s.gone:
		// Moved away or deleted. Its writer may go on; the next file with this name is
		// new.
		f.closeFIFO()
		f.retire()
		f.fromStart = true
	case s.err != nil:
		f.fail(s.err)
	case s.fifo:
		f.closeFIFO()
		f.retire()
		if err := f.openFIFO(ctx, s.id); err != nil {
			f.fail(err)
		}
	case s.file != nil:
		f.closeFIFO()
		if f.cur != nil {
			f.retire()
			f.src.note(Event{Path: f.path, Text: "file rotated, reading the new one"})
			f.fromStart = true
		}
		r := &lineReader{file: s.file, enc: f.src.Encoding, id: s.id, catchUp: !f.opened}
		shared.join(r.id)
		f.opened = true
		switch {
		case f.fromStart:
		case f.tail:
			r.offset = s.size
		case f.src.Start != nil:
			r.offset = f.src.Start(s.file, s.size)
		}
		f.cur = r
		f.cuts = 0
		f.setStatus(r.offset, "")
		f.src.note(Event{Path: f.path, Text: fmt.Sprintf("following from byte %d", r.offset)})
		select {
		case f.out <- Batch{Path: f.path, File: r.id, End: r.offset, FirstLine: r.firstLine(), Opened: true}:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// drain reads one file to its present end.
func (f *follower) drain(ctx context.Context, r *lineReader) bool {
	for {
		lines, err := r.read()
		if r.cut > f.cuts {
			f.cuts = r.cut
			f.src.note(Event{Path: f.path, Err: fmt.Errorf("line ending at byte %d is longer than %d bytes: only its beginning is looked at", r.offset, MaxLine)})
		}
		if r.bad != nil && !f.badTold { // once a log, as fail2ban does
			f.badTold = true
			f.src.note(notReadable(f.path, f.src.Encoding, r.bad))
		}
		if errors.Is(err, errRewritten) {
			f.src.note(Event{Path: f.path, Text: "file truncated, reading from its beginning"})
			r.rewind()
			continue
		}
		if len(lines) == 0 {
			if err != nil {
				f.fail(err)
			}
			r.catchUp = false
			return true
		}
		b := Batch{Path: f.path, File: r.id, End: r.offset, Lines: lines, Notes: r.notes, CatchUp: r.catchUp, FirstLine: r.firstLine()}
		select {
		case f.out <- b: // mostly there is room, and to ask for one thing is cheaper
		default:
			select {
			case f.out <- b:
			case <-ctx.Done():
				return false
			}
		}
		f.setStatus(r.offset, "")
		if !r.ended.IsZero() && f.look.settled(r.ended) {
			r.catchUp = false
			return true
		}
	}
}

func notReadable(path string, enc *Encoding, line []byte) Event {
	return Event{Path: path, Warn: true, Text: fmt.Sprintf(
		"a line is not %s: what can't be read counts as U+FFFD; set logencoding if it is another encoding: %q", enc.name(), line[:min(len(line), 200)])}
}

func (f *follower) drainOld(ctx context.Context) bool {
	now := time.Now()
	keep := f.old[:0]
	for _, o := range f.old {
		before := o.offset
		if !f.drain(ctx, o.lineReader) {
			return false
		}
		if o.offset > before {
			o.until = now.Add(holdOld)
		}
		if now.After(o.until) {
			o.close()
			select {
			case f.out <- Batch{Path: f.path, File: o.id, End: o.offset, FirstLine: o.first, Done: true}:
			case <-ctx.Done():
				return false
			}
			continue
		}
		keep = append(keep, o)
	}
	f.old = keep
	return true
}

// retire keeps the present file for a while, since its writer may still hold it.
func (f *follower) retire() {
	if f.cur != nil {
		f.old = append(f.old, oldFile{f.cur, time.Now().Add(holdOld)})
		f.cur = nil
	}
}

func (f *follower) fail(err error) {
	if f.cur != nil {
		f.setStatus(f.cur.offset, err.Error())
	} else {
		f.setStatus(0, err.Error())
	}
	if err.Error() == f.err {
		return
	}
	f.err = err.Error()
	f.src.note(Event{Path: f.path, Err: err})
}

func (f *follower) setStatus(offset int64, problem string) {
	f.src.setStatus(f.path, offset, problem)
	if problem == "" {
		f.err = ""
	}
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

// SeekTime finds the offset of the first line of a log that is not older than
// what before says: before reports whether a line is older, and whether it has
// a time at all. Logs are in the order of time, more or less; the search halves
// the file until a block is left.
func SeekTime(file io.ReaderAt, size int64, enc *Encoding, before func(line []byte) (older, dated bool)) int64 {
	const near = 64 << 10
	lo, hi := int64(0), size // the line begins in lo…hi
	for hi-lo > near {
		mid := lo + (hi-lo)/2
		mid -= mid % enc.width()
		at, older, dated := firstDated(file, mid, hi, enc, before)
		switch {
		case !dated: // no line with a date between here and hi
			hi = mid
		case older:
			lo = at
		default:
			hi = mid
		}
	}
	return lo // a few lines too many: they are judged by their own time
}

// firstDated looks from offset on for a line that has a date and returns where
// it begins.
func firstDated(file io.ReaderAt, from, to int64, enc *Encoding, before func(line []byte) (older, dated bool)) (at int64, older, dated bool) {
	r := &lineReader{offset: from, enc: enc}
	buf := make([]byte, 64<<10)
	partial := from > 0 // the first piece is the rest of a line
	for pos := from; pos < to; {
		n, _ := file.ReadAt(buf, pos)
		if n == 0 {
			return 0, false, false
		}
		if n -= n % int(enc.width()); n == 0 {
			return 0, false, false
		}
		pos += int64(n)
		start := r.offset
		for _, line := range r.split(buf[:n]) {
			if !partial {
				if older, dated = before(enc.Decode(line)); dated {
					return start, older, true
				}
			}
			partial = false
			start += int64(len(line)) + enc.width()
		}
	}
	return 0, false, false
}
