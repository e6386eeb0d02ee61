package safefile

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mostLinks is how many symbolic links a path may lead through, as in the kernel.
const mostLinks = 40

// walk is one search for what a path names.
type walk struct {
	links int
	self  uint32 // this process's user
}

// Find returns an O_PATH descriptor of what a path names, which is opened by that for
// nothing: neither does it wait for a FIFO, nor does a device notice. The error is a
// *LinkError for a symbolic link that isn't followed.
func Find(path string) (int, error) {
	// Most paths have no links: the kernel walks those at once.
	fd, err := retry(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	})
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOTDIR):
		return fd, err
	}
	w := walk{self: uint32(os.Geteuid())}
	root := unix.AT_FDCWD
	if strings.HasPrefix(path, "/") {
		if root, err = unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return -1, err
		}
		defer unix.Close(root)
	}
	return w.from(root, path)
}

// from walks a path from a directory on, whose descriptor stays open.
func (w *walk) from(dir int, path string) (int, error) {
	at, own := dir, false // own: at is to be closed
	give := func() {
		if own {
			unix.Close(at)
		}
	}
	for rest := path; ; {
		var name string
		rest = strings.TrimLeft(rest, "/")
		name, rest, _ = strings.Cut(rest, "/")
		last := strings.Trim(rest, "/") == ""
		if name == "" {
			if own {
				return at, nil
			}
			name = "."
		}
		next, err := w.step(at, name, path, !last)
		give()
		if err != nil {
			return -1, err
		}
		at, own = next, true
		if last {
			return at, nil
		}
	}
}

// step opens a name in a directory, and where it is a link, what it leads to.
func (w *walk) step(dir int, name, path string, directory bool) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if directory { // has a file system mounted that comes when it is asked for
		fd, err := retry(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_DIRECTORY, 0) })
		if err == nil || !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return fd, err
		}
	}
	fd, err := retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
	if err != nil {
		return -1, err
	}
	var link unix.Stat_t
	if err := unix.Fstat(fd, &link); err != nil || link.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
	defer unix.Close(fd)
	if w.links++; w.links > mostLinks {
		return -1, unix.ELOOP
	}
	to, err := w.follow(dir, fd, name)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(to, &st); err != nil {
		unix.Close(to)
		return -1, err
	}
	if link.Uid != 0 && link.Uid != w.self && link.Uid != st.Uid {
		unix.Close(to)
		return -1, &LinkError{Link: linkName(fd, path), Owner: link.Uid, Leads: st.Uid}
	}
	return to, nil
}

// follow returns what a link leads to.
func (w *walk) follow(dir, link int, name string) (int, error) {
	var in unix.Statfs_t
	if err := unix.Fstatfs(link, &in); err == nil && in.Type == unix.PROC_SUPER_MAGIC {
		// Links there lead to what a process has, not to a name: the kernel follows them.
		return retry(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_CLOEXEC, 0) })
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", buf)
	if err != nil {
		return -1, err
	}
	to := string(buf[:n])
	if !strings.HasPrefix(to, "/") {
		return w.from(dir, to)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return w.from(root, to)
}

// linkName is the name of a link that is open, or the path that led there.
func linkName(fd int, path string) string {
	if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
		return name
	}
	return path
}
