package store

import (
	"encoding/json"
	"sync"
	"time"

	"bailiff/pkg/ban"
)

// liftedMost is how many bytes are kept of bans that were lifted of late.
const liftedMost = 4 << 20

// liftedAtOnce is of how many bans it is kept when all of a jail are lifted at once.
const liftedAtOnce = 1000

// Lifted keeps what was known of bans that were lifted by hand of late. Whoever knew of them
// forgets them at once; the command that lifts one elsewhere comes after that on a busy
// machine, and may tell what the ban was for. It is safe for concurrent use, and its zero
// value is ready.
type Lifted struct {
	mu     sync.Mutex
	size   int
	oldest []liftedKey // the first of them first; those that were lifted again are in it twice
	bans   map[liftedKey]LiftedBan
}

type liftedKey struct {
	jail string
	id   ban.ID
}

// LiftedBan is one of them.
type LiftedBan struct {
	Began int64 // Unix time in seconds, by the steady clock
	Size  int   // bytes that Read holds, about
	// Read returns its failures, the lines that led to it, and what the filter captured in
	// them.
	Read func() (failures int, lines []string, groups map[string]string)
}

// Keep keeps a ban that is forgotten now.
func (l *Lifted) Keep(jail string, id ban.ID, b LiftedBan) {
	b.Size += 200 + len(jail) + id.Size()
	if b.Size > liftedMost {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := liftedKey{jail, id}
	if l.bans == nil {
		l.bans = map[liftedKey]LiftedBan{}
	}
	l.size += b.Size - l.bans[key].Size
	l.bans[key] = b
	l.oldest = append(l.oldest, key)
	for l.size > liftedMost || len(l.oldest) > liftedMost/200 {
		first := l.oldest[0]
		l.oldest = l.oldest[1:]
		l.size -= l.bans[first].Size
		delete(l.bans, first)
	}
}

// Of returns what was known of the ban of a jail that began then, in seconds; ok: it is
// still kept.
func (l *Lifted) Of(jail string, id ban.ID, began int64) (failures int, lines []string, groups map[string]string, ok bool) {
	l.mu.Lock()
	b, ok := l.bans[liftedKey{jail, id}]
	l.mu.Unlock()
	if !ok || b.Began < began-1 || b.Began > began+1 { // rows have whole seconds of another clock
		return 0, nil, nil, false
	}
	failures, lines, groups = b.Read()
	return failures, lines, groups, true
}

// Lifted returns what was known of a ban that was lifted by hand of late.
func (s *Store) Lifted(jail string, id ban.ID, began int64) (failures int, lines []string, groups map[string]string, ok bool) {
	return s.lifted.Of(jail, id, began)
}

// keepLifted keeps what is known of bans of a jail, of one or of all, before their rows are
// removed.
func (w *writer) keepLifted(jail, query string, args ...any) error {
	rows, err := w.tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var ip, began any
		var data []byte
		if err := rows.Scan(&ip, &began, &data); err != nil {
			return err
		}
		name, _ := ip.(string)
		at, ok := number(began)
		if id := idOf(name); ok && id.IsValid() {
			steady := time.Unix(int64(at), 0).Add(-w.offset)
			w.lifted.Keep(jail, id, LiftedBan{Began: steady.Unix(), Size: len(data), Read: func() (int, []string, map[string]string) {
				failures, lines := matchesOf(data)
				return failures, lines, capturesOf(data)
			}})
		}
	}
	return rows.Err()
}

// matchesOf reads how many failures a row of a ban tells of, and the lines that led to it.
func matchesOf(data []byte) (failures int, lines []string) {
	of := struct {
		Matches  []any
		Failures *int
	}{}
	_ = json.Unmarshal(data, &of) // what another program wrote counts as one failure
	for _, m := range of.Matches {
		lines = append(lines, matchText(m))
	}
	if of.Failures == nil {
		return 1, lines
	}
	return *of.Failures, lines
}

// capturesOf reads what the filter captured from a row of a ban.
func capturesOf(data []byte) map[string]string {
	all := map[string]any{}
	_ = json.Unmarshal(data, &all) // what another program wrote may be anything
	groups := map[string]string{}
	for name, v := range all {
		if text, ok := v.(string); ok && name != "matches" {
			groups[name] = text
		}
	}
	return groups
}
