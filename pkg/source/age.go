package source

import "sync/atomic"

// How long ago lines were written, as far as that can be told: an event tells of a write when it
// happens. What stands in one piece that was not read at once is dated in steps: all that is there
// at one moment is of before it, and what is behind that is of later.

// Moment is the time as Batch.Written and Status.Unread have it: nanoseconds by a clock that nobody
// sets.
func Moment() int64 { return moment() }

// age is how old the lines of one file are; its reader's.
type age struct {
	written int64 // about when what is read now was written
	known   bool
	upTo    int64 // so far; -1: as far as the next piece goes
}

// begin is called before a piece is read. first is when a write was noticed that nobody has read.
func (a *age) begin(first *atomic.Int64) int64 {
	if !a.known {
		if a.written = first.Swap(0); a.written == 0 {
			a.written = moment() // nobody has told of it
		}
		a.known, a.upTo = true, -1
	}
	return a.written
}

// read is called when a piece was read, with so many lines.
func (a *age) read(r *lineReader, lines int) {
	switch {
	case lines == 0 || !r.ended.IsZero():
		a.known = false // what comes next is of later
	case a.upTo < 0:
		if fi, err := r.file.Stat(); err == nil {
			a.upTo = fi.Size()
		}
	case r.offset+r.pending() >= a.upTo:
		a.known = false
	}
}

// unreadSince is when the oldest of what is not read yet was noticed; 0: all is read.
func (w *waits) unreadSince() int64 {
	if w == nil {
		return 0
	}
	if at := w.reading.Load(); at != 0 {
		return at
	}
	return w.unread.Load()
}
