package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// The clock of the database. Its rows tell wall times, since fail2ban and people read
// them; whoever asks the store and hands it changes speaks of steady times. When the
// clock is set, the rows are moved by as much, in the transaction that writes the next
// change, so that they are right by the new clock. A record kept in each transaction
// tells by which clock they are right: the boot, and the wall time at which that began
// by the clock of then. So a step is found, too, that happened while no daemon ran, and
// a crash leaves both moved or neither.

const clockSchema = `
CREATE TABLE IF NOT EXISTS bailiff_clock(
	id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, zero INTEGER NOT NULL, written INTEGER NOT NULL);
`

func init() {
	sqlite.MustRegisterDeterministicScalarFunction("bailiff_moved", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		text, _ := args[0].(string)
		by, _ := args[1].(int64)
		return movedTimes(text, by), nil
	})
}

// movedTimes adds nanoseconds to each of the times in a row of failures.
func movedTimes(text string, by int64) string {
	out := make([]byte, 0, len(text)+8)
	for t := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			continue
		}
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(out, n+by, 10)
	}
	return string(out)
}

// execer is a transaction or a database.
type execer interface {
	Exec(query string, args ...any) (sql.Result, error)
}

// move moves what every row tells.
func move(tx execer, by time.Duration) error {
	for _, q := range []string{
		"UPDATE bips SET timeofban = timeofban + ?",
		"UPDATE bans SET timeofban = timeofban + ?",
	} {
		if _, err := tx.Exec(q, int64(by/time.Second)); err != nil {
			return fmt.Errorf("after the clock was set by %v: %w", by, err)
		}
	}
	for _, q := range []string{
		"UPDATE bailiff_failures SET times = bailiff_moved(times, ?)",
		"UPDATE bailiff_marks SET forgiven = bailiff_moved(forgiven, ?)",
	} {
		if _, err := tx.Exec(q, int64(by)); err != nil {
			return fmt.Errorf("after the clock was set by %v: %w", by, err)
		}
	}
	return moveFleet(tx, by)
}

// record notes by which clock the rows are right.
func (s *Store) record(tx execer, offset time.Duration) error {
	boot, zero := s.clock.Boot()
	_, err := tx.Exec("INSERT OR REPLACE INTO bailiff_clock(id, boot, zero, written) VALUES(1, ?, ?, ?)",
		boot, int64(zero+offset), s.clock.Now().Add(offset).UnixNano())
	return err
}

// catchUp brings the rows in line with the clock of this start. In the boot in which
// they were written, they follow the clock if it was set since. In another one the
// wall clock counts; if it says that they are written in the future, no time has
// passed. No ban begins in the future, so that none lasts longer than its bantime.
//
// left is what was not folded into the database. by tells what to add to its times for
// the rows' clock.
func (s *Store) catchUp(left []*recorded) (by func(recordClock) time.Duration, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	offset := s.clock.Offset()
	boot, zero := s.clock.Boot()
	now := s.clock.Now().Add(offset)
	var was string
	var wasZero, written int64
	err = tx.QueryRow("SELECT boot, zero, written FROM bailiff_clock WHERE id = 1").Scan(&was, &wasZero, &written)
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	for _, r := range left {
		if r.clock.boot == was {
			written = max(written, r.written*1000+int64(r.clock.offset))
		}
	}
	moved := func(was string, wasZero time.Duration) time.Duration {
		switch {
		case boot != "" && was == boot:
			return (zero + offset - wasZero).Round(time.Second)
		case now.Before(time.Unix(0, written)):
			return now.Sub(time.Unix(0, written)).Round(time.Second)
		}
		return 0
	}
	var rows time.Duration
	if known {
		rows = moved(was, time.Duration(wasZero))
	}
	if rows != 0 {
		if err := move(tx, rows); err != nil {
			return nil, err
		}
	}
	for _, q := range []string{
		"UPDATE bips SET timeofban = ?1 WHERE timeofban > ?1",
		"UPDATE bans SET timeofban = ?1 WHERE timeofban > ?1",
	} {
		if _, err := tx.Exec(q, now.Unix()); err != nil {
			return nil, err
		}
	}
	if err := s.record(tx, offset); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	s.offset, s.moved = offset, rows
	s.steady = known && boot != "" && was == boot
	return func(c recordClock) time.Duration { return c.offset + moved(c.boot, c.zero+c.offset) }, nil
}

// Moved is by how much the times in the database were moved when it was opened, since
// the clock was set while no daemon ran, or is behind after a boot.
func (s *Store) Moved() time.Duration { return s.moved }

// reading returns what to take off the time of a row for the steady one, which holds
// until done is called.
func (s *Store) reading() (offset time.Duration, done func()) {
	s.settled.RLock()
	return s.offset, s.settled.RUnlock
}

// commit ends a transaction whose rows are right by the clock of an offset.
func (s *Store) commit(tx *sql.Tx, offset time.Duration) error {
	if offset == s.offset { // only the writer changes it
		return tx.Commit()
	}
	s.settled.Lock() // whoever reads has the rows and the offset of before, or of after
	defer s.settled.Unlock()
	err := tx.Commit()
	if err == nil {
		s.offset = offset
	}
	return err
}

// follow moves the rows, in a transaction that will write, if the clock was set, and
// returns the offset by which times are to be written.
func (s *Store) follow(tx execer) (offset time.Duration, err error) {
	offset = s.clock.Offset()
	if by := offset - s.offset; by != 0 {
		if err := move(tx, by); err != nil {
			return 0, err
		}
	}
	return offset, s.record(tx, offset)
}
