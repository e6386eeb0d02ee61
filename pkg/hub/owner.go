package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// anyone stands for whoever owns a directory: root looks into those of others, but makes no files there.
const anyone = -1

// checkDir is checkOwner of a directory that is a hub's: of another one nobody is told to change rights.
func checkDir(dir string, uid int) error {
	if _, err := os.Lstat(filepath.Join(dir, ConfigFile)); errors.Is(err, fs.ErrNotExist) {
		return &noHubError{filepath.Join(dir, ConfigFile)}
	}
	return checkOwner(dir, uid)
}

// checkOwner says what is wrong with a hub's directory for a process of that user: all that is
// secret in a fleet is in it.
func checkOwner(dir string, uid int) error {
	m, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !m.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	check := func(path string, m fs.FileInfo) error {
		st, ok := m.Sys().(*syscall.Stat_t)
		if ok && uid != anyone && int(st.Uid) != uid {
			return fmt.Errorf("%s belongs to %s, and this is run by %s: run it as that user, or give it to this one (chown)", path, userName(int(st.Uid)), userName(uid))
		}
		if m.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s may be read by others (mode %04o): the fleet's keys are in it; chmod -R go= %s", path, m.Mode().Perm(), dir)
		}
		return nil
	}
	if err := check(dir, m); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m, err := e.Info()
		if err != nil {
			continue // it went meanwhile
		}
		if err := check(filepath.Join(dir, e.Name()), m); err != nil {
			return err
		}
	}
	return nil
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}
