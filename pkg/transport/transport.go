// Package transport takes off what stands around a line of a log: what container
// runtimes and log daemons put there on the line's way into a file. It knows Docker's
// json-file and CRI's (podman's, Kubernetes') lines, of which several may be parts of
// one, the heads of syslog in all of their forms, and colours of terminals.
//
//	log := transport.New(options) // one for each file
//	lines, frames, _ := log.Lines(read)
//
// # Whom it trusts
//
// What takes a line apart may not be at the word of whoever writes a part of it. A
// wrapper stands at the beginning of a line, where its service writes and not a client.
// So with [Auto]:
//
//   - Docker's object has to be the whole line, from its first byte to its last.
//   - What begins as a service's own lines may begin, with a date or a word, is a
//     wrapper only as long as all lines of the file have it. One that begins in that way
//     and goes on in another ends it, for good in this file and those that take its
//     place: else a client of a log whose lines are "DATE TEXT" could write
//     "stdout F …" or "host sshd[1]: …" as his text.
//   - Within one wrapper, another one of the same kind is text.
//
// A log whose form is named is taken at that word line by line.
package transport

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names of transports, as they are configured.
const (
	Auto   = "auto"   // whatever the lines show
	None   = "none"   // nothing is taken off
	Docker = "docker" // Docker's json-file
	CRI    = "cri"    // of containerd, CRI-O, podman (k8s-file)
	Syslog = "syslog" // the head of a line of syslog: RFC 3164, ISO dates, RFC 5424
)

// MaxLine is the length in bytes to which a line that came in parts is joined; what is
// beyond is passed over.
const MaxLine = 1 << 20

// PartsFor is within how many lines of the log the rest of a line has to come. What was
// there by then is given out.
const PartsFor = 4096

// Options say what is to be taken off.
type Options struct {
	// Names are those of the transports, the outer one first; nil is Auto.
	Names []string
	// Runtime: Docker's and CRI's are looked for with Auto.
	Runtime bool
	// Rewrite: heads of RFC 5424 are written as DATE HOST PROGRAM[PID]: which filters
	// know.
	Rewrite bool
	// Heads: the length of heads is told.
	Heads bool
	// Colours: sequences of terminals are taken out.
	Colours bool
}

// ParseNames reads the names of transports.
func ParseNames(names []string) ([]string, error) {
	known := []string{Auto, None, Docker, CRI, Syslog}
	for i, n := range names {
		switch {
		case !slices.Contains(known, n):
			return nil, fmt.Errorf("transport %q: want auto, none, docker, cri or syslog", n)
		case (n == Auto || n == None) && len(names) > 1:
			return nil, fmt.Errorf("transport: %s stands by itself", n)
		case i > 0 && n != Syslog || i > 1:
			return nil, fmt.Errorf("transport: %s: within docker or cri there may be syslog, and nothing else", strings.Join(names, ", "))
		}
	}
	if len(names) == 1 && names[0] == Auto {
		names = nil
	}
	return names, nil
}

// auto reports whether the form is found by the lines.
func (o *Options) auto() bool { return len(o.Names) == 0 }

func (o *Options) named(name string) bool { return slices.Contains(o.Names, name) }

// idle reports whether there is nothing to be taken off.
func (o *Options) idle() bool {
	if o.auto() {
		return !o.Runtime && !o.Rewrite && !o.Heads && !o.Colours
	}
	return o.named(None)
}

// Frame is what stood around a line.
type Frame struct {
	// Stamp is when its wrapper says that it was written; zero: it doesn't.
	Stamp time.Time
	// Head is the length in bytes of the head that the line has: a date, a host and a
	// program. 0: it has none.
	Head int
}

// ISO writes a stamp as it stands before a line: as Python's datetime.isoformat does, in
// the local zone.
func ISO(t time.Time) string {
	if t.Nanosecond()/1000 == 0 {
		return t.Local().Format("2006-01-02T15:04:05-07:00")
	}
	return t.Local().Format("2006-01-02T15:04:05.000000-07:00")
}

// Log takes apart the lines of one file, in order.
type Log struct {
	opt   Options
	begun bool // lines were seen
	// coloured is how many lines had sequences of terminals in them.
	coloured int
	outer    string
	heads    bool
	never    mark // what is not taken for a wrapper any more

	parts [2]part // of standard output and error
	line  int     // counts lines
}

// mark is a set of wrappers.
type mark uint8

const (
	markCRI mark = 1 << iota
	markHead
)

// part is a line of which more is to come.
type part struct {
	text    []byte
	frame   Frame
	waits   bool
	since   int  // of Log.line
	passing bool // what comes until its end is the rest of a line that was given out, or lost
}

// New returns a Log; nil if nothing is to be taken off.
func New(o Options) *Log {
	if o.idle() {
		return nil
	}
	l := &Log{opt: o}
	l.Reset()
	return l
}

// Reset forgets the lines before: the file was emptied, or is another one.
func (l *Log) Reset() {
	*l = Log{opt: l.opt, never: l.never}
	switch {
	case l.opt.named(Docker):
		l.outer = Docker
	case l.opt.named(CRI):
		l.outer = CRI
	}
	l.heads = l.opt.named(Syslog)
}

// After makes it the Log of a file that takes the place of another one's, and goes on in
// the middle of a line where that ended in one.
func (l *Log) After(before *Log) {
	if l == nil || before == nil {
		return
	}
	l.never |= before.never
	l.parts, before.parts = before.parts, [2]part{}
	for i := range l.parts {
		l.parts[i].since = 0
	}
}

// Form tells what is taken off, in words; empty: nothing is.
func (l *Log) Form() string {
	if l == nil {
		return ""
	}
	var out []string
	if l.outer != "" {
		out = append(out, l.outer)
	}
	if l.heads {
		out = append(out, Syslog)
	}
	return strings.Join(out, ", ")
}

// Lines takes apart lines that were read. Where nothing stood around any of them, it
// returns them as they are, and no frames. done is of how many of those that were read
// all is said: behind them stand parts of lines whose rest has not come.
func (l *Log) Lines(read [][]byte) (lines [][]byte, frames []Frame, done int) {
	if l == nil || len(read) == 0 {
		return read, nil, len(read)
	}
	if !l.begun {
		l.begin(read)
	}
	i := l.plain(read)
	if i == len(read) {
		return read, nil, len(read)
	}
	// From here on, line by line.
	lines = append(make([][]byte, 0, len(read)), read[:i]...)
	frames = make([]Frame, i, len(read))
	if done = i; l.waiting() { // what was passed by is no rest of anything
		done = 0
	}
	for n := i; n < len(read); n++ {
		text, frame, ok := l.take(read[n])
		if ok {
			lines, frames = append(lines, text), append(frames, frame)
		}
		if ok || !l.waiting() {
			done = n + 1
		}
	}
	return lines, frames, done
}

// waiting reports whether some line's rest has not come.
func (l *Log) waiting() bool { return l.parts[0].waits || l.parts[1].waits }

// Coloured is out of how many lines colours were taken.
func (l *Log) Coloured() int {
	if l == nil {
		return 0
	}
	return l.coloured
}

// One is Lines for one line; not ok if it is a part, and its rest is to come.
func (l *Log) One(line []byte) (text []byte, frame Frame, ok bool) {
	lines, frames, _ := l.Lines([][]byte{line})
	if len(lines) == 0 {
		return nil, Frame{}, false
	}
	if frames != nil {
		frame = frames[0]
	}
	return lines[0], frame, true
}

// Marks are what may show in a line, just now, that something stands around it. They are
// comparable.
type Marks struct{ docker, head, cri, colours bool }

// Marks returns them; not ok, if lines have to be looked at one by one.
func (l *Log) Marks() (m Marks, ok bool) {
	if l == nil {
		return m, true
	}
	auto := l.opt.auto()
	if !l.begun || l.outer != "" || l.heads || auto && l.opt.Heads && l.never&markHead == 0 {
		return m, false
	}
	m.colours = l.opt.Colours
	if auto {
		m.docker, m.head, m.cri = l.opt.Runtime, l.opt.Rewrite || l.opt.Heads, l.opt.Runtime && l.never&markCRI == 0
	}
	return m, true
}

// Any reports whether they may show in a text of many lines, leaving out those that Line
// tells.
func (m Marks) Any(text []byte) bool { return m.colours && bytes.IndexByte(text, 0x1b) >= 0 }

// Line reports whether they may show in a line.
func (m Marks) Line(line []byte) bool {
	if len(line) < 20 {
		return false
	}
	return line[10] == 'T' && m.cri || line[0] == '{' && m.docker || line[0] == '<' && m.head
}

// plain is how many lines there are before the first one that something may stand around:
// all that is asked of logs without wrappers.
func (l *Log) plain(read [][]byte) int {
	auto := l.opt.auto()
	if l.outer != "" || l.heads || auto && l.opt.Heads && l.never&markHead == 0 {
		return 0
	}
	n := len(read)
	if auto {
		runtime, heads := l.opt.Runtime, l.opt.Rewrite || l.opt.Heads
		cri := runtime && l.never&markCRI == 0
		for i, line := range read {
			if len(line) < 20 {
				continue
			}
			switch c := line[0]; {
			case c == '{':
				if !runtime || !dockerBegins(line) {
					continue
				}
			case c == '<':
				if !heads || line[1]-'0' > 9 {
					continue
				}
			case line[10] != 'T' || !cri || !isoBegins(line):
				continue
			}
			n = i
			break
		}
	}
	if l.opt.Colours {
		n = coloured(read[:n])
	}
	return n
}

// coloured is how many lines there are before the first one with an ESC in it.
func coloured(read [][]byte) int {
	if len(read) == 0 {
		return 0
	}
	// Lines that were cut from one block are looked at together: that is much faster.
	first, last := read[0], read[len(read)-1]
	if all := first[:cap(first)]; len(first) > 0 && len(last) > 0 && cap(first) > cap(last) {
		if at := cap(first) - cap(last); &all[at] == &last[0] && bytes.IndexByte(all[:at+len(last)], 0x1b) < 0 {
			return len(read)
		}
	}
	for i, line := range read {
		if bytes.IndexByte(line, 0x1b) >= 0 {
			return i
		}
	}
	return len(read)
}

// firstLines are those of a file that show its form.
const firstLines = 32

// begin looks at the first lines.
func (l *Log) begin(read [][]byte) {
	l.begun = true
	if !l.opt.auto() {
		return
	}
	for _, line := range read[:min(len(read), firstLines)] {
		if _, ok := readDocker(line); l.opt.Runtime && !ok && isoBegins(line) {
			if _, ok := readCRI(line); !ok {
				l.never |= markCRI
			}
		}
	}
	if !l.opt.Heads || l.never&markHead != 0 {
		return
	}
	var rest [2]bool // what comes of a stream is the rest of a line
	for _, line := range read[:min(len(read), firstLines)] {
		if r, ok := l.outerOf(line); ok {
			was := &rest[0]
			if r.stderr {
				was = &rest[1]
			}
			isRest := *was
			if *was = r.part; isRest {
				continue
			}
			line = clean(r.text)
		}
		if l.opt.Colours {
			line = withoutColours(line)
		}
		if !headed(line) {
			l.never |= markHead
			return
		}
		l.heads = l.heads || len(line) > 0
	}
	l.begun = l.heads // all of them were empty: those that come show it
}

// outerOf looks at a line in the wrapper of a runtime, without any state.
func (l *Log) outerOf(line []byte) (r record, ok bool) {
	if !l.opt.Runtime {
		return r, false
	}
	if r, ok = readDocker(line); !ok && l.never&markCRI == 0 {
		r, ok = readCRI(line)
	}
	return r, ok
}

// take takes one line apart. It is not ok if it is a part of one.
func (l *Log) take(line []byte) (text []byte, frame Frame, ok bool) {
	l.line++
	var r record
	r, ok = l.record(line)
	if !ok {
		return l.within(line, Frame{})
	}
	return l.join(r)
}

// join joins a record with those of the same line that came before it.
func (l *Log) join(r record) (text []byte, frame Frame, ok bool) {
	frame.Stamp = r.stamp
	p := &l.parts[0]
	if r.stderr {
		p = &l.parts[1]
	}
	switch {
	case p.passing:
		p.passing = r.part
		return nil, frame, false
	case !r.part && !p.waits:
		return l.within(clean(r.text), frame)
	case !p.waits:
		*p = part{frame: frame, waits: true, since: l.line}
	}
	if room := MaxLine - len(p.text); room > 0 {
		p.text = append(p.text, r.text[:min(len(r.text), room)]...)
	}
	if over := l.line-p.since >= PartsFor; r.part && !over {
		return nil, frame, false
	}
	text, frame = p.text, p.frame
	*p = part{passing: r.part}
	return l.within(clean(text), frame)
}

// record reads a line in the wrapper that the log has.
func (l *Log) record(line []byte) (record, bool) {
	switch l.outer {
	case Docker:
		if r, ok := readDocker(line); ok || !l.opt.auto() {
			return r, ok
		}
	case CRI:
		r, ok := readCRI(line)
		if ok || !l.opt.auto() {
			return r, ok
		}
	}
	if !l.opt.auto() || !l.opt.Runtime || len(line) == 0 {
		return record{}, false
	}
	was := l.outer
	l.outer = ""
	if r, ok := readDocker(line); ok {
		l.outer = Docker
		l.never &^= markHead // of the lines within, nothing is known yet
		return r, true
	}
	if l.never&markCRI == 0 && isoBegins(line) {
		if r, ok := readCRI(line); ok {
			l.outer = CRI
			l.never &^= markHead
			return r, true
		}
		l.never |= markCRI
	}
	if was != "" {
		l.parts = [2]part{} // what waits has no rest
	}
	return record{}, false
}

// within takes off what stands around a line within a runtime's wrapper.
func (l *Log) within(line []byte, frame Frame) ([]byte, Frame, bool) {
	if l.opt.Colours {
		was := len(line)
		if line = withoutColours(line); len(line) != was {
			l.coloured++
		}
	}
	auto := l.opt.auto()
	if !auto && !l.opt.named(Syslog) || len(line) == 0 {
		return line, frame, true
	}
	if line[0] == '<' && (!auto || l.opt.Rewrite || l.opt.Heads) {
		if text, h, ok := rewritten(line); ok {
			if l.opt.Heads {
				frame.Head = h.length
			}
			if !h.stamp.IsZero() {
				frame.Stamp = h.stamp
			}
			return text, frame, true
		}
	}
	if !l.opt.Heads || l.never&markHead != 0 && auto {
		return line, frame, true
	}
	h, ok := readHead(line)
	switch {
	case ok:
		frame.Head = h.length
		if !h.stamp.IsZero() {
			frame.Stamp = h.stamp
		}
	case auto && !noise(line):
		l.heads = false
		l.never |= markHead
	}
	return line, frame, true
}

// clean makes one line of a record's text.
func clean(text []byte) []byte {
	text = bytes.TrimRight(text, "\r\n")
	if bytes.IndexByte(text, '\n') >= 0 {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte(`\n`))
	}
	return text
}

// Prime has the lines known that stand in the file before the place from which it is
// read on. head are its first lines, before those that stand before that place; whole:
// these are all there are. It reports whether that was enough: if not, a line began
// before them, and it can be called again with more.
func (l *Log) Prime(head, before [][]byte, whole bool) (enough bool) {
	if l == nil {
		return true
	}
	l.Reset()
	if len(head) > 0 {
		l.Lines(head)
	}
	l.parts = [2]part{}
	if !whole {
		l.parts = [2]part{{passing: true}, {passing: true}}
	}
	seen := l.line
	l.Lines(before)
	if l.outer == "" || l.line == seen {
		l.parts = [2]part{}
		return true
	}
	for i := range l.parts {
		// Of a stream of which nothing came, or an end, the next begins a line.
		if l.parts[i].passing && !l.endsInPart(before, i == 1) {
			l.parts[i].passing = false
		}
	}
	return !l.parts[0].passing && !l.parts[1].passing
}

// endsInPart reports whether the last line of a stream is a part.
func (l *Log) endsInPart(lines [][]byte, stderr bool) bool {
	for _, line := range slices.Backward(lines) {
		var r record
		var ok bool
		if l.outer == Docker {
			r, ok = readDocker(line)
		} else {
			r, ok = readCRI(line)
		}
		if ok && r.stderr == stderr {
			return r.part
		}
	}
	return false
}
