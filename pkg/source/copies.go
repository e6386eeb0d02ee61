package source

import (
	"fmt"
	"slices"
	"time"
)

// A log that is copied and then emptied (logrotate's copytruncate) stays the same file.
// If that happened several times while nobody read it (the process stood still, a disk
// was slow), only the first copy holds what was read before; the others are known by
// when they were made.

// laterCopies reads what was made beside a log of its content after what was read of it
// last, or after the copy of that; p is how far that was read. some says that there was
// any; ok is false when ctx ended.
func (f *follower) laterCopies(p place, r *lineReader, since looked) (ok, some bool) {
	if since.modified.IsZero() {
		return true, false
	}
	files, of := openNeighbours(f.path, false, func(n neighbour) bool {
		if n.id == r.id || n.node == since.node || n.size == 0 || f.reading(n.id) {
			return false
		}
		if since.node == (node{}) { // a file's times are those of the kernel's last tick
			made := n.modified
			if n.born != 0 {
				made = time.Unix(0, n.born)
			}
			return made.After(since.modified)
		}
		return younger(since, n.looked) < 0
	})
	var readers []*lineReader
	for i, file := range files {
		n := of[i]
		at, _ := f.src.wasRead(file, n.id, n.size)
		if at > 0 || p.before != "" && p.in(file) || prefixOf(file, n.size, r.file) ||
			slices.ContainsFunc(readers, func(o *lineReader) bool { return prefixOf(file, n.size, o.file) }) ||
			f.named(n.id) || !f.src.claim(n.id, f.path) {
			file.Close()
			continue
		}
		c := newReader(file, f.src.Encoding, n.id, 0)
		c.catchUp = true
		f.src.reads(c)
		readers = append(readers, c)
		f.old = append(f.old, oldFile{c, time.Now().Add(holdOld)})
	}
	for _, c := range readers {
		f.note(Event{Text: fmt.Sprintf("file truncated, reading its copy %s, which was made meanwhile", c.file.Name())})
		if !f.send(Batch{File: c.id, FirstLine: c.firstLine(), Opened: true}) || !f.drain(c) {
			return false, true
		}
	}
	return true, len(readers) > 0
}
