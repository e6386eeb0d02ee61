package daemon

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Which directories are to be reached is looked up before the daemon is confined, by threads
// that are to be confined with it. One that waits for a file system which hangs can't be, and
// all would wait for it. So file systems that may hang (FUSE, those of a network) are not
// touched: what lies on one is given with the directory that it is mounted in.

// local are file systems that ask nobody else.
var local = strings.Fields(`ext2 ext3 ext4 xfs btrfs f2fs bcachefs zfs jfs reiserfs ntfs3 vfat exfat iso9660 udf
	squashfs erofs overlay aufs rootfs tmpfs ramfs devtmpfs devpts proc sysfs cgroup cgroup2 bpf securityfs debugfs
	tracefs mqueue hugetlbfs configfs efivarfs pstore nsfs binfmt_misc`)

// mounts are the mount points with whether their file systems may hang.
type mounts map[string]bool

func readMounts() mounts {
	m := mounts{"/": false}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return m
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// ID PARENT MAJ:MIN ROOT POINT OPTIONS … - TYPE SOURCE SUPER
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, of := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) > 4 && len(of) > 0 {
			m[unescaped(fields[4])] = !slices.Contains(local, of[0]) // the last one at a point is on top
		}
	}
	return m
}

// unescaped is a path of mountinfo, which has \040 for a space.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// place is where a path leads.
type place struct {
	path string // without symbolic links, as far as it is there
	// hangs: it leads to a file system that may hang; path is a directory that holds it.
	hangs bool
	there bool
	dir   bool
	uid   uint32
	gid   uint32
	mode  os.FileMode
}

const linksMost = 40

// find follows a path through what does not hang.
func (m mounts) find(path string) place {
	path, err := filepath.Abs(path)
	if err != nil {
		return place{path: path}
	}
	at, rest, links := "/", path, 0
	p := place{path: "/", there: true, dir: true, mode: os.ModeDir | 0o755}
	for rest = strings.Trim(rest, "/"); rest != ""; {
		name, more, _ := strings.Cut(rest, "/")
		rest = strings.TrimLeft(more, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		if hangs := m[next]; hangs {
			if slices.Contains(whole, at) {
				at = next
			}
			return place{path: at, hangs: true, there: true, dir: true}
		}
		fi, err := os.Lstat(next)
		if err != nil {
			return place{path: filepath.Join(next, rest)}
		}
		if fi.Mode()&os.ModeSymlink != 0 {
			to, err := os.Readlink(next)
			if links++; err != nil || links > linksMost {
				return place{path: filepath.Join(next, rest)}
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = strings.Trim(to, "/") + "/" + rest
			continue
		}
		at = next
		p.of(fi)
	}
	if at == "/" {
		p.dir = true
	} else if fi, err := os.Lstat(at); err == nil { // ".." may have led back
		p.of(fi)
	}
	p.path, p.there = at, true
	return p
}

// given are the directories of a file, since it may be another file the next time: that of
// its name, and that of what it leads to. One that is not there yet comes in the next one
// above. Of a directory with much else in it, it is the file alone.
func (m mounts) given(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	out := []string{m.around(path)}
	if p := m.find(path); p.hangs {
		out = append(out, p.path)
	} else if p.there && p.path != path {
		out = append(out, m.around(p.path))
	}
	return out
}

func (m mounts) around(path string) string {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if slices.Contains(whole, dir) {
			return path
		}
		if p := m.find(dir); p.there {
			return p.path
		}
	}
}

// of takes over what is known of a file.
func (p *place) of(fi fs.FileInfo) {
	p.dir, p.mode = fi.IsDir(), fi.Mode()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		p.uid, p.gid = st.Uid, st.Gid
	}
}
