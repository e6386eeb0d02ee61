package pyregexp

import "math/bits"

// Set is several patterns looked for at once: one pass over a text says which of
// them may match. It is safe for concurrent use.
type Set struct {
	res   []*Regexp
	lits  literals // of which every member's match holds one
	dfa   lazyDFA
	outer *outerPattern // nil: the members are searched for in the whole text
}

// NewSet joins compiled patterns.
func NewSet(res ...*Regexp) *Set {
	s := &Set{res: res}
	var union literals
	all := len(res) > 0
	for _, re := range res {
		all = all && len(re.lits) > 0
		union = append(union, re.lits...)
	}
	// A line may be given without its newline, which no literal needs then.
	if union = union.cut(); all && len(union) <= maxLiterals && !union.hold('\n') {
		s.lits = union
	}
	return s
}

// Len returns the number of members.
func (s *Set) Len() int { return len(s.res) }

// Members returns the patterns.
func (s *Set) Members() []*Regexp { return s.res }

// Regexp returns a member.
func (s *Set) Regexp(i int) *Regexp { return s.res[i] }

// Match appends to dst[:0] the numbers of the members that may match b, in
// order. It never leaves out one that does; Confirm, or the member's own methods,
// say whether one does.
func (s *Set) Match(b []byte, dst []int) []int {
	return s.MatchParts(dst, b)
}

// MatchParts is Match for a text that is given in parts.
func (s *Set) MatchParts(dst []int, parts ...[]byte) []int {
	if len(parts) == 1 && !s.lits.foundIn(parts[0]) {
		return dst[:0]
	}
	d := s.dfa.get(s.outer, s.res...)
	if d == nil {
		return s.members(nil, dst)
	}
	c := d.take()
	dst = s.members(d.run(c, parts...), dst)
	d.give(c)
	return dst
}

// members appends to dst[:0] the members that a mask of the DFA's names; all, if it
// is nil.
func (s *Set) members(mask []uint64, dst []int) []int {
	dst = dst[:0]
	if mask == nil {
		for i := range s.res {
			dst = append(dst, i)
		}
	}
	for w, m := range mask {
		for ; m != 0; m &= m - 1 {
			dst = append(dst, w*64+bits.TrailingZeros64(m))
		}
	}
	return dst
}

// Confirm is Search for a member that Match named: it goes straight to the
// matchers that are never wrong.
func (s *Set) Confirm(i int, b []byte, dst []int) ([]int, error) {
	re := s.res[i]
	if cap(dst) < re.prog.slots {
		dst = make([]int, re.prog.slots)
	}
	dst = dst[:re.prog.slots]
	ok, err := re.exact(b, 0, dst)
	if !ok {
		return nil, err
	}
	return dst, nil
}
