package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bailiff/pkg/safefile"
)

// The database's files. What stands in them are lines of logs, and who can lock them can
// keep us from writing: so they are ours alone, and so is what SQLite makes beside them,
// with the modes of the database. While the daemon runs they may be removed or replaced;
// SQLite would go on writing to what nobody finds any more.

// besides are the endings of the files that SQLite makes beside a database.
var besides = []string{"-wal", "-shm", "-journal"}

// takeLock makes the directory, and the lock that says whose the database is.
func (s *Store) takeLock() error {
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if why := openToOthers(dir); why != "" {
		s.warn("database %s: %s: who can write there can take the database away or put another in its place; make it root's with mode 0755 or less", s.path, why)
	}
	lock, err := safefile.Create(s.path+".lock", os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	// A program that is about to be run has all that was open, for a moment: a lock may be
	// held by one whom a daemon began that is gone.
	for end := time.Now().Add(lockWait); err == nil; time.Sleep(10 * time.Millisecond) {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			break
		}
		if time.Now().Before(end) {
			err = nil
		}
	}
	if err != nil {
		lock.Close()
		return fmt.Errorf("database %s: another daemon uses it (%s.lock is held): give this one its own with --database", s.path, s.path)
	}
	s.lock = lock
	return nil
}

// lockWait is how long a lock that is held is waited for.
const lockWait = 250 * time.Millisecond

// unlock gives the lock back, also from those who have it for a moment.
func (s *Store) unlock() {
	_ = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
	s.lock.Close()
}

// openToOthers says why a directory can be written to by others than its owner and
// root, or whose it is; empty if all is well.
func openToOthers(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for below := false; ; below = true {
		fi, err := os.Stat(dir)
		if err != nil {
			return ""
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return ""
		case st.Uid != 0 && int(st.Uid) != os.Geteuid():
			return fmt.Sprintf("directory %s belongs to user %d", dir, st.Uid)
		case fi.Mode().Perm()&0o022 != 0 && !(below && fi.Mode()&fs.ModeSticky != 0):
			return fmt.Sprintf("directory %s can be written to by others (mode %04o)", dir, fi.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// prepare makes the file, or has what is there be ours alone, before SQLite opens it:
// what that makes beside it takes its mode.
func (s *Store) prepare() error {
	file, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		s.created = true
		return file.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	for i, name := range append([]string{""}, besides...) {
		name = s.path + name
		fi, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			continue
		}
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() {
			return fmt.Errorf("%s is %s, not a regular file", name, safefile.Kind(fi.Mode()))
		}
		if fi.Mode().Perm()&0o077 == 0 {
			continue
		}
		// By what is open: modes can't be changed by name any more.
		file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = file.Chmod(0o600)
		file.Close()
		if err != nil {
			return err
		}
		s.warn("%s could be read by others (mode %04o): it is 0600 now", name, fi.Mode().Perm())
	}
	return nil
}

// followed returns what a symbolic link leads to, if it is not a stranger's: the
// operator's own way to another disk. SQLite's other files are beside that.
func followed(path string) (string, error) {
	if fi, err := os.Lstat(path); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		return path, nil
	}
	fd, err := safefile.Find(path)
	if err != nil {
		return path, err
	}
	syscall.Close(fd)
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path, err
	}
	return to, nil
}

// magic is what a database begins with.
const magic = "SQLite format 3\x00"

// note keeps in mind which files are open.
func (s *Store) note() (err error) {
	// To close any file of this inode lets go of SQLite's locks: so it is open until the
	// database is closed.
	if s.look, err = os.Open(s.path); err != nil {
		return err
	}
	s.file, err = os.Stat(s.path)
	return err
}

// missing says what became of the files that are open, if they are not those of that
// name any more.
func (s *Store) missing() error {
	switch fi, err := os.Stat(s.path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was removed while it was in use", s.path)
	case err == nil && !os.SameFile(fi, s.file):
		return fmt.Errorf("%s was replaced while it was in use", s.path)
	}
	begin := make([]byte, len(magic))
	if n, err := s.look.ReadAt(begin, 0); err == nil && string(begin) != magic || errors.Is(err, io.EOF) && n == 0 {
		return fmt.Errorf("%s is not a database any more: it was overwritten while it was in use", s.path)
	}
	return nil
}

// closeFiles closes the database and what is open beside it.
func (s *Store) closeFiles() (err error) {
	if s.db != nil {
		err = s.db.Close()
	}
	if s.look != nil {
		s.look.Close()
		s.look = nil
	}
	return err
}

// clear takes away what is left of a database that is not there any more: its log would
// be read into the one that takes its place.
func (s *Store) clear() error {
	for _, ending := range besides {
		if err := os.Remove(s.path + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fi, err := os.Stat(s.path + ".lock")
	if mine, mineErr := s.lock.Stat(); err == nil && mineErr == nil && os.SameFile(fi, mine) {
		return nil
	}
	old := s.lock
	if err := s.takeLock(); err != nil {
		return err
	}
	return old.Close()
}

// setAside gives a damaged database another name.
func (s *Store) setAside(why error) (*Damaged, error) {
	aside := fmt.Sprintf("%s.damaged-%s", s.path, time.Now().Format("20060102-150405"))
	for i := 1; ; i++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = fmt.Sprintf("%s.damaged-%s.%d", s.path, time.Now().Format("20060102-150405"), i)
	}
	if err := os.Rename(s.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("database %s is damaged (%w), and can't be set aside: %w", s.path, why, err)
	}
	for _, ending := range besides {
		if _, err := os.Lstat(s.path + ending); err == nil {
			_ = os.Rename(s.path+ending, aside+ending)
		}
	}
	return &Damaged{s.path, aside, why}, nil
}

func (s *Store) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// Warnings are what was wrong with the files when they were opened, and what was done.
func (s *Store) Warnings() []string { return s.warnings }

// Created reports whether the database is a new one.
func (s *Store) Created() bool { return s.created }
