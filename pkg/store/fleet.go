package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"bailiff/pkg/fleet"
)

// What a host holds of a fleet is in tables of their own. Times of what is in the stream are the servers', so
// nothing is to be done about them where this host's clock is set; when this host said something
// that waits, and how far the servers' clock is ahead, follow the clock as all rows do.
const fleetSchema = `
CREATE TABLE IF NOT EXISTS bailiff_fleet_entries(
	key TEXT PRIMARY KEY, rev INTEGER NOT NULL, stored INTEGER NOT NULL, jail TEXT NOT NULL, left INTEGER NOT NULL, n INTEGER NOT NULL,
	seen INTEGER NOT NULL, epoch TEXT NOT NULL, count INTEGER NOT NULL, failures INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bailiff_fleet_out(
	key TEXT PRIMARY KEY, made INTEGER NOT NULL, jail TEXT NOT NULL, left INTEGER NOT NULL, n INTEGER NOT NULL,
	seen INTEGER NOT NULL, epoch TEXT NOT NULL, count INTEGER NOT NULL, failures INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bailiff_fleet_state(
	id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL, cursor INTEGER NOT NULL, n INTEGER NOT NULL, ahead INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bailiff_fleet_policy(id INTEGER PRIMARY KEY CHECK (id = 1), policy TEXT NOT NULL);
`

// moveFleet moves what the tables tell in this host's time.
func moveFleet(tx execer, by time.Duration) error {
	for _, q := range []string{
		"UPDATE bailiff_fleet_out SET made = made + ?",
		"UPDATE bailiff_fleet_state SET ahead = ahead - ?",
	} {
		if _, err := tx.Exec(q, by.Milliseconds()); err != nil {
			return fmt.Errorf("after the clock was set by %v: %w", by, err)
		}
	}
	return nil
}

// KeepFleet writes what an agent wants kept, in one transaction.
func (s *Store) KeepFleet(k fleet.Kept) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.sound(); err != nil {
		return err
	}
	return s.suspect(s.transact(func(w *writer) error { return w.fleet(k) }))
}

func (w *writer) fleet(k fleet.Kept) error {
	if k.Forget {
		if err := w.exec("DELETE FROM bailiff_fleet_entries"); err != nil {
			return err
		}
	}
	for _, e := range k.Words {
		x := e.Entry
		stored := e.Stored.Add(-time.Duration(x.Age) * time.Second).UnixMilli()
		if err := w.exec("INSERT OR REPLACE INTO bailiff_fleet_entries(key, rev, stored, jail, left, n, seen, epoch, count, failures) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			e.Key.String(), int64(e.Rev), stored, x.Jail, x.Left, int64(x.N), int64(x.Seen), x.Epoch, x.Count, x.Failures); err != nil {
			return err
		}
	}
	for _, key := range k.Dropped {
		if err := w.exec("DELETE FROM bailiff_fleet_entries WHERE key = ?", key.String()); err != nil {
			return err
		}
	}
	for _, o := range k.Out {
		if err := w.fleetOut(o); err != nil {
			return err
		}
	}
	for _, o := range k.Done {
		if err := w.exec("DELETE FROM bailiff_fleet_out WHERE key = ? AND n <= ?", o.Key.String(), int64(o.Entry.N)); err != nil {
			return err
		}
	}
	// N never goes back: a ban's own transaction may have written a later one.
	return w.exec(`INSERT INTO bailiff_fleet_state(id, epoch, cursor, n, ahead) VALUES(1, ?, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET epoch = excluded.epoch, cursor = excluded.cursor, n = max(n, excluded.n), ahead = excluded.ahead`,
		k.Epoch, int64(k.Cursor), int64(k.N), (k.Ahead - w.offset).Milliseconds())
}

// fleetOut writes something that is to be said, unless something later is there under its key.
func (w *writer) fleetOut(o fleet.Out) error {
	x := o.Entry
	return w.exec(`INSERT INTO bailiff_fleet_out(key, made, jail, left, n, seen, epoch, count, failures) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(key) DO UPDATE SET made = excluded.made, jail = excluded.jail, left = excluded.left, n = excluded.n, seen = excluded.seen,
			epoch = excluded.epoch, count = excluded.count, failures = excluded.failures WHERE excluded.n >= n`,
		o.Key.String(), o.Made.Add(w.offset).UnixMilli(), x.Jail, x.Left, int64(x.N), int64(x.Seen), x.Epoch, x.Count, x.Failures)
}

// FleetPolicy says by what rules words are held from now on. Where those before were others, the words that are kept are not
// all that would be, and are forgotten: everything is read anew then.
func (s *Store) FleetPolicy(policy string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.sound(); err != nil {
		return err
	}
	return s.suspect(s.transact(func(w *writer) error {
		var before string
		err := w.tx.QueryRow("SELECT policy FROM bailiff_fleet_policy WHERE id = 1").Scan(&before)
		switch {
		case err == nil && before == policy:
			return nil
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		}
		for _, q := range []string{"DELETE FROM bailiff_fleet_entries", "UPDATE bailiff_fleet_state SET epoch = '', cursor = 0"} {
			if err := w.exec(q); err != nil {
				return err
			}
		}
		return w.exec("INSERT OR REPLACE INTO bailiff_fleet_policy(id, policy) VALUES(1, ?)", policy)
	}))
}

// Fleet returns what was kept. Its Words read the database when they are asked for.
func (s *Store) Fleet() (fleet.Start, error) {
	db, done := s.handle()
	defer done()
	offset, settled := s.reading()
	defer settled()
	var st fleet.Start
	var ahead int64
	err := db.QueryRow("SELECT epoch, cursor, n, ahead FROM bailiff_fleet_state WHERE id = 1").Scan(&st.Epoch, &st.Cursor, &st.N, &ahead)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	} else {
		st.Ahead = time.Duration(ahead)*time.Millisecond + offset
	}
	if err != nil {
		return fleet.Start{}, s.suspect(err)
	}
	st.Words, st.Steady = s.fleetWords, s.steady
	rows, err := db.Query("SELECT key, made, jail, left, n, seen, epoch, count, failures FROM bailiff_fleet_out ORDER BY n")
	if err != nil {
		return fleet.Start{}, s.suspect(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var made int64
		var o fleet.Out
		x := &o.Entry
		if err := rows.Scan(&key, &made, &x.Jail, &x.Left, &x.N, &x.Seen, &x.Epoch, &x.Count, &x.Failures); err != nil {
			return fleet.Start{}, err
		}
		if o.Key, err = fleet.ParseKey(key); err != nil {
			return fleet.Start{}, fmt.Errorf("database %s: bailiff_fleet_out: %w", s.path, err)
		}
		o.Made = time.UnixMilli(made).Add(-offset)
		st.Out = append(st.Out, o)
	}
	return st, s.suspect(rows.Err())
}

// fleetWords tells each word that was kept.
func (s *Store) fleetWords(each func(fleet.Said)) error {
	db, done := s.handle()
	defer done()
	rows, err := db.Query("SELECT key, rev, stored, jail, left, n, seen, epoch, count, failures FROM bailiff_fleet_entries")
	if err != nil {
		return s.suspect(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var stored int64
		var w fleet.Said
		x := &w.Entry
		if err := rows.Scan(&key, &w.Rev, &stored, &x.Jail, &x.Left, &x.N, &x.Seen, &x.Epoch, &x.Count, &x.Failures); err != nil {
			return err
		}
		if w.Key, err = fleet.ParseKey(key); err != nil {
			return fmt.Errorf("database %s: bailiff_fleet_entries: %w", s.path, err)
		}
		w.Stored = time.UnixMilli(stored)
		each(w)
	}
	return s.suspect(rows.Err())
}
