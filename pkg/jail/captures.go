package jail

import (
	"strings"
	"sync"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
)

// What a filter captures is kept with each ban of fail2ban's jails, as fail2ban keeps it:
// an action may be told of it that comes only after a reload, or of another daemon. Where
// no action wants it as the lines come, it is found in the lines that led to a ban when that
// is written, by who writes it.

// captures returns what the filter captured with an address's first failure, by name; where
// that is not known yet, what finds it: not by the jail's goroutine, which has lines to read.
func (j *Jail) captures(id ban.ID) (groups map[string]string, find func() map[string]string) {
	if groups = j.kept.groups(id); groups != nil || !j.Config.Fail2ban {
		return groups, nil
	}
	lines := j.kept.lines(id)
	if len(lines) == 0 {
		return nil, nil
	}
	t, of, def, deps, now, journal := &j.teller, j.filter, j.Config.Filter, j.deps, j.read.Wall, j.Config.Journal != nil || j.Config.Syslog != nil
	return nil, sync.OnceValue(func() map[string]string { return t.find(of, def, &deps, lines, now, journal) })
}

// teller is a filter that tells everything of lines that it is shown again.
type teller struct {
	mu         sync.Mutex
	of, filter *filter.Filter
}

// find looks for what a filter captures in lines.
func (t *teller) find(of *filter.Filter, def filter.Definition, deps *Deps, lines []string, now time.Time, journal bool) (groups map[string]string) {
	t.each(of, def, deps, lines, now, journal, func(f *filter.Failure) bool {
		groups = groupTexts(f)
		return false
	})
	return groups
}

// each shows the filter lines again, and hands over the first failure of each, until more says
// that it was the last. ok: the filter could be asked.
func (t *teller) each(of *filter.Filter, def filter.Definition, deps *Deps, lines []string, now time.Time, journal bool, more func(*filter.Failure) bool) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != of {
		f, err := compile(def, deps) // the expressions are compiled already
		if err != nil {
			return false
		}
		f.Detail, f.RawHosts = filter.DetailAll, true
		t.of, t.filter = of, f
	}
	t.filter.Forget()
	for _, l := range lines {
		var r filter.Result
		if journal {
			date, text, _ := strings.Cut(l, " ")
			r = t.filter.MatchAt(date+" ", []byte(text), now)
		} else {
			r = t.filter.Match([]byte(l), now)
		}
		if len(r.Failures) > 0 && !more(&r.Failures[0]) {
			break
		}
	}
	return true
}

// groupTexts is what a failure's groups hold, and who was tried on its connection, as texts
// to be kept.
func groupTexts(f *filter.Failure) map[string]string {
	out := map[string]string{}
	for name := range f.Groups {
		if text, ok := f.Groups.Text(name); ok {
			out[name] = strings.Clone(action.Cut(text, lineMost))
		}
	}
	if f.IP.IsValid() { // as fail2ban keeps it
		out["ip"] = f.IP.String()
	}
	if len(f.Users) > 0 {
		quoted := make([]string, len(f.Users))
		for i, u := range f.Users {
			quoted[i] = eventlog.Quote(u)
		}
		out["users"] = action.Cut("["+strings.Join(quoted, ", ")+"]", lineMost)
	}
	return out
}
