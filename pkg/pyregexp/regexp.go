// Package pyregexp is Python's re for Go: the patterns of Python 3.11 on UTF-8
// text, with Python's matches and captures, in time linear in the text.
//
//	re := pyregexp.MustCompile(`^(?P<user>\w+) from (?P<ip>(?:\d+\.){3}\d+)(?(ip) port \d+)$`, 0)
//	if m := re.FindStringSubmatchIndex(line); m != nil { … }
//
// The API is in the manner of Go's regexp. What differs from Python: texts are
// UTF-8 and positions are bytes; a byte that is not valid UTF-8 is one character
// that only a negated class or the dot matches; patterns whose repetitions
// multiply beyond 100,000 instructions are refused with an error that says so.
//
// Searches of patterns without back references take at most (instructions ×
// text) steps, look-around, conditionals and atomic groups included. With back
// references, for which no such bound is known, a search is given up after a
// budget of steps: Search returns a *BudgetError, the methods that have no
// error to return panic with it. Linear tells which kind a pattern is.
//
// A Regexp is safe for concurrent use.
package pyregexp

import (
	"sync"
	"unsafe"
	"weak"
)

//go:generate sh -c "/usr/bin/python3 gentables.py | gofmt > tables.go"

// Regexp is a compiled pattern.
//
// A search climbs a ladder, each rung dearer and surer than the one before:
// required literals, the lazy DFA over an over-approximation, and for what
// passes both, the one-pass matcher where the pattern allows, else the
// remembering one.
type Regexp struct {
	pattern string
	flags   Flag
	parsed  weak.Pointer[node] // what tree returns, as long as nobody has collected it
	prog    *program
	starts  startInfo
	lits    literals
	one     *onePass // nil: not one-pass
	dfa     lazyDFA
	pool    sync.Pool
}

// lazyDFA is made when a text first needs it.
type lazyDFA struct {
	once sync.Once
	d    *dfa // nil: too large
}

func (l *lazyDFA) get(outer *outerPattern, of ...*Regexp) *dfa {
	l.once.Do(func() {
		roots := make([]*node, len(of))
		for i, re := range of {
			roots[i] = re.tree()
		}
		l.d = newDFA(outer, roots)
	})
	return l.d
}

// tree is the parsed pattern. It is wanted when the pattern is compiled, and once more when
// a text first comes, which may be never: what it takes, some times as much as all the rest,
// is not kept in between, but collected with what else was needed for the start.
func (re *Regexp) tree() *node {
	if root := re.parsed.Value(); root != nil {
		return root
	}
	root, _, err := parse(re.pattern, re.flags)
	if err != nil {
		panic("pyregexp: " + err.Error()) // it was parsed before
	}
	return root
}

// Compile reads a pattern of Python's re. The error is an *Error.
func Compile(pattern string, flags Flag) (*Regexp, error) {
	root, p, err := parse(pattern, flags)
	if err != nil {
		return nil, err
	}
	prog, err := compile(root, p, false)
	if err != nil {
		return nil, err
	}
	re := &Regexp{pattern: pattern, flags: flags, parsed: weak.Make(root), prog: prog, starts: findStarts(root), lits: required(root)}
	re.one = newOnePass(prog, re.starts.anchored)
	re.pool.New = func() any { return new(machine) }
	return re, nil
}

// Check says what is wrong with a pattern, unless that it is too large, of which Compile
// tells.
func Check(pattern string, flags Flag) error {
	_, _, err := parse(pattern, flags)
	return err
}

// MustCompile is Compile for patterns known to be good; it panics on an error.
func MustCompile(pattern string, flags Flag) *Regexp {
	re, err := Compile(pattern, flags)
	if err != nil {
		panic("pyregexp: Compile(" + pyRepr(pattern) + "): " + err.Error())
	}
	return re
}

// String returns the pattern as it was given.
func (re *Regexp) String() string { return re.pattern }

// NumSubexp returns the number of groups.
func (re *Regexp) NumSubexp() int { return re.prog.slots/2 - 1 }

// SubexpNames returns the names of the groups by number; [0] and the entries of
// groups without a name are empty.
func (re *Regexp) SubexpNames() []string { return re.prog.names }

// SubexpIndex returns the number of the group with that name, or -1.
func (re *Regexp) SubexpIndex(name string) int {
	if name != "" {
		for i, n := range re.prog.names {
			if n == name {
				return i
			}
		}
	}
	return -1
}

// Linear reports whether every search is linear in the text, that is, whether
// the pattern has no back reference.
func (re *Regexp) Linear() bool { return !re.prog.refs }

// Match reports whether b holds a match.
func (re *Regexp) Match(b []byte) bool {
	ok, err := re.search(b, nil)
	if err != nil {
		panic(err)
	}
	return ok
}

// FindSubmatchIndex returns the leftmost match as pairs of byte offsets, the
// whole match first, then the groups; -1 for a group that took no part. It
// returns nil if there is no match.
func (re *Regexp) FindSubmatchIndex(b []byte) []int {
	dst := make([]int, re.prog.slots)
	ok, err := re.search(b, dst)
	if err != nil {
		panic(err)
	}
	if !ok {
		return nil
	}
	return dst
}

// FindStringSubmatchIndex is FindSubmatchIndex for a string.
func (re *Regexp) FindStringSubmatchIndex(s string) []int {
	return re.FindSubmatchIndex(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// Search appends the offsets of the leftmost match to dst[:0] and returns them,
// or nil if there is none. The error is a *BudgetError, and then nothing is
// known. With room in dst it does not allocate.
func (re *Regexp) Search(b []byte, dst []int) ([]int, error) {
	if cap(dst) < re.prog.slots {
		dst = make([]int, re.prog.slots)
	}
	dst = dst[:re.prog.slots]
	ok, err := re.search(b, dst)
	if !ok {
		return nil, err
	}
	return dst, nil
}

// SearchAt is Search for a match that begins at pos or later; as with the pos of
// Python's search, what stands before is still there to look behind at, and ^
// is not at home at pos.
func (re *Regexp) SearchAt(b []byte, pos int, dst []int) ([]int, error) {
	if cap(dst) < re.prog.slots {
		dst = make([]int, re.prog.slots)
	}
	dst = dst[:re.prog.slots]
	ok, err := re.exact(b, pos, dst)
	if !ok {
		return nil, err
	}
	return dst, nil
}

func (re *Regexp) search(b []byte, dst []int) (ok bool, err error) {
	if !re.mayMatch(b) {
		return false, nil
	}
	return re.exact(b, 0, dst)
}

// mayMatch is false only for texts without a match.
func (re *Regexp) mayMatch(b []byte) bool {
	if re.one != nil {
		return true // it is as fast as what could turn the text away
	}
	if !re.lits.foundIn(b) {
		return false
	}
	d := re.dfa.get(nil, re)
	if d == nil {
		return true
	}
	c := d.take()
	mask := d.run(c, b)
	ok := mask == nil || mask[0] != 0
	d.give(c)
	return ok
}

// exact searches with the matchers that are never wrong.
func (re *Regexp) exact(b []byte, from int, dst []int) (ok bool, err error) {
	m := re.pool.Get().(*machine)
	ok, err = re.exactWith(m, re.prog, b, from, dst)
	if err == nil && cap(m.visited) <= 1<<17 { // keep at most 1 MB for the next search
		re.pool.Put(m)
	}
	return ok, err
}

// exactWith is exact with scratch memory of the caller's.
func (re *Regexp) exactWith(m *machine, p *program, b []byte, from int, dst []int) (ok bool, err error) {
	if re.one != nil {
		if from > 0 {
			return false, nil // it is anchored
		}
		m.captures(p)
		if ok = re.one.match(p, b, m.caps); ok {
			copy(dst, m.caps)
		}
		return ok, nil
	}
	if p.refs {
		defer func() {
			if r := recover(); r != nil {
				budget, is := r.(*BudgetError)
				if !is {
					panic(r)
				}
				budget.Pattern = re.pattern
				ok, err = false, budget
			}
		}()
	}
	ok = m.search(p, &re.starts, b, from)
	if ok {
		copy(dst, m.caps)
	}
	m.in = nil
	return ok, nil
}

// search tries the starts from left to right with the same marks: whether a
// triple fails does not depend on where the search began.
func (m *machine) search(p *program, starts *startInfo, in []byte, from int) bool {
	if !p.refs && m.trace == nil {
		m.free = true
		ok := m.trySearch(p, starts, in, from)
		m.free = false
		if !m.over {
			return ok
		}
	}
	return m.trySearch(p, starts, in, from)
}

func (m *machine) trySearch(p *program, starts *startInfo, in []byte, from int) bool {
	m.reset(p, in)
	for pos := starts.next(in, from); pos >= 0; {
		m.caps[0] = pos
		if _, ok := m.run(p.start, pos, p.moved); ok || m.over {
			return ok
		}
		if pos >= len(in) || starts.anchored {
			return false
		}
		for i := 2; i < len(m.caps); i++ { // those that were set without a way back
			m.caps[i] = -1
		}
		_, size := decode(in[pos:])
		pos = starts.next(in, pos+size)
	}
	return false
}
