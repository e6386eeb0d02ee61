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
	"sync/atomic"
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
func (o *JournalOptions) Args(more ...string) []string { return o.args(journalFields, more...) }

func (o *JournalOptions) args(fields []string, more ...string) []string {
	args := []string{"--output=export", "--no-pager", "--quiet", "--output-fields=" + strings.Join(fields, ",")}
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

// Run delivers batches until ctx ends. It reads by itself up to what there is now, and
// then what comes with all who follow the same journal (journalhub.go), until it can't
// keep up, or that ends.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) {
	j.setStatus("")
	r := &journalReader{Journal: j, started: time.Now(), out: out}
	at := Position{}
	for _, p := range j.Resume {
		at = p
	}
	r.cursor, r.last = at.Cursor, j.Since
	if at.Time.After(r.last) {
		r.last = at.Time
	}
	if r.cursor != "" {
		j.note(Event{Text: "following from where it was left, " + at.Time.Local().Format(time.DateTime)})
		if !j.replay(ctx, at, out) {
			return
		}
	} else {
		j.note(Event{Text: "following from " + r.last.Local().Format(time.DateTime)})
	}
	told := ""
	for ctx.Err() == nil {
		delivered, err := r.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errBehind) || errors.Is(err, errUnread) {
			continue // nothing is wrong: it reads by itself again
		}
		if err == nil {
			err = errors.New("journalctl ended")
		}
		j.setStatus(err.Error())
		if err.Error() != told {
			told = err.Error()
			j.note(Event{Err: fmt.Errorf("%w; starting it again", err)})
		}
		if !delivered && r.cursor != "" && strings.Contains(err.Error(), "cursor") {
			r.cursor, r.known = "", r.last // it is of a journal that is gone: go on by time
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

// journalReader is a Journal at work.
type journalReader struct {
	*Journal
	started time.Time
	out     chan<- Batch
	// Reading goes on behind the entry of a cursor, or at a time if there is none.
	cursor string
	last   time.Time
	known  time.Time // entries up to then were delivered, and the cursor is lost
	batch  Batch
	behind int // how often it did not keep up
	unread unread
}

// read reads what there is, and then what comes. delivered says that there was something.
func (r *journalReader) read(ctx context.Context) (delivered bool, err error) {
	if byPath(r.Matches) || r.behind >= behindMost {
		return r.follow(ctx, nil, "--follow")
	}
	if delivered, err = r.follow(ctx, nil); err != nil || ctx.Err() != nil {
		return delivered, err
	}
	r.setStatus("")
	m := join(r.Journal)
	defer m.leave()
	some, err := r.shared(ctx, m)
	if errors.Is(err, errBehind) {
		r.behind++
	}
	return delivered || some, err
}

// shared delivers what a member is given, until it is given no more.
func (r *journalReader) shared(ctx context.Context, m *member) (delivered bool, err error) {
	select {
	case <-m.begin:
	case <-m.bell: // dismissed
		return false, m.why()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	recent := map[string]struct{}{}
	delivered, err = r.follow(ctx, recent)
	if err == nil && len(recent) >= recentMost {
		err = errBehind
	}
	m.ready <- joined{recent, err}
	if err != nil || ctx.Err() != nil {
		return delivered, err
	}
	for {
		e, more, ok := m.next()
		switch {
		case ok:
			if !r.accept(ctx, e, more) {
				return delivered, ctx.Err()
			}
			delivered = true
			continue
		case m.why() != nil:
			return delivered, m.why()
		}
		select {
		case <-m.bell:
		case <-ctx.Done():
			return delivered, ctx.Err()
		}
	}
}

// position says where journalctl is to begin.
func (r *journalReader) position() []string {
	switch {
	case r.cursor != "":
		return []string{atCursor(r.cursor)}
	case !r.last.IsZero():
		return []string{sinceArg(r.last)}
	}
	return nil
}

func sinceArg(t time.Time) string {
	return fmt.Sprintf("--since=@%d.%06d", t.Unix(), t.Nanosecond()/1000)
}

// follow runs journalctl and delivers what it prints. recent takes the cursors of that, up
// to recentMost.
func (r *journalReader) follow(ctx context.Context, recent map[string]struct{}, more ...string) (delivered bool, err error) {
	had := r.cursor
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, entries, failed, err := r.start(ctx, append(append([]string{"--no-tail"}, more...), r.position()...))
	if err != nil {
		return false, err
	}
	for {
		e, err := entries.Next()
		if err != nil {
			some, _ := r.send(ctx)
			delivered = delivered || some
			waited := wait(ctx, cmd)
			if text := failed(); text != "" {
				return delivered, errors.New("journalctl: " + text)
			}
			if errors.Is(err, io.EOF) {
				err = waited
			}
			return delivered, err
		}
		if had != "" && e.Cursor == had {
			continue
		}
		if e.bare && r.unread.again(e.Cursor) {
			some, _ := r.send(ctx)
			cancel()
			_ = wait(ctx, cmd)
			return delivered || some, errUnread
		}
		if recent != nil && len(recent) < recentMost {
			recent[e.Cursor] = struct{}{}
		}
		if !r.accept(ctx, e, entries.More()) {
			return delivered, ctx.Err()
		}
		delivered = true
	}
}

// accept puts an entry to the batch, and delivers that unless more is there already. It
// reports false when ctx has ended.
func (r *journalReader) accept(ctx context.Context, e Entry, more bool) bool {
	if e.stored.After(r.known) {
		r.cursor, r.last = e.Cursor, e.stored
		catchUp := e.stored.Before(r.started)
		if len(r.batch.Lines) > 0 && r.batch.CatchUp != catchUp {
			if _, ok := r.send(ctx); !ok {
				return false
			}
		}
		b := &r.batch
		b.CatchUp = catchUp
		b.Lines, b.Times = append(b.Lines, e.Line), append(b.Times, e.Time)
		b.Frames = append(b.Frames, transport.Frame{Head: e.Head})
		b.Cursor, b.Stored = e.Cursor, e.stored
	}
	if more && len(r.batch.Lines) < journalBatch {
		return true
	}
	_, ok := r.send(ctx)
	return ok
}

// send delivers the batch; ok is false when ctx has ended.
func (r *journalReader) send(ctx context.Context) (delivered, ok bool) {
	if len(r.batch.Lines) == 0 {
		return false, true
	}
	r.batch.Path = JournalName
	select {
	case r.out <- r.batch:
		r.setStatus("")
	case <-ctx.Done():
		return false, false
	}
	r.batch = Batch{}
	return true, true
}

// start runs journalctl. It ends with ctx.
func (j *Journal) start(ctx context.Context, args []string) (waiter, *EntryReader, func() string, error) {
	return runJournalctl(ctx, j.Args(args...), j.Encoding)
}

// Journalctl is one that was started by somebody else.
type Journalctl struct {
	Stdout, Stderr io.ReadCloser
	// Wait waits for its end.
	Wait func() error
}

// Elsewhere starts journalctl for a process that can't. It ends with ctx.
type Elsewhere func(ctx context.Context, args []string) (*Journalctl, error)

var elsewhere atomic.Pointer[Elsewhere]

// StartElsewhere has somebody else start all journalctl of this process.
func StartElsewhere(by Elsewhere) { elsewhere.Store(&by) }

// waiter is a program that can be waited for.
type waiter interface{ Wait() error }

// otherJournalctl is one that somebody else has started.
type otherJournalctl struct {
	*Journalctl
	said chan struct{} // closed when all that it complained of was read
}

// Wait implements waiter.
func (o *otherJournalctl) Wait() error {
	err := o.Journalctl.Wait()
	select {
	case <-o.said:
	case <-time.After(time.Second): // whatever still holds its output is not waited for
	}
	o.Stdout.Close()
	o.Stderr.Close()
	return err
}

func runJournalctl(ctx context.Context, args []string, enc *Encoding) (waiter, *EntryReader, func() string, error) {
	if by := elsewhere.Load(); by != nil {
		j, err := (*by)(ctx, args)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("the journal is read with journalctl (package systemd): %w", err)
		}
		var stderr tailBuffer
		o := &otherJournalctl{j, make(chan struct{})}
		go func() {
			_, _ = io.Copy(&stderr, j.Stderr)
			close(o.said)
		}()
		context.AfterFunc(ctx, func() { j.Stdout.Close() })
		return o, NewEntryReader(j.Stdout, enc), stderr.text, nil
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...)
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
	return cmd, NewEntryReader(pipe, enc), stderr.text, nil
}

// wait waits for the end of a program; after the end of ctx not for long: one that is
// stuck in a disk can't even be killed.
func wait(ctx context.Context, cmd waiter) error {
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
