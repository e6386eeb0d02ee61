package logtime

import (
	"fmt"
	"strings"
	"unicode/utf8"
	"unique"
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
	t *Template
	// The date's fixed begin is behind the first byte of this kind, or its fixed end there if
	// that is a quote; 0: at the line's begin.
	skipTo     byte
	ops        []shapeOp
	start, end int // of the date's own text among the ops
	matchStart int // of the whole match, in the line
	matchEnd   int // of the whole match, among the ops
	zone       int // minutes, of a zone that is always the same
	hasZone    bool
	year       int // -1: the date has none
	any        int // ops at the begin of which only the place counts
	anchored   bool
	resume     []uint8               // by op: where what it belongs to begins, so that what stands before need not be read again
	key        unique.Handle[string] // equal for equal forms
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

// Date is the date of a line whose time was not read yet. It is valid as long as its
// form is.
type Date struct {
	Start, End int32 // in the line, in bytes
	shape      *shape
	fields     [shapeFields]int32
}

// Template is the one that found the date.
func (q *Date) Template() *Template { return q.shape.t }

// quotedBefore are the beginnings of the expressions that find the date of an access log: in
// square brackets just before the first quote that no backslash stands before.
const quotedBefore = `^(?:[^"\\]|\\.)*`

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
	s := &shape{t: t, year: -1, anchored: t.anchored()}
	base := 0
	switch {
	case t.bound.lineEnd:
		return
	case s.anchored && strings.HasPrefix(strings.TrimPrefix(t.bound.expr, "(?iu)"), `^[^\[]*\[(`):
		for line[base] != '[' {
			base++
		}
		base++
		s.skipTo = '['
	case s.anchored && strings.HasPrefix(strings.TrimPrefix(t.bound.expr, "(?iu)"), quotedBefore+`\[(`) && strings.HasSuffix(t.bound.expr, `)\] "(?=\b|\W|$)`):
		base = m[2*t.date]
		s.skipTo = '"'
	}
	if m[1]-base > maxShape || base > m[2*t.date] {
		return
	}
	for i, c := range line[base:m[1]] {
		if c >= utf8.RuneSelf {
			return
		}
		op := shapeOp{kind: shapeByte, c: c}
		if !s.anchored && i < m[0] {
			op.kind = shapeAny // only the place counts
			s.any++
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
	d.remember(s)
}

// remember takes a form for that of the last date. One that was there lately is
// taken again, so that who has read ahead by it knows it again.
func (d *Detector) remember(s *shape) {
	s.key = unique.Make(s.write())
	for i, old := range d.shapes {
		if old != nil && old.t == s.t && old.key == s.key {
			d.shapes[0], d.shapes[i] = old, d.shapes[0]
			d.shape = old
			return
		}
	}
	s.findResume()
	copy(d.shapes[1:], d.shapes[:])
	d.shapes[0], d.shape = s, s
}

// findResume fills resume. Where a field's digits stand in two places, all is read
// again.
func (s *shape) findResume() {
	s.resume = make([]uint8, len(s.ops)+1)
	ended := [shapeFields]bool{}
	for i := 0; i < len(s.ops); i++ {
		op, from := s.ops[i], i
		digit := func(o shapeOp) bool { return (o.kind == shapeDigit || o.kind == shapePad) && o.field == op.field }
		switch {
		case op.kind == shapeMonth || op.kind == shapeDay:
			for k := i; k < min(i+3, len(s.ops)); k++ {
				s.resume[k] = uint8(from)
			}
			i += 2
			if op.kind == shapeDay {
				continue
			}
			op.field = fieldMonth
		case digit(op):
			for ; i < len(s.ops) && digit(s.ops[i]); i++ {
				s.resume[i] = uint8(from)
			}
			i--
		default:
			s.resume[i] = uint8(from)
			continue
		}
		if ended[op.field] {
			clear(s.resume)
			for i := range s.resume {
				s.resume[i] = uint8(s.any)
			}
			return
		}
		ended[op.field] = true
	}
}

// write is all that a form is, as text.
func (s *shape) write() string {
	b := fmt.Appendf(nil, "%q %d %d %d %d %d %d %v %d %d\n", s.t.bound.expr, s.skipTo, s.start, s.end, s.matchStart, s.matchEnd, s.zone, s.hasZone, s.year, s.any)
	for _, op := range s.ops {
		if op.kind != shapeByte {
			op.c = 0
		}
		b = append(b, byte(op.kind), op.field, op.c)
	}
	return string(b)
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
		return digits(fieldFraction, 1, 9) // more don't fit into a field
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
