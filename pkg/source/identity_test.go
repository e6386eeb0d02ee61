package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// taken reads batches by hand, so that a reader can be held back.
type taken struct {
	t      *testing.T
	src    *Files
	out    chan Batch
	events chan Event
	stop   func()
	lines  []string
	again  int // lines that were marked as rewritten
	pos    map[FileID]Position
}

func takeFrom(t *testing.T, src *Files) *taken {
	x := &taken{t: t, src: src, out: make(chan Batch), events: make(chan Event, 10_000), pos: map[FileID]Position{}}
	src.Notify = func(e Event) {
		select {
		case x.events <- e:
		default:
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { src.Run(ctx, x.out); close(done) }()
	x.stop = func() { cancel(); <-done }
	t.Cleanup(x.stop)
	return x
}

// until takes batches until a condition holds.
func (x *taken) until(what string, ok func() bool) {
	x.t.Helper()
	const patience = 30 * time.Second // from one batch to the next
	deadline := time.NewTimer(patience)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(5 * time.Minute); !ok(); {
		select {
		case b := <-x.out:
			x.got(b)
			deadline.Reset(min(patience, time.Until(end)))
		case <-poll.C:
		case <-deadline.C:
			x.t.Fatalf("waited in vain for %s; %d lines, the last %q; events %v", what, len(x.lines), x.lines[max(0, len(x.lines)-3):], x.told())
		}
	}
}

func (x *taken) got(b Batch) {
	if b.Done {
		delete(x.pos, b.File)
		return
	}
	if b.Replay {
		return
	}
	x.pos[b.File] = Position{File: b.File, FirstLine: b.FirstLine, Offset: b.End, Before: b.Before, Born: b.Born, Seen: b.Seen, Time: time.Now()}
	for _, l := range b.Lines {
		x.lines = append(x.lines, string(l))
		if b.Rewritten {
			x.again++
		}
	}
}

func (x *taken) told() (out []string) {
	for {
		select {
		case e := <-x.events:
			out = append(out, e.String())
		default:
			return out
		}
	}
}

// left is what a store would know.
func (x *taken) left(path string) map[string][]Position {
	x.stop()
	var list []Position
	for _, p := range x.pos {
		list = append(list, p)
	}
	return map[string][]Position{path: list}
}

func (x *taken) want(lines ...string) {
	x.t.Helper()
	x.until(fmt.Sprint(len(lines), " lines"), func() bool { return len(x.lines) >= len(lines) })
	for range 3 { // nothing more comes
		select {
		case b := <-x.out:
			x.got(b)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !slices.Equal(x.lines, lines) {
		x.t.Fatalf("%d lines, want %d: %.400q, want %.400q", len(x.lines), len(lines), x.lines, lines)
	}
}

func numbered(name string, from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("2026-10-10 14:%02d:%02d %s %d", i/60%60, i%60, name, i))
	}
	return lines
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyTruncate(t *testing.T, path, to string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(data))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestTruncatedAfterRestart: what stands before the position is known from the start
// on, whether that is from the store or where the file ended.
func TestTruncatedAfterRestart(t *testing.T) {
	old, fresh := numbered("old", 0, 100), numbered("new", 200, 250)
	for _, c := range []string{"restart", "reload", "tail"} {
		t.Run(c, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, text(old))
			src := &Files{Globs: []string{path}}
			var x *taken
			if c == "tail" {
				src.Start = func(_ *os.File, size int64) int64 { return size }
				x = takeFrom(t, src)
				x.until("the beginning", func() bool { return len(x.pos) == 1 })
			} else {
				first := takeFrom(t, src)
				first.want(old...)
				x = takeFrom(t, &Files{Globs: []string{path}, Resume: first.left(path)})
				x.until("the beginning", func() bool { return len(x.src.Status()) == 1 && x.src.Status()[0].Offset > 0 })
			}
			copyTruncate(t, path, path+".1")
			appendTo(t, path, text(fresh)) // shorter than what was there
			x.want(fresh...)
		})
	}
}

// TestTruncatedInLongLine: 3 MB without a newline, and then the file is emptied.
func TestTruncatedInLongLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, strings.Repeat("x", 3<<20))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.until("the beginning", func() bool { return len(x.pos) == 1 })
	time.Sleep(50 * time.Millisecond) // it reads what there is, of which it can tell nothing
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	fresh := numbered("new", 0, 50)
	appendTo(t, path, text(fresh))
	x.want(fresh...)
}

// TestGlobOfRotated: a glob that matches what the log is renamed to, a copy, and links.
func TestGlobOfRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	var want []string
	more := func(n int) {
		lines := numbered("a", n*10, n*10+10)
		want = append(want, lines...)
		appendTo(t, path, text(lines))
	}
	more(0)
	x := takeFrom(t, &Files{Globs: []string{filepath.Join(dir, "app*")}})
	x.want(want...)
	if err := os.Symlink("app.log", filepath.Join(dir, "app-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, filepath.Join(dir, "app-second")); err != nil {
		t.Fatal(err)
	}
	followed := func(n int) { // the glob was expanded anew
		x.until("the other names", func() bool { return len(x.src.Status()) == n })
	}
	followed(3)
	more(1)
	x.want(want...)
	if err := os.Remove(filepath.Join(dir, "app-second")); err != nil {
		t.Fatal(err)
	}
	rename(t, path, path+".1")
	more(2)
	followed(4)
	x.want(want...)
	rename(t, path+".1", path+".2")
	rename(t, path, path+".1")
	more(3)
	followed(5)
	x.want(want...)
	copyTruncate(t, path, path+".3")
	followed(6)
	more(4)
	x.want(want...)
	// Over a restart, too: what was the log's is not another log's.
	positions := x.left(path)
	rename(t, path, path+".4")
	appendTo(t, path+".4", text(numbered("a", 50, 60)))
	y := takeFrom(t, &Files{Globs: []string{filepath.Join(dir, "app.log"), filepath.Join(dir, "app.log.4")}, Resume: positions})
	y.want(numbered("a", 50, 60)...)
}

// TestLongFirstLine: a first line of more than counts is known by as much as counts.
func TestLongFirstLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	long := strings.Repeat("\x00", 100<<10)
	write(t, path, long+"\n"+text(numbered("a", 0, 50)))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(append([]string{long}, numbered("a", 0, 50)...)...)
	y := takeFrom(t, &Files{Globs: []string{path}, Resume: x.left(path)})
	appendTo(t, path, text(numbered("a", 50, 55)))
	y.want(numbered("a", 50, 55)...)
}

// TestSharedAndEmptied: two readers of one file, one of them held back while the file
// is emptied and written anew with lines of the same length.
func TestSharedAndEmptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	old := numbered("a", 10, 60)
	write(t, path, text(old))
	slow, quick := takeFrom(t, &Files{Globs: []string{path}}), takeFrom(t, &Files{Globs: []string{path}})
	slow.want(old...)
	quick.want(old...)
	appendTo(t, path, text(numbered("b", 60, 61)))
	old = append(old, numbered("b", 60, 61)...)
	quick.want(old...) // and slow can't deliver it
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	fresh := numbered("c", 10, 62)
	quick.until("the truncation", func() bool { return strings.Contains(fmt.Sprint(quick.told()), "truncated") })
	for _, l := range fresh {
		appendTo(t, path, l+"\n")
	}
	quick.want(append(slices.Clone(old), fresh...)...)
	slow.want(append(slices.Clone(old), fresh...)...)
}

// TestToldOfRotation: what is told of files is what they are. The copy of a log that was
// emptied is not one that was missed, whatever its name by now; and a new file that begins
// as the one before it did is not that one, rewritten.
func TestToldOfRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, text(numbered("a", 0, 5)))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 5)...)
	copyTruncate(t, path, path+".1")
	appendTo(t, path, text(numbered("b", 5, 7)))
	want := append(numbered("a", 0, 5), numbered("b", 5, 7)...)
	x.want(want...)
	rename(t, path+".1", path+".2")
	rename(t, path, path+".1")
	write(t, path, text(numbered("c", 7, 9)))
	want = append(want, numbered("c", 7, 9)...)
	x.want(want...)
	rename(t, path, path+".0")
	next := filepath.Join(filepath.Dir(path), "next")
	write(t, next, text(numbered("another", 7, 8))) // in the same second
	rename(t, next, path)
	want = append(want, numbered("another", 7, 8)...)
	x.want(want...)
	told := strings.Join(x.told(), "\n")
	for _, no := range []string{"renamed meanwhile", "was rewritten"} {
		if strings.Contains(told, no) {
			t.Errorf("told %q:\n%s", no, told)
		}
	}
	if !strings.Contains(told, "file truncated") || !strings.Contains(told, "it begins or ends as the file before it did") {
		t.Errorf("told:\n%s", told)
	}
}

// TestOtherName: what is written by another name of the file is seen as soon as
// ever, though no event tells of it.
func TestOtherName(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a.log"), filepath.Join(dir, "elsewhere", "b.log")
	write(t, path, text(numbered("a", 0, 1)))
	if err := os.Mkdir(filepath.Dir(other), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 1)...)
	looks := func() bool { // four times a second, or once a second: not every ten
		l := &lookout{path: path}
		return !l.proved
	}
	if !looks() {
		t.Fatal("events are taken for proved before any came")
	}
	time.Sleep(quietAfter + checkEvery) // it is quiet
	appendTo(t, other, text(numbered("a", 1, 2)))
	x.until("the line", func() bool { return len(x.lines) == 2 })
}

// TestRemovedAndAdded: a log that is removed and added again is read on where it was
// left, also if it was rotated in between.
func TestRemovedAndAdded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, text(numbered("a", 0, 10)))
	src := &Files{Globs: []string{path}}
	x := takeFrom(t, src)
	x.want(numbered("a", 0, 10)...)
	again := func() {
		src.Remove(path)
		x.until("its end", func() bool { return len(src.Status()) == 0 })
	}
	again()
	appendTo(t, path, text(numbered("a", 10, 20)))
	src.Add(path, false)
	x.want(numbered("a", 0, 20)...)
	again()
	appendTo(t, path, text(numbered("a", 20, 30)))
	rename(t, path, path+".1")
	write(t, path, text(numbered("a", 30, 40)))
	src.Add(path, false)
	x.want(numbered("a", 0, 40)...)
}

// TestSameBeginning: the log was emptied and written anew while nobody read it,
// beginning with the same line; in its place, or under the inode given again.
func TestSameBeginning(t *testing.T) {
	header := "# a header"
	for _, c := range []string{"emptied", "replaced", "emptied after a copy"} {
		t.Run(c, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			old := append([]string{header}, numbered("old", 0, 9)...)
			write(t, path, text(old))
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(old...)
			positions := x.left(path)
			fresh := append([]string{header}, numbered("new", 100, 150)...)
			switch c {
			case "replaced":
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			case "emptied after a copy":
				rest := numbered("old", 9, 12)
				appendTo(t, path, text(rest))
				copyTruncate(t, path, path+".1")
				fresh = append(rest, fresh...)
			}
			if c == "emptied after a copy" {
				write(t, path, text(fresh[3:]))
			} else {
				write(t, path, text(fresh))
			}
			y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
			y.want(fresh...)
		})
	}
}

// TestCopiedWhileHeld: what a reader that is held back hasn't read when the file is
// emptied is read from the copy; without one, it is said how much is lost.
func TestCopiedWhileHeld(t *testing.T) {
	for _, copied := range []bool{true, false} {
		t.Run(fmt.Sprint(copied), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			want := numbered("a", 0, 2)
			write(t, path, text(want))
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(want...)
			appendTo(t, path, text(numbered("a", 2, 3))) // it waits with this one
			time.Sleep(2 * checkEvery)                   // the lookout looks
			rest := numbered("a", 3, 11)
			appendTo(t, path, text(rest))
			time.Sleep(2 * checkEvery)
			if copied {
				copyTruncate(t, path, path+".1")
				want = append(append(want, numbered("a", 2, 3)...), rest...)
			} else {
				if err := os.Truncate(path, 0); err != nil {
					t.Fatal(err)
				}
				want = append(want, numbered("a", 2, 3)...)
			}
			appendTo(t, path, text(numbered("b", 20, 25)))
			want = append(want, numbered("b", 20, 25)...)
			x.want(want...)
			if told := fmt.Sprint(x.told()); !copied && !strings.Contains(told, fmt.Sprintf("%d bytes that were not read yet are lost", len(text(rest)))) {
				t.Errorf("told: %s", told)
			}
		})
	}
}

// TestLeavesOnce: a reader that ends gives the shared file back once, whatever it
// was doing.
func TestLeavesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, text(numbered("a", 0, 10)))
	keep := takeFrom(t, &Files{Globs: []string{path}})
	keep.want(numbered("a", 0, 10)...)
	var id FileID
	for id = range keep.pos {
	}
	readers := func() int {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if f := shared.files[id]; f != nil {
			return f.readers
		}
		return 0
	}
	for i := range 5 {
		x := takeFrom(t, &Files{Globs: []string{path}})
		x.until("all", func() bool { return len(x.lines) >= 10 })
		rename(t, path, path+"~")
		appendTo(t, path+"~", text(numbered("a", 10, 11))) // x can't deliver it
		x.until("the rotation", func() bool { return strings.Contains(fmt.Sprint(x.told()), "no such file") })
		x.stop()
		if n := readers(); n != 1 {
			t.Fatalf("%d readers, want 1", n)
		}
		rename(t, path+"~", path)
		fresh := numbered("again", 100*i+100, 100*i+110)
		write(t, path, text(fresh))
		keep.until("the new lines", func() bool { return len(keep.lines) > 0 && keep.lines[len(keep.lines)-1] == fresh[9] })
	}
}
