package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
)

// What is read back: at a start, and for those who ask.

// Load returns what is known of a jail, and makes it known that the jail is
// enabled.
func (s *Store) Load(jail string, now time.Time) (State, error) {
	var bans []ban.Ban
	st, err := s.LoadEach(jail, now, func(some []ban.Ban) { bans = append(bans, some...) })
	if err == nil {
		st.Bans = bans
	}
	return st, err
}

// bansAtOnce is how many bans LoadEach hands over at a time.
const bansAtOnce = 2000

// LoadEach is Load that hands over bans as they are read, some thousand at a time, and keeps
// none: there may be a million. The slice is the caller's. Where it ends with an error, it may
// have handed over some.
func (s *Store) LoadEach(jail string, now time.Time, bans func([]ban.Ban)) (State, error) {
	db, done := s.handle()
	defer done()
	st, err := s.load(db, jail, now, bans)
	if err != nil {
		return State{}, fmt.Errorf("database %s: jail %s: %w", s.path, jail, s.suspect(err))
	}
	s.known(jail)
	return st, nil
}

func (s *Store) load(db *sql.DB, jail string, now time.Time, bans func([]ban.Ban)) (st State, err error) {
	appended, err := s.appended(jail) // first: what is folded meanwhile is in the database then
	if err != nil {
		return st, err
	}
	var n, enabled int
	err = patiently(func() error {
		return db.QueryRow("SELECT count(*), coalesce(max(enabled = 1), 0) FROM jails WHERE name = ?", jail).Scan(&n, &enabled)
	})
	if err != nil {
		return st, err
	}
	s.noting.Lock()
	isNew := n == 0 || s.fresh[jail]
	delete(s.fresh, jail)
	s.noting.Unlock()
	if enabled == 0 { // else it waits for nobody who writes
		err := patiently(func() error {
			_, err := db.Exec("INSERT INTO jails(name, enabled) VALUES(?, 1) ON CONFLICT(name) DO UPDATE SET enabled = 1", jail)
			return err
		})
		if err != nil {
			return st, err
		}
	}
	var had []string
	err = patiently(func() error { // its first statement takes the lock: none of it is read twice
		st, had, err = s.read(db, jail, now, bans)
		return err
	})
	if err != nil {
		return st, err
	}
	st.New = isNew
	if err := s.overlay(db, jail, &st, appended, had); err != nil {
		return st, err
	}
	if len(had) > 0 {
		s.noting.Lock()
		delete(s.filed, jail) // they are told the database anew
		s.noting.Unlock()
	}
	for _, path := range had {
		err := patiently(func() error {
			_, err := db.Exec("DELETE FROM bailiff_logs WHERE jail = ? AND path = ?", jail, path)
			return err
		})
		if err != nil {
			return st, err
		}
	}
	return st, nil
}

// read reads what is known of a jail in one transaction: what is written meanwhile would be
// there in one table and not in another, and be taken for somebody else's. had are the logs
// that fail2ban has read since we did.
func (s *Store) read(db *sql.DB, jail string, now time.Time, bans func([]ban.Ban)) (st State, had []string, err error) {
	tx, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return st, nil, err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	offset, done := s.reading()
	defer done()
	if err = st.bans(tx, jail, now, offset, bans); err != nil {
		return st, nil, err
	}
	if st.Logs, had, err = st.positions(tx, jail); err != nil {
		return st, nil, err
	}
	if st.Failures, err = st.failures(tx, jail, offset, len(had) > 0); err != nil {
		return st, had, err
	}
	return st, had, st.marks(tx, jail, offset)
}

// longest is how long a ban lasts at most that is not for ever: a good hundred years. A
// time.Duration holds three hundred.
const longest = 100 * 366 * 24 * time.Hour

// bans reads those in force. What fail2ban writes may be anything that Python's numbers
// hold: a column of integers in SQLite takes 1769857200.5 as well.
func (st *State) bans(db *sql.Tx, jail string, now time.Time, offset time.Duration, each func([]ban.Ban)) error {
	rows, err := db.Query("SELECT ip, timeofban, bantime, bancount, CASE WHEN instr(data, '\"ip\"') OR instr(data, '\""+endSet+"\"') THEN data END FROM bips WHERE jail = ? AND (bantime < 0 OR timeofban + bantime > ?)", jail, now.Add(offset).Unix())
	if err != nil {
		return err
	}
	defer rows.Close()
	var out []ban.Ban
	for rows.Next() {
		var ip, began, bantime, bancount any
		var data []byte
		if err := rows.Scan(&ip, &began, &bantime, &bancount, &data); err != nil {
			return err
		}
		name, _ := ip.(string)
		at, atOK := number(began)
		lasts, lastsOK := number(bantime)
		count, countOK := number(bancount)
		if name == "" || !atOK || !lastsOK || !countOK || math.Abs(at) > 1e11 {
			st.passOver("bans", "of %v from %v for %v, the %v-th", ip, began, bantime, bancount)
			continue
		}
		id := idOf(name)
		if !id.IsValid() {
			st.passOver("bans", "%v", ip)
			continue
		}
		b := ban.Ban{ID: id, Start: time.Unix(int64(math.Floor(at)), 0).Add(-offset), Count: int(min(max(count, 0), math.MaxInt32))}
		if data != nil {
			b.IP, b.Set = beside(data)
		}
		switch {
		case lasts == -2: // of an old database: how long is not known
			continue
		case lasts >= 0:
			// Whole seconds, and none too few.
			b.End = b.Start.Add(time.Duration(math.Ceil(min(lasts, longest.Seconds()))) * time.Second)
		}
		if out = append(out, b); len(out) == bansAtOnce {
			each(out)
			out = make([]ban.Ban, 0, bansAtOnce)
		}
	}
	if len(out) > 0 {
		each(out)
	}
	return rows.Err()
}

// beside returns the address that stood beside the ID of a ban, and whether its end was given by hand.
func beside(data []byte) (ip ban.Address, set bool) {
	var of struct {
		IP     any `json:"ip"`
		EndSet any `json:"end_set"`
	}
	_ = json.Unmarshal(data, &of) // what another program wrote may be anything
	text, _ := of.IP.(string)
	p := filter.ParseID(text, -1)
	set, _ = of.EndSet.(bool)
	return ban.AddressOf(p.Addr()), set
}

// number is what a column holds, if that is a number.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return 0, false
}

// passOver notes a row that can't be read.
func (st *State) passOver(what, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if st.PassedOver++; st.PassedOver <= 3 {
		st.Warnings = append(st.Warnings, fmt.Sprintf("a row of %s can't be read and is passed over: %q", what, text))
	}
}

// idOf reads a column ip: what reads as an address or a network is one.
func idOf(ip string) ban.ID {
	if p := filter.ParseID(ip, 0); p.IsValid() {
		return ban.Of(p)
	}
	return ban.Named(ip)
}

// failures reads those that were counted. since says that fail2ban had the database
// afterwards: where it has banned an address, those before that are over.
func (st *State) failures(db *sql.Tx, jail string, offset time.Duration, since bool) ([]Failures, error) {
	rows, err := db.Query(`SELECT f.ip, f.times, CASE WHEN typeof(b.timeofban) IN ('integer', 'real') THEN CAST(b.timeofban AS INTEGER) END
		FROM bailiff_failures f LEFT JOIN bips b ON b.ip = f.ip AND b.jail = f.jail WHERE f.jail = ?`, jail)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Failures
	for rows.Next() {
		var ip, times string
		var banned sql.NullInt64
		if err := rows.Scan(&ip, &times, &banned); err != nil {
			st.passOver("failures", "%v", err)
			continue
		}
		f := Failures{ID: idOf(ip)}
		for _, t := range strings.Fields(times) {
			if n, err := strconv.ParseInt(t, 10, 64); err == nil && (!since || !banned.Valid || n/1e9 >= banned.Int64) {
				f.Times = append(f.Times, time.Unix(0, n).Add(-offset))
			}
		}
		if f.ID.IsValid() && len(f.Times) > 0 {
			out = append(out, f)
		}
	}
	return out, rows.Err()
}

// BanCount returns how often an address was banned, in one jail or, with overall,
// in all, and when the last of these bans began.
func (s *Store) BanCount(jail string, id ban.ID, overall bool) (count int, last time.Time, err error) {
	q, args := "SELECT CAST(bancount AS INTEGER), CAST(timeofban AS INTEGER) FROM bips WHERE ip = ? AND jail = ?", []any{ban.Name(id), jail}
	if overall {
		q, args = "SELECT CAST(coalesce(sum(bancount), 0) AS INTEGER), CAST(coalesce(max(timeofban), 0) AS INTEGER) FROM bips WHERE ip = ?", []any{ban.Name(id)}
	}
	db, release := s.handle()
	defer release()
	offset, done := s.reading()
	defer done()
	var at int64
	err = db.QueryRow(q, args...).Scan(&count, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("database %s: %w", s.path, s.suspect(err))
	}
	return count, time.Unix(at, 0).Add(-offset), nil
}

// Merged returns what all bans of an address had, in one jail or, with overall, in
// all: how many failures, and the last lines of the log that led to them, at most
// so many. known is false if there was no ban.
func (s *Store) Merged(jail string, id ban.ID, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error) {
	q, args := "SELECT CAST(timeofban AS INTEGER), data FROM bans WHERE ip = ? AND jail = ? ORDER BY timeofban DESC, rowid DESC", []any{ban.Name(id), jail}
	if overall {
		q, args = "SELECT CAST(timeofban AS INTEGER), data FROM bans WHERE ip = ? ORDER BY timeofban DESC, rowid DESC", args[:1]
	}
	db, release := s.handle()
	defer release()
	offset, done := s.reading()
	defer done()
	rows, err := db.Query(q, args...)
	if err != nil {
		return 0, nil, last, false, fmt.Errorf("database %s: %w", s.path, s.suspect(err))
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var data []byte
		if err := rows.Scan(&at, &data); err != nil {
			return 0, nil, last, false, fmt.Errorf("database %s: %w", s.path, s.suspect(err))
		}
		if !known {
			last, known = time.Unix(at, 0).Add(-offset), true
		}
		n, earlier := matchesOf(data)
		failures += n
		if room := mostLines - len(lines); room > 0 {
			lines = append(earlier[max(len(earlier)-room, 0):], lines...)
		}
	}
	return failures, lines, last, known, rows.Err()
}

// Captures returns what the filter captured for the last ban of an address in a jail, by
// name; nil if nothing is known.
func (s *Store) Captures(jail string, id ban.ID) (map[string]string, error) {
	db, release := s.handle()
	defer release()
	var data []byte
	err := db.QueryRow("SELECT data FROM bips WHERE ip = ? AND jail = ?", ban.Name(id), jail).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", s.path, s.suspect(err))
	}
	return capturesOf(data), nil
}

// matchText is a line as fail2ban keeps it: a text, or one in three parts around
// its date.
func matchText(m any) string {
	switch m := m.(type) {
	case string:
		return m
	case []any:
		var b strings.Builder
		for _, part := range m {
			b.WriteString(matchText(part))
		}
		return b.String()
	}
	return ""
}
