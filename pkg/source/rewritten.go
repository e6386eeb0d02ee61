package source

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"
)

// A log that is written anew in its place (by sed -i, by an editor, by a program that
// takes lines out) isn't rotated: most of its lines were read before. It is known by
// its beginning or its end, also where something was changed in every line: by the
// digits in the lines then, which are times, addresses and process ids.

const (
	pastSize    = 4 << 10  // how much is remembered of what was read: of its beginning, and of its end
	compareSize = 64 << 10 // how much is compared where what was read can be read again
	mapSize     = 1 << 20  // how far from the end of the new file the last line is looked for
	sampled     = 20       // lines that are compared
)

// memory is what is known of lines that were read.
type memory struct {
	head, past map[uint64]bool // of the file's beginning, and of what was read last
	first      []uint64        // of the first lines: what stands up to the 14th digit
	end        [][]byte        // the lines that were read last
	offset     int64           // how far was read
}

var printSeed = maphash.MakeSeed()

// prints are by what a line is known again: by itself and by its digits, 0 if these
// are too few.
func prints(line []byte) (whole, digits, begin uint64) {
	var d []byte
	for i, c := range line {
		if c >= '0' && c <= '9' {
			if d = append(d, c); len(d) == 14 {
				begin = maphash.Bytes(printSeed, line[:i+1])
			}
		}
	}
	if len(d) >= 10 {
		digits = maphash.Bytes(printSeed, append(d, '#')) // never the same as a line
	}
	return maphash.Bytes(printSeed, line), digits, begin
}

// newMemory takes the beginning of a file and what was read of it last, before offset.
func newMemory(head, past []byte, offset int64) *memory {
	m := &memory{head: map[uint64]bool{}, past: map[uint64]bool{}, offset: offset}
	for _, line := range wholeLines(head, true) {
		whole, digits, begin := prints(line)
		m.head[whole], m.head[digits] = true, true
		m.first = append(m.first, begin)
	}
	m.end = wholeLines(past, int64(len(past)) == offset)
	for _, line := range m.end {
		whole, digits, _ := prints(line)
		m.past[whole], m.past[digits] = true, true
	}
	delete(m.head, 0)
	delete(m.past, 0)
	return m
}

// wholeLines returns the lines of a piece of a file that are whole in it.
func wholeLines(b []byte, begins bool) [][]byte {
	i := bytes.LastIndexByte(b, '\n')
	if i < 0 {
		return nil
	}
	lines := bytes.Split(b[:i], []byte{'\n'})
	if !begins {
		lines = lines[1:]
	}
	return lines
}

// begins reports whether most of a file's first lines are the first ones that were read, and
// how many of those nothing was changed in. Lines without a time, headers, tell nothing.
func (m *memory) begins(lines [][]byte) (yes bool, unchanged int) {
	same, n, all := map[uint64]bool{}, 0, 0
	for i, line := range lines[:min(len(lines), len(m.first))] { // the others may have come since
		whole, digits, begin := prints(line)
		if digits == 0 {
			continue
		}
		all++
		if m.head[whole] || m.head[digits] || begin != 0 && i < len(m.first) && m.first[i] == begin {
			n++
			if m.head[whole] {
				same[whole] = true
			}
		}
	}
	return 2*n > all, len(same)
}

// ends reports whether most of some lines are among those that were read last.
func (m *memory) ends(lines [][]byte) bool {
	n, all := 0, 0
	for _, line := range lines {
		whole, digits, _ := prints(line)
		if digits == 0 {
			continue
		}
		if all++; m.past[whole] || m.past[digits] {
			n++
		}
	}
	return 2*n > all
}

// last reports whether a line is the one that was read last.
func (m *memory) last(line []byte) bool {
	if len(m.end) == 0 {
		return false
	}
	a, b, _ := prints(m.end[len(m.end)-1])
	whole, digits, _ := prints(line)
	return a == whole || b != 0 && b == digits
}

// spot is a place in a file with what stands before it, and at the file's beginning, as
// that was when it was looked at: it may be emptied at any moment.
type spot struct {
	at         int64
	head, past []byte
}

// repeated reports whether a file repeats what was read. If known is true, what was
// not read yet stands behind a place.
func (m *memory) repeated(file io.ReaderAt, size int64) (yes bool, behind spot, known bool) {
	head := make([]byte, min(size, compareSize))
	n, _ := file.ReadAt(head, 0)
	head = head[:n]
	lines := wholeLines(head, true)
	if len(lines) == 0 {
		return false, spot{}, false
	}
	from := max(0, size-mapSize)
	tail := make([]byte, size-from)
	n, _ = file.ReadAt(tail, from)
	end := wholeLines(tail[:n], from == 0)
	begins, unchanged := m.begins(lines[:min(len(lines), sampled)])
	if !begins && !m.ends(end[max(0, len(end)-sampled):]) {
		return false, spot{}, false
	}
	if !begins || unchanged < 3 || size < m.offset/2 {
		return true, spot{}, false
	}
	// Behind the last line that was read. Where several look like it, it is the one before
	// which stands what stood before it; if that holds of several, too, it may have been
	// written again, and an earlier one is looked for.
	now, was := printsOf(end), printsOf(m.end)
	for i := len(was) - 1; i >= 0; i-- {
		if was[i].digits == 0 {
			continue
		}
		var places []int
		for n := range now {
			if now[n].same(was[i]) {
				places = append(places, n)
			}
		}
		for back := 1; len(places) > 1 && back <= i; back++ {
			some := slices.DeleteFunc(slices.Clone(places), func(n int) bool { return n < back || !now[n-back].same(was[i-back]) })
			if len(some) == 0 {
				break
			}
			places = some
		}
		if len(places) == 1 {
			at := from + int64(bytes.LastIndexByte(tail[:n], '\n')) + 1
			for _, line := range end[places[0]+1:] {
				at -= int64(len(line)) + 1
			}
			past := tail[max(0, at-from-pastSize) : at-from]
			return true, spot{at, head[:min(at, int64(len(head)), pastSize)], past}, true
		}
	}
	return true, spot{}, false
}

// print is by what a line is known again.
type print struct{ whole, digits uint64 }

func (p print) same(q print) bool { return p.whole == q.whole || p.digits != 0 && p.digits == q.digits }

func printsOf(lines [][]byte) []print {
	out := make([]print, len(lines))
	for i, line := range lines {
		out[i].whole, out[i].digits, _ = prints(line)
	}
	return out
}

// rewrittenOf looks whether a new file is one of those before it, written anew.
func (f *follower) rewrittenOf(r *lineReader, size int64) {
	for i := len(f.old) - 1; i >= 0; i-- {
		if before := f.old[i].lineReader; r.offset < before.offset && f.rewritten(r, before, size) {
			return // what is known of it already may be no more than a header
		}
	}
}

// rewritten looks whether a new file is the former one, written anew: then what was
// read is not read again, as far as that can be told, and else it is as old as it says.
// Where it is still being written, its lines are looked at as they come.
func (f *follower) rewritten(r, before *lineReader, size int64) bool {
	if before.offset == 0 {
		return false
	}
	l, err := lookAt(before.file)
	gone := err == nil && l.links == 0
	if now, err := r.file.Stat(); err == nil && gone {
		size = now.Size() // it may have been seen while it was empty: an editor writes in its place
	}
	if size == 0 && !gone {
		return false
	}
	head, past := make([]byte, min(before.offset, compareSize)), make([]byte, min(before.offset, compareSize))
	n, _ := before.file.ReadAt(head, 0)
	m, _ := before.file.ReadAt(past, before.offset-int64(len(past)))
	was := newMemory(head[:n], past[:m], before.offset)
	if gone {
		r.was, r.wasAt = was, time.Now()
	}
	// If it is there still, it may as well be a log that repeats itself.
	if !f.repeats(r, was, size, gone) {
		return false
	}
	r.anew = gone
	return true
}

// repeats looks whether a file holds what was read elsewhere. sure says that it can't be
// a log that repeats itself: then what was read is not read again.
func (f *follower) repeats(r *lineReader, was *memory, size int64, sure bool) bool {
	yes, behind, known := was.repeated(r.file, size)
	if !yes {
		return false
	}
	r.until = size
	if known && sure && behind.at >= r.offset {
		r.goTo(behind)
		f.note(Event{Text: fmt.Sprintf("file was rewritten: going on at byte %d, behind what was read of it", r.offset)})
		return true
	}
	f.note(Event{Text: "it begins or ends as the file before it did: its lines count as old as they say"})
	return true
}

// repeats reports whether lines of a file that was emptied are those that were read
// of it before.
func (r *lineReader) repeats(lines [][]byte) bool {
	if !r.anew {
		if !slices.ContainsFunc(lines, func(l []byte) bool { _, digits, _ := prints(l); return digits != 0 }) {
			return false // nothing can be told yet
		}
		if yes, _ := r.was.begins(lines[:min(len(lines), sampled)]); !yes && !r.was.ends(lines[max(0, len(lines)-sampled):]) {
			r.was = nil
			return false
		}
		r.anew = true
	}
	if time.Since(r.wasAt) > quietAfter && !r.ended.IsZero() || r.was.last(lines[len(lines)-1]) {
		r.was = nil // that was the last of them
	}
	return true
}

// skips goes on behind what was read before in a file that was emptied and written anew,
// and reports whether that can be told.
func (f *follower) skips(r *lineReader, was *memory) bool {
	fi, err := r.file.Stat()
	if err != nil {
		return false
	}
	yes, behind, known := was.repeated(r.file, fi.Size())
	if !yes || !known {
		return false
	}
	r.rewind()
	r.goTo(behind)
	r.until, r.anew = fi.Size(), true
	r.was = was // it may not be at its end yet
	f.goesOn(r)
	return true
}

// goesOn tells where reading goes on in a file that was written anew in its place: what
// stands where it was is something else now.
func (f *follower) goesOn(r *lineReader) {
	f.note(Event{Text: fmt.Sprintf("file was rewritten: going on at byte %d, behind what was read of it", r.offset)})
	f.send(f.opened(r))
}
