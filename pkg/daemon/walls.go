package daemon

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
	"bailiff/pkg/control"
	"bailiff/pkg/firewall"
	"bailiff/pkg/remote"
)

// What the daemon keeps of what it may do, as a configuration has it.

// systemFiles are what any daemon reads: name servers and names, zones, services; the
// kernel's word on itself and on this process; who is logged in.
var systemFiles = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/localtime",
	"/etc/passwd", "/etc/group", "/etc/gai.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/zoneinfo", "/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates", "/run/systemd", "/run/utmp", "/run/NetworkManager", "/run/resolvconf", "/proc", "/sys",
}

// logDir holds the logs of most: jails that come later find theirs.
const logDir = "/var/log"

// whole are directories of which a file is given and not all that is beside it.
var whole = []string{"/", "/etc", "/root", "/home", "/var", "/usr", "/boot", "/dev", "/run"}

// Walls are what a daemon with a configuration needs. The directories that it makes by
// itself are made.
func Walls(cfg *config.Config, opts Options) confine.Walls { return wallsBut(cfg, opts, nil) }

// wallsBut are Walls without writing exports that are another process's to write.
func wallsBut(cfg *config.Config, opts Options, theirs []config.BanFile) confine.Walls {
	m := readMounts()
	w := confine.Walls{Files: []string{"/dev/null"}, Capabilities: []int{unix.CAP_DAC_READ_SEARCH}}
	if !cfg.NoFirewall {
		w.Capabilities = append(w.Capabilities, unix.CAP_NET_ADMIN)
	}
	for _, path := range append([]string{logDir}, systemFiles...) {
		if p := m.find(path); p.there {
			w.Read = append(w.Read, p.path)
		}
	}
	w.Read = append(w.Read, m.reads(cfg, opts.Config)...)
	dirs := func(mode os.FileMode, path string) []string {
		if dir := filepath.Dir(path); !m.find(dir).hangs {
			_ = os.MkdirAll(dir, mode) // who needs it says why it can't be made
		}
		var out []string
		for _, at := range []string{filepath.Dir(path), path} { // what it leads to, too
			p := m.find(at)
			switch {
			case p.hangs:
				out = append(out, p.path)
			case at == path && p.there && !p.dir:
				out = append(out, filepath.Dir(p.path))
			case p.there && p.dir:
				out = append(out, p.path)
			}
		}
		return out
	}
	w.Write = append(w.Write, dirs(0o755, filepath.Join(firewall.LockDir, "lock"))...)
	w.Write = append(w.Write, dirs(0o755, cmp.Or(opts.Socket, cfg.Socket))...)
	if path := control.HandedOverPath(); path != "" { // its lock is beside it
		w.Write = append(w.Write, dirs(0o755, path)...)
	}
	if cfg.ReadSocket != "" {
		if g, err := user.LookupGroup(cfg.ReadGroup); err == nil { // who needs it says what is wrong
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				w.Groups = append(w.Groups, gid)
			}
		}
		w.Write = append(w.Write, dirs(0o755, cfg.ReadSocket)...)
	}
	for _, at := range cfg.Check.Listen {
		if !filepath.IsAbs(at) {
			continue
		}
		if g, err := user.LookupGroup(cfg.Check.Group); err == nil {
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				w.Groups = append(w.Groups, gid)
			}
		}
		w.Write = append(w.Write, dirs(0o755, at)...)
	}
	for _, at := range cfg.Web.Listen {
		if filepath.IsAbs(at) {
			w.Groups = append(w.Groups, groupsOf(cfg.Web.Group)...)
			w.Write = append(w.Write, dirs(0o755, at)...)
		}
	}
	w.Write = append(w.Write, syslogDirs(cfg, dirs)...)
	w.Groups = append(w.Groups, syslogGroups(cfg)...)
	db := cfg.Database.Path
	if opts.Database != "" {
		db = config.DatabasePath(opts.Database)
	}
	if db != "" {
		w.Write = append(w.Write, dirs(0o700, db)...)
	}
	for _, x := range cfg.Exports {
		if slices.ContainsFunc(theirs, func(o config.BanFile) bool { return o.Name == x.Name }) {
			w.Read = append(w.Read, existing(m, x.File)...) // to compare
			continue
		}
		if p := m.find(x.File); p.there && !p.hangs {
			w.Groups = append(w.Groups, int(p.gid))
		}
		w.Write = append(w.Write, existing(m, x.File)...)
		if filepath.IsAbs(x.Socket) { // who may write to it can connect
			if p := m.find(x.Socket); p.there && !p.hangs && p.gid != 0 {
				w.Groups = append(w.Groups, int(p.gid))
			}
		}
	}
	for _, j := range cfg.Jails {
		for _, u := range j.ListURLs {
			w.Write = append(w.Write, dirs(0o700, u.File)...)
		}
	}
	if opts.PIDFile != "" {
		w.Write = append(w.Write, existing(m, opts.PIDFile)...)
	}
	if t := cmp.Or(opts.LogTarget, cfg.Log.Target); strings.Contains(t, "/") {
		if p := m.find(t); p.there && !p.hangs && !p.mode.IsRegular() {
			w.Files = append(w.Files, p.path) // /dev/null, a console
		} else {
			w.Append = append(w.Append, existing(m, t)...)
		}
	}
	w.Write = append(w.Write, raceLogs()...)
	for _, paths := range [][]string{w.Read, w.Write, w.Append} {
		for _, path := range paths {
			if m.find(path).hangs {
				w.Unasked = append(w.Unasked, path)
			}
		}
	}
	return w
}

// groupsOf is the number of a group; nil: there is none of that name, which who needs it says.
func groupsOf(name string) []int {
	if g, err := user.LookupGroup(name); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			return []int{gid}
		}
	}
	return nil
}

// existing are the directories of a file that are there.
func existing(m mounts, path string) (out []string) {
	for _, at := range []string{filepath.Dir(path), path} {
		switch p := m.find(at); {
		case p.hangs:
			out = append(out, p.path)
		case p.there && p.dir:
			out = append(out, p.path)
		case p.there:
			out = append(out, filepath.Dir(p.path))
		}
	}
	return out
}

// reads are the files and directories that a configuration has the daemon read.
func (m mounts) reads(cfg *config.Config, from config.Options) (out []string) {
	path := cmp.Or(from.Path, config.DefaultDir)
	if p := m.find(path); p.dir {
		out = append(out, p.path)
	} else {
		out = append(out, m.given(path)...)
	}
	for _, path := range slices.Concat(cfg.Needed, cfg.Files()) { // which may be links to elsewhere
		out = append(out, m.given(path)...)
	}
	for _, path := range slices.Concat(syslogFiles(cfg), webFiles(&cfg.Web), fleetFiles(&cfg.Fleet)) {
		out = append(out, m.given(path)...)
	}
	if cfg.Proxies != nil {
		out = append(out, m.globs(cfg.Proxies.Files)...)
	}
	for _, x := range cfg.HTTPExports {
		out = append(out, m.outward(x.Token, x.CA)...)
	}
	for _, x := range cfg.Reports {
		out = append(out, m.outward(x.Token, x.CA)...)
	}
	for _, j := range cfg.Jails {
		out = append(out, m.jail(j)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// outward are those of who speaks to servers elsewhere, and the certificates that the
// environment names.
func (m mounts) outward(token remote.Token, ca string) (out []string) {
	path, _ := token.Path() // who needs it says why there is none
	for _, path := range append([]string{path, ca, os.Getenv("SSL_CERT_FILE")}, filepath.SplitList(os.Getenv("SSL_CERT_DIR"))...) {
		if path != "" {
			out = append(out, m.given(path)...)
		}
	}
	return out
}

// need is what a setting has the daemon read: a value, and the directories of it.
type need struct {
	setting, value string
	dirs           []string
}

// jail are those of a jail.
func (m mounts) jail(j *config.Jail) (out []string) {
	for _, n := range m.needs(j) {
		out = append(out, n.dirs...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m mounts) needs(j *config.Jail) (out []need) {
	add := func(setting, value string, dirs []string) { out = append(out, need{setting, value, dirs}) }
	for _, path := range slices.Concat(j.LogPath, j.LogTail, j.LogFIFO) {
		dirs := m.globs([]string{path})
		// What is configured as a log's directory is read as one, whichever it is.
		if dir := filepath.Dir(path); dir != "/" && dir != "/etc" && !strings.ContainsAny(dir, wild) {
			if p := m.find(dir); p.there {
				dirs = append(dirs, p.path)
			}
		}
		add("logpath", path, dirs)
	}
	for _, path := range j.List {
		add("list", path, m.globs([]string{path}))
	}
	for _, u := range j.ListURLs {
		add("ca_file", u.CA, m.outward(remote.Token{}, u.CA))
	}
	for _, path := range j.Ignore.Files {
		add("ignoreip", path, m.globs([]string{path}))
	}
	if j.Filter.Proxies != nil {
		for _, path := range j.Filter.Proxies.Files {
			add("proxy.trusted", path, m.globs([]string{path}))
		}
	}
	return out
}

// wild are the characters of patterns.
const wild = "*?["

// globs are the directories of the files that patterns mean, now and later.
func (m mounts) globs(globs []string) (out []string) {
	for _, glob := range globs {
		fixed := glob
		for strings.ContainsAny(fixed, wild) {
			fixed = filepath.Dir(fixed)
		}
		if fixed == glob {
			out = append(out, m.given(glob)...)
			continue
		}
		p := m.find(fixed)
		if !p.there && fixed != "/" && fixed != "/etc" {
			out = append(out, m.given(filepath.Join(fixed, "x"))...)
			continue
		}
		if fixed != "/" && fixed != "/etc" {
			out = append(out, p.path)
		}
		if p.hangs {
			continue
		}
		found, _ := filepath.Glob(glob)
		for _, path := range found {
			if at := m.find(path); at.path != path || fixed == "/" || fixed == "/etc" {
				out = append(out, m.given(path)...)
			}
		}
	}
	return out
}

// overrides says what the daemon has to write that is not its user's; empty: nothing.
func overrides(paths []string) string {
	m := readMounts()
	for _, path := range paths {
		if p := m.find(path); p.there && !p.hangs && p.uid != uint32(os.Geteuid()) && p.mode.Perm()&0o002 == 0 {
			return fmt.Sprintf("%s belongs to user %d", path, p.uid)
		}
	}
	return ""
}
