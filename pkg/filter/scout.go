package filter

import (
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
	"unique"

	"bailiff/pkg/logtime"
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
	// of the lines in one call of Look
	text  [][]byte // without dates; nil: the filter has to look for itself
	join  []byte
	masks []uint64
	// Where lines are counted.
	counts  bool
	ignored []uint64     // masks of ignoreregexes
	show    *atomic.Bool // Filter.showPrefixed
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
	return s
}

// scouted reports whether a scout can look at lines ahead of the filter.
func (f *Filter) scouted() bool {
	return f.brief() && !f.journal && len(f.fail.list) > 0 && (f.within != nil || f.pref == nil)
}

// Form is that of the filter's dates now, by which a Scout is to go.
func (f *Filter) Form() logtime.Form { return f.dates.Form() }

// Sightings is what a Scout says of some lines.
type Sightings struct {
	form  logtime.Form
	list  []sighting
	texts []byte // of what was found, copied
	// prefixed are the lines that the prefregex matches, a bit for each, where lines are
	// counted.
	prefixed []uint64
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
	sure  bool // else, the filter has to look for itself
	date  logtime.Date
	regex int // -1: none
	found found
	text  Line // with Scout.keep
	err   error
}

// Look looks at lines. What it says is put into out, whose memory is used again.
func (s *Scout) Look(lines [][]byte, form logtime.Form, out *Sightings) {
	out.form, out.list, out.texts = form, out.list[:0], out.texts[:0]
	if s.keep {
		*out = Sightings{form: form}
	}
	if !form.Known() {
		return
	}
	s.text, s.join = s.text[:0], s.join[:0]
	s.dates.Begin(form)
	for _, line := range lines {
		start, end, ok := s.dates.Where(line)
		if !ok {
			s.dates.Lost()
			s.text = append(s.text, nil)
			continue
		}
		rest := line[end:]
		if start > 0 {
			from := len(s.join)
			s.join = append(append(s.join, line[:start]...), rest...)
			rest = s.join[from:]
		}
		s.text = append(s.text, rest)
	}
	s.masks = s.lines.whole.MatchLines(s.text, s.masks)
	if s.counts {
		s.lookCounting(lines, out)
		return
	}
	words := s.lines.whole.Words()
	for i, rest := range s.text {
		switch mask := s.masks[i*words : (i+1)*words]; {
		case rest == nil:
			out.list = append(out.list, sighting{line: i})
		case slices.Max(mask) != 0:
			s.see(i, lines[i], rest, mask, out)
		}
	}
}

// see looks closer at a line.
func (s *Scout) see(i int, whole, rest []byte, mask []uint64, out *Sightings) {
	m := s.lines
	m.text = append(append(m.text[:0], rest...), '\n')
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
	regex, err := m.confirm(&seen.found)
	if regex < 0 && err == nil {
		return
	}
	seen.line, seen.sure, seen.regex, seen.err, seen.text = i, true, regex, err, Line{}
	seen.date, _ = s.dates.Again(whole)
	if regex >= 0 {
		out.keep(&seen.found)
		seen.found.stays = s.keep
		if q := &seen.date; s.keep {
			text := view(out.copied(whole))
			seen.text = Line{text[:q.Start], text[q.Start:q.End], text[q.End:]}
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
			seen = share(SharedKey{f.key, form.Key(), n}, func() *Sightings {
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
// for every line that has failures or an error, in order; an error of its own ends
// it. The result is valid until each returns.
func (f *Filter) MatchAll(lines [][]byte, seen *Sightings, now time.Time, each func(line int, r *Result) error) error {
	next := 0 // the first line that was not dealt with
	look := func() error {
		r := f.Match(lines[next], now)
		next++
		if len(r.Failures) == 0 && r.Err == nil && len(r.Withheld) == 0 {
			return nil
		}
		return each(next-1, &r)
	}
	if seen != nil && f.brief() && f.dates.Has(seen.form) {
		passed := 0 // lines with dates, which tell of nothing
		settle := func() {
			if passed == 0 {
				return
			}
			last := lines[next-1]
			if q, ok := f.dates.Run(passed, last, now); ok {
				f.note(&q, last, now)
			}
			passed = 0
		}
		list := seen.list
		for follows := false; next < len(lines); {
			switch {
			case len(list) > 0 && list[0].line == next && !list[0].sure, !follows && !f.dates.Follows(lines[next]):
				settle()
				if len(list) > 0 && list[0].line == next {
					list = list[1:]
				}
				if err := look(); err != nil {
					return err
				}
				if follows = false; !f.dates.Has(seen.form) {
					seen = &Sightings{}
				}
			case len(list) == 0:
				passed += len(lines) - next
				next, follows = len(lines), true
			case list[0].line > next:
				passed += list[0].line - next
				next, follows = list[0].line, true
			default:
				x := &list[0]
				line := lines[next]
				f.dates.Passed(passed+1, line, &x.date, now)
				f.note(&x.date, line, now)
				passed, follows, list = 0, true, list[1:]
				next++
				r := &f.result
				*r = Result{Ignored: -1, Err: x.err, Failures: r.Failures[:0]}
				if x.regex >= 0 {
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
				if len(r.Failures) > 0 || r.Err != nil || len(r.Withheld) > 0 {
					if err := each(next-1, r); err != nil {
						return err
					}
				}
			}
			if !seen.form.Known() {
				break // dates look otherwise by now
			}
		}
		settle()
	}
	for next < len(lines) {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}
