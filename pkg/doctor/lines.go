package doctor

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// The second link: what the jail's filter makes of the lines.

// counts is what was made of the lines of a jail's logs.
type counts struct {
	lines    int // that the filter was given
	dated    int
	matched  int // told of a failure, or of one that is to come
	ignored  int
	withheld int
	broken   int // objects of JSON that are none
	beside   int
	binary   int // that hold NUL
	form     string
	unsaid   filter.Withheld
	besideAt string // a header beside the address
	besideOf string
	names    int // failures of host names

	firstAt, lastAt time.Time      // of those with dates
	others          map[string]int // lines of each program, "" of none
	missed          []missed       // that look like failures
	missedMore      int
	ignoredAt       string
	matchedAt       string
	peers           map[netip.Addr]int // addresses of lines that aren't failures
}

// missed is a line that looks like a failure, and is none to the filter.
type missed struct {
	log     *logFile
	line    int
	addr    netip.Addr
	program string
}

const (
	// missedMost is how many of those are kept, the last ones, and triedMost on how many of
	// them it is tried what would take them.
	missedMost, triedMost = 5000, 500
	// namesMost is how many addresses and programs are counted.
	namesMost = 10_000
)

// compile compiles a filter for looking at logs.
func (l *look) compile(def filter.Definition) (*filter.Filter, error) {
	l.d.Step()
	f, err := filter.Compile(def, time.Local)
	if err != nil {
		return nil, err
	}
	if p := def.Proxies; p != nil {
		known := *p
		_ = config.ReadProxies(&known) // what is wrong with them, the configuration's check says
		f.Trusted = func(who netip.Prefix) bool {
			return slices.ContainsFunc(known.Prefixes, func(p netip.Prefix) bool { return p.Bits() <= who.Bits() && p.Contains(who.Addr()) })
		}
	}
	return f, nil
}

// match applies a filter to one line of a log.
func (f *logFile) match(by *filter.Filter, around *transport.Log, i int, now time.Time) (r filter.Result, line []byte, ok bool) {
	if f.times != nil {
		at := f.times[i]
		return by.MatchEntry(source.ISO(at)+" ", f.lines[i], transport.Frame{Head: f.heads[i]}, at), f.lines[i], true
	}
	line, frame, ok := around.One(f.lines[i])
	if !ok {
		return r, nil, false // its rest is to come
	}
	return by.MatchFramed(line, frame, now), line, true
}

// lines looks at all lines.
func (l *look) lines(ctx context.Context) {
	by, err := l.compile(l.j.Filter)
	if err != nil {
		l.nothing = "the filter can't be compiled"
		l.say(Finding{Symptom: "filter-broken", Level: Broken, Told: true, Cause: "the filter can't be compiled", Seen: strings.Split(err.Error(), "\n"), Remedy: "put the expression right: bailiff filter lint"})
		return
	}
	l.counts = counts{others: map[string]int{}, peers: map[netip.Addr]int{}}
	c := &l.counts
	failed := map[netip.Addr]bool{}
	d := l.d
	sums := map[string][]uint64{}
	for _, f := range l.logs {
		around := transport.New(l.j.Filter.Around())
		for i := range f.lines {
			if i%512 == 0 && ctx.Err() != nil {
				break
			}
			r, line, ok := f.match(by, around, i, l.now)
			d.Step()
			if !ok || len(line) == 0 {
				continue
			}
			c.line(l, f, i, line, &r, failed)
			if len(r.Failures) > 0 && f.times == nil {
				sums[f.path] = append(sums[f.path], maphash.Bytes(seed, f.lines[i]))
			}
		}
		if form := around.Form(); form != "" {
			c.form = form
		}
	}
	d.share(l.j.Name, sums)
	// Whoever has failed by other lines of his is not missed.
	c.missed = slices.DeleteFunc(c.missed, func(m missed) bool { return failed[m.addr] })
	l.sayLines(ctx)
	text := fmt.Sprintf("%d lines, %d with a date, %d match, %d are ignored", c.lines, c.dated, c.matched, c.ignored)
	if c.form != "" {
		text += "; taken off: " + c.form
	}
	l.fine("%s", text)
	l.seen(text)
}

var seed = maphash.MakeSeed()

// seen puts counts behind what was said.
func (l *look) seen(text string) {
	for i := range l.found {
		if f := &l.found[i]; f.Level.Wrong() {
			f.Seen = append(f.Seen, text)
		}
	}
}

// line counts one line.
func (c *counts) line(l *look, f *logFile, i int, line []byte, r *filter.Result, failed map[netip.Addr]bool) {
	c.lines++
	if r.Dated || f.times != nil {
		c.dated++
		if at := r.Time; !at.IsZero() {
			if c.firstAt.IsZero() {
				c.firstAt = at
			}
			c.lastAt = at
		}
	}
	if bytes.IndexByte(line, 0) >= 0 {
		c.binary++
	}
	switch {
	case r.Broken:
		c.broken++
	case len(r.Withheld) > 0:
		c.withheld++
		c.unsaid = r.Withheld[0]
		c.matchedAt = f.place(i)
		return
	case r.Ignored >= 0 && len(r.Failures) == 0:
		c.ignored++
		c.ignoredAt = f.place(i)
		return
	}
	program := programOf(line)
	if c.others[program]++; len(c.others) > namesMost {
		clear(c.others)
	}
	// What only says which connection it is of, or marks one, is no failure.
	if slices.ContainsFunc(r.Failures, func(x filter.Failure) bool { return !x.NoFail }) {
		c.matched++
		if r.Beside != "" {
			c.beside++
			c.besideAt, c.besideOf = strings.Clone(r.Beside), r.Failures[0].ID
		}
		for n := range r.Failures {
			if l.failure(f, i, &r.Failures[n]) && r.Failures[n].Addr.IsValid() {
				failed[r.Failures[n].Addr.Addr()] = true
			}
		}
		return
	}
	a, ok := addressIn(line)
	if !ok {
		return
	}
	if _, known := c.peers[a]; known || len(c.peers) < namesMost {
		c.peers[a]++
	}
	if !looksFailed(line) {
		return
	}
	if len(c.missed) == missedMost {
		c.missed = append(c.missed[:0], c.missed[missedMost/2:]...)
		c.missedMore += missedMost / 2
	}
	c.missed = append(c.missed, missed{f, i, a, program})
}

// A line looks like a failure if something was refused in it, and it was somebody's attempt to
// get in; what web servers say of files and of each other is none. All are in small letters.
var (
	failureWords = words("fail|invalid|denied|wrong|incorrect|refused|reject|unauthor|bad |not allowed|illegal|unknown|mismatch|no such|disallowed|does not exist|not exist|forbidden|brute|échec|fehlgeschlagen|fehlerhaft|ungültig")
	attemptWords = words("passw|login|log in|logon|auth|user|account|credential|sign in|signin|sign-in|access|regist|attempt|token| otp|anmeld|benutzer|connexion|mot de passe")
	othersWords  = words("no such file|upstream|handshake|connect()|broken pipe|reset by peer|timed out|name or service not known|does not resolve|certificate")
)

func words(list string) (out [][]byte) {
	for _, w := range strings.Split(list, "|") {
		out = append(out, []byte(w))
	}
	return out
}

// looksFailed reports whether a line looks like a failure, by its words. What a client asks a
// web server for is not among them.
func looksFailed(line []byte) bool {
	if bytes.Contains(line, []byte(" HTTP/")) {
		line = inQuotes.ReplaceAll(line, []byte(`""`))
	}
	line = bytes.ToLower(line)
	has := func(some [][]byte) bool {
		return slices.ContainsFunc(some, func(w []byte) bool { return bytes.Contains(line, w) })
	}
	return has(failureWords) && has(attemptWords) && !has(othersWords)
}

var inQuotes = lazyregexp.New(`"[^"]*"`)

// addressIn is the first address in a line that is no version and no time.
func addressIn(line []byte) (netip.Addr, bool) {
	isPart := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '.' || c == ':'
	}
	for i := 0; i < len(line); {
		if !isPart(line[i]) {
			i++
			continue
		}
		from := i
		for i < len(line) && isPart(line[i]) {
			i++
		}
		text := line[from:i]
		if len(text) < 4 || len(text) > 45 || bytes.Count(text, []byte{'.'}) < 3 && bytes.Count(text, []byte{':'}) < 2 {
			continue
		}
		if bytes.Count(text, []byte{'.'}) == 3 { // with a port behind it
			if at := bytes.IndexByte(text, ':'); at > 0 && bytes.LastIndexByte(text, ':') == at {
				text = text[:at]
			}
		}
		text = bytes.Trim(text, ".")
		if !bytes.HasPrefix(text, []byte("::")) {
			text = bytes.TrimRight(text, ":")
		}
		if a, err := netip.ParseAddr(string(text)); err == nil && !a.IsUnspecified() {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// programOf is the name that a line of syslog has before its [PID] or its colon; empty: it
// has none.
func programOf(line []byte) string {
	head := line[:min(len(line), 120)]
	i := bytes.IndexByte(head, '[')
	if i > 0 && i+1 < len(head) && head[i+1] >= '0' && head[i+1] <= '9' {
		if end := bytes.IndexByte(head[i:], ']'); end > 1 && i+end+1 < len(head) && head[i+end+1] == ':' {
			from := bytes.LastIndexByte(head[:i], ' ') + 1
			return string(head[from:i])
		}
	}
	return ""
}

// ours reports whether a program's lines are what the jail's filter is for.
func (l *look) ours(program string, texts string) bool {
	if program == "" {
		return true
	}
	base := strings.ToLower(program)
	if i := strings.IndexAny(base, "-/("); i > 1 {
		base = base[:i]
	}
	return strings.Contains(texts, base)
}

// about is everything that tells which programs a filter is for, in small letters.
func (l *look) about(by *filter.Filter) string {
	return strings.ToLower(l.j.Name + " " + l.j.Filter.Name + " " + by.Prefregex() + " " + strings.Join(by.Expanded(), " "))
}

// share notes which lines a jail has matched, and tells of another one that has matched the
// same.
func (d *doctor) share(jail string, sums map[string][]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shown == nil {
		d.shown = map[string]map[string]map[uint64]bool{}
	}
	for path, list := range sums {
		if d.shown[path] == nil {
			d.shown[path] = map[string]map[uint64]bool{}
		}
		set := make(map[uint64]bool, min(len(list), namesMost))
		for _, s := range list[max(len(list)-namesMost, 0):] {
			set[s] = true
		}
		d.shown[path][jail] = set
	}
}
