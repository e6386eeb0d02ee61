package control

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A service manager may listen on the socket and start the daemon when somebody connects
// (systemd.socket(5)). The socket, its path and its rights are the manager's then: the
// daemon takes it over, and leaves it there when it ends.

// firstFD is the first descriptor that a service manager hands over (sd_listen_fds(3)).
const firstFD = 3

// OtherSockets returns what a service manager has handed over that is not for the daemon's own
// socket: sockets of a network, of datagrams, or of the name syslog (FileDescriptorName=). It
// is to be called once, before the daemon listens.
func OtherSockets() (out []*os.File) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n <= 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for fd := firstFD; fd < firstFD+min(n, 64); fd++ {
		if other(fd, names) {
			unix.CloseOnExec(fd)
			if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFD+64); err == nil {
				out = append(out, os.NewFile(uintptr(dup), "socket of the service manager"))
			}
		}
	}
	return out
}

// other reports whether a descriptor is one of a service manager's that is not for the
// daemon's own socket.
func other(fd int, names []string) bool {
	if i := fd - firstFD; i < len(names) && names[i] == "syslog" {
		return true
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && (domain == unix.AF_INET || domain == unix.AF_INET6 || kind == unix.SOCK_DGRAM)
}

// HandedOver reports whether a service manager has handed a socket over to this process.
func HandedOver() bool {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n <= 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return false
	}
	_, ours := handed()
	return ours > 0
}

// handed says how many descriptors a service manager has handed over, and which is the
// daemon's: that of the name fail2ban or bailiff, else the first that is for nothing else
// (OtherSockets); 0: none is.
func handed() (n, ours int) {
	n, _ = strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if at := slices.IndexFunc(names, func(s string) bool { return s == "fail2ban" || s == "bailiff" }); at >= 0 {
		return n, firstFD + min(at, n-1)
	}
	for fd := firstFD; fd < firstFD+min(n, 64); fd++ {
		if !other(fd, names) {
			return n, fd
		}
	}
	return n, 0
}

// HandedOverPath is the path of the socket that a service manager has handed over to this
// process, before it is taken; empty: there is none.
func HandedOverPath() string {
	if !HandedOver() {
		return ""
	}
	_, fd := handed()
	if sa, err := unix.Getsockname(fd); err == nil {
		if sa, ok := sa.(*unix.SockaddrUnix); ok && !strings.HasPrefix(sa.Name, "@") {
			return sa.Name
		}
	}
	return ""
}

// inherited returns the socket that a service manager has handed over; nil: there is none.
// Of several it is the one of the name fail2ban or bailiff (FileDescriptorName=), else the
// first. What says so is taken out of the environment, so that no command of ours takes it
// for its own.
func inherited() (*net.UnixListener, error) {
	if !HandedOver() {
		return nil, nil
	}
	n, at := handed()
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	for fd := firstFD; fd < firstFD+min(n, 64); fd++ {
		unix.CloseOnExec(fd)
	}
	f := os.NewFile(uintptr(at), "socket of the service manager")
	defer f.Close() // it is duplicated
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket of the service manager (LISTEN_FDS): %w", err)
	}
	ours, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("socket of the service manager (LISTEN_FDS): want a Unix socket, not %s", l.Addr().Network())
	}
	ours.SetUnlinkOnClose(false)
	if err := ownersAlone(ours.Addr().String()); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// ownersAlone says why a socket is open to others than its owner: over it one may do
// everything. systemd's default is open to all.
func ownersAlone(path string) error {
	if path == "" || path[0] == '@' {
		return fmt.Errorf("socket of the service manager (LISTEN_FDS): it has no path, and everybody may connect: give it one (ListenStream=)")
	}
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return fmt.Errorf("socket of the service manager (LISTEN_FDS): %w", err)
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("socket %s of the service manager (LISTEN_FDS): others than its owner may connect (mode %04o): set SocketMode=0600", path, fi.Mode().Perm())
	}
	return nil
}

// WatchEnd returns what tells whether the daemon that has a socket now has ended: it looks at
// the lock beside it. Somebody who connected to see might have a service manager start the
// next one. nil: no daemon of ours has it, or this user may not look.
func WatchEnd(socket string) (ended func() bool) {
	f, err := os.OpenFile(socket+".lock", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	free := func() bool {
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
			return false
		}
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		return true
	}
	if free() {
		f.Close()
		return nil
	}
	return func() bool {
		if !free() {
			return false
		}
		f.Close()
		return true
	}
}
