package transmit

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// Server are the settings of the daemon itself, as far as words ask for them or change them.
type Server struct {
	LogLevel     string
	LogTarget    string
	SyslogSocket string // empty: the usual one
	StackSize    string // of Python's threads, as it was set; empty: as it is configured
	Database     string // its path; empty: there is none
	MaxMatches   int
	PurgeAge     time.Duration
	Settings     []config.Setting // as they are configured
}

// errNotServer says that a name is none of the daemon's own settings.
var errNotServer = errors.New("not a setting of the daemon")

// setServer changes settings of the daemon itself.
func (t *Transmitter) setServer(name, value string) (any, error) {
	now := t.d.Server()
	switch name {
	case "logtarget":
		return t.setLogTarget(value)
	case "loglevel":
		level, err := config.ParseLogLevel(value)
		if err != nil {
			return nil, pyError("ValueError", "Invalid log level "+control.ReprString(strings.ToUpper(value)))
		}
		t.d.SetServer(func(s *Server) { s.LogLevel = level })
	case "syslogsocket":
		t.d.SetServer(func(s *Server) {
			s.SyslogSocket = value
			if value == "auto" {
				s.SyslogSocket = ""
			}
		})
		return value, nil
	case "allowipv6": // nothing here depends on it
		return value, nil
	case "dbfile":
		if len(t.d.Running()) > 0 {
			return nil, pyError("RuntimeError", "Cannot change database when there are jails present")
		}
		return nil, pyError("Exception", "dbfile can't be changed while the daemon runs: set it in the configuration and restart")
	case "dbmaxmatches":
		if now.Database == "" {
			return nil, nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return nil, pyError("ValueError", "invalid literal for int() with base 10: "+control.ReprString(value))
		}
		t.d.SetServer(func(s *Server) { s.MaxMatches = n })
		return n, nil
	case "dbpurgeage":
		if now.Database == "" {
			return nil, nil
		}
		age, err := config.ParseTime(value)
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		t.d.SetServer(func(s *Server) { s.PurgeAge = age })
		return int(age / time.Second), nil
	}
	return t.getServer(name)
}

// setLogTarget has the log go elsewhere.
func (t *Transmitter) setLogTarget(value string) (any, error) {
	target, err := config.ParseLogTarget(value)
	if target == "" {
		return nil, pyError("ValueError", "unexpected option syntax")
	}
	if err != nil {
		t.d.Log().With("component", "server").Error(err.Error())
	}
	if err := t.d.OpenLogTarget(value); err != nil {
		return nil, pyError("Exception", "Failed to change log target")
	}
	return t.getServer("logtarget")
}

// getServer answers for settings of the daemon itself.
func (t *Transmitter) getServer(name string) (any, error) {
	now := t.d.Server()
	switch name {
	case "loglevel":
		return now.LogLevel, nil
	case "logtarget":
		if strings.HasPrefix(now.LogTarget, "syslog[") {
			return "SYSLOG", nil
		}
		switch now.LogTarget {
		case "stderr", "stdout", "syslog":
			return strings.ToUpper(now.LogTarget), nil
		case "journal":
			return "SYSTEMD-JOURNAL", nil
		}
		return now.LogTarget, nil
	case "syslogsocket":
		if now.SyslogSocket == "" {
			return "auto", nil
		}
		return now.SyslogSocket, nil
	case "thread": // of Python's: told as it is configured, or was set
		size, _ := strconv.Atoi(now.StackSize)
		for _, s := range now.Settings {
			if s.Name == "thread.stacksize" && now.StackSize == "" {
				size, _ = strconv.Atoi(strings.TrimSpace(s.Value))
			}
		}
		return control.Dict{Keys: []string{"stacksize"}, Values: map[string]any{"stacksize": size}}, nil
	case "dbfile":
		if now.Database != "" {
			return now.Database, nil
		}
		for _, s := range now.Settings {
			if s.Name == "dbfile" && s.Value == ":memory:" { // bans outlive their jail, as there
				return s.Value, nil
			}
		}
		return nil, nil
	case "dbmaxmatches":
		if now.Database == "" {
			return nil, nil
		}
		return now.MaxMatches, nil
	case "dbpurgeage":
		if now.Database == "" {
			return nil, nil
		}
		return seconds(now.PurgeAge), nil
	}
	return nil, errNotServer
}

// setThread takes the stack size of Python's threads, which has no effect here: it is told
// again to who asks.
func (t *Transmitter) setThread(c *command) error {
	if c.of == nil || !c.of.Words[2].IsDict() {
		return pyError("AttributeError", "'str' object has no attribute 'items'")
	}
	items := c.of.Words[2].Items()
	for i := 0; i+1 < len(items); i += 2 {
		if name := items[i].Text(); name != "stacksize" {
			return pyError("KeyError", "unknown option "+control.ReprString(name))
		}
		text := strings.TrimSpace(items[i+1].Text())
		if err := config.CheckStackSize(text); err != nil {
			return pyError("ValueError", err.Error())
		}
		t.d.SetServer(func(s *Server) { s.StackSize = text })
	}
	return nil
}
