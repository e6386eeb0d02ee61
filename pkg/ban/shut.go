package ban

import "iter"

// Shut are bans of a list of whose elements it was seen that they are shut out: a bit for
// each. The list may change meanwhile.
type Shut struct {
	list *List
	bits []uint64
}

// Shut returns one in which nobody is yet.
func (l *List) Shut() *Shut { return &Shut{list: l} }

// Add adds all bans that an address or network is shut out for.
func (s *Shut) Add(element ID) {
	if n := s.list.table.find(keyOf(element)); n != 0 && s.list.table.ban(n).Element() == element {
		s.add(n)
	}
	for id := range s.list.beside[element] {
		if n := s.list.table.find(keyOf(id)); n != 0 {
			s.add(n)
		}
	}
}

func (s *Shut) add(n int32) {
	if more := int(n/64) + 1 - len(s.bits); more > 0 {
		s.bits = append(s.bits, make([]uint64, max(more, int(s.list.table.used/64)+1-len(s.bits)))...)
	}
	s.bits[n/64] |= 1 << (n % 64)
}

// Others returns the bans that were on the list at a mark, before the first was added, and
// are not among these, in no order. The list may change while they are gone through.
func (s *Shut) Others(mark uint64) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		l := s.list
		for n := range l.table.all {
			if int(n/64) < len(s.bits) && s.bits[n/64]&(1<<(n%64)) != 0 {
				continue
			}
			if l.table.at(n).no <= mark && !yield(l.table.ban(n)) {
				return
			}
		}
	}
}
