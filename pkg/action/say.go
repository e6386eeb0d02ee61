package action

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/eventlog"
)

// A command that an action runs, and what the log says of it.

var commandNo atomic.Uint64

// run runs a command and logs what went wrong, as fail2ban does.
func (a *Action) run(c Command) bool {
	if c.Text == "" {
		return true
	}
	if a.site.DryRun {
		a.wouldDo("run: %s", strings.Join(strings.Fields(c.String()), " "))
		return true
	}
	if a.site.Run != nil {
		return a.site.Run(a.ctx, c, a.timeout())
	}
	log := a.site.Log.With("component", "utils")
	no := fmt.Sprintf("%x", 0x10000+commandNo.Add(1))
	began := time.Now()
	res, err := c.Run(a.ctx, a.timeout())
	say := func(level slog.Level, format string, args ...any) {
		log.Log(context.Background(), level, no+" -- "+fmt.Sprintf(format, args...))
	}
	ok := err == nil && res.Code == 0
	a.ran(ok, time.Since(began))
	switch {
	case err != nil:
		a.because("", Cut(err.Error(), saidMost/8))
	case !ok:
		a.because(res.Output(), fmt.Sprintf("exit code %d", res.Code))
	}
	level := slog.LevelError
	if ok {
		level = slog.LevelDebug
	}
	if !log.Enabled(context.Background(), level) {
		return ok
	}
	say(level, "exec: %s", c)
	var late *TimeoutError
	if errors.As(err, &late) {
		say(level, "timed out after %d seconds.", int(late.After/time.Second))
	}
	for _, from := range []struct {
		name string
		text []byte
	}{{"stdout", res.Stdout}, {"stderr", res.Stderr}} {
		left := saidMost
		for line := range outputLines(string(from.text)) {
			if left <= 0 {
				say(level, "%s: … (%d bytes or more in all)", from.name, len(from.text))
				break
			}
			said := Cut(line, saidMost/2)
			left -= len(said) + 1
			say(level, "%s: %s", from.name, eventlog.Quote(said))
		}
	}
	switch {
	case late != nil:
		say(level, "killed with SIGKILL (return code: -9)")
	case err != nil:
		say(level, "failed with %v", err)
	case ok:
		say(level, "returned successfully 0")
	case res.Code > 128:
		say(level, "killed with signal %d (return code: %d)", res.Code-128, res.Code)
	default:
		say(level, "returned %d", res.Code)
		switch res.Code {
		case 126:
			log.Info(`HINT on 126: "Command is not executable": it is there, but may not be run`)
		case 127:
			log.Info(fmt.Sprintf(`HINT on 127: "Command not found".  Make sure that all commands in %s are in the PATH of bailiff (%s)`, c.first(), "see grep -a PATH= /proc/$(pidof -s bailiff)/environ"))
		}
	}
	return ok
}

// outputLines are the lines of a text, of whatever kind of end.
func outputLines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			line, rest := text, ""
			if i := strings.IndexAny(text, "\r\n"); i >= 0 {
				line, rest = text[:i], text[i+1:]
				if text[i] == '\r' {
					rest = strings.TrimPrefix(rest, "\n")
				}
			}
			if text = rest; !yield(line) {
				return
			}
		}
	}
}
