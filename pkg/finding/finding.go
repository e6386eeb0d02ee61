// Package finding is what a look at this host has found: findings, their levels, and the report
// that holds them. [bailiff/pkg/doctor] makes one, `bailiff doctor` prints it, the API answers
// with it, and the page shows it; so it stands below all of those.
//
//	for _, f := range report.Findings {
//		if f.Level.Wrong() {
//			fmt.Println(f) // the likeliest cause comes first
//		}
//	}
package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Level says how a link is.
type Level uint8

// The levels. The first three are exit codes of `bailiff doctor`.
const (
	OK       Level = iota
	Doubtful       // it may be meant so, or is about to be wrong
	Broken         // nobody, or not everybody, is banned who should be
	Unlooked       // nobody has looked, or who looks can't see it: neither of the others
)

var levelNames = [...]string{"ok", "doubtful", "broken", "not looked at"}

func (l Level) String() string { return levelNames[min(int(l), len(levelNames)-1)] }

// MarshalText is the level in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads one.
func (l *Level) UnmarshalText(text []byte) error {
	at := slices.Index(levelNames[:], string(text))
	if at < 0 {
		return fmt.Errorf("level %.40q: want %s", text, strings.Join(levelNames[:], ", "))
	}
	*l = Level(at)
	return nil
}

// Wrong reports whether there is something to do about it.
func (l Level) Wrong() bool { return l == Doubtful || l == Broken }

// rank is the place in the order of what matters, the least first.
func (l Level) rank() int {
	return map[Level]int{OK: 0, Unlooked: 1, Doubtful: 2, Broken: 3}[l]
}

// Links of the chain, in the order in which one depends on those before.
const (
	LinkConfiguration = "configuration"
	LinkLog           = "log"
	LinkLines         = "lines"
	LinkWho           = "who"
	LinkSums          = "sums"
	LinkBan           = "ban"
)

// Links are all of them, in that order.
var Links = []string{LinkConfiguration, LinkLog, LinkLines, LinkWho, LinkSums, LinkBan}

// NoDaemon is the symptom that no daemon answers.
const NoDaemon = "no-daemon"

// Finding is what was found of one link, of a jail or of the host.
type Finding struct {
	Jail string `json:"jail,omitempty"` // empty: it is of no jail alone
	Link string `json:"link"`
	// Symptom is the word for it of docs/doctor.md; empty: there is nothing to tell.
	Symptom string `json:"symptom,omitempty"`
	Level   Level  `json:"level"`
	// Cause is what is so, in a sentence.
	Cause string `json:"cause"`
	// Seen is what that was concluded from: files, lines, counts.
	Seen []string `json:"seen,omitempty"`
	// Remedy is what to do; empty: nothing.
	Remedy string `json:"remedy,omitempty"`

	// Told: `bailiff check` says it by other means.
	Told bool `json:"-"`
}

// String is the finding in a line, as a warning has it.
func (f Finding) String() string {
	text := f.Cause
	if len(f.Seen) > 0 {
		text += " (" + f.Seen[0] + ")"
	}
	if f.Remedy != "" {
		text += ": " + strings.ReplaceAll(f.Remedy, "\n", "; ")
	}
	if f.Jail != "" {
		text = "jail " + f.Jail + ": " + text
	}
	return text
}

// Report is what was found.
type Report struct {
	// Level is the worst one of what was looked at.
	Level Level `json:"level"`
	// Daemon says what the daemon answered, or why it couldn't be asked.
	Daemon string   `json:"daemon"`
	Jails  []string `json:"jails"` // that were looked at
	// Findings are all of them: what is broken first, then what is doubtful, then what nobody has
	// looked at, then what is in order; and in the order of the links, so that the first one is
	// the cause.
	Findings []Finding `json:"findings"`
}

// Sort puts the findings in their order, and says which level is the worst.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(b.Level.rank()-a.Level.rank(), place(a)-place(b), cmp.Compare(a.Jail, b.Jail))
	})
	r.Level = OK
	if len(r.Findings) > 0 && r.Findings[0].Level.Wrong() {
		r.Level = r.Findings[0].Level
	}
}

// place is that of a finding among those of its level: the link's. That no daemon runs comes
// last: what else is wrong would be with one.
func place(f Finding) int {
	if f.Symptom == NoDaemon {
		return len(Links)
	}
	return slices.Index(Links, f.Link)
}

// Others are what findings are of that were not looked at as jails: the host (""), and jails
// that aren't enabled.
func (r *Report) Others() (out []string) {
	for _, f := range r.Findings {
		if !slices.Contains(r.Jails, f.Jail) && !slices.Contains(out, f.Jail) {
			out = append(out, f.Jail)
		}
	}
	slices.Sort(out)
	return out
}

// Of is how one link of a jail is, in a word; "-": nothing was looked at.
func (r *Report) Of(jail, link string) string {
	word, worst := "-", OK
	for _, f := range r.Findings {
		if f.Jail != jail || f.Link != link || f.Level == Unlooked {
			continue
		}
		worst = max(worst, f.Level)
		word = worst.String()
	}
	return word
}
