package daemon

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
)

// What is left to a runner that reads the journal and asks container engines, and runs no commands.

// journalGroup is whose members may read the journal.
const journalGroup = "systemd-journal"

// journalDirs are where journals lie.
var journalDirs = []string{"/run/log/journal", "/var/log/journal"}

// SettleRunner gives away what this process does not need to read the journals of a configuration and
// to ask its container engines: it becomes the daemon's user, or nobody, in the group of the journal and those of
// the engines' sockets. Where that is not enough for journals, or for the configuration itself, it
// keeps the right to read, which the daemon has, too; and where it is not for an engine, the one to write to what is
// another's (CAP_DAC_OVERRIDE).
func SettleRunner(cfg *config.Config) error {
	var as *confine.User
	var groups []int
	if os.Geteuid() == 0 {
		name := cfg.Security.User
		if name == "root" || name == "0" {
			name = ""
		}
		var err error
		if as, _, err = named(name); err != nil || as.UID == 0 {
			as = &confine.User{UID: nobody, GID: nobody}
		}
		if g, err := user.LookupGroup(journalGroup); err == nil {
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				groups = append(groups, gid)
			}
		}
	}
	most := []int{unix.CAP_DAC_READ_SEARCH}
	sockets := Commands(cfg).Engines
	for _, path := range sockets {
		if fi, err := os.Stat(path); err == nil && fi.Mode()&0o020 != 0 {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && as != nil && st.Gid != 0 {
				groups = append(groups, int(st.Gid))
			}
		}
	}
	if len(sockets) > 0 {
		most = append(most, unix.CAP_DAC_OVERRIDE)
	}
	return confine.Lower(as, groups, most, func() (keep []int) {
		if !readsAll(cfg) {
			keep = append(keep, unix.CAP_DAC_READ_SEARCH)
		}
		if slices.ContainsFunc(sockets, func(path string) bool { return unix.Access(path, unix.W_OK) != nil }) {
			keep = append(keep, unix.CAP_DAC_OVERRIDE)
		}
		return keep
	})
}

// readsAll reports whether this process can read a configuration and its journals as it is.
func readsAll(cfg *config.Config) bool {
	for _, path := range cfg.Files() {
		if !reads(filepath.Dir(path)) || !reads(path) {
			return false
		}
	}
	for _, j := range cfg.Jails {
		o := j.Journal
		if o == nil {
			continue
		}
		dirs := []string{o.Path}
		if o.Path == "" && len(o.Files) == 0 {
			dirs = journalDirs
		}
		for _, dir := range dirs {
			if dir != "" && !readsBelow(dir) {
				return false
			}
		}
		for _, glob := range o.Files {
			files, err := filepath.Glob(glob)
			if err != nil || len(files) == 0 && !reads(filepath.Dir(glob)) {
				return false
			}
			for _, path := range files {
				if !reads(path) {
					return false
				}
			}
		}
	}
	return true
}

// readsBelow reports whether all that is in a directory can be read, if it is there.
func readsBelow(dir string) bool {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return err
		case e.Type().IsRegular() && !reads(path):
			return fs.ErrPermission
		}
		return nil
	}) == nil
}

// reads reports whether a file or a directory can be read, if it is there.
func reads(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil || os.IsNotExist(err)
}
