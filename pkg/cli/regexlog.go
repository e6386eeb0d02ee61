package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// logInput is what the first argument of `bailiff regex` names.
type logInput struct {
	lines    []string // given on the command line
	from     io.Reader
	size     int64 // of a file; 0: unknown
	enc      *source.Encoding
	closer   io.Closer
	progress *progress
	// damaged is told of the first line that holds bytes which are no characters; nil:
	// nobody wants to know.
	damaged func(line []byte)

	// around takes off what stands around lines; nil: they are taken as they are. frame is
	// that of the present line, framed says that there was any.
	around *transport.Log
	frame  transport.Frame
	framed bool

	turn int // counts blocks, journal entries and lines that were given

	journal    *source.JournalOptions
	containers *containerInput
	// date and time are those of the present line, which comes from the journal.
	date string
	time time.Time
}

// match applies a filter to the line that each has just given.
func (l *logInput) match(f *filter.Filter, line []byte, now time.Time) filter.Result {
	if l.journal == nil {
		return f.MatchFramed(line, l.frame, now)
	}
	return f.MatchEntry(l.date, line, l.frame, l.time)
}

// text is the line as it is shown.
func (l *logInput) text(line []byte) string { return l.date + string(line) }

// comment reports whether a line is left out: sample logs have comments.
func (l *logInput) comment(line []byte) bool {
	return l.journal == nil && !l.framed && (len(line) == 0 || line[0] == '#')
}

func (l *logInput) close() {
	if l.closer != nil {
		l.closer.Close()
	}
}

// open finds out what the first argument is: a file, standard input, the journal, a container, or lines.
func (o *regexOptions) open(arg string, def *filter.Definition, maxLines int) (*logInput, error) {
	if strings.HasPrefix(arg, source.JournalName) {
		return o.openJournal(arg)
	}
	if !o.fail2ban && namesContainer(arg) {
		return o.openContainer(arg, def)
	}
	if arg == "-" && !o.fail2ban {
		enc, err := source.LookupEncoding(o.encoding)
		if err != nil {
			return nil, err
		}
		o.printf("Use         log file : -\nUse         encoding : %s\n\n", enc.Name)
		return &logInput{from: o.stdin, enc: enc, damaged: o.tellDamaged(arg, enc)}, nil
	}
	fi, err := os.Stat(arg)
	if err == nil && fi.IsDir() && !o.fail2ban {
		return nil, fmt.Errorf("%s is a directory, not a log file", arg)
	}
	if err == nil && (fi.Mode().IsRegular() || !fi.IsDir() && !o.fail2ban) {
		file, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		enc, err := source.LookupEncoding(o.encoding)
		if err != nil {
			file.Close()
			return nil, err
		}
		o.printf("Use         log file : %s\nUse         encoding : %s\n\n", arg, enc.Name)
		l := &logInput{from: file, enc: enc, closer: file, progress: o.progress, damaged: o.tellDamaged(arg, enc)}
		if fi.Mode().IsRegular() {
			l.size = fi.Size()
		}
		return l, nil
	}
	if maxLines <= 1 && !strings.Contains(arg, "\n") {
		o.printf("Use      single line : %s\n\n", shorten(arg))
		return &logInput{lines: []string{arg}}, nil
	}
	const shown = 5
	lines := strings.Split(arg, "\n")
	o.printf("Use      multi line : %d line(s)\n", len(lines))
	for i, line := range lines {
		if i == shown {
			o.printf("| ...\n")
			break
		}
		o.printf("| %2d: %s\n", i+1, shorten(line))
	}
	o.printf("`-\n\n")
	return &logInput{lines: lines}, nil
}

// tellDamaged warns of a line that is not in the encoding, if warnings are wanted.
func (o *regexOptions) tellDamaged(name string, enc *source.Encoding) func([]byte) {
	if !o.warns() {
		return nil
	}
	return func(line []byte) {
		o.warn("Error decoding line from '%s' with '%s'.", name, enc.Name)
		o.warn("Consider setting logencoding to appropriate encoding for this jail. Continuing to process line ignoring invalid characters: %s", control.ReprBytes(line))
	}
}

// openJournal is the journal, with options in brackets as in backend.
func (o *regexOptions) openJournal(arg string) (*logInput, error) {
	journal, _, err := config.ParseBackend(arg)
	if err != nil {
		return nil, err
	}
	enc, err := source.LookupEncoding(o.encoding)
	if err != nil {
		return nil, err
	}
	o.printf("Use         systemd journal\nUse         encoding : %s\n", enc.Name)
	match := o.journalMatches
	if o.journalMatch != "" {
		match = []string{o.journalMatch}
	}
	if o.fail2ban && len(match) > 1 {
		match = match[len(match)-1:] // the last one only
	}
	var shown []string
	for _, m := range match {
		lists, err := source.ParseJournalMatch(m)
		if err != nil {
			return nil, err
		}
		for i, list := range lists {
			if i > 0 || len(shown) > 0 {
				shown = append(shown, "+")
			}
			shown = append(shown, list...)
		}
		journal.Matches = append(journal.Matches, lists...)
	}
	if len(shown) > 0 {
		o.printf("Use    journal match : %s\n", strings.Join(shown, " "))
	}
	o.printf("\n")
	return &logInput{enc: enc, journal: journal, progress: o.progress}, nil
}

func (l *logInput) entries(f func(line []byte) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	entries, done, err := l.journal.Read(ctx, l.enc)
	if err != nil {
		return err
	}
	read := int64(0)
	for {
		e, err := entries.Next()
		if err == io.EOF {
			return done()
		}
		if err != nil {
			return err
		}
		l.turn++
		read += int64(len(e.Line))
		l.progress.at(read, 0)
		l.date, l.time = source.ISO(e.Time)+" ", e.Time
		l.frame = transport.Frame{Head: e.Head}
		if err := f(e.Line); err != nil {
			return err
		}
	}
}

// shorten cuts an argument for the report's head as fail2ban-regex does.
func shorten(s string) string {
	const most = 53
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-3]) + "..."
}

// each calls f for each line in UTF-8, without its end. Lines beyond
// source.MaxLine bytes are cut.
func (l *logInput) each(each func(line []byte) error) error {
	f := func(line []byte) error {
		if l.around == nil || l.comment(line) {
			return each(line)
		}
		lines, frames, _ := l.around.Lines([][]byte{line})
		if len(lines) == 0 {
			return nil // its rest is to come
		}
		if l.framed = frames != nil; l.framed {
			l.frame = frames[0]
		}
		defer func() { l.frame, l.framed = transport.Frame{}, false }()
		return each(lines[0])
	}
	for _, line := range l.lines {
		l.turn++
		if err := f([]byte(strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "\uFFFD"))); err != nil {
			return err
		}
	}
	defer l.progress.end()
	if l.containers != nil {
		return l.records(each)
	}
	if l.journal != nil {
		return l.entries(each)
	}
	if l.from == nil {
		return nil
	}
	in := source.NewBlocks(l.from, l.enc)
	for b := (source.Block{TellDamaged: l.damaged != nil}); ; {
		if err := in.Next(&b); err != nil {
			return ended(err)
		}
		l.turn++
		b.Cut()
		if b.Damaged != nil && b.TellDamaged {
			b.TellDamaged = false
			l.damaged(b.Damaged)
		}
		l.progress.block(len(b.Lines), b.Read, l.size)
		for _, line := range b.Lines {
			if err := f(line); err != nil {
				return err
			}
		}
	}
}

// resolver looks host names up, each once.
type resolver struct {
	lookup func(ctx context.Context, network, name string) ([]netip.Addr, error) // nil: names are no hosts
	warn   func(format string, args ...any)
	tell   bool // of every name that was looked up
	known  map[string][]netip.Addr
}

const lookupTimeout = 10 * time.Second

func (r *resolver) addresses(name string) []netip.Addr {
	if r.lookup == nil {
		return nil
	}
	addrs, ok := r.known[name]
	if !ok {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		defer cancel()
		found, err := r.lookup(ctx, "ip", name)
		if err != nil {
			r.warn("Unable to find a corresponding IP address for %s: %v", name, err)
		}
		seen := map[netip.Addr]bool{}
		for _, a := range found {
			if a = a.Unmap().WithZone(""); !seen[a] {
				seen[a] = true
				addrs = append(addrs, a)
			}
		}
		if len(r.known) >= 1000 || r.known == nil {
			r.known = map[string][]netip.Addr{}
		}
		r.known[name] = addrs
	}
	if len(addrs) > 0 && r.tell {
		r.warn("Determined IP using DNS Lookup: %s = %v", name, addrs)
	}
	return addrs
}

// progress is a bar on a terminal for work that takes a while; nil is none.
type progress struct {
	out     io.Writer
	started time.Time
	shown   time.Time
	lines   int64
	drawn   bool
}

const (
	progressAfter = time.Second // work that is done by then shows no bar
	progressEvery = 100 * time.Millisecond
)

// newProgress returns nil where the stream is no terminal.
func newProgress(w io.Writer) *progress {
	f, ok := terminal(w)
	if !ok || os.Getenv("TERM") == "dumb" {
		return nil
	}
	now := time.Now()
	return &progress{out: f, started: now, shown: now.Add(progressAfter)}
}

func (p *progress) at(done, total int64) {
	if p == nil {
		return
	}
	if p.lines++; p.lines&0xff != 0 {
		return
	}
	p.draw(done, total)
}

// block is at for many lines.
func (p *progress) block(lines int, done, total int64) {
	if p != nil {
		p.lines += int64(lines)
		p.draw(done, total)
	}
}

// count is for work that is counted in things.
func (p *progress) count(what string, done, total int) {
	now := time.Now()
	if p == nil || now.Sub(p.shown) < progressEvery || total <= 0 {
		return
	}
	p.shown, p.drawn = now, true
	fmt.Fprintf(p.out, "\r%s %d of %d %s\x1b[K", barOf(int64(done), int64(total)), done, total, what)
}

// number is for work of which nobody knows how much there is.
func (p *progress) number(what string, done int) {
	now := time.Now()
	if p == nil || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown, p.drawn = now, true
	fmt.Fprintf(p.out, "\r%d %s\x1b[K", done, what)
}

// barOf is a bar that is full as far as something is done.
func barOf(done, total int64) string {
	const width = 40
	full := int(width * min(done, total) / total)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

func (p *progress) draw(done, total int64) {
	now := time.Now()
	if now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown, p.drawn = now, true
	rate := float64(done) / (1 << 20) / now.Sub(p.started).Seconds()
	if total <= 0 {
		fmt.Fprintf(p.out, "\r%d lines, %.0f MiB, %.1f MiB/s\x1b[K", p.lines, float64(done)/(1<<20), rate)
		return
	}
	fmt.Fprintf(p.out, "\r%s %3d%%  %.1f MiB/s\x1b[K", barOf(done, total), 100*min(done, total)/total, rate)
}

// end takes the bar away.
func (p *progress) end() {
	if p != nil && p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
