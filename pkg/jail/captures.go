package jail

import (
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
)

// What a filter captures is kept with each ban of fail2ban's jails, as fail2ban keeps it:
// an action may be told of it that comes only after a reload, or of another daemon. Where
// no action wants it as the lines come, it is found at the ban, in the lines that led to
// it: that costs the bans something, and the lines nothing.

// captures returns what the filter captured with an address's first failure, by name.
func (j *Jail) captures(id ban.ID) map[string]string {
	if groups := j.kept.groups(id); groups != nil || !j.Config.Fail2ban {
		return groups
	}
	return j.captured(j.kept.lines(id))
}

// captured looks for it in lines.
func (j *Jail) captured(lines []string) map[string]string {
	if len(lines) == 0 {
		return nil
	}
	if j.teller.of != j.filter {
		f, err := compile(j.Config.Filter, &j.deps) // the expressions are compiled already
		if err != nil {
			return nil
		}
		f.Detail, f.RawHosts = filter.DetailAll, true
		j.teller.of, j.teller.filter = j.filter, f
	}
	f := j.teller.filter
	f.Forget()
	for _, l := range lines {
		var r filter.Result
		if j.Config.Journal != nil {
			date, text, _ := strings.Cut(l, " ")
			r = f.MatchAt(date+" ", []byte(text), j.read.Wall)
		} else {
			r = f.Match([]byte(l), j.read.Wall)
		}
		if len(r.Failures) > 0 {
			return groupTexts(&r.Failures[0])
		}
	}
	return nil
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

// teller is a filter that tells everything of lines that it is shown again.
type teller struct{ of, filter *filter.Filter }
