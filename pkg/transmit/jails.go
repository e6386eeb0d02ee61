package transmit

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/jail"
	"bailiff/pkg/source"
)

// Jails that are made over the socket: add NAME, set …, start NAME. They live until
// the next reload or restart, as in fail2ban.

// addJail carries out add NAME [BACKEND].
func (t *Transmitter) addJail(c *command) (any, error) {
	name, backend := c.word(1), "auto"
	if len(c.words) > 2 {
		backend = c.word(2)
	}
	if name == "--all" {
		return nil, pyError("Exception", "Reserved name "+control.ReprString(name))
	}
	if name == "" || strings.ContainsAny(name, " \t\n/") || len(name) > 200 {
		return nil, pyError("ValueError", "Invalid jail name "+control.ReprString(name))
	}
	s := &config.Jail{
		Name: name, MaxRetry: 3, FindTime: 10 * time.Minute, BanTime: 10 * time.Minute, MaxMatches: 50, Unenforced: true, Held: true, Fail2ban: true,
		Filter: filter.Definition{Name: name, Year: time.Now().Year(), Unwritten: true}, Ignore: config.IgnoreList{Self: true},
	}
	var err error
	if s.Journal, s.Polling, err = config.ParseBackend(backend); err != nil {
		return nil, pyError("ValueError", "Unknown backend "+backend+". Must be among ['pyinotify', 'polling', 'systemd'] or 'auto'")
	}
	if s.Journal != nil {
		if err := t.fixedCommands(); err != nil {
			return nil, err
		}
	}
	switch err := t.d.AddJail(s); {
	case errors.Is(err, ErrThere):
		return nil, &control.Exception{Module: "fail2ban.exceptions", Class: "DuplicateJailException", Args: []any{name}}
	case err != nil:
		return nil, err
	}
	return name, nil
}

// startAs carries out start NAME.
func (t *Transmitter) startAs(name string) (any, error) {
	j, err := t.known(name)
	if err != nil {
		return nil, err
	}
	was, err := j.Begin()
	if err != nil {
		return nil, err
	}
	if was {
		t.d.Log().With("component", "jail").Info(fmt.Sprintf("Jail '%s' started", name))
	}
	return nil, nil
}

// setIdle carries out set JAIL idle on|off.
func setIdle(j *jail.Jail, value string) (any, error) {
	if value != "on" && value != "off" {
		return nil, pyError("Exception", "Invalid idle option, must be 'on' or 'off'")
	}
	return value == "on", j.Idle(value == "on")
}

// fixedCommands says that commands can't be set over the socket, where they can't.
func (t *Transmitter) fixedCommands() error {
	if err := t.d.FixedCommands(); err != nil {
		return pyError("Exception", err.Error())
	}
	return nil
}

// setSource changes what a jail's lines are made of.
func (t *Transmitter) setSource(j *jail.Jail, what string, c *command) (any, error) {
	value := c.word(3)
	changed, err := t.d.Remake(j.Configured.Name, func(s *config.Jail) error {
		switch what {
		case "logencoding":
			e, err := source.LookupEncoding(value)
			if err != nil {
				return pyError("LookupError", "unknown encoding: "+value)
			}
			s.Encoding = e
		case "ignorecommand":
			if err := t.fixedCommands(); value != "" && err != nil {
				return err
			}
			s.IgnoreCommand = value
		case "ignorecache":
			if strings.TrimSpace(value) == "" {
				s.IgnoreCache = nil
				return nil
			}
			k, err := config.ParseIgnoreCache(value)
			if err != nil {
				return pyError("ValueError", err.Error())
			}
			s.IgnoreCache = k
			s.Settings = withSetting(s.Settings, "ignorecache", value)
		case "addjournalmatch", "deljournalmatch":
			if s.Journal == nil {
				return nil // fail2ban passes over it
			}
			journal := *s.Journal
			var matches [][]string
			for _, group := range splitAt(c.rest(3), "+") {
				if len(group) > 0 {
					matches = append(matches, group)
				}
			}
			for _, m := range matches {
				for _, field := range m {
					if !strings.Contains(field, "=") {
						return pyError("ValueError", "Error adding journal match for: "+control.ReprString(strings.Join(c.rest(3), " ")))
					}
				}
			}
			var err error
			if journal.Matches, err = changedMatches(journal.Matches, matches, what == "addjournalmatch"); err != nil {
				return err
			}
			s.Journal = &journal
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case changed == nil:
		return nil, unknownJail(j.Configured.Name)
	}
	return t.getOf(changed, strings.TrimPrefix(strings.TrimPrefix(what, "add"), "del"), nil)
}

// splitAt parts words at a separator.
func splitAt(words []string, separator string) [][]string {
	out := [][]string{nil}
	for _, w := range words {
		if w == separator {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], w)
	}
	return out
}

func changedMatches(have, of [][]string, add bool) ([][]string, error) {
	same := func(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }
	out := append([][]string(nil), have...)
	for _, m := range of {
		at := -1
		for i := range out {
			if same(out[i], m) {
				at = i
			}
		}
		switch {
		case add: // one that is there, too: fail2ban has it twice
			out = append(out, m)
		case !add && at >= 0:
			out = append(out[:at], out[at+1:]...)
		case !add:
			return nil, pyError("ValueError", fmt.Sprintf("Match %q not found", strings.Join(m, " ")))
		}
	}
	return out, nil
}

func withSetting(list []config.Setting, name, value string) []config.Setting {
	out := append([]config.Setting(nil), list...)
	for i := range out {
		if out[i].Name == name {
			out[i].Value = value
			return out
		}
	}
	return append(out, config.Setting{Name: name, Value: value})
}
