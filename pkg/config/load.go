package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/firewall"
)

// layer is one file's word on a jail.
type layer struct {
	file string
	data []byte
	raw  rawJail
	// table is where the jail's keys stand in the file: "" or "jail.NAME".
	table []string
}

type jailLayers struct {
	layers []layer
	errs   []error
}

// hookNames are the places where a chain can be attached.
var hookNames = []string{"input", "forward", "prerouting"}

type loader struct {
	cfg      *Config
	all      bool // jails that are not enabled, too
	defaults *layer
	// firewallSet: a jail of fail2ban's has said where the rules live.
	firewallSet bool
	jails       map[string]*jailLayers
}

func (l *loader) jail(name string) *jailLayers {
	j := l.jails[name]
	if j == nil {
		j = &jailLayers{}
		l.jails[name] = j
	}
	return j
}

func (l *loader) jailFile(name, file string, data []byte, _ bool) {
	j := l.jail(name)
	var raw rawJail
	j.errs = append(j.errs, decode(file, data, &raw)...)
	j.layers = append(j.layers, layer{file: file, data: data, raw: raw})
}

func (l *loader) filter(name, file string, data []byte, stock bool) {
	f := &Filter{Name: name, Source: file, Stock: stock, text: string(data)}
	f.Errors = decode(file, data, &f.raw)
	f.Description = f.raw.Description
	f.Modes = slices.Sorted(maps.Keys(f.raw.Mode))
	if len(f.Modes) > 0 {
		f.Modes = append([]string{"normal"}, slices.DeleteFunc(f.Modes, func(m string) bool { return m == "normal" })...)
	}
	lines := sampleLines(string(data))
	for i, s := range f.raw.Sample {
		out := Sample{Line: s.Line, Host: s.Host, Mode: s.Mode, Match: s.Match == nil || *s.Match, Injection: s.Injection, File: file}
		if i < len(lines) {
			out.LineNo = lines[i]
		}
		if s.Time != "" {
			t, err := parseSampleTime(s.Time)
			if err != nil {
				f.Errors = append(f.Errors, &Error{file, out.LineNo, err.Error()})
			}
			out.Time = t
		}
		f.Samples = append(f.Samples, out)
	}
	l.cfg.Filters[name] = f
}

func parseSampleTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("sample's time %q: want 2026-01-31T12:00:00, with or without a zone", s)
}

func sampleLines(text string) []int {
	var out []int
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "[[sample]]") {
			out = append(out, i+1)
		}
	}
	return out
}

// user reads what the administrator wrote.
func (l *loader) user(path string) error {
	if path == "" {
		if _, err := os.Stat(DefaultDir); err != nil {
			return nil // stock definitions only
		}
		path = DefaultDir
	}
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	main, dir := path, filepath.Dir(path)
	if fi.IsDir() {
		main, dir = filepath.Join(path, "bailiff.toml"), path
		if IsTree(path) {
			return l.tree(path)
		}
	}
	for _, part := range []struct {
		dir  string
		read func(name, file string, data []byte, stock bool)
	}{{"filters", l.filter}, {"jails", l.jailFile}} {
		files, _ := filepath.Glob(filepath.Join(dir, part.dir, "*.toml"))
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				l.cfg.Errors = append(l.cfg.Errors, err)
				continue
			}
			part.read(strings.TrimSuffix(filepath.Base(file), ".toml"), file, data, false)
		}
	}
	data, err := os.ReadFile(main)
	if errors.Is(err, os.ErrNotExist) && fi.IsDir() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	l.main(main, data)
	return nil
}

var logLevels = []string{"CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACEDEBUG", "HEAVYDEBUG"}

func (l *loader) main(file string, data []byte) {
	var raw rawMain
	l.cfg.Errors = append(l.cfg.Errors, decode(file, data, &raw)...)
	if raw.LogLevel != "" {
		if level, err := ParseLogLevel(raw.LogLevel); err != nil {
			l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"loglevel"}), err.Error()})
		} else {
			l.cfg.Log.Level = level
		}
	}
	l.cfg.Log.Target = cmp.Or(raw.LogTarget, l.cfg.Log.Target)
	l.cfg.Socket = cmp.Or(raw.Socket, l.cfg.Socket)
	for _, s := range []struct{ key, given, holds string }{
		{"loglevel", raw.LogLevel, l.cfg.Log.Level}, {"logtarget", raw.LogTarget, l.cfg.Log.Target}, {"socket", raw.Socket, l.cfg.Socket},
	} {
		set := Setting{Name: s.key, Value: s.holds}
		if s.given != "" {
			set.File, set.Line = file, lineOf(string(data), []string{s.key})
		}
		l.cfg.Settings = append(l.cfg.Settings, set)
	}
	for _, v := range raw.Environment {
		if err := action.CheckVariable(v); err != nil {
			l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"environment"}), err.Error()})
			continue
		}
		l.cfg.Environment = append(l.cfg.Environment, v)
	}
	l.database(file, data, raw.Database)
	l.cfg.ReadSocket, l.cfg.ReadGroup = raw.Read.Socket, raw.Read.Group
	if (raw.Read.Socket == "") != (raw.Read.Group == "") {
		l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"read"}), "[read] needs both: socket, a path, and group, who may ask there"})
		l.cfg.ReadSocket = ""
	}
	l.cfg.NoFirewall = raw.Firewall.Enabled != nil && !*raw.Firewall.Enabled
	l.exports(file, data, raw.Export)
	switch raw.Firewall.Foreign {
	case "", "adopt":
	case "remove":
		l.cfg.RemoveForeign = true
	default:
		l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"firewall", "foreign"}), fmt.Sprintf("foreign %q: want adopt or remove", raw.Firewall.Foreign)})
	}
	fw := &l.cfg.Firewall
	fw.Table, fw.Chain = raw.Firewall.Table, raw.Firewall.Chain
	priority := -1
	if raw.Firewall.Priority != nil {
		priority = *raw.Firewall.Priority
	}
	hooks := raw.Firewall.Hook
	if len(hooks) == 0 {
		hooks = stringList{"input"}
	}
	for _, h := range hooks {
		if !slices.Contains(hookNames, h) {
			l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"firewall", "hook"}), fmt.Sprintf("hook %q: want input, forward or prerouting", h)})
			continue
		}
		fw.Hooks = append(fw.Hooks, firewall.Hook{Name: h, Priority: priority})
	}
	l.defaults = &layer{file: file, data: data, raw: raw.Default, table: []string{"default"}}
	for name, jail := range raw.Jail {
		j := l.jail(name)
		j.layers = append(j.layers, layer{file: file, data: data, raw: jail, table: []string{"jail", name}})
	}
}

func (l *loader) database(file string, data []byte, raw rawDatabase) {
	db := &l.cfg.Database
	fail := func(key string, err error) {
		l.cfg.Errors = append(l.cfg.Errors, &Error{file, lineOf(string(data), []string{"database", key}), err.Error()})
	}
	if raw.Path != nil {
		db.Path = DatabasePath(*raw.Path)
	}
	if raw.PurgeAge != nil {
		age, err := ParseTime(string(*raw.PurgeAge))
		if err != nil || age < 0 {
			fail("purgeage", fmt.Errorf("purgeage %q: want a time", *raw.PurgeAge))
		} else {
			db.PurgeAge = age
		}
	}
	if raw.MaxMatches != nil {
		if db.MaxMatches = *raw.MaxMatches; db.MaxMatches < 0 {
			fail("maxmatches", fmt.Errorf("maxmatches %d: want 0 or more", db.MaxMatches))
		}
	}
}

// DatabasePath reads fail2ban's dbfile: "None" and ":memory:" keep nothing.
func DatabasePath(s string) string {
	switch strings.ToLower(s) {
	case "none", ":memory:", "":
		return ""
	}
	return s
}

// ParseLogLevel reads one of fail2ban's levels, in any case.
func ParseLogLevel(s string) (string, error) {
	level := strings.ToUpper(s)
	if !slices.Contains(logLevels, level) {
		return "", fmt.Errorf("log level %q: want %s", s, strings.Join(logLevels, ", "))
	}
	return level, nil
}

// argument is --jail NAME=LOGPATH: the jail of that name, or one made from the
// filter of that name.
func (l *loader) argument(name, path string) {
	for _, j := range l.cfg.Jails { // of a tree of fail2ban's
		if j.Name == name {
			j.LogPath, j.LogTail, j.LogFIFO, j.Journal = []string{path}, nil, nil, nil
			if fifo, ok := strings.CutSuffix(path, " fifo"); ok {
				j.LogPath = []string{fifo}
				j.LogFIFO = j.LogPath
			}
			return
		}
	}
	yes := true
	raw := rawJail{Enabled: &yes, LogPath: stringList{path}}
	if l.jails[name] == nil {
		raw.Filter = &name
	}
	j := l.jail(name)
	j.layers = append(j.layers, layer{file: "--jail", raw: raw})
}

var jailName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$`)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
