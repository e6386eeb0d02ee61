package filter

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
// bits tell: there are eight times as many counters as connections, and at least firstSums.
type idSums []uint16

const firstSums = 64

func (s idSums) at(sum uint32) *uint16 { return &s[sum&uint32(len(s)-1)] }

// has is false only where no such connection is known.
func (s idSums) has(sum uint32) bool { return len(s) > 0 && *s.at(sum) > 0 }

// summed counts a connection that is known from now on.
func (c *connections) summed(conn *connection) {
	if len(c.byID)*8 <= len(c.sums) {
		*c.sums.at(sumOf(conn.id))++
		return
	}
	c.sums = make(idSums, max(2*len(c.sums), firstSums))
	for id := range c.byID {
		*c.sums.at(sumOf(id))++
	}
}

// idsSeen holds the sums of some names of connections of which a Scout has seen more than
// a farewell.
type idsSeen [1 << 9]uint32

func (s *idsSeen) at(sum uint32) *uint32 { return &s[sum&(1<<9-1)] }

// note notes that a line told of a connection, or that it is over.
func (s *idsSeen) note(line *found) {
	if !line.mlfid.ok {
		return
	}
	sum := sumOf(line.mlfid.text)
	switch at := s.at(sum); {
	case !line.forget:
		*at = sum
	case *at == sum:
		*at = 0
	}
}

func (s *idsSeen) has(sum uint32) bool { return *s.at(sum) == sum }

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
// connection lately: then it is to be looked at like any other, and false is returned.
func (s *Scout) farewell(x *looked, in *inside, out *Sightings) bool {
	id, ok := s.lines.farewell(in)
	if !ok || in.text == nil {
		return ok
	}
	sum := sumOf(view(id))
	if s.ids.has(sum) {
		return false
	}
	if !x.stays {
		id = out.copied(id)
	}
	seen := out.add()
	seen.line, seen.in, seen.sure, seen.farewell, seen.sum, seen.found.mlfid = x.line, x.in, true, true, sum, value{view(id), true}
	seen.date = s.dated[x.date].At(int(x.start), int(x.end))
	return true
}
