package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openIn is how many files of a folder this process has open.
func openIn(t *testing.T, dir string) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

// TestManyInOneGap: of more files than may be opened at once that came while nobody read,
// all are read, no more are open at once than may be, and none is read twice.
func TestManyInOneGap(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.log")
	const more = 40
	write(t, path, text(numbered("a", 0, 10)))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 10)...)
	positions := x.left(path)
	for i := range mostBetween + more {
		rename(t, path, fmt.Sprintf("%s.%d", path, i))
		write(t, path, text([]string{fmt.Sprintf("line of file %d, which is one of many", i)}))
	}
	y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
	most, looked := 0, -1
	// The position's own file is one of those that are beside the log. One that isn't read is
	// told of below.
	had, last := 0, time.Now()
	y.until("all of them", func() bool {
		if n := len(y.lines); n != had {
			had, last = n, time.Now()
		}
		if n := len(y.lines) / 8; n != looked { // a look takes as long as a file does
			most, looked = max(most, openIn(t, dir)), n
		}
		return had == mostBetween+more || time.Since(last) > 20*time.Second
	})
	seen := map[string]bool{}
	for _, l := range y.lines {
		if seen[l] {
			t.Errorf("read twice: %s", l)
		}
		seen[l] = true
	}
	if most > 2*mostBetween {
		t.Errorf("%d files were open at once", most)
	}
	t.Logf("%d files were open at once", most)
	for i := range mostBetween + more {
		if l := fmt.Sprintf("line of file %d, which is one of many", i); !seen[l] {
			name := fmt.Sprintf("%s.%d", path, i+1)
			if i == mostBetween+more-1 {
				name = path
			}
			at, err := statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW)
			t.Fatalf("not read: %s of %s (%+v %v); positions %+v; notes %.2000q", l, name, at, err, positions, y.told())
		}
	}
}

// TestManyRenamed: a log that is renamed all the time: of the files that are read longer
// no more are held than may be, and no line is lost.
func TestManyRenamed(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.log")
	write(t, path, text(numbered("a", 0, 1)))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 1)...)
	const times = 3 * mostOld
	for i := range times {
		rename(t, path, fmt.Sprintf("%s.%d", path, i))
		write(t, path, text(numbered("a", i+1, i+2)))
		x.until("the next one", func() bool { return len(x.lines) == i+2 })
		// One is closed when the next is looked at.
		if n := openIn(t, dir); n > mostOld+8 {
			t.Fatalf("%d files are open after %d renames, at most %d may be read longer", n, i+1, mostOld)
		}
	}
	x.want(numbered("a", 0, times+1)...)
}

// TestManyNames: a folder with more names than are looked at, and more like the log's
// than may be, is looked through so far and no further.
func TestManyNames(t *testing.T) {
	defer func(names, beside int) { mostNames, mostNeighbours = names, beside }(mostNames, mostNeighbours)
	mostNames, mostNeighbours = 2000, 300
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	make := func(form string, n int) {
		for i := range n {
			write(t, filepath.Join(dir, fmt.Sprintf(form, i)), "")
		}
	}
	make("a.log.%d", mostNeighbours+100)
	if all, _ := neighbours(path, false); len(all) != mostNeighbours {
		t.Errorf("%d neighbours, want %d", len(all), mostNeighbours)
	}
	make("other.%d", 2*mostNames-mostNeighbours)
	seen := 0
	names(dir, func(string) bool { seen++; return true })
	if seen < mostNames || seen > mostNames+1024 {
		t.Errorf("%d names are looked at, want %d", seen, mostNames)
	}
}

// TestManyPlaces: files that were read, and contents that are gone, are known again up to
// a bound; the oldest are forgotten.
func TestManyPlaces(t *testing.T) {
	s := &Files{}
	s.kept.begin(nil, nil)
	for i := range 5 * mostPlaces {
		s.kept.keep(FileID{1, uint64(i)}, place{offset: int64(i)})
		s.kept.keep(FileID{1, uint64(i)}, place{offset: int64(i) + 1}) // it was read further
		s.emptied(place{offset: int64(i)})
	}
	if len(s.kept.places) != mostPlaces || len(s.kept.order) != mostPlaces || len(s.kept.former) != mostOld {
		t.Errorf("%d files in %d places, %d contents that are gone", len(s.kept.places), len(s.kept.order), len(s.kept.former))
	}
	for i := 4 * mostPlaces; i < 5*mostPlaces; i++ {
		if p := s.kept.places[FileID{1, uint64(i)}]; p.offset != int64(i)+1 {
			t.Fatalf("file %d: %+v", i, p)
		}
	}
	if first := s.kept.former[0].offset; first != 5*mostPlaces-mostOld {
		t.Errorf("the oldest content is %d", first)
	}
}
