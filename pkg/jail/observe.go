package jail

import (
	"context"
	"fmt"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/store"
)

// A jail that observes counts and decides as ever, and bans nobody. Its list holds who would
// be banned: that is in no set of the kernel's, and told to no database, action, export or
// service. So who would be banned is known while the daemon runs, over reloads, too; when it
// observes no more, they are banned.

// ObservesError says that nobody is banned in a jail.
type ObservesError struct{ Jail string }

func (e *ObservesError) Error() string {
	return fmt.Sprintf("jail %s only observes (observe = true): nobody is banned in it", e.Jail)
}

// would is what is told of a ban that is none.
func would(format string) string {
	switch format {
	case "Ban %s":
		return "Would ban %s"
	case "Unban %s":
		return "Would unban %s"
	case "Restore Ban %s":
		return "Would restore the ban of %s"
	case "%s already banned":
		return "%s would be banned already"
	}
	return "only observed: " + format
}

// letsGo reports whether bans that were in force are to be so no more, since the jail only
// observes now; before is the one whose place it takes, nil at a start.
func (j *Jail) letsGo(before *Jail) bool {
	return j.Configured.Observe && (before == nil || !before.Configured.Observe)
}

// letGo has the store and the log know that a ban has ended.
func (j *Jail) letGo(b ban.Ban, now time.Time) {
	b.End = now
	j.noteEvent(store.Event{Ban: b, Moved: true})
	j.changed()
	j.deps.Log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice,
		fmt.Sprintf("[%s] Unban %s: the jail only observes from now on", j.Configured.Name, b.Told()))
}

// becomeReal bans who would be banned: the jail before this one observed. The kernel has them
// by then.
func (j *Jail) becomeReal() {
	for b := range j.bans.Each() {
		j.event(store.Event{Ban: b})
		j.notice("Ban %s", b.Told())
		if t := j.banTicket(b); t != nil {
			j.actions.Ban(t)
		}
	}
	j.changed()
}
