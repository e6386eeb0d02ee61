package source

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// place is how far a file was read, with what it is known by: a file with the same
// inode may hold something else by now, and a copy of it has another inode.
type place struct {
	first  string // sum of the first line, as in Batch, or an MD5; empty: there was none yet
	offset int64
	before string // what stands before offset, up to tailSize bytes; empty: not known
}

// in reports whether a file holds what was read up to a place.
func (p place) in(file io.ReaderAt) bool {
	switch {
	case p.offset == 0 && p.first == "":
		return true
	case p.first == "" && p.before == "":
		return false
	}
	if n := max(len(p.before), min(int(p.offset), 1)); n > 0 {
		have := make([]byte, n)
		if got, _ := file.ReadAt(have, p.offset-int64(n)); got < n || p.before != "" && string(have) != p.before {
			return false
		}
	}
	if p.first == "" {
		return true
	}
	sha, md := firstLineSums(file)
	return p.first == sha || p.first == md
}

// firstLineMost is how much of a first line counts.
const firstLineMost = 64 << 10

// firstLineSums returns the sums by which fail2ban knows a file: of its first line
// with the newline, or of as much as counts of a long one; empty if the line is not
// complete yet. fail2ban says MD5, but on Python 3 asks for it in a way that fails,
// and takes SHA-1 in its place.
func firstLineSums(file io.ReaderAt) (sha, md string) {
	buf := make([]byte, 4<<10)
	for {
		n, _ := file.ReadAt(buf, 0)
		i := bytes.IndexByte(buf[:n], '\n')
		if i < 0 && n == firstLineMost {
			i = n - 1
		}
		if i >= 0 {
			a, b := sha1.Sum(buf[:i+1]), md5.Sum(buf[:i+1])
			return hex.EncodeToString(a[:]), hex.EncodeToString(b[:])
		}
		if n < len(buf) {
			return "", ""
		}
		buf = make([]byte, 4*len(buf))
	}
}

// birth is the birth of a file whose file system says this one. Tests have coarser ones.
var birth = func(says int64) int64 { return says }

// node is a file by its inode and its time of birth, since inodes are given again.
type node struct {
	id   FileID
	born int64 // nanoseconds since 1970; 0: the file system doesn't say
}

// looked is what statx tells of a file.
type looked struct {
	node
	size     int64
	modified time.Time
	regular  bool
	dir      bool
	links    uint32
}

func statx(dir int, path string, flags int) (looked, error) {
	var st unix.Statx_t
	for {
		err := unix.Statx(dir, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return looked{}, err
		}
	}
	l := looked{
		node: node{id: FileID{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}},
		size: int64(st.Size), modified: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		regular: st.Mode&unix.S_IFMT == unix.S_IFREG, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR, links: st.Nlink,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		l.born = birth(time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)).UnixNano())
	}
	return l, nil
}

// lookAt tells of an open file.
func lookAt(file *os.File) (l looked, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return l, err
	}
	if ctl := raw.Control(func(fd uintptr) { l, err = statx(int(fd), "", unix.AT_EMPTY_PATH) }); ctl != nil {
		return l, ctl
	}
	return l, err
}

// younger orders files by when they came into being; by when they were last written
// to, where that isn't known.
func younger(a, b looked) int {
	if a.born != 0 && b.born != 0 && a.born != b.born {
		if a.born < b.born {
			return -1
		}
		return 1
	}
	return a.modified.Compare(b.modified)
}
