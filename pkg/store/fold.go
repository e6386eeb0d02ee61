package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/ban"
	"bailiff/pkg/safefile"
)

// The changes file, folded into the database: at a start, at a stop, once an hour, and when it
// is large. It is put aside for that, and
// appended to in another one meanwhile. Each address and each file is written once, as it
// was last, in the order of the table, so that a page is written once, too; and in slices,
// so that a ban waits for one of them. What is there twice does no harm: all of it is
// written with what it is, not with what changed. So a fold that was broken off is begun
// again from its start.

const (
	// sliceMost is how many addresses are folded in one transaction.
	sliceMost = 2000
	// foldMost is how long a stop takes to fold; the rest is done by the next start.
	foldMost = time.Second
)

var errLater = errors.New("the rest is folded at the next start")

// fold brings the database up to date. end, if it is set, is when to stop.
func (s *Store) fold(end time.Time) error {
	s.folding.Lock()
	defer s.folding.Unlock()
	for range 2 { // what an earlier one has left, and what was appended since
		again, err := s.foldOne(end)
		if err != nil || !again {
			return err
		}
	}
	return nil
}

// foldOne folds what was put aside, or what is now put aside.
func (s *Store) foldOne(end time.Time) (again bool, err error) {
	s.writing.Lock()
	if s.changes == nil {
		s.writing.Unlock()
		return false, nil
	}
	old := s.path + oldEnding
	var f *os.File
	_, err = os.Lstat(old)
	was := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		if s.changes.file == nil {
			s.writing.Unlock()
			return false, nil
		}
		f, err = s.changes.rotate()
	}
	generation := s.Generation()
	s.writing.Unlock()
	if err != nil {
		return false, err
	}
	if f != nil { // else what was appended last waits for the fold's end
		err = unix.Fdatasync(int(f.Fd()))
		f.Close()
		if err != nil {
			return false, err
		}
	}
	data, err := safefile.ReadFile(old, changesFull+reserve)
	if err != nil {
		return false, err
	}
	r, err := readRecorded(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", old, err)
	}
	if err := s.foldRecorded(r, generation, nil, 0, end); err != nil {
		return false, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.Generation() != generation {
		return false, nil
	}
	if !was && s.changes.file == nil {
		s.noting.Lock()
		s.tells = map[string]bool{}
		s.noting.Unlock()
	}
	return was, os.Remove(old)
}

// foldRecorded writes what a file tells. had are logs, by jail, that fail2ban has read
// since: what is told of them is not true any more. by is what is to be added to its times
// for the rows' clock, if it is of another daemon; else they follow the clock.
func (s *Store) foldRecorded(r *recorded, generation uint64, had map[string][]string, by time.Duration, end time.Time) error {
	foreign := had != nil
	// Where reading goes on comes first: a stop has no time for all, and fail2ban may be
	// the next to read on.
	err := s.within(generation, func(w *writer) error {
		for _, j := range r.jails {
			if err := w.exec("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?, 1)", j.name); err != nil {
				return err
			}
			if j.allLogs && len(had[j.name]) == 0 {
				for _, table := range []string{"bailiff_logs", "logs"} {
					if err := w.clear(table, j.name); err != nil {
						return err
					}
				}
			}
			for _, p := range inOrder(j.logs) {
				if slices.Contains(had[j.name], p.Path) {
					continue
				}
				if err := w.position(j.name, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var times []int64
	for _, j := range r.jails {
		entries := r.last(j)
		for first := true; first && j.allFailures || len(entries) > 0; first = false {
			if !end.IsZero() && time.Now().After(end) {
				return errLater
			}
			slice := entries[:min(len(entries), sliceMost)]
			entries = entries[len(slice):]
			err := s.within(generation, func(w *writer) error {
				if foreign {
					w.offset = by
				}
				if first && j.allFailures {
					for _, table := range []string{"bailiff_failures", "bailiff_marks"} {
						if err := w.clear(table, j.name); err != nil {
							return err
						}
					}
				}
				for _, e := range slice {
					var id ban.ID
					if id, times = r.at(e, times[:0]); !id.IsValid() {
						continue
					}
					if err := w.failures(j.name, id, times); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	for _, j := range r.jails {
		for slice := range slices.Chunk(r.lastOf(j.marked), sliceMost) {
			if !end.IsZero() && time.Now().After(end) {
				return errLater
			}
			err := s.within(generation, func(w *writer) error {
				if foreign {
					w.offset = by
				}
				for _, e := range slice {
					if id, m := r.markedAt(e); id.IsValid() {
						if err := w.marked(j.name, id, m); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// within has something written in a transaction of its own, unless the database is
// another one than it was.
func (s *Store) within(generation uint64, f func(w *writer) error) error {
	if s.opening {
		return s.transact(f)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.Generation() != generation {
		return errors.New("the database was begun anew meanwhile")
	}
	return s.transact(f)
}

// foldLeft folds what a daemon before this one has left. by is by how much what it wrote
// last was moved by catchUp.
func (s *Store) foldLeft(left []*recorded, by func(c recordClock) time.Duration) error {
	had := map[string][]string{}
	for _, r := range left {
		for _, j := range r.jails {
			_, paths, err := new(State).positions(s.db, j.name)
			if err != nil {
				return err
			}
			had[j.name] = paths
		}
	}
	for _, r := range left {
		if err := s.foldRecorded(r, s.Generation(), had, by(r.clock), time.Time{}); err != nil {
			return err
		}
	}
	return s.changes.remove()
}

// soon folds beside everybody, if that is not being done, or has just failed.
func (s *Store) soon() {
	if f := s.foldFailed.Load(); f != nil && time.Since(f.at) < foldAgain || s.foldingNow.Swap(true) {
		return
	}
	go func() {
		defer s.foldingNow.Store(false)
		if err := s.fold(time.Time{}); err != nil {
			s.foldFailed.Store(&failedFold{err, time.Now()})
		} else {
			s.foldFailed.Store(nil)
		}
	}()
}

type failedFold struct {
	err error
	at  time.Time
}

// foldAgain is how long a fold that failed is not tried again.
const foldAgain = 10 * time.Second
