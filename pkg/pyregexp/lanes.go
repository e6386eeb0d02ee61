package pyregexp

import "slices"

// Many lines at once. Most are turned away by what they begin with (openings.go, heads.go), one by
// one. For the others: the DFA waits for each look-up before it can begin the
// next, which is most of its time; with two lines side by side, one's look-up is
// under way while the other waits.

// lane is a line on its way through the DFA.
type lane struct {
	text  []byte
	i     int
	at    uint32 // the state, times stride
	line  int    // its number among those of the sieve; -1: the lane is empty
	ended bool   // its newline is taken, too
}

// Sieve looks at many lines one by one and turns most of them away at once; those that
// are left are then looked at side by side. It belongs to its Matcher, which is used for
// nothing else meanwhile.
type Sieve struct {
	m     *Matcher
	d     *dfa // nil: there is none
	c     *dfaCache
	start uint32
	use   bool // look for literals first
	left  []left
	// The mask of a line for which only that member is named that Light was told.
	light    []uint64
	hasLight bool
}

// left is a line that was not turned away at once.
type left struct {
	text []byte
	i    int   // as far as it was looked at
	at   int32 // the state times stride there, or one that is done as in dfaCache.trans
}

// Sieve begins to look at so many lines, about. sample returns some of them, the first
// ones; it is asked now and then.
func (m *Matcher) Sieve(lines int, sample func() [][]byte) *Sieve {
	s := m.set
	v := &m.sieve
	v.m, v.left, v.hasLight = m, v.left[:0], false
	if v.d = s.dfa.get(s.outer, s.res...); v.d == nil {
		return v
	}
	if m.cache == nil || m.cache.bytes > maxDFA {
		m.cache = v.d.newCache()
	}
	v.use = m.literals.use(m, v.d, lines, sample)
	v.c = m.cache
	v.start = uint32(v.d.begun(v.c)) * uint32(v.d.stride)
	return v
}

// Light names a member for which alone a line is not to be looked at further: it is only
// noted.
func (v *Sieve) Light(member int) {
	if v.light == nil {
		v.light = make([]uint64, v.m.Words())
	}
	clear(v.light)
	v.hasLight = true
	v.light[member>>6] = 1 << (member & 63)
}

// HasLight reports whether Light was told of a member.
func (v *Sieve) HasLight() bool { return v.hasLight }

// OnlyLight reports whether a mask names none but the member that Light was told.
func (v *Sieve) OnlyLight(mask []uint64) bool { return v.hasLight && slices.Equal(mask, v.light) }

// Passes reports whether a line, which is without its newline, has to be looked at
// further. It then counts among those of which Masks tells, and must stay as it is until
// that was asked for. Else, light says that the member that Light was told is named for
// it.
func (v *Sieve) Passes(line []byte) (passes, light bool) {
	if v.d == nil || v.use {
		if !v.m.set.lits.foundIn(line) {
			return false, false
		}
		if v.d == nil {
			v.left = append(v.left, left{text: line})
			return true, false
		}
	}
	i, at := v.c.heads.pass(v.d, v.c, line, v.start)
	if at < unknown {
		to := v.opening(at)
		if to != OpeningUnknown && len(line) >= headSize {
			v.Openings().learn(v, line, to)
		}
		if to == OpeningAway || to == OpeningLight {
			return false, to == OpeningLight
		}
	}
	v.left = append(v.left, left{line, i, at})
	return true, false
}

// Masks appends to dst[:0], for each line that has passed, a mask of Words() words: bit
// i%64 of word i/64 stands for member i. What a line's mask holds may differ from what
// MatchLine names, but never lacks a member that matches.
func (v *Sieve) Masks(dst []uint64) []uint64 {
	s, lines := v.m.set, v.left
	words := s.Words()
	if n := len(lines) * words; cap(dst) < n {
		dst = make([]uint64, n)
	} else {
		dst = dst[:n]
		clear(dst)
	}
	d, c := v.d, v.c
	if d == nil {
		for i := range lines {
			s.all(dst[i*words : (i+1)*words])
		}
		return dst
	}
	var a, b lane
	next := 0
	// found notes what a state says of a line.
	found := func(line int, s int32) {
		if st := &c.states[s]; st.any {
			copy(dst[line*words:], st.mask)
		}
	}
	ahead := true // with states as they are numbered now
	load := func(l *lane) bool {
		for ; next < len(lines); next++ {
			x := &lines[next]
			i, at := x.i, x.at
			if !ahead {
				i, at = 0, int32(v.start)
			}
			if at < unknown {
				found(next, doneAt(at))
				continue
			}
			l.text, l.i, l.at, l.line, l.ended = x.text, i, uint32(at), next, false
			next++
			return true
		}
		l.line = -1
		return false
	}
	// pass takes a lane that stands at its end or at something new further. What it
	// finds at a line's end is noted, and the lane is given the next line.
	pass := func(l *lane) {
		for {
			if l.i < len(l.text) {
				next := c.trans[l.at+uint32(d.class[l.text[l.i]])]
				if next >= 0 {
					return // as far as both go
				}
				if next < unknown {
					found(l.line, doneAt(next))
					if !load(l) || len(l.text) > 0 {
						return
					}
					continue
				}
			}
			done, known := d.further(c, l)
			if !done || !known {
				return
			}
			found(l.line, int32(l.at/uint32(d.stride)))
			if !load(l) || len(l.text) > 0 {
				return
			}
		}
	}
	load(&a)
	load(&b)
	for a.line >= 0 && b.line >= 0 {
		if c.bytes > maxDFA {
			break
		}
		d.both(c, &a, &b)
		pass(&a)
		pass(&b)
	}
	// What is left is one lane, or lines for which the table is thrown away.
	ahead = false
	for _, l := range []*lane{&a, &b} {
		for l.line >= 0 {
			if mask := d.run(c, l.text, newline); mask != nil {
				copy(dst[l.line*words:], mask)
			} else {
				s.all(dst[l.line*words : (l.line+1)*words])
			}
			load(l)
		}
	}
	return dst
}

// Mask is a mask, as those of Masks, for a line that has not passed; it is valid until the next
// line is looked at.
func (v *Sieve) Mask(line []byte) []uint64 {
	if v.d != nil {
		if mask := v.d.run(v.c, line, newline); mask != nil {
			return mask
		}
	}
	mask := make([]uint64, v.m.Words())
	v.m.set.all(mask)
	return mask
}

// MatchLines is MatchLine for many lines. It appends to dst[:0], for each line in turn,
// a mask as Sieve.Masks has them.
func (m *Matcher) MatchLines(lines [][]byte, dst []uint64) []uint64 {
	v := m.Sieve(len(lines), func() [][]byte { return lines })
	words := m.Words()
	m.passed = m.passed[:0]
	for i, line := range lines {
		if passes, _ := v.Passes(line); passes {
			m.passed = append(m.passed, i)
		}
	}
	m.masks = v.Masks(m.masks)
	if n := len(lines) * words; cap(dst) < n {
		dst = make([]uint64, n)
	} else {
		dst = dst[:n]
		clear(dst)
	}
	for k, i := range m.passed {
		copy(dst[i*words:(i+1)*words], m.masks[k*words:])
	}
	return dst
}

// both takes two lanes as far as transitions are known to both.
func (d *dfa) both(c *dfaCache, a, b *lane) {
	trans, class := c.trans, &d.class
	x, y := a.text[a.i:], b.text[b.i:]
	n := min(len(x), len(y))
	x, y = x[:n], y[:n]
	at, bt := a.at, b.at
	i := 0
	for ; i < len(x) && i < len(y); i++ {
		na, nb := trans[at+uint32(class[x[i]])], trans[bt+uint32(class[y[i]])]
		if na|nb < 0 {
			break
		}
		at, bt = uint32(na), uint32(nb)
	}
	a.i, b.i, a.at, b.at = a.i+i, b.i+i, at, bt
}

// further takes a lane over a transition that may be new, and at the text's end over
// the last ones. done says that nothing more can come; not known, that the table is
// full.
func (d *dfa) further(c *dfaCache, l *lane) (done, known bool) {
	for {
		s := int32(l.at / uint32(d.stride))
		if c.states[s].done {
			return true, true
		}
		if c.bytes > maxDFA {
			return false, false
		}
		class := d.stride - 1
		switch {
		case l.i < len(l.text):
			class = int(d.class[l.text[l.i]])
			l.i++
		case !l.ended:
			class = d.newline
			l.ended = true
		}
		next := c.trans[int(l.at)+class]
		switch {
		case next == unknown:
			next = d.step(c, s, class) * int32(d.stride)
		case next < unknown:
			next = doneAt(next) * int32(d.stride)
		}
		l.at = uint32(next)
		if class == d.stride-1 {
			return true, true
		}
		if l.i < len(l.text) {
			return false, true
		}
	}
}

// literalsUse says whether looking for literals first is worth while: it is not
// where the DFA is through with most lines after a few characters, or where most
// lines hold one. Both find the same, so it is asked now and then only.
type literalsUse struct {
	on    bool
	again int // lines until it is asked
}

const (
	literalsSample = 200    // lines that are looked at
	literalsAgain  = 50_000 // lines until then
	literalCost    = 8      // bytes of a line that a literal is looked for in, in the time of one of the DFA
)

func (u *literalsUse) use(m *Matcher, d *dfa, n int, sample func() [][]byte) bool {
	lits := m.set.lits
	if len(lits) == 0 {
		return false
	}
	if u.again -= n; u.again > 0 {
		return u.on
	}
	u.again = literalsAgain
	if n < literalsSample/10 {
		return u.on
	}
	lines := sample()
	size, passed, left := 0, 0, 0 // by the DFA, and of these what literals leave to it
	for _, line := range lines[:min(len(lines), literalsSample)] {
		l := lane{text: line, at: uint32(d.begun(m.cache)) * uint32(d.stride)}
		for {
			if done, known := d.further(m.cache, &l); done || !known {
				break
			}
		}
		size += len(line)
		passed += l.i
		if lits.foundIn(line) {
			left += l.i
		}
	}
	u.on = len(lits)*size/literalCost+left < passed
	return u.on
}

// Words is the Set's.
func (m *Matcher) Words() int { return m.set.Words() }

// Words is how many words a mask of MatchLines has.
func (s *Set) Words() int { return (len(s.res) + 63) / 64 }

// all sets the bits of all members.
func (s *Set) all(mask []uint64) {
	for i := range s.res {
		mask[i>>6] |= 1 << (i & 63)
	}
}
