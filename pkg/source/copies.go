package source

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A log that is copied and then emptied (logrotate's copytruncate) stays the same file.
// If that happened several times while nobody read it (the process stood still, a disk
// was slow), only the first copy holds what was read before; the others are known by
// when they were made.
//
// A log that was read up to its header, or not at all, looks after that as it did before.
// So whatever comes into being beside a log that stays the same file is looked at: if it
// is not what the log begins with, that was emptied, and what the copy holds was not read,
// or it would have been noticed.

// emptied goes back to the beginning of a file that was emptied, and may have been
// written to since. What was not read of it yet may stand in a copy.
func (f *follower) emptied(r *lineReader) bool {
	was, p := r.memory(), place{r.first, r.offset, r.before} // as it was
	size := int64(0)
	if fi, err := r.file.Stat(); err == nil {
		size = fi.Size()
	}
	unread := int64(0)
	if r == f.cur {
		unread = max(0, f.look.most.Swap(0)-r.offset)
	}
	f.src.emptied(p)
	if yes, behind, known := was.repeated(r.file, size); yes && known {
		r.rewind()
		r.goTo(behind)
		r.until = size
		r.was, r.wasAt = was, time.Now() // it may not be at its end yet
		f.goesOn(r)
		return true
	}
	r.rewind()
	since, copied := looked{modified: r.dry}, false
	if p.offset > 0 {
		if c := f.copied(p, r.id); c != nil {
			since, _ = lookAt(c.file)
			if fi, err := c.file.Stat(); err == nil && fi.Size() > p.offset {
				f.note(Event{Text: fmt.Sprintf("file truncated, reading the rest of its copy %s from byte %d", c.file.Name(), p.offset)})
			}
			f.old = append(f.old, oldFile{c, time.Now().Add(holdOld)})
			if !f.send(f.opened(c)) || !f.drain(c) {
				return false
			}
			unread, copied = 0, true
		}
		r.was, r.wasAt = was, time.Now()
	}
	switch ok, some := f.laterCopies(p, was, r, since); {
	case !ok:
		return false
	case some:
		unread, copied = 0, true
	}
	text := "file truncated, reading from its beginning"
	switch {
	case unread > 0:
		f.note(Event{Warn: true, Text: fmt.Sprintf("file truncated: %d bytes that were not read yet are lost", unread)})
	case !copied:
		text += fmt.Sprintf("; no copy of it was found: if more was written to it than the %d bytes that were read, that is lost", p.offset)
	}
	f.note(Event{Text: text})
	return true
}

// copied looks beside the log for the copy of a content, and opens it where that was
// left.
func (f *follower) copied(p place, of FileID) *lineReader {
	var found *lineReader
	for _, n := range listed(f.path, false) {
		if n.id == of || n.size < p.offset || f.reading(n.id) || f.dealt(n) {
			continue
		}
		file, err := n.open()
		if err != nil {
			continue
		}
		if found != nil || p.before == "" || !p.in(file) || f.src.done(n.id, n.size, file) || !f.src.claim(n.id, f.path) {
			file.Close()
			continue
		}
		found = newReader(file, f.src.Encoding, n.id, p.offset)
		found.catchUp = true
		f.src.reads(found)
	}
	return found
}

// laterCopies reads what was made beside a log of its content after what was read of it
// last, or after the copy of that; p is how far that was read, and was what is known of
// it, since it may have been written anew before it was copied. some says that there was
// any; ok is false when ctx ended.
func (f *follower) laterCopies(p place, was *memory, r *lineReader, since looked) (ok, some bool) {
	if since.modified.IsZero() {
		return true, false
	}
	files, of := openNeighbours(f.path, false, func(n neighbour) bool {
		if n.id == r.id || n.node == since.node || n.size == 0 || f.reading(n.id) || f.dealt(n) {
			return false
		}
		if since.node == (node{}) { // a file's times are those of the kernel's last tick
			made := n.modified
			if n.born != 0 {
				made = time.Unix(0, n.born)
			}
			return made.After(since.modified.Add(-stampSlack))
		}
		return younger(since, n.looked) < 0
	}, f.look.refuse)
	var readers []*lineReader
	for i, file := range files {
		n := of[i]
		at, _ := f.src.wasRead(file, n.id, n.size, n.id)
		if at > 0 || p.before != "" && p.in(file) || prefixOf(file, n.size, r.file) ||
			slices.ContainsFunc(readers, func(o *lineReader) bool { return prefixOf(file, n.size, o.file) }) ||
			f.named(n.id) || !f.src.claim(n.id, f.path) {
			file.Close()
			continue
		}
		c := newReader(file, f.src.Encoding, n.id, 0)
		c.catchUp = true
		f.src.reads(c)
		f.repeats(c, was, n.size, true)
		readers = append(readers, c)
		f.old = append(f.old, oldFile{c, time.Now().Add(holdOld)})
	}
	for _, c := range readers {
		f.note(Event{Text: fmt.Sprintf("file truncated, reading its copy %s, which was made meanwhile", c.file.Name())})
		if !f.send(f.opened(c)) || !f.drain(c) {
			return false, true
		}
	}
	return true, len(readers) > 0
}

// bed is a directory, and when it was last changed.
type bed struct {
	path string
	at   time.Time
}

// bedsOf returns the directories in which a log's neighbours are.
func bedsOf(path string) (out []bed) {
	paths := []string{path}
	if real := leadsTo(path); real != "" && real != path {
		paths = append(paths, real)
	}
	for _, p := range paths {
		out = append(out, bed{path: filepath.Dir(p)})
	}
	return out
}

// listShare is how many times as long as it takes to look through the neighbours this is
// not done again.
const listShare = 500

// copies finds the files that came to be beside the log while that stayed the same.
func (l *lookout) copies() (out []sighting) {
	now := time.Now()
	if now.Before(l.next) {
		return nil
	}
	stirred := l.again
	var st unix.Stat_t
	for i := range l.beds {
		if err := statOf(l.beds[i].path, &st); err != nil {
			continue
		}
		if at := changedAt(&st); !at.Equal(l.beds[i].at) {
			l.beds[i].at, stirred = at, true
		}
	}
	if !stirred {
		return nil
	}
	// Within one tick of the file system's clock, there may be more to come.
	tick := coarse()
	l.again = slices.ContainsFunc(l.beds, func(b bed) bool {
		past := now.Sub(b.at)
		return past.Abs() < stampSlack || past >= 0 && b.at.UnixNano() >= tick
	})
	files, of := openNeighbours(l.path, false, func(n neighbour) bool { return n.id != l.id && !l.had[n.node] }, l.refuse)
	// A process may stand still between two looks: what the path named meanwhile is no
	// copy, and belongs before what it names now.
	if len(files) > 0 && !l.stays() {
		for _, file := range files {
			file.Close()
		}
		return nil
	}
	l.again = l.again || len(files) >= mostBetween
	for i, file := range files {
		l.had[of[i].node] = true
		out = append(out, sighting{file: file, id: of[i].id, size: of[i].size, born: of[i].born, of: l.id})
	}
	l.next = now.Add(listShare * time.Since(now))
	return out
}

// stays reports whether the path names what it named when it was last looked at.
func (l *lookout) stays() bool {
	fi, err := os.Stat(l.path)
	return err == nil && fileID(fi.Sys()) == l.id
}

// aCopy is a file that came to be beside the log, and is looked at for a while.
type aCopy struct {
	sighting
	grew  time.Time // when it was last seen to have grown
	until time.Time
}

// copySettled is for how long a copy does not grow before it is taken for whole.
const copySettled = 2 * checkEvery

// keepCopy has a file that came to be beside the log looked at.
func (f *follower) keepCopy(s sighting) {
	if f.reading(s.id) || len(f.copies) >= mostOld {
		s.close()
		return
	}
	now := time.Now()
	f.copies = append(f.copies, aCopy{s, now, now.Add(holdOld)})
}

// readCopies reads what stands in copies of the log only. It returns false when ctx ended.
func (f *follower) readCopies() bool {
	for i := 0; i < len(f.copies); {
		c := &f.copies[i]
		at, more := f.missing(c)
		if more && time.Now().Before(c.until) {
			i++
			continue
		}
		s := c.sighting
		f.copies = slices.Delete(f.copies, i, i+1)
		if more || at >= s.size || f.reading(s.id) || f.named(s.id) || !f.src.claim(s.id, f.path) {
			f.seen = max(f.seen, s.born+1)
			s.close()
			f.account()
			continue
		}
		r := newReader(s.file, f.src.Encoding, s.id, at)
		r.catchUp = true
		f.src.reads(r)
		f.rewrittenOf(r, s.size)
		f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
		f.note(Event{Text: fmt.Sprintf("file was copied to %s and truncated: reading the copy from byte %d", s.file.Name(), r.offset)})
		if !f.send(f.opened(r)) || !f.drain(r) {
			return false
		}
	}
	return true
}

// missing returns from where on a copy holds what was not read. wait: that can't be said
// yet: it is a copy of what the log holds, or grows.
func (f *follower) missing(c *aCopy) (at int64, wait bool) {
	fi, err := c.file.Stat()
	if err != nil {
		return c.size, false
	}
	if fi.Size() != c.size {
		c.size, c.grew = fi.Size(), time.Now()
		c.until = c.grew.Add(holdOld)
	}
	if c.size == 0 || time.Since(c.grew) < copySettled {
		return 0, true
	}
	log := f.reader(c.of)
	if log == nil {
		return c.size, false
	}
	if prefixOf(c.file, c.size, log.file) {
		return 0, true
	}
	// What both begin with stood in the log twice, and was read once.
	return f.src.wasRead(c.file, c.id, c.size, c.of)
}

// reader is who reads a file; nil: nobody.
func (f *follower) reader(id FileID) *lineReader {
	if f.cur != nil && f.cur.id == id {
		return f.cur
	}
	for _, o := range f.old {
		if o.id == id {
			return o.lineReader
		}
	}
	return nil
}

// account has it kept what is dealt with, so that nothing is read again after a restart.
func (f *follower) account() {
	if f.cur != nil && f.dealtWith() != f.kept {
		f.send(f.batch(f.cur))
	}
}

// batch is one without lines, of the place to which a file is read.
func (f *follower) batch(r *lineReader) Batch {
	end, before := r.accounted()
	return Batch{File: r.id, End: end, FirstLine: r.firstLine(), Before: before, Born: r.born}
}

// opened is the one that tells of a file that is new.
func (f *follower) opened(r *lineReader) Batch {
	b := f.batch(r)
	b.Opened = true
	return b
}

// dealtWith is before when what came into being beside the log is dealt with. It moves on
// when a file was looked at for a while: others may have come at the same moment.
func (f *follower) dealtWith() int64 {
	seen := f.seen
	for _, c := range f.copies {
		seen = min(seen, c.born)
	}
	return seen
}

// dealt reports whether a file beside the log needs no look any more.
func (f *follower) dealt(n neighbour) bool { return n.born != 0 && n.born < f.seen }
