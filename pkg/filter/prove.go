package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/pyregexp"
	"bailiff/pkg/transport"
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
// nothing of that, the last. What stands around lines is taken off.
func newProver(d Definition, loc *time.Location, p Probe) *prover {
	x := &prover{def: d, loc: loc, probe: p, whole: map[*pyregexp.Regexp]*pyregexp.Regexp{}}
	log := transport.New(d.Around())
	var lines []framedLine
	for _, raw := range strings.Split(strings.TrimPrefix(p.Line, "\n"), "\n") {
		if text, frame, ok := log.One([]byte(raw)); ok {
			lines = append(lines, framedLine{string(text), frame})
			x.wrapped = x.wrapped || log.Form() != "" && !strings.HasSuffix(raw, string(text))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, framedLine{text: p.Line}) // a part, whose rest is not there
	}
	n := len(lines) - 1
	for i := n; i >= 0; i-- {
		if len(p.Client) > 0 && !slices.ContainsFunc(p.Client, func(c Chosen) bool { return !strings.Contains(lines[i].text, c.Text) }) {
			n = i
			break
		}
	}
	x.earlier, x.line, x.frame, x.later = lines[:n], lines[n].text, lines[n].frame, lines[n+1:]
	return x
}

// framedLine is a line with what stood around it.
type framedLine struct {
	text  string
	frame transport.Frame
}

type prover struct {
	def     Definition
	loc     *time.Location
	probe   Probe
	earlier []framedLine // lines before
	later   []framedLine // and behind
	line    string       // as the filter gets it
	frame   transport.Frame
	wrapped bool   // a runtime's wrapper stood around it, within which nothing is taken for one
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
			c.Chars = anything()
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
var something = sync.OnceValue(func() *pyregexp.Regexp { return pyregexp.MustCompile(`[^\n]+`, 0) })

// anything is what a client may write where nothing is said of it.
var anything = sync.OnceValue(func() *pyregexp.Regexp { return pyregexp.MustCompile(`[^\n]*`, 0) })

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
		f.MatchFramed([]byte(l.text), l.frame, x.probe.Now)
	}
	r := x.match(f, line)
	for _, l := range x.later {
		if r.Err == nil {
			r = f.MatchFramed([]byte(l.text), l.frame, x.probe.Now)
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

// match has a filter look at a line in place of the probe's own, in a log in which that
// stands before it: what begins as a wrapper does is then known as none.
func (x *prover) match(f *Filter, line string) Result {
	if x.wrapped {
		return f.MatchFramed([]byte(line), x.frame, x.probe.Now)
	}
	log := transport.New(x.def.Around())
	log.One([]byte(x.line))
	text, frame, ok := log.One([]byte(line))
	if !ok {
		return Result{Ignored: -1}
	}
	return f.MatchFramed(text, frame, x.probe.Now)
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
		if x.def.Forwards() { // a list may begin with one
			runs = append(runs, [2]int{0, 0})
		}
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
		return Probe{Line: line, Host: one.ID, Client: []Chosen{{Name: "user", Text: user, Chars: something()}}, Now: now}, true
	}
	return p, false
}
