package filter

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bailiff/pkg/pyregexp"
)

// How the prover looks at filters of expressions.

// text answers for a filter of expressions.
func (x *prover) text() (Proof, error) {
	f, err := Compile(x.def, x.loc)
	if err != nil {
		return Proof{}, err
	}
	if len(x.parts) == 0 {
		return Proof{}, nil // nobody chooses anything
	}
	if f.maxLines > 1 {
		return Proof{Reason: "it looks at several lines together"}, nil
	}
	all := f.fail.list
	if f.pref != nil {
		all = append(slices.Clone(all), *f.pref)
	}
	for i := range all {
		for _, m := range all[i].merged {
			if m.into == "content" || slices.Contains(idGroups, m.into) {
				return Proof{Reason: "the group " + m.from + " may stand for " + m.into}, nil
			}
		}
	}
	whole := look{line: x.line, shift: 0}
	if x.frame.Head == 0 || !f.heads {
		err := x.look(f, &whole)
		return x.out, err
	}
	// The line is looked at with its head, and where that gives nothing, without.
	if x.parts[0].from < x.frame.Head {
		return Proof{Reason: "what a client writes stands in the head of the line"}, nil
	}
	message := look{line: x.line[x.frame.Head:], shift: x.frame.Head}
	whole.elsewhere = true
	if err := x.look(f, &whole); err != nil || x.out.Reason != "" || x.out.Forged != "" || x.out.Evading != "" {
		return x.out, err
	}
	if whole.all {
		return x.out, nil // nothing is left
	}
	if err = x.look(f, &message); errors.Is(err, errNoMatch) { // whatever is not taken with it, is not at all
		whole.elsewhere = false
		err = x.look(f, &whole)
	}
	return x.out, err
}

// look is a text that expressions see of the line.
type look struct {
	line  string
	shift int // where it begins in the prover's line
	// elsewhere says that what gives nothing here is looked at in another way, too.
	elsewhere bool
	all       bool // nothing gives nothing
}

// question is what a walk is asked: what some groups take, of which text of the line.
type question struct {
	names []string
	upTo  []string // of these, only the end counts
	truth [2]int   // in look.line
	right func(pyregexp.End) bool
}

// look walks the expressions over a text.
func (x *prover) look(f *Filter, l *look) error {
	d, err := x.dateOf(f, l)
	if err != nil || d.reason != "" && d.to == 0 || x.out.Forged != "" || x.out.Evading != "" {
		x.out.Reason = d.reason
		return err
	}
	questions, err := x.questions(f, l, d)
	if errors.Is(err, errNoMatch) && l.elsewhere { // it is not taken here
		questions, err = []question{{names: idGroups, truth: [2]int{len(l.line), len(l.line)}, right: func(pyregexp.End) bool { return false }}}, nil
	}
	if err != nil {
		return err
	}
	l.all = true
	for _, q := range questions {
		if err := x.ask(f, l, d, q); err != nil {
			return err
		}
		if x.out.Forged != "" || x.out.Evading != "" || x.out.Reason != "" {
			break
		}
	}
	if x.out.Reason == "" {
		x.out.Reason = d.reason
	}
	return nil
}

// ask has a walk answer a question.
func (x *prover) ask(f *Filter, l *look, d date, q question) error {
	// The text in pieces, without its date.
	var pieces []pyregexp.Piece
	var whose []int // the client's part that a piece is; -1: none
	put := func(from, to int) {
		if from < to {
			pieces, whose = append(pieces, pyregexp.Piece{Text: l.line[from:to]}), append(whose, -1)
		}
	}
	at := 0
	fixed := func(to int) {
		if at <= d.from && d.to <= to {
			put(at, d.from)
			at = d.to
		}
		put(at, to)
		at = to
	}
	next := 0
	upTo := func(end int) {
		for ; next < len(x.parts) && x.parts[next].from-l.shift < end; next++ {
			p := x.parts[next]
			fixed(p.from - l.shift)
			pieces, whose = append(pieces, pyregexp.Piece{Text: p.Text, Open: p.Chars}), append(whose, next)
			at = p.to - l.shift
		}
		fixed(end)
	}
	upTo(q.truth[0])
	if q.truth[0] < q.truth[1] {
		pieces, whose = append(pieces, pyregexp.Piece{Text: l.line[q.truth[0]:q.truth[1]], Truth: true}), append(whose, -1)
		at = q.truth[1]
	}
	upTo(len(l.line))

	w := &pyregexp.Walk{Names: q.names, UpTo: q.upTo, Content: "content", Most: x.most(), Colours: x.def.Around().Colours}
	for i := range f.fail.list {
		w.List = append(w.List, f.fail.list[i].re)
	}
	for i := range f.ignore.list {
		w.Ignore = append(w.Ignore, f.ignore.list[i].re)
	}
	if f.pref != nil {
		w.Outer = f.pref.re
		w.Whole = len(w.Ignore) < len(w.List)-2
	}
	var unconfirmed string
	var failed error
	st, err := w.Run(pieces, func(e pyregexp.End) bool {
		if e.Matched >= 0 && q.right(e) || e.Matched < 0 && x.probe.Host == "" {
			return true
		}
		if e.Matched < 0 {
			if l.all = false; l.elsewhere && len(w.Ignore) == 0 {
				return true
			}
		}
		texts := make([]string, len(x.parts))
		for i, n := range whose {
			if n >= 0 {
				texts[n] = e.Texts[i]
			}
		}
		ok, err := x.candidate(x.with, texts)
		if err != nil {
			failed = err
			return false
		}
		if !ok && unconfirmed == "" && x.probe.Host != "" { // else no address was read there
			unconfirmed = x.with(texts)
		}
		return !x.enough()
	})
	x.out.Situations += st.Situations
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case unconfirmed != "":
		x.out.Reason = fmt.Sprintf("by its expressions alone, the line %q would make a difference; the whole filter takes it as it should", unconfirmed)
	}
	return nil
}

// with is the line with other texts in the client's parts.
func (x *prover) with(texts []string) string {
	var b strings.Builder
	at := 0
	for i, p := range x.parts {
		b.WriteString(x.line[at:p.from])
		b.WriteString(texts[i])
		at = p.to
	}
	b.WriteString(x.line[at:])
	return b.String()
}

// questions are what has to be so that the true address counts, whatever a client writes.
func (x *prover) questions(f *Filter, l *look, d date) ([]question, error) {
	end := [2]int{len(l.line), len(l.line)}
	who := func(e pyregexp.End) pyregexp.Taken { return whom(e.Outer, e.Inner) }
	if x.probe.Host == "" {
		return []question{{names: idGroups, truth: end, right: func(pyregexp.End) bool { return false }}}, nil
	}
	if f.forwards {
		if list, err := x.forwarded(f, l, d); err != nil || list != nil {
			return list, err
		}
	}
	truth, err := x.truth(f, l, d, idGroups, x.probe.Host)
	switch {
	case err == nil:
		return []question{{names: idGroups, truth: truth, right: func(e pyregexp.End) bool { return who(e) == pyregexp.TookTruth }}}, nil
	case !errors.Is(err, errNoAddress) || len(x.earlier)+len(x.later) == 0:
		return nil, err
	}
	// The address is known of the connection; what matters is whose line it is.
	names := append(slices.Clone(idGroups), "mlfid")
	if truth, err = x.truth(f, l, d, names[len(idGroups):], ""); err != nil {
		return nil, err
	}
	return []question{{names: names, truth: truth, right: func(e pyregexp.End) bool {
		return who(e) == pyregexp.TookNothing && took(e, len(idGroups)) == pyregexp.TookTruth
	}}}, nil
}

// took is what the n-th group took: that of the failregex comes before that of the
// prefregex.
func took(e pyregexp.End, n int) pyregexp.Taken {
	if e.Inner[n] == pyregexp.TookNothing && e.Outer != nil {
		return e.Outer[n]
	}
	return e.Inner[n]
}

// proveMost bounds a walk, and with it the time and the memory that a proof takes.
const proveMost = 400_000

func (x *prover) most() int {
	if x.probe.Most > 0 {
		return x.probe.Most
	}
	return proveMost
}

var (
	errNoAddress = errors.New("the address can't be found in the line")
	errNoMatch   = errors.New("no expression matches")
)

// truth returns where the true address stands in a text; or what else one of some groups
// took of it, of which nothing may be the client's.
func (x *prover) truth(f *Filter, l *look, d date, names []string, host string) (at [2]int, err error) {
	if at, err = x.span(f, l, d, names, host); err == nil {
		at, err = x.apart(l, at)
	}
	return at, err
}

// span is what one of some groups takes of a text.
func (x *prover) span(f *Filter, l *look, d date, names []string, host string) (at [2]int, err error) {
	text := l.line[:d.from] + l.line[d.to:]
	buf := []byte(text + "\n")
	shift := 0
	var outer []int
	if f.pref != nil {
		if outer, err = f.pref.re.Search(buf, nil); err != nil || outer == nil {
			return at, errors.Join(err, errNoMatch)
		}
		if g := f.pref.content; g > 0 && outer[2*g] >= 0 {
			shift = outer[2*g]
			buf = append(bytes.Clone(buf[shift:outer[2*g+1]]), '\n')
		}
	}
	for i := range f.fail.list {
		re := f.fail.list[i].re
		m, err := re.Search(buf, nil)
		if err != nil {
			return at, err
		}
		if m == nil {
			continue
		}
		for _, name := range names {
			begin, end := -1, -1
			if g := re.SubexpIndex(name); g > 0 && m[2*g] >= 0 {
				begin, end = m[2*g]+shift, m[2*g+1]+shift
			} else if outer != nil {
				if g := f.pref.re.SubexpIndex(name); g > 0 && outer[2*g] >= 0 {
					begin, end = outer[2*g], outer[2*g+1]
				}
			}
			if begin < 0 || host != "" && !sameHost(text[begin:end], host) {
				continue
			}
			if begin >= d.from {
				begin, end = begin+d.to-d.from, end+d.to-d.from
			}
			return [2]int{begin, end}, nil
		}
		return at, errNoAddress
	}
	return at, errNoMatch
}

func sameHost(text, host string) bool {
	if text == host {
		return true
	}
	a, err := netip.ParseAddr(text)
	return err == nil && a.Unmap().String() == host
}

// whom says whose failure it is, as identify does, by what groups took: those of the
// failregex come before those of the prefregex.
func whom(outer, inner []pyregexp.Taken) pyregexp.Taken {
	take := func(name string) pyregexp.Taken {
		i := slices.Index(idGroups, name)
		if inner[i] == pyregexp.TookNothing && outer != nil {
			return outer[i]
		}
		return inner[i]
	}
	fid := take("fid")
	for _, name := range []string{"ip4", "ip6"} {
		ip := take(name)
		switch {
		case ip == pyregexp.TookNothing:
		case fid == pyregexp.TookNothing:
			return ip
		case fid == ip && ip == pyregexp.TookTruth:
			return ip
		default:
			return pyregexp.TookOther
		}
	}
	if dns := take("dns"); dns != pyregexp.TookNothing {
		return dns
	}
	return fid
}
