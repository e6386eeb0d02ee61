package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/firewall"
	"bailiff/pkg/lazyregexp"
)

// What bailiff.toml says of the daemon.

var logLevels = []string{"CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACEDEBUG", "HEAVYDEBUG"}

// main reads bailiff.toml. The error is for a file of which nothing can be read.
func (l *loader) main(file string, data []byte) error {
	doc, err := parseDocument(file, data)
	if err != nil {
		return err
	}
	var raw rawMain
	wrong := map[string]bool{} // what has a mistake: a key, or a table
	unclear := false
	fail := func(format string, args ...any) func(path ...string) {
		return func(path ...string) {
			wrong[path[0]] = true
			l.complain(l.stays(&Error{file, doc.line(path...), fmt.Sprintf(format, args...)}))
		}
	}
	for _, m := range doc.decode(&raw) {
		switch doc.get(m.key...).(type) {
		case map[string]any, []map[string]any:
			if m.unknown && len(m.key) == 1 {
				l.doubt(m.err) // it may mean jail or default
				continue
			}
		default:
			if m.unknown && len(m.key) == 1 && ofJails(m.key[0]) {
				m.err.Msg += ": it belongs to [default] or to [jail.NAME]"
			}
		}
		wrong[m.key[0]] = true
		unclear = unclear || m.unknown // which key was meant?
		l.complain(l.stays(m.err))
	}
	if raw.LogLevel != "" {
		if level, err := ParseLogLevel(raw.LogLevel); err != nil {
			fail("%v", err)("loglevel")
		} else {
			l.cfg.Log.Level = level
		}
	}
	if raw.LogTarget != "" {
		target, err := ParseLogTarget(raw.LogTarget)
		if err != nil {
			fail("%v", err)("logtarget")
		}
		l.cfg.Log.Target = cmp.Or(target, l.cfg.Log.Target)
	}
	l.cfg.Socket = cmp.Or(raw.Socket, l.cfg.Socket)
	for _, v := range raw.Environment {
		if err := action.CheckVariable(v); err != nil {
			fail("%v", err)("environment")
			continue
		}
		l.cfg.Environment = append(l.cfg.Environment, v)
	}
	l.cfg.places = doc.places("check", "docker", "fleet", "proxy", "read", "syslog", "web")
	l.database(raw.Database, fail)
	l.cfg.ReadSocket, l.cfg.ReadGroup = raw.Read.Socket, raw.Read.Group
	if (raw.Read.Socket == "") != (raw.Read.Group == "") {
		fail("[read] needs both: socket, a path, and group, who may ask there")("read")
		l.cfg.ReadSocket = ""
	}
	l.firewall(doc, raw.Firewall, fail)
	if was := l.was; was != nil && was.NoFirewall != l.cfg.NoFirewall {
		// Half of it would be jails that ban nobody.
		l.complain(&Error{file, doc.line("firewall", "enabled"), fmt.Sprintf("[firewall] enabled = %v needs a restart; it stays as it was", !l.cfg.NoFirewall)})
		l.cfg.NoFirewall = was.NoFirewall
	}
	l.check(doc, raw.Check, fail)
	l.web(doc, raw.Web, fail)
	l.fleet(doc, raw.Fleet, fail)
	l.exports(doc, raw.Export)
	l.reports(doc, raw.Report)
	l.cfg.Security.FixedActions = raw.Security.FixedActions == nil || *raw.Security.FixedActions
	l.cfg.Security.User = raw.Security.User
	l.cfg.Security.Unconfined = raw.Security.Confine != nil && !*raw.Security.Confine
	l.docker(raw.Docker, fail)
	l.syslogSettings(raw.Syslog, fail)
	if raw.Proxy.Trusted != nil {
		proxies, err := parseProxies(*raw.Proxy.Trusted)
		l.cfg.Proxies = proxies
		if err != nil {
			l.complain(&Error{file, doc.line("proxy", "trusted"), err.Error() + ": left out, the others hold"})
		}
		if err := wide("proxy.trusted", proxies.Prefixes); err != nil {
			l.cfg.Warnings = append(l.cfg.Warnings, &Error{file, doc.line("proxy", "trusted"), err.Error()})
		}
	}
	if unclear {
		for _, key := range serverKeys {
			wrong[key] = true
		}
	}
	for _, key := range []string{"export", "report"} {
		if _, isTable := doc.get(key).(map[string]any); isTable && !unclear {
			delete(wrong, key) // each was judged by itself
		}
	}
	l.keep(wrong)
	for _, s := range []struct{ key, given, holds string }{
		{"loglevel", raw.LogLevel, l.cfg.Log.Level}, {"logtarget", raw.LogTarget, l.cfg.Log.Target}, {"socket", raw.Socket, l.cfg.Socket},
	} {
		set := Setting{Name: s.key, Value: s.holds}
		if s.given != "" {
			set.File, set.Line = file, doc.line(s.key)
		}
		l.cfg.Settings = append(l.cfg.Settings, set)
	}
	err = l.mainJails(doc)
	l.fleetEnds(doc)
	return err
}

// mainJails reads [default] and [jail.NAME], in the order of the file.
func (l *loader) mainJails(doc *document) error {
	l.defaults = &layer{file: doc.file, doc: doc, table: []string{"default"}}
	for _, key := range []string{"default", "jail"} {
		if v := doc.get(key); v != nil {
			if _, ok := v.(map[string]any); !ok {
				l.doubt(&Error{doc.file, doc.line(key), fmt.Sprintf("%s: want a table, not %s", key, described(v))})
			}
		}
	}
	l.defaults.mistakes = doc.decode(&l.defaults.raw, "default")
	for _, m := range l.defaults.mistakes {
		if len(m.key) > 0 { // else it is told
			l.complain(m.err)
		}
	}
	jails, _ := doc.get("jail").(map[string]any)
	for _, name := range doc.inOrder([]string{"jail"}, jails) {
		of := layer{file: doc.file, doc: doc, table: []string{"jail", name}}
		of.mistakes = doc.decode(&of.raw, "jail", name)
		j := l.jail(name)
		j.layers = append(j.layers, of)
	}
	return nil
}

// stays adds to a mistake what it leads to in a running daemon.
func (l *loader) stays(err *Error) *Error {
	if l.was != nil {
		err.Msg += "; it stays as it was"
	}
	return err
}

// serverKeys are those of bailiff.toml that are not of jails.
var serverKeys = []string{"loglevel", "logtarget", "socket", "environment", "read", "database", "firewall", "export", "report", "check", "web", "fleet", "proxy", "security", "docker", "syslog"}

// keep has what is wrong stay as it was, where a daemon runs.
func (l *loader) keep(wrong map[string]bool) {
	if l.was == nil {
		return
	}
	for _, key := range sortedKeys(wrong) {
		switch c, was := l.cfg, l.was; key {
		case "proxy":
			c.Proxies = was.Proxies
		case "loglevel":
			c.Log.Level = was.Log.Level
		case "logtarget":
			c.Log.Target = was.Log.Target
		case "socket":
			c.Socket = was.Socket
		case "environment":
			c.Environment = was.Environment
		case "read":
			c.ReadSocket, c.ReadGroup = was.ReadSocket, was.ReadGroup
		case "database":
			c.Database = was.Database
		case "firewall":
			c.Firewall, c.NoFirewall, c.RemoveForeign, c.Translate = was.Firewall, was.NoFirewall, was.RemoveForeign, was.Translate
		case "security":
			c.Security = was.Security
		case "check":
			c.Check = was.Check
		case "web":
			c.Web = was.Web
		case "fleet":
			c.Fleet = was.Fleet
		case "docker":
			c.Docker = was.Docker
		case "syslog":
			c.Syslog = was.Syslog
		case "export":
			c.Exports, c.HTTPExports = was.Exports, was.HTTPExports
		case "report":
			c.Reports = was.Reports
		}
	}
}

// hookNames are the places where a chain can be attached.
var hookNames = []string{"input", "forward", "prerouting"}

// nftName is what nft takes for a table or a chain: with another one in it, nobody could
// restore a saved ruleset of this host.
var nftName = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_./-]{0,99}$`)

func (l *loader) firewall(doc *document, raw rawFirewall, fail func(string, ...any) func(...string)) {
	l.cfg.NoFirewall = raw.Enabled != nil && !*raw.Enabled
	if l.cfg.Translate = raw.Translate; raw.Translate {
		l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, doc.line("firewall", "translate"), "translate is for configurations of fail2ban's (fail2ban.local), and has no effect here: the bans of these jails are in nftables' sets as it is"})
	}
	switch raw.Foreign {
	case "", "adopt":
	case "remove":
		l.cfg.RemoveForeign = true
	default:
		fail("foreign %q: want adopt or remove", raw.Foreign)("firewall", "foreign")
	}
	fw := &l.cfg.Firewall
	for _, name := range []struct {
		key, value string
		to         *string
	}{{"table", raw.Table, &fw.Table}, {"chain", raw.Chain, &fw.Chain}} {
		if name.value != "" && !nftName.MatchString(name.value) {
			fail("%s %.80q: nft could not read that name back from its own listing: want a letter, then letters, digits, and _ . / -", name.key, name.value)("firewall", name.key)
			continue
		}
		*name.to = name.value
	}
	var priority *int
	switch p := raw.Priority; {
	case p == nil:
	case *p < math.MinInt32 || *p > math.MaxInt32:
		fail("priority %d: want a number of 32 bits", *p)("firewall", "priority")
	default:
		priority = p
	}
	hooks := raw.Hook
	if len(hooks) == 0 {
		hooks = stringList{"prerouting"}
	}
	for _, h := range hooks {
		if !slices.Contains(hookNames, h) {
			fail("hook %q: want input, forward or prerouting", h)("firewall", "hook")
			continue
		}
		at := firewall.DefaultPriority(h)
		if priority != nil {
			at = *priority
		}
		fw.Hooks = append(fw.Hooks, firewall.Hook{Name: h, Priority: at})
	}
}

func (l *loader) database(raw rawDatabase, fail func(string, ...any) func(...string)) {
	db := &l.cfg.Database
	if raw.Path != nil {
		db.Path = DatabasePath(*raw.Path)
	}
	if raw.PurgeAge != nil {
		age, err := ParseTime(string(*raw.PurgeAge))
		if err != nil || age < 0 {
			fail("purgeage %q: want a time", *raw.PurgeAge)("database", "purgeage")
		} else {
			db.PurgeAge = age
		}
	}
	if raw.MaxMatches != nil {
		if *raw.MaxMatches < 0 {
			fail("maxmatches %d: want 0 or more", *raw.MaxMatches)("database", "maxmatches")
		} else {
			db.MaxMatches = *raw.MaxMatches
		}
	}
	if raw.Events != nil {
		if n := *raw.Events; n < 0 || n > eventsMost {
			fail("events %d: want MiB, 0 to %d", n, eventsMost)("database", "events")
		} else {
			db.Events = int64(n) << 20
		}
	}
}

// eventsMost is how many MiB of events can be kept.
const eventsMost = 64 << 10

// ParseLogLevel reads one of fail2ban's levels, in any case.
func ParseLogLevel(s string) (string, error) {
	level := strings.ToUpper(s)
	if n, err := strconv.Atoi(level); err == nil && n >= 0 && level[0] != '+' {
		return level, nil // as Python has it: what is as grave as that
	}
	if !slices.Contains(logLevels, level) {
		return "", fmt.Errorf("log level %q: want %s", s, strings.Join(logLevels, ", "))
	}
	return level, nil
}

// CheckStackSize says what is wrong with the stacksize of fail2ban's [Thread], which is of
// Python's threads and has no effect here.
func CheckStackSize(text string) error {
	if n, err := strconv.Atoi(strings.TrimSpace(text)); err != nil || n != 0 && n < 32 || n > 1<<40 {
		return fmt.Errorf("stacksize %q: want 0, or KiB from 32 on (fail2ban's threads have it; it has no effect here)", text)
	}
	return nil
}
