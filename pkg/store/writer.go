package store

import (
	"database/sql"
	"encoding/json"
	"strconv"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fair"
)

type writer struct {
	tx       *sql.Tx
	offset   time.Duration // of what is written from the steady time
	now      time.Time     // by the rows' clock
	prepared map[string]*sql.Stmt
	lifted   *Lifted
	turn     fair.Turn
}

func (w *writer) exec(q string, args ...any) error {
	st := w.prepared[q]
	if st == nil {
		var err error
		if st, err = w.tx.Prepare(q); err != nil {
			return err
		}
		w.prepared[q] = st
	}
	_, err := st.Exec(args...)
	w.turn.Step() // others have what they write, or read, or ban
	return err
}

// clear removes a jail's rows. A table that holds no other's is emptied as a
// whole, which SQLite does at once, and 100,000 rows with their indexes in a
// second.
func (w *writer) clear(table, jail string) error {
	var others bool
	if err := w.tx.QueryRow("SELECT EXISTS (SELECT 1 FROM "+table+" WHERE jail < ?1) OR EXISTS (SELECT 1 FROM "+table+" WHERE jail > ?1)", jail).Scan(&others); err != nil {
		return err
	}
	if !others {
		return w.exec("DELETE FROM " + table)
	}
	return w.exec("DELETE FROM "+table+" WHERE jail = ?", jail)
}

// ban writes that a ban was made.
func (w *writer) ban(jail string, b ban.Ban, matches []string, groups map[string]string) error {
	if matches == nil {
		matches = []string{}
	}
	all := map[string]any{}
	for name, text := range groups { // beside the others, as fail2ban has them
		all[name] = text
	}
	if b.IP.IsValid() {
		all["ip"] = b.IP.Addr().String()
	}
	if b.Set {
		all[endSet] = true
	}
	all["matches"], all["failures"] = matches, b.Failures
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	lasts := int64(-1)
	if !b.Permanent() {
		// Whole seconds: what is kept must not end before the ban does.
		lasts = int64((b.End.Sub(b.Start) + time.Second - 1) / time.Second)
	}
	name, at, count := ban.Name(b.ID), b.Start.Add(w.offset).Unix(), max(b.Count, 1)
	if err := w.exec("INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data) VALUES(?, ?, ?, ?, ?, ?)", jail, name, at, lasts, count, data); err != nil {
		return err
	}
	return w.exec("INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data) VALUES(?, ?, ?, ?, ?, ?)", name, jail, at, lasts, count, data)
}

// endSet is what in a ban's data says that its end was given by hand.
const endSet = "end_set"

// endSet notes of a ban that is there that its end was given by hand. The data of another program's may be anything.
func (w *writer) endSet(jail string, b ban.Ban) error {
	if !b.Set {
		return nil
	}
	return w.exec("UPDATE bips SET data = CAST(json_set(CASE WHEN json_valid(CAST(data AS TEXT)) AND json_type(CAST(data AS TEXT)) = 'object' THEN CAST(data AS TEXT) ELSE '{}' END, '$."+endSet+"', json('true')) AS BLOB) WHERE jail = ? AND ip = ?",
		jail, ban.Name(b.ID))
}

// allBans has a list be what is in force. What was known of those that are on it, their
// lines and counts, stays; who is in force and not on it was unbanned.
func (w *writer) allBans(d *Delta) error {
	for _, q := range []string{
		"CREATE TEMP TABLE IF NOT EXISTS in_force(ip TEXT PRIMARY KEY) WITHOUT ROWID",
		"DELETE FROM in_force",
	} {
		if err := w.exec(q); err != nil {
			return err
		}
	}
	for b := range d.Bans.Each() {
		name, at := ban.Name(b.ID), b.Start.Add(w.offset).Unix()
		if err := w.exec("INSERT OR REPLACE INTO in_force(ip) VALUES(?)", name); err != nil {
			return err
		}
		var known bool
		if err := w.tx.QueryRow("SELECT EXISTS (SELECT 1 FROM bips WHERE ip = ? AND jail = ? AND timeofban = ?)", name, d.Jail, at).Scan(&known); err != nil {
			return err
		}
		if known {
			lasts := int64(-1)
			if !b.Permanent() {
				lasts = int64((b.End.Sub(b.Start) + time.Second - 1) / time.Second)
			}
			if err := w.exec("UPDATE bips SET bantime = ? WHERE ip = ? AND jail = ?", lasts, name, d.Jail); err != nil {
				return err
			}
			if err := w.endSet(d.Jail, b); err != nil {
				return err
			}
			continue
		}
		if err := w.ban(d.Jail, b, nil, nil); err != nil {
			return err
		}
	}
	return w.exec("DELETE FROM bips WHERE jail = ? AND (bantime < 0 OR timeofban + bantime > ?) AND ip NOT IN (SELECT ip FROM in_force)",
		d.Jail, w.now.Unix())
}

// failures writes those of one address, in microseconds, or that there are none any more.
func (w *writer) failures(jail string, id ban.ID, times []int64) error {
	if len(times) == 0 {
		return w.exec("DELETE FROM bailiff_failures WHERE jail = ? AND ip = ?", jail, ban.Name(id))
	}
	text := make([]byte, 0, 20*len(times))
	for i, t := range times {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendInt(text, t*1000+int64(w.offset), 10)
	}
	return w.exec("INSERT OR REPLACE INTO bailiff_failures(jail, ip, times) VALUES(?, ?, ?)", jail, ban.Name(id), string(text))
}

// marked writes what more is known of one address's failures.
func (w *writer) marked(jail string, id ban.ID, m Marked) error {
	if m.empty() {
		return w.exec("DELETE FROM bailiff_marks WHERE jail = ? AND ip = ?", jail, ban.Name(id))
	}
	return w.exec("INSERT OR REPLACE INTO bailiff_marks(jail, ip, marks, forgiven) VALUES(?, ?, ?, ?)", jail, ban.Name(id), m.text(), m.forgivenText(w.offset))
}

// bans writes what a delta says of them.
func (w *writer) bans(d *Delta) error {
	if !d.AllBans && len(d.Events) == 0 {
		return nil
	}
	if err := w.exec("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?, 1)", d.Jail); err != nil {
		return err
	}
	if d.AllBans {
		if err := w.allBans(d); err != nil {
			return err
		}
	}
	for _, e := range d.Events {
		if e.AllLifted {
			if err := w.keepLifted(d.Jail, "SELECT ip, timeofban, data FROM bips WHERE jail = ? LIMIT ?", d.Jail, liftedAtOnce); err != nil {
				return err
			}
			for _, table := range []string{"bips", "bans"} {
				if err := w.clear(table, d.Jail); err != nil {
					return err
				}
			}
			continue
		}
		if e.Said != nil {
			for _, o := range e.Said() {
				if err := w.fleetOut(o); err != nil {
					return err
				}
			}
		}
		name := ban.Name(e.Ban.ID)
		if e.Moved {
			lasts := int64(-1)
			if !e.Ban.Permanent() {
				lasts = max(int64((e.Ban.End.Sub(e.Ban.Start)+time.Second-1)/time.Second), 0)
			}
			if err := w.exec("UPDATE bips SET timeofban = ?, bantime = ? WHERE jail = ? AND ip = ?", e.Ban.Start.Add(w.offset).Unix(), lasts, d.Jail, name); err != nil {
				return err
			}
			if err := w.endSet(d.Jail, e.Ban); err != nil {
				return err
			}
			continue
		}
		if e.Lifted {
			if err := w.keepLifted(d.Jail, "SELECT ip, timeofban, data FROM bips WHERE jail = ? AND ip = ?", d.Jail, name); err != nil {
				return err
			}
			for _, q := range []string{"DELETE FROM bips WHERE jail = ? AND ip = ?", "DELETE FROM bans WHERE jail = ? AND ip = ?"} {
				if err := w.exec(q, d.Jail, name); err != nil {
					return err
				}
			}
			continue
		}
		groups := e.Groups
		if groups == nil && e.Captured != nil {
			groups = e.Captured()
		}
		if err := w.ban(d.Jail, e.Ban, e.Matches, groups); err != nil {
			return err
		}
	}
	return nil
}
