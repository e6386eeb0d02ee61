package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bailiff/pkg/action"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// tree reads a configuration directory of fail2ban's: its enabled jails, and
// what fail2ban.conf says about the log. Its socket and database are not ours.
func (l *loader) tree(dir string) error {
	t, err := fail2ban.ReadTree(dir)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	l.cfg.Errors = append(l.cfg.Errors, t.Errors...)
	l.unsure = append(l.unsure, t.Unread...)
	l.cfg.Needed = append(l.cfg.Needed, t.Needed()...)
	l.cfg.Warnings = append(l.cfg.Warnings, t.Misses()...)
	l.cfg.Fail2ban = t
	if t.Server != nil {
		l.treeServer(t.Server)
	}
	l.cfg.Firewall.Hooks = []firewall.Hook{{Name: "input", Priority: -1}}
	for _, j := range t.Jails {
		switch {
		case j.Enabled:
			l.cfg.Jails = append(l.cfg.Jails, l.treeJail(j))
		case l.all:
			resolved := l.treeJail(t.Resolve(j.Name))
			resolved.Disabled = true
			l.cfg.Jails = append(l.cfg.Jails, resolved)
		}
	}
	for i, j := range l.cfg.Jails { // what was not known to be several jails'
		if slices.ContainsFunc(j.chains, func(c string) bool { return len(l.chains[c]) > 1 }) {
			was := j.Disabled
			l.cfg.Jails[i] = l.treeJail(t.Resolve(j.Name))
			l.cfg.Jails[i].Disabled = was
		}
	}
	if l.was != nil && l.was.Fail2ban != nil {
		// A jail of which less can be read than before goes on as it was, where it was.
		for _, j := range l.cfg.Jails {
			if j.Broken() != nil && l.runs(j.Name) {
				l.cfg.Firewall = l.was.Firewall
			}
		}
	}
	return nil
}

// treeServer is fail2ban.conf's word on the daemon.
func (l *loader) treeServer(server *fail2ban.Config) {
	wrong := map[string]bool{}
	fail := func(name string, what error) {
		v, _ := server.Raw("Definition", name, nil)
		wrong[name] = true
		if strings.HasPrefix(name, "db") {
			wrong["database"] = true
		}
		if name == "confine" || name == "fixed_actions" {
			wrong["security"] = true
		}
		var placed *fail2ban.Error
		if errors.As(what, &placed) {
			l.complain(l.stays(&Error{placed.File, placed.Line, placed.Msg}))
			return
		}
		l.complain(l.stays(&Error{v.File, v.Line, what.Error()}))
	}
	get := func(name string) string {
		s, err := server.Get("Definition", name, nil)
		var none *fail2ban.NoOptionError
		if err == nil {
			v, _ := server.Raw("Definition", name, nil)
			l.cfg.Settings = append(l.cfg.Settings, Setting{name, s, v.File, v.Line})
		} else if !errors.As(err, &none) {
			fail(name, err)
		}
		return s
	}
	for _, other := range []string{"syslogsocket", "socket", "pidfile", "allowipv6"} {
		get(other)
	}
	if s, err := server.Get("Thread", "stacksize", nil); err == nil { // told, and without effect
		v, _ := server.Raw("Thread", "stacksize", nil)
		if err := CheckStackSize(s); err != nil {
			l.cfg.Warnings = append(l.cfg.Warnings, &Error{v.File, v.Line, err.Error()})
		}
		l.cfg.Settings = append(l.cfg.Settings, Setting{"thread.stacksize", s, v.File, v.Line})
	}
	l.treeDatabase(get, fail)
	if s, err := server.Get("firewall", "translate", nil); err == nil {
		v, _ := server.Raw("firewall", "translate", nil)
		l.cfg.Settings = append(l.cfg.Settings, Setting{"firewall.translate", s, v.File, v.Line})
		if l.cfg.Translate, err = fail2ban.ParseTruth(s); err != nil {
			l.complain(l.stays(&Error{v.File, v.Line, fmt.Sprintf("translate %v", err)}))
			if l.was != nil {
				l.cfg.Translate = l.was.Translate
			}
		}
	}
	for _, name := range strings.FieldsFunc(get("environment"), func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if err := action.CheckVariable(name); err != nil {
			fail("environment", err)
			continue
		}
		l.cfg.Environment = append(l.cfg.Environment, name)
	}
	l.cfg.Security.FixedActions = false
	if s := get("fixed_actions"); s != "" {
		if yes, err := fail2ban.ParseTruth(s); err != nil {
			fail("fixed_actions", fmt.Errorf("fixed_actions %w", err))
		} else {
			l.cfg.Security.FixedActions = yes
		}
	}
	if s := get("confine"); s != "" {
		if yes, err := fail2ban.ParseTruth(s); err != nil {
			fail("confine", fmt.Errorf("confine %w", err))
		} else {
			l.cfg.Security.Unconfined = !yes
		}
	}
	if s := get("loglevel"); s != "" {
		level, err := ParseLogLevel(s)
		if err != nil {
			fail("loglevel", err)
		} else {
			l.cfg.Log.Level = level
		}
	}
	if s := get("logtarget"); s != "" {
		target, err := ParseLogTarget(s)
		if err != nil {
			fail("logtarget", err)
		}
		l.cfg.Log.Target = cmp.Or(target, l.cfg.Log.Target)
	}
	l.keep(wrong)
}

// treeDatabase is fail2ban.conf's word on the database.
func (l *loader) treeDatabase(get func(string) string, fail func(string, error)) {
	db := &l.cfg.Database
	if s := get("dbfile"); s != "" {
		db.Path = DatabasePath(s)
	}
	if s := get("dbpurgeage"); s != "" {
		age, err := ParseTime(s)
		if err != nil || age < 0 {
			fail("dbpurgeage", fmt.Errorf("dbpurgeage %q: want a time", s))
		} else {
			db.PurgeAge = age
		}
	}
	if s := get("dbmaxmatches"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			fail("dbmaxmatches", fmt.Errorf("dbmaxmatches %q: want a number", s))
		} else {
			db.MaxMatches = n
		}
	}
}

// treeJail turns a jail of fail2ban's into one of ours.
func (l *loader) treeJail(f *fail2ban.Jail) *Jail {
	j := &Jail{Name: f.Name, MaxRetry: 5, Sources: []string{}, Fail2ban: true}
	if f.Err != nil {
		var placed *fail2ban.Error
		if err := f.Err; !errors.As(err, &placed) || placed.File == "" {
			v := f.Should("filter")
			j.Errors = append(j.Errors, &Error{v.File, v.Line, err.Error()})
		} else {
			j.Errors = append(j.Errors, err)
		}
		return j
	}
	get := func(name string) (string, bool) { return f.Options.Get(name) }
	fail := func(option string, err error) {
		if err == nil {
			return
		}
		v := f.Should(option)
		if v.File == "" {
			j.Errors = append(j.Errors, err)
			return
		}
		j.Errors = append(j.Errors, &Error{v.File, v.Line, err.Error()})
	}
	for _, name := range f.Options.Names {
		v := f.Where(name)
		j.Settings = append(j.Settings, Setting{name, f.Options.Values[name], v.File, v.Line})
	}
	duration := func(name string, wrong func(time.Duration) string) time.Duration {
		text, _ := get(name)
		d, err := ParseTime(cmp.Or(text, "10m"))
		if err != nil {
			fail(name, fmt.Errorf("%s: %w", name, err))
		} else if what := wrong(d); what != "" {
			fail(name, fmt.Errorf("%s %s: %s", name, text, what))
		}
		return d
	}
	j.FindTime, j.BanTime = duration("findtime", wrongFindTime), duration("bantime", func(time.Duration) string { return "" })
	counts := true
	if text, ok := get("maxretry"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil { // from 1 down the first failure bans, as in fail2ban
			counts = false
			fail("maxretry", fmt.Errorf("maxretry %q: want a number", text))
		}
		j.MaxRetry = n
	}
	value := func(key string) string { v, _ := get(key); return v }
	j.Increase = ParseIncrease(value, fail)
	number := func(key string, fallback int) int {
		text := strings.TrimSpace(value(key))
		if text == "" {
			return fallback
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			fail(key, fmt.Errorf("%s %q: want a number", key, text))
			return fallback
		}
		return n
	}
	if counts || f.Where("maxmatches").Text != "%(maxretry)s" { // else it was said of that
		j.MaxMatches = max(number("maxmatches", j.MaxRetry), 0)
	}
	j.Networks = Networks{number("ban.prefix4", 32), number("ban.prefix6", 128), number("ban.aggregate", 0)}
	j.Networks.check(fail)
	truth := func(key string, fallback bool) bool {
		text, ok := get(key)
		if !ok {
			return fallback
		}
		b, err := fail2ban.ParseTruth(text)
		if err != nil {
			fail(key, fmt.Errorf("%s %w", key, err))
		}
		return b
	}
	j.Ignore.SSH = truth("ignoressh", false)
	for _, key := range []string{"bantime.increment", "bantime.overalljails"} {
		truth(key, false) // of Increase, which takes fail2ban's words
	}
	var err error
	j.Journal, j.Polling, err = ParseBackend(value("backend"))
	fail("backend", err)
	if j.Journal != nil {
		option, match := "journalmatch", strings.Split(value("journalmatch"), "\n")
		if value("journalmatch") == "" && f.Filter != nil {
			option, match = "filter", f.Filter.JournalMatch
		}
		j.Journal.Matches, err = journalMatches(match)
		fail(option, err)
		if v := f.Where("logpath"); err == nil && len(j.Journal.Matches) == 0 && strings.TrimSpace(value("logpath")) != "" {
			j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{v.File, v.Line, fmt.Sprintf("logpath is not read: backend = %s reads the journal, and all of it, since there is no journalmatch; for the file set backend = auto in [%s]", value("backend"), f.Name)}))
		}
	}
	if backend := cmp.Or(strings.TrimSpace(value("backend")), "auto"); strings.HasPrefix(backend, "auto") && truth("systemd_if_nologs", true) {
		match := value("journalmatch")
		lines := strings.Split(match, "\n")
		if match == "" && f.Filter != nil {
			lines = f.Filter.JournalMatch
		}
		if m, err := journalMatches(lines); err == nil && len(m) > 0 {
			j.NoLogs.Journal = &source.JournalOptions{Matches: m}
		}
	}
	j.NoLogs.Skip = truth("skip_if_nologs", false)
	for _, log := range f.LogFiles() {
		if _, err := filepath.Match(log.Glob, ""); err != nil {
			fail("logpath", fmt.Errorf("logpath %q: %w", log.Glob, err))
			continue
		}
		j.LogPath = append(j.LogPath, log.Glob)
		if log.Tail {
			j.LogTail = append(j.LogTail, log.Glob)
		}
		if log.FIFO {
			j.LogFIFO = append(j.LogFIFO, log.Glob)
		}
	}
	if len(j.LogPath) == 0 && j.Journal == nil && len(j.Errors) == 0 {
		fail("logpath", fmt.Errorf("no logpath: set it in [%s]", f.Name))
	}
	for _, err := range f.Faults {
		j.Faults = append(j.Faults, fmt.Errorf("%w: left out, the others hold", err))
	}
	if text, ok := get("ignoreip"); ok {
		for _, s := range strings.FieldsFunc(text, isListSpace) {
			if err := j.Ignore.Add(s); err != nil {
				err = fmt.Errorf("%w: left out, the others hold", err)
				if v := f.Where("ignoreip"); v.File != "" {
					err = &Error{v.File, v.Line, err.Error()}
				}
				j.Faults = append(j.Faults, err)
			}
		}
		if err := wide("ignoreip", j.Ignore.Prefixes); err != nil {
			if v := f.Where("ignoreip"); v.File != "" {
				err = &Error{v.File, v.Line, err.Error()}
			}
			j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", f.Name, err))
		}
	}
	j.Ignore.Self = truth("ignoreself", true)
	j.IgnoreCommand, _ = get("ignorecommand")
	if text, _ := get("ignorecache"); strings.TrimSpace(text) != "" {
		var err error
		j.IgnoreCache, err = ParseIgnoreCache(text)
		fail("ignorecache", err)
	}
	if text, _ := get("logencoding"); text != "" {
		var err error
		j.Encoding, err = source.LookupEncoding(text)
		fail("logencoding", err)
	}
	j.Warnings = append(j.Warnings, f.Warnings...)
	l.treeFilter(f, j, fail)
	l.treeActions(f, j, fail)
	fail("action", checkName(f.Name, j.Unenforced))
	treeParts(f, j)
	return j
}

// treeParts lists the options of the jail's filter and actions.
func treeParts(f *fail2ban.Jail, j *Jail) {
	if f.Filter != nil {
		var more []Setting
		for _, n := range f.Filter.Options.Names {
			switch n {
			case "prefregex", "failregex", "ignoreregex":
				continue
			}
			if v := f.Filter.Options.Values[n]; v != "" && !strings.HasPrefix(n, "known/") && !strings.HasPrefix(n, "_") {
				at := f.Filter.Where(n)
				if at.File == "" {
					at = f.Where("filter")
				}
				more = append(more, Setting{n, v, at.File, at.Line})
			}
		}
		j.Parts = append(j.Parts, filterPart(f.Filter.Name, &j.Filter, more))
	}
	for i := range f.Actions {
		a := &f.Actions[i]
		p := Part{Kind: "action", Name: a.Name, Settings: []Setting{}}
		for _, n := range a.Options.Names {
			if v := a.Options.Values[n]; v != "" {
				at := a.Where(n)
				if at.File == "" {
					at = f.Where("action")
				}
				p.Settings = append(p.Settings, Setting{n, v, at.File, at.Line})
			}
		}
		j.Parts = append(j.Parts, p)
	}
}

func isListSpace(r rune) bool { return strings.ContainsRune(", \t\n", r) }

// Truth reads a boolean as fail2ban does.
func Truth(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "on", "true", "yes":
		return true
	}
	return false
}

func (l *loader) treeFilter(f *fail2ban.Jail, j *Jail, fail func(string, error)) {
	def, err := JailFilter(f)
	if err != nil {
		fail("filter", err)
		return
	}
	if f.Filter != nil {
		j.Sources = append(j.Sources, f.Filter.Files...)
	}
	if text, ok := f.Options.Get("usedns"); ok {
		switch u := filter.UseDNS(strings.ToLower(text)); u {
		case filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw:
			def.UseDNS = u
		default:
			fail("usedns", fmt.Errorf("usedns %q: want yes, warn, no or raw", text))
		}
	}
	def.LogTimezone, _ = f.Options.Get("logtimezone")
	if text, ok := f.Options.Get("transport"); ok { // ours, and none of fail2ban's
		def.Transport, err = transport.ParseNames(strings.FieldsFunc(text, isListSpace))
		fail("transport", err)
	}
	def.Year = time.Now().Year()
	j.Filter = def
	if len(j.Errors) == 0 {
		if _, err := filter.Compile(def, time.UTC); err != nil {
			var placed *filter.ExprError
			if errors.As(err, &placed) && placed.File != "" {
				j.Errors = append(j.Errors, err)
			} else {
				fail("filter", fmt.Errorf("filter: %w", err))
			}
		}
	}
}

// IsTree reports whether a directory is a configuration of fail2ban's and not
// one of ours.
func IsTree(dir string) bool {
	if fi, err := stat(dir); err != nil || !fi.IsDir() {
		return false
	}
	_, err := stat(filepath.Join(dir, "bailiff.toml"))
	return err != nil && fail2ban.Exists(dir)
}
