package jail

import (
	"fmt"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// Bans end by the steady time, whatever is done to the wall clock. The kernel ends them
// by timers of its own, which stand still while the machine is suspended.

// sleptSlack is how much of a suspend goes unnoticed; clocks are read one after the
// other.
const sleptSlack = 100 * time.Millisecond

// Stepped is told that the clock was set or the machine was suspended.
func (j *Jail) Stepped(s clock.Step) {
	j.inbox.tell(func(j *Jail) {
		j.expire()
		j.armed = time.Time{} // a timer of ours stood still, too
	})
}

// onTheWay is for how long after the clock was set lines may come that were written
// before.
const onTheWay = 10 * time.Second

// noteStep sees whether the clock was set since the lines before were read.
func (j *Jail) noteStep() {
	offset := j.read.Wall.Sub(j.read.Steady)
	if offset == j.step.offset {
		return
	}
	j.step.by, j.step.offset, j.step.seen = offset-j.step.offset, offset, j.read.Steady
}

// byThisClock is the time of a line as the clock says it now, where the line was written
// just before that was set forward: by its own word it is as old as the step is large.
// One that was set back needs no more than that nothing is of the future.
func (j *Jail) byThisClock(at time.Time) time.Time {
	by := j.step.by
	if by <= skewAllowed || at.IsZero() || j.read.Steady.Sub(j.step.seen) > onTheWay {
		return at
	}
	if behind := j.read.Wall.Sub(at); behind > by-skewAllowed && behind < by+skewAllowed {
		return at.Add(by)
	}
	return at
}

// compile compiles a filter for the years that the clock says are near: templates of
// dates take only some, so that other numbers are not taken for a year.
func compile(d filter.Definition, deps *Deps) (*filter.Filter, error) {
	d.Year = deps.Clock.Wall().Year()
	return filter.Compile(d, deps.Location)
}

// compileShared compiles a jail's filter, which shares what it finds with those of other jails
// on the same logs.
func compileShared(c *config.Jail, deps *Deps) (*filter.Filter, error) {
	f, err := compile(countedFilter(c), deps)
	if err == nil && c.Journal == nil && c.Containers == nil && c.Syslog == nil {
		f.Together(strings.Join(c.LogPath, "\x00"), deps.Beside)
	}
	return f, err
}

// newYears has the filter compiled anew when the clock has come to years that it does
// not take: that happens on one day in ten years, and to a machine that was booted with
// a wrong clock.
func (j *Jail) newYears(year int) {
	if year == j.year || filter.SameYears(year, j.year) {
		return
	}
	f, err := compileShared(j.Config, &j.deps)
	if err != nil {
		j.log.Error(fmt.Sprintf("[%s] filter for the year %d: %v", j.Config.Name, year, err))
		return
	}
	j.useFilter(f)
	j.year, j.times.dates = year, nil
}

// expire takes bans off the list that have ended.
func (j *Jail) expire() {
	j.work.begin(&endingBans)
	defer j.work.end()
	j.pace.turn.Begin()
	var over []ban.Ban
	for now, n := j.deps.Clock.Now().Add(-j.endGrace), expirePiece; n == expirePiece; {
		some := j.bans.ExpireSome(now, expirePiece)
		over, n = append(over, some...), len(some)
		j.pace.step()
	}
	j.awake(over)
	for _, b := range over {
		j.ended(b)
		j.pace.line()
	}
}

// ended says of a ban that it is over.
func (j *Jail) ended(b ban.Ban) {
	j.notice("Unban %s", b.Told())
	j.unbanEvent(b, whyOver, "")
	j.actions.Unban(ban.Name(b.ID))
}

// endedOf takes off the list what shut somebody out until now: by the clock it is over, and only its
// timer has not rung yet, or the jail is in the midst of a batch. Else who is to be banned in that moment would be
// taken for banned, and go free. late: there was such a ban, and the kernel may hold its element still.
func (j *Jail) endedOf(id ban.ID) (late bool) {
	now := j.deps.Clock.Now()
	var over []ban.Ban
	for b, ok := j.covering(id); ok && !b.Permanent() && !b.End.After(now); b, ok = j.covering(id) {
		j.bans.Remove(b.ID)
		over = append(over, b)
	}
	if len(over) == 0 {
		return false
	}
	j.awake(over)
	for _, b := range over {
		j.ended(b)
	}
	return true
}

// expirePiece is how many bans or addresses are taken off in one go.
const expirePiece = 100

// forget forgets failures that are too old to count.
func (j *Jail) forget() {
	j.pace.turn.Begin()
	for now, n := j.deps.Clock.Now(), expirePiece; n == expirePiece; {
		some := j.window.ExpireSome(now, expirePiece)
		for _, id := range some {
			j.failuresOver(id)
		}
		n = len(some)
		j.pace.step()
	}
	j.forgetForgiven()
}

// awake puts right what the kernel holds if the machine was suspended since: what is
// over goes, and the rest ends when the list says.
func (j *Jail) awake(over []ban.Ban) {
	slept := j.deps.Clock.Suspended()
	if slept < j.slept+sleptSlack {
		return
	}
	j.slept = slept
	now := j.deps.Clock.Now()
	changes := make([]change, 0, len(over)+j.bans.Len())
	for _, b := range over {
		changes = append(changes, change{ID: b.ID, IP: b.IP, Remove: true})
	}
	for b := range j.bans.Each() {
		if !b.Permanent() {
			changes = append(changes, change{ID: b.ID, IP: b.IP, Left: b.Left(now), Replace: true})
		}
	}
	j.enforced(changes...)
}
