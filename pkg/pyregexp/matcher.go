package pyregexp

import "slices"

// Matcher is a Set for one goroutine: it keeps its tables and its scratch memory at
// hand, where the Set's own methods ask for them at every call.
type Matcher struct {
	set      *Set
	groups   []string
	progs    []*program // nil: nobody asked for its member yet
	tags     []tagging
	cache    *dfaCache // nil: not begun
	machine  machine
	literals literalsUse
	sieve    Sieve
	passed   []int // by MatchLines: those that its sieve did not turn away
	masks    []uint64
}

// NewMatcher returns a matcher of the set. With names of groups, Confirm tells of
// these only; each that is not followed saves time.
func (s *Set) NewMatcher(groups ...string) *Matcher {
	return &Matcher{set: s, groups: groups, progs: make([]*program, len(s.res)), tags: make([]tagging, len(s.res))}
}

// Set is what it is a matcher of.
func (m *Matcher) Set() *Set { return m.set }

// Match is the Set's.
func (m *Matcher) Match(b []byte, dst []int) []int { return m.match(dst, b, nil) }

// MatchLine is Match for a line without its newline, which is taken to be there.
func (m *Matcher) MatchLine(b []byte, dst []int) []int { return m.match(dst, b, newline) }

func (m *Matcher) match(dst []int, b, end []byte) []int {
	s := m.set
	if !s.lits.foundIn(b) {
		return dst[:0]
	}
	d := s.dfa.get(s.outer, s.res...)
	if d == nil {
		return s.members(nil, dst)
	}
	if m.cache == nil {
		m.cache = d.newCache()
	}
	return s.members(d.run(m.cache, b, end), dst)
}

var newline = []byte{'\n'}

// Confirm is the Set's.
func (m *Matcher) Confirm(i int, b []byte, dst []int) ([]int, error) {
	re := m.set.res[i]
	if m.progs[i] == nil {
		m.progs[i] = re.prog.only(m.groups)
	}
	return re.searchWith(&m.machine, &m.tags[i], m.progs[i], b, dst)
}

// Searcher is a Regexp for one goroutine.
type Searcher struct {
	re      *Regexp
	prog    *program
	machine machine
	tags    tagging
}

// NewSearcher returns a searcher of the expression. With names of groups, it tells
// of these only.
func (re *Regexp) NewSearcher(groups ...string) *Searcher {
	return &Searcher{re: re, prog: re.prog.only(groups)}
}

// Search is the Regexp's, but goes straight to the matchers that are never wrong.
func (s *Searcher) Search(b []byte, dst []int) ([]int, error) {
	return s.re.searchWith(&s.machine, &s.tags, s.prog, b, dst)
}

// tagging is the tagged DFA of an expression that is often asked for.
type tagging struct {
	uses  int
	cache *taggedCache
}

// taggedAfter is how many searches are the matcher's, since making a table costs as
// much as some hundred of them.
const taggedAfter = 100

// search is that of the tagged DFA; not known, if the matcher has to do it.
func (t *tagging) search(re *Regexp, p *program, b []byte, caps []int) (ok, known bool) {
	if t.cache == nil {
		if t.uses++; t.uses != taggedAfter {
			return false, false
		}
		tagged := newTagged(p, re.starts.anchored)
		if tagged == nil {
			return false, false
		}
		t.cache = newTaggedCache(tagged)
	}
	ok, known = t.cache.match(b, caps)
	if t.cache.over {
		t.cache = nil
	}
	return ok, known
}

func (re *Regexp) searchWith(m *machine, t *tagging, p *program, b []byte, dst []int) ([]int, error) {
	if cap(dst) < re.prog.slots {
		dst = make([]int, re.prog.slots)
	}
	dst = dst[:re.prog.slots]
	if ok, known := t.search(re, p, b, dst); ok {
		return dst, nil
	} else if known {
		return nil, nil
	}
	ok, err := re.exactWith(m, p, b, 0, dst)
	if cap(m.visited) > 1<<17 {
		m.visited = nil // a line that long is rare
	}
	if !ok {
		return nil, err
	}
	return dst, nil
}

// only is the program without the captures of other groups than these, but for
// those that the pattern itself asks about. Without names, it is the whole one.
func (p *program) only(groups []string) *program {
	if len(groups) == 0 {
		return p
	}
	keep := map[int]bool{0: true}
	for i, n := range p.names {
		if n != "" && slices.Contains(groups, n) {
			keep[i] = true
		}
	}
	for _, g := range append(slices.Clone(p.condBits), p.refGroups...) {
		keep[g] = true
	}
	q := *p
	q.insts = slices.Clone(p.insts)
	past := func(pc uint32) uint32 {
		for {
			i := &p.insts[pc]
			if i.op != opNop && (i.op != opSave || keep[int(i.arg>>1)]) {
				return pc
			}
			pc = i.out
		}
	}
	q.start = past(p.start)
	for k := range q.insts {
		i := &q.insts[k]
		i.out = past(i.out)
		switch i.op {
		case opAlt, opCond, opMoved, opLook:
			i.arg = past(i.arg)
		}
	}
	return &q
}
