// Package safefile opens files in directories that others may write to.
//
// A daemon that runs as root reads logs which an application owns, and makes files
// in directories that may be somebody's. Whoever owns such a directory may put
// anything in a file's place, at any moment: a FIFO, on which a plain open waits for
// ever; a device, which does something when it is opened; a symbolic link to what
// only root may read or write. So what a path names is looked at before it is
// opened, and what is opened is what was looked at:
//
//   - a path is walked with O_PATH, which opens nothing;
//   - a symbolic link is followed only if it belongs to root, to this process's user,
//     or to the owner of what it leads to (as the kernel's fs.protected_symlinks has
//     it for /tmp, here for every directory);
//   - only a regular file is opened, or a FIFO where one is asked for, by its inode
//     and not by its name.
//
// Open may still wait as long as the file system does (a network that is gone, FUSE);
// who can't wait asks in a goroutine of its own.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// KindError says that a path names something that isn't opened.
type KindError struct {
	Path string
	Mode fs.FileMode // its type
}

func (e *KindError) Error() string {
	return "is " + Kind(e.Mode) + ", not a regular file"
}

// Kind names the type of a file, with its article.
func Kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a regular file"
}

// LinkError says that a symbolic link isn't followed.
type LinkError struct {
	Link         string // name of the link itself
	Owner, Leads uint32 // user ids of the link's owner, and of the owner of what it leads to
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s is a symbolic link of user %d to what belongs to user %d, and is not followed: its owner could have anything read by it; "+
		"make the link root's (chown -h root), or name what it leads to", e.Link, e.Owner, e.Leads)
}

// Open opens a regular file for reading.
func Open(path string) (*os.File, error) { return open(path, false) }

// OpenLog opens a regular file or a FIFO for reading. A FIFO is opened for writing,
// too, where that is allowed, so that it doesn't end when its writers go.
func OpenLog(path string) (*os.File, error) { return open(path, true) }

func open(path string, fifo bool) (*os.File, error) {
	at, err := Find(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	const flags = unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd := -1
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFREG:
		fd, err = reopen(at, path, unix.O_RDONLY|flags, &st)
		if err == nil {
			err = unix.SetNonblock(fd, false) // of no use for regular files, and costs
		}
	case kind == unix.S_IFIFO && fifo:
		fd, err = reopen(at, path, unix.O_RDWR|flags, &st)
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) {
			fd, err = reopen(at, path, unix.O_RDONLY|flags, &st)
		}
	default:
		return nil, &KindError{path, mode(st.Mode)}
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// reopen opens the very inode of an O_PATH descriptor.
func reopen(at int, path string, flags int, want *unix.Stat_t) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Open("/proc/self/fd/"+strconv.Itoa(at), flags, 0) })
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	// Without /proc, by its name; then it must be the same.
	if fd, err = retry(func() (int, error) { return unix.Open(path, flags, 0) }); err != nil {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != want.Dev || st.Ino != want.Ino {
		unix.Close(fd)
		return -1, errors.Join(err, errors.New("was replaced while it was opened; trying again"))
	}
	return fd, nil
}

func retry(f func() (int, error)) (int, error) {
	for {
		if fd, err := f(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func mode(m uint32) fs.FileMode {
	switch m & unix.S_IFMT {
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFCHR:
		return fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		return fs.ModeDevice
	case unix.S_IFLNK:
		return fs.ModeSymlink
	}
	return 0
}

// ReadFile reads a regular file, at most so many bytes of it.
func ReadFile(path string, most int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d bytes", most)}
	}
	return data, err
}

// ReadConfig reads a file of a configuration: a regular file of 64 MiB at most. Whoever
// may write there commands the daemon, so every symbolic link is followed; but a FIFO or
// a terminal among the files is an error, not something to wait for.
func ReadConfig(path string) ([]byte, error) {
	defer Asking(path)()
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: &KindError{path, fi.Mode()}}
	}
	if err != nil {
		return nil, err
	}
	// It may have been replaced since: not even then is anything waited for.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	now, err := file.Stat()
	if err == nil && !now.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: &KindError{path, now.Mode()}}
	}
	if err != nil {
		return nil, err
	}
	const most = 64 << 20
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && len(data) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d bytes", most)}
	}
	return data, err
}

// Create opens a file for writing, or makes it with perm. It takes only a regular
// file with one name that belongs to root or to this process's user: no symbolic link
// in its last place, no FIFO, no device, and nothing that another name of it would
// have written to. The directories before it are the caller's to judge. With
// os.O_TRUNC it is emptied once that is known; other flags are those of os.OpenFile.
func Create(path string, flag int, perm fs.FileMode) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, flag&^os.O_TRUNC|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		err = &KindError{path, fs.ModeSymlink}
	case errors.Is(err, unix.ENXIO): // a FIFO without a reader, a socket
		err = errors.New("is a FIFO or a socket, not a regular file")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	file := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = &KindError{path, mode(st.Mode)}
	case st.Nlink > 1:
		err = fmt.Errorf("has %d names (hard links): it is not written to, since that would change another file", st.Nlink)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("belongs to user %d: it is not written to; remove it, or choose another place", st.Uid)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err == nil && flag&os.O_TRUNC != 0 {
		err = file.Truncate(0)
	}
	if err != nil {
		file.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return file, nil
}

// Append opens a file to append to it, or makes it with perm. Unlike Create it takes a
// file of another user's, and follows symbolic links as Open does; a device of root's
// (/dev/null, a console) is taken, too, a FIFO is not.
func Append(path string, perm fs.FileMode) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	at, err := Find(path)
	if errors.Is(err, unix.ENOENT) {
		return Create(path, os.O_WRONLY|os.O_APPEND, perm)
	}
	if err != nil {
		return fail(err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return fail(err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && (kind != unix.S_IFCHR || st.Uid != 0) {
		return fail(&KindError{path, mode(st.Mode)})
	}
	fd, err := reopen(at, path, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, &st)
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
