package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// expansion is what a glob matches.
type expansion struct {
	glob  string
	paths []string
	later bool // not for the first time
}

// expand tells what a glob matches, as often as that may have changed.
func (s *Files) expand(ctx context.Context, glob string, found chan<- expansion) {
	w := s.waitsOf(glob)
	tick := time.NewTicker(globCheck)
	defer tick.Stop()
	var dirs string // as they were when the glob was expanded
	var expanded time.Time
	for later := false; ; later = true {
		w.begin(0)
		now := directories(glob)
		var e *expansion
		if now != dirs || time.Since(expanded) >= globEvery {
			dirs, expanded = now, time.Now()
			paths, _ := filepath.Glob(glob) // the pattern was checked
			e = &expansion{glob, paths, later}
		}
		w.end(0)
		if e != nil && ctx.Err() == nil {
			select {
			case found <- *e:
			case <-ctx.Done():
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// directories tells the state of the directory that a glob looks into: another state
// means that there may be new files.
func directories(glob string) string {
	dir := filepath.Dir(glob)
	for hasWildcard(dir) {
		dir = filepath.Dir(dir)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "-"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", fi.ModTime().UnixNano())
	return b.String()
}

func hasWildcard(s string) bool {
	for _, c := range s {
		if c == '*' || c == '?' || c == '[' {
			return true
		}
	}
	return false
}
