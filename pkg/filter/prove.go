package filter

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/pyregexp"
)

// The prover answers two questions of a filter and a line in which a client chooses
// parts, for all texts that he may choose at once. Forgery: can the filter find a
// failure of another address than the true one? Evasion: can it find none of that one?
// The expressions are walked over the line with the client's parts left open
// (pyregexp.Walk); what that says may happen is held against the filter itself, date,
// prefregex, order and all.

// Probe is a line with the address that is true, and what a client chooses of it.
type Probe struct {
	// Line is one that the filter takes; without Host, one that tells of no failure, and
	// which it must not take. Of several lines, of one connection, the last one counts.
	Line   string
	Host   string
	Client []Chosen
	Now    time.Time // by which dates without a year are read
	// Most bounds the situations that are gone through; 0: 400,000. Beyond it, the filter is
	// not decided.
	Most int
}

// Chosen is a part of a line that a client chooses.
type Chosen struct {
	Name string // what it is: user, path, header
	Text string // what it is in the line; it stands there once
	// Chars is what the service lets through, from the part's beginning to its end;
	// nil: anything but a newline.
	Chars *pyregexp.Regexp
}

// Verdict is what is known of a filter and a probe.
type Verdict string

// The verdicts.
const (
	Proved    Verdict = "proved"      // no text that a client chooses makes a difference
	Forgeable Verdict = "forgeable"   // some text makes another address count
	Evadable  Verdict = "evadable"    // some text makes the true address not count
	Undecided Verdict = "not decided" // it is not known
)

// Proof is an answer of the prover.
type Proof struct {
	Verdict Verdict
	// Forged and Evading are lines, and ForgedID is who is found in the first in place
	// of the true address; empty: there are none.
	Forged, ForgedID, Evading string
	Reason                    string // why it is not decided
	Situations                int    // that were gone through
}

// Prove answers for a filter and a probe. An error says what is wrong with the probe.
func Prove(d Definition, loc *time.Location, p Probe) (Proof, error) {
	x := newProver(d, loc, p)
	if err := x.check(); err != nil {
		return Proof{}, err
	}
	var out Proof
	var err error
	if d.JSON != nil {
		out, err = x.json()
	} else {
		out, err = x.text()
	}
	switch {
	case errors.Is(err, pyregexp.ErrWalk):
		out.Reason = strings.TrimPrefix(err.Error(), pyregexp.ErrWalk.Error()+": ")
	case err != nil:
		return Proof{}, err
	}
	switch {
	case out.Forged != "":
		out.Verdict = Forgeable
	case out.Evading != "":
		out.Verdict = Evadable
	case out.Reason != "":
		out.Verdict = Undecided
	default:
		out.Verdict = Proved
	}
	return out, nil
}

// newProver takes the line of a probe that holds what a client chooses; of one that holds
// nothing of that, the last.
func newProver(d Definition, loc *time.Location, p Probe) *prover {
	lines := strings.Split(strings.TrimPrefix(p.Line, "\n"), "\n")
	n := len(lines) - 1
	for i := n; i >= 0; i-- {
		if len(p.Client) > 0 && !slices.ContainsFunc(p.Client, func(c Chosen) bool { return !strings.Contains(lines[i], c.Text) }) {
			n = i
			break
		}
	}
	return &prover{def: d, loc: loc, probe: p, earlier: lines[:n], line: lines[n], later: lines[n+1:], whole: map[*pyregexp.Regexp]*pyregexp.Regexp{}}
}

type prover struct {
	def     Definition
	loc     *time.Location
	probe   Probe
	earlier []string // lines before
	later   []string // and behind
	line    string
	parts   []part // the client's, in the order of the line
	whole   map[*pyregexp.Regexp]*pyregexp.Regexp
	out     Proof
}

// part is a client's part of the line.
type part struct {
	Chosen
	from, to int
}

func (x *prover) check() error {
	for _, c := range x.probe.Client {
		at := strings.Index(x.line, c.Text)
		switch {
		case c.Text == "":
			return fmt.Errorf("client's part %q is empty: choose a text that can be found in the line", c.Name)
		case at < 0:
			return fmt.Errorf("client's part %s = %q does not stand in the line", c.Name, c.Text)
		case strings.Contains(x.line[at+1:], c.Text):
			return fmt.Errorf("client's part %s = %q stands in the line twice: choose a text that stands there once", c.Name, c.Text)
		}
		if c.Chars == nil {
			c.Chars = anything
		}
		if !x.allowed(c.Chars, c.Text) {
			return fmt.Errorf("client's part %s = %q is not what %q allows", c.Name, c.Text, c.Chars)
		}
		x.parts = append(x.parts, part{c, at, at + len(c.Text)})
	}
	slices.SortFunc(x.parts, func(a, b part) int { return a.from - b.from })
	for i := range x.parts[:max(len(x.parts)-1, 0)] {
		if x.parts[i].to > x.parts[i+1].from {
			return fmt.Errorf("client's parts %s and %s overlap", x.parts[i].Name, x.parts[i+1].Name)
		}
	}
	if id, _, err := x.try(x.line); err != nil {
		return err
	} else if id != x.probe.Host {
		switch {
		case id == "":
			return errors.New("the filter does not take the line")
		case x.probe.Host == "":
			return fmt.Errorf("the filter finds %s in the line, and should find nothing", id)
		}
		return fmt.Errorf("the filter finds %s in the line, not %s", id, x.probe.Host)
	}
	return nil
}

// something is what is said of a user of whom nothing else is known: few services log a
// name that is empty.
var something = pyregexp.MustCompile(`[^\n]+`, 0)

// anything is what a client may write where nothing is said of it.
var anything = pyregexp.MustCompile(`[^\n]*`, 0)

// allowed reports whether an expression takes a text from its beginning to its end.
func (x *prover) allowed(re *pyregexp.Regexp, text string) bool {
	whole := x.whole[re]
	if whole == nil {
		var err error
		if whole, err = pyregexp.Compile(`(?:`+re.String()+`)\Z`, 0); err != nil {
			return false
		}
		x.whole[re] = whole
	}
	m, err := whole.Search([]byte(text), nil)
	return err == nil && m != nil && m[0] == 0
}

// try has the filter itself look at a line, after those before it. counts says whether
// somebody would be banned for it.
func (x *prover) try(line string) (id string, counts bool, err error) {
	f, err := Compile(x.def, x.loc)
	if err != nil {
		return "", false, err
	}
	for _, l := range x.earlier {
		f.Match([]byte(l), x.probe.Now)
	}
	r := f.Match([]byte(line), x.probe.Now)
	for _, l := range x.later {
		if r.Err == nil {
			r = f.Match([]byte(l), x.probe.Now)
		}
	}
	if r.Err != nil {
		return "", false, r.Err
	}
	for _, one := range r.Failures {
		if !one.NoFail && !one.Pending {
			return one.ID, one.Addr.IsValid() || one.Name, nil
		}
	}
	return "", false, nil
}

// held holds a line that may be forged, or evade, against the filter. It reports whether
// it does.
func (x *prover) held(line string) (bool, error) {
	id, counts, err := x.try(line)
	switch {
	case err != nil:
		return false, err
	case id == x.probe.Host, x.probe.Host == "" && !counts:
		return false, nil
	case counts && x.out.Forged == "":
		x.out.Forged, x.out.ForgedID = line, id
	case !counts && x.out.Evading == "":
		x.out.Evading = line
	}
	return true, nil
}

// enough reports whether nothing more can be found.
func (x *prover) enough() bool {
	return x.out.Forged != "" && (x.out.Evading != "" || x.probe.Host == "")
}

// decoys are addresses that are put where a line is found to be read wrongly.
var decoys = []string{"203.0.113.9", "2001:db8::9", "203.0.113.0/24"}

// candidate looks at a text of each part that may make a difference. It reports whether
// one was confirmed.
func (x *prover) candidate(line func(texts []string) string, texts []string) (bool, error) {
	ok, err := x.held(line(texts))
	if err != nil || x.out.Forged != "" {
		return ok, err
	}
	// What is read in place of the address may be none as it is, and could be one.
	id, _, err := x.try(line(texts))
	if err != nil {
		return ok, err
	}
	decoys := decoys
	if len(x.earlier)+len(x.later) > 0 {
		decoys = append(slices.Clone(decoys), "77") // another connection
	}
	for i, p := range x.parts {
		runs := addressLike(texts[i])
		for at := 0; id != "" && at < len(texts[i]); at += len(id) {
			k := strings.Index(texts[i][at:], id)
			if k < 0 {
				break
			}
			at += k
			runs = append(runs, [2]int{at, at + len(id)})
		}
		for _, run := range runs {
			for _, d := range decoys {
				other := slices.Clone(texts)
				other[i] = texts[i][:run[0]] + d + texts[i][run[1]:]
				if !x.allowed(p.Chars, other[i]) {
					continue
				}
				more, err := x.held(line(other))
				if err != nil || x.out.Forged != "" {
					return ok || more, err
				}
				ok = ok || more
			}
		}
	}
	return ok, nil
}

// addressLike finds what could be an address, or stand in the place of one.
func addressLike(text string) (out [][2]int) {
	is := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '.' || c == ':' || c == '/'
	}
	for i := 0; i < len(text); i++ {
		if from := i; is(text[i]) {
			for i < len(text) && is(text[i]) {
				i++
			}
			out = append(out, [2]int{from, i})
		}
	}
	return out
}

// ProbeOf makes a probe of a line that a filter takes: what <F-USER> takes of it counts as
// what the client chooses. Not ok: it isn't taken, or there is no such part.
func ProbeOf(d Definition, loc *time.Location, line string, now time.Time) (p Probe, ok bool) {
	f, err := Compile(d, loc)
	if err != nil {
		return p, false
	}
	f.Detail = DetailAll
	for _, one := range f.Match([]byte(line), now).Failures {
		if one.NoFail || one.Pending || !one.Addr.IsValid() {
			continue
		}
		user, _ := one.Groups.Text("user")
		if user == "" || strings.Count(line, user) != 1 || strings.Contains(one.ID, user) {
			return p, false
		}
		return Probe{Line: line, Host: one.ID, Client: []Chosen{{Name: "user", Text: user, Chars: something}}, Now: now}, true
	}
	return p, false
}

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
	from, to, dates := x.dateOf(f)
	if dates != "" && to == 0 {
		return Proof{Reason: dates}, nil
	}
	truth := [2]int{len(x.line), len(x.line)}
	names := idGroups
	if x.probe.Host != "" {
		if truth, err = x.truth(f, from, to, idGroups, x.probe.Host); errors.Is(err, errNoAddress) && len(x.earlier)+len(x.later) > 0 {
			// The address is known of the connection; what matters is whose line it is.
			names = append(slices.Clone(idGroups), "mlfid")
			truth, err = x.truth(f, from, to, names[len(idGroups):], "")
		}
		if err != nil {
			return Proof{}, err
		}
	}
	// The line in pieces, without its date.
	var pieces []pyregexp.Piece
	var whose []int // the client's part that a piece is; -1: none
	put := func(from, to int) {
		if from < to {
			pieces, whose = append(pieces, pyregexp.Piece{Text: x.line[from:to]}), append(whose, -1)
		}
	}
	at := 0
	fixed := func(to int, dateFrom, dateTo int) {
		if at <= dateFrom && dateTo <= to {
			put(at, dateFrom)
			at = dateTo
		}
		put(at, to)
		at = to
	}
	next := 0
	upTo := func(end int) {
		for ; next < len(x.parts) && x.parts[next].from < end; next++ {
			p := x.parts[next]
			fixed(p.from, from, to)
			pieces, whose = append(pieces, pyregexp.Piece{Text: p.Text, Open: p.Chars}), append(whose, next)
			at = p.to
		}
		fixed(end, from, to)
	}
	upTo(truth[0])
	if x.probe.Host != "" {
		pieces, whose = append(pieces, pyregexp.Piece{Text: x.line[truth[0]:truth[1]], Truth: true}), append(whose, -1)
		at = truth[1]
	}
	upTo(len(x.line))

	// A text that is written into the line again, with its date.
	line := func(texts []string) string {
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
	w := &pyregexp.Walk{Names: names, Content: "content", Most: x.most()}
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
		if e.Matched >= 0 && taken(names, e) == pyregexp.TookTruth || e.Matched < 0 && x.probe.Host == "" {
			return true
		}
		texts := make([]string, len(x.parts))
		for i, n := range whose {
			if n >= 0 {
				texts[n] = e.Texts[i]
			}
		}
		ok, err := x.candidate(line, texts)
		if err != nil {
			failed = err
			return false
		}
		if !ok && unconfirmed == "" && x.probe.Host != "" { // else no address was read there

			unconfirmed = line(texts)
		}
		return !x.enough()
	})
	x.out.Situations = st.Situations
	if failed != nil {
		return x.out, failed
	}
	if err == nil && dates != "" {
		x.out.Reason = dates
	}
	if err == nil && unconfirmed != "" {
		x.out.Reason = fmt.Sprintf("by its expressions alone, the line %q would make a difference; the whole filter takes it as it should", unconfirmed)
	}
	return x.out, err
}

// proveMost bounds a walk, and with it the time and the memory that a proof takes.
const proveMost = 400_000

func (x *prover) most() int {
	if x.probe.Most > 0 {
		return x.probe.Most
	}
	return proveMost
}

// dateOf returns where the line's date is, and why it can't be said that it is always
// there, if so: another line may still be found with what is there now.
func (x *prover) dateOf(f *Filter) (from, to int, reason string) {
	if f.journal {
		return 0, 0, ""
	}
	for _, t := range f.dates.Templates() {
		if !t.Anchored() {
			reason = "a date that a client writes may be taken for the line's: set datepattern to {^LN-BEG}"
		}
	}
	m, ok := f.dates.Find([]byte(x.line), x.probe.Now)
	if !ok {
		if len(x.parts) > 0 && x.parts[0].from == 0 {
			return 0, 0, "what a client writes may be taken for the line's date"
		}
		return 0, 0, reason
	}
	for _, p := range x.parts {
		if p.from < m.End {
			return 0, 0, "what a client writes stands before the line's date"
		}
	}
	return m.Start, m.End, reason
}

// taken says what was taken for the address, or, where the line has none, for the name of
// the connection.
func taken(names []string, e pyregexp.End) pyregexp.Taken {
	who := whom(e.Outer, e.Inner)
	if len(names) == len(idGroups) {
		return who
	}
	if who != pyregexp.TookNothing {
		return pyregexp.TookOther
	}
	n := len(idGroups)
	if e.Inner[n] == pyregexp.TookNothing && e.Outer != nil {
		return e.Outer[n]
	}
	return e.Inner[n]
}

var errNoAddress = errors.New("the address can't be found in the line")

// truth returns where the true address stands in the line, whose date is from…to; or what
// else one of some groups took of it.
func (x *prover) truth(f *Filter, from, to int, names []string, host string) (at [2]int, err error) {
	text := x.line[:from] + x.line[to:]
	buf := []byte(text + "\n")
	shift := 0
	var outer []int
	if f.pref != nil {
		if outer, err = f.pref.re.Search(buf, nil); err != nil || outer == nil {
			return at, errors.Join(err, errors.New("the prefregex does not match"))
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
			if begin >= from {
				begin, end = begin+to-from, end+to-from
			}
			for _, p := range x.parts {
				if begin < p.to && p.from < end {
					return at, fmt.Errorf("client's part %s is the address itself", p.Name)
				}
			}
			return [2]int{begin, end}, nil
		}
		break
	}
	return at, errNoAddress
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
