// Package eventlog writes the daemon's log in fail2ban's line format, so that
// what reads fail2ban.log today can read ours:
//
//	2026-01-31 12:00:00,123 fail2ban.actions        [41]: NOTICE  [sshd] Ban 192.0.2.7
//
// It is a handler for log/slog. The attribute "component" names the part that
// speaks (actions, filter, jail, server, …); the message is the rest.
package eventlog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
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
	level   *slog.LevelVar
	journal bool
	pid     int

	path string // of the file; empty: it is none

	mu       sync.Mutex
	w        io.Writer
	swap     *os.File // takes the place of w with the next write
	buf      []byte   // formatted, not yet written
	writing  []byte   // what the goroutine has in hand; reused
	gather   bool     // a goroutine writes
	stopping bool
	changed  sync.Cond
	done     chan struct{}
}

// gatherMost is how many bytes of lines wait for a slow disk before those who
// log wait, too.
const gatherMost = 1 << 20

// Open returns a handler for a target: stderr, stdout, journal, or the path of
// a file, to which is appended. Lines are written by a goroutine of its own, as
// many at a time as there are, so that a hundred thousand of them hold nobody up.
// close writes what is left and gives the file back.
func Open(target, level string) (h *Handler, close func() error, err error) {
	o := &output{level: new(slog.LevelVar), pid: os.Getpid()}
	o.level.Set(ParseLevel(level))
	close = func() error { return nil }
	switch strings.ToLower(target) {
	case "", "stderr":
		o.w = os.Stderr
	case "stdout":
		o.w = os.Stdout
	case "journal", "systemd-journal", "systemd_journal":
		if !journal.Enabled() {
			return nil, nil, fmt.Errorf("log target journal: no journal is listening here: use stderr or a file")
		}
		o.journal = true
	default:
		f, err := os.OpenFile(target, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("log target: %w", err)
		}
		o.w, o.path = f, target
		close = func() error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.swap != nil {
				o.swap.Close()
			}
			if f, ok := o.w.(*os.File); ok {
				return f.Close()
			}
			return nil
		}
	}
	if o.w == nil {
		return &Handler{out: o}, close, nil
	}
	o.gather, o.changed.L, o.done = true, &o.mu, make(chan struct{})
	go o.write()
	closeFile := close
	return &Handler{out: o}, func() error {
		o.mu.Lock()
		o.stopping = true
		o.mu.Unlock()
		o.changed.Broadcast()
		<-o.done
		return closeFile()
	}, nil
}

// Reopen opens the log's file anew, after a rotation. It reports whether the log
// goes to a file.
func (h *Handler) Reopen() (file bool, err error) {
	o := h.out
	if o.path == "" {
		return false, nil
	}
	f, err := os.OpenFile(o.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return true, fmt.Errorf("log target: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.swap != nil {
		o.swap.Close()
	}
	o.swap = f
	return true, nil
}

// reopened puts the new file in the place of the old one. The caller holds the
// lock.
func (o *output) reopened() {
	if o.swap == nil {
		return
	}
	if old, ok := o.w.(*os.File); ok {
		old.Close()
	}
	o.w, o.swap = o.swap, nil
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
		w := o.w
		o.mu.Unlock()
		_, _ = w.Write(o.writing) // a full disk: the line is lost, the work goes on
		o.mu.Lock()
		if cap(o.writing) > gatherMost/4 {
			o.writing = nil
		}
		o.changed.Broadcast()
	}
}

// New returns a handler that writes to w.
func New(w io.Writer, level string) *Handler {
	o := &output{w: w, level: new(slog.LevelVar), pid: os.Getpid()}
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
	if o.journal {
		return journal.Send(text, priority(r.Level), map[string]string{"LOGGER": "fail2ban." + h.component})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.gather && len(o.buf) > gatherMost {
		o.changed.Wait()
	}
	o.buf = o.line(o.buf, r, h.component, text)
	if o.gather {
		o.changed.Broadcast()
		return nil
	}
	o.reopened()
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// line appends a line in fail2ban's format to b.
func (o *output) line(b []byte, r slog.Record, component, text string) []byte {
	name := levelNames[r.Level]
	if name == "" {
		name = r.Level.String()
	}
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
