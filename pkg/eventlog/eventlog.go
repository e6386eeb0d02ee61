// Package eventlog writes the daemon's log in fail2ban's line format, so that
// what reads fail2ban.log today can read ours:
//
//	2026-01-31 12:00:00,123 fail2ban.actions        [41]: NOTICE  [sshd] Ban 192.0.2.7
//
// It is a handler for log/slog. The attribute "component" names the part that
// speaks (actions, filter, jail, server, …); the message is the rest.
package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"

	"bailiff/pkg/safefile"
)

// fail2ban's levels on slog's scale.
const (
	LevelCritical   = slog.Level(12)
	LevelError      = slog.LevelError
	LevelWarning    = slog.LevelWarn
	LevelNotice     = slog.Level(2)
	LevelInfo       = slog.LevelInfo
	LevelDebug      = slog.LevelDebug
	LevelTraceDebug = slog.Level(-6)
	LevelHeavyDebug = slog.Level(-8)
)

var levelNames = map[slog.Level]string{
	LevelCritical: "CRITICAL", LevelError: "ERROR", LevelWarning: "WARNING", LevelNotice: "NOTICE",
	LevelInfo: "INFO", LevelDebug: "DEBUG", LevelTraceDebug: "TRACEDEBUG", LevelHeavyDebug: "HEAVYDEBUG",
}

// ParseLevel returns the level of one of fail2ban's names; unknown ones are INFO.
func ParseLevel(name string) slog.Level {
	for level, n := range levelNames {
		if n == strings.ToUpper(name) {
			return level
		}
	}
	return LevelInfo
}

// Handler is the slog.Handler.
type Handler struct {
	out       *output
	component string
}

type output struct {
	level *slog.LevelVar
	pid   int

	mu       sync.Mutex
	to       sink
	next     *sink  // takes the place of to with the next write
	buf      []byte // formatted, not yet written
	writing  []byte // what the goroutine has in hand; reused
	gather   bool   // a goroutine writes
	busy     bool   // it is at it
	stopping bool
	changed  sync.Cond
	done     chan struct{}
}

// sink is where lines go.
type sink struct {
	target  string // as it was given
	w       io.Writer
	path    string // of the file; empty: it is none
	journal bool
	syslog  net.Conn
}

// open opens a target. syslogSocket is the path of the system log's socket; empty:
// where it is on this system.
func open(target, syslogSocket string) (sink, error) {
	s := sink{target: target}
	switch strings.ToLower(target) {
	case "", "stderr":
		s.w = os.Stderr
	case "stdout", "sysout":
		s.w = os.Stdout
	case "journal", "systemd-journal", "systemd_journal":
		if !journal.Enabled() {
			return s, fmt.Errorf("log target journal: no journal is listening here: use stderr or a file")
		}
		s.journal = true
	case "syslog":
		path := cmp.Or(syslogSocket, "/dev/log")
		conn, err := net.Dial("unixgram", path)
		if err != nil {
			return s, fmt.Errorf("log target SYSLOG: nobody listens at %s: %w", path, err)
		}
		s.syslog = conn
	default:
		f, err := safefile.Append(target, 0o640)
		if err != nil {
			return s, fmt.Errorf("log target: %w", err)
		}
		s.w, s.path = f, target
	}
	return s, nil
}

func (s *sink) close() error {
	if s.syslog != nil {
		return s.syslog.Close()
	}
	if f, ok := s.w.(*os.File); ok && s.path != "" {
		return f.Close()
	}
	return nil
}

// gatherMost is how many bytes of lines wait for a slow disk before those who
// log wait, too.
const gatherMost = 1 << 20

// Open returns a handler for a target: stderr, stdout, journal, syslog, or the path
// of a file, to which is appended. Lines are written by a goroutine of its own, as
// many at a time as there are, so that a hundred thousand of them hold nobody up.
// close writes what is left and gives the file back.
func Open(target, level string) (h *Handler, close func() error, err error) {
	to, err := open(target, "")
	if err != nil {
		return nil, nil, err
	}
	o := &output{level: new(slog.LevelVar), pid: os.Getpid(), to: to, gather: true, done: make(chan struct{})}
	o.level.Set(ParseLevel(level))
	o.changed.L = &o.mu
	go o.write()
	return &Handler{out: o}, func() error {
		o.mu.Lock()
		o.stopping = true
		o.mu.Unlock()
		o.changed.Broadcast()
		<-o.done
		o.mu.Lock()
		defer o.mu.Unlock()
		o.reopened()
		return o.to.close()
	}, nil
}

// Reopen opens the log's file anew, after a rotation. It reports whether the log
// goes to a file.
func (h *Handler) Reopen() (file bool, err error) {
	o := h.out
	o.mu.Lock()
	path := o.current().path
	o.mu.Unlock()
	if path == "" {
		return false, nil
	}
	return true, h.SetTarget(path, "")
}

// SetLevel changes how much is told. Unknown names are INFO.
func (h *Handler) SetLevel(name string) { h.out.level.Set(ParseLevel(name)) }

// SetTarget has later lines go elsewhere; see Open. Where that can't be opened,
// everything stays as it is. syslogSocket is the path of the system log's socket;
// empty: the usual one.
func (h *Handler) SetTarget(target, syslogSocket string) error {
	to, err := open(target, syslogSocket)
	if err != nil {
		return err
	}
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.gather && len(o.buf) > 0 { // they belong to the old one
		o.changed.Wait()
	}
	if o.next != nil {
		_ = o.next.close()
	}
	o.next = &to
	if !o.busy {
		o.reopened()
	}
	return nil
}

// current is where the next line goes. The caller holds the lock.
func (o *output) current() *sink {
	if o.next != nil {
		return o.next
	}
	return &o.to
}

// reopened puts the new target in the place of the old one. The caller holds the
// lock.
func (o *output) reopened() {
	if o.next == nil {
		return
	}
	_ = o.to.close()
	o.to, o.next = *o.next, nil
}

// write writes lines until the handler is closed.
func (o *output) write() {
	defer close(o.done)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for len(o.buf) == 0 && !o.stopping {
			o.changed.Wait()
		}
		if len(o.buf) == 0 {
			o.gather = false // later lines are written at once
			return
		}
		o.reopened()
		o.buf, o.writing = o.writing[:0], o.buf
		w := o.to.w
		o.busy = true
		o.mu.Unlock()
		_, _ = w.Write(o.writing) // a full disk: the line is lost, the work goes on
		o.mu.Lock()
		o.busy = false
		if cap(o.writing) > gatherMost/4 {
			o.writing = nil
		}
		o.changed.Broadcast()
	}
}

// New returns a handler that writes to w.
func New(w io.Writer, level string) *Handler {
	o := &output{to: sink{w: w}, level: new(slog.LevelVar), pid: os.Getpid()}
	o.level.Set(ParseLevel(level))
	return &Handler{out: o}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.out.level.Level()
}

// WithAttrs implements slog.Handler: of the attributes, component is kept.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		if a.Key == "component" {
			c.component = a.Value.String()
		}
	}
	return &c
}

// WithGroup implements slog.Handler; there are no groups in this format.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	text := oneLine(r.Message)
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	switch to := o.current(); {
	case to.journal:
		return journal.Send(text, priority(r.Level), map[string]string{"LOGGER": "fail2ban." + h.component})
	case to.syslog != nil:
		return o.tell(to.syslog, r.Level, h.component, text)
	}
	for o.gather && len(o.buf) > gatherMost {
		o.changed.Wait()
	}
	o.buf = o.line(o.buf, r, h.component, text)
	if o.gather {
		o.changed.Broadcast()
		return nil
	}
	o.reopened()
	_, err := o.to.w.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// tell sends a line to the system log in fail2ban's form, which has the part that
// speaks as the program's name. The facility is daemon.
func (o *output) tell(to net.Conn, level slog.Level, component, text string) error {
	_, err := fmt.Fprintf(to, "<%d>fail2ban.%s[%d]: %s %s", 3<<3|int(priority(level)), component, o.pid, levelName(level), text)
	return err
}

func levelName(level slog.Level) string {
	if name := levelNames[level]; name != "" {
		return name
	}
	return level.String()
}

// line appends a line in fail2ban's format to b.
func (o *output) line(b []byte, r slog.Record, component, text string) []byte {
	name := levelName(r.Level)
	b = r.Time.AppendFormat(b, "2006-01-02 15:04:05,000")
	b = append(b, ' ')
	b = padded(b, "fail2ban."+component, 23)
	b = append(b, " ["...)
	b = strconv.AppendInt(b, int64(o.pid), 10)
	b = append(b, "]: "...)
	b = padded(b, name, 7)
	b = append(b, ' ')
	b = append(b, text...)
	return append(b, '\n')
}

func padded(b []byte, s string, width int) []byte {
	b = append(b, s...)
	for n := len(s); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

// oneLine keeps what others wrote from forging lines of our log.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= LevelCritical:
		return journal.PriCrit
	case l >= LevelError:
		return journal.PriErr
	case l >= LevelWarning:
		return journal.PriWarning
	case l >= LevelNotice:
		return journal.PriNotice
	case l >= LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
