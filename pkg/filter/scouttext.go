package filter

import (
	"bytes"

	"bailiff/pkg/lineends"
	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/transport"
)

var newline = []byte{'\n'}

// A Scout looks at whole texts where it can: lines that can't matter are never cut out of them,
// and nothing is called for most lines.

// LookText is Look for the lines of a text, which end in newlines, and maybe in carriage
// returns before those. Lines that are empty or begin with # are none of the log's. It
// reports false, and says nothing, where one has a mark of what may stand around lines, or where
// the text is not ASCII.
func (s *Scout) LookText(text []byte, marks transport.Marks, form logtime.Form, out *Sightings) bool {
	if marks.Any(text) {
		return false
	}
	ends, ascii := lineends.Mark(text, s.ends)
	s.ends = ends
	out.lines, out.last = 0, place{}
	if !ascii || !s.begin(form, bytes.Count(text[:min(len(text), 8<<10)], newline)*max(1, len(text)>>13), func() [][]byte { return firstLines(text) }, out) {
		return false
	}
	light := s.counts && s.exact && !s.show.Load()
	if light {
		s.sieve.Light(len(s.lines.fail))
	}
	marked, dated := marks != transport.Marks{}, false
	ignores := s.counts && s.lines.ignoresEarly()
	if s.skim == nil {
		s.skim = new(skim)
	}
	words, q := s.dates.Words(), s.skim
	q.begin(text, ends, words, s.sieve.Openings())
	if light {
		out.room(len(q.places))
		q.light, q.prefixed = pyregexp.OpeningLight, out.prefixed
	}
	s.text = text
	defer func() { s.text = nil }()
	for {
		// Most lines have the date of one that was looked at already, in which no marks were,
		// and what they open with is known.
		odd := q.pass(dated)
		for i := range q.left {
			x := &q.left[i]
			if x.opening != pyregexp.OpeningUnknown && s.opened(x, text[int(x.from)+words.End:x.to], words.End, out) {
				continue
			}
			line := withoutReturns(text[x.from:x.to])
			if marked && marks.Line(line) {
				return false
			}
			s.passes(x, line, line[words.End:], 0, words.End, out)
		}
		if !odd {
			continue
		}
		from, to, more := q.line()
		if !more {
			break
		}
		line := withoutReturns(text[from:to])
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if marked && marks.Line(line) {
			return false
		}
		x := &s.odd
		x.from, x.to, x.last, x.line = int32(from), int32(from+len(line)), q.last, int32(q.lines)
		rest, start, end, ok := s.rest(line)
		dated = ok && !ignores && words.End > 0 && len(line) >= 20 // fewer bytes are not looked at for marks
		if !ok {
			s.left = append(s.left, looked{line: q.lines, in: x.place(text, line)})
		} else if x.opening = q.openings.First(rest); start > 0 || !s.opened(x, rest, end, out) {
			s.passes(x, line, rest, start, end, out)
		}
		q.last = lastLine{int32(from), int32(to)}
		q.lines++
	}
	last := place{from: q.last.from, to: q.last.from + int32(len(withoutReturns(text[q.last.from:q.last.to])))}
	out.lines, out.last = q.lines, last
	s.finish(q.lines, out)
	return true
}

// passes has the sieve look at a line of a text without its date.
func (s *Scout) passes(x *skimmed, whole, rest []byte, start, end int, out *Sightings) {
	if passes, prefixed := s.sieve.Passes(rest); passes {
		s.left = append(s.left, looked{
			line: int(x.line), in: x.place(s.text, whole), whole: whole, rest: rest, date: s.date(), start: int32(start), end: int32(end),
			stays: start == 0 && s.stays(x.from, whole),
		})
	} else if prefixed {
		out.setPrefixed(int(x.line))
	}
}

// stays reports whether a newline is behind a line in the text.
func (s *Scout) stays(from int32, line []byte) bool {
	end := int(from) + len(line)
	return end < len(s.text) && s.text[end] == '\n'
}

// opened deals with a line that begins with its date, of which something may be known by what it
// opens with behind that, and reports whether that is enough.
func (s *Scout) opened(x *skimmed, rest []byte, end int, out *Sightings) bool {
	opening := x.opening
	if opening >= pyregexp.OpeningGoes {
		opening = s.sieve.Openings().Further(rest, opening)
	}
	switch {
	case opening == pyregexp.OpeningAway:
	case opening == pyregexp.OpeningLight && s.sieve.HasLight():
		out.setPrefixed(int(x.line))
	case opening == pyregexp.OpeningMinor && s.lines.idFirst:
		s.byes = oneMore(s.byes)
		b := &s.byes[len(s.byes)-1]
		b.skimmed, b.end, b.date = *x, int32(end), int32(s.date())
	default:
		return false
	}
	return true
}

// mark is a line that is none of a text, of which is known what it opens with.
func (s *Scout) mark(line int, opening pyregexp.Opening) *skimmed {
	s.odd = skimmed{line: int32(line), opening: opening}
	return &s.odd
}

// lineAt is the line that begins there in a text, without its end, and where the next one
// begins.
func lineAt(text []byte, at int) (line []byte, next int) {
	if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
		line, next = text[at:at+n], at+n+1
	} else {
		line, next = text[at:], len(text)
	}
	return withoutReturns(line), next
}

// withoutReturns is a line without carriage returns at its end.
func withoutReturns(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return bytes.TrimRight(line, "\r")
	}
	return line
}

// firstLines are some lines at the begin of a text.
func firstLines(text []byte) (lines [][]byte) {
	for at := 0; at < len(text) && len(lines) < 200; {
		line, next := lineAt(text, at)
		if at = next; len(line) > 0 && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}
