package ban

import (
	"iter"
	"maps"
	"slices"
)

// Snapshot is a list as it was at a moment. It has its pages in common with the list, which copies one
// before it changes anything in it: so a snapshot takes 64 bytes for each ban that has changed since, and for those
// around it, and no time. It does not change, and is safe for concurrent use. A nil one is empty.
type Snapshot struct{ table table }

// Snapshot returns the list as it is now.
func (l *List) Snapshot() *Snapshot {
	t := &l.table
	t.common = slices.Repeat([]bool{true}, len(t.pages))
	return &Snapshot{table{pages: slices.Clone(t.pages), used: t.used, len: t.len, loc: t.loc, names: maps.Clone(t.names), ips: maps.Clone(t.ips)}}
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
