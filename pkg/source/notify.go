package source

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
	"github.com/nxadm/tail/watch"
	"golang.org/x/sys/unix"
)

// notifier tells followers that something happened to their path. It uses the
// watch package of nxadm/tail, and of that the watches on directories: they
// report creation, writes and renames of a path, and survive its rotation. Its
// watches on files don't, and its ChangeEvents ends the process when a path
// can't be looked at, so neither is used.
type notifier struct {
	// mu is held while the watch package is asked for something. That waits for the
	// goroutine which hands out events, so handing them out needs no more than subs.
	mu   sync.Mutex
	dirs map[string]*watchedDir
	subs sync.Mutex // guards the subscriptions of all paths
}

type watchedDir struct {
	id    FileID
	paths map[string][]*subscription
}

// subscription is one follower's interest in a path.
type subscription struct {
	path  string
	wake  chan<- struct{} // told of everything but writes
	wrote chan<- struct{} // told of writes
	at    *atomic.Int64   // of the last event, in nanoseconds after began
	first *atomic.Int64   // of the first one since what was written was last read; 0: there was none
	dead  bool            // the watch is gone: subscribe anew
}

var events = &notifier{dirs: map[string]*watchedDir{}}

var inotify = sync.OnceValue(func() bool {
	// The watch package ends the process if it can't have an inotify instance,
	// so ask first.
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// subscribe makes wrote receive a value when path was written to, and wake when
// something else happened to it, or it was not written to for a while. It returns
// nil if that can't be had now; a later call may succeed.
func (n *notifier) subscribe(path string, wake, wrote chan<- struct{}, at, first *atomic.Int64) *subscription {
	if !inotify() {
		return nil
	}
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	fi, err := os.Stat(dir)
	if err != nil || remote(dir) {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dirs[dir]
	if d == nil {
		d = &watchedDir{id: fileID(fi.Sys()), paths: map[string][]*subscription{}}
	}
	if len(d.paths[path]) == 0 {
		if err := watch.WatchCreate(path); err != nil {
			return nil
		}
		ch := watch.Events(path)
		go func() {
			for e := range ch { // until the watch is removed
				n.wake(d, path, e.Op == fsnotify.Write)
			}
		}()
	}
	s := &subscription{path: path, wake: wake, wrote: wrote, at: at, first: first}
	n.subs.Lock()
	d.paths[path] = append(d.paths[path], s)
	n.subs.Unlock()
	n.dirs[dir] = d
	return s
}

func (n *notifier) wake(d *watchedDir, path string, write bool) {
	n.subs.Lock()
	defer n.subs.Unlock()
	now := moment()
	for _, s := range d.paths[path] {
		before := s.at.Swap(now) // before it is told: who is told looks at it
		s.first.CompareAndSwap(0, now)
		signal(s.wrote)
		if !write || now-before > int64(checkEvery) {
			signal(s.wake)
		}
	}
}

// remote reports whether a directory is in a file system that does not tell of what
// others write, and may keep who asks for a watch waiting: all logs would wait with it.
func remote(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return true
	}
	switch int64(st.Type) {
	case unix.FUSE_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.V9FS_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.AUTOFS_SUPER_MAGIC:
		return true
	}
	return false
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// cancel ends a subscription.
func (n *notifier) cancel(s *subscription) {
	if s == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.dead {
		return
	}
	s.dead = true
	dir := filepath.Dir(s.path)
	d := n.dirs[dir]
	n.subs.Lock()
	rest := slices.DeleteFunc(d.paths[s.path], func(o *subscription) bool { return o == s })
	d.paths[s.path] = rest
	if len(rest) == 0 {
		delete(d.paths, s.path)
	}
	left := len(d.paths)
	n.subs.Unlock()
	if left == 0 {
		delete(n.dirs, dir)
	}
	if len(rest) == 0 {
		_ = watch.RemoveWatchCreate(s.path)
	}
}

// alive reports whether a subscription still hears of its path. When the
// directory was replaced, all watches in it are given up at once, since the
// watch package renews a directory only when nobody watches it any more.
func (n *notifier) alive(s *subscription) bool {
	if s == nil {
		return false
	}
	dir := filepath.Dir(s.path)
	var st unix.Stat_t
	err := statOf(dir, &st)
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dirs[dir]
	if s.dead || d == nil {
		return false
	}
	if err == nil && d.id == idOfStat(&st) {
		return true
	}
	var gone []string
	n.subs.Lock()
	for path, subs := range d.paths {
		for _, o := range subs {
			o.dead = true
		}
		gone = append(gone, path)
	}
	n.subs.Unlock()
	delete(n.dirs, dir)
	for _, path := range gone {
		_ = watch.RemoveWatchCreate(path)
	}
	return false
}
