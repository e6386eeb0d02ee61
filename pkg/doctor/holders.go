package doctor

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Which processes have to do with a log.

// linksMost is how many open files of processes are looked at.
const linksMost = 200_000

// held is what processes have of a path, as "nginx (pid 12)" each.
type held struct {
	open    string // has the file open to write to it
	deleted string // has one open that had the name, and was deleted
	inside  string // sees a file of that name where this host has none
}

// holders looks through the processes for those that have a path open, or see it in a root
// directory of their own. What this user may not look at is passed over.
func holders(ctx context.Context, path string) (h held) {
	path = filepath.Clean(path)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return h
	}
	mine, _ := os.Readlink("/proc/self/ns/mnt")
	looked := map[string]bool{mine: true}
	links := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ctx.Err() != nil || links > linksMost {
			return h
		}
		dir := "/proc/" + e.Name()
		if ns, err := os.Readlink(dir + "/ns/mnt"); err == nil && !looked[ns] {
			looked[ns] = true
			if fi, err := os.Stat(dir + "/root" + path); err == nil && fi.Mode().IsRegular() && !exists(path) {
				h.inside = called(pid)
			}
		}
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		links += len(fds)
		for _, fd := range fds {
			to, err := os.Readlink(dir + "/fd/" + fd.Name())
			switch {
			case err != nil || !strings.HasPrefix(to, path):
			case to == path && writes(dir, fd.Name()):
				h.open = called(pid)
			case to == path+" (deleted)" && !exists(to) && writes(dir, fd.Name()):
				h.deleted = called(pid)
			}
		}
	}
	return h
}

// writes reports whether a process has a descriptor open to write to it.
func writes(dir, fd string) bool {
	info, err := os.ReadFile(dir + "/fdinfo/" + fd)
	if err != nil {
		return true // nobody knows
	}
	_, rest, _ := strings.Cut(string(info), "flags:")
	words := strings.Fields(rest)
	if len(words) == 0 {
		return true
	}
	flags, err := strconv.ParseInt(words[0], 8, 64)
	return err != nil || flags&syscall.O_ACCMODE != syscall.O_RDONLY
}

// called names a process.
func called(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (pid %d)", clip([]byte(strings.TrimSpace(string(name)))), pid)
}

// groupOf is the name of the group that a file, or the directory of one that isn't there,
// belongs to.
func groupOf(path string) string {
	for _, p := range []string{path, filepath.Dir(path)} {
		fi, err := os.Stat(p)
		if err != nil {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			id := strconv.Itoa(int(st.Gid))
			if g, err := user.LookupGroupId(id); err == nil {
				return g.Name
			}
			return id
		}
	}
	return "adm"
}
