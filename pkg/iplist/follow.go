package iplist

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Signature is another one when a file was changed, replaced, made or removed.
func Signature(files []string) string {
	var b strings.Builder
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%s gone\n", f)
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", f, identity(fi))
	}
	return b.String()
}

func identity(fi fs.FileInfo) string {
	s := fmt.Sprintf("%d %d", fi.Size(), fi.ModTime().UnixNano())
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s += fmt.Sprintf(" %d %d %d", st.Dev, st.Ino, st.Ctim.Nano())
	}
	return s
}

// Follow says when files are to be read anew: when they have changed, and were left
// alone for a moment since. One that is rewritten in place is empty first, and half
// full then.
type Follow struct {
	taken string // the signature of what was read
	seen  string // of the last look
	since time.Time
}

// Settled is for how long files must have been left alone, and Shrunk for how long if
// what they hold is much less than before: a writer that was stopped in the middle looks
// the same, for a while.
const (
	Settled = time.Second
	Shrunk  = 5 * time.Second
)

// Due reports whether files with this signature are to be read now. The clock runs on
// whatever happens to that of the wall.
func (f *Follow) Due(sign string, now time.Time) bool {
	if sign != f.seen {
		f.seen, f.since = sign, now
	}
	return sign != f.taken && now.Sub(f.since) >= Settled
}

// Believable reports whether what was read in place of something else may be taken at
// once: it is empty, or less than half of what was there before, only after Shrunk.
func (f *Follow) Believable(before, now int, at time.Time) bool {
	return before == 0 || now*2 >= before || at.Sub(f.since) >= Shrunk
}

// Took is told of the signature, taken before and after reading, of what is in use now.
func (f *Follow) Took(sign string) { f.taken, f.seen = sign, sign }
