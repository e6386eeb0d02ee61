package firewall

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/lazyregexp"
)

// Two daemons on one table would repair each other for ever. So whoever keeps it has a
// lock, by the name of the table and the network namespace that it is in. It is a file
// in a directory that nobody else can write to; a name that any user could take, such as
// a socket's without a path, would let him keep the daemon from starting.

// LockDir is where the locks are.
var LockDir = "/run/bailiff"

// lockPatience is how long a daemon that is about to end is waited for.
const lockPatience = 5 * time.Second

// noLockError says that there can be no lock; that is no reason to leave the host
// without bans.
type noLockError struct{ err error }

func (e *noLockError) Error() string {
	return fmt.Sprintf("nftables: no lock in %s: %v: a second bailiff on the same table would not be noticed", LockDir, e.err)
}

// HeldError says that another process keeps a table.
type HeldError struct{ Table, PID string }

func (e *HeldError) Error() string {
	return fmt.Sprintf("another bailiff (process %s) keeps the nftables table inet %s in this network namespace: stop it first, or name another table in [firewall] table", e.PID, e.Table)
}

func asNoLock(err error, to **noLockError) bool { return errors.As(err, to) }

// lockTable returns the lock of a table, held as long as the file is open.
func lockTable(table string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(LockDir), 0o755); err != nil {
		return nil, &noLockError{err}
	}
	if err := os.Mkdir(LockDir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, &noLockError{err}
	}
	// From here on all is looked at through what is open, so that nothing can be
	// exchanged in between.
	dir, err := unix.Open(LockDir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &noLockError{err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, &noLockError{err}
	}
	switch {
	case st.Uid != 0 && st.Uid != uint32(os.Geteuid()) && !isOurs(st.Uid):
		return nil, fmt.Errorf("%s belongs to user %d, who could take the lock of table inet %s: chown root %s", LockDir, st.Uid, table, LockDir)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("%s can be written by others, who could take the lock of table inet %s: chmod go-w %s", LockDir, table, LockDir)
	}
	owner := st.Uid
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return nil, &noLockError{err}
	}
	name := fmt.Sprintf("nftables-%s-%d.lock", strings.ReplaceAll(table, "/", "_"), st.Ino)
	for end := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, &noLockError{fmt.Errorf("%s: %w", name, err)}
		}
		file := os.NewFile(uintptr(fd), filepath.Join(LockDir, name))
		var path unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			file.Close()
			return nil, &noLockError{fmt.Errorf("%s is no regular file", name)}
		}
		if st.Nlink > 1 || st.Uid != owner && st.Uid != 0 && st.Uid != uint32(os.Geteuid()) { // it is written to
			file.Close()
			return nil, &noLockError{fmt.Errorf("%s is somebody else's file", name)}
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil && unix.Fstatat(dir, name, &path, unix.AT_SYMLINK_NOFOLLOW) == nil && path.Ino == st.Ino:
			_ = file.Truncate(0)
			_, _ = file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
			tidyLocks(dir, name)
			return file, nil
		case err != nil && !errors.Is(err, unix.EWOULDBLOCK):
			file.Close()
			return nil, &noLockError{fmt.Errorf("%s: %w", name, err)}
		case err != nil && time.Now().After(end):
			pid := make([]byte, 20)
			n, _ := file.ReadAt(pid, 0)
			file.Close()
			return nil, &HeldError{table, strings.TrimSpace(string(pid[:n]))}
		}
		file.Close() // it is held, or its holder has just taken it away
	}
}

// serviceUser is whom the service runs as that packages install. Its directory stays when
// the daemon is run by root the next time. Tests name another.
var serviceUser = "bailiff"

// isOurs reports whether a user is that of the service.
func isOurs(uid uint32) bool {
	u, err := user.Lookup(serviceUser)
	return err == nil && u.Uid == strconv.FormatUint(uint64(uid), 10)
}

// tidyMost is how many names in the directory are looked at for locks that nobody holds.
const tidyMost = 10_000

var lockName = lazyregexp.New(`^nftables-.+-[0-9]+\.lock$`)

// tidyLocks removes the locks that daemons have left which were killed: those that nobody
// holds. Their network namespaces are mostly gone, and nobody else would. Who opens one at
// this moment finds, when he has it, that the name leads elsewhere, and tries again.
func tidyLocks(dir int, own string) {
	list, err := unix.Openat(dir, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	names := os.NewFile(uintptr(list), LockDir)
	defer names.Close()
	found, _ := names.Readdirnames(tidyMost)
	for _, name := range found {
		if name == own || !lockName.MatchString(name) {
			continue
		}
		fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st, path unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil &&
			unix.Fstatat(dir, name, &path, unix.AT_SYMLINK_NOFOLLOW) == nil && path.Ino == st.Ino {
			_ = unix.Unlinkat(dir, name, 0)
		}
		unix.Close(fd)
	}
}

// unlock gives a lock back, and takes its file away while it is still held, so that nobody
// who starts meanwhile loses his.
func unlock(file *os.File) {
	os.Remove(file.Name())
	file.Close()
}
