package store

import (
	"database/sql"
	"errors"
	"io/fs"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/safefile"
)

// What is known of a jail while the daemon runs: the database, and over it what was
// appended since it was folded. Nothing is folded for that, so that a jail can be loaded
// with a disk that is full, and waits for no transaction.

// appended reads what was appended of a jail, the older file first. It does not wait for who
// writes: nobody appends anything of a jail that is being loaded.
func (s *Store) appended(jail string) (out []*recorded, err error) {
	s.noting.Lock()
	tells := s.tells[jail]
	s.noting.Unlock()
	if !tells {
		return nil, nil
	}
	// The newer one first: it may become the older one meanwhile, and is read twice then.
	for _, ending := range []string{changesEnding, oldEnding} {
		data, err := safefile.ReadFile(s.path+ending, changesFull+reserve)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := readRecorded(data)
		if err != nil {
			return nil, err
		}
		out = slices.Insert(out, 0, r)
	}
	return out, nil
}

// overlay puts over a state what was appended of a jail. had are the logs that fail2ban has
// read since: what was appended of them, and failures before its bans, are over.
func (s *Store) overlay(db *sql.DB, jail string, st *State, appended []*recorded, had []string) error {
	if appended == nil {
		return nil
	}
	for _, r := range appended {
		if n := slices.IndexFunc(r.jails, func(j *recordedJail) bool { return j.name == jail }); n >= 0 {
			st.over(r, r.jails[n], had)
		}
	}
	if len(had) == 0 {
		return nil
	}
	offset, done := s.reading()
	defer done()
	for i := range st.Failures {
		f := &st.Failures[i]
		var banned sql.NullInt64
		err := patiently(func() error {
			return db.QueryRow("SELECT CASE WHEN typeof(timeofban) IN ('integer', 'real') THEN CAST(timeofban AS INTEGER) END FROM bips WHERE ip = ? AND jail = ?", ban.Name(f.ID), jail).Scan(&banned)
		})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if banned.Valid {
			f.Times = slices.DeleteFunc(f.Times, func(t time.Time) bool { return t.Add(offset).Unix() < banned.Int64 })
		}
	}
	st.Failures = slices.DeleteFunc(st.Failures, func(f Failures) bool { return len(f.Times) == 0 })
	return nil
}

// over puts what a file tells of a jail over what was known before it.
func (st *State) over(r *recorded, j *recordedJail, had []string) {
	if j.allFailures {
		st.Failures, st.Marked = nil, nil
	}
	for _, e := range r.lastOf(slices.Clone(j.marked)) {
		if id, m := r.markedAt(e); id.IsValid() {
			st.mark(id, m)
		}
	}
	at := make(map[ban.ID]int, len(st.Failures))
	for i, f := range st.Failures {
		at[f.ID] = i
	}
	var micros []int64
	for _, e := range r.last(j) {
		var id ban.ID
		if id, micros = r.at(e, micros[:0]); !id.IsValid() {
			continue
		}
		times := make([]time.Time, len(micros))
		for i, t := range micros {
			times[i] = time.UnixMicro(t)
		}
		if i, ok := at[id]; ok {
			st.Failures[i].Times = times
		} else if len(times) > 0 {
			st.Failures = append(st.Failures, Failures{id, times})
		}
	}
	st.Failures = slices.DeleteFunc(st.Failures, func(f Failures) bool { return len(f.Times) == 0 })
	if j.allLogs {
		st.Logs = slices.DeleteFunc(st.Logs, func(p Position) bool { return !slices.Contains(had, p.Path) })
	}
	for key, p := range j.logs {
		if slices.Contains(had, p.Path) {
			continue
		}
		st.Logs = slices.DeleteFunc(st.Logs, func(o Position) bool { return LogKey{o.Path, o.Dev, o.Inode} == key })
		if !p.Gone {
			st.Logs = append(st.Logs, p)
		}
	}
}
