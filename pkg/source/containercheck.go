package source

import (
	"context"
	"slices"
	"time"

	"bailiff/pkg/engine"
)

// What came while a log was followed is compared with what the log holds. In between there is no
// more than lines that were left out: so the one is found in the other, in order, and what is not
// is new.

const (
	// streamTurn is how many records are kept for that at the least, by their sums, where there
	// are so many; and streamAge since when. Once the container has ended, streamMost are.
	streamTurn = 1 << 16
	streamAge  = 10 * time.Second
	streamMost = 1 << 20
	// heldMost lines, and heldBytes of them, is what is gathered that were left out, until it is known where all of
	// them have their place.
	heldMost, heldBytes = 1 << 16, 16 << 20
)

// streamed is what came from a place on.
type streamed struct {
	at     anchorAt
	placed bool // at is known
	since  time.Time
	sums   []uint64
	// vanished: what stood there is not in the log any more.
	vanished bool
}

// stream is what came while a log was followed, in two parts.
type stream struct {
	on          bool
	turn        uint64 // of the container
	before, now streamed
}

// all is both parts.
func (s *stream) all() streamed {
	if s.before.since.IsZero() {
		return s.now
	}
	out := s.before
	out.sums = slices.Concat(s.before.sums, s.now.sums)
	return out
}

// add notes a record that came.
func (s *stream) add(r *engine.Record) {
	if s.on {
		s.now.sums = append(s.now.sums, recordSum(r))
	}
}

// turnOver forgets what came long before.
func (s *stream) turnOver(l *containerLog) {
	n := len(s.now.sums)
	if !s.on || n < streamTurn && time.Since(s.now.since) < streamAge {
		return
	}
	if n < streamMost && l.watcher.Turn(l.c.ID) != s.turn {
		return // what comes now may be the end
	}
	s.before = s.now
	s.now = streamed{at: l.at, placed: l.placed, since: time.Now()}
}

// checks reports whether there are records that came and were not found yet.
func (s *streamed) checks() bool { return len(s.sums) > 0 }

// had reports whether a record has come.
func (s *streamed) had(r *engine.Record) bool {
	if len(s.sums) == 0 {
		return false
	}
	n := 0
	if sum := recordSum(r); s.vanished {
		if n = slices.Index(s.sums, sum); n >= 0 {
			s.vanished = false
		}
	} else if s.sums[0] != sum {
		n = -1
	}
	if n < 0 {
		return false
	}
	s.sums = s.sums[n+1:]
	return true
}

// check delivers what there is behind a place, but for what came while the log was followed.
func (l *containerLog) check(ctx context.Context, records *engine.Reader, from *streamed) (delivered bool, err error) {
	at, was := l.at, l.stream
	l.stream = stream{}
	delivered, err = l.deliver(ctx, records, from)
	if !from.checks() {
		return delivered, err
	}
	if isEnd(err) { // the log has lost what came
		if !l.send(l.all) {
			err = l.all.Err()
		}
		return delivered, err
	}
	// It broke off before all was found: it begins again.
	l.at, l.stream = at, was
	l.batch, l.bytes = Batch{}, 0
	return false, err
}
