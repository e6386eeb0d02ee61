package filter

import (
	"math/bits"
	"slices"
	"time"

	"bailiff/pkg/pyregexp"
)

// Lines that are counted (Filter.counts) are looked at ahead, too. Most tell of nothing,
// and of these it is only said how many the prefregex matches; any other is told of with
// all failregexes that match it.

// mayCount reports whether a scout can look at lines ahead of a filter that counts.
func (f *Filter) mayCount() bool {
	return f.counts() && !f.journal && len(f.fail.list) > 0 && (f.within != nil || f.pref == nil)
}

// ShowPrefixed says whether every line that the prefregex matches is to be told of by
// itself, with Result.Rest, and not only counted. It may be called while scouts look at
// lines; what they have seen already is told as it was asked for then.
func (f *Filter) ShowPrefixed(show bool) { f.showPrefixed.Store(show) }

// Prefixed returns the groups of the prefregex in what expressions see of a line
// (Result.Rest), nil if it does not match, and their names in its order.
func (f *Filter) Prefixed(rest []byte) (Groups, []string) {
	if f.pref == nil {
		return nil, nil
	}
	text := append(append(make([]byte, 0, len(rest)+1), rest...), '\n')
	m, _ := f.searcher.Search(text, nil)
	if m == nil {
		return nil, nil
	}
	return f.pref.groups(m, text), f.pref.order
}

// finishCounting is finish where lines are counted.
func (s *Scout) finishCounting(lines int, out *Sightings) {
	m := s.lines
	out.room(lines)
	show := s.show.Load()
	pref := len(m.fail) // that of the member that says whether the prefregex may match
	masks, words := s.masks, m.whole.Words()
	for i := range s.left {
		x := &s.left[i]
		if x.rest == nil {
			out.list = append(out.list, sighting{line: x.line, in: x.in})
			continue
		}
		mask := masks[:words]
		masks = masks[words:]
		switch {
		case slices.Max(mask) == 0:
			continue
		case s.sieve.OnlyLight(mask):
			out.setPrefixed(x.line)
			continue
		}
		m.take(x)
		m.maybe = m.maybe[:0]
		for w, b := range mask {
			for ; b != 0; b &= b - 1 {
				if n := w*64 + bits.TrailingZeros64(b); n != pref {
					m.maybe = append(m.maybe, n)
				}
			}
		}
		if s.count(x, out, show) {
			out.setPrefixed(x.line)
		}
	}
}

// count looks closer at a line, of which maybe says what may match it, and reports
// whether the prefregex matches.
func (s *Scout) count(line *looked, out *Sightings, show bool) (prefixed bool) {
	m, from := s.lines, len(out.list)
	unsure := func() bool {
		out.list = append(out.list[:from], sighting{line: line.line, in: line.in})
		return false
	}
	text, pre, err := m.leaves()
	if err != nil {
		return unsure()
	}
	if text == nil {
		return false
	}
	prefixed = pre != nil
	if prefixed && show {
		return unsure()
	}
	for _, x := range m.maybe {
		if x >= len(m.fail) {
			continue
		}
		caps, err := m.failing.Confirm(x, text, m.caps)
		if err != nil {
			return unsure()
		}
		if caps == nil {
			continue
		}
		m.caps = caps
		if len(m.ignore) > 0 {
			if m.maybeIgnored = m.ignoring.Match(text, m.maybeIgnored); len(m.maybeIgnored) > 0 {
				return unsure()
			}
		}
		out.list = oneMore(out.list)
		seen := &out.list[len(out.list)-1]
		seen.found.by(m.pref, &m.fail[x], caps, text, pre)
		seen.found.groups, seen.found.order = nil, nil
		seen.line, seen.in, seen.sure, seen.regex, seen.err, seen.text = line.line, line.in, true, x, nil, Line{}
		seen.date = s.dated[line.date].At(int(line.start), int(line.end))
		if !line.stays || m.copied {
			out.keep(&seen.found)
		}
	}
	return prefixed
}

// oneMore makes room for one more at the end of a list, whose fields are left as they are: it is
// written where it stays.
func oneMore[T any](list []T) []T {
	if len(list) == cap(list) {
		list = slices.Grow(list, 1)
	}
	return list[:len(list)+1]
}

// room makes room for marks of so many lines.
func (s *Sightings) room(lines int) {
	for len(s.prefixed) < (lines+63)/64 {
		s.prefixed = append(s.prefixed, 0)
	}
}

// setPrefixed notes that the prefregex matches a line.
func (s *Sightings) setPrefixed(line int) {
	if line>>6 >= len(s.prefixed) {
		s.room(line + 1)
	}
	s.prefixed[line>>6] |= 1 << (line & 63)
}

// isPrefixed reports whether the prefregex matches a line.
func (s *Sightings) isPrefixed(line int) bool { return s.prefixed[line>>6]>>(line&63)&1 != 0 }

// countPrefixed counts the lines in a range that the prefregex matches.
func (s *Sightings) countPrefixed(from, to int) (n int) {
	for ; from < to && from&63 != 0; from++ {
		n += int(s.prefixed[from>>6] >> (from & 63) & 1)
	}
	for ; from+64 <= to; from += 64 {
		n += bits.OnesCount64(s.prefixed[from>>6])
	}
	for ; from < to; from++ {
		n += int(s.prefixed[from>>6] >> (from & 63) & 1)
	}
	return n
}

// Missed are lines that follow each other, and tell of nothing.
type Missed struct {
	From, To     int  // the first, and the one behind the last
	Prefixed     int  // how many of them the prefregex matches
	LastPrefixed bool // it matches the last one

	in cursor
}

// Lines calls f for one after the other, as long as that returns true.
func (m *Missed) Lines(f func(line []byte) bool) {
	for c := m.in; c.next < m.To && c.more() && f(c.line()); c.step() {
	}
}

// CountAll is MatchAll for a filter that counts. Every line is told of, by one of the
// two functions, in order; what they are given is valid until they return.
func (f *Filter) CountAll(lines [][]byte, seen *Sightings, now time.Time, each func(line int, r *Result) error, missed func(*Missed) error) error {
	c := cursor{lines: lines}
	return f.countAll(&c, seen, now, func(_ []byte, r *Result) error { return each(c.next, r) }, missed)
}

// CountText is CountAll for a text of which a Scout has told with LookText.
func (f *Filter) CountText(text []byte, seen *Sightings, now time.Time, each func(line []byte, r *Result) error, missed func(*Missed) error) error {
	return f.countAll(&cursor{text: text}, seen, now, each, missed)
}

func (f *Filter) countAll(c *cursor, seen *Sightings, now time.Time, each func(line []byte, r *Result) error, missed func(*Missed) error) error {
	if seen != nil && f.counts() && f.dates.Has(seen.form) {
		if err := f.countSeen(c, seen, now, each, missed); err != nil {
			return err
		}
	}
	for c.more() {
		r := f.Match(c.line(), now)
		if err := each(c.line(), &r); err != nil {
			return err
		}
		c.step()
	}
	return nil
}

// countSeen is countAll as long as dates keep the form by which a Scout has looked at
// them.
func (f *Filter) countSeen(c *cursor, seen *Sightings, now time.Time, each func(line []byte, r *Result) error, missed func(*Missed) error) error {
	list := seen.list
	from, between := *c, Missed{} // of lines that tell of nothing, and were not told
	settle := func() error {
		if from.next == c.next {
			return nil
		}
		if q, ok := f.dates.Run(c.next-from.next, c.last, now); ok {
			f.note(&q, c.last, now)
		}
		between = Missed{from.next, c.next, seen.countPrefixed(from.next, c.next), seen.isPrefixed(c.next - 1), from}
		return missed(&between)
	}
	for follows := false; c.more(); {
		switch {
		case len(list) > 0 && list[0].line == c.next && !list[0].sure, !follows && !f.dates.Follows(c.line()):
			if err := settle(); err != nil {
				return err
			}
			for len(list) > 0 && list[0].line == c.next {
				list = list[1:]
			}
			r := f.Match(c.line(), now)
			if err := each(c.line(), &r); err != nil {
				return err
			}
			c.step()
			from, follows = *c, false
			if !f.dates.Has(seen.form) {
				return nil
			}
		case len(list) == 0:
			c.toEnd(seen)
			follows = true
		case list[0].line > c.next:
			c.jump(list[0].line, &list[0].in)
			follows = true
		default:
			if err := settle(); err != nil {
				return err
			}
			line, x := c.line(), &list[0]
			f.dates.Passed(1, line, &x.date, now)
			f.note(&x.date, line, now)
			f.catchUp()
			r := &f.result
			*r = Result{Ignored: -1, Failures: r.Failures[:0], Prefixed: seen.isPrefixed(c.next), Time: f.last, Dated: true}
			for len(list) > 0 && list[0].line == c.next {
				f.failure(list[0].regex, &list[0].found, nil, r)
				list = list[1:]
			}
			if err := each(line, r); err != nil {
				return err
			}
			c.step()
			from, follows = *c, true
		}
	}
	return settle()
}

// counting is the set that says of a line which failregexes may match it, and whether
// the prefregex may: its last member stands for that. It is nil where there is none, as
// compiled.within.
func (c *compiled) counting() *pyregexp.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counted == nil && c.within != nil {
		all, err := pyregexp.Compile(".", 0)
		if err != nil {
			return nil
		}
		c.counted = pyregexp.NewSetWithin(c.pref.re, "content", append(slices.Clone(c.failSet.Members()), all)...)
	}
	return c.counted
}
