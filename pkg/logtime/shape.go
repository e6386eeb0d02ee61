package logtime

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Most lines of a log have their date at the same place and in the same form as
// the line before. The form of the last date is remembered byte by byte: which
// stand for digits of which field, which for the name of a month or a day, and
// which are always the same. A line that has that form is known to have the date
// that the template's expression would find there, and its fields are read as they
// are passed; any other goes the long way.
//
// What makes this exact: every digit field is bounded by bytes that are no digits
// and keep their place, so that its digits can't be parted otherwise; values are
// within what all templates allow; and what stands behind the date can't be taken
// for more of it.
type shape struct {
	t          *Template
	skipTo     byte // the date's fixed begin is behind the first byte of this kind; 0: at the line's begin
	ops        []shapeOp
	start, end int // of the date's own text among the ops
	matchStart int // of the whole match, in the line
	matchEnd   int // of the whole match, among the ops
	zone       int // minutes, of a zone that is always the same
	hasZone    bool
	year       int // -1: the date has none
}

type shapeKind uint8

const (
	shapeByte  shapeKind = iota // this byte
	shapeDigit                  // a digit of a field
	shapePad                    // a digit, or a space in place of a zero
	shapeMonth                  // three letters
	shapeDay
	shapeAny // one character of ASCII
)

type shapeOp struct {
	kind  shapeKind
	field uint8 // of shapeField…
	c     byte
}

const (
	fieldMonth = iota
	fieldDay
	fieldHour
	fieldMinute
	fieldSecond
	fieldFraction
	shapeFields
)

// Date is the date of a line whose time was not read yet.
type Date struct {
	Start, End int
	Template   *Template
	shape      *shape
	fields     [shapeFields]int
}

// maxShape is how long the beginning of a line may be that is remembered.
const maxShape = 64

// learn remembers the form of a date that was found. Where something in it might be
// read in two ways, nothing is remembered.
func (d *Detector) learn(t *Template, m []int, line []byte) {
	d.shape = nil
	if d.slow {
		return
	}
	if t.kind != kindDate || m[1] > len(line) {
		return
	}
	s := &shape{t: t, year: -1}
	base := 0
	switch {
	case t.bound.lineEnd:
		return
	case t.anchored() && strings.HasPrefix(strings.TrimPrefix(t.re.String(), "(?iu)"), `^[^\[]*\[(`):
		for line[base] != '[' {
			base++
		}
		base++
		s.skipTo = '['
	}
	if m[1]-base > maxShape || base > m[2*t.date] {
		return
	}
	for i, c := range line[base:m[1]] {
		if c >= utf8.RuneSelf {
			return
		}
		op := shapeOp{kind: shapeByte, c: c}
		if !t.anchored() && i < m[0] {
			op.kind = shapeAny // only the place counts
		}
		s.ops = append(s.ops, op)
	}
	s.start, s.end, s.matchStart, s.matchEnd = m[2*t.date]-base, m[2*t.date+1]-base, m[0], m[1]-base
	if s.start < 0 || s.end > len(s.ops) || s.end <= s.start {
		return
	}
	seen := map[byte]bool{}
	for _, f := range t.fields {
		from, to := m[2*f.index], m[2*f.index+1]
		if from < 0 {
			continue
		}
		from, to = from-base, to-base
		if from < s.start || to > s.end || to <= from || seen[f.code] {
			return
		}
		seen[f.code] = true
		if !s.field(f.code, from, to) {
			return
		}
	}
	if !(seen['b'] || seen['m']) || !seen['d'] || !seen['H'] || !seen['M'] || !seen['S'] {
		return
	}
	d.shape = s
	d.hourKnown = false
}

// field turns the bytes of one field into what stands for them.
func (s *shape) field(code byte, from, to int) bool {
	text := make([]byte, 0, 8)
	for _, op := range s.ops[from:to] {
		text = append(text, op.c)
	}
	digits := func(field uint8, least, most int) bool {
		if to-from < least || to-from > most {
			return false
		}
		if from > 0 && isDigit(s.ops[from-1].c) || to < len(s.ops) && isDigit(s.ops[to].c) {
			return false
		}
		for i := from; i < to; i++ {
			kind := shapeDigit
			// A space in place of a zero; where the date begins with it, it might be
			// taken for something before the date.
			pad := i == from && field == fieldDay && i > s.start && s.t.padsDay()
			switch {
			case pad && (s.ops[i].c == ' ' || isDigit(s.ops[i].c)):
				kind = shapePad
			case !isDigit(s.ops[i].c):
				return false
			}
			s.ops[i] = shapeOp{kind: kind, field: field, c: s.ops[i].c}
		}
		return true
	}
	switch code {
	case 'b':
		if to-from != 3 {
			return false
		}
		s.ops[from].kind = shapeMonth
		return true
	case 'a':
		if to-from != 3 {
			return false
		}
		s.ops[from].kind = shapeDay
		return true
	case 'm':
		return digits(fieldMonth, 2, 2)
	case 'd':
		return digits(fieldDay, 2, 2)
	case 'H':
		return digits(fieldHour, 2, 2)
	case 'M':
		return digits(fieldMinute, 2, 2)
	case 'S':
		return digits(fieldSecond, 2, 2)
	case 'f':
		return digits(fieldFraction, 1, 6)
	case 'Y':
		n := 0
		for _, c := range text {
			if !isDigit(c) {
				return false
			}
			n = n*10 + int(c-'0')
		}
		s.year = n
		return true // the same bytes
	case 'z', 'Z':
		minutes, err := zoneMinutes(strings.TrimSpace(string(text)))
		s.zone, s.hasZone = minutes, true
		return err == nil
	}
	return false
}

// padsDay reports whether the template's day may have a space for a zero.
func (t *Template) padsDay() bool { return !strings.Contains(t.Pattern, "%Exd") }

func isDigit(c byte) bool { return c-'0' <= 9 }

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
func monthOf(k uint32) int {
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

// Quick finds the date of a line that has the form of the last one. Where it does
// not, nothing is changed, and Find has the word.
func (d *Detector) Quick(line []byte, now time.Time) (date Date, ok bool) {
	s := d.shape
	if s == nil || s.t != d.last {
		return date, false
	}
	base := 0
	if s.skipTo != 0 {
		for {
			if base >= len(line) || line[base] >= utf8.RuneSelf {
				return date, false
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
		return date, false
	}
	for i := 0; i < len(s.ops); i++ {
		op := s.ops[i]
		c := b[i]
		switch op.kind {
		case shapeByte:
			if c != op.c {
				return date, false
			}
		case shapePad:
			if c == ' ' {
				break // a zero
			}
			fallthrough
		case shapeDigit:
			if !isDigit(c) {
				return date, false
			}
			date.fields[op.field] = date.fields[op.field]*10 + int(c-'0')
		case shapeMonth:
			k, letters := fold3(b[i:])
			month := monthOf(k)
			if !letters || month == 0 {
				return date, false
			}
			date.fields[fieldMonth] = month
			i += 2
		case shapeDay:
			k, letters := fold3(b[i:])
			if _, known := dayByLetters[k]; !letters || !known {
				return date, false
			}
			i += 2
		case shapeAny:
			if c >= utf8.RuneSelf {
				return date, false
			}
		}
	}
	f := &date.fields
	if f[fieldMonth] < 1 || f[fieldMonth] > 12 || f[fieldDay] < 1 || f[fieldDay] > 31 || f[fieldDay] > 28 && !longDay[f[fieldMonth]][f[fieldDay]-29] ||
		f[fieldHour] > 23 || f[fieldMinute] > 59 || f[fieldSecond] > 59 {
		return date, false
	}
	if s.t.anchored() {
		if mayGoOn(b[len(s.ops):]) {
			return date, false
		}
	} else if !d.lastAt.fits(line, s.matchStart, base+s.matchEnd) {
		return date, false
	}
	date.shape, date.Template, date.Start, date.End = s, s.t, base+s.start, base+s.end
	d.wonAgain(s, line, base, now)
	return date, true
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

// wonAgain does what won does for a template that won the last time, too.
func (d *Detector) wonAgain(s *shape, line []byte, base int, now time.Time) {
	t := s.t
	t.matches++
	t.Hits++
	t.lastUsed = now.Unix()
	t.distance = s.matchStart
	if d.firstUnused < len(d.templates) && d.templates[d.firstUnused] == t {
		d.firstUnused++
	}
	end := base + s.matchEnd
	p := place{start: s.matchStart, end: end, known: true, first: asciiChar(line, s.matchStart), before: asciiChar(line, s.matchStart-1), lastChar: asciiChar(line, end-1)}
	if end < len(line) && line[end] >= utf8.RuneSelf {
		p.after = char(line, end)
	} else {
		p.after = asciiChar(line, end)
	}
	d.lastAt = p
}

var asciiChars = func() (out [utf8.RuneSelf]string) {
	for i := range out {
		out[i] = string(rune(i))
	}
	return out
}()

// asciiChar is the character at i, which is ASCII if it is in the line.
func asciiChar(line []byte, i int) string {
	if i < 0 || i >= len(line) {
		return ""
	}
	return asciiChars[line[i]&0x7f]
}

// Time reads the time of a date that Quick found. now is what Find is told.
func (d *Detector) Time(q *Date, now time.Time) (when time.Time, integer, ok bool) {
	f, s := &q.fields, q.shape
	key := [4]int{f[fieldMonth], f[fieldDay], f[fieldHour], s.year}
	rest := time.Duration(f[fieldMinute]*60+f[fieldSecond])*time.Second + q.fraction()
	if d.hourKnown && d.hourOf == s && d.hourKey == key && !now.Before(d.hourFrom) && now.Before(d.hourUntil) {
		return d.hour.Add(rest), s.hasZone || d.hasZone, true
	}
	read := func(minute, second, nano int) (time.Time, bool) {
		x := date{year: s.year, month: f[fieldMonth], day: f[fieldDay], weekday: -1, week: -1, hour: f[fieldHour], minute: minute, second: second, nano: nano, zone: s.zone, hasZone: s.hasZone}
		return x.time(now.In(d.loc), d)
	}
	// Within an hour, times follow each other as clocks go, if they do so from its
	// begin to its end: no clock was set, and the year is the same.
	first, ok1 := read(0, 0, 0)
	last, ok2 := read(59, 59, 0)
	d.hourKnown = ok1 && ok2 && last.Sub(first) == 3599*time.Second
	d.hourUntil = now.AddDate(1, 0, 0)
	if d.hourKnown && s.year < 0 {
		// It is of this year, or of the last one as long as it would be ahead.
		this := now.In(d.loc).Year()
		a, b := first.In(d.loc).Year(), last.In(d.loc).Year()
		d.hourUntil = time.Date(this+1, 1, 1, 0, 0, 0, 0, d.loc)
		if a == this-1 {
			d.hourUntil = first.AddDate(1, 0, 0).Add(-26 * time.Hour)
		}
		d.hourKnown = a == b && (a == this || a == this-1)
	}
	d.hour, d.hourKey, d.hourOf, d.hourFrom = first, key, s, now
	when, ok = read(f[fieldMinute], f[fieldSecond], int(q.fraction()))
	return when, s.hasZone || d.hasZone, ok
}

// fraction is the part of a second, in nanoseconds.
func (q *Date) fraction() time.Duration {
	n, width := q.fields[fieldFraction], 0
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
