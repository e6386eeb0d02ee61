package jail

import (
	"fmt"
	"log/slog"
	"time"

	"bailiff/pkg/filter"
)

// withheldEvery is how often it is told that failures are not counted, since a client may
// have written whose they are.
const withheldEvery = time.Minute

// withheld is what is to be told of them.
type withheld struct {
	n    int
	last time.Time // when it was told, by the steady time
	// unknown is where proxies are named that are not known, if that was told.
	unknown string
	// broken counts lines of JSON that could not be read, and brokenLast is when that was told.
	broken     int
	brokenLast time.Time
	// beside is whether it was said that a failure may be of a proxy.
	beside bool
}

// tellBeside tells once that who is counted may be a proxy.
func (j *Jail) tellBeside(r *filter.Result) {
	if j.withheld.beside || len(r.Failures) == 0 {
		return
	}
	j.withheld.beside = true
	j.log.Warn(fmt.Sprintf("[%s] %s", j.Config.Name, filter.BesideText(r.Failures[0].ID, r.Beside)))
}

// tellWithheld tells of failures that are not counted, summed up.
func (j *Jail) tellWithheld(list []filter.Withheld, log string) {
	w := &j.withheld
	for i := range list {
		x := &list[i]
		if j.deps.Events != nil {
			j.turnedAway(&filter.Failure{ID: x.Chain, Name: true, Regex: -1}, log, x.Remedy())
		}
		if x.Proxy {
			if j.tells(j.often.ignored, j.log, slog.LevelInfo) {
				j.log.Info(fmt.Sprintf("[%s] Ignore %q: %s", j.Config.Name, x.Chain, x.Remedy()))
			}
			continue
		}
		if x.Unknown != "" {
			if x.Unknown != w.unknown {
				j.log.Error(fmt.Sprintf("[%s] not counted: a failure of %q: %s", j.Config.Name, x.Chain, x.Remedy()))
				w.unknown = x.Unknown
			}
			continue
		}
		w.n++
		if !w.last.IsZero() && j.read.Steady.Sub(w.last) < withheldEvery {
			continue
		}
		j.log.Warn(fmt.Sprintf("[%s] not counted: a failure of %q (%d since it was last logged): %s", j.Config.Name, x.Chain, w.n, x.Remedy()))
		w.n, w.last = 0, j.read.Steady
	}
}

// tellBroken tells of lines of JSON that could not be read, summed up.
func (j *Jail) tellBroken() {
	w := &j.withheld
	w.broken++
	if !w.brokenLast.IsZero() && j.read.Steady.Sub(w.brokenLast) < withheldEvery {
		return
	}
	j.log.Warn(fmt.Sprintf("[%s] a line begins as JSON and is none (%d since it was last logged): nothing of it was looked at; a client can make a line longer than whatever it goes through lets pass (rsyslog's $MaxMessageSize)", j.Config.Name, w.broken))
	w.broken, w.brokenLast = 0, j.read.Steady
}
