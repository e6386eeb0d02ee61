package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The lock beside the socket says whether a daemon lives: it ends with its holder, however
// that dies. A daemon that ends takes no more connections, and keeps the lock until its
// last answers are given; who starts then waits for that.

// lockPatience is how long a daemon that is about to end is waited for: longer than Close
// takes.
const lockPatience = 10 * time.Second

// openLock opens the lock's file, or makes it; never by a link, and nothing that is no
// file.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s: is no regular file: remove it", path)
	}
	return f, nil
}

// lockSocket returns the lock of a socket, held as long as the file is open. alive reports
// whether who has it now takes connections; else he is about to end, and waited for.
func lockSocket(path string, alive func(path string) bool) (*os.File, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		f, err := openLock(path + ".lock")
		if err != nil {
			return nil, fmt.Errorf("socket: %w", err)
		}
		held := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
		if !held && named(f, path+".lock") {
			return f, nil
		}
		f.Close()
		if held && (alive(path) || time.Now().After(end)) {
			return nil, fmt.Errorf("socket %s: another daemon is running here: stop it with `bailiff stop --socket %s`, or choose another --socket", path, path)
		}
	}
}

// named reports whether a file is still the one of that name: who ends removes it.
func named(f *os.File, path string) bool {
	was, err := f.Stat()
	if err != nil {
		return false
	}
	is, err := os.Lstat(path)
	return err == nil && os.SameFile(was, is)
}

// answered reports whether somebody takes connections at a socket, or would: EAGAIN says
// that so many wait for one that hangs that there is no room for more.
func answered(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		var late net.Error // EAGAIN is such a one, too
		return errors.As(err, &late) && late.Timeout()
	}
	c.Close()
	return true
}
