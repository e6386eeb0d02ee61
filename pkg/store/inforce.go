package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

// Bans of a database that another program may have open.

// A Held is a ban of a jail.
type Held struct {
	Jail string
	Ban  ban.Ban // by the wall clock
}

// InForce reads the bans that are in force now, of all jails, in the order of their jails.
// Whoever has the database open, fail2ban itself or a daemon of ours, goes on undisturbed,
// and nothing is written. notes tell of rows that can't be read. A file that is not there
// is an error that is [os.ErrNotExist].
func InForce(ctx context.Context, path string) (bans []Held, notes []string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("database: %w", err)
	}
	fail := func(err error) ([]Held, []string, error) {
		return nil, nil, fmt.Errorf("database %s: %w", path, err)
	}
	db, err := sql.Open("sqlite", "file:"+(&pathEscaper{path}).String()+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return fail(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fail(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	var version int
	if err := tx.QueryRowContext(ctx, "SELECT version FROM fail2banDb LIMIT 1").Scan(&version); err != nil {
		return fail(fmt.Errorf("it is none of fail2ban's: %w", err))
	}
	if version != Version { // bips came with 4
		return fail(fmt.Errorf("its version is %d, and only %d can be read without changing it", version, Version))
	}
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT jail FROM bips ORDER BY jail")
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var jails []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return fail(err)
		}
		jails = append(jails, name)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	for _, name := range jails {
		var st State
		err := st.bans(tx, name, time.Now(), 0, func(some []ban.Ban) {
			for _, b := range some {
				bans = append(bans, Held{name, b})
			}
		})
		if err != nil {
			return fail(fmt.Errorf("jail %s: %w", name, err))
		}
		if st.PassedOver > 0 {
			notes = append(notes, st.Warnings...)
		}
	}
	return bans, notes, nil
}

// Imported is what became of a ban that was written to a database.
type Imported int

const (
	ImportAdded Imported = iota // it is in force
	ImportWas                   // it was, for at least as long
	ImportOver                  // its time is over
)

// Import writes bans, by the wall clock, into the database of a daemon that is not running;
// where there is none yet, it is made. It says of each what became of it. Where a daemon
// has the database open, that is the error.
func Import(path string, bans []Held) ([]Imported, error) {
	c := clock.System()
	s, err := Open(path, c)
	var damaged *Damaged
	if err != nil && !errors.As(err, &damaged) {
		return nil, err
	}
	if damaged != nil { // set aside, as a daemon does; but who asked is to know
		return nil, errors.Join(damaged, s.Close())
	}
	out, err := s.importBans(bans)
	return out, errors.Join(err, s.Close())
}

func (s *Store) importBans(bans []Held) ([]Imported, error) {
	now := s.clock.Now()
	have := map[string]map[ban.ID]ban.Ban{}
	deltas := map[string]*Delta{}
	var order []*Delta
	out := make([]Imported, len(bans))
	for i, h := range bans {
		b := h.Ban
		b.Start = s.clock.FromWall(b.Start)
		if !b.Permanent() {
			b.End = s.clock.FromWall(b.End)
			if !b.End.After(now) {
				out[i] = ImportOver
				continue
			}
		}
		if have[h.Jail] == nil {
			known := map[ban.ID]ban.Ban{}
			if _, _, err := s.read(s.db, h.Jail, now, func(some []ban.Ban) {
				for _, b := range some {
					known[b.ID] = b
				}
			}); err != nil {
				return nil, fmt.Errorf("database %s: jail %s: %w", s.path, h.Jail, err)
			}
			have[h.Jail] = known
			d := &Delta{Jail: h.Jail}
			deltas[h.Jail], order = d, append(order, d)
		}
		if was, ok := have[h.Jail][b.ID]; ok && (was.Permanent() || !b.Permanent() && !b.End.After(was.End)) {
			out[i] = ImportWas
			continue
		}
		have[h.Jail][b.ID] = b
		deltas[h.Jail].Add(Event{Ban: b})
	}
	return out, s.Write(order)
}
