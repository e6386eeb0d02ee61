package logtime

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"
	"unique"
)

// fold3 is three letters as one number, in lower case; not ok if they are no ASCII
// letters.
func fold3(b []byte) (n uint32, ok bool) {
	for _, c := range b[:3] {
		c |= 0x20
		if c < 'a' || c > 'z' {
			return 0, false
		}
		n = n<<8 | uint32(c)
	}
	return n, true
}

var dayByLetters = lettersOf(dayNumbers)

func lettersOf(names map[string]int) map[uint32]int {
	out := map[uint32]int{}
	for n, v := range names {
		k, _ := fold3([]byte(n))
		out[k] = v
	}
	return out
}

// monthOf is a switch in place of a map, since each line asks.
func monthOf(k uint32) int32 {
	const a, b, c, d, e, f, g, h, i, j, l, m = 'j'<<16 | 'a'<<8 | 'n', 'f'<<16 | 'e'<<8 | 'b', 'm'<<16 | 'a'<<8 | 'r', 'a'<<16 | 'p'<<8 | 'r',
		'm'<<16 | 'a'<<8 | 'y', 'j'<<16 | 'u'<<8 | 'n', 'j'<<16 | 'u'<<8 | 'l', 'a'<<16 | 'u'<<8 | 'g',
		's'<<16 | 'e'<<8 | 'p', 'o'<<16 | 'c'<<8 | 't', 'n'<<16 | 'o'<<8 | 'v', 'd'<<16 | 'e'<<8 | 'c'
	switch k {
	case a:
		return 1
	case b:
		return 2
	case c:
		return 3
	case d:
		return 4
	case e:
		return 5
	case f:
		return 6
	case g:
		return 7
	case h:
		return 8
	case i:
		return 9
	case j:
		return 10
	case l:
		return 11
	case m:
		return 12
	}
	return 0
}

// formReader finds dates of one form. It keeps the last one, since most lines have
// the same.
type formReader struct {
	s      *shape
	text   []byte // the last date, without what stands before it
	fields [shapeFields]int32
	dates  int   // how many were read that were not like the one before
	words  Words // of the last one, where a line begins with its date, of eight to thirty-two bytes
}

// Words are a date with which lines begin, as words of eight bytes.
type Words struct {
	First, Last    uint64 // its first and its last eight bytes
	Second, Before uint64 // those behind and before these, if it has more than sixteen
	Length         int    // what has to be the same, in bytes; 0: there is nothing to compare
	End            int    // where the date ends, which is all before that; 0: that is not known at once
}

// Behind reports whether what stands behind a date is surely none of it: a space and then c.
func Behind(c byte) bool { return endsDate[c] }

// read finds the date of a line that has the form, and returns where the ops begin.
// The fields are then those of the date.
func (r *formReader) read(line []byte) (base int, ok bool) {
	s := r.s
	switch s.skipTo {
	case 0:
	case '"':
		if base, ok = beforeQuote(line, len(s.ops)); !ok {
			return 0, false
		}
	default:
		for {
			if base >= len(line) || line[base] >= utf8.RuneSelf {
				return 0, false
			}
			if line[base] == s.skipTo {
				break
			}
			base++
		}
		base++
	}
	b := line[base:]
	if len(b) < len(s.ops) {
		return 0, false
	}
	for _, c := range b[:s.any] {
		if c >= utf8.RuneSelf {
			return 0, false
		}
	}
	if text := b[s.any:len(s.ops)]; string(text) != string(r.text) {
		if !r.fresh(b) {
			return 0, false
		}
		r.text = append(r.text[:0], text...)
		r.dates++
		if n := len(s.ops); s.anchored && s.skipTo == 0 && s.any == 0 && n >= 8 && n <= 32 {
			r.words = Words{First: binary.LittleEndian.Uint64(b), Last: binary.LittleEndian.Uint64(b[n-8:]), Length: n}
			if n > 16 {
				r.words.Second, r.words.Before = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[n-16:])
			}
			if s.start == 0 && n > 10 {
				r.words.End = s.end
			}
		}
	}
	return base, !s.anchored || s.skipTo == '"' || !mayGoOn(b[len(s.ops):])
}

// beforeQuote is where n bytes begin that end with the first quote that no backslash stands
// before, and behind a square bracket.
func beforeQuote(line []byte, n int) (base int, ok bool) {
	escaped := -1
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c >= utf8.RuneSelf:
			return 0, false
		case c == '\\':
			i++
			escaped = i
			if i < len(line) && line[i] >= utf8.RuneSelf {
				return 0, false
			}
		case c == '"':
			base = i + 1 - n
			return base, base > 0 && line[base-1] == '[' && escaped < base-1
		}
	}
	return 0, false
}

// same reports whether a line begins with the last date, and what stands behind it can't
// be more of it. It may say no where read says yes.
func (r *formReader) same(line []byte) bool {
	w := &r.words
	n := w.Length
	if n == 0 || len(line) < n+2 || binary.LittleEndian.Uint64(line) != w.First || binary.LittleEndian.Uint64(line[n-8:]) != w.Last {
		return false
	}
	if n > 16 && (binary.LittleEndian.Uint64(line[8:]) != w.Second || binary.LittleEndian.Uint64(line[n-16:]) != w.Before) {
		return false
	}
	return line[n] == ' ' && endsDate[line[n+1]]
}

// endsDate are the characters which, after a date and a space, are not taken for more of
// the date, whatever follows (mayGoOn).
var endsDate = func() (out [256]bool) {
	for c := byte('!'); c < utf8.RuneSelf; c++ {
		out[c] = !isDigit(c) && (c < 'A' || c > 'Z') && strings.IndexByte("+-zapug", c) < 0
	}
	return out
}()

// fresh reads the fields of a date that is not like the one before.
func (r *formReader) fresh(b []byte) bool {
	s := r.s
	var f [shapeFields]int32
	// What is as in the last date was read then.
	from := s.any
	if len(r.text) == len(s.ops)-s.any {
		if from = max(from, int(s.resume[s.any+common(r.text, b[s.any:])])); from > s.any {
			f = r.fields
		}
	}
	for i := from; i < len(s.ops); i++ {
		op := s.ops[i]
		c := b[i]
		switch op.kind {
		case shapeByte:
			if c != op.c {
				return false
			}
		case shapePad:
			if c == ' ' {
				if int(s.resume[i]) == i {
					f[op.field] = 0
				}
				break // a zero
			}
			fallthrough
		case shapeDigit:
			if !isDigit(c) {
				return false
			}
			if int(s.resume[i]) == i {
				f[op.field] = 0
			}
			f[op.field] = f[op.field]*10 + int32(c-'0')
		case shapeMonth:
			k, letters := fold3(b[i:])
			month := monthOf(k)
			if !letters || month == 0 {
				return false
			}
			f[fieldMonth] = month
			i += 2
		case shapeDay:
			k, letters := fold3(b[i:])
			if _, known := dayByLetters[k]; !letters || !known {
				return false
			}
			i += 2
		case shapeAny:
			if c >= utf8.RuneSelf {
				return false
			}
		}
	}
	if f[fieldMonth] < 1 || f[fieldMonth] > 12 || f[fieldDay] < 1 || f[fieldDay] > 31 || f[fieldDay] > 28 && !longDay[f[fieldMonth]][f[fieldDay]-29] ||
		f[fieldHour] > 23 || f[fieldMinute] > 59 || f[fieldSecond] > 59 {
		return false
	}
	r.fields = f
	return true
}

// common is how many bytes are the same at the begin of two texts, of which the
// first is the shorter one.
func common(a, b []byte) int {
	i := 0
	for ; i+8 <= len(a); i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i
}

// date is what was read last, of a line in which the ops begin at base.
func (r *formReader) date(base int) Date {
	return Date{Start: int32(base + r.s.start), End: int32(base + r.s.end), shape: r.s, fields: r.fields}
}

// Quick finds the date of a line that has the form of the last one. Where it does
// not, nothing is changed, and Find has the word.
func (d *Detector) Quick(line []byte, now time.Time) (date Date, ok bool) {
	s := d.shape
	if s == nil || s.t != d.last {
		return date, false
	}
	base, ok := d.by(s).read(line)
	if !ok || !s.anchored && !d.lastAt.fits(line, s.matchStart, base+s.matchEnd) {
		return date, false
	}
	d.wonAgain(s, 1, now)
	if !s.anchored {
		d.lastAt = s.place(line, base)
	}
	return d.reader.date(base), true
}

// by returns the reader of a form.
func (d *Detector) by(s *shape) *formReader {
	if d.reader.s != s {
		d.reader = formReader{s: s, text: d.reader.text[:0]}
	}
	return &d.reader
}

// Form is the form of a log's dates at some moment.
type Form struct{ s *shape }

// Known reports whether there is one.
func (f Form) Known() bool { return f.s != nil }

// Key is equal for equal forms, also of several detectors.
func (f Form) Key() unique.Handle[string] {
	if f.s == nil {
		return unique.Handle[string]{}
	}
	return f.s.key
}

// Form returns the form of the last date, if the next one may be found by it.
func (d *Detector) Form() Form {
	if d.shape == nil || d.shape.t != d.last {
		return Form{}
	}
	return Form{d.shape}
}

// Has reports whether dates have that form now, be it that another detector with
// the same patterns has told of it.
func (d *Detector) Has(f Form) bool {
	s := d.Form().s
	return s != nil && f.s != nil && (s == f.s || s.key == f.s.key)
}

// Ahead finds dates ahead of the detector that they are for, which then takes them
// over with Run. It belongs to one goroutine.
type Ahead struct {
	reader formReader
	lastAt place
}

// Begin takes a form, for lines from here on.
func (a *Ahead) Begin(f Form) {
	if a.reader.s != f.s {
		a.reader = formReader{s: f.s, text: a.reader.text[:0]}
	}
	a.Lost()
}

// Lost says that what stands before the next line is not known. That a line is the
// next one is then for the detector to judge: Follows.
func (a *Ahead) Lost() { a.lastAt.known = false }

// Where tells where the date of a line is that has the form.
func (a *Ahead) Where(line []byte) (start, end int, ok bool) {
	s := a.reader.s
	if a.reader.same(line) {
		return s.start, s.end, true
	}
	base, ok := a.reader.read(line)
	if !ok {
		return 0, 0, false
	}
	if !s.anchored {
		if a.lastAt.known && !a.lastAt.fits(line, s.matchStart, base+s.matchEnd) {
			return 0, 0, false
		}
		a.lastAt = s.place(line, base)
	}
	return base + s.start, base + s.end, true
}

// Words are those of the date that Where has found last: a line that begins with the same,
// behind which stand a space and what Behind is told, has that date. They stay the same as
// long as Number does.
func (a *Ahead) Words() *Words { return &a.reader.words }

// Last is the date that Where has found last, without its place. It stays the same as
// long as Number does.
func (a *Ahead) Last() Date { return a.reader.date(0) }

// Number counts the dates that were found, but for those that were the same as the one
// before.
func (a *Ahead) Number() int { return a.reader.dates }

// At is the date where it is in that place of a line.
func (q Date) At(start, end int) Date {
	q.Start, q.End = int32(start), int32(end)
	return q
}

// Follows reports whether a line's date, be it found ahead, is where the detector
// would look for it, after the line that it was given last.
func (d *Detector) Follows(line []byte) bool {
	s := d.shape
	if s.anchored {
		return true
	}
	base, ok := d.by(s).read(line)
	return ok && d.lastAt.fits(line, s.matchStart, base+s.matchEnd)
}

// Run takes over that so many lines, of which this is the last, had dates that were
// found ahead, and returns that of the last.
func (d *Detector) Run(lines int, last []byte, now time.Time) (Date, bool) {
	r := d.by(d.shape)
	base, ok := r.read(last)
	if !ok {
		return Date{}, false
	}
	q := r.date(base)
	d.Passed(lines, last, &q, now)
	return q, true
}

// Passed is Run where the last date is known.
func (d *Detector) Passed(lines int, last []byte, q *Date, now time.Time) {
	s := d.shape
	d.wonAgain(s, lines, now)
	if !s.anchored {
		d.lastAt = s.place(last, int(q.End)-s.end)
	}
}

// longDay says which months have a 29th (never February: the year matters), a 30th
// and a 31st.
var longDay = [13][3]bool{
	1: {true, true, true}, 3: {true, true, true}, 4: {true, true, false}, 5: {true, true, true}, 6: {true, true, false}, 7: {true, true, true},
	8: {true, true, true}, 9: {true, true, false}, 10: {true, true, true}, 11: {true, true, false}, 12: {true, true, true},
}

// mayGoOn reports whether what stands behind a date could be taken for more of it:
// a fraction, a year, a zone, half of the day. It says so rather too often.
func mayGoOn(rest []byte) bool {
	if len(rest) == 0 {
		return false
	}
	switch c := rest[0]; {
	case c == '.' || c == ',' || c == '+' || c == '-' || c == '_' || c >= utf8.RuneSelf || isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z':
		return true
	case c == ':' && len(rest) > 1 && isDigit(rest[1]): // the minutes of a zone
		return true
	}
	i := 0
	for i < len(rest) && (rest[i] <= ' ' || rest[i] >= utf8.RuneSelf) {
		if rest[i] >= utf8.RuneSelf {
			return true
		}
		i++
	}
	if i == 0 || i == len(rest) {
		return false
	}
	switch c := rest[i] | 0x20; {
	case isDigit(rest[i]) || rest[i] == '+' || rest[i] == '-' || c == 'z':
		return true
	case c == 'a' || c == 'p':
		return i+1 < len(rest) && rest[i+1]|0x20 == 'm'
	case rest[i] >= 'A' && rest[i] <= 'Z':
		// The abbreviation of a zone is in capitals; UTC and GMT may not be.
		return i+2 >= len(rest) || rest[i+1] >= 'A' && rest[i+1] <= 'Z' || zoneName(rest[i:])
	case c == 'u' || c == 'g':
		return zoneName(rest[i:])
	}
	return false
}

// zoneName reports whether a text begins with UTC or GMT.
func zoneName(b []byte) bool {
	if len(b) < 3 {
		return true
	}
	k, _ := fold3(b)
	return k == 'u'<<16|'t'<<8|'c' || k == 'g'<<16|'m'<<8|'t'
}

// wonAgain does what won does for a template that won the last time, too. Of one
// that is anchored, only where the match began is asked for.
func (d *Detector) wonAgain(s *shape, lines int, now time.Time) {
	t := s.t
	t.matches += lines
	t.Hits += lines
	t.lastUsed = now.Unix()
	t.distance = s.matchStart
	if d.firstUnused < len(d.templates) && d.templates[d.firstUnused] == t {
		d.firstUnused++
	}
	if s.anchored {
		d.lastAt.start = s.matchStart
	}
}

// place is where a date of that form is in a line.
func (s *shape) place(line []byte, base int) place {
	start, end := s.matchStart, base+s.matchEnd
	return place{start: start, end: end, known: true, first: char(line, start), before: charBefore(line, start), lastChar: charBefore(line, end), after: char(line, end)}
}

// Time reads the time of a date that Quick found. now is what Find is told.
func (d *Detector) Time(q *Date, now time.Time) (when time.Time, integer, ok bool) {
	f, s := &q.fields, q.shape
	key := [4]int{int(f[fieldMonth]), int(f[fieldDay]), int(f[fieldHour]), s.year}
	rest := time.Duration(f[fieldMinute]*60+f[fieldSecond])*time.Second + q.fraction()
	if d.hourKnown && d.hourZone == s.zone && d.hourHasZone == s.hasZone && d.hourKey == key && !now.Before(d.hourFrom) && now.Before(d.hourUntil) {
		return d.hour.Add(rest), s.hasZone || d.hasZone, true
	}
	read := func(minute, second, nano int) (time.Time, bool) {
		x := date{year: s.year, month: key[0], day: key[1], weekday: -1, week: -1, hour: key[2], minute: minute, second: second, nano: nano, zone: s.zone, hasZone: s.hasZone}
		return x.time(now, d)
	}
	// Within an hour, times follow each other as clocks go, if they do so from its
	// begin to its end: no clock was set, and the year is the same.
	first, ok1 := read(0, 0, 0)
	last, ok2 := read(59, 59, 0)
	d.hourKnown = ok1 && ok2 && last.Sub(first) == 3599*time.Second
	if d.hourKnown && !s.hasZone && !d.hasZone {
		// Nor is it one of those that clocks show twice: which is meant changes with now.
		_, before := first.Add(-12 * time.Hour).Zone()
		_, after := first.Add(12 * time.Hour).Zone()
		d.hourKnown = before <= after
	}
	d.hourUntil = now.AddDate(1, 0, 0)
	if d.hourKnown && s.year < 0 {
		// It is of this year, or of the last one as long as it would be ahead.
		zone := d.zoneOf(s.zone, s.hasZone)
		this := now.In(zone).Year()
		a, b := first.In(zone).Year(), last.In(zone).Year()
		d.hourUntil = time.Date(this+1, 1, 1, 0, 0, 0, 0, zone)
		if a == this-1 {
			d.hourUntil = first.AddDate(1, 0, 0).Add(-26 * time.Hour)
		}
		d.hourKnown = a == b && (a == this || a == this-1)
	}
	d.hour, d.hourKey, d.hourZone, d.hourHasZone, d.hourFrom = first, key, s.zone, s.hasZone, now
	when, ok = read(int(f[fieldMinute]), int(f[fieldSecond]), int(q.fraction()))
	return when, s.hasZone || d.hasZone, ok
}

// fraction is the part of a second, in nanoseconds.
func (q *Date) fraction() time.Duration {
	n, width := int(q.fields[fieldFraction]), 0
	if n == 0 {
		return 0
	}
	for _, op := range q.shape.ops {
		if op.field == fieldFraction && op.kind == shapeDigit {
			width++
		}
	}
	for ; width < 9; width++ {
		n *= 10
	}
	return time.Duration(n)
}
