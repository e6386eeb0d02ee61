package filter

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"bailiff/pkg/logtime"
	"bailiff/pkg/transport"
)

// Explanation says what a filter makes of a line, and why.
type Explanation struct {
	Result
	Template *logtime.Template // that found the date; nil: none did
	DateText string
	CutAt    int // where in Rest the date was cut out
	// Head was taken off before.
	Head string
	// Prefix is the prefregex, if there is one.
	Prefix *Attempt // the prefregex, if there is one
	// Failregex are all of them, those that match first, then the nearest first;
	// empty if the line did not come to them.
	Failregex []Attempt
	// JSON is what there is to say of a filter of JSON, in place of all of these.
	JSON *JSONExplanation
	// IgnoredBy are the ignoreregexes that match.
	IgnoredBy []Attempt
}

// Attempt is one expression on one line.
type Attempt struct {
	Expr  Expr
	Index int
	// Text is what the expression was applied to.
	Text    string
	Matched bool
	Groups  Groups // of a match
	Order   []string
	Spans   []Span // of a match: all of it, and its named groups
	Err     error  // the search was given up

	// Of an expression that does not match: how much of a match was there, from 0
	// to 1, where in Text it could not go on, and where in the expression.
	Near    float64
	TextPos int
	Wanted  []Wanted
}

// Span is what a group took of a text, in bytes; Name is empty of the whole match.
type Span struct {
	Name     string
	From, To int
}

// Wanted is a part of an expression that found nothing it could take.
type Wanted struct {
	From, To int    // in the expression as configured, in bytes
	Expr     string // what stands there, to the end of what is literal
	Literal  bool   // Expr is text, no expression
	InTag    string // the tag that it is a part of, if so
}

// Explain applies the filter to a line as Match does, and tells why it does or
// does not match.
func (f *Filter) Explain(line []byte, now time.Time) Explanation {
	return f.explainFramed(line, time.Time{}, now)
}

// ExplainFramed is Explain for a line that something stood around: for what is left of it,
// if the filter finds a failure there or looks at nothing else.
func (f *Filter) ExplainFramed(line []byte, frame transport.Frame, now time.Time) Explanation {
	if frame.Head == 0 || !f.heads {
		return f.explainFramed(line, frame.Stamp, now)
	}
	stamp := frame.Stamp
	if stamp.IsZero() {
		stamp = f.headTime(line[:frame.Head], now)
	}
	f.head = line[:frame.Head]
	e := f.explainFramed(line[frame.Head:], stamp, now)
	e.Head = string(f.head)
	f.head = nil
	if len(e.Failures) == 0 && f.json == nil {
		if whole := f.explainFramed(line, frame.Stamp, now); len(whole.Failures) > 0 || whole.Ignored >= 0 {
			return whole
		}
	}
	return e
}

func (f *Filter) explainFramed(line []byte, stamp, now time.Time) Explanation {
	all, explain := f.CheckAll, f.explain
	f.CheckAll, f.explain = true, true
	defer func() { f.CheckAll, f.explain = all, explain }()
	if f.json != nil {
		return f.explainJSON(line, stamp, now)
	}
	var e Explanation
	f.dated = nil
	e.Result = f.match(line, stamp, now)
	e.Rest = bytes.Clone(e.Rest)
	if m := f.dated; m != nil {
		e.Template, e.DateText, e.CutAt = m.Template, string(line[m.Start:m.End]), m.Start
	}
	whole := append(bytes.Clone(e.Rest), '\n')
	for i := range f.ignore.list {
		x := &f.ignore.list[i]
		for _, text := range [][]byte{whole, f.seen} {
			if a := f.attempt(x, i, text); a.Matched {
				e.IgnoredBy = append(e.IgnoredBy, a)
				break
			}
		}
	}
	early := e.Ignored >= 0 && e.Pref == nil && len(f.ignore.list) < len(f.fail.list)-2
	if early && len(e.IgnoredBy) > 0 {
		return e
	}
	if f.pref != nil {
		a := f.attempt(f.pref, 0, whole)
		e.Prefix = &a
		if !a.Matched {
			return e
		}
	}
	for i := range f.fail.list {
		a := f.attempt(&f.fail.list[i], i, f.seen)
		if i < len(f.def.Failregex) {
			a.Expr.Weight = f.def.Failregex[i].Weight
		}
		e.Failregex = append(e.Failregex, a)
	}
	slices.SortStableFunc(e.Failregex, func(a, b Attempt) int {
		switch {
		case a.Matched != b.Matched && a.Matched:
			return -1
		case a.Matched != b.Matched:
			return 1
		case a.Matched:
			return 0
		}
		return cmp.Or(cmp.Compare(b.Near, a.Near), cmp.Compare(b.TextPos, a.TextPos))
	})
	return e
}

// attempt applies one expression to one text.
func (f *Filter) attempt(x *expression, i int, text []byte) Attempt {
	a := Attempt{Expr: x.Expr, Index: i, Text: string(text)}
	m, err := x.re.Search(text, nil)
	if err != nil {
		a.Err = err
		return a
	}
	if m != nil {
		a.Matched, a.Groups, a.Order = true, x.groups(m, text), x.order
		for i, n := range x.names {
			if (i == 0 || n != "") && m[2*i] >= 0 {
				a.Spans = append(a.Spans, Span{n, m[2*i], m[2*i+1]})
			}
		}
		return a
	}
	reach, ok, err := x.re.Furthest(text)
	if err != nil || !ok {
		a.Err = err
		return a
	}
	a.TextPos = reach.Pos
	if reach.Total > 0 {
		a.Near = max(0, 1-float64(reach.Left)/float64(reach.Total))
	}
	expanded := x.re.String()
	own, tags := expandTagsAt(x.Text, f.dns != DNSNo)
	if own != expanded || tags == nil && x.Text != expanded {
		a.Expr.Text = expanded // positions can be told in this one only
		tags = nil
	}
	for _, w := range reach.Wanted {
		var want Wanted
		want.Expr, want.Literal = literalFrom(expanded, w[0], w[1])
		want.From, want.To = ownSpan(tags, w[0], w[1])
		for _, t := range tags {
			if w[0] >= t.expFrom && w[0] < t.expTo {
				want.InTag = x.Text[t.from:t.to]
			}
		}
		if n := len(a.Wanted); n > 0 && want.InTag != "" && a.Wanted[n-1].From == want.From {
			continue
		}
		a.Wanted = append(a.Wanted, want)
	}
	return a
}

// literalFrom is the part of an expression that begins at from, with the literal
// characters that follow if it is one.
func literalFrom(expr string, from, to int) (text string, literal bool) {
	plain := func(c byte) bool {
		return c == ' ' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
			bytes.IndexByte([]byte(`_-:,;'"=@<>/!#%&~`), c) >= 0
	}
	if to-from != 1 || !plain(expr[from]) {
		return expr[from:to], false
	}
	for to < len(expr) && plain(expr[to]) {
		to++
	}
	if to < len(expr) && bytes.IndexByte([]byte("*+?{"), expr[to]) >= 0 && to-from > 1 {
		to-- // the last one is repeated
	}
	return expr[from:to], true
}
