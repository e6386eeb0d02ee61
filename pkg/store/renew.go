package store

import (
	"database/sql"
	"errors"
	"fmt"
)

// A database that was removed, replaced or damaged while it is in use is begun anew, and
// filled from memory: each jail sees by the generation that all of what it has is to be
// handed over. Until it has done that, the database knows nothing of the jail, so that
// after a crash its bans are taken over from the kernel.

// checkOnly has Write look at the files, and do no more.
const checkOnly = "\x00check"

// CheckDelta is one for Queue.Push that has it looked whether the database's files are
// there and sound.
func CheckDelta() *Delta { return &Delta{Jail: checkOnly} }

// Renewed has told called when the database was begun anew, from the goroutine that
// writes: why, and under what name the old one was set aside, if it was.
func (s *Store) Renewed(told func(why error)) { s.told = told }

// Generation counts how often the database was begun anew while it was in use.
func (s *Store) Generation() uint64 { return s.generation.Load() }

// suspect notes an error of reading; one that says that the file is damaged has it
// begun anew at the next writing.
func (s *Store) suspect(err error) error {
	if err != nil && damage(err) {
		s.spoilt.CompareAndSwap(nil, &err)
	}
	return err
}

// sound sees to it that there is a database to write to.
func (s *Store) sound() error {
	var why error
	if p := s.spoilt.Load(); p != nil {
		why = *p
	} else if why = s.missing(); why == nil {
		return s.appendable()
	}
	return s.renew(why)
}

// appendable sees to it that the changes file is there. If it is not any more, jails tell
// everything, as they do to a database that is begun anew.
func (s *Store) appendable() error {
	why := s.changes.trouble()
	if why == nil {
		return nil
	}
	s.changes.close()
	s.noting.Lock()
	s.tells = map[string]bool{}
	s.noting.Unlock()
	s.generation.Add(1)
	if s.told != nil {
		s.told(why)
	}
	return nil
}

// renew begins anew, since the database is gone or damaged.
func (s *Store) renew(why error) error {
	s.using.Lock()
	defer s.using.Unlock()
	_ = s.closeFiles()
	told := why
	if damage(why) {
		aside, err := s.setAside(why)
		if err != nil {
			return err
		}
		told = aside
		s.spoilt.Store(nil) // from here on it is missing
	}
	if err := errors.Join(s.changes.remove(), s.clear()); err != nil {
		return fmt.Errorf("%w; a new one can't be made: %w", why, err)
	}
	err := s.open()
	if err != nil {
		_ = s.closeFiles()
		if !damage(err) {
			return fmt.Errorf("%w; a new one can't be made: %w", why, err)
		}
		// What stands in its place now is no good either.
		aside, asideErr := s.setAside(err)
		if asideErr != nil {
			return asideErr
		}
		told = errors.Join(told, aside)
		if err := s.open(); err != nil {
			_ = s.closeFiles()
			return fmt.Errorf("%w; a new one can't be made: %w", why, err)
		}
	}
	// Whatever stands in it, it is not what was known last.
	if _, err := s.db.Exec("DELETE FROM jails"); err != nil {
		return err
	}
	s.spoilt.Store(nil)
	s.knownMu.Lock()
	s.whole = map[string]bool{}
	s.knownMu.Unlock()
	s.generation.Add(1)
	if s.told != nil {
		s.told(told)
	}
	return nil
}

// handle returns the open database, which stays open until done is called.
func (s *Store) handle() (db *sql.DB, done func()) {
	s.using.RLock()
	return s.db, s.using.RUnlock
}

// wanted reports whether a delta is to be written: of a jail of which nothing is known
// since the database was begun anew, only one that tells all.
func (s *Store) wanted(d *Delta) bool {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	return s.whole == nil || s.whole[d.Jail] || d.whole()
}

// known notes that the database knows of a jail what there is to know.
func (s *Store) known(jail string) {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	if s.whole != nil {
		s.whole[jail] = true
	}
}
