package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
	"unique"

	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/transport"
)

// Most of what a line costs does not depend on the lines before it: its date, as long
// as dates keep their form, which failregex matches, and what that captures. A Scout
// finds that out for many lines ahead of the filter, on another core, or once for
// several jails; the filter then takes it over line by line, and looks itself at
// those of which the Scout was not sure.

// Scout looks at lines ahead of a filter. It belongs to one goroutine.
type Scout struct {
	// Keep has lines and texts stay where they are put, for all who get to see them,
	// in place of a copy of each by everyone.
	keep  bool
	lines *lineMatcher
	dates logtime.Ahead
	sieve *pyregexp.Sieve // of lines.whole
	// of the lines in one call of Look
	left   []looked
	dated  []logtime.Date // dates, without their places
	number int            // of the last one
	join   []byte
	masks  []uint64
	ahead  logtime.Ahead // for samples of lines
	ids    idsSeen
	// Where lines are counted.
	counts bool
	exact  bool         // of lines in ASCII, lines.whole knows whether the prefregex matches
	show   *atomic.Bool // Filter.showPrefixed
}

// NewScout makes a scout for a filter, or for others with the same definition; nil
// if lines can't be looked at ahead of it.
func (f *Filter) NewScout() *Scout {
	counts := f.mayCount()
	if !counts && !f.scouted() {
		return nil
	}
	s := &Scout{lines: f.newLineMatcher(), counts: counts, show: &f.showPrefixed}
	if s.lines.whole == nil {
		return nil
	}
	s.exact = s.lines.whole.Set().OuterExact()
	return s
}

// scouted reports whether a scout can look at lines ahead of the filter.
func (f *Filter) scouted() bool {
	return f.onlyFailures() && !f.journal && len(f.fail.list) > 0 && (f.within != nil || f.pref == nil)
}

// Form is that of the filter's dates now, by which a Scout is to go.
func (f *Filter) Form() logtime.Form {
	f.part()
	return f.dates.Form()
}

// Sightings is what a Scout says of some lines.
type Sightings struct {
	form  logtime.Form
	list  []sighting
	texts []byte // of what was found, copied
	// prefixed are the lines that the prefregex matches, a bit for each, where lines are
	// counted.
	prefixed []uint64
	// With LookText, how many lines there are, and where the last one is.
	lines int
	last  place
}

// key tells filters apart that find different things.
func (d *Definition) key(loc *time.Location) unique.Handle[string] {
	plain := *d
	plain.Name, plain.Proxies = "", nil
	return unique.Make(fmt.Sprintf("%#v %s", plain, loc))
}

// sighting is a line that the filter has to deal with; all between them have a date
// and tell of nothing.
type sighting struct {
	line int
	in   place // of LookText
	sure bool  // else, the filter has to look for itself
	// farewell says that it tells of nothing unless a connection is known by the name in
	// found, which has that sum, or by one that the line begins with behind its date; then,
	// the filter has to look for itself.
	farewell bool
	sum      uint32
	date     logtime.Date
	regex    int // -1: none
	found    found
	text     Line // with Scout.keep
	err      error
}

// Lines is how many lines LookText has seen.
func (s *Sightings) Lines() int { return s.lines }

// place is where a line is in a text, without its end; and the line before it.
type place struct{ from, to, lastFrom, lastTo int32 }

// looked is a line that was not turned away at once.
type looked struct {
	line       int
	in         place
	rest       []byte // the line without its date; nil: the filter has to look for itself
	whole      []byte
	date       int   // its number among Scout.dated
	start, end int32 // of the date
	// stays says that rest is a part of a text that stays, with a newline behind it.
	stays bool
}

// Look looks at lines. What it says is put into out, whose memory is used again.
func (s *Scout) Look(lines [][]byte, form logtime.Form, out *Sightings) {
	if !s.begin(form, len(lines), func() [][]byte { return lines }, out) {
		return
	}
	sieve := s.sieve
	for i, line := range lines {
		rest, start, end, ok := s.rest(line)
		if !ok {
			s.left = append(s.left, looked{line: i})
		} else if passes, _ := sieve.Passes(rest); passes {
			s.left = append(s.left, looked{line: i, whole: line, rest: rest, date: s.date(), start: int32(start), end: int32(end)})
		}
	}
	s.finish(len(lines), out)
}

// LookText is Look for the lines of a text, which end in newlines, and maybe in carriage
// returns before those. Lines that are empty or begin with # are none of the log's. It
// reports false, and says nothing, where one has a mark of what may stand around lines.
func (s *Scout) LookText(text []byte, marks transport.Marks, form logtime.Form, out *Sightings) bool {
	if marks.Any(text) {
		return false
	}
	out.lines, out.last = 0, place{}
	if !s.begin(form, bytes.Count(text[:min(len(text), 8<<10)], newline)*max(1, len(text)>>13), func() [][]byte { return firstLines(text) }, out) {
		return false
	}
	if s.counts && s.exact && !s.show.Load() {
		s.sieve.Light(len(s.lines.fail))
	}
	sieve, marked := s.sieve, marks != transport.Marks{}
	n, last := 0, place{}
	aways, words, dated := sieve.Aways(), s.dates.Words(), false
	ignores := s.counts && s.lines.ignoresEarly()
	for at := 0; at < len(text); {
		line, next := lineAt(text, at)
		// Most lines have the date of one that was looked at already, in which no marks were,
		// and are turned away by what comes next.
		if k := words.Length; dated && len(line) >= k+8 &&
			binary.LittleEndian.Uint64(line) == words.First && binary.LittleEndian.Uint64(line[k-8:]) == words.Last &&
			(k <= 16 || binary.LittleEndian.Uint64(line[8:]) == words.Second && binary.LittleEndian.Uint64(line[k-16:]) == words.Before) &&
			line[k] == ' ' && logtime.Behind(line[k+1]) && aways.Has(binary.LittleEndian.Uint64(line[words.End:])) {
			last = place{from: int32(at), to: int32(at + len(line))}
			at = next
			n++
			continue
		}
		in := place{int32(at), 0, last.from, last.to}
		if at = next; len(line) == 0 || line[0] == '#' {
			continue
		}
		if marked && marks.Line(line) {
			return false
		}
		in.to = in.from + int32(len(line))
		rest, start, end, ok := s.rest(line)
		dated = ok && !ignores && words.End > 0 && len(line) >= 20 // fewer bytes are not looked at for marks
		if !ok {
			s.left = append(s.left, looked{line: n, in: in})
		} else if passes, prefixed := sieve.Passes(rest); passes {
			s.left = append(s.left, looked{
				line: n, in: in, whole: line, rest: rest, date: s.date(), start: int32(start), end: int32(end),
				stays: start == 0 && int(in.to) < len(text) && text[in.to] == '\n',
			})
		} else if prefixed {
			out.setPrefixed(n)
		}
		last = in
		n++
	}
	out.lines, out.last = n, last
	s.finish(n, out)
	return true
}

var newline = []byte{'\n'}

// lineAt is the line that begins there in a text, without its end, and where the next one
// begins.
func lineAt(text []byte, at int) (line []byte, next int) {
	if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
		line, next = text[at:at+n], at+n+1
	} else {
		line, next = text[at:], len(text)
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = bytes.TrimRight(line, "\r")
	}
	return line, next
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

// begin begins to look at about so many lines, of which sample returns some; false, if
// nothing can be said of them.
func (s *Scout) begin(form logtime.Form, lines int, sample func() [][]byte, out *Sightings) bool {
	out.form, out.list, out.texts, out.prefixed = form, out.list[:0], out.texts[:0], out.prefixed[:0]
	if s.keep {
		*out = Sightings{form: form}
	}
	if !form.Known() {
		return false
	}
	s.left, s.join, s.dated = s.left[:0], s.join[:0], s.dated[:0]
	s.dates.Begin(form)
	s.sieve = s.lines.whole.Sieve(lines, func() (rests [][]byte) {
		s.ahead.Begin(form)
		for _, line := range sample() {
			if start, end, ok := s.ahead.Where(line); ok {
				rests = append(rests, slices.Concat(line[:start], line[end:]))
			}
			if len(rests) == 200 {
				break
			}
		}
		return rests
	})
	return true
}

// rest is a line without its date; not ok, if the filter has to look for itself: it has
// none in the form, or is counted and may be ignored.
func (s *Scout) rest(line []byte) (rest []byte, start, end int, ok bool) {
	start, end, ok = s.dates.Where(line)
	if !ok {
		s.dates.Lost()
		return nil, 0, 0, false
	}
	if rest = line[end:]; start > 0 {
		from := len(s.join)
		s.join = append(append(s.join, line[:start]...), rest...)
		rest = s.join[from:]
	}
	if s.counts && s.lines.ignoresEarly() {
		m := s.lines
		if m.maybeIgnored = m.ignoring.MatchLine(rest, m.maybeIgnored); len(m.maybeIgnored) > 0 {
			return nil, 0, 0, false
		}
	}
	return rest, start, end, true
}

// date is the number of the date of the line that rest was given last.
func (s *Scout) date() int {
	if n := s.dates.Number(); n != s.number || len(s.dated) == 0 {
		s.number = n
		s.dated = append(s.dated, s.dates.Last())
	}
	return len(s.dated) - 1
}

// finish looks at the lines that are left of so many.
func (s *Scout) finish(lines int, out *Sightings) {
	s.masks = s.sieve.Masks(s.masks)
	if s.counts {
		s.finishCounting(lines, out)
		return
	}
	masks, words := s.masks, s.lines.whole.Words()
	for i := range s.left {
		x := &s.left[i]
		if x.rest == nil {
			out.list = append(out.list, sighting{line: x.line, in: x.in})
			continue
		}
		mask := masks[:words]
		masks = masks[words:]
		if slices.Max(mask) != 0 {
			s.see(x, mask, out)
		}
	}
}

// see looks closer at a line.
func (s *Scout) see(x *looked, mask []uint64, out *Sightings) {
	m, whole := s.lines, x.whole
	var in inside
	if m.whole.Set().OnlyMinor(mask) && s.farewell(x, &in, out) {
		return
	}
	if !in.known {
		m.take(x)
	}
	m.maybe = m.maybe[:0]
	for w, b := range mask {
		for ; b != 0; b &= b - 1 {
			m.maybe = append(m.maybe, w*64+bits.TrailingZeros64(b))
		}
	}
	if len(out.list) == cap(out.list) {
		out.list = slices.Grow(out.list, 1)
	}
	list := out.list[:len(out.list)+1]
	seen := &list[len(out.list)] // written where it stays: it is large
	regex, err := m.confirm(&in, &seen.found)
	if regex < 0 && err == nil {
		return
	}
	seen.line, seen.in, seen.sure, seen.farewell, seen.regex, seen.err, seen.text = x.line, x.in, true, false, regex, err, Line{}
	seen.date = s.dated[x.date].At(int(x.start), int(x.end))
	if regex >= 0 {
		s.ids.note(&seen.found)
		if !x.stays || m.copied {
			out.keep(&seen.found)
		}
		seen.found.stays = s.keep
		if q := &seen.date; s.keep {
			text := view(out.copied(whole))
			seen.text = Line{Before: text[:q.Start], Date: text[q.Start:q.End], After: text[q.End:]}
		}
	}
	out.list = list
}

// keep copies the texts of what was found.
func (s *Sightings) keep(line *found) {
	values := [...]*value{&line.who.fid, &line.who.ip4, &line.who.ip6, &line.who.cidr, &line.who.dns, &line.mlfid, &line.user, &line.chain, &line.forwarded}
	for _, v := range values {
		if v.text != "" {
			v.text = view(s.copied([]byte(v.text)))
		}
	}
}

// copied puts a text to the others.
func (s *Sightings) copied(text []byte) []byte {
	if len(s.texts)+len(text) > cap(s.texts) {
		// What points into the old memory keeps that.
		s.texts = make([]byte, 0, max(min(2*cap(s.texts), 64<<10), len(text), 512))
	}
	from := len(s.texts)
	s.texts = append(s.texts, text...)
	return s.texts[from:]
}

// Share gives what another scout of a filter with the same Key has said of the same
// lines, or has look called, and gives that to the others. A nil Share does not.
type Share func(key SharedKey, look func() *Sightings) *Sightings

// SharedKey is what sightings depend on, besides the lines.
type SharedKey struct {
	filter, form unique.Handle[string]
	from         int
}

// MatchBlock is Match for many lines that follow each other in a log. each is called
// for every line that has failures or an error, in order.
func (f *Filter) MatchBlock(lines [][]byte, share Share, now time.Time, each func(line int, r *Result)) {
	from := 0
	if !f.alone && f.beside > 1 && len(lines) > 0 {
		if from = f.matchTogether(lines, now, each); from == len(lines) {
			return
		}
	}
	f.part()
	f.matchBlock(lines[from:], from, share, now, func(i int, r *Result) { each(from+i, r) })
}

// matchBlock is MatchBlock without others, for the lines from one on of those of which share
// knows.
func (f *Filter) matchBlock(lines [][]byte, from int, share Share, now time.Time, each func(line int, r *Result)) {
	n := 0
	call := func(i int, r *Result) error {
		each(n+i, r)
		return nil
	}
	ahead := f.scouted()
	if ahead {
		// What dates look like must be known to look ahead.
		for n < len(lines) && !f.dates.Form().Known() {
			_ = f.MatchAll(lines[n:n+1], nil, now, call)
			n++
		}
	}
	if n == len(lines) {
		return
	}
	var seen *Sightings
	if ahead {
		seen = &f.sightings
		form, rest := f.dates.Form(), lines[n:]
		if share != nil {
			seen = share(SharedKey{f.key, form.Key(), from + n}, func() *Sightings {
				s, scout := &Sightings{}, f.compiled.take(f)
				scout.keep = true
				scout.Look(rest, form, s)
				scout.keep = false
				f.compiled.give(scout)
				return s
			})
		} else {
			scout := f.compiled.take(f)
			scout.Look(rest, form, seen)
			f.compiled.give(scout)
		}
	}
	_ = f.MatchAll(lines[n:], seen, now, call)
}

// MatchAll is Match for many lines, of which a Scout may have told. each is called
// for every line of which there is something to tell, in order; an error of its own ends
// it. The result is valid until each returns.
func (f *Filter) MatchAll(lines [][]byte, seen *Sightings, now time.Time, each func(line int, r *Result) error) error {
	c := cursor{lines: lines}
	return f.matchAll(&c, seen, now, func(_ []byte, r *Result) error { return each(c.next, r) })
}

// MatchText is MatchAll for a text of which a Scout has told with LookText.
func (f *Filter) MatchText(text []byte, seen *Sightings, now time.Time, each func(line []byte, r *Result) error) error {
	return f.matchAll(&cursor{text: text}, seen, now, each)
}

func (f *Filter) matchAll(c *cursor, seen *Sightings, now time.Time, each func(line []byte, r *Result) error) error {
	f.part()
	look := func() error {
		line := c.line()
		r := f.Match(line, now)
		var err error
		if r.Tells() {
			err = each(line, &r)
		}
		c.step()
		return err
	}
	if seen != nil && f.onlyFailures() && f.dates.Has(seen.form) {
		// From which line on lines were passed, which have dates and tell of nothing.
		from := 0
		settle := func() {
			if from == c.next {
				return
			}
			if q, ok := f.dates.Run(c.next-from, c.last, now); ok {
				f.note(&q, c.last, now)
			}
		}
		list := seen.list
		for follows := false; c.more(); {
			for len(list) > 0 && list[0].farewell && !f.conns.meets(&list[0], c) {
				list = list[1:]
			}
			switch {
			case len(list) > 0 && list[0].line == c.next && !list[0].sure, !follows && !f.dates.Follows(c.line()):
				settle()
				if len(list) > 0 && list[0].line == c.next {
					list = list[1:]
				}
				if err := look(); err != nil {
					return err
				}
				from = c.next
				if follows = false; !f.dates.Has(seen.form) {
					seen = &Sightings{}
				}
			case len(list) == 0:
				c.toEnd(seen)
				follows = true
			case list[0].line > c.next:
				c.jump(&list[0])
				follows = true
			default:
				x := &list[0]
				line := c.line()
				f.dates.Passed(c.next-from+1, line, &x.date, now)
				f.note(&x.date, line, now)
				follows, list = true, list[1:]
				r := &f.result
				*r = Result{Ignored: -1, Failures: r.Failures[:0], Logins: r.Logins[:0]}
				if x.farewell {
					f.whole(r, &x.date, line)
				} else if r.Err = x.err; x.regex >= 0 {
					f.catchUp()
					r.Time, r.Dated = f.last, true
					if x.found.stays {
						// What is found is changed by what becomes of it, and others want it, too.
						f.line = x.found
						f.org = append(f.org[:0], x.text)
						f.failure(x.regex, &f.line, f.org, r)
					} else {
						f.told(x.regex, &x.found, line[:x.date.Start], f.latelyText, line[x.date.End:], r)
					}
				}
				var err error
				if r.Tells() {
					err = each(line, r)
				}
				c.step()
				if from = c.next; err != nil {
					return err
				}
			}
			if !seen.form.Known() {
				break // dates look otherwise by now
			}
		}
		settle()
	}
	for c.more() {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}
