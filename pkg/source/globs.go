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
	told := false // that nothing matches; once something did, its path says the rest
	for later := false; ; later = true {
		w.begin(0)
		now := directories(glob)
		var e *expansion
		if now != dirs || time.Since(expanded) >= globEvery {
			dirs, expanded = now, time.Now()
			paths, _ := filepath.Glob(glob) // the pattern was checked
			e = &expansion{glob, paths, later}
			switch {
			case len(paths) > 0 && told:
				told = false
				s.unmatched(ctx, glob, "")
			case len(paths) == 0 && !later:
				told = true
				why := NoMatch(glob)
				s.unmatched(ctx, glob, why)
				if ctx.Err() == nil {
					s.note(Event{Path: glob, Warn: true, Text: why + ": waiting for one to appear; see logpath if it is the wrong pattern"})
				}
			}
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

// NoMatch says that no file matches a glob, and why, as far as its directory tells.
func NoMatch(glob string) string {
	const none = "no file matches"
	dir, err := os.Open(fixedDir(glob))
	if err != nil {
		return none + ": " + err.Error()
	}
	dir.Close()
	return none
}

// unmatched has the status tell why a glob has no file; empty: it has one.
func (s *Files) unmatched(ctx context.Context, glob, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil: // it is followed no longer
	case why == "":
		delete(s.status, glob)
	default:
		s.status[glob] = &Status{Path: glob, Error: why}
	}
}

// directories tells the state of the directory that a glob looks into: another state
// means that there may be new files.
func directories(glob string) string {
	fi, err := os.Stat(fixedDir(glob))
	if err != nil {
		return "-"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", fi.ModTime().UnixNano())
	return b.String()
}

// fixedDir is the directory that a glob names before its first wildcard.
func fixedDir(glob string) string {
	dir := filepath.Dir(glob)
	for hasWildcard(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// IsGlob reports whether a log is named by a pattern.
func IsGlob(path string) bool { return hasWildcard(path) }

func hasWildcard(s string) bool {
	for _, c := range s {
		if c == '*' || c == '?' || c == '[' {
			return true
		}
	}
	return false
}
