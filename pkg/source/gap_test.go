package source

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bornAt returns when a file came into being.
func bornAt(t *testing.T, path string) int64 {
	t.Helper()
	l, err := statx(unix.AT_FDCWD, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if l.born == 0 {
		t.Skip("the file system keeps no births")
	}
	return l.born
}

// oneBirth has all files that come after one have the same birth, as those have that came
// within one tick of the kernel's clock.
func oneBirth(t *testing.T, path string) {
	born := bornAt(t, path)
	t.Cleanup(func(old func(int64) int64) func() { return func() { birth = old } }(birth))
	birth = func(says int64) int64 {
		if says > born {
			return born + 10
		}
		return says
	}
	tick()
}

// tick waits until what comes from now on is younger, by the clock of the file system, than all
// that is there.
func tick() {
	for now := time.Now().UnixNano(); coarse() <= now; {
		time.Sleep(time.Millisecond)
	}
}

// TestManyOfOneBirth: of more files than may be opened at once that came in one moment, each is
// read once, whether they came before a start or while nobody took the lines, and
// wherever reading breaks off in between.
func TestManyOfOneBirth(t *testing.T) {
	const total = mostBetween + mostOld + 20
	for _, c := range []struct {
		name   string
		paused bool
		stops  []int // after so many lines
	}{
		{"before a start", false, nil},
		{"before a start, stopped between two parts and in the second", false, []int{mostBetween, 20}},
		{"in a pause, stopped", true, []int{mostOld + 10, mostBetween}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, text(numbered("a", 0, 10)))
			oneBirth(t, path)
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(numbered("a", 0, 10)...)
			x.lines = nil
			var positions map[string][]Position
			if !c.paused {
				positions = x.left(path)
			}
			for i := range total {
				rename(t, path, fmt.Sprintf("%s.%d", path, i))
				write(t, path, text([]string{fmt.Sprintf("line of file %d, which is one of many", i)}))
			}
			read := map[string]int{}
			for i := 0; len(read) < total; i++ {
				if i > 0 || !c.paused {
					x = takeFrom(t, &Files{Globs: []string{path}, Resume: maps.Clone(positions)})
					for _, p := range positions[path] { // they are kept until they are done
						x.pos[p.File] = p
					}
				}
				if want := total - len(read); i < len(c.stops) {
					x.until("some of them", func() bool { return len(x.lines) >= c.stops[i] })
				} else {
					x.until(fmt.Sprintf("all of the %d others", want), func() bool { return len(x.lines) >= want })
				}
				positions = x.left(path)
				for _, l := range x.lines {
					if read[l]++; read[l] > 1 {
						t.Fatalf("read twice: %s", l)
					}
				}
			}
		})
	}
}

// TestManyBetween: when more files came between two looks than are opened at once, what the
// path names comes behind them all, and none is taken for a copy.
func TestManyBetween(t *testing.T) {
	const total = 2*mostBetween + 40
	for _, there := range []bool{true, false} {
		t.Run(fmt.Sprint(there), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, "first\n")
			l := &lookout{path: path}
			l.check()
			var want, got []string
			for i := range total {
				rename(t, path, fmt.Sprintf("%s.%d", path, i))
				if there || i < total-1 {
					write(t, path, fmt.Sprintln(i))
					want = append(want, fmt.Sprintln(i))
				}
			}
			gone, once := false, there
			for {
				found, _ := l.check()
				if once { // and again, while the others aren't found yet
					rename(t, path, path+".last")
					write(t, path, "last\n")
					want, once = append(want, "last\n"), false
				}
				if len(found) == 0 {
					break
				}
				for _, s := range found {
					if gone = s.gone; gone {
						continue
					}
					if s.of != (FileID{}) {
						t.Errorf("%s is a copy of %v", s.file.Name(), s.of)
					}
					data, err := io.ReadAll(s.file)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, string(data))
					s.close()
				}
			}
			if gone == there {
				t.Errorf("the last that it finds is that the path is gone: %v", gone)
			}
			if there && got[len(got)-1] != want[len(want)-1] {
				t.Errorf("the last is %q", got[len(got)-1])
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%d files are found, want %d", len(got), len(want))
			}
		})
	}
}

// TestPlacesOfOneMoment: the places of files that were read, while others of the same moment are
// not opened yet, are kept up to a bound. What is beyond it may be read again, not lost.
func TestPlacesOfOneMoment(t *testing.T) {
	out := make(chan Batch, mostPlaces)
	f := &follower{src: &Files{}, out: out, ctx: t.Context(), waits: &waits{}, seen: 10}
	const over = 3
	f.done = append(f.done, Position{File: FileID{1, 1}, Born: 9})
	for i := range mostPlaces + over {
		f.done = append(f.done, Position{File: FileID{1, uint64(i + 2)}, Born: 10})
	}
	f.look.owed.Store(1)
	if !f.tellDone() || len(out) != 1+over || len(f.done) != mostPlaces || f.seen != 10 {
		t.Errorf("%d are done, %d places are kept, up to %d all is dealt with", len(out), len(f.done), f.seen)
	}
	for len(out) > 0 {
		<-out
	}
	f.look.owed.Store(0)
	if !f.tellDone() || len(out) != mostPlaces || len(f.done) != 0 || f.seen != 11 {
		t.Errorf("then %d are done, %d places are kept, up to %d all is dealt with", len(out), len(f.done), f.seen)
	}
}

// TestStandingClock: the kernel's clock by which files are stamped stands still for longer than
// its tick, as where the processor that drives it has to wait: what came then is told apart
// from what was there before by nothing but its inode.
func TestStandingClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, text(numbered("a", 0, 10)))
	born := bornAt(t, path)
	defer func(b func(int64) int64, c func() int64) { birth, coarse = b, c }(birth, coarse)
	birth = func(int64) int64 { return born }
	coarse = func() int64 { return born }
	time.Sleep(2 * stampSlack)
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 10)...)
	positions := x.left(path)
	for i := range 3 {
		rename(t, path, fmt.Sprintf("%s.%d", path, i))
		write(t, path, text(numbered("a", 10+i, 11+i)))
	}
	y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
	y.until("what came since", func() bool { return len(y.lines) == 3 })
	y.stop()
}

// TestRenamedInLook: files that get other names while a directory is looked through are found.
func TestRenamedInLook(t *testing.T) {
	defer func(old func(string)) { looking = old }(looking)
	for _, c := range []struct {
		name  string
		looks func(look int) (one, other bool) // which of two files gets another name in a look
	}{
		{"in two looks", func(look int) (bool, bool) { return look <= 2, false }},
		{"in the last look of those that differ", func(look int) (bool, bool) { return look == 10, look < 10 }},
		{"in the first looks of ten", func(look int) (bool, bool) { return look <= 5, look > 5 && look <= 10 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, "now\n")
			names := map[string]string{"one": path + ".1", "other": path + "-1"}
			for content, name := range names {
				write(t, name, content)
			}
			look := 0
			looking = func(at string) {
				if at == "" {
					look++
				}
				one, other := c.looks(look)
				for content, moves := range map[string]bool{"one": one, "other": other} {
					if moves && at == names[content] {
						names[content] += "1" // a longer one is no name that this look has
						rename(t, at, names[content])
					}
				}
			}
			files, _ := openNeighbours(path, false, func(n neighbour) bool { return n.path != path }, nil)
			var got []string
			for _, file := range files {
				data, err := io.ReadAll(file)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(data))
				file.Close()
			}
			slices.Sort(got)
			if want := []string{"one", "other"}; !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// TestHeldAndRotated: a new log begins as the one before it, so that it may be a copy that is
// being made, and is not read yet; it is read if it is rotated before that shows.
func TestHeldAndRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	src := &Files{status: map[string]*Status{}}
	src.kept.begin(nil, nil)
	out := make(chan Batch, 100)
	f := &follower{src: src, path: path, out: out, ctx: t.Context(), waits: &waits{}}
	f.look.path = path
	look := func() {
		found, _ := f.look.check()
		for _, s := range found {
			if !f.sighted(s) {
				t.Fatal("it ended")
			}
		}
		if f.cur != nil && !f.drain(f.cur) {
			t.Fatal("it ended")
		}
	}
	defer f.close()
	header := "# a header\n"
	write(t, path, header+text(numbered("a", 0, 3)))
	look()
	rename(t, path, path+".1")
	write(t, path, header)
	look()
	if f.held == nil {
		t.Fatal("it isn't held")
	}
	appendTo(t, path, text(numbered("a", 3, 5)))
	rename(t, path, path+".2")
	write(t, path, header+text(numbered("b", 5, 7)))
	look()
	var got []string
	for len(out) > 0 {
		for _, l := range (<-out).Lines {
			if s := string(l) + "\n"; s != header {
				got = append(got, string(l))
			}
		}
	}
	if want := slices.Concat(numbered("a", 0, 5), numbered("b", 5, 7)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestForbiddenBetween: files that may not be opened don't stand in the way of younger ones.
func TestForbiddenBetween(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.log")
	for i := range mostBetween + 20 {
		name := fmt.Sprintf("%s.%d", path, i)
		write(t, name, "no\n")
		if err := os.Chmod(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	tick()
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprintf("%s-%d", path, i))
		write(t, want[i], "yes\n")
		if err := os.Chmod(want[i], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	refused := refusals{tell: func(e Event) { told = append(told, e.Text) }}
	done := make(chan []string)
	go func() {
		runtime.LockOSThread() // for good: the thread ends as somebody else
		if os.Geteuid() == 0 {
			_ = unix.Setfsuid(65534)
		}
		var got []string
		files, of := openNeighbours(path, false, func(neighbour) bool { return true }, refused.add)
		for i, file := range files {
			got = append(got, of[i].path)
			file.Close()
		}
		done <- got
	}()
	got := <-done
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Each is told of once, and no more than some.
	if len(told) != mostRefused+1 || !strings.Contains(told[0], ", beside it, can't be opened (permission denied)") || !strings.HasPrefix(told[mostRefused], "more files") {
		t.Errorf("%d told: %q", len(told), told)
	}
	refused.add(neighbour{path: path}, os.ErrPermission)
	if len(told) != mostRefused+1 {
		t.Errorf("told of another: %q", told[mostRefused+1:])
	}
}
