package ban

import (
	"cmp"
	"strings"
)

// Piece appends to a list some of the bans, at most so many, and returns where the next piece
// begins; 0: there are no more. The first one begins at 0. Bans may come and go between two
// pieces: those that are there all the while are told once, also where they are made longer.
func (l *List) Piece(from int32, most int, into []Ban) (bans []Ban, next int32) {
	for n := max(from, 1); n < l.table.used; n++ {
		if l.table.at(n).no == 0 {
			continue
		}
		if most--; most < 0 {
			return into, n
		}
		into = append(into, l.table.ban(n))
	}
	return into, 0
}

// Compare puts IDs in order: addresses and networks by their numbers, IPv4 first, and behind
// them names by their text.
func (id ID) Compare(other ID) int {
	switch a, b := id.IsName(), other.IsName(); {
	case a && b:
		return strings.Compare(id.name.Value(), other.name.Value())
	case a:
		return 1
	case b:
		return -1
	}
	return cmp.Or(id.Addr().Compare(other.Addr()), cmp.Compare(id.Bits(), other.Bits()))
}

// AppendName appends what Name returns.
func (id ID) AppendName(b []byte) []byte {
	switch {
	case id.kind == named:
		return append(b, id.name.Value()...)
	case id.IsNetwork():
		return id.Prefix().AppendTo(b)
	}
	return id.Addr().AppendTo(b)
}
