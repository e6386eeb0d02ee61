package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/engine"
	"bailiff/pkg/transport"
)

// The place in a container's log. An engine gives no offsets: it can be asked for what was
// written since a second, and says of each record when it took it: docker to the nanosecond,
// podman to the second. Neither are they in order: standard output and error are taken beside one
// another, the rest of a line has the time of its beginning, and clocks are set.
//
// But what was written stays in order, and is only added to. So the place is a second, and how
// many records there are of it or later up to where all is accounted for, with a sum of what they
// say: whoever asks from there, passes over so many, and is where he was. What is of an earlier
// second and comes behind them, is counted beside them.

// anchorWindow is how many seconds before the latest record the second of the place is.
const anchorWindow = 2

// anchorSeconds is for how many seconds counts are kept, while a line waits for its rest.
const anchorSeconds = 5000

// anchor is what is known of the records up to a place.
type anchor struct {
	begun bool
	known int64 // from this second on, all are counted
	top   int64 // the latest second of any
	last  int64 // that of the last record
	late  int64 // records of before known at the end
	low   int64 // the earliest second of those
	secs  []secondOf
}

// secondOf counts the records of a second.
type secondOf struct {
	at, n int64
	sum   uint64
}

// anchorAt is a place in a log.
type anchorAt struct {
	Floor int64 // a second
	N     int64 // records of it and later, up to the place
	Sum   uint64
	Late  int64 // and then records of before it
	Low   int64 // the earliest second of all that is meant
	Top   int64 // the latest second
	Parts transport.Halves
}

// add takes account of a record. known is from when on records are counted, if it is the first.
func (a *anchor) add(r *engine.Record, known int64) {
	s := r.Stamp.Unix()
	if !a.begun {
		*a = anchor{begun: true, known: min(known, s), top: s, secs: a.secs[:0]}
	}
	a.top, a.last = max(a.top, s), s
	if s < a.known {
		if a.late++; a.late == 1 || s < a.low {
			a.low = s
		}
		return
	}
	a.late = 0
	sum := recordSum(r)
	i := len(a.secs)
	for i > 0 && a.secs[i-1].at > s {
		i--
	}
	if i > 0 && a.secs[i-1].at == s {
		a.secs[i-1].n++
		a.secs[i-1].sum += sum
		return
	}
	a.secs = slices.Insert(a.secs, i, secondOf{s, 1, sum})
}

// place is where the last record ended, with what waits for its rest since a time.
func (a *anchor) place(parts transport.Halves, waits time.Time) anchorAt {
	floor := min(a.top-anchorWindow, a.last)
	if parts.Waits() {
		floor = min(floor, waits.Unix())
	}
	floor = max(floor, a.known)
	out := anchorAt{Floor: floor, Late: a.late, Low: floor, Top: a.top, Parts: parts}
	if a.late > 0 {
		out.Low = min(a.low, floor)
	}
	if a.late == 0 { // nobody asks for what was before
		before := 0
		for before < len(a.secs) && a.secs[before].at < floor {
			before++
		}
		if over := len(a.secs) - anchorSeconds; over > before {
			before = over
			floor = a.secs[before].at
			out.Floor, out.Low = floor, floor
		}
		a.secs = slices.Delete(a.secs, 0, before)
		a.known = floor
	}
	for _, s := range a.secs {
		if s.at >= out.Floor {
			out.N += s.n
			out.Sum += s.sum
		}
	}
	return out
}

// recordSum is of what a record says. Times are none of it: another version of an engine writes
// them in another way.
func recordSum(r *engine.Record) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	if r.Stderr {
		h = (h ^ 1) * prime
	}
	if r.Part {
		h = (h ^ 2) * prime
	}
	for _, c := range r.Text {
		h = (h ^ uint64(c)) * prime
	}
	return h
}

// anchorForm is how a place is written: its first word says so.
const anchorForm = "r1"

// String writes a place as the database keeps it.
func (p anchorAt) String() string {
	return fmt.Sprintf("%s %d %d %x %d %d %d %d", anchorForm, p.Floor, p.N, p.Sum, p.Late, p.Low, p.Top, p.Parts)
}

// parseAnchor reads one.
func parseAnchor(text string) (p anchorAt, ok bool) {
	var form string
	n, err := fmt.Sscanf(text, "%s %d %d %x %d %d %d %d", &form, &p.Floor, &p.N, &p.Sum, &p.Late, &p.Low, &p.Top, &p.Parts)
	ok = err == nil && n == 8 && form == anchorForm && p.N >= 0 && p.Late >= 0 && p.Low <= p.Floor && strings.Count(text, " ") == 7
	return p, ok
}

// finding passes over the records up to a place.
type finding struct {
	to   anchorAt
	n    int64 // that were passed over
	sum  uint64
	late int64
	done bool
	// lost says that the log does not hold any more what was read; the record at hand is new.
	lost bool
}

// passes reports whether a record is before the place.
func (f *finding) passes(r *engine.Record) bool {
	s := r.Stamp.Unix()
	switch {
	case f.done:
		return false
	case f.n < f.to.N && s > f.to.Top: // what comes was written later than all of it
		f.done, f.lost = true, true
		return false
	case f.n < f.to.N && s < f.to.Floor:
		return true
	case f.n < f.to.N:
		f.n++
		f.sum += recordSum(r)
		if f.n == f.to.N {
			f.lost = f.sum != f.to.Sum
			f.done = f.to.Late == 0
		}
		return true
	case f.late < f.to.Late && s < f.to.Floor:
		f.late++
		f.done = f.late == f.to.Late
		return true
	}
	f.done, f.lost = true, f.lost || f.late < f.to.Late
	return false
}
