package replay

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/lazyregexp"
)

// Which files are one log, and in which order they were written. Rotation names them by
// numbers (auth.log.2.gz is older than auth.log.1) or by dates (auth.log-20260131); what is
// believed in the end are the dates of their first lines (sortFiles).

// Log is one log, in one or several files, the oldest first.
type Log struct {
	Name  string // the path without what rotation added
	Files []*File
}

// File is a file of a log.
type File struct {
	Path string
	Size int64     // as it is there
	Time time.Time // when it was written to last
	// From is what is read in place of what Path names; nil: that is opened.
	From io.Reader

	first time.Time // of its first line that has a date, if that is known
	place place
}

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Set is what was found of some paths.
type Set struct {
	Logs  []Log
	Notes []string // what was left out, and why
}

// Files puts paths together into logs. The error names those that are no files.
func Files(paths []string) (*Set, error) {
	s := &Set{}
	var errs []error
	var seen []os.FileInfo
	by := map[string]*File{} // by name without the compression's ending
	byLog := map[string]int{}
	for _, p := range paths {
		f := &File{Path: p, Time: time.Now()}
		name, stem := p, p
		if p != Stdin {
			fi, err := os.Stat(p)
			switch {
			case err != nil:
				errs = append(errs, err)
				continue
			case fi.IsDir():
				errs = append(errs, fmt.Errorf("%s is a directory: name the logs in it", p))
				continue
			case !fi.Mode().IsRegular():
				errs = append(errs, fmt.Errorf("%s is no file", p))
				continue
			case slices.ContainsFunc(seen, func(other os.FileInfo) bool { return os.SameFile(fi, other) }):
				s.Notes = append(s.Notes, fmt.Sprintf("%s is a file that was named before: it is read once", p))
				continue
			}
			seen = append(seen, fi)
			f.Size, f.Time = fi.Size(), fi.ModTime()
			stem = strings.TrimSuffix(p, compressed(p))
			name, f.place = rotated(stem)
		}
		if other := by[stem]; other != nil { // a log that is being compressed, or was kept beside
			left := f
			if other.Path != stem && f.Path == stem {
				*other, left = *f, &File{Path: other.Path}
			}
			s.Notes = append(s.Notes, fmt.Sprintf("%s is left out: %s is there, too", left.Path, other.Path))
			continue
		}
		by[stem] = f
		n, ok := byLog[name]
		if !ok {
			n = len(s.Logs)
			byLog[name] = n
			s.Logs = append(s.Logs, Log{Name: name})
		}
		s.Logs[n].Files = append(s.Logs[n].Files, f)
	}
	for _, l := range s.Logs {
		slices.SortStableFunc(l.Files, func(a, b *File) int { return a.place.compare(b.place) })
	}
	return s, errors.Join(errs...)
}

// compressed is the ending that says how a file is compressed; empty: none does.
func compressed(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".gz", ".zst", ".xz", ".bz2", ".zstd":
		return path[len(path)-len(ext):]
	}
	return ""
}

// place is where in the order of a log's files one is by its name.
type place struct {
	kind   placeKind
	number int    // how many rotations ago
	date   string // digits
}

type placeKind uint8

const (
	dated placeKind = iota // before the others: their dates are past
	numbered
	present
)

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.date, b.date), cmp.Compare(b.number, a.number))
}

var (
	// logrotate's dateext, others' dates, seconds since 1970.
	datedName = lazyregexp.New(`^(.+?)[-._](\d{4}-?\d\d-?\d\d(?:[-_.T]?\d\d[-:]?\d\d(?:[-:]?\d\d)?|[-_.]\d{1,10})?|\d{10})(\.[a-z]+)?$`)
	// access.log.1, access.1.log
	numberedName = lazyregexp.New(`^(.+?)\.(\d{1,5})(\.[a-z]+)?$`)
)

// rotated takes off a name what rotation added.
func rotated(path string) (name string, at place) {
	dir, base := filepath.Split(path)
	if m := datedName.FindStringSubmatch(base); m != nil {
		digits := strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, m[2])
		return dir + m[1] + m[3], place{kind: dated, date: digits}
	}
	if m := numberedName.FindStringSubmatch(base); m != nil {
		n, _ := strconv.Atoi(m[2])
		return dir + m[1] + m[3], place{kind: numbered, number: n}
	}
	return path, place{kind: present}
}
