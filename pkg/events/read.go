package events

import (
	"encoding/json"
	"errors"
	"path/filepath"

	"bailiff/pkg/fair"
)

// Reader tells what is in a table, in order. It belongs to one goroutine.
type Reader struct {
	t     *Table    // nil: of files that nobody writes
	segs  []segment // of those
	since uint64    // the last one that was told
	first uint64    // of the segment that is read
	at    int64     // where in it
}

// Reader returns one that begins behind a number.
func (t *Table) Reader(since uint64) *Reader {
	if t == nil {
		return &Reader{since: since}
	}
	return &Reader{t: t, since: since}
}

// Files returns a reader of the files beside a database, for who asks without a daemon. What is
// wrong with them is told to warn.
func Files(database string, since uint64, warn func(string)) (*Reader, error) {
	segs, _, _, err := look(filepath.Clean(database), warn)
	if err != nil {
		return nil, err
	}
	if len(segs) == 0 {
		return nil, ErrNone
	}
	return &Reader{segs: segs, since: since}, nil
}

// ErrNone says that there are no events beside a database.
var ErrNone = errors.New("no events are kept there")

// now are the segments as they are now.
func (r *Reader) now() []segment {
	if r.t == nil {
		return r.segs
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	return append([]segment(nil), r.t.segs...)
}

// Since is the number of the last event that was told, or behind which telling begins.
func (r *Reader) Since() uint64 { return r.since }

// Oldest is the number of the oldest event that is kept; 0: there is none.
func (r *Reader) Oldest() uint64 {
	for _, s := range r.now() {
		if s.size > s.body {
			return s.first
		}
	}
	return 0
}

// Each calls f with the events that there are behind the last one that was told, as they stand in the
// table, until f returns false or there are no more. A line is valid until f returns.
func (r *Reader) Each(f func(n uint64, line []byte) bool) error {
	turn := fair.Turn{Behind: true}
	segs := r.now()
	for i := range segs {
		s := &segs[i]
		if i < len(segs)-1 && segs[i+1].first <= r.since+1 || s.size <= s.body {
			continue
		}
		if r.first != s.first {
			r.first, r.at = s.first, 0
		}
		var more bool
		var err error
		told := r.since
		r.at, more, err = s.each(r.at, r.since, func(n uint64, line []byte) bool {
			told = n
			turn.Step()
			return f(n, line)
		})
		r.since = told
		if !more || err != nil {
			return err
		}
	}
	return nil
}

// Parse reads an event.
func Parse(line []byte) (e Event, err error) {
	err = json.Unmarshal(line, &e)
	return e, err
}
