package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bailiff/pkg/transport"
)

// Journal follows systemd's journal. The entries come from journalctl, in the
// format that is made for machines and kept stable (journal export format), so
// that no library of systemd's is needed.
type Journal struct {
	JournalOptions
	// Encoding of what entries say; nil: UTF-8.
	Encoding *Encoding
	// Since is from when on entries are read if there is no Resume.
	Since time.Time
	// Resume is where reading goes on.
	Resume []Position
	// Notify tells of errors and of where reading begins.
	Notify func(Event)

	mu     sync.Mutex
	status Status
}

// JournalOptions say which entries of which journal are read. They are those of
// fail2ban's backend systemd.
type JournalOptions struct {
	// Matches are FIELD=VALUE as journalctl takes them: those in one list are all
	// to hold (or any, for the same field), and any list is enough. A "+" parts
	// lists, too. Empty: every entry.
	Matches [][]string
	// Path is a directory of journal files, Files are some of them (globs);
	// both empty: the system's.
	Path  string
	Files []string
	// Flags are those of sd_journal_open(3); nil: 4, the system's journals.
	Flags     *int
	Namespace string
}

// JournalName is the name of the journal among logs.
const JournalName = "systemd-journal"

// Flags of sd_journal_open(3).
const (
	journalLocalOnly   = 1
	journalRuntimeOnly = 2
	journalSystem      = 4
	journalCurrentUser = 8
)

// JournalFields are what is used of an entry.
var journalFields = []string{"MESSAGE", "_HOSTNAME", "SYSLOG_IDENTIFIER", "_COMM", "SYSLOG_PID", "_PID", "_SOURCE_REALTIME_TIMESTAMP", "_SOURCE_MONOTONIC_TIMESTAMP"}

// Read returns the entries that the journal holds, from the first to the last.
// close ends it, and says what went wrong.
func (o *JournalOptions) Read(ctx context.Context, enc *Encoding) (entries *EntryReader, close func() error, err error) {
	j := &Journal{JournalOptions: *o, Encoding: enc}
	cmd, entries, failed, err := j.start(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	return entries, func() error {
		_, _ = io.Copy(io.Discard, entries.in)
		err := cmd.Wait()
		if text := failed(); text != "" {
			return errors.New("journalctl: " + text)
		}
		return err
	}, nil
}

// Args are the arguments of journalctl for these options; more come before the
// matches.
func (o *JournalOptions) Args(more ...string) []string {
	args := []string{"--output=export", "--no-pager", "--quiet", "--output-fields=" + strings.Join(journalFields, ",")}
	flags := journalSystem
	if o.Path != "" || len(o.Files) > 0 {
		flags = 0
	}
	if o.Flags != nil {
		flags = *o.Flags
	}
	if flags&journalLocalOnly == 0 && o.Namespace == "" {
		args = append(args, "--merge")
	}
	if flags&journalSystem != 0 {
		args = append(args, "--system")
	}
	if flags&journalCurrentUser != 0 {
		args = append(args, "--user")
	}
	switch {
	case o.Path != "":
		args = append(args, "--directory="+o.Path)
	case len(o.Files) > 0:
		for _, f := range o.Files {
			args = append(args, "--file="+f)
		}
	case flags&journalRuntimeOnly != 0:
		args = append(args, "--directory=/run/log/journal")
	}
	if o.Namespace != "" {
		args = append(args, "--namespace="+o.Namespace)
	}
	args = append(args, more...)
	args = append(args, "--")
	for i, m := range o.Matches {
		if i > 0 {
			args = append(args, "+")
		}
		args = append(args, m...)
	}
	return args
}

// ParseJournalMatch parts a journalmatch into lists.
func ParseJournalMatch(s string) ([][]string, error) {
	words, err := Words(s)
	if err != nil {
		return nil, fmt.Errorf("journalmatch %q: %w", s, err)
	}
	out := [][]string{{}}
	for _, w := range words {
		last := &out[len(out)-1]
		switch {
		case w == "+" && len(*last) == 0:
			return nil, fmt.Errorf("journalmatch %q: nothing before +", s)
		case w == "+":
			out = append(out, []string{})
		case !strings.Contains(w, "=") && !strings.HasPrefix(w, "/"):
			return nil, fmt.Errorf("journalmatch %q: %q is not FIELD=VALUE", s, w)
		default:
			*last = append(*last, w)
		}
	}
	if len(out[len(out)-1]) == 0 {
		return nil, fmt.Errorf("journalmatch %q: nothing after +", s)
	}
	return out, nil
}

// Words parts a text as a shell does, with quotes and backslashes.
func Words(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	inWord := false
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == '\'' && c != '\'' || quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case c == quote && quote != 0:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case c == '\\':
			if i++; i == len(s) {
				return nil, errors.New("ends with a backslash")
			}
			word.WriteByte(s[i])
			inWord = true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the %c is not closed", quote)
	}
	if inWord {
		out = append(out, word.String())
	}
	return out, nil
}

const (
	journalBatch   = 500
	journalRestart = time.Second // how long to wait before journalctl is started again
	journalReplay  = "500"       // entries that are read once more at a start
)

// Status returns where reading is.
func (j *Journal) Status() []Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Path == "" {
		return nil
	}
	return []Status{j.status}
}

func (j *Journal) setStatus(problem string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.Path, j.status.Error = JournalName, problem
}

func (j *Journal) note(e Event) {
	e.Path = JournalName
	if j.Notify != nil {
		j.Notify(e)
	}
}

// Run delivers batches until ctx ends.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) {
	j.setStatus("")
	at := Position{}
	started := time.Now()
	for _, p := range j.Resume {
		at = p
	}
	cursor, last := at.Cursor, j.Since
	if at.Time.After(last) {
		last = at.Time
	}
	if cursor != "" {
		j.note(Event{Text: "following from where it was left, " + at.Time.Local().Format(time.DateTime)})
		if !j.replay(ctx, at, out) {
			return
		}
	} else {
		j.note(Event{Text: "following from " + last.Local().Format(time.DateTime)})
	}
	told := ""
	var known time.Time // entries up to then were delivered, and the cursor is lost
	for ctx.Err() == nil {
		args := []string{"--follow", "--no-tail"}
		if cursor != "" {
			args = append(args, "--after-cursor="+cursor)
		} else if !last.IsZero() {
			args = append(args, fmt.Sprintf("--since=@%d.%06d", last.Unix(), last.Nanosecond()/1000))
		}
		delivered, err := j.follow(ctx, args, started, out, func(e Entry) bool {
			if !e.stored.After(known) {
				return false
			}
			cursor, last = e.Cursor, e.stored
			return true
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("journalctl ended")
		}
		j.setStatus(err.Error())
		if err.Error() != told {
			told = err.Error()
			j.note(Event{Err: fmt.Errorf("%w; starting it again", err)})
		}
		if !delivered && cursor != "" && strings.Contains(err.Error(), "cursor") {
			cursor, known = "", last // it is of a journal that is gone: go on by time
		}
		if delivered {
			told = ""
		}
		select {
		case <-ctx.Done():
		case <-time.After(journalRestart):
		}
	}
}

// follow runs journalctl and delivers what it prints. accept is asked of each
// entry.
func (j *Journal) follow(ctx context.Context, args []string, started time.Time, out chan<- Batch, accept func(Entry) bool) (delivered bool, err error) {
	cmd, entries, failed, err := j.start(ctx, args)
	if err != nil {
		return false, err
	}
	var b Batch
	send := func() bool {
		if len(b.Lines) == 0 {
			return true
		}
		b.Path = JournalName
		select {
		case out <- b:
			delivered = true
			j.setStatus("")
		case <-ctx.Done():
			return false
		}
		b = Batch{}
		return true
	}
	for {
		e, err := entries.Next()
		if err != nil {
			send()
			waited := wait(ctx, cmd)
			if text := failed(); text != "" {
				return delivered, errors.New("journalctl: " + text)
			}
			if errors.Is(err, io.EOF) {
				err = waited
			}
			return delivered, err
		}
		if !accept(e) {
			continue
		}
		catchUp := e.stored.Before(started)
		if len(b.Lines) > 0 && b.CatchUp != catchUp && !send() {
			return delivered, ctx.Err()
		}
		b.CatchUp = catchUp
		b.Lines, b.Times = append(b.Lines, e.Line), append(b.Times, e.Time)
		b.Frames = append(b.Frames, transport.Frame{Head: e.Head})
		b.Cursor, b.Stored = e.Cursor, e.stored
		if (len(b.Lines) >= journalBatch || !entries.More()) && !send() {
			return delivered, ctx.Err()
		}
	}
}

// start runs journalctl. It ends with ctx.
func (j *Journal) start(ctx context.Context, args []string) (*exec.Cmd, *EntryReader, func() string, error) {
	cmd := exec.CommandContext(ctx, "journalctl", j.Args(args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stderr tailBuffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, fmt.Errorf("the journal is read with journalctl (package systemd): %w", err)
	}
	context.AfterFunc(ctx, func() { pipe.Close() }) // also if it can't be killed
	return cmd, NewEntryReader(pipe, j.Encoding), stderr.text, nil
}

// wait waits for the end of a program; after the end of ctx not for long: one that is
// stuck in a disk can't even be killed.
func wait(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(leaveAfter):
		return errors.New("journalctl does not end")
	}
}

// replay delivers entries before the position, so that what depends on lines
// before is known again.
func (j *Journal) replay(ctx context.Context, at Position, out chan<- Batch) bool {
	until := at.Time.Add(time.Second)
	cmd, entries, _, err := j.start(ctx, []string{"--lines=" + journalReplay, "--until=@" + strconv.FormatInt(until.Unix(), 10)})
	if err != nil {
		return true // following says so
	}
	defer func() { _ = wait(ctx, cmd) }()
	b := Batch{Path: JournalName, Replay: true}
	for {
		e, err := entries.Next()
		if err != nil || e.stored.After(at.Time) {
			break
		}
		b.Lines, b.Times = append(b.Lines, e.Line), append(b.Times, e.Time)
		b.Frames = append(b.Frames, transport.Frame{Head: e.Head})
		if e.Cursor == at.Cursor {
			break
		}
	}
	_, _ = io.Copy(io.Discard, entries.in)
	if len(b.Lines) == 0 {
		return true
	}
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// tailBuffer keeps the last line of what a program complains about.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - 1000; extra > 0 {
		t.buf = slices.Delete(t.buf, 0, extra)
	}
	return len(p), nil
}

func (t *tailBuffer) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	return lines[len(lines)-1]
}
