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
	taken   string // the signature of what is in use
	seen    string // of the last look
	since   time.Time
	changed time.Time // when it was first seen to be another one than what is in use
}

const (
	// Settled is for how long files must have been left alone.
	Settled = time.Second
	// Shrunk is for how long if what they hold is much less than before: a writer that
	// was stopped in the middle looks the same, for a while.
	Shrunk = 5 * time.Second
	// Restless is for how long files may change all the time; then they are read as they
	// are.
	Restless = 30 * time.Second
)

// Due reports whether files with this signature are to be read now. now is of a clock
// that nobody sets.
func (f *Follow) Due(sign string, now time.Time) bool {
	if sign == f.taken {
		f.seen, f.changed = sign, time.Time{}
		return false
	}
	if f.changed.IsZero() {
		f.changed = now
	}
	if sign != f.seen {
		f.seen, f.since = sign, now
	}
	return now.Sub(f.since) >= Settled || now.Sub(f.changed) >= Restless
}

// Whole reports whether what was read may be taken for what the files are to hold: they
// did not change under the reader, and do not hold nothing, or less than half of the
// entries from before, since a moment ago.
func (f *Follow) Whole(signBefore, signAfter string, entriesBefore, entriesNow int, now time.Time) bool {
	if now.Sub(f.changed) >= Restless {
		return true
	}
	return signBefore == signAfter && (entriesNow*2 >= entriesBefore || now.Sub(f.since) >= Shrunk)
}

// Took is told of the signature of what is in use now.
func (f *Follow) Took(sign string) { f.taken, f.changed = sign, time.Time{} }
