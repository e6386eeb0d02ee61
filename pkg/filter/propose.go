package filter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/logtime"
	"bailiff/pkg/transport"
)

// Example is a line of a log with the address that a filter is to find in it.
type Example struct {
	Line string
	Host string
}

var (
	markedHost = lazyregexp.New(`<([0-9A-Fa-f.:]+)>`)
	anyHost    = lazyregexp.New(`\b\d{1,3}(?:\.\d{1,3}){3}\b|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+`)
)

// ParseExample reads a line in which the address is marked, <192.0.2.7>, or is the
// only one there is.
func ParseExample(s string) (Example, error) {
	if m := markedHost.FindAllStringSubmatchIndex(s, -1); len(m) == 1 {
		host := s[m[0][2]:m[0][3]]
		if ParseID(host, -1).IsValid() {
			return Example{s[:m[0][0]] + host + s[m[0][1]:], host}, nil
		}
	}
	var hosts []string
	for _, h := range anyHost.FindAllString(s, -1) {
		if h = strings.Trim(h, ".:"); strings.ContainsAny(h, ".:") && ParseID(h, -1).IsValid() && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) != 1 {
		return Example{}, fmt.Errorf("%q: mark the address, as in <192.0.2.7>: %d are there", s, len(hosts))
	}
	return Example{s, hosts[0]}, nil
}

// token is a piece of a line: a word, or what stands between two.
type token struct {
	text  string
	host  bool
	space bool
	open  bool // whatever it is: the machine's name in a head of syslog
}

// pieces are quoted texts, addresses with their ports, numbers, words and single
// characters.
var pieces = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"[^"]*"|'[^']*'|\s+|[0-9A-Fa-f]{12,}|\d+|[\pL_][\pL\pN_.-]*|.`)
})

// Propose makes failregexes that find the addresses in lines: what differs between
// lines of one kind is left open, and so are numbers and what stands in quotes. It
// fails where that does not find what it should.
func Propose(examples []Example) ([]string, error) {
	if len(examples) == 0 {
		return nil, errors.New("no line to make a filter from")
	}
	dates, err := logtime.NewDetector([]string{"{^LN-BEG}", "{DEFAULT}"}, logtime.Options{})
	if err != nil {
		return nil, err
	}
	var kinds [][][]token
	for _, e := range examples {
		rest := e.Line
		if m, ok := dates.Find([]byte(e.Line), time.Now()); ok {
			rest = rest[:m.Start] + rest[m.End:]
		}
		tokens, err := tokenize(rest, e.Host, transport.HasHead([]byte(e.Line)))
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(kinds, func(k [][]token) bool { return alike(k[0], tokens) })
		if i < 0 {
			kinds = append(kinds, [][]token{tokens})
		} else {
			kinds[i] = append(kinds[i], tokens)
		}
	}
	var out []string
	for _, k := range kinds {
		out = append(out, joinKinds(k))
	}
	return out, check(out, examples)
}

// DatesOf is the line of a filter's file that says where the dates of lines stand, as
// narrow as it can be; empty if nothing can be said.
func DatesOf(examples []Example) string {
	dates, err := logtime.NewDetector([]string{"{^LN-BEG}", "{DEFAULT}"}, logtime.Options{})
	if err != nil || len(examples) == 0 {
		return ""
	}
	begin, bracket, quote := true, true, true
	var before []string
	for _, e := range examples {
		m, ok := dates.Find([]byte(e.Line), time.Now())
		if !ok {
			return "datepattern = '{^LN-BEG}'\n"
		}
		at := e.Line[:m.Start]
		begin = begin && m.Template.Anchored()
		bracket = bracket && strings.Count(at, "[") == 1 && strings.HasSuffix(at, "[")
		quote = quote && strings.HasPrefix(e.Line[m.End:], `] "`) && !strings.Contains(at, `"`)
		before = append(before, at)
	}
	switch {
	case begin:
		return "datepattern = '{^LN-BEG}'\n"
	case bracket && quote: // of an access log: a name may stand before it, with brackets in it
		return `datepattern = '^(?:[^"\\]|\\.)*\[({DATE})\] "'` + "\n"
	case bracket:
		return `datepattern = '^[^\[]*\[({DATE})'` + "\n"
	case len(slices.Compact(before)) == 1 && !strings.Contains(before[0], "'"):
		return `datepattern = '^` + regexp.QuoteMeta(before[0]) + `({DATE})'` + "\n"
	}
	return ""
}

func tokenize(rest, host string, head bool) (out []token, err error) {
	at := strings.LastIndex(rest, host)
	if at < 0 {
		return nil, fmt.Errorf("%q: the address %s is not there behind the date", rest, host)
	}
	if machine, _, ok := strings.Cut(strings.TrimLeft(rest, " "), " "); head && ok {
		if from := strings.Index(rest, machine); from+len(machine) < at {
			out = append(out, token{text: rest[:from], space: true}, token{text: machine, open: true})
			rest, at = rest[from+len(machine):], at-from-len(machine)
		}
	}
	add := func(s string) {
		for _, p := range pieces().FindAllString(s, -1) {
			out = append(out, token{text: p, space: strings.TrimSpace(p) == ""})
		}
	}
	add(rest[:at])
	out = append(out, token{text: host, host: true})
	add(rest[at+len(host):])
	return out, nil
}

// alike reports whether two lines are of one kind: the same pieces in the same
// places, but for some words.
func alike(a, b []token) bool {
	if len(a) != len(b) {
		return false
	}
	same, words := 0, 0
	for i := range a {
		if a[i].host != b[i].host || a[i].space != b[i].space {
			return false
		}
		if a[i].space || a[i].host {
			continue
		}
		words++
		if opened(a[i].text) == opened(b[i].text) || a[i].open && b[i].open {
			same++
		}
	}
	return 10*same >= 6*words
}

var (
	numeral = lazyregexp.New(`^\d+$`)
	status  = lazyregexp.New(`^[45]\d\d$`) // of HTTP, SMTP: no success
	hex     = lazyregexp.New(`^[0-9A-Fa-f]{12,}$`)
)

// opened is the expression for a piece.
func opened(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return `\s+`
	case numeral.MatchString(s):
		return `\d+`
	case hex.MatchString(s):
		return `[0-9A-Fa-f]+`
	case len(s) > 1 && s[0] == '"':
		return `"[^"]*"`
	case len(s) > 1 && s[0] == '\'':
		return `'[^']*'`
	}
	return regexp.QuoteMeta(s)
}

// joinKinds makes one expression of lines of one kind.
func joinKinds(lines [][]token) string {
	var b strings.Builder
	b.WriteString(`^\s*`)
	for i, t := range lines[0] {
		if t.host {
			b.WriteString("<ADDR>")
			continue
		}
		if t.open {
			b.WriteString(`\S+`)
			continue
		}
		x, same := opened(t.text), true
		for _, other := range lines[1:] {
			same = same && other[i].text == t.text
			if opened(other[i].text) != x {
				x = `\S+`
			}
		}
		// What is the same in all lines is what makes them failures: a status 401. A process
		// number is not, nor what one line alone has between quotes.
		in := i > 0 && i+1 < len(lines[0]) && lines[0][i-1].text == "[" && lines[0][i+1].text == "]"
		if numeral.MatchString(t.text) && (same && len(lines) > 1 && !in || status.MatchString(t.text)) || same && len(lines) > 1 && t.text[0] == '"' {
			if same {
				x = regexp.QuoteMeta(t.text)
			}
		}
		if i == 0 && t.space {
			continue // ^\s* has it
		}
		b.WriteString(x)
	}
	b.WriteString(`\s*$`)
	return b.String()
}

func check(list []string, examples []Example) error {
	d := Definition{Failregex: []Expr{}}
	for _, x := range list {
		d.Failregex = append(d.Failregex, Expr{Text: x})
	}
	f, err := Compile(d, time.UTC)
	if err != nil {
		return err
	}
	for _, e := range examples {
		r := f.Match([]byte(e.Line), time.Now())
		if len(r.Failures) == 0 || r.Failures[0].ID != name(ParseID(e.Host, -1)) {
			return fmt.Errorf("%q: no expression could be made that finds %s", e.Line, e.Host)
		}
	}
	return nil
}
