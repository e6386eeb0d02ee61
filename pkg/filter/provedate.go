package filter

import (
	"fmt"

	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
)

// date is where a text has its date.
type date struct {
	from, to int
	// reason says why it can't be said that it is always there; with no date, nothing can be
	// said at all.
	reason string
}

// dateOf finds out where a text has its date, whatever a client writes: another one would
// be found with what is there now.
func (x *prover) dateOf(f *Filter, l *look) (d date, err error) {
	if f.journal {
		return d, nil
	}
	free := ""
	for _, t := range f.dates.Templates() {
		if !t.Anchored() {
			free = "a date that a client writes may be taken for the line's: set datepattern to {^LN-BEG}"
		}
	}
	m, ok := f.dates.Find([]byte(l.line), x.probe.Now)
	if !ok {
		if len(x.parts) > 0 && x.parts[0].from == l.shift {
			free = "what a client writes may be taken for the line's date"
		}
		return date{reason: free}, nil
	}
	d = date{m.Start, m.End, free}
	before := false
	for _, p := range x.parts {
		if p.from-l.shift < m.End {
			before = true
			if p.to-l.shift > m.Start {
				return date{reason: "what a client writes is a part of the line's date"}, nil
			}
		}
	}
	if free != "" {
		if before {
			d = date{reason: "what a client writes stands before the line's date"}
		}
		return d, nil
	}
	for _, t := range f.dates.Templates() {
		if !before && t.AtBegin() { // it sees nothing of what he writes
			continue
		}
		reason, err := x.walkDate(l, t, m)
		if err != nil || reason != "" || x.out.Forged != "" || x.out.Evading != "" {
			return date{reason: reason}, err
		}
	}
	return d, nil
}

// walkDate says why it is not sure that a template finds the date where it is: it has to,
// if it is the one that does, and may find no other.
func (x *prover) walkDate(l *look, t *logtime.Template, m logtime.Match) (reason string, err error) {
	re, group, err := t.Walkable()
	if err != nil {
		return err.Error(), nil
	}
	var pieces []pyregexp.Piece
	var whose []int
	at := 0
	fixed := func(to int) {
		if at < to {
			pieces, whose = append(pieces, pyregexp.Piece{Text: l.line[at:to]}), append(whose, -1)
		}
		at = to
	}
	dated := false
	theDate := func() {
		if !dated && m.Start < m.End {
			fixed(m.Start)
			pieces, whose = append(pieces, pyregexp.Piece{Text: l.line[m.Start:m.End], Truth: true}), append(whose, -1)
			at, dated = m.End, true
		}
	}
	for i, p := range x.parts {
		if p.from-l.shift >= m.End {
			theDate()
		}
		fixed(p.from - l.shift)
		pieces, whose = append(pieces, pyregexp.Piece{Text: p.Text, Open: p.Chars}), append(whose, i)
		at = p.to - l.shift
	}
	theDate()
	fixed(len(l.line))
	found := map[bool]bool{}
	w := &pyregexp.Walk{List: []*pyregexp.Regexp{re}, Names: []string{group}, Most: x.most(), Bare: true, Colours: x.def.Around().Colours}
	st, err := w.Run(pieces, func(e pyregexp.End) bool {
		matched := e.Matched >= 0
		if found[matched] = true; matched && e.Inner[0] == pyregexp.TookTruth || !matched && t != m.Template {
			return !(found[true] && found[false])
		}
		texts := make([]string, len(x.parts))
		for i, n := range whose {
			if n >= 0 {
				texts[n] = e.Texts[i]
			}
		}
		if _, err = x.candidate(x.with, texts); err == nil && x.out.Forged == "" && x.out.Evading == "" {
			reason = fmt.Sprintf("the date of the line %q is not found where it is", x.with(texts))
		}
		return false
	})
	x.out.Situations += st.Situations
	if err == nil && reason == "" && found[true] && found[false] {
		reason = "what a client writes decides in which form the line's date is read"
	}
	return reason, err
}
