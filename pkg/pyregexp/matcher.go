package pyregexp

import "math/bits"

// Matcher is a Set for one goroutine: it keeps its tables and its scratch memory at
// hand, where the Set's own methods ask for them at every call.
type Matcher struct {
	set     *Set
	cache   *dfaCache // nil: not begun
	machine machine
}

// NewMatcher returns a matcher of the set.
func (s *Set) NewMatcher() *Matcher { return &Matcher{set: s} }

// Match is the Set's.
func (m *Matcher) Match(b []byte, dst []int) []int {
	dst = dst[:0]
	s := m.set
	if !s.lits.foundIn(b) {
		return dst
	}
	if d := s.dfa.get(s.outer, s.roots...); d != nil {
		if m.cache == nil {
			m.cache = d.newCache()
		}
		mask := d.run(m.cache, b)
		for w, bit := range mask {
			for ; bit != 0; bit &= bit - 1 {
				dst = append(dst, w*64+bits.TrailingZeros64(bit))
			}
		}
		if mask != nil {
			return dst
		}
	}
	for i := range s.res {
		dst = append(dst, i)
	}
	return dst
}

// Confirm is the Set's.
func (m *Matcher) Confirm(i int, b []byte, dst []int) ([]int, error) {
	return m.set.res[i].searchWith(&m.machine, b, dst)
}

// Searcher is a Regexp for one goroutine.
type Searcher struct {
	re      *Regexp
	machine machine
}

// NewSearcher returns a searcher of the expression.
func (re *Regexp) NewSearcher() *Searcher { return &Searcher{re: re} }

// Search is the Regexp's, but goes straight to the matchers that are never wrong.
func (s *Searcher) Search(b []byte, dst []int) ([]int, error) {
	return s.re.searchWith(&s.machine, b, dst)
}

func (re *Regexp) searchWith(m *machine, b []byte, dst []int) ([]int, error) {
	if cap(dst) < re.prog.slots {
		dst = make([]int, re.prog.slots)
	}
	dst = dst[:re.prog.slots]
	ok, err := re.exactWith(m, b, 0, dst)
	if cap(m.visited) > 1<<17 {
		m.visited = nil // a line that long is rare
	}
	if !ok {
		return nil, err
	}
	return dst, nil
}
