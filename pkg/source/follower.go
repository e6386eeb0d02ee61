package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/transport"
)

// follower reads one path. A second goroutine, its lookout, opens what the path
// names, file after file.
type follower struct {
	src       *Files
	path      string
	out       chan<- Batch
	ctx       context.Context
	waits     *waits
	fromStart bool // the file came while we watch: read it whole
	more      bool // of what came in a gap, more than is opened at once
	tail      bool // the first file is read from its end on

	look    lookout
	cur     *lineReader
	fifo    *fifo
	old     []oldFile  // renamed or deleted, maybe still written to
	done    []Position // of those that were closed, and aren't told to be done yet
	copies  []aCopy    // that may be of this log
	seen    int64      // as in Batch, but for copies
	kept    int64      // as in Batch, of the last one
	held    *sighting  // not read for now: another path's follower does, or it is being copied
	heldAt  time.Time  // when it was last seen to change
	err     string     // last error told
	begun   bool       // some file was read under this path before
	cuts    int
	apart   *transport.Log // of the file that was begun last
	badTold bool
}

type oldFile struct {
	*lineReader
	until time.Time
}

func (f *follower) run() {
	ctx, cancel := context.WithCancel(f.ctx)
	f.ctx = ctx
	f.look.path, f.look.polling, f.look.waits, f.look.fifos = f.path, f.src.Polling, f.waits, f.src.fifo(f.path)
	f.look.refused.tell = f.note
	f.look.found, f.look.kick = make(chan *sighting, mostBetween), make(chan struct{}, 1)
	f.src.activate(f.path, true)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		f.look.run(ctx)
	}()
	defer func() {
		cancel()
		f.close()
		<-watching
		f.look.close()
	}()
	// What there is to do is told by kick alone: to wait for one channel is much cheaper
	// than for several, and a busy log has its followers wait all the time.
	kick := func() { signal(f.look.kick) }
	defer context.AfterFunc(ctx, kick)()
	again := time.AfterFunc(time.Hour, kick)
	defer again.Stop()
	// Whatever the path names is open before anything is read.
	select {
	case sight := <-f.look.found:
		first := *sight
		f.waits.begin(0)
		ok := f.resume(&first) && f.sighted(first)
		f.look.owed.Add(-1)
		f.waits.end(0)
		if !ok {
			return
		}
	case <-ctx.Done():
		return
	}
	for {
		if !f.read() {
			return
		}
		switch {
		case f.held != nil:
			again.Reset(time.Second)
		case len(f.old) > 0, len(f.copies) > 0: // nobody tells of what is written to a file that was renamed
			again.Reset(checkEvery)
		}
		<-f.look.kick
		if ctx.Err() != nil {
			return
		}
	}
}

// close gives back what is open, and keeps where it was left for the next who
// follows the path.
func (f *follower) close() {
	f.closeFIFO()
	var left []Position
	for _, o := range f.old {
		left = append(left, o.position(f.dealtWith()))
		f.drop(o.lineReader)
	}
	if f.cur != nil {
		left = append(left, f.cur.position(f.dealtWith()))
		f.drop(f.cur)
	}
	for _, p := range f.done {
		p.Seen = f.dealtWith()
		left = append(left, p)
	}
	f.old, f.cur, f.done = nil, nil, nil
	for _, c := range f.copies {
		c.close()
	}
	if f.held != nil {
		f.held.close()
	}
	f.src.settle(f.path)
	f.src.activate(f.path, false)
	if len(left) > 0 {
		f.src.mu.Lock()
		if f.src.Resume == nil {
			f.src.Resume = map[string][]Position{}
		}
		f.src.Resume[f.path] = left
		f.src.mu.Unlock()
	}
}

// position is where reading the file goes on.
func (r *lineReader) position(seen int64) Position {
	offset, before := r.accounted()
	return Position{File: r.id, FirstLine: r.first, Offset: offset, Before: before, Born: r.born, Seen: seen, Time: time.Now()}
}

func (f *follower) drop(r *lineReader) {
	f.src.release(r, f.path)
	r.close()
}

// send delivers a batch. It returns false when ctx ended.
func (f *follower) send(b Batch) bool {
	if f.ctx.Err() != nil {
		return false
	}
	f.kept = f.dealtWith()
	b.Path, b.Seen = f.path, f.kept
	select {
	case f.out <- b: // mostly there is room, and to ask for one thing is cheaper
		return true
	default:
	}
	f.waits.end(0) // it waits for who takes the lines now
	defer f.waits.begin(0)
	select {
	case f.out <- b:
		return true
	case <-f.ctx.Done():
		return false
	}
}

// note tells of something, unless ctx ended.
func (f *follower) note(e Event) {
	if f.ctx.Err() == nil {
		e.Path = f.path
		f.src.note(e)
	}
}

// read delivers all that there is. It returns false when ctx ended.
func (f *follower) read() bool {
	f.waits.begin(0)
	defer f.waits.end(0)
	for {
		if !f.drainOld() {
			return false
		}
		if f.cur != nil && !f.drain(f.cur) {
			return false
		}
		if len(f.copies) > 0 && !f.readCopies() {
			return false
		}
		select {
		case sight := <-f.look.found:
			ok := f.sighted(*sight)
			f.look.owed.Add(-1)
			if !ok {
				return false
			}
		default:
			if f.held == nil {
				return true
			}
			s := *f.held
			f.held = nil
			if !f.sighted(s) {
				return false
			}
			if f.held != nil || f.cur == nil {
				return true
			}
		}
	}
}

// sighted takes over what the lookout found. It returns false when ctx ended.
func (f *follower) sighted(s sighting) bool {
	if f.cur != nil && !f.drain(f.cur) {
		s.close()
		return false
	}
	if s.of != (FileID{}) {
		f.keepCopy(s)
		return true
	}
	if !s.again && s.err == nil && f.held != nil {
		before := *f.held // now or never
		f.held, f.heldAt, before.between = nil, time.Time{}, true
		if !f.take(before) {
			s.close()
			return false
		}
	}
	switch {
	case s.gone:
		// Moved away or deleted. Its writer may go on; the next file with this name is
		// new.
		f.closeFIFO()
		f.retire()
		f.fromStart = true
	case s.again:
		if f.cur != nil {
			f.setStatus(f.cur, "")
		}
	case s.err != nil:
		f.fail(s.err)
	case s.fifo:
		f.closeFIFO()
		f.retire()
		f.openFIFO(s)
	case s.file != nil:
		return f.take(s)
	}
	return true
}

// take begins to read a file that the path named.
func (f *follower) take(s sighting) bool {
	f.closeFIFO()
	if f.cur != nil && f.cur.id == s.id {
		s.close()
		return true
	}
	if i := slices.IndexFunc(f.old, func(o oldFile) bool { return o.id == s.id }); i >= 0 { // it is back
		s.close()
		if !s.between {
			r := f.old[i].lineReader
			f.old = slices.Delete(f.old, i, i+1)
			f.retire()
			f.cur = r
			f.setStatus(r, "")
		}
		return true
	}
	rotated := f.cur != nil
	f.retire()
	if !f.src.claim(s.id, f.path) { // by another name it is read already
		if s.between {
			s.close()
			return true
		}
		f.held = &s
		f.src.setStatus(f.path, 0, "")
		return true
	}
	size := s.size // it may have been seen empty: what it is by now is looked at
	if fi, err := s.file.Stat(); err == nil {
		size = fi.Size()
	}
	at, wait := f.src.wasRead(s.file, s.id, size, s.id)
	if wait && !s.between && f.growing(&s) {
		f.held = &s
		return true
	}
	if rotated && !s.between {
		f.note(Event{Text: "file rotated, reading the new one"})
		f.fromStart = true
	}
	fresh := at == 0
	switch {
	case !fresh, f.fromStart, s.between:
	case f.tail:
		at = s.size
	case f.src.Start != nil:
		at = f.src.Start(s.file, s.size)
	}
	r := newReader(s.file, f.src.Encoding, s.id, at)
	r.catchUp = !f.begun
	f.seen = max(f.seen, s.seen, s.born)
	f.rewrittenOf(r, size) // the present one is the last of the old ones by now
	f.begun = true
	f.cuts = 0
	f.src.reads(r)
	if s.between {
		switch {
		case fresh && s.file.Name() == f.path: // it came before it was looked for
			f.note(Event{Text: "file rotated, reading the new one"})
		case fresh:
			f.note(Event{Text: fmt.Sprintf("reading %s, which came and was renamed meanwhile", s.file.Name())})
		case at < s.size: // a copy of what was read, and more
			f.note(Event{Text: fmt.Sprintf("reading the rest of %s from byte %d", s.file.Name(), at)})
		}
		f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
	} else {
		f.cur = r
		f.setStatus(r, "")
		f.note(Event{Text: fmt.Sprintf("following from byte %d", r.offset), Begun: true, At: r.offset})
	}
	if !f.send(f.opened(r)) {
		return false
	}
	if s.between {
		return f.drain(r)
	}
	return true
}

// growing reports whether a copy of another file grew within a second.
func (f *follower) growing(s *sighting) bool {
	fi, err := s.file.Stat()
	if err != nil {
		return false
	}
	if fi.Size() != s.size || f.heldAt.IsZero() {
		s.size, f.heldAt = fi.Size(), time.Now()
	}
	if time.Since(f.heldAt) < 3*time.Second/2 {
		return true
	}
	f.heldAt = time.Time{}
	return false
}

// drain reads one file to its present end.
func (f *follower) drain(r *lineReader) bool {
	for {
		if !r.apart.primed {
			f.prime(r)
		}
		begins, before := r.offset, r.before
		f.waits.reading.Store(r.age.begin(&f.waits.unread))
		lines, err := r.read()
		r.age.read(r, len(lines))
		if f.ctx.Err() != nil {
			return false
		}
		if r.cut > f.cuts {
			f.cuts = r.cut
			f.note(Event{Often: true, Err: fmt.Errorf("line ending at byte %d is longer than %d bytes: only its beginning is looked at", r.offset, MaxLine)})
		}
		if r.bad != nil && !f.badTold { // once a log, as fail2ban does
			f.badTold = true
			f.note(notReadable(f.path, f.src.Encoding, r.bad))
		}
		if errors.Is(err, errRewritten) {
			if !f.emptied(r) {
				return false
			}
			continue
		}
		if len(lines) == 0 {
			if err != nil {
				f.fail(err)
			}
			r.catchUp = false
			f.waits.reading.Store(0)
			return true
		}
		knew, was := r.anew, r.was
		again := begins < r.until || r.was != nil && r.repeats(lines)
		if again && r.anew && !knew { // now that there is something to be known again
			if f.skips(r, was) {
				continue
			}
			f.note(Event{Text: "file was rewritten: its lines count as old as they say"})
		}
		lines, frames := f.takeApart(r, begins, before, lines)
		end, before := r.accounted()
		if frames != nil {
			r.notes = nil // they are of the lines as they stand there
		}
		b := Batch{
			File: r.id, End: end, Lines: lines, Frames: frames, Notes: r.notes, CatchUp: r.catchUp || again, Rewritten: again,
			FirstLine: r.firstLine(), Before: before, Born: r.born, Written: r.age.written,
		}
		if (len(lines) > 0 || frames == nil) && !f.send(b) {
			return false
		}
		f.setStatus(r, "")
		f.waits.begin(0)
		if !r.ended.IsZero() && f.look.settled(r.ended) {
			r.catchUp = false
			f.waits.reading.Store(0)
			return true
		}
	}
}

func (f *follower) reading(id FileID) bool {
	return f.cur != nil && f.cur.id == id || slices.ContainsFunc(f.old, func(o oldFile) bool { return o.id == id })
}

func notReadable(path string, enc *Encoding, line []byte) Event {
	return Event{Path: path, Warn: true, Text: fmt.Sprintf(
		"a line is not %s: what can't be read counts as U+FFFD; set logencoding if it is another encoding: %q", enc.name(), line[:min(len(line), 200)])}
}

func (f *follower) drainOld() bool {
	now := time.Now()
	for i := 0; i < len(f.old); {
		o := f.old[i]
		before := o.offset
		if !f.drain(o.lineReader) {
			return false
		}
		if o.offset > before {
			f.old[i].until = now.Add(holdOld)
		}
		if now.Before(f.old[i].until) && len(f.old) <= mostOld {
			i++
			continue
		}
		f.old = slices.Delete(f.old, i, i+1)
		f.done = append(f.done, o.position(0))
		f.drop(o.lineReader)
	}
	return f.tellDone()
}

// retire keeps the present file for a while, since its writer may still hold it.
func (f *follower) retire() {
	if f.cur != nil {
		f.old = append(f.old, oldFile{f.cur, time.Now().Add(holdOld)})
		f.cur = nil
	}
}

func (f *follower) fail(err error) {
	if f.ctx.Err() != nil {
		return
	}
	offset := int64(0)
	if f.cur != nil {
		offset = f.cur.offset
	}
	f.src.setStatus(f.path, offset, err.Error())
	if err.Error() == f.err {
		return
	}
	f.err = err.Error()
	f.note(Event{Err: err})
}

func (f *follower) setStatus(r *lineReader, problem string) {
	if f.ctx.Err() != nil {
		return
	}
	s := f.src
	s.mu.Lock()
	defer s.mu.Unlock()
	offset, before := r.accounted()
	r.shown = place{r.first, offset, before}
	if st := s.status[f.path]; st != nil {
		*st = Status{Path: f.path, Offset: offset, Error: problem}
	} else {
		s.status[f.path] = &Status{Path: f.path, Offset: offset, Error: problem}
	}
	if problem == "" {
		f.err = ""
	}
}
