package jail

import (
	"net/netip"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/report"
)

// Services elsewhere are told of bans that lines of a log led to: not of those by hand, nor of
// those that were before.

// reportedBytes is how much of the lines of a ban waits to be reported.
const reportedBytes = 16 << 10

// reported tells who reports of a ban. It is called before the lines go to the store.
func (j *Jail) reported(b ban.Ban, q *found) {
	if j.deps.Reports == nil || j.Configured.Observe {
		return
	}
	wanted, lines := j.deps.Reports(j.Config.Name)
	if !wanted {
		return
	}
	o := report.Offence{Jail: j.Config.Name, Addr: offender(b, q), At: j.deps.Clock.ToWall(b.Start), Failures: b.Failures}
	if !o.Addr.IsValid() {
		return
	}
	if lines {
		o.Lines = j.tellingLines(b.ID)
	}
	j.deps.Report(o)
}

// offender is whose failure led to a ban: an address, also where its network is banned, or
// an id.
func offender(b ban.Ban, q *found) netip.Addr {
	switch {
	case q.failure.IP.IsValid():
		return q.failure.IP
	case q.failure.Addr.IsSingleIP():
		return q.failure.Addr.Addr()
	case b.IP.IsValid():
		return b.IP.Addr()
	case b.ID.Prefix().IsSingleIP():
		return b.ID.Addr()
	}
	return netip.Addr{}
}

// tellingLines are the lines of a ban, and what finds the users in them: not by the jail's
// goroutine.
func (j *Jail) tellingLines(id ban.ID) func() (lines, users []string) {
	lines := j.kept.lines(id)
	size := 0
	for i := len(lines) - 1; i >= 0; i-- {
		if size += len(lines[i]); size > reportedBytes {
			lines = lines[i+1:]
			break
		}
	}
	if len(lines) == 0 {
		return nil
	}
	t, of, def, deps, now, journal := &j.teller, j.filter, j.Config.Filter, j.deps, j.read.Wall, j.Config.Journal != nil || j.Config.Syslog != nil
	return func() ([]string, []string) {
		users, ok := t.users(of, def, &deps, lines, now, journal)
		if !ok { // whose names are in them isn't known
			return nil, nil
		}
		return lines, users
	}
}

// users looks for the names of users that a filter captures in lines.
func (t *teller) users(of *filter.Filter, def filter.Definition, deps *Deps, lines []string, now time.Time, journal bool) (users []string, ok bool) {
	ok = t.each(of, def, deps, lines, now, journal, func(f *filter.Failure) bool {
		for name := range f.Groups {
			if text, is := f.Groups.Text(name); is && (name == "user" || strings.HasPrefix(name, "alt_user")) {
				users = append(users, strings.Clone(text))
			}
		}
		users = append(users, f.Users...)
		return true
	})
	return users, ok
}
