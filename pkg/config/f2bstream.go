package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/source"
	"bailiff/pkg/tags"
)

// serverOptions are those of fail2ban.conf that a server is told, in fail2ban's
// order, with their defaults.
var serverOptions = []struct{ name, fallback string }{
	{"syslogsocket", "auto"},
	{"loglevel", "INFO"},
	{"logtarget", "STDERR"},
	{"allowipv6", "auto"},
	{"dbfile", "/var/lib/fail2ban/fail2ban.sqlite3"},
	{"dbmaxmatches", ""},
	{"dbpurgeage", "1d"},
}

// Fail2banCommands returns a configuration as the commands that fail2ban-client
// sends to a server: lists of strings, int, bool, nil, and lists of those. only
// names one jail; empty: all that are enabled. Commands of a jail that is wrong are
// one that tells so.
func Fail2banCommands(t *fail2ban.Tree, only string) [][]any {
	var out [][]any
	if only == "" {
		if t.Server != nil {
			if s, err := t.Server.Get("Thread", "stacksize", nil); err == nil {
				if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
					out = append(out, []any{"set", "thread", map[string]int{"stacksize": n}})
				}
			}
		}
		for _, o := range serverOptions {
			value := o.fallback
			if t.Server != nil {
				if s, err := t.Server.Get("Definition", o.name, nil); err == nil {
					value = s
				}
			}
			switch n, err := strconv.Atoi(value); {
			case value == "":
			case o.name == "dbmaxmatches" && err == nil:
				out = append(out, []any{"set", o.name, n})
			default:
				out = append(out, []any{"set", o.name, value})
			}
		}
	}
	var starts [][]any
	for _, j := range t.Jails {
		if !j.Enabled || only != "" && j.Name != only {
			continue
		}
		if j.Err != nil {
			out = append(out, []any{"config-error", fmt.Sprintf("Jail '%s' skipped, because of wrong configuration: %v", j.Name, j.Err)})
			continue
		}
		out = append(out, jailCommands(j)...)
		starts = append(starts, []any{"start", j.Name})
	}
	return append(out, starts...)
}

// jailIgnored are options that are not told of a jail as they are.
var jailIgnored = []string{
	"action", "filter", "enabled", "usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch", "logtype", "mode",
	"skip_if_nologs", "systemd_if_nologs",
	"ban.prefix4", "ban.prefix6", "ban.aggregate", "ignoressh", "transport",
}

func jailCommands(j *fail2ban.Jail) [][]any {
	s := &stream{jail: j.Name}
	if f := j.Filter; f != nil {
		s.options(f.Options)
	}
	s.options(j.Options)
	backend := "auto"
	var logs [][]any
	for _, name := range j.Options.Names {
		value := j.Options.Values[name]
		switch {
		case name == "logpath":
			if !strings.HasPrefix(j.Options.Values["backend"], "systemd") {
				logs = logCommands(j)
			}
		case name == "backend":
			backend = value
		case name == "ignoreip":
			cmd := []any{"set", j.Name, "addignoreip"}
			for _, w := range strings.FieldsFunc(value, isListSpace) {
				cmd = append(cmd, w)
			}
			s.add(cmd...)
		case slices.Contains(jailIgnored, name):
		default:
			s.add("set", j.Name, name, typed(name, value))
		}
	}
	out := append([][]any{{"add", j.Name, backend}}, append(s.commands, logs...)...)
	for i := range j.Actions {
		out = append(out, actionCommands(j.Name, &j.Actions[i])...)
	}
	return out
}

func logCommands(j *fail2ban.Jail) (out [][]any) {
	for _, log := range j.LogFiles() {
		paths, _ := filepath.Glob(log.Glob)
		where := "head"
		if log.Tail {
			where = "tail"
		}
		if log.FIFO {
			where = "fifo"
		}
		for _, p := range paths {
			out = append(out, []any{"set", j.Name, "addlogpath", p, where})
		}
	}
	return out
}

// typed gives a value the type that fail2ban reads it as.
func typed(name, value string) any {
	switch name {
	case "maxretry", "maxmatches", "maxlines":
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
			return n
		}
	case "bantime.increment", "bantime.overalljails", "ignoreself", "norestored", "actionstart_on_demand", "actionrepair_on_unban":
		return Truth(value)
	}
	return value
}

// stream gathers a jail's commands.
type stream struct {
	jail     string
	commands [][]any
}

func (s *stream) add(cmd ...any) { s.commands = append(s.commands, cmd) }

// options tells of a filter's options: usedns first of all, then prefregex and
// maxlines, since expressions depend on them.
func (s *stream) options(o *tags.Options) {
	first := 0
	insert := func(at int, cmd ...any) {
		s.commands = slices.Insert(s.commands, at, cmd)
		first++
	}
	for _, name := range o.Names {
		value := o.Values[name]
		switch name {
		case "failregex", "ignoreregex":
			var list []any
			for _, line := range strings.Split(value, "\n") {
				if line != "" {
					list = append(list, line)
				}
			}
			switch len(list) {
			case 0:
			case 1:
				s.add("set", s.jail, "add"+name, list[0])
			default:
				s.add("multi-set", s.jail, "add"+name, list)
			}
		case "usedns":
			insert(0, "set", s.jail, name, value)
		case "prefregex", "maxlines":
			insert(first, "set", s.jail, name, typed(name, value))
		case "datepattern":
			s.add("set", s.jail, name, value)
		case "journalmatch":
			for _, line := range strings.Split(value, "\n") {
				words, err := source.Words(line)
				if err != nil || len(words) == 0 {
					continue
				}
				cmd := []any{"set", s.jail, "addjournalmatch"}
				for _, w := range words {
					cmd = append(cmd, w)
				}
				s.add(cmd...)
			}
		}
	}
}

func actionCommands(jail string, a *fail2ban.Action) [][]any {
	if a.Python != "" {
		return [][]any{{"set", jail, "addaction", a.Name, a.Python, a.Options}}
	}
	out := [][]any{{"set", jail, "addaction", a.Name}}
	var list []any
	for _, n := range a.Options.Names {
		list = append(list, []any{n, typed(n, a.Options.Values[n])})
	}
	switch len(list) {
	case 0:
	case 1:
		one := list[0].([]any)
		out = append(out, []any{"set", jail, "action", a.Name, one[0], one[1]})
	default:
		out = append(out, []any{"multi-set", jail, "action", a.Name, list})
	}
	return out
}
