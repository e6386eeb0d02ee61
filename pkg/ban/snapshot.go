package ban

import (
	"iter"
	"maps"
)

// Snapshot is a list as it was at a moment, in as little memory as the list has for it: 64
// bytes a ban. It does not change, and is safe for concurrent use. A nil one is empty.
type Snapshot struct{ table table }

// Snapshot returns the list as it is now.
func (l *List) Snapshot() *Snapshot {
	t := &l.table
	s := &Snapshot{table{used: t.used, len: t.len, loc: t.loc, names: maps.Clone(t.names), ips: maps.Clone(t.ips)}}
	for _, p := range t.pages {
		page := *p
		s.table.pages = append(s.table.pages, &page)
	}
	return s
}

// SnapshotOf returns one of some bans, no two of them with the same ID.
func SnapshotOf(bans ...Ban) *Snapshot {
	s := &Snapshot{}
	for i, b := range bans {
		s.table.add(b, uint64(i+1))
	}
	return s
}

// Len is how many bans there are.
func (s *Snapshot) Len() int {
	if s == nil {
		return 0
	}
	return s.table.len
}

// Each goes through them, in no order.
func (s *Snapshot) Each() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		if s == nil {
			return
		}
		for n := range s.table.all {
			if !yield(s.table.ban(n)) {
				return
			}
		}
	}
}
