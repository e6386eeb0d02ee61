package store

import (
	"cmp"
	"database/sql"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Position is how far a log is accounted for.
type Position struct {
	Path       string
	Dev, Inode uint64 // 0: not known, the position was written by fail2ban
	FirstLine  string // a sum of the first line (fail2ban's column says MD5, and holds SHA-1); empty: there was none yet
	Offset     int64
	Before     string // what stands in the file before Offset, some bytes; empty: not known
	// Born is when the file came into being, Seen up to when what did beside it is dealt
	// with: in nanoseconds since 1970, by the file system's clock; 0: not known.
	Born, Seen int64
	// Cursor is the journal's place instead, and Time when its entry was stored; of a
	// file, when it was read so far.
	Cursor string
	Time   time.Time
	// Gone says that the file is read to its end and will not be read again.
	Gone bool
}

// querier is a transaction or a database.
type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

// positions reads them. Where fail2ban had the database since, its own are newer: what it
// wrote there is none of ours, which count no more then. had are the logs of which it is so.
func (st *State) positions(db querier, jail string) (out []Position, had []string, err error) {
	if out, err = st.ownPositions(db, jail); err != nil {
		return nil, nil, err
	}
	theirs, err := st.theirPositions(db, jail)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range theirs {
		if knows(out, p) {
			continue
		}
		had = append(had, p.Path)
		out = append(slices.DeleteFunc(out, func(o Position) bool { return o.Path == p.Path }), p)
	}
	return out, had, nil
}

// knows reports whether what fail2ban's table says of a log is what we wrote there.
func knows(own []Position, p Position) bool {
	return slices.ContainsFunc(own, func(o Position) bool {
		switch {
		case o.Path != p.Path:
			return false
		case p.Path == journal:
			return o.Time.Unix() == p.Time.Unix()
		}
		// Of a file without a line yet there is nothing in fail2ban's table, but what was
		// there before may be.
		return o.FirstLine == "" || o.FirstLine == p.FirstLine && o.Offset == p.Offset
	})
}

func (st *State) ownPositions(db querier, jail string) (out []Position, err error) {
	rows, err := db.Query("SELECT path, dev, inode, firstlinemd5, offset, before, at, born, seen FROM bailiff_logs WHERE jail = ?", jail)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p Position
		var dev, inode, at int64
		var before []byte
		if err := rows.Scan(&p.Path, &dev, &inode, &p.FirstLine, &p.Offset, &before, &at, &p.Born, &p.Seen); err != nil {
			st.passOver("log positions", "%v", err)
			continue
		}
		p.Dev, p.Inode, p.Before = uint64(dev), uint64(inode), string(before)
		if at != 0 {
			p.Time = time.Unix(0, at)
		}
		if byCursor(p.Path) {
			p = Position{Path: p.Path, Cursor: p.FirstLine, Time: time.UnixMicro(p.Offset)}
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// byCursor reports whether the place in a log is a cursor: in the journal, and in what a
// container's engine tells (source.ContainerLog).
func byCursor(path string) bool { return path == journal || isContainer(path) }

func isContainer(path string) bool { return strings.HasPrefix(path, "docker:") }

func (st *State) theirPositions(db querier, jail string) (out []Position, err error) {
	rows, err := db.Query("SELECT path, coalesce(firstlinemd5, ''), lastfilepos FROM logs WHERE jail = ?", jail)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p Position
		var pos any
		if err := rows.Scan(&p.Path, &p.FirstLine, &pos); err != nil {
			st.passOver("log positions", "%v", err)
			continue
		}
		at, ok := number(pos) // the journal's may be a fraction
		if !ok || at < 0 || at > 1<<53 {
			st.passOver("log positions", "%s: %v", p.Path, pos)
			continue
		}
		p.Offset = int64(math.Floor(at))
		if p.Path == journal {
			p = Position{Path: p.Path, Time: time.Unix(p.Offset, 0)}
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// inOrder returns the positions as they are written: of the files of one path, the one that
// is there now is what fail2ban's table tells of, so it is the last.
func inOrder(logs map[LogKey]Position) []Position {
	return slices.SortedFunc(maps.Values(logs), before)
}

func before(a, b Position) int {
	return cmp.Or(cmp.Compare(b2i(b.Gone), b2i(a.Gone)), cmp.Compare(a.Born, b.Born), a.Time.Compare(b.Time))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// position writes how far a log is accounted for.
func (w *writer) position(jail string, p Position) error {
	switch {
	case p.Cursor != "" && !p.Gone:
		if err := w.exec("INSERT OR REPLACE INTO bailiff_logs(jail, path, dev, inode, firstlinemd5, offset) VALUES(?, ?, 0, 0, ?, ?)",
			jail, p.Path, p.Cursor, p.Time.UnixMicro()); err != nil || isContainer(p.Path) {
			return err // fail2ban knows no containers
		}
		return w.exec("INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos) VALUES(?, ?, ?, ?)",
			jail, p.Path, p.Time.Local().Format("2006-01-02T15:04:05"), p.Time.Unix())
	case p.Gone:
		// What fail2ban's table says may be of this file, and nobody wants to know any more.
		if err := w.exec("DELETE FROM logs WHERE jail = ? AND path = ? AND firstlinemd5 = ?", jail, p.Path, p.FirstLine); err != nil {
			return err
		}
		return w.exec("DELETE FROM bailiff_logs WHERE jail = ? AND path = ? AND dev = ? AND inode = ?", jail, p.Path, int64(p.Dev), int64(p.Inode))
	}
	var at int64
	if !p.Time.IsZero() {
		at = p.Time.UnixNano()
	}
	if err := w.exec("INSERT OR REPLACE INTO bailiff_logs(jail, path, dev, inode, firstlinemd5, offset, before, at, born, seen) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		jail, p.Path, int64(p.Dev), int64(p.Inode), p.FirstLine, p.Offset, []byte(p.Before), at, p.Born, p.Seen); err != nil {
		return err
	}
	if p.FirstLine == "" {
		return nil // fail2ban's table needs it
	}
	return w.exec("INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos) VALUES(?, ?, ?, ?)", jail, p.Path, p.FirstLine, p.Offset)
}
