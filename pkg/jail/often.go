package jail

import (
	"context"
	"fmt"
	"log/slog"

	"bailiff/pkg/eventlog"
)

// Lines that a client can have written as often as he likes, with each line that he makes a
// service write. Bans are not among them: each is told.
var (
	foundLines      = eventlog.Kind{Component: "filter", Level: eventlog.LevelInfo, Name: "Found"}
	bannedLines     = eventlog.Kind{Component: "actions", Level: eventlog.LevelNotice, Name: "already banned"}
	ignoredLines    = eventlog.Kind{Component: "filter", Level: eventlog.LevelInfo, Name: "Ignore"}
	nobodyLines     = eventlog.Kind{Component: "actions", Level: eventlog.LevelWarning, Name: "matched, but not banned"}
	unresolvedLines = eventlog.Kind{Component: "filter", Level: eventlog.LevelWarning, Name: "unable to find an address"}
	lookedUpLines   = eventlog.Kind{Component: "filter", Level: eventlog.LevelWarning, Name: "the address was looked up"}
	commandLines    = eventlog.Kind{Component: "filter", Level: eventlog.LevelError, Name: "ignorecommand"}
	badLines        = eventlog.Kind{Component: "observer", Level: eventlog.LevelInfo, Name: "Found, bad"}
	pastLines       = eventlog.Kind{Component: "database", Level: eventlog.LevelError, Name: "taken for new"}
	forgivenLines   = eventlog.Kind{Component: "filter", Level: eventlog.LevelInfo, Name: "Forgive"}
	sourceLines     = eventlog.Kind{Component: "filter", Level: eventlog.LevelError, Name: "line is longer than"}
)

// often are a jail's parts of these kinds.
type often struct {
	found, banned, ignored, nobody, unresolved, lookedUp, command, bad, past, source, forgiven *eventlog.Share
}

func newOften(all *eventlog.Often, jail string) often {
	of := func(k eventlog.Kind) *eventlog.Share { return all.Share(k, jail) }
	return often{
		of(foundLines), of(bannedLines), of(ignoredLines), of(nobodyLines), of(unresolvedLines), of(lookedUpLines), of(commandLines),
		of(badLines), of(pastLines), of(sourceLines), of(forgivenLines),
	}
}

// tells reports whether a line of a kind that comes often is to be told. Under a
// configuration of fail2ban's, at the level DEBUG, all are.
func (j *Jail) tells(s *eventlog.Share, log *slog.Logger, level slog.Level) bool {
	if !log.Enabled(context.Background(), level) {
		return false
	}
	return j.Configured.Fail2ban && log.Enabled(context.Background(), slog.LevelDebug) || s.Tell()
}

// ignores tells of somebody who is ignored.
func (j *Jail) ignores(who, why string) {
	if j.tells(j.often.ignored, j.log, slog.LevelInfo) {
		j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s", j.Config.Name, who, why))
	}
}
