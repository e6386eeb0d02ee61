package source

import (
	"fmt"
	"slices"
	"time"
)

// openedUpTo takes account of files of a gap that were opened and told of, the oldest of all:
// what is older than the last one is dealt with, or known. Others have the birth of that one,
// and may not be opened yet.
func (f *follower) openedUpTo(files []rest) {
	if f.seen == 0 {
		return
	}
	for _, x := range files {
		if x.unseen {
			f.seen = max(f.seen, x.born)
		}
	}
}

// tellDone says of files that were read and closed that they are done with. After a restart
// it is known by births alone what was dealt with; several files have one birth, as clocks
// of file systems tick; and some of these may not be opened yet. Until they are, the places
// of the others are kept, or those would be taken for dealt with, too.
func (f *follower) tellDone() bool {
	for i := 0; i < len(f.done); {
		p := f.done[i]
		tied := p.Born >= f.seen && f.look.owed.Load() > 0
		if tied && len(f.done) <= mostPlaces {
			i++
			continue
		}
		f.done = slices.Delete(f.done, i, i+1)
		if !tied && p.Born != 0 {
			f.seen = max(f.seen, p.Born+1)
		}
		f.account() // before it is forgotten
		if !f.send(Batch{File: p.File, End: p.Offset, FirstLine: p.FirstLine, Done: true}) {
			return false
		}
	}
	return true
}

// restOfGap reads what came in a gap of more files than are opened at once: known are
// those that were read, in the order in which they came, and had are all that were looked
// at. What came after it began is the lookout's to find. It returns false when ctx ended.
func (f *follower) restOfGap(positions []Position, known []rest, first *sighting, begun time.Time, had map[node]bool) bool {
	for n := -1; f.more && n < len(had); { // some may never be opened
		n = len(had)
		if !f.drainOld() { // those that were read make room
			return false
		}
		next := slices.DeleteFunc(f.unseen(positions, known, first, had), func(r rest) bool {
			late := r.born > begun.UnixNano()
			if late {
				r.file.Close()
			}
			return late
		})
		slices.SortStableFunc(next, func(a, b rest) int { return younger(a.looked, b.looked) })
		known = append(known, next...)
		var readers []*lineReader
		for _, x := range next {
			if !f.src.claim(x.id, f.path) || f.reading(x.id) {
				x.file.Close()
				continue
			}
			r := newReader(x.file, f.src.Encoding, x.id, 0)
			r.catchUp = true
			f.resumed(r)
			readers = append(readers, r)
			f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
			f.note(Event{Text: fmt.Sprintf("reading %s, which came and was renamed meanwhile", x.file.Name())})
		}
		for _, r := range readers {
			if !f.send(f.opened(r)) {
				return false
			}
		}
		f.openedUpTo(next)
		for _, r := range readers {
			if !f.drain(r) {
				return false
			}
		}
	}
	return true
}
