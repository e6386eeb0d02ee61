package doctor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
)

const (
	// linesMost is how many of the last lines of a jail's logs are looked at, unless somebody says
	// otherwise.
	linesMost = 100_000
	// bytesMost is how much text they may be.
	bytesMost = 64 << 20
)

// look is what is known of one jail while it is looked at.
type look struct {
	d   *doctor
	j   *config.Jail
	cfg *config.Config
	now time.Time

	found   []Finding // of the link at hand
	nothing string    // why what comes behind can't be looked at

	paths  []string // of its logs, as configured
	logs   []*logFile
	counts counts
	events []event
}

// say notes a finding of the link at hand.
func (l *look) say(f Finding) { l.found = append(l.found, f) }

// fine notes that a link is in order, if nothing else was said of it.
func (l *look) fine(format string, args ...any) {
	for _, f := range l.found {
		if f.Level.Wrong() {
			return
		}
	}
	l.say(Finding{Cause: fmt.Sprintf(format, args...)})
}

// logFile is the end of a log.
type logFile struct {
	path    string
	size    int64
	written time.Time
	lines   [][]byte
	times   []time.Time // of entries of the journal; nil: the lines have them
	heads   []int       // with times
	first   int         // the number of the first line; 0: there are more before it
}

// event is a failure of somebody.
type event struct {
	id   ban.ID
	addr netip.Addr // not valid: it is no address
	at   time.Time
	user string
	log  *logFile
	line int // index in its lines
}

// place says where a line of a log stands, and what it says.
func (f *logFile) place(i int) string {
	text := clip(f.lines[i])
	switch {
	case f.times != nil:
		return fmt.Sprintf("%s, %s: %s", f.path, f.times[i].Local().Format(time.DateTime), text)
	case f.first > 0:
		return fmt.Sprintf("%s:%d: %s", f.path, f.first+i, text)
	case i == len(f.lines)-1:
		return fmt.Sprintf("%s, last line: %s", f.path, text)
	}
	return fmt.Sprintf("%s, %d lines before its last: %s", f.path, len(f.lines)-1-i, text)
}

// clip is a line as a terminal can show it.
func clip(line []byte) string {
	const most = 200
	var b strings.Builder
	n := 0
	for _, r := range string(line) {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\t':
			r = ' '
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			r = '\uFFFD'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// readTail reads the last lines of a log, at most so many lines and bytes.
func readTail(ctx context.Context, path string, enc *source.Encoding, lines int, most int64) (*logFile, error) {
	f, err := safefile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	out := &logFile{path: path, size: fi.Size(), written: fi.ModTime(), first: 1}
	from, err := tailStart(f, out.size, lines, most)
	if err != nil {
		return nil, err
	}
	in := source.NewBlocks(io.NewSectionReader(f, from, out.size-from), enc)
	for ctx.Err() == nil {
		b := &source.Block{} // its lines are kept
		if err := in.Next(b); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		b.Cut()
		out.lines = append(out.lines, b.Lines...)
	}
	if from > 0 && len(out.lines) > 0 {
		out.lines, out.first = out.lines[1:], 0 // the rest of a line
	}
	if more := len(out.lines) - lines; more > 0 {
		out.lines = out.lines[more:]
		if out.first > 0 {
			out.first += more
		}
	}
	return out, nil
}

// tailStart is an offset before which enough newlines stand: in front of the last so many
// lines, or bytes.
func tailStart(f io.ReaderAt, size int64, lines int, most int64) (int64, error) {
	const block = 256 << 10
	buf := make([]byte, block)
	at := size
	for n := 0; at > 0 && size-at < most; {
		from := max(at-block, 0)
		piece := buf[:at-from]
		if _, err := f.ReadAt(piece, from); err != nil && err != io.EOF {
			return 0, err
		}
		if n += bytes.Count(piece, []byte{'\n'}); n > lines {
			return from &^ 3, nil // where characters of four bytes may begin
		}
		at = from
	}
	return at &^ 3, nil
}

// readJournal reads the last entries of a journal.
func readJournal(ctx context.Context, o source.JournalOptions, enc *source.Encoding, lines int, more ...string) (*logFile, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The newest first: if it takes too long, it is those that count.
	cmd := exec.CommandContext(ctx, "journalctl", o.Args(append(more, "--reverse", fmt.Sprint("--lines=", lines))...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &limited{&complaints, 4 << 10}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the journal is read with journalctl (package systemd): %w", err)
	}
	out := &logFile{path: source.JournalName, first: 0}
	entries := source.NewEntryReader(pipe, enc)
	var size int64
	for size < bytesMost {
		e, err := entries.Next()
		if err != nil {
			break
		}
		out.lines = append(out.lines, bytes.Clone(e.Line))
		out.times = append(out.times, e.Time)
		out.heads = append(out.heads, e.Head)
		size += int64(len(e.Line))
	}
	ended := ctx.Err()
	cancel()
	_ = cmd.Wait()
	if len(out.lines) == 0 && complaints.Len() > 0 && ended == nil {
		return nil, fmt.Errorf("journalctl: %s", clip(bytes.TrimSpace(complaints.Bytes())))
	}
	slices.Reverse(out.lines)
	slices.Reverse(out.times)
	slices.Reverse(out.heads)
	if n := len(out.times); n > 0 {
		out.written = out.times[n-1]
	}
	if out.times == nil {
		out.times = []time.Time{}
	}
	return out, nil
}

// limited is a writer that forgets what is too much.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (w *limited) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	w.to.Write(p[:n])
	return len(p), nil
}

// setting says where an option of a jail is configured: FILE:LINE; empty: nowhere.
func setting(j *config.Jail, name string) string {
	for _, s := range slices.Backward(j.Settings) {
		if s.Name == name && s.File != "" {
			if s.Line > 0 {
				return fmt.Sprintf("%s:%d", s.File, s.Line)
			}
			return s.File
		}
	}
	return ""
}

// set is the line that an administrator is to write: where it stands, or in which file.
func (l *look) set(lines ...string) string {
	return "in " + l.where() + " set\n" + strings.Join(lines, "\n")
}

// where is the part of a file in which the jail is configured.
func (l *look) where() string {
	if l.cfg.Fail2ban != nil {
		return fmt.Sprintf("[%s] of %s/jail.local", l.j.Name, l.cfg.Fail2ban.Dir)
	}
	for _, s := range []string{"enabled", "logpath", "filter"} {
		for _, one := range l.j.Settings {
			if one.Name == s && one.File != "" && !strings.HasPrefix(one.File, "(stock)") && one.File != "--jail" {
				if filepath.Base(filepath.Dir(one.File)) == "jails" {
					return one.File
				}
				return fmt.Sprintf("[jail.%s] of %s", l.j.Name, one.File)
			}
		}
	}
	return fmt.Sprintf("[jail.%s] of bailiff.toml", l.j.Name)
}

// key is a line of configuration in the language of the file that it is for.
func (l *look) key(name, value string) string {
	if l.cfg.Fail2ban != nil {
		return name + " = " + value
	}
	return name + " = " + config.TOMLString(value)
}

// exists reports whether there is something of a name.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
