// Package store keeps bans, failures and log positions in an SQLite database in
// fail2ban's form: the tables jails, logs, bans and bips are those of fail2ban's
// database, version 4, so that one of a running installation is taken over, and
// programs that read it go on working. What more is needed stands in tables of
// our own, whose names begin with bailiff_.
//
// What is written together holds together: the position of a log, and what was
// found up to it, are one transaction.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver; no cgo

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/fair"
)

// Version is that of fail2ban's schema.
const Version = 4

// schema makes what is missing. The first five tables are fail2ban's.
const schema = `
CREATE TABLE IF NOT EXISTS fail2banDb(version INTEGER);
CREATE TABLE IF NOT EXISTS jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS jails_name ON jails(name);
CREATE TABLE IF NOT EXISTS logs(
	jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0,
	FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE,
	UNIQUE(jail, path), UNIQUE(jail, path, firstlinemd5));
CREATE INDEX IF NOT EXISTS logs_path ON logs(path);
CREATE INDEX IF NOT EXISTS logs_jail_path ON logs(jail, path);
CREATE TABLE IF NOT EXISTS bans(
	jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
	bancount INTEGER NOT NULL default 1, data JSON,
	FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bans_jail_timeofban_ip ON bans(jail, timeofban);
CREATE INDEX IF NOT EXISTS bans_jail_ip ON bans(jail, ip);
CREATE INDEX IF NOT EXISTS bans_ip ON bans(ip);
CREATE TABLE IF NOT EXISTS bips(
	ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
	bancount INTEGER NOT NULL default 1, data JSON,
	PRIMARY KEY(ip, jail), FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bips_timeofban ON bips(timeofban);
CREATE INDEX IF NOT EXISTS bips_ip ON bips(ip);
CREATE TABLE IF NOT EXISTS bailiff_logs(
	jail TEXT NOT NULL, path TEXT NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
	firstlinemd5 TEXT NOT NULL, offset INTEGER NOT NULL, before BLOB NOT NULL DEFAULT x'', at INTEGER NOT NULL DEFAULT 0,
	born INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY(jail, path, dev, inode)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bailiff_failures(
	jail TEXT NOT NULL, ip TEXT NOT NULL, times TEXT NOT NULL, PRIMARY KEY(jail, ip)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bailiff_marks(
	jail TEXT NOT NULL, ip TEXT NOT NULL, marks TEXT NOT NULL, forgiven TEXT NOT NULL, PRIMARY KEY(jail, ip)) WITHOUT ROWID;
`

// Store is an open database. It is safe for concurrent use.
type Store struct {
	path string
	db   *sql.DB
	lock *os.File

	using      sync.RWMutex // held while db is another one
	file       os.FileInfo
	look       *os.File // the database itself
	created    bool
	warnings   []string
	told       func(error)
	generation atomic.Uint64
	spoilt     atomic.Pointer[error]
	// whole are the jails of which everything was written since the database was begun
	// anew; nil: it was not.
	knownMu sync.Mutex
	whole   map[string]bool

	writing sync.Mutex                     // held by who writes to the database or to the changes file
	changes *changes                       // nil: it is not open
	tells   map[string]bool                // jails of which that tells
	filed   map[string]map[LogKey]struct{} // files that the database knows
	noting  sync.Mutex                     // guards tells, filed and fresh; held for no longer than that
	fresh   map[string]bool                // jails that Announce has made known, and that were not
	opening bool                           // nobody else is there yet
	// unchecked: it was not looked through yet.
	unchecked bool

	lifted Lifted

	folding    sync.Mutex // held before writing
	foldingNow atomic.Bool
	foldFailed atomic.Pointer[failedFold]

	clock   *clock.Clock
	steady  bool // it was written in this boot of the machine last
	moved   time.Duration
	settled sync.RWMutex  // held while rows and offset change together
	offset  time.Duration // of the rows' times from the steady ones; Write's alone to change
}

// State is what is known of a jail.
type State struct {
	New      bool      // the jail was not known
	Late     bool      // it is not known what is known: that comes later
	Bans     []ban.Ban // in force
	Failures []Failures
	// Marked is what more is known of failures, where the jail has kept it.
	Marked map[ban.ID]Marked
	Logs   []Position
	// PassedOver is how many rows couldn't be read, and Warnings tell of the first.
	PassedOver int
	Warnings   []string
}

// Failures are those of one address within the window.
type Failures struct {
	ID    ban.ID
	Times []time.Time // ascending; empty: forgotten
}

// journal is the name of the journal among logs, as fail2ban has it.
const journal = "systemd-journal"

// Damaged says that a database could not be used and was set aside.
type Damaged struct {
	Path, Aside string
	Err         error
}

func (e *Damaged) Error() string {
	return fmt.Sprintf("database %s is damaged (%v): set aside as %s, a new one is begun", e.Path, e.Err, e.Aside)
}

func (e *Damaged) Unwrap() error { return e.Err }

// Open opens a database or makes a new one. A *Damaged error comes with a Store
// all the same: the damaged file was set aside.
func Open(path string, c *clock.Clock) (*Store, error) {
	path, err := followed(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	s := &Store{path: path, clock: c}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	err = s.open()
	if err == nil {
		return s, nil
	}
	s.closeFiles()
	if !damage(err) {
		s.unlock()
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	damaged, err := s.setAside(err)
	if err != nil {
		s.unlock()
		return nil, err
	}
	if err := s.open(); err != nil {
		s.unlock()
		return nil, errors.Join(damaged, fmt.Errorf("database %s: %w", path, err))
	}
	return s, damaged
}

// damage reports whether an error says that the file is no good.
func damage(err error) bool {
	text := err.Error()
	for _, t := range []string{"malformed", "not a database", "corrupt", "disk image", "unknown schema", "no such table"} {
		if strings.Contains(text, t) {
			return true
		}
	}
	return false
}

// idleMost is how long a connection to the database that nobody uses takes memory.
const idleMost = 5 * time.Second

func (s *Store) open() error {
	if err := s.prepare(); err != nil {
		return err
	}
	// No log beside the database (WAL): its index is memory that is shared with a file, and
	// where the disk of that hangs, who touches it stands still outside of any system call,
	// which Go's collector waits for, and everybody for that. A journal is read and written.
	// Who writes says so at the beginning, so that nobody who has read waits for another.
	// FULL: with NORMAL the end of the journal is not synced, and a power cut within some
	// seconds brings it back, which takes the last transaction back, a ban with it.
	dsn := "file:" + (&pathEscaper{s.path}).String() + "?_txlock=immediate&" + waitsForLocks() + "&_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(FULL)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-1000)"
	var err error
	if s.db, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(4)
	s.db.SetMaxIdleConns(4)
	s.db.SetConnMaxIdleTime(idleMost)
	if info, err := os.Stat(s.path); err == nil && info.Size() > checkedFirst && s.Generation() == 0 {
		s.unchecked = true
	} else if err := quickCheck(context.Background(), s.db); err != nil {
		return err
	}
	var v int
	err = s.db.QueryRow("SELECT version FROM fail2banDb LIMIT 1").Scan(&v)
	switch {
	case err == nil && v > Version:
		return fmt.Errorf("its version is %d, and %d is the newest that is known: it was written by a newer fail2ban", v, Version)
	case err == nil && v < Version:
		if err := s.upgrade(v); err != nil {
			return err
		}
	}
	// In one transaction: a new database is there at once.
	if _, err := s.db.Exec("BEGIN;" + schema + clockSchema + changesSchema + fleetSchema + "COMMIT"); err != nil {
		return err
	}
	if err := s.addColumns(); err != nil {
		return err
	}
	if _, err = s.db.Exec("INSERT INTO fail2banDb(version) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM fail2banDb)", Version); err != nil {
		return err
	}
	id, err := named(s.db)
	if err != nil {
		return err
	}
	left, err := s.left(id)
	if err != nil {
		return err
	}
	by, err := s.catchUp(left)
	if err != nil {
		return err
	}
	s.changes = &changes{path: s.path, id: id}
	s.noting.Lock()
	s.tells, s.filed = map[string]bool{}, map[string]map[LogKey]struct{}{}
	s.noting.Unlock()
	s.opening = true
	err = s.foldLeft(left, by)
	s.opening = false
	if err != nil {
		return err
	}
	return s.note()
}

// checkedFirst is how large a database is at most that is looked through before anything is read
// from it. A larger one takes a second or more, and is looked through by Check, when what it knows
// is in force.
var checkedFirst = int64(16 << 20)

// quickCheck has SQLite look through a database.
func quickCheck(ctx context.Context, db *sql.DB) error {
	var check string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&check); err != nil {
		return err
	}
	if check != "ok" {
		return fmt.Errorf("malformed: %s", check)
	}
	return nil
}

// Check looks through a database that was too large for it when it was opened. One that is
// damaged is set aside and begun anew by the next writing.
func (s *Store) Check(ctx context.Context) {
	db, done := s.handle()
	defer done()
	if !s.unchecked {
		return
	}
	s.unchecked = false
	// Who writes waits for who looks through it: so the disk is read before.
	if f, err := os.Open(s.path); err == nil {
		for buf := make([]byte, 1<<20); err == nil && ctx.Err() == nil; {
			_, err = f.Read(buf)
		}
		f.Close()
	}
	_ = s.suspect(quickCheck(ctx, db))
}

// addColumns brings our own tables of an earlier version up to this one.
func (s *Store) addColumns() error {
	for _, c := range []struct{ name, form string }{{"before", "BLOB NOT NULL DEFAULT x''"}, {"at", "INTEGER NOT NULL DEFAULT 0"}, {"born", "INTEGER NOT NULL DEFAULT 0"}, {"seen", "INTEGER NOT NULL DEFAULT 0"}} {
		var have bool
		if err := s.db.QueryRow("SELECT EXISTS (SELECT 1 FROM pragma_table_info('bailiff_logs') WHERE name = ?)", c.name).Scan(&have); err != nil {
			return err
		}
		if !have {
			if _, err := s.db.Exec("ALTER TABLE bailiff_logs ADD COLUMN " + c.name + " " + c.form); err != nil {
				return err
			}
		}
	}
	return nil
}

// upgrade brings an older database of fail2ban's up to version 4: bans had no
// times and no counts, and there was no bips.
func (s *Store) upgrade(from int) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	steps := []string{}
	if from < 2 {
		steps = append(steps, "DROP TABLE IF EXISTS logs")
	}
	if from < 3 {
		steps = append(steps,
			"ALTER TABLE bans ADD COLUMN bantime INTEGER NOT NULL DEFAULT -2",
			"ALTER TABLE bans ADD COLUMN bancount INTEGER NOT NULL DEFAULT 1")
	}
	for _, q := range steps {
		if _, err := tx.Exec(q); err != nil {
			return fmt.Errorf("upgrade from version %d: %w", from, err)
		}
	}
	if _, err := tx.Exec(schema); err != nil {
		return fmt.Errorf("upgrade from version %d: %w", from, err)
	}
	for _, q := range []string{
		"INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data) SELECT ip, jail, timeofban, bantime, bancount, data FROM bans ORDER BY timeofban",
		"UPDATE fail2banDb SET version = 4",
	} {
		if _, err := tx.Exec(q); err != nil {
			return fmt.Errorf("upgrade from version %d: %w", from, err)
		}
	}
	return tx.Commit()
}

// pathEscaper writes a path for SQLite's URI.
type pathEscaper struct{ path string }

func (p *pathEscaper) String() string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(p.path)
}

// Close closes the database; it is one plain file then, as fail2ban has it.
func (s *Store) Close() error {
	// When it was closed, for the next start, and the rows as the clock is now.
	_ = s.Write(nil)
	failed := s.fold(time.Now().Add(foldMost))
	_, _ = s.db.Exec("PRAGMA journal_mode = DELETE")
	s.writing.Lock()
	if s.changes != nil {
		s.changes.close()
	}
	s.writing.Unlock()
	err := s.closeFiles()
	if !errors.Is(failed, errLater) {
		err = errors.Join(failed, err)
	}
	s.unlock()
	return err
}

// Path returns the name of the file.
func (s *Store) Path() string { return s.path }

// Disable notes that a jail is not there any more.
func (s *Store) Disable(jail string) error {
	db, done := s.handle()
	defer done()
	_, err := db.Exec("UPDATE jails SET enabled = 0 WHERE name = ?", jail)
	return s.suspect(err)
}

// outdated is how long fail2ban keeps an ended ban for its count: three times the
// purge age.
const outdated = 3

// Purge forgets what ended longer before a steady time than age, as fail2ban does: single bans
// after age, what is known of an address after three times that. jails are those that
// there are: failures and positions of others go; none: nobody knows.
func (s *Store) Purge(age time.Duration, now time.Time, jails ...string) error {
	if err := s.fold(time.Time{}); err != nil {
		return err
	}
	db, release := s.handle()
	defer release()
	offset, done := s.reading()
	now = now.Add(offset)
	done()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM bans WHERE timeofban < ? AND bantime >= 0 AND bantime + timeofban <= ?", now.Add(-age).Unix(), now.Unix()); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM bips WHERE bantime >= 0 AND bantime + timeofban <= ?", now.Add(-outdated*age).Unix()); err != nil {
		return err
	}
	if len(jails) > 0 { // what is kept for the next line of a log is of use as long as there is the jail
		names, err := json.Marshal(jails)
		if err != nil {
			return err
		}
		for _, table := range []string{"bailiff_failures", "bailiff_marks", "bailiff_logs", "logs"} {
			if _, err := tx.Exec("DELETE FROM "+table+" WHERE jail NOT IN (SELECT value FROM json_each(?))", string(names)); err != nil {
				return err
			}
		}
	}
	if _, err := tx.Exec("DELETE FROM jails WHERE enabled = 0 AND NOT EXISTS (SELECT 1 FROM bans WHERE jail = jails.name) AND NOT EXISTS (SELECT 1 FROM bips WHERE jail = jails.name)"); err != nil {
		return err
	}
	return tx.Commit()
}

// Write carries out deltas. What they say of bans is one transaction; failures and
// positions are appended after that, in one piece. One of no jail changes nothing but has
// the rows follow the clock. Where it fails, what is left in the deltas is what is still
// to be written.
func (s *Store) Write(deltas []*Delta) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.sound(); err != nil {
		return err
	}
	err := s.write(deltas)
	if err == nil || !damage(err) {
		return err
	}
	_ = s.suspect(err)
	if err := s.sound(); err != nil {
		return err
	}
	return s.write(deltas)
}

func (s *Store) write(deltas []*Delta) error {
	if len(deltas) > 0 && !slices.ContainsFunc(deltas, func(d *Delta) bool { return d.Jail != checkOnly }) {
		return nil
	}
	offset := s.clock.Offset()
	now := len(deltas) == 0 || offset != s.offset
	var wanted []*Delta
	for _, d := range deltas {
		now = now || d.Jail == "" || d.AllBans || len(d.Events) > 0
		if d.Jail != "" && d.Jail != checkOnly && s.wanted(d) {
			wanted = append(wanted, d)
		}
	}
	if now {
		err := s.transact(func(w *writer) error {
			for _, d := range wanted {
				if err := w.bans(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.append(wanted); err != nil {
		for _, d := range wanted { // they are written
			d.AllBans, d.Bans, d.Events = false, nil, nil
		}
		return err
	}
	for _, d := range wanted {
		if d.whole() {
			s.known(d.Jail)
		}
	}
	return nil
}

// transact has something written to the database in one transaction, in which the rows
// follow the clock.
func (s *Store) transact(f func(w *writer) error) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	offset, err := s.follow(tx)
	if err != nil {
		return err
	}
	w := &writer{tx: tx, offset: offset, now: s.clock.Now().Add(offset), prepared: map[string]*sql.Stmt{}, lifted: &s.lifted, turn: fair.Turn{Behind: true}}
	if err := f(w); err != nil {
		return err
	}
	return s.commit(tx, offset)
}
