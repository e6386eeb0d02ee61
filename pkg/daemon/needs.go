package daemon

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
)

// What of a configuration is another process's to do.

// RunsCommands says what of a configuration needs a process that runs programs; empty:
// nothing does.
func RunsCommands(cfg *config.Config, opts Options) string {
	commands, journal := runs(cfg, opts)
	return cmp.Or(commands, journal)
}

// runs says what needs one that has the rights of the start, and what needs one that runs
// journalctl and asks container engines, and nothing else.
func runs(cfg *config.Config, opts Options) (commands, journal string) {
	if cfg.Fail2ban != nil && !cfg.Security.FixedActions {
		return "fail2ban's socket takes commands", ""
	}
	for _, x := range cfg.Exports {
		if x.Reload != "" {
			return "export " + x.Name + " has a reload", ""
		}
	}
	for _, j := range cfg.Jails {
		c, o := jailRuns(j)
		if c != "" {
			return "jail " + j.Name + " " + c, ""
		}
		if o != "" && journal == "" {
			journal = "jail " + j.Name + " " + o
		}
	}
	if cfg.Docker.Labels.Allowed {
		why := "[docker] labels are read from the engine's socket"
		if startedAs != 0 { // as for a jail that reads containers
			return why, ""
		}
		journal = cmp.Or(journal, why)
	}
	// Only another one's rights help.
	if opts.Runner == nil && os.Getenv(runnerVariable) != "" && cfg.Security.FixedActions && !cfg.Security.Unconfined {
		if why := denied(cfg, opts.Syslog); why != "" {
			return why, journal
		}
	}
	if opts.Runner != nil || len(cfg.Exports) == 0 || cfg.Security.Unconfined {
		return "", journal
	}
	w, _, _ := become(cfg, opts)
	as := &confine.User{UID: os.Geteuid(), GID: os.Getegid()}
	if w.User != nil {
		as = w.User
	} else {
		as.Groups, _ = os.Getgroups()
	}
	me := as.UID
	m := readMounts()
	for _, x := range cfg.Exports {
		if p := m.find(x.Socket); filepath.IsAbs(x.Socket) && p.there && !p.hangs && !writable(p, as) {
			return fmt.Sprintf("export %s: %s is not for user %d to write to", x.Name, x.Socket, me), journal
		}
	}
	for _, x := range others(cfg, uint32(me)) {
		return fmt.Sprintf("export %s: %s", x.Name, m.whose(x, uint32(me))), journal
	}
	return "", journal
}

// jailRuns is runs of one jail.
func jailRuns(j *config.Jail) (commands, journal string) {
	if j.IgnoreCommand != "" {
		return "has an ignorecommand", ""
	}
	for _, a := range slices.Concat(j.Actions, j.Observed) { // what observes may be for real after a reload
		if a.Mail == nil {
			return "has action " + a.Name, ""
		}
	}
	if j.Containers != nil {
		why := "reads what containers write, from their engine's socket"
		if startedAs != 0 { // what it takes is not this process's to give away
			return why, ""
		}
		return "", why
	}
	if j.Journal != nil {
		return "", "reads the journal, by journalctl"
	}
	return "", ""
}

// others are those of a configuration's exports that belong to somebody else, to whom they
// have to be given back each time.
func others(cfg *config.Config, me uint32) (out []config.BanFile) {
	m := readMounts()
	for _, x := range cfg.Exports {
		if m.whose(x, me) != "" {
			out = append(out, x)
		}
	}
	return out
}

// whose says that an export, or its directory, belongs to somebody else; empty: it does not.
func (m mounts) whose(x config.BanFile, me uint32) string {
	for _, path := range []string{x.File, filepath.Dir(x.File)} {
		if p := m.find(path); p.there && !p.hangs && p.uid != me {
			return fmt.Sprintf("%s belongs to user %d", path, p.uid)
		}
	}
	return ""
}
