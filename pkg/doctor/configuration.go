package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
)

// The link that all others hang on: what the files say, and whether the daemon has it.

// configuration tells what is wrong with the configuration.
func (d *doctor) configuration(jails []*config.Jail) {
	told := map[string]bool{}
	var all []Finding
	say := func(f Finding) {
		told[f.Jail] = true
		f.Link = LinkConfiguration
		all = append(all, f)
	}
	d.asked(jails, say)
	for _, text := range d.Problems {
		if f, ok := d.fromCheck(text, Broken); ok {
			say(f)
		}
	}
	for _, text := range d.Warnings {
		if f, ok := d.fromCheck(text, Doubtful); ok {
			say(f)
		}
	}
	for i, j := range jails {
		for _, other := range jails[:i] {
			d.twice(other, j, say)
		}
	}
	d.running(jails, say)
	if len(told) == 0 {
		d.none(say)
	}
	for _, f := range causeFirst(all) {
		d.add(f)
	}
	for _, j := range jails {
		if !told[j.Name] {
			d.add(Finding{Jail: j.Name, Link: LinkConfiguration, Cause: fmt.Sprintf("no mistakes; %d failures within %s ban", j.MaxRetry, j.FindTime)})
		}
	}
}

var meantOption = lazyregexp.New(`did you mean "?([\w.]+)"?\?`)

// causeFirst puts an option that is written wrong before what it is missed by.
func causeFirst(all []Finding) []Finding {
	for i := range all {
		f := &all[i]
		m := meantOption.FindStringSubmatch(f.Cause)
		if f.Symptom != "conf-option" || m == nil {
			continue
		}
		if slices.ContainsFunc(all, func(g Finding) bool {
			return g.Jail == f.Jail && g.Level == Broken && g.Symptom == "configuration" && strings.Contains(g.Cause, "no "+m[1])
		}) {
			f.Level = Broken
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		generic := func(f Finding) int {
			if f.Symptom == "configuration" {
				return 1
			}
			return 0
		}
		return generic(a) - generic(b)
	})
	return all
}

// asked tells of jails that were asked for and aren't enabled.
func (d *doctor) asked(jails []*config.Jail, say func(Finding)) {
	for _, name := range d.Jails {
		if slices.ContainsFunc(jails, func(j *config.Jail) bool { return j.Name == name }) {
			continue
		}
		f := Finding{Jail: name, Symptom: "jail-off", Level: Broken, Cause: "it is not enabled"}
		f.Seen = []string{"enabled: " + strings.Join(names(d.cfg.Jails), ", ")}
		var known []string
		if t := d.cfg.Fail2ban; t != nil {
			for _, j := range t.Jails {
				known = append(known, j.Name)
			}
			f.Remedy = fmt.Sprintf("in %s/jail.local set\n[%s]\nenabled = true", t.Dir, name)
			if t.Jail != nil {
				if at := t.Jail.Places[name]; at.File != "" {
					f.Seen = append(f.Seen, fmt.Sprintf("%s:%d: [%s]", at.File, at.Line, name))
				}
			}
		} else {
			if all, err := config.Load(config.Options{Path: d.Config, All: true}); err == nil {
				for _, j := range all.Jails {
					known = append(known, j.Name)
				}
			}
			f.Remedy = fmt.Sprintf("in bailiff.toml set\n[jail.%s]\nenabled = true", name)
		}
		if !slices.Contains(known, name) {
			f.Symptom, f.Cause = "jail-unknown", "there is no such jail"
			if near := cmp.Or(nearest(name, names(d.cfg.Jails)), nearest(name, known)); near != "" {
				f.Cause += ": did you mean " + near + "?"
			}
			f.Remedy = "bailiff check lists those that are enabled"
		}
		say(f)
	}
}

// none tells that nothing is enabled at all.
func (d *doctor) none(say func(Finding)) {
	if len(d.cfg.Jails) > 0 || len(d.Jails) > 0 {
		return
	}
	f := Finding{Symptom: "no-jails", Level: Broken, Seen: []string{"bailiff check"}, Cause: "no jail is enabled", Remedy: "in bailiff.toml set\n[jail.sshd]\nenabled = true"}
	if t := d.cfg.Fail2ban; t != nil {
		f.Remedy = fmt.Sprintf("in %s/jail.local set\n[sshd]\nenabled = true", t.Dir)
	}
	say(f)
}

// checkText is what the configuration's check says of a jail: its name is in it.
var (
	jailFirst   = lazyregexp.New(`^jail ([\w.-]+): (?s)(.*)$`)
	halfSection = lazyregexp.New(`"[\[({<]?[\w.-]+[\])}>]?": want name = value`)
	ofJail      = lazyregexp.New(`(?:^|: )jail ([\w.-]+): `)
	ofTable     = lazyregexp.New(`(?:^|: )\[([\w.-]+)\] `)
	atFile      = lazyregexp.New(`^([^\s:]+:\d+): (?s)(.*)$`)
	ofLog       = lazyregexp.New(`(?:^|: )(?:jail \S+: )?log /`)
	offJail     = lazyregexp.New(`(?:: no such option: did you mean enabled\?|unknown key "jail\.[^"]*" \(did you mean "enabled"\?\))`)
	ofKey       = lazyregexp.New(`unknown key "jail\.([\w-]+)\.`)
	topKey      = lazyregexp.New(`unknown key "([\w-]+)"$`)
)

// fromCheck is what the configuration's check says, as a finding; not ok: another link tells
// of it, or it is of a jail that nobody asks about.
func (d *doctor) fromCheck(text string, level Level) (f Finding, ok bool) {
	f = Finding{Symptom: "configuration", Level: level, Cause: text, Remedy: "put that right, then: bailiff check && bailiff reload", Told: true}
	if m := jailFirst.FindStringSubmatch(text); m != nil {
		f.Jail, f.Cause = m[1], m[2]
		text = m[2]
	}
	if m := atFile.FindStringSubmatch(text); m != nil {
		f.Seen, f.Cause = []string{m[1]}, m[2]
	}
	if len(f.Seen) == 0 {
		f.Seen = []string{"bailiff check"}
	}
	if m := ofJail.FindStringSubmatch(text); m != nil {
		f.Jail = m[1]
		f.Cause = strings.Replace(f.Cause, "jail "+m[1]+": ", "", 1)
	} else if m := ofKey.FindStringSubmatch(text); m != nil {
		f.Jail = m[1]
	} else if m := ofTable.FindStringSubmatch(text); m != nil && m[1] != "DEFAULT" && (d.cfg.Fail2ban != nil || slices.ContainsFunc(d.cfg.Jails, func(j *config.Jail) bool { return j.Name == m[1] })) {
		f.Jail = m[1] // where it is no table of the daemon's own, as [database] is
	}
	if ofLog.MatchString(text) {
		return f, false
	}
	if len(d.Jails) > 0 && f.Jail != "" && !slices.Contains(d.Jails, f.Jail) {
		return f, false
	}
	switch {
	case strings.Contains(text, "this host passes on"):
		f.Link, f.Symptom, f.Level = LinkBan, "ban-published", Broken
		f.Cause, f.Remedy, _ = cutLast(text, ": ")
		d.add(f)
		return f, false
	case offJail.MatchString(text):
		f.Symptom, f.Level = "conf-enabled", Broken
		f.Remedy = "write enabled = true: until then the jail is off"
	case strings.Contains(text, "did you mean") && (strings.Contains(text, "option") || strings.Contains(text, "unknown key")):
		f.Symptom = "conf-option"
		f.Remedy = "write it as it is meant: so it has no effect"
	case strings.HasPrefix(f.Cause, "section ["):
		f.Symptom, f.Level = "conf-section", Broken
		f.Remedy = "write the section's name right"
	case strings.Contains(text, "want [section]") || halfSection.MatchString(text) || strings.Contains(text, ": section [") || strings.Contains(text, "stands before the first [section]"):
		f.Symptom, f.Level = "conf-section", Broken
		f.Remedy = "write the section's name in brackets"
	case topKey.MatchString(text) && d.cfg.Filters[topKey.FindStringSubmatch(text)[1]] != nil:
		f.Symptom, f.Remedy = "conf-section", "a jail's table is written [jail."+topKey.FindStringSubmatch(text)[1]+"]"
	case filterName.MatchString(text):
		f.Symptom = "filter-missing"
		f.Cause, _, _ = strings.Cut(f.Cause, " (did you mean")
		if near := d.nearFilter(text); near != "" {
			f.Cause += ": did you mean " + near + "?"
			f.Remedy = "filter = " + near
			if d.cfg.Fail2ban == nil {
				f.Remedy = "filter = " + config.TOMLString(near)
			}
		}
	case strings.Contains(text, "logpath is not read"):
		f.Symptom = "journal-beside-log"
	case strings.Contains(text, "nobody in it is ever banned"):
		f.Symptom, f.Remedy = "conf-ignore-wide", "take it out of ignoreip, or name the networks that are meant"
		if strings.Contains(text, "0.0.0.0/0") || strings.Contains(text, "::/0") {
			f.Symptom, f.Level = "conf-ignore-all", Broken
		}
	}
	return f, true
}

var filterName = lazyregexp.New(`(?:Unable to read the filter '|unknown filter ")([^'"]+)['"]`)

// nearFilter is a filter of fail2ban's directory whose name is nearly that of one that isn't
// there.
func (d *doctor) nearFilter(text string) string {
	m := filterName.FindStringSubmatch(text)
	var known []string
	if d.cfg.Fail2ban == nil {
		known = slices.Sorted(maps.Keys(d.cfg.Filters))
	} else {
		files, _ := filepath.Glob(filepath.Join(d.cfg.Fail2ban.Dir, "filter.d", "*.conf"))
		for _, f := range files {
			known = append(known, strings.TrimSuffix(filepath.Base(f), ".conf"))
		}
	}
	return nearest(strings.ToLower(m[1]), known)
}

// cutLast cuts a text at the last place of something.
func cutLast(text, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// twice tells of two jails that do the same with the same log.
func (d *doctor) twice(a, b *config.Jail, say func(Finding)) {
	if a.Broken() != nil || b.Broken() != nil || a.List != nil || b.List != nil || a.Journal != nil || b.Journal != nil {
		return
	}
	for _, log := range a.LogPath {
		if !slices.Contains(b.LogPath, log) || !sameFilter(&a.Filter, &b.Filter) {
			continue
		}
		f := Finding{
			Jail: b.Name, Symptom: "conf-same-log", Level: Doubtful, Cause: fmt.Sprintf("it reads %s with the same filter as jail %s: each failure counts in both", log, a.Name),
			Remedy: fmt.Sprintf("switch one of them off: enabled = false in [%s]", b.Name),
		}
		for _, j := range []*config.Jail{a, b} {
			if at := setting(j, "logpath"); at != "" {
				f.Seen = append(f.Seen, at+": logpath of "+j.Name)
			}
		}
		say(f)
		return
	}
}

// sameLines tells of jails that found the same failures in the same log, though they are
// configured otherwise.
func (d *doctor) sameLines(jails []*config.Jail) {
	for path, by := range d.shown {
		for i, a := range jails {
			for _, b := range jails[i+1:] {
				one, two := by[a.Name], by[b.Name]
				if len(one) == 0 || len(two) == 0 || slices.Contains(a.LogPath, path) && slices.Contains(b.LogPath, path) && sameFilter(&a.Filter, &b.Filter) {
					continue
				}
				both := 0
				for sum := range one {
					if two[sum] {
						both++
					}
				}
				if both < fewLines || both*2 < min(len(one), len(two)) {
					continue
				}
				d.add(Finding{
					Jail: b.Name, Link: LinkConfiguration, Symptom: "conf-same-log", Level: Doubtful, Cause: fmt.Sprintf("%d of its %d failures in %s are jail %s's, too: each counts in both", both, len(two), path, a.Name),
					Seen: []string{setting(a, "logpath") + ": logpath of " + a.Name, setting(b, "logpath") + ": logpath of " + b.Name}, Remedy: fmt.Sprintf("switch one of them off: enabled = false in [%s]", b.Name),
				})
			}
		}
	}
}

// sameFilter reports whether two filters look for the same.
func sameFilter(a, b *filter.Definition) bool {
	texts := func(d *filter.Definition) string {
		var out []string
		for _, x := range d.Failregex {
			out = append(out, x.Text)
		}
		return d.Prefregex.Text + "\n" + strings.Join(out, "\n")
	}
	if a.JSON != nil || b.JSON != nil {
		return a.JSON != nil && b.JSON != nil && a.Name == b.Name
	}
	return texts(a) == texts(b)
}

// running compares the configuration with what the daemon runs.
func (d *doctor) running(jails []*config.Jail, say func(Finding)) {
	if d.status == nil {
		return
	}
	for _, j := range jails {
		s, runs := d.state[j.Name]
		switch {
		case j.Broken() != nil:
		case !runs:
			f := Finding{Jail: j.Name, Symptom: "daemon-lacks-jail", Level: Broken, Cause: "the daemon doesn't run it", Seen: []string{"bailiff status"}, Remedy: "bailiff reload"}
			if d.status.Config != "" {
				f.Seen = append(f.Seen, "the daemon has read "+d.status.Config)
			}
			say(f)
		case s.Error != "":
			say(Finding{Jail: j.Name, Symptom: "daemon-jail-broken", Level: Broken, Cause: "the daemon can't run it: " + s.Error, Seen: []string{"bailiff status " + j.Name}, Remedy: "put that right, then: bailiff reload"})
		case !s.List && (s.MaxRetry != j.MaxRetry || s.FindTime != j.FindTime.Seconds()):
			say(Finding{Jail: j.Name, Symptom: "daemon-old", Level: Doubtful, Cause: fmt.Sprintf("the daemon has other settings: maxretry %d, findtime %s; the files say %d, %s", s.MaxRetry, time.Duration(s.FindTime*1e9), j.MaxRetry, j.FindTime), Seen: d.changedSince(), Remedy: "bailiff reload"})
		}
		for _, p := range s.Problems {
			if strings.HasPrefix(p, "action ") && strings.Contains(p, "failed") {
				d.add(Finding{Jail: j.Name, Link: LinkBan, Symptom: "ban-action", Level: Broken, Cause: p, Seen: []string{"bailiff status " + j.Name}, Remedy: "run its command by hand, as the daemon's user; its output is in the daemon's log"})
				continue
			}
			say(Finding{Jail: j.Name, Symptom: "daemon-problem", Level: Doubtful, Cause: p, Seen: []string{"bailiff status " + j.Name}, Remedy: "do what it says; the daemon's log shows since when it is so"})
		}
	}
	if d.status.DryRun {
		say(Finding{Symptom: "daemon-dry", Level: Broken, Cause: "the daemon runs with --dry-run: nothing is banned", Seen: []string{fmt.Sprintf("pid %d", d.status.PID)}, Remedy: "start it without"})
	}
}

// changedSince names files that were changed after the daemon started.
func (d *doctor) changedSince() (out []string) {
	for _, path := range d.cfg.Files() {
		if fi, err := os.Stat(path); err == nil && fi.ModTime().After(d.status.Started) && len(out) < 5 {
			out = append(out, fmt.Sprintf("%s was changed %s, the daemon started %s", path, wall(fi.ModTime()), wall(d.status.Started)))
		}
	}
	return out
}

func names(jails []*config.Jail) (out []string) {
	for _, j := range jails {
		out = append(out, j.Name)
	}
	return out
}

// nearest is the known name that differs by one or two letters; empty: none does.
func nearest(name string, known []string) (best string) {
	by := min(3, len(name)-1)
	for _, k := range known {
		d := fail2ban.Letters(name, k, 2)
		if k == fail2ban.Nearest(name, []string{k}) {
			d = 1
		}
		if d < by {
			best, by = k, d
		}
	}
	return best
}
