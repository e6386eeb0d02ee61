package source

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A file of which the rest can't be read since it is not found: what is said of it is what
// was looked at.

// packed are the endings of what rotation compresses.
var packed = []string{".gz", ".xz", ".bz2", ".zst", ".lz4", ".lzma", ".Z"}

// packedMost is how many names of compressed files are told.
const packedMost = 3

// goneText says of a file that was read before why reading does not go on in it. first is
// what the path names; goesOn says that reading goes on in another known file.
func (f *follower) goneText(first *sighting, p Position, goesOn bool) string {
	text := fmt.Sprintf("the file that was followed until byte %d ", p.Offset)
	if first.regular() && first.id == p.File {
		text += fmt.Sprintf("is not there any more: what has its name and inode now, %d bytes, does not hold what was read (it was emptied or written anew, or the inode was given to another file), and no copy of it was found beside it", first.size)
	} else {
		text += "was not found: no file beside the log has its inode and what was read last, or is a copy of it"
	}
	if names := f.packedSince(p.Time); len(names) > 0 {
		text += fmt.Sprintf(" (compressed ones are not looked into: %s)", strings.Join(names, ", "))
	}
	text += "; whatever was written to it while nobody read is not read"
	switch {
	case goesOn:
	case first.regular():
		text += ", and the log is read from its beginning"
	default:
		text += ", and the log is when there is one"
	}
	return text
}

// packedSince names files beside the log that are compressed and were made since it was
// read last.
func (f *follower) packedSince(last time.Time) (out []string) {
	dir, base := filepath.Split(f.path)
	if dir == "" {
		dir = "."
	}
	names(dir, func(name string) bool {
		if strings.HasPrefix(name, base) && slices.Contains(packed, filepath.Ext(name)) {
			// gzip and its like give what they make the times of what it was made of, so a
			// name's change tells when it came, by the kernel's last tick.
			var st unix.Stat_t
			if unix.Lstat(filepath.Join(dir, name), &st) == nil && time.Unix(st.Ctim.Unix()).After(last.Add(-time.Second)) {
				out = append(out, name)
			}
		}
		return len(out) < packedMost
	})
	slices.Sort(out)
	return out
}
