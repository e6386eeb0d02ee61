package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
	"bailiff/pkg/remote"
)

// Confinement is what this process has kept of the tree of files; it can't be widened.
type Confinement struct {
	files   bool // the kernel confines files
	runs    bool // there is somebody who runs any command that is configured
	journal bool // or journalctl at least
	me      uint32
	read    []string
	write   []string
	logs    []string // where the daemon's own log may be
}

// Confine gives away what a daemon with this configuration does not need, before it reads
// the first line of a log. nil: nothing was given away, and the log says why.
func Confine(cfg *config.Config, opts Options) *Confinement {
	log := opts.Log.With("component", "server")
	if cfg.Security.Unconfined {
		return nil
	}
	if why := RunsCommands(cfg, opts); why != "" && opts.Runner == nil {
		log.Debug("not confined: " + why)
		return nil
	}
	w, why, err := become(cfg, opts)
	switch {
	case err != nil:
		defer log.Error(err.Error() + ": the daemon goes on as root, with two capabilities")
	case why != "":
		defer log.Warn("the daemon goes on as root, with two capabilities: " + why)
	}
	if !cfg.Security.FixedActions {
		w.AllFiles = true // who can have any command run needs no file
	}
	me := os.Geteuid()
	if w.User != nil {
		me = w.User.UID
	}
	runs := opts.Runner != nil && opts.Runner.Commands()
	if os.Geteuid() == 0 && w.User == nil {
		if why := overrides(slices.Concat(w.Write, w.Append)); why != "" {
			w.Capabilities = append(w.Capabilities, unix.CAP_DAC_OVERRIDE)
			// Told later: whoever writes that may wait, and then all would.
			defer log.Warn(why + ", and is written to: the daemon keeps the capability to do so (CAP_DAC_OVERRIDE); give it to root")
		}
	}
	done, err := confine.Apply(w)
	if err != nil {
		log.Error(fmt.Sprintf("it can't be confined, and goes on with what it may do: %v ([security] confine = false doesn't try)", err))
	}
	switch {
	case done.Landlock == 0 && !w.AllFiles && err == nil:
		log.Warn("the kernel has no Landlock, or who has started the daemon refuses it: capabilities and system calls are given away, files are not")
	case !done.Seccomp && err == nil:
		log.Warn("the kernel filters no system calls (seccomp), or who has started the daemon refuses it: capabilities and files are given away, system calls are not")
	}
	log.Debug(fmt.Sprintf("confined: %d capabilities, Landlock %d, to %s, and written to: %s",
		len(w.Capabilities), done.Landlock, strings.Join(w.Read, " "), strings.Join(slices.Concat(w.Append, w.Write, w.Files), " ")))
	c := &Confinement{files: done.Landlock > 0 && !w.AllFiles, runs: runs, journal: opts.Runner != nil, me: uint32(me)}
	// They are paths without links.
	c.read = slices.DeleteFunc(slices.Concat(w.Read, w.Append, w.Write, w.Files), func(path string) bool { return slices.Contains(done.Missing, path) })
	c.write, c.logs = w.Write, slices.Concat(w.Append, w.Write, w.Files)
	return c
}

// beneath reports whether a path is one of those, or in one of them.
func (m mounts) beneath(path string, those []string) bool {
	path = m.find(path).path
	return slices.ContainsFunc(those, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	})
}

// another reports whether an export is the other process's to write.
func (d *Daemon) another(x config.BanFile) bool {
	c := d.opts.Confined
	if c == nil || !c.runs || d.opts.Runner == nil {
		return false
	}
	m := readMounts()
	return m.whose(x, c.me) != "" || c.files && !m.beneath(filepath.Dir(x.File), c.write)
}

// restart is what helps.
const restart = "restart the daemon (bans stay in force), which gave away at its start what it did not need ([security] confine)"

// unremedied is what can't be done, without what helps.
func unremedied(err error) string {
	text, _, _ := strings.Cut(err.Error(), ": "+restart)
	return text
}

// beyond says what of a jail the daemon can't do any more.
func (c *Confinement) beyond(m mounts, j *config.Jail) error {
	if c == nil {
		return nil
	}
	commands, journal := jailRuns(j)
	if why := cmp.Or(commands, journal); commands != "" && !c.runs || journal != "" && !c.journal {
		return placed(j, "logpath", fmt.Errorf("it %s, and no program can be run any more: %s", why, restart))
	}
	if !c.files {
		return nil
	}
	if o := j.Syslog; o != nil {
		for _, a := range o.Listen {
			if a.IsUnix() && !m.beneath(filepath.Dir(a.Path), c.write) {
				return placed(j, "listen", fmt.Errorf("listen %s can't be made any more: %s", a, restart))
			}
		}
	}
	for _, n := range m.needs(j) {
		for _, path := range n.dirs {
			if !m.beneath(path, c.read) {
				return placed(j, n.setting, c.unread(n.setting+" "+n.value, path))
			}
		}
	}
	return nil
}

// unread says that a file can't be read any more, since what it leads to, or the directory that it
// is in, can't.
func (c *Confinement) unread(what, path string) error {
	if strings.HasSuffix(what, path) {
		return fmt.Errorf("%s can't be read any more: %s", what, restart)
	}
	return fmt.Errorf("%s: %s can't be read any more: %s", what, path, restart)
}

// remedied adds the remedy to why a log could not be opened, to be read or to be written to, where
// it is the walls that stand in the way.
func (c *Confinement) remedied(path string, toWrite bool, err error) error {
	if c == nil || !c.files || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	within := c.read
	if toWrite {
		within = c.logs
	}
	if readMounts().beneath(path, within) {
		return err
	}
	return fmt.Errorf("%w: %s", err, restart)
}

// unreadConfiguration are the files of a configuration that lie beyond the walls.
func (c *Confinement) unreadConfiguration(cfg *config.Config) (errs []error) {
	if c == nil || !c.files {
		return nil
	}
	m := readMounts()
	for _, file := range cfg.Files() {
		if !m.beneath(file, c.read) {
			errs = append(errs, c.unread(file, m.find(file).path))
		}
	}
	return errs
}

// beyondServer takes out of a configuration what the daemon can't do any more of what is
// outside of jails, and says so; it stays as it was.
func (c *Confinement) beyondServer(cfg, was *config.Config) (errs []error) {
	if c == nil {
		return nil
	}
	if cfg.Docker.Labels.Allowed && !c.journal && !c.runs {
		errs = append(errs, fmt.Errorf("[docker] labels: the engine can't be asked any more: %s; it stays as it was", restart))
		cfg.Docker = was.Docker
	}
	m := readMounts()
	wrong := func(path, what string) bool {
		if path == "" || !c.files || m.beneath(filepath.Dir(path), c.write) {
			return false
		}
		errs = append(errs, fmt.Errorf("%s: %s can't be written any more: %s; it stays as it was", what, path, restart))
		return true
	}
	if t := cfg.Log.Target; c.files && t != was.Log.Target && filepath.IsAbs(t) && !m.beneath(t, c.logs) {
		errs = append(errs, fmt.Errorf("logtarget: %s can't be written any more: %s; it stays %s", t, restart, was.Log.Target))
		cfg.Log.Target = was.Log.Target
	}
	if wrong(cfg.ReadSocket, "[read]") || cfg.ReadSocket != "" && (cfg.ReadSocket != was.ReadSocket || cfg.ReadGroup != was.ReadGroup) && groupBeyond("[read]", cfg.ReadGroup, &errs) {
		cfg.ReadSocket, cfg.ReadGroup = was.ReadSocket, was.ReadGroup
	}
	bad := false
	for _, at := range cfg.Check.Listen {
		bad = bad || filepath.IsAbs(at) && !slices.Contains(was.Check.Listen, at) && wrong(at, "[check]")
	}
	if c := cfg.Check; bad || c.Group != "" && !reflect.DeepEqual(c, was.Check) && groupBeyond("[check]", c.Group, &errs) {
		cfg.Check = was.Check
	}
	bad = false
	for _, at := range cfg.Web.Listen {
		bad = bad || filepath.IsAbs(at) && !slices.Contains(was.Web.Listen, at) && wrong(at, "[web]")
	}
	for _, path := range webFiles(&cfg.Web) {
		if c.files && !bad && !m.beneath(filepath.Dir(path), c.read) {
			errs = append(errs, fmt.Errorf("[web]: %s can't be read any more: %s; it stays as it was", path, restart))
			bad = true
		}
	}
	if w := cfg.Web; bad || w.Group != "" && !reflect.DeepEqual(w, was.Web) && groupBeyond("[web]", w.Group, &errs) {
		cfg.Web = was.Web
	}
	for _, path := range fleetFiles(&cfg.Fleet) {
		if c.files && !m.beneath(filepath.Dir(path), c.read) {
			errs = append(errs, fmt.Errorf("[fleet]: %s can't be read any more: %s; it stays as it was", path, restart))
			cfg.Fleet = was.Fleet
		}
	}
	for _, path := range syslogFiles(cfg) {
		if c.files && !m.beneath(path, c.read) {
			errs = append(errs, fmt.Errorf("[syslog]: %s can't be read any more: %s; it stays as it was", path, restart))
			cfg.Syslog = was.Syslog
		}
	}
	cfg.Exports = within(cfg.Exports, was.Exports, func(x config.BanFile) string { return x.Name }, func(x config.BanFile, _ *config.BanFile) bool {
		bad := !c.runs && wrong(x.File, "export "+x.Name) // else the other process writes it
		if !bad && x.Reload != "" && !c.runs {
			errs = append(errs, fmt.Errorf("%s: export %s: its reload is a command, and no program can be run any more: %s; it stays as it was", x.At, x.Name, restart))
			bad = true
		}
		return !bad
	})
	readable := func(at, what string, token remote.Token, ca string) bool {
		path := c.unreadable(m, token, ca)
		if path != "" {
			errs = append(errs, fmt.Errorf("%s: %s: %s can't be read any more: %s; it stays as it was", at, what, path, restart))
		}
		return path == ""
	}
	cfg.HTTPExports = within(cfg.HTTPExports, was.HTTPExports, func(x config.HTTPExport) string { return x.Name }, func(x config.HTTPExport, old *config.HTTPExport) bool {
		return old != nil && old.Token == x.Token && old.CA == x.CA || readable(x.At, "export "+x.Name, x.Token, x.CA)
	})
	cfg.Reports = within(cfg.Reports, was.Reports, func(x config.Report) string { return x.Name }, func(x config.Report, old *config.Report) bool {
		return old != nil && old.Token == x.Token && old.CA == x.CA || readable(x.At, "report "+x.Name, x.Token, x.CA)
	})
	return errs
}

// within returns those of a list that are good; of the others, what was there under their
// name, if something was.
func within[T any](list, was []T, name func(T) string, good func(x T, old *T) bool) (out []T) {
	for _, x := range list {
		var old *T
		if at := slices.IndexFunc(was, func(o T) bool { return name(o) == name(x) }); at >= 0 {
			old = &was[at]
		}
		switch {
		case good(x, old):
			out = append(out, x)
		case old != nil:
			out = append(out, *old)
		}
	}
	return out
}

// unreadable returns which file of who speaks to servers elsewhere can't be read; empty: none.
func (c *Confinement) unreadable(m mounts, token remote.Token, ca string) string {
	path, _ := token.Path() // who needs it says why there is none
	for _, path := range []string{path, ca} {
		if path != "" && c.files && !m.beneath(path, c.read) {
			return path
		}
	}
	return ""
}

// groupBeyond reports whether a socket is to be a group's that the daemon is not in: it
// can't give it to that one any more.
func groupBeyond(what, group string, errs *[]error) bool {
	g, err := user.LookupGroup(group)
	if err != nil {
		return false // who needs it says what is wrong
	}
	gid, _ := strconv.Atoi(g.Gid)
	mine, _ := os.Getgroups()
	if gid == os.Getegid() || slices.Contains(mine, gid) {
		return false
	}
	*errs = append(*errs, fmt.Errorf("%s: the socket can't be given to group %s any more: %s; it stays as it was", what, group, restart))
	return true
}

// withinWalls has what the daemon can't do any more be mistakes of a configuration, and returns them.
func (d *Daemon) withinWalls(cfg *config.Config) (beyond []error) {
	c := d.opts.Confined
	if c == nil {
		return nil
	}
	beyond = append(c.unreadConfiguration(cfg), c.beyondServer(cfg, d.cfgNow())...)
	cfg.Errors = append(cfg.Errors, beyond...)
	m := readMounts()
	for _, j := range cfg.Jails {
		if j.Broken() == nil {
			if err := c.beyond(m, j); err != nil {
				beyond = append(beyond, fmt.Errorf("jail %s: %w", j.Name, err))
				j.Errors = append(j.Errors, err)
			}
		}
	}
	return beyond
}

// helps reports whether a start would have what a reload can't have any more: there is
// somebody who starts the daemon, and walls for the configuration, which is sound, would hold all of it.
func (d *Daemon) helps() bool {
	if !d.opts.StartsAnew || d.opts.FlushOnStop {
		return false
	}
	cfg, err := d.load()
	if err != nil || len(cfg.Problems()) > 0 {
		return false
	}
	w, _, _ := become(cfg, d.opts)
	next := &Confinement{
		files: d.opts.Confined.files, runs: true, journal: true, me: d.opts.Confined.me,
		read: slices.Concat(w.Read, w.Append, w.Write, w.Files), write: w.Write, logs: slices.Concat(w.Append, w.Write, w.Files),
	}
	if len(next.beyondServer(cfg, d.cfgNow())) > 0 {
		return false
	}
	m := readMounts()
	return !slices.ContainsFunc(cfg.Jails, func(j *config.Jail) bool { return next.beyond(m, j) != nil })
}

// placed says where a setting of a jail is configured, else what enables it.
func placed(j *config.Jail, setting string, err error) error {
	for _, name := range []string{setting, "filter", "enabled"} {
		for _, s := range j.Settings {
			if s.Name == name && s.Line > 0 && filepath.IsAbs(s.File) {
				return fmt.Errorf("%s:%d: %w", s.File, s.Line, err)
			}
		}
	}
	return err
}

// FixedCommands implements transmit.Daemon: it says that commands can't be set over the socket, where they can't.
func (d *Daemon) FixedCommands() error {
	switch c := d.opts.Confined; {
	case c != nil && !c.runs:
		return errors.New("commands are those of the configuration, the daemon can't run another one: set it there, and " + restart)
	case d.atStart.Security.FixedActions:
		return errors.New("commands are those of the configuration ([security] fixed_actions): set it there, and reload")
	}
	return nil
}
