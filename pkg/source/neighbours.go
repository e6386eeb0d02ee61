package source

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/safefile"
)

// Rotation gives the log another name beside its old one. Files that had the log's
// name and lost it before anybody looked are found there.

// Tests have fewer.
var (
	// mostNames bounds how many names of a directory are looked at.
	mostNames = 100_000
	// mostNeighbours bounds how many files beside a log are looked at.
	mostNeighbours = 4096
)

// looking is called before names are looked at, without one, and before each, for tests.
var looking = func(string) {}

const (
	// mostBetween bounds how many of them are opened at once: if more came in one gap, the
	// others are opened when those were read.
	mostBetween = 256
)

// renamedTo is what rotation puts behind a log's name, or before its ending: .1,
// -20260131, .2026-01-31T00:00, .r1, .old.
var renamedTo = lazyregexp.New(`^[.\-_~]?(?:[A-Za-z]{0,8}[.\-_]?\d[\d.\-_T:+Z]*|old|bak|prev|previous|last|orig|save|saved|backup|rotated)(?:[.\-_]\d+)?~?$`)

// neighbour is a file beside a log.
type neighbour struct {
	looked
	path string
}

// leadsTo is what a symbolic link that is followed leads to, under its own name; empty
// for one that isn't: whose file a stranger's link names is nobody's neighbour.
func leadsTo(path string) string {
	at, err := safefile.Find(path)
	if err == nil {
		defer unix.Close(at)
		real, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(at))
		return real
	}
	var link unix.Stat_t
	if !errors.Is(err, unix.ENOENT) || unix.Lstat(path, &link) != nil || link.Uid != 0 && int(link.Uid) != os.Geteuid() {
		return ""
	}
	to, err := os.Readlink(path) // to nothing, for now
	if err == nil && !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	return to
}

// neighbours returns the regular files beside a log whose names make them former
// files of it, or with all set every one. torn says that a name was gone when its file was
// looked at: a file with another name by then may be missing.
func neighbours(path string, all bool) (out []neighbour, torn bool) {
	paths := []string{path}
	if real := leadsTo(path); real != "" && real != path {
		paths = append(paths, real)
	}
	looking("")
	seen := map[string]bool{}
	for _, p := range paths {
		dir, base := filepath.Split(p)
		if dir == "" {
			dir = "."
		}
		names(dir, func(name string) bool {
			if full := filepath.Join(dir, name); !seen[full] && (all || formerName(base, name)) {
				seen[full] = true
				looking(full)
				l, err := statx(unix.AT_FDCWD, full, unix.AT_SYMLINK_NOFOLLOW)
				if err == nil && l.regular {
					out = append(out, neighbour{l, full})
				}
				torn = torn || errors.Is(err, unix.ENOENT)
			}
			return all || len(out) < mostNeighbours
		})
	}
	return out, torn
}

// listed returns the neighbours as they stood there at one moment: names change while
// they are looked through, and who looks may be stopped meanwhile, so it looks until two
// looks are the same, ten times at most. Then it returns what it saw in any of them.
func listed(path string, all bool) (out []neighbour) {
	var before map[string]node
	seen := map[node]neighbour{}
	for range 10 {
		var torn bool
		out, torn = neighbours(path, all)
		now := make(map[string]node, len(out))
		for _, n := range out {
			now[n.path] = n.node
			seen[n.node] = n
		}
		if before != nil && !torn && maps.Equal(before, now) {
			return out
		}
		before = now
	}
	// What was renamed in the last look may be missing in it.
	for _, n := range out {
		delete(seen, n.node)
	}
	return slices.AppendSeq(out, maps.Values(seen))
}

// mostBelow bounds how many directories in that of a log are looked into.
const mostBelow = 256

// below looks for a file in the directories that are in that of a log, where logrotate's
// olddir has them: on the same file system, since another one may not answer.
func below(path string, is func(looked) bool) (found *neighbour) {
	dir := filepath.Dir(path)
	if real := leadsTo(path); real != "" {
		dir = filepath.Dir(real)
	}
	home, err := statx(unix.AT_FDCWD, dir, unix.AT_NO_AUTOMOUNT)
	if err != nil {
		return nil
	}
	looked := 0
	names(dir, func(name string) bool {
		in := filepath.Join(dir, name)
		d, err := statx(unix.AT_FDCWD, in, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		if err != nil || !d.dir || d.id.Dev != home.id.Dev {
			return true
		}
		names(in, func(name string) bool {
			full := filepath.Join(in, name)
			if l, err := statx(unix.AT_FDCWD, full, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); err == nil && l.regular && is(l) {
				found = &neighbour{l, full}
			}
			return found == nil
		})
		looked++
		return found == nil && looked < mostBelow
	})
	return found
}

func names(dir string, each func(string) bool) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer d.Close()
	for n := 0; n < mostNames; {
		some, err := d.Readdirnames(1024)
		for _, name := range some {
			if !each(name) {
				return
			}
		}
		if n += len(some); err != nil {
			return
		}
	}
}

// formerName reports whether a name is one that rotation gives.
func formerName(base, name string) bool {
	if rest, ok := strings.CutPrefix(name, base); ok {
		return rest == "" || renamedTo.MatchString(rest)
	}
	// logrotate's option extension: app.log becomes app-20260131.log.
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	rest, ok := strings.CutPrefix(name, stem)
	if !ok || ext == "" || stem == "" {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && renamedTo.MatchString(rest)
}

// open opens a neighbour, if its path still names it.
func (n *neighbour) open() (*os.File, error) {
	file, err := safefile.Open(n.path)
	if err != nil {
		return nil, err
	}
	if l, err := lookAt(file); err != nil || l.node != n.node {
		file.Close()
		return nil, errors.Join(err, errors.New("was renamed meanwhile"))
	}
	return file, nil
}

// openNeighbours opens those that want says, at most mostBetween, the oldest first.
// Names change while they are looked through, so it looks again until nothing is
// missed. What may not be opened is told to refuse, once in a call.
func openNeighbours(path string, all bool, want func(neighbour) bool, refuse func(neighbour, error)) (files []*os.File, of []neighbour) {
	have, refused := map[node]*os.File{}, map[node]bool{}
	for range 10 {
		of = slices.DeleteFunc(listed(path, all), func(n neighbour) bool { return refused[n.node] || have[n.node] == nil && !want(n) })
		slices.SortStableFunc(of, func(a, b neighbour) int { return younger(a.looked, b.looked) })
		of = of[:min(len(of), mostBetween)]
		again := false
		for _, n := range of {
			if have[n.node] != nil {
				continue
			}
			if file, err := n.open(); err == nil {
				have[n.node] = file
			} else {
				again = true
				if errors.Is(err, os.ErrPermission) {
					refused[n.node] = true // others have its place
					refuse(n, err)
				}
			}
		}
		if !again {
			break
		}
	}
	of = slices.DeleteFunc(of, func(n neighbour) bool {
		file := have[n.node]
		if file != nil {
			delete(have, n.node)
			files = append(files, file)
		}
		return file == nil
	})
	for _, file := range have { // deleted meanwhile
		file.Close()
	}
	return files, of
}

// prefixOf reports whether a file of some size is the beginning of another one.
func prefixOf(file io.ReaderAt, size int64, of io.ReaderAt) bool {
	if size == 0 {
		return false
	}
	n := min(size, tailSize)
	a, b := make([]byte, n), make([]byte, n)
	for _, at := range []int64{0, size - n} {
		i, _ := file.ReadAt(a, at)
		j, _ := of.ReadAt(b, at)
		if i < len(a) || j < len(b) || string(a) != string(b) {
			return false
		}
	}
	return true
}
