package store

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
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
	var st State
	wrap := func(err error) (State, error) {
		return State{}, fmt.Errorf("database %s: jail %s: %w", s.path, jail, err)
	}
	var n int
	if err := s.db.QueryRow("SELECT count(*) FROM jails WHERE name = ?", jail).Scan(&n); err != nil {
		return wrap(err)
	}
	st.New = n == 0
	if _, err := s.db.Exec("INSERT INTO jails(name, enabled) VALUES(?, 1) ON CONFLICT(name) DO UPDATE SET enabled = 1", jail); err != nil {
		return wrap(err)
	}
	offset, done := s.reading()
	defer done()
	rows, err := s.db.Query("SELECT ip, timeofban, bantime, bancount FROM bips WHERE jail = ? AND (bantime < 0 OR timeofban + bantime > ?)", jail, now.Add(offset).Unix())
	if err != nil {
		return wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		var ip string
		var at, lasts int64
		var count int
		if err := rows.Scan(&ip, &at, &lasts, &count); err != nil {
			return wrap(err)
		}
		id := filter.ParseID(ip, cidr(ip))
		if !id.IsValid() {
			continue // an id of fail2ban's that is no address
		}
		b := ban.Ban{ID: id, Start: time.Unix(at, 0).Add(-offset), Count: count}
		switch {
		case lasts == -2: // of an old database: how long is not known
			continue
		case lasts >= 0:
			b.End = b.Start.Add(time.Duration(lasts) * time.Second)
		}
		st.Bans = append(st.Bans, b)
	}
	if err := rows.Err(); err != nil {
		return wrap(err)
	}
	if st.Failures, err = s.failures(jail, offset); err != nil {
		return wrap(err)
	}
	if st.Logs, err = s.positions(jail); err != nil {
		return wrap(err)
	}
	return st, nil
}

func cidr(ip string) int {
	if strings.Contains(ip, "/") {
		return 0
	}
	return -1
}

func (s *Store) failures(jail string, offset time.Duration) ([]Failures, error) {
	rows, err := s.db.Query("SELECT ip, times FROM bailiff_failures WHERE jail = ?", jail)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Failures
	for rows.Next() {
		var ip, times string
		if err := rows.Scan(&ip, &times); err != nil {
			return nil, err
		}
		f := Failures{ID: filter.ParseID(ip, cidr(ip))}
		for _, t := range strings.Fields(times) {
			if n, err := strconv.ParseInt(t, 10, 64); err == nil {
				f.Times = append(f.Times, time.Unix(0, n).Add(-offset))
			}
		}
		if f.ID.IsValid() && len(f.Times) > 0 {
			out = append(out, f)
		}
	}
	return out, rows.Err()
}

func (s *Store) positions(jail string) ([]Position, error) {
	rows, err := s.db.Query("SELECT path, dev, inode, firstlinemd5, offset, before, at FROM bailiff_logs WHERE jail = ?", jail)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Position
	own := map[string]bool{}
	for rows.Next() {
		var p Position
		var dev, inode, at int64
		var before []byte
		if err := rows.Scan(&p.Path, &dev, &inode, &p.FirstLine, &p.Offset, &before, &at); err != nil {
			return nil, err
		}
		p.Dev, p.Inode, p.Before = uint64(dev), uint64(inode), string(before)
		if at != 0 {
			p.Time = time.Unix(0, at)
		}
		if p.Path == journal {
			p = Position{Path: p.Path, Cursor: p.FirstLine, Time: time.UnixMicro(p.Offset)}
		}
		own[p.Path] = true
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	theirs, err := s.db.Query("SELECT path, coalesce(firstlinemd5, ''), lastfilepos FROM logs WHERE jail = ?", jail)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	for theirs.Next() {
		var p Position
		if err := theirs.Scan(&p.Path, &p.FirstLine, &p.Offset); err != nil {
			return nil, err
		}
		if p.Path == journal {
			p = Position{Path: p.Path, Time: time.Unix(p.Offset, 0)}
		}
		if !own[p.Path] {
			out = append(out, p)
		}
	}
	return out, theirs.Err()
}

// BanCount returns how often an address was banned, in one jail or, with overall,
// in all, and when the last of these bans began.
func (s *Store) BanCount(jail string, id netip.Prefix, overall bool) (count int, last time.Time, err error) {
	q, args := "SELECT bancount, timeofban FROM bips WHERE ip = ? AND jail = ?", []any{ban.Name(id), jail}
	if overall {
		q, args = "SELECT coalesce(sum(bancount), 0), coalesce(max(timeofban), 0) FROM bips WHERE ip = ?", []any{ban.Name(id)}
	}
	offset, done := s.reading()
	defer done()
	var at int64
	err = s.db.QueryRow(q, args...).Scan(&count, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("database %s: %w", s.path, err)
	}
	return count, time.Unix(at, 0).Add(-offset), nil
}

// Merged returns what all bans of an address had, in one jail or, with overall, in
// all: how many failures, and the last lines of the log that led to them, at most
// so many. known is false if there was no ban.
func (s *Store) Merged(jail string, id netip.Prefix, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error) {
	q, args := "SELECT timeofban, data FROM bans WHERE ip = ? AND jail = ? ORDER BY timeofban DESC, rowid DESC", []any{ban.Name(id), jail}
	if overall {
		q, args = "SELECT timeofban, data FROM bans WHERE ip = ? ORDER BY timeofban DESC, rowid DESC", args[:1]
	}
	offset, done := s.reading()
	defer done()
	rows, err := s.db.Query(q, args...)
	if err != nil {
		return 0, nil, last, false, fmt.Errorf("database %s: %w", s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var data []byte
		if err := rows.Scan(&at, &data); err != nil {
			return 0, nil, last, false, fmt.Errorf("database %s: %w", s.path, err)
		}
		of := struct {
			Matches  []any
			Failures *int
		}{}
		_ = json.Unmarshal(data, &of) // what another program wrote counts as one failure
		if !known {
			last, known = time.Unix(at, 0).Add(-offset), true
		}
		one := 1
		failures += *cmp.Or(of.Failures, &one)
		var earlier []string
		for _, m := range of.Matches {
			earlier = append(earlier, matchText(m))
		}
		if room := mostLines - len(lines); room > 0 {
			lines = append(earlier[max(len(earlier)-room, 0):], lines...)
		}
	}
	return failures, lines, last, known, rows.Err()
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
