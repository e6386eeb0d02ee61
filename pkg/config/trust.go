package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"bailiff/pkg/safefile"
)

// Who may write to a configuration says what commands are run, and as whom. So of all its files,
// and of the directories and symbolic links on the way to each, it is looked whose they are: root's,
// or this process's user's, and that nobody else may write there. In a directory like /tmp, where
// all may make files and only touch their own, it is what lies there that counts.

// Files are those that were read of a configuration, without stock definitions.
func (c *Config) Files() []string {
	out := slices.Clone(c.read)
	if t := c.Fail2ban; t != nil {
		out = append(out, t.Jail.Files...)
		if t.Server != nil {
			out = append(out, t.Server.Files...)
		}
		for _, j := range c.Jails {
			if j.Fail2ban {
				out = append(out, j.Sources...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// untrustedMost is how many paths are named; with the first ones right, others are
// looked for anew.
const untrustedMost = 5

// Untrusted says which of a configuration's files and directories can be changed by others than
// root and a user (the one of this process), each with what helps. It looks at what is there now, which
// may hang.
func (c *Config) Untrusted(me uint32) []error {
	l := &trustLook{me: me, seen: map[string]bool{}}
	for _, file := range c.Files() {
		l.look(file)
	}
	if more := len(l.found) - untrustedMost; more > 0 {
		l.found = append(l.found[:untrustedMost], fmt.Errorf("and %d more of the configuration's files and directories", more))
	}
	return l.found
}

type trustLook struct {
	me    uint32
	seen  map[string]bool // paths without links
	found []error
}

// linksMost is how many symbolic links there may be on the way to a file.
const linksMost = 40

// look looks at all on the way to a file, and at the file.
func (l *trustLook) look(path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return
	}
	defer safefile.Asking(path)()
	at, links := "/", 0
	l.at(at)
	for rest := strings.Trim(path, "/"); rest != ""; {
		name, more, _ := strings.Cut(rest, "/")
		rest = strings.TrimLeft(more, "/")
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		if name == "." {
			continue
		}
		next := filepath.Join(at, name)
		fi := l.at(next)
		if fi == nil {
			return
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		to, err := os.Readlink(next)
		if links++; err != nil || links > linksMost {
			return
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = strings.Trim(strings.Trim(to, "/")+"/"+rest, "/")
	}
}

// at looks at a file, a directory or a link; nil: it is not there any more.
func (l *trustLook) at(path string) fs.FileInfo {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if l.seen[path] {
		return fi
	}
	l.seen[path] = true
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fi
	}
	mode := fi.Mode()
	link := mode&fs.ModeSymlink != 0
	switch {
	case st.Uid != 0 && st.Uid != l.me:
		change := "chown root"
		if link {
			change = "chown -h root"
		}
		l.found = append(l.found, fmt.Errorf("%s belongs to user %d: %s %[1]s", path, st.Uid, change))
	case link || mode.IsDir() && mode&fs.ModeSticky != 0:
	case mode&0o002 != 0:
		l.found = append(l.found, fmt.Errorf("%s can be written by everybody: chmod go-w %[1]s", path))
	case mode&0o020 != 0:
		l.found = append(l.found, fmt.Errorf("%s can be written by its group (%d): chmod g-w %[1]s", path, st.Gid))
	}
	return fi
}
