package daemon

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
)

// What is left to a runner that reads the journal, and runs no commands.

// journalGroup is whose members may read the journal.
const journalGroup = "systemd-journal"

// journalDirs are where journals lie.
var journalDirs = []string{"/run/log/journal", "/var/log/journal"}

// SettleRunner gives away what this process does not need to read the journals of a configuration:
// it becomes the daemon's user, or nobody, in the group of the journal; and where that is not enough for
// the journals, or for the configuration itself, it keeps the right to read, which the daemon has, too.
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
	return confine.Lower(as, groups, []int{unix.CAP_DAC_READ_SEARCH}, func() []int {
		if readsAll(cfg) {
			return nil
		}
		return []int{unix.CAP_DAC_READ_SEARCH}
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
