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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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
	if n, err := strconv.Atoi(name); err == nil {
		name = "CRITICAL"
		for _, l := range pythonLevels {
			if n <= l.number {
				name = l.name
			}
		}
	}
	for level, n := range levelNames {
		if n == strings.ToUpper(name) {
			return level
		}
	}
	return LevelInfo
}

// pythonLevels are the numbers that fail2ban has for levels.
var pythonLevels = []struct {
	number int
	name   string
}{{50, "CRITICAL"}, {40, "ERROR"}, {30, "WARNING"}, {25, "NOTICE"}, {20, "INFO"}, {10, "DEBUG"}, {7, "TRACEDEBUG"}, {5, "HEAVYDEBUG"}}

// Handler is the slog.Handler.
type Handler struct {
	out       *output
	component string
}

// output is what all handlers of one log share.
type output struct {
	level *slog.LevelVar
	pid   int

	mu     sync.Mutex
	direct io.Writer // lines are written at once; nil: by writer
	writer *writer
	former []*writer // of targets before, which have lines left to write
	closed bool
}

// formerMost is how many targets that were changed may have lines left to write; more
// do only if all of them hang.
const formerMost = 4

// formerPatience is how long the oldest of more is waited for. Tests make it shorter.
var formerPatience = time.Second

// openMost is how long a disk may take to open a log.
const openMost = 5 * time.Second

// Open returns a handler for a target: stderr, stdout, journal, syslog, or the path
// of a file, to which is appended. Lines are written by a goroutine of its own, as
// many at a time as there are, so that neither a hundred thousand of them nor a disk that
// hangs hold anybody up. close writes what is left, for former targets, too, for a second
// at most in all, and gives the files back; the error says what was not written.
func Open(target, level string) (h *Handler, close func() error, err error) {
	w, err := openWriter(target, "")
	if err != nil {
		return nil, nil, err
	}
	o := &output{level: new(slog.LevelVar), pid: os.Getpid(), writer: w}
	o.level.Set(ParseLevel(level))
	return &Handler{out: o}, func() error {
		o.mu.Lock()
		all := append(slices.Clone(o.former), o.writer)
		o.closed = true
		o.mu.Unlock()
		return closeAll(all)
	}, nil
}

// Reopen opens the log's file anew, after a rotation. It reports whether the log
// goes to a file.
func (h *Handler) Reopen() (file bool, err error) {
	o := h.out
	o.mu.Lock()
	path := ""
	if o.writer != nil {
		path = o.writer.to.path
	}
	o.mu.Unlock()
	if path == "" {
		return false, nil
	}
	return true, h.SetTarget(path, "")
}

// SetLevel changes how much is told. Unknown names are INFO.
func (h *Handler) SetLevel(name string) { h.out.level.Set(ParseLevel(name)) }

// SetTarget has later lines go elsewhere; see Open. Where that can't be opened,
// everything stays as it is. What waits for the old target is written there, if that
// takes it. syslogSocket is the path of the system log's socket; empty: the usual one.
func (h *Handler) SetTarget(target, syslogSocket string) error {
	w, err := openWriter(target, syslogSocket)
	if err != nil {
		return err
	}
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		w.end()
		return nil
	}
	if o.writer != nil {
		o.writer.end()
		o.former = append(o.former, o.writer)
	}
	o.writer, o.direct = w, nil
	for o.former = slices.DeleteFunc(o.former, (*writer).over); len(o.former) > formerMost; {
		// It has a while more, and will hardly take them if it doesn't now.
		oldest := o.former[0]
		o.mu.Unlock()
		oldest.await(formerPatience)
		o.mu.Lock()
		if !oldest.over() {
			oldest.giveUp(w)
		}
		o.former = slices.DeleteFunc(o.former, func(f *writer) bool { return f == oldest || f.over() })
	}
	return nil
}

// New returns a handler that writes to w, at once.
func New(w io.Writer, level string) *Handler {
	o := &output{direct: w, level: new(slog.LevelVar), pid: os.Getpid()}
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

// Handle implements slog.Handler. It does not wait for where the log goes to.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	e := entry{r.Time, r.Level, h.component, oneLine(r.Message)}
	o := h.out
	for {
		o.mu.Lock()
		w, closed := o.writer, o.closed
		if w == nil {
			defer o.mu.Unlock()
			_, err := o.direct.Write(e.line(nil, o.pid))
			return err
		}
		o.mu.Unlock()
		if w.put(e) || closed { // else the target was changed just now
			return nil
		}
	}
}

func levelName(level slog.Level) string {
	if name := levelNames[level]; name != "" {
		return name
	}
	return level.String()
}

// entry is a line of the log.
type entry struct {
	time      time.Time
	level     slog.Level
	component string
	text      string
}

// line appends the line in fail2ban's format to b.
func (e *entry) line(b []byte, pid int) []byte {
	b = e.time.AppendFormat(b, "2006-01-02 15:04:05,000")
	b = append(b, ' ')
	b = padded(b, "fail2ban."+e.component, 23)
	b = append(b, " ["...)
	b = strconv.AppendInt(b, int64(pid), 10)
	b = append(b, "]: "...)
	b = padded(b, levelName(e.level), 7)
	b = append(b, ' ')
	b = append(b, e.text...)
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
