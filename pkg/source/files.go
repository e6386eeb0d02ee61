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
	"sync"
	"time"
)

// Timing of a follower. Events make it quick; these bound what a lost event costs.
const (
	checkEvery = 250 * time.Millisecond // how often a path is looked at
	globEvery  = time.Second            // how often globs are expanded anew
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
	// Resume is where reading goes on, by path; it has precedence over Start.
	Resume map[string][]Position
	// Notify tells of rotation and errors; each error once until it changes.
	Notify func(Event)

	mu     sync.Mutex
	status map[string]*Status
}

// Run delivers batches until ctx ends. A full channel holds the reader back.
func (s *Files) Run(ctx context.Context, out chan<- Batch) {
	s.mu.Lock()
	s.status = map[string]*Status{}
	s.mu.Unlock()
	running := map[string]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	first := true
	tick := time.NewTicker(globEvery)
	defer tick.Stop()
	for {
		for _, path := range s.expand() {
			if running[path] {
				continue
			}
			running[path] = true
			f := &follower{src: s, path: path, out: out, wake: make(chan struct{}, 1), fromStart: !first}
			wg.Add(1)
			go func() {
				defer wg.Done()
				f.run(ctx)
			}()
		}
		first = false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expand returns the paths to follow: those that match, and those without
// wildcards even while they don't exist.
func (s *Files) expand() []string {
	var paths []string
	for _, g := range s.Globs {
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

// follower reads one path.
type follower struct {
	src       *Files
	path      string
	out       chan<- Batch
	wake      chan struct{}
	fromStart bool // the file came while we watch: read it whole

	cur  *lineReader
	old  []oldFile // renamed or deleted, maybe still written to
	subs []*subscription
	err  string // last error told

	opened  bool // some file was read under this path before
	cuts    int
	badTold bool
}

type oldFile struct {
	*lineReader
	until time.Time
}

func (f *follower) run(ctx context.Context) {
	defer f.close()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	f.subscribe()
	if !f.resume(ctx) {
		return
	}
	for {
		if !f.read(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
			f.subscribe()
		}
	}
}

func (f *follower) close() {
	for _, s := range f.subs {
		events.cancel(s)
	}
	if f.cur != nil {
		f.cur.file.Close()
	}
	for _, o := range f.old {
		o.file.Close()
	}
}

// subscribe sees to it that changes of the path, and of the file behind a
// symbolic link, wake the follower.
func (f *follower) subscribe() {
	paths := []string{f.path}
	if real, err := filepath.EvalSymlinks(f.path); err == nil && real != f.path {
		paths = append(paths, real)
	}
	keep := f.subs[:0]
	for _, s := range f.subs {
		if slices.Contains(paths, s.path) && events.alive(s) {
			keep = append(keep, s)
		} else {
			events.cancel(s)
		}
	}
	f.subs = keep
	for _, p := range paths {
		if !slices.ContainsFunc(f.subs, func(s *subscription) bool { return s.path == filepath.Clean(p) }) {
			if s := events.subscribe(p, f.wake); s != nil {
				f.subs = append(f.subs, s)
			}
		}
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
		opened := f.cur
		again := f.checkPath()
		if f.cur != nil && f.cur != opened {
			select {
			case f.out <- Batch{Path: f.path, File: f.cur.id, End: f.cur.offset, FirstLine: f.cur.firstLine(), Opened: true}:
			case <-ctx.Done():
				return false
			}
		}
		if !again {
			return true
		}
	}
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
			f.src.note(Event{Path: f.path, Text: fmt.Sprintf("a line is not %s: what can't be read counts as U+FFFD; set logencoding if it is another encoding: %q", f.src.Encoding.name(), r.bad), Warn: true})
		}
		if len(lines) == 0 {
			if err != nil {
				f.fail(err)
			}
			r.catchUp = false
			return true
		}
		select {
		case f.out <- Batch{Path: f.path, File: r.id, End: r.offset, Lines: lines, CatchUp: r.catchUp, FirstLine: r.firstLine()}:
			f.setStatus(r.offset, "")
		case <-ctx.Done():
			return false
		}
	}
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
			o.file.Close()
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

// checkPath compares the path with what is read and reports whether there is
// something new to read.
func (f *follower) checkPath() bool {
	fi, err := os.Stat(f.path)
	if err != nil {
		if f.cur != nil && errors.Is(err, os.ErrNotExist) {
			// Moved away or deleted. Its writer may go on; the next file with this
			// name is new.
			f.retire()
			f.fromStart = true
		}
		f.fail(err)
		return false
	}
	if f.cur != nil && f.cur.id == fileID(fi.Sys()) {
		if fi.Size() < f.cur.offset {
			f.src.note(Event{Path: f.path, Text: "file truncated, reading from its beginning"})
			f.cur.offset, f.cur.part, f.cur.passed, f.cur.first = 0, nil, 0, ""
			return true
		}
		return false
	}
	if fi.IsDir() {
		f.fail(errors.New("is a directory, not a log file"))
		return false
	}
	file, err := os.Open(f.path)
	if err != nil {
		f.fail(err)
		return false
	}
	fi, err = file.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		file.Close()
		f.fail(cmp.Or(err, errors.New("not a regular file")))
		return false
	}
	if f.cur != nil {
		f.retire()
		f.src.note(Event{Path: f.path, Text: "file rotated, reading the new one"})
		f.fromStart = true
	}
	r := &lineReader{file: file, enc: f.src.Encoding, id: fileID(fi.Sys()), catchUp: !f.opened}
	f.opened = true
	if !f.fromStart && f.src.Start != nil {
		r.offset = f.src.Start(file, fi.Size())
	}
	f.cur = r
	f.cuts = 0
	f.setStatus(r.offset, "")
	f.src.note(Event{Path: f.path, Text: fmt.Sprintf("following from byte %d", r.offset)})
	f.subscribe()
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
	f.src.mu.Lock()
	defer f.src.mu.Unlock()
	f.src.status[f.path] = &Status{Path: f.path, Offset: offset, Error: problem}
	if problem == "" {
		f.err = ""
	}
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
