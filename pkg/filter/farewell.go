package filter

import (
	"math/bits"
	"slices"
)

// Most lines that have something to tell of a connection tell that it is over, and that
// nobody failed on it: a login, a disconnect. Where nothing is known of the connection, that
// changes nothing, be it that the expression matches or not. A Scout then looks no further
// than to find which connection it is, and the Filter passes over the line as long as it
// knows of none by that name.

// mlfid is the number of that group among names.
const mlfid = 5

// farewells are the failregexes of which each match ends a connection without a failure,
// and tells which one it is.
func (c *compiled) farewells() (out []int) {
	if c.pref == nil || c.pref.tuples || !c.pref.re.Linear() || !c.pref.re.Always(names[mlfid], false) || c.pref.gives(mlfid) {
		return nil
	}
	for i := range c.ignore {
		if !c.ignore[i].re.Linear() { // it could be given up, which would have to be told
			return nil
		}
	}
	for i := range c.fail {
		x := &c.fail[i]
		if x.re.Linear() && !x.tuples && x.places[mlfid] == 0 && !x.gives(mlfid) && x.re.Always("mlfforget", true) &&
			(x.re.Always("nofail", true) || x.re.Always("mlfgained", true)) {
			out = append(out, i)
		}
	}
	return out
}

// gives reports whether there is an alternative for a group.
func (x *expression) gives(name int) bool {
	for _, a := range x.alternatives {
		if a.name == name {
			return true
		}
	}
	return false
}

// sumOf is a number that is equal for equal names of connections, and mostly another one
// for others. Names differ in the number of the process, which is near their end.
func sumOf(id string) uint32 {
	x := uint64(len(id))
	switch n := len(id); {
	case n >= 16:
		x ^= le64(id[n-8:])*0x9E3779B97F4A7C15 ^ le64(id[n-16:])
	case n >= 8:
		x ^= le64(id[n-8:])*0x9E3779B97F4A7C15 ^ le64(id)
	default:
		for i := range n {
			x = x<<8 | uint64(id[i])
		}
	}
	x *= 0xD6E8FEB86659FD93
	return uint32(x >> 32)
}

func le64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// idSums counts how many connections are known whose names have some sum, as far as its last
// bits tell: there are eight times as many counters as connections, and at least firstSums. It
// also knows how long names are.
type idSums struct {
	counts  []uint16
	lengths [maxIDLength]uint16
	mask    uint64 // of lengths that some name has
	long    int    // how many names are longer
}

const (
	firstSums   = 64
	maxIDLength = 64
)

func (s *idSums) at(sum uint32) *uint16 { return &s.counts[sum&uint32(len(s.counts)-1)] }

// has is false only where no such connection is known.
func (s *idSums) has(sum uint32) bool { return len(s.counts) > 0 && *s.at(sum) > 0 }

// summed counts a connection that is known from now on.
func (c *connections) summed(conn *connection) {
	s := &c.sums
	if n := len(conn.id); n >= maxIDLength {
		s.long++
	} else {
		s.lengths[n]++
		s.mask |= 1 << n
	}
	if len(c.byID)*8 <= len(s.counts) {
		*s.at(sumOf(conn.id))++
		return
	}
	s.counts = make([]uint16, max(2*len(s.counts), firstSums))
	for id := range c.byID {
		*s.at(sumOf(id))++
	}
}

// gone counts a connection that is known no more.
func (s *idSums) gone(id string) {
	*s.at(sumOf(id))--
	if n := len(id); n >= maxIDLength {
		s.long--
	} else if s.lengths[n]--; s.lengths[n] == 0 {
		s.mask &^= 1 << n
	}
}

func (s *idSums) clone() idSums {
	out := *s
	out.counts = slices.Clone(s.counts)
	return out
}

// knows reports whether a connection is known whose name is that and has that sum.
func (c *connections) knows(id string, sum uint32) bool { return c.sums.has(sum) && c.byID[id] != nil }

// knowsBegin reports whether a text may begin with the name of a connection that is known.
func (c *connections) knowsBegin(text []byte) bool {
	for m := c.sums.mask; m != 0; m &= m - 1 {
		n := bits.TrailingZeros64(m)
		if n > len(text) {
			break
		}
		if id := view(text[:n]); c.knows(id, sumOf(id)) {
			return true
		}
	}
	return c.sums.long > 0
}

// farewell is a line that tells of nothing unless a connection is known by its name, or, where it
// has none, by one that the line begins with behind its date; then, the filter has to look for itself.
type farewell struct {
	skimmed
	end  int32 // of the date
	sum  uint32
	name value
}

// meets reports whether a line that can only be a farewell may be one of a connection that is
// known.
func (c *connections) meets(x *farewell, at *cursor) bool {
	if x.name.ok {
		return c.knows(x.name.text, x.sum)
	}
	return c.knowsBegin(at.of(&x.skimmed)[x.end:])
}

// bye is a line of which is known by what it opens with that it can only be a farewell, with the
// number of its date among Scout.dated.
type bye struct {
	skimmed
	end, date int32
}

// seeBye looks at such a line as far as it has to be.
func (s *Scout) seeBye(b *bye, out *Sightings) {
	c := cursor{lines: s.cut, text: s.text}
	line := c.of(&b.skimmed)
	if rest := line[b.end:]; s.ids.hasBegin(rest) {
		x := looked{line: int(b.line), whole: line, rest: rest, date: int(b.date), end: b.end}
		if s.text != nil {
			x.in = b.place(s.text, line)
			x.stays = s.stays(b.from, line)
		}
		s.see(&x, s.sieve.Mask(rest), out)
		return
	}
	out.farewells = oneMore(out.farewells)
	x := &out.farewells[len(out.farewells)-1]
	x.skimmed, x.end, x.name = b.skimmed, b.end, value{}
}

// idsSeen holds the sums of some names of connections of which a Scout has seen more than
// a farewell.
type idsSeen struct {
	sums [1 << 9]uint32
	mask uint64 // of the lengths of names
}

func (s *idsSeen) at(sum uint32) *uint32 { return &s.sums[sum&uint32(len(s.sums)-1)] }

// note notes that a line told of a connection, or that it is over.
func (s *idsSeen) note(line *found) {
	n := len(line.mlfid.text)
	if !line.mlfid.ok || n >= maxIDLength {
		return
	}
	s.mask |= 1 << n
	sum := sumOf(line.mlfid.text)
	switch at := s.at(sum); {
	case !line.forget:
		*at = sum
	case *at == sum:
		*at = 0
	}
}

func (s *idsSeen) has(sum uint32) bool { return *s.at(sum) == sum }

// hasBegin reports whether a text begins with one of them.
func (s *idsSeen) hasBegin(text []byte) bool {
	for m := s.mask; m != 0; m &= m - 1 {
		n := bits.TrailingZeros64(m)
		if n > len(text) {
			break
		}
		if s.has(sumOf(view(text[:n]))) {
			return true
		}
	}
	return false
}

// farewell returns the name of the connection that a line is of, if any, which can only be a
// farewell; not ok, if that is not known.
func (m *lineMatcher) farewell(in *inside) (id []byte, ok bool) {
	if in.err != nil || in.text == nil {
		return nil, in.err == nil
	}
	g := m.pref.places[mlfid]
	return in.pre.text[in.pre.m[2*g]:in.pre.m[2*g+1]], true
}

// farewell notes a line that can only be a farewell, unless more has been seen of its
// connection lately: then it is to be looked at like any other, and false is returned. Where
// names stand at the beginning, nobody need find out where this one ends.
func (s *Scout) farewell(x *looked, in *inside, out *Sightings) bool {
	var name value
	sum := uint32(0)
	if s.lines.idFirst && x.start == 0 {
		if s.ids.hasBegin(x.rest) {
			return false
		}
	} else {
		s.lines.take(x)
		*in = s.lines.inside()
		id, ok := s.lines.farewell(in)
		if !ok || in.text == nil {
			return ok
		}
		if sum = sumOf(view(id)); s.ids.has(sum) {
			return false
		}
		if !x.stays {
			id = out.copied(id)
		}
		name = value{view(id), true}
	}
	out.farewells = oneMore(out.farewells)
	bye := &out.farewells[len(out.farewells)-1]
	bye.skimmed = skimmed{from: x.in.from, to: x.in.to, last: lastLine{x.in.lastFrom, x.in.lastTo}, line: int32(x.line)}
	bye.end, bye.sum, bye.name = x.end, sum, name
	return true
}
