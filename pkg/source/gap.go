package source

import (
	"fmt"
	"slices"
	"time"
)

// restOfGap reads what came in a gap of more files than are opened at once: known are
// those that were read, in the order in which they came. What came after it began is the
// lookout's to find. It returns false when ctx ended.
func (f *follower) restOfGap(positions []Position, known []rest, first *sighting, begun time.Time) bool {
	for f.more {
		if !f.drainOld() { // those that were read make room
			return false
		}
		next := slices.DeleteFunc(f.unseen(positions, known, first), func(r rest) bool {
			late := r.born > begun.UnixNano()
			if late {
				r.file.Close()
			}
			return late
		})
		if len(next) == 0 {
			return true
		}
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
		for _, r := range readers {
			if !f.drain(r) {
				return false
			}
		}
	}
	return true
}
