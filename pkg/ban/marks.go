package ban

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// Failures may be told apart by more than their times: by what they were about, so that many of the
// same count once, and by whom they tried, so that they can be taken back. What a log says of both,
// a client chooses; so the window keeps sums of it, 16 bytes a failure, and only where it is asked
// to (Mark).

// Mark is what is known of a failure beside its time, in sums as SumOf makes them; 0: nothing.
type Mark struct {
	Value uint64 // of several failures with the same one, the last counts
	User  uint64 // who was tried, from which address
}

// SumOf is a sum of texts, which is never 0.
func SumOf(texts ...string) uint64 {
	h := sha256.New()
	for _, t := range texts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(t)))
		h.Write(n[:])
		h.Write([]byte(t))
	}
	return max(binary.LittleEndian.Uint64(h.Sum(nil)), 1)
}

// Mark has the window keep marks of failures from here on, or forget them.
func (w *Window) Mark(on bool) {
	switch {
	case !on:
		w.marks = nil
	case w.marks == nil:
		w.marks = make([][]Mark, len(w.entries))
	}
}

// AddMarked counts one failure as so many, where marks are kept. again says that there was one with
// the same value within findtime: then there are no more than before, but if this one counts as
// more, and they last longer.
func (w *Window) AddMarked(id ID, at time.Time, m Mark, times int) (count int, due, again bool) {
	w.total++
	n, known := w.entryOf(id, 0)
	when, find := at.UnixMicro(), w.findTime.Microseconds()
	have, marks := w.timesOf(n), w.marksOf(n)
	if !known {
		have, marks = have[:0], marks[:0]
	}
	if m.Value != 0 {
		same, latest, kept := 0, when, 0
		for i, t := range have {
			if marks[i].Value != m.Value {
				have[kept], marks[kept] = t, marks[i]
				kept++
				continue
			}
			if t < when-find { // over
				continue
			}
			same++
			latest = max(latest, t)
			if marks[i].User != m.User {
				m.User = 0 // whose it is taken back for, it isn't alone
			}
		}
		have, marks = have[:kept], marks[:kept]
		again, times, when = same > 0, max(times, same), latest
	}
	times = min(times, w.maxRetry)
	i := len(have)
	for i > 0 && have[i-1] > when {
		i--
	}
	have = slices.Insert(have, i, slices.Repeat([]int64{when}, times)...)
	marks = slices.Insert(marks, i, slices.Repeat([]Mark{m}, times)...)
	w.times = have
	extra := max(len(have)-w.maxRetry, 0)
	w.setMarked(n, have[extra:], marks[extra:])
	first, _ := slices.BinarySearch(have, have[len(have)-1]-find)
	if count = len(have) - max(first, extra); count >= w.maxRetry {
		w.remove(n)
		return count, true, again
	}
	return count, false, again
}

// setMarked sets the failures of an entry, of which there is one at least.
func (w *Window) setMarked(n int32, times []int64, marks []Mark) {
	e := &w.entries[n]
	e.first, e.rest = times[0], append(e.rest[:0], times[1:]...)
	w.marks[n] = append(w.marks[n][:0], marks...)
}

// marksOf returns the marks of an entry, as many as it has failures: of those from before marks were
// kept nothing is known. They are the caller's.
func (w *Window) marksOf(n int32) []Mark {
	out := make([]Mark, 1+len(w.entries[n].rest))
	have := w.marks[n]
	copy(out[max(len(out)-len(have), 0):], have[max(len(have)-len(out), 0):])
	return out
}

// Forgivable returns how many failures that count of an address Forgive would take back.
func (w *Window) Forgivable(id ID, user uint64, at time.Time) (n int) {
	entry, ok := w.index[keyOf(id)]
	if !ok || user == 0 || w.marks == nil {
		return 0
	}
	when := at.UnixMicro()
	marks := w.marksOf(entry)
	for i, t := range w.timesOf(entry) {
		if marks[i].User == user && t <= when && t >= when-w.findTime.Microseconds() {
			n++
		}
	}
	return n
}

// Forgive takes back the failures of an address that tried a user, up to a time. It returns how many
// of an address are left.
func (w *Window) Forgive(id ID, user uint64, at time.Time) (left int) {
	n, ok := w.index[keyOf(id)]
	if !ok || w.marks == nil {
		return 0
	}
	have, marks := w.timesOf(n), w.marksOf(n)
	kept := 0
	for i, t := range have {
		if user == 0 || marks[i].User != user || t > at.UnixMicro() {
			have[kept], marks[kept] = t, marks[i]
			kept++
		}
	}
	if kept == 0 {
		w.remove(n)
		return 0
	}
	w.setMarked(n, have[:kept], marks[:kept])
	return kept
}

// Marks returns those of an address's failures, as Times returns these; nil: nothing is known of any.
func (w *Window) Marks(id ID) []Mark {
	n, ok := w.index[keyOf(id)]
	if !ok || w.marks == nil || len(w.marks[n]) == 0 {
		return nil
	}
	return w.marksOf(n)
}

// RestoreMarks puts back what Marks told before a restart, behind Restore; for other failures than
// there are, it is of no use.
func (w *Window) RestoreMarks(id ID, marks []Mark) {
	if n, ok := w.index[keyOf(id)]; ok && w.marks != nil && len(marks) == 1+len(w.entries[n].rest) {
		w.marks[n] = slices.Clone(marks)
	}
}
