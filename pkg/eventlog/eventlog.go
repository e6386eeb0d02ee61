// Package eventlog writes the daemon's log in fail2ban's line format, so that
// what reads fail2ban.log today can read ours:
//
//	2026-01-31 12:00:00,123 fail2ban.actions        [41]: NOTICE  [sshd] Ban 192.0.2.7
//
// It is a handler for log/slog. The attribute "component" names the part that
// speaks (actions, filter, jail, server, …); the message is the rest.
package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
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
	mu      sync.Mutex
	w       io.Writer
	level   *slog.LevelVar
	journal bool
	pid     int
	buf     bytes.Buffer
}

// Open returns a handler for a target: stderr, stdout, journal, or the path of
// a file, to which is appended. close gives the file back.
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
		o.w, close = f, f.Close
	}
	return &Handler{out: o}, close, nil
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

// Handle implements slog.Handler. A line that can't be written (a full disk) is
// reported to the caller, who goes on.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	name := levelNames[r.Level]
	if name == "" {
		name = r.Level.String()
	}
	text := oneLine(r.Message)
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.journal {
		return journal.Send(text, priority(r.Level), map[string]string{"LOGGER": "fail2ban." + h.component})
	}
	o.buf.Reset()
	o.buf.WriteString(r.Time.Format("2006-01-02 15:04:05,000"))
	fmt.Fprintf(&o.buf, " %-23s [%d]: %-7s %s\n", "fail2ban."+h.component, o.pid, name, text)
	_, err := o.w.Write(o.buf.Bytes())
	return err
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
