package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// leftAfter is how old a file beside another one is before it counts as left by somebody who
// was killed while he wrote it: nobody writes one for so long.
const leftAfter = time.Hour

// Replace puts another file in the place of path, at once: whoever reads it finds the old one
// or the new one, whole, whenever the power goes. fill writes it, and gives it owner and mode
// (they are the caller's, and 0600). An error names path, with Op "create" if nothing could be
// made in its directory. What those who were killed here have left is removed, now and then.
func Replace(path string, fill func(*os.File) error) error {
	dir, start := filepath.Dir(path), "."+filepath.Base(path)+"."
	clear(dir, start)
	f, err := os.CreateTemp(dir, start)
	if err != nil {
		return &fs.PathError{Op: "create", Path: path, Err: bare(err)}
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return &fs.PathError{Op: "write", Path: path, Err: bare(err)}
	}
	return nil
}

// bare is an error without the name of the file that was written, which is another one
// each time.
func bare(err error) error {
	var of *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &of):
		return of.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// cleared is beside which files it was looked for what was left: at most mostCleared, and
// then anew.
var cleared struct {
	sync.Mutex
	at map[placed]bool
}

const mostCleared = 1000

type placed struct {
	dev, ino uint64
	start    string
}

// clear removes what was left in a directory, once in the life of this process.
func clear(dir, start string) {
	fi, err := os.Stat(dir)
	if err != nil {
		return
	}
	key := placed{start: start}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		key.dev, key.ino = st.Dev, st.Ino
	}
	cleared.Lock()
	had := cleared.at[key]
	if len(cleared.at) >= mostCleared || cleared.at == nil {
		cleared.at = map[placed]bool{}
	}
	cleared.at[key] = true
	cleared.Unlock()
	if had {
		return
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		end, ok := strings.CutPrefix(n.Name(), start)
		if !ok || end == "" || strings.Trim(end, "0123456789") != "" || !n.Type().IsRegular() {
			continue
		}
		if fi, err := n.Info(); err == nil && time.Since(fi.ModTime()) > leftAfter {
			_ = os.Remove(filepath.Join(dir, n.Name()))
		}
	}
}
