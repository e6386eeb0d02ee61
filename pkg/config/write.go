package config

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/action"
	"bailiff/pkg/filter"
)

// Export writes a configuration of fail2ban's that was loaded as one of ours: the
// files by their names, and what could not be carried. Jails that can't start
// are left out, and told.
func Export(c *Config) (files map[string]string, notes []string) {
	e := &exporter{files: map[string]string{}, filters: map[string]string{}}
	e.main(c)
	for _, j := range c.Jails {
		if err := j.Broken(); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				e.note("jail %s is left out: %s", j.Name, line)
			}
			continue
		}
		e.jail(j)
	}
	return e.files, e.notes
}

type exporter struct {
	files   map[string]string
	filters map[string]string // text by name, as written
	notes   []string
}

func (e *exporter) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// tomlFile is a file at work.
type tomlFile struct{ strings.Builder }

func (f *tomlFile) comment(format string, args ...any) {
	fmt.Fprintf(f, "# %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

func (f *tomlFile) set(key string, value any) {
	switch v := value.(type) {
	case string:
		fmt.Fprintf(f, "%s = %s\n", key, TOMLString(v))
	case []string:
		if len(v) == 1 {
			fmt.Fprintf(f, "%s = %s\n", key, TOMLString(v[0]))
			return
		}
		fmt.Fprintf(f, "%s = [\n", key)
		for _, s := range v {
			fmt.Fprintf(f, "  %s,\n", TOMLString(s))
		}
		fmt.Fprint(f, "]\n")
	default:
		fmt.Fprintf(f, "%s = %v\n", key, v)
	}
}

// TOMLString quotes a string: as it stands where that is possible.
func TOMLString(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == '\'' || r < ' ' && r != '\t' || r == 0x7f || r == 0xfffd }) < 0 {
		if !strings.ContainsAny(s, `"\`) {
			return `"` + strings.ReplaceAll(s, "\t", `\t`) + `"`
		}
		return "'" + s + "'"
	}
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(map[string]string{"x": s}); err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimPrefix(strings.TrimSpace(b.String()), "x = ")
}

func (e *exporter) main(c *Config) {
	f := &tomlFile{}
	if c.Fail2ban != nil {
		f.comment("Imported from %s", c.Fail2ban.Dir)
	}
	for _, s := range c.Settings {
		switch {
		case s.Name == "loglevel" && s.Value != "INFO":
			f.set(s.Name, s.Value)
		case s.Name == "logtarget" && c.Log.Target != "stderr":
			f.set(s.Name, c.Log.Target)
		case s.Name == "socket" && !slices.Contains(usualSockets, s.Value):
			f.set(s.Name, s.Value)
		}
	}
	if len(c.Environment) > 0 {
		f.set("environment", c.Environment)
	}
	e.database(c, f)
	e.files["bailiff.toml"] = f.String()
}

// usualSockets are where fail2ban listens unless told otherwise: ours is where ours are.
var usualSockets = []string{"/var/run/fail2ban/fail2ban.sock", "/run/fail2ban/fail2ban.sock"}

var usualPidFiles = []string{"/var/run/fail2ban/fail2ban.pid", "/run/fail2ban/fail2ban.pid"}

// usualDatabase is fail2ban's own.
const usualDatabase = "/var/lib/fail2ban/fail2ban.sqlite3"

// database writes what is configured of it, and how its bans are taken over.
func (e *exporter) database(c *Config, f *tomlFile) {
	t := &tomlFile{}
	for _, s := range c.Settings {
		switch {
		case s.Name == "dbfile" && s.Value == usualDatabase:
			f.comment("The bans of %s are known from the first start on if it is copied to %s before that.", s.Value, DefaultDatabase())
		case s.Name == "dbfile" && s.Value != "":
			t.set("path", s.Value)
		case s.Name == "dbpurgeage" && c.Database.PurgeAge != 24*time.Hour:
			t.set("purgeage", s.Value)
		case s.Name == "dbmaxmatches" && c.Database.MaxMatches != 10:
			t.set("maxmatches", c.Database.MaxMatches)
		case s.Name == "pidfile" && !slices.Contains(usualPidFiles, s.Value) && s.Value != "":
			e.note("pidfile = %s is not carried: bailiff run --pid-file names it", s.Value)
		case s.Name == "syslogsocket" && s.Value != "auto" && s.Value != "":
			e.note("syslogsocket = %s is not carried: syslog is written to its usual socket", s.Value)
		}
	}
	if t.Len() > 0 {
		fmt.Fprintf(f, "\n[database]\n%s", t)
	}
}

// carried are the options of a jail that Export writes, or that mean nothing here.
var carried = []string{
	"enabled", "filter", "logpath", "maxretry", "findtime", "bantime", "ignoreip", "ignoreself", "ignorecommand", "ignorecache",
	"usedns", "logencoding", "logtimezone", "action", "failregex", "ignoreregex", "prefregex", "datepattern", "maxlines", "backend", "mode", "logtype",
	"bantime.increment", "bantime.factor", "bantime.formula", "bantime.multipliers", "bantime.maxtime", "bantime.rndtime", "bantime.overalljails",
	"journalmatch", "maxmatches", "ban.prefix4", "ban.prefix6", "ban.aggregate", "ignoressh", "transport",
}

func (e *exporter) jail(j *Jail) {
	f := &tomlFile{}
	f.comment("Imported from %s", strings.Join(unique(settingFiles(j.Settings)), ", "))
	f.set("enabled", !j.Disabled)
	f.set("filter", e.filter(j))
	get := func(name string) string {
		for _, s := range j.Settings {
			if s.Name == name {
				return s.Value
			}
		}
		return ""
	}
	switch {
	case j.Rule.AnyProtocol && len(j.Rule.Ports) > 0: // "th dport": those that have a port there
		f.set("port", portText(j))
		f.set("protocol", []string{"tcp", "udp", "sctp", "dccp", "udplite"})
	case len(j.Rule.Protocols) == 0:
		f.set("port", "all")
		f.set("protocol", "all")
	default:
		f.set("port", portText(j))
		f.set("protocol", j.Rule.Protocols)
	}
	if j.Rule.Drop {
		f.set("blocktype", "drop")
	}
	for i, with := range j.Rule.Reject {
		if with == "drop" {
			e.note("jail %s: drop is not carried for %s alone: reject is written", j.Name, []string{"IPv4", "IPv6"}[i])
		} else if with != "" && !j.Rule.Drop {
			e.note("jail %s: reject with %s is not carried for %s: reject is written", j.Name, with, []string{"IPv4", "IPv6"}[i])
		}
	}
	if j.Rule.NewOnly {
		e.note("jail %s: --state NEW is not carried: open connections are shut out, too", j.Name)
	}
	if j.Rule.Count {
		e.note("jail %s: counter is not carried", j.Name)
	}
	var logs []string
	for _, g := range j.LogPath {
		switch {
		case slices.Contains(j.LogTail, g):
			g += " tail"
		case slices.Contains(j.LogFIFO, g):
			g += " fifo"
		}
		logs = append(logs, g)
	}
	switch {
	case j.Journal != nil:
		f.set("backend", get("backend"))
		var lines []string
		for _, m := range j.Journal.Matches {
			lines = append(lines, journalLine(m))
		}
		f.set("journalmatch", lines)
	case j.Polling:
		f.set("backend", "polling")
	}
	if len(logs) > 0 {
		f.set("logpath", logs)
	}
	f.set("maxretry", j.MaxRetry)
	for _, key := range []string{"findtime", "bantime"} {
		if v := get(key); v != "" {
			f.set(key, v)
		}
	}
	if j.MaxMatches != j.MaxRetry {
		f.set("maxmatches", j.MaxMatches)
	}
	if i := j.Increase; i != nil {
		f.set(`"bantime.increment"`, true)
		for _, key := range IncreaseKeys[1:] {
			v := get(key)
			switch {
			case v == "":
			case key == "bantime.overalljails":
				f.set(`"`+key+`"`, i.OverallJails)
			default:
				f.set(`"`+key+`"`, v)
			}
		}
	}
	if j.Networks.Prefix4 != 32 {
		f.set("ban.prefix4", j.Networks.Prefix4)
	}
	if j.Networks.Prefix6 != 64 {
		f.set("ban.prefix6", j.Networks.Prefix6)
	}
	if j.Networks.Aggregate > 0 {
		f.set("ban.aggregate", j.Networks.Aggregate)
	}
	if j.Ignore.SSH {
		f.set("ignoressh", true)
	}
	var ignore []string
	for _, p := range j.Ignore.Prefixes {
		if p.IsSingleIP() {
			ignore = append(ignore, p.Addr().String())
		} else {
			ignore = append(ignore, p.String())
		}
	}
	for _, path := range j.Ignore.Files {
		ignore = append(ignore, "file:"+path)
	}
	if ignore = append(ignore, j.Ignore.Names...); len(ignore) > 0 {
		f.set("ignoreip", ignore)
	}
	if !j.Ignore.Self {
		f.set("ignoreself", false)
	}
	if j.Filter.UseDNS != "" && j.Filter.UseDNS != filter.DNSWarn {
		f.set("usedns", string(j.Filter.UseDNS))
	}
	for _, key := range []string{"ignorecommand", "ignorecache", "logencoding", "logtimezone", "transport"} {
		if v := get(key); v != "" && !(key == "logencoding" && v == "auto") {
			f.set(key, v)
		}
	}
	for i := range j.Actions {
		if !isFirewallAction(j.Actions[i].Name) {
			e.action(f, j, &j.Actions[i])
		}
	}
	e.files[path.Join("jails", j.Name+".toml")] = f.String()
	for _, s := range j.Settings {
		if s.Value != "" && !slices.Contains(carried, s.Name) {
			e.note("jail %s: %s = %s is not carried", j.Name, s.Name, strings.ReplaceAll(s.Value, "\n", " "))
		}
	}
	for _, w := range j.Warnings {
		e.note("%v", w)
	}
}

// actionKeys are the properties of an action that have a key of their own.
var actionKeys = map[string]string{
	"actionstart": "start", "actionstop": "stop", "actioncheck": "check", "actionrepair": "repair",
	"actionban": "ban", "actionunban": "unban", "actionflush": "flush", "timeout": "timeout",
}

// action writes an action that runs commands, where ours can say all of it.
func (e *exporter) action(f *tomlFile, j *Jail, a *action.Definition) {
	why := ""
	switch {
	case a.Mail != nil:
		why = "it sends mail without a command"
	case !jailName.MatchString(a.Name):
		why = "its name"
	}
	keys, params := &tomlFile{}, &tomlFile{}
	runs := false
	for _, n := range a.Properties.Names {
		v := a.Properties.Values[n]
		key, own := actionKeys[n]
		switch {
		case n == "name" || n == "actname" || v == "" && own:
		case own:
			keys.set(key, v)
			runs = runs || key == "ban" || key == "unban"
		case n == "norestored":
			keys.set(n, Truth(v))
		case strings.HasPrefix(n, "action") || strings.Contains(n, "?"):
			if v != "" {
				why = n
			}
		default:
			params.set(TOMLString(n), v)
		}
	}
	if why == "" && !runs {
		why = "it bans and unbans nothing"
	}
	if why != "" {
		e.note("jail %s: action %s is not carried: %s", j.Name, a.Name, why)
		return
	}
	fmt.Fprintf(f, "\n[action.%s]\n%s", TOMLString(a.Name), keys.String())
	if params.Len() > 0 {
		fmt.Fprintf(f, "[action.%s.param]\n%s", TOMLString(a.Name), params.String())
	}
}

// journalLine writes a list of matches so that it is read as the same.
func journalLine(match []string) string {
	var out []string
	for _, m := range match {
		if strings.ContainsAny(m, " \t'\"\\") {
			m = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m) + `"`
		}
		out = append(out, m)
	}
	return strings.Join(out, " ")
}

func settingFiles(list []Setting) []string {
	var out []string
	for _, s := range list {
		if s.File != "" {
			out = append(out, s.File)
		}
	}
	return out
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func portText(j *Jail) string {
	if len(j.Rule.Ports) == 0 {
		return "all"
	}
	var out []string
	for _, p := range j.Rule.Ports {
		if p.First == p.Last {
			out = append(out, strconv.Itoa(int(p.First)))
		} else {
			out = append(out, fmt.Sprintf("%d:%d", p.First, p.Last))
		}
	}
	return strings.Join(out, ",")
}

// filter writes the jail's filter and returns its name. Jails that use one filter
// in the same way share a file.
func (e *exporter) filter(j *Jail) string {
	f := &tomlFile{}
	from := []string{}
	for _, p := range j.Parts {
		if p.Kind == "filter" {
			from = settingFiles(p.Settings)
		}
	}
	d := &j.Filter
	if len(from) > 0 {
		f.comment("Imported from %s", strings.Join(unique(from), ", "))
	}
	if d.Prefregex.Text != "" {
		f.set("prefregex", d.Prefregex.Text)
	}
	texts := func(list []filter.Expr) []string {
		var out []string
		for _, x := range list {
			out = append(out, x.Text)
		}
		return out
	}
	f.set("failregex", texts(d.Failregex))
	if len(d.Ignoreregex) > 0 {
		f.set("ignoreregex", texts(d.Ignoreregex))
	}
	if len(d.DatePattern) > 0 {
		f.set("datepattern", d.DatePattern)
	}
	if d.MaxLines > 1 {
		f.set("maxlines", d.MaxLines)
	}
	name := d.Name
	if !jailName.MatchString(name) {
		name = j.Name
	}
	if text, ok := e.filters[name]; ok && text != f.String() {
		name = j.Name
		if text, ok := e.filters[name]; ok && text != f.String() {
			name = j.Name + "-filter"
		}
	}
	e.filters[name] = f.String()
	e.files[path.Join("filters", name+".toml")] = f.String()
	return name
}
