package filter

import (
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
	"unique"

	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
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
	byes   []bye
	text   []byte         // of LookText
	cut    [][]byte       // lines of Look
	dated  []logtime.Date // dates, without their places
	number int            // of the last one
	join   []byte
	masks  []uint64
	ends   []uint64 // of LookText
	skim   *skim
	odd    skimmed       // a line that was not skimmed
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
	form logtime.Form
	list []sighting
	// Lines that tell of nothing unless a connection is known, in order.
	farewells []farewell
	texts     []byte // of what was found, copied
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
	line  int
	in    place // of LookText
	sure  bool  // else, the filter has to look for itself
	date  logtime.Date
	regex int // -1: none
	found found
	text  Line // with Scout.keep
	err   error
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
	openings := sieve.Openings()
	for i, line := range lines {
		rest, start, end, ok := s.rest(line)
		if !ok {
			s.left = append(s.left, looked{line: i})
		} else if start > 0 || !s.opened(s.mark(i, openings.First(rest)), rest, end, out) {
			if passes, _ := sieve.Passes(rest); passes {
				s.left = append(s.left, looked{line: i, whole: line, rest: rest, date: s.date(), start: int32(start), end: int32(end)})
			}
		}
	}
	s.cut = lines
	s.finish(len(lines), out)
	s.cut = nil
}

// begin begins to look at about so many lines, of which sample returns some; false, if
// nothing can be said of them.
func (s *Scout) begin(form logtime.Form, lines int, sample func() [][]byte, out *Sightings) bool {
	out.form, out.list, out.farewells, out.texts, out.prefixed = form, out.list[:0], out.farewells[:0], out.texts[:0], out.prefixed[:0]
	if s.keep {
		*out = Sightings{form: form}
	}
	if !form.Known() {
		return false
	}
	s.left, s.byes, s.join, s.dated = s.left[:0], s.byes[:0], s.join[:0], s.dated[:0]
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
	byes := s.byes
	for i := range s.left {
		x := &s.left[i]
		for len(byes) > 0 && int(byes[0].line) < x.line {
			s.seeBye(&byes[0], out)
			byes = byes[1:]
		}
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
	for i := range byes {
		s.seeBye(&byes[i], out)
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
	list := oneMore(out.list)
	seen := &list[len(out.list)] // written where it stays: it is large
	regex, err := m.confirm(&in, &seen.found)
	if regex < 0 && err == nil {
		return
	}
	seen.line, seen.in, seen.sure, seen.regex, seen.err, seen.text = x.line, x.in, true, regex, err, Line{}
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
