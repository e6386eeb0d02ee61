package source

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// collect runs Files on some globs and gathers the lines.
type collect struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	seen  chan struct{}
	notes []string
	src   *Files
}

func start(t *testing.T, src *Files) *collect {
	c := &collect{t: t, seen: make(chan struct{}, 1), src: src}
	src.Notify = func(e Event) {
		c.mu.Lock()
		c.notes = append(c.notes, e.String())
		c.mu.Unlock()
		c.kick()
	}
	out := make(chan Batch)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { src.Run(ctx, out); close(done) }()
	go func() {
		for b := range out {
			c.mu.Lock()
			if b.Replay {
				b.Lines = nil
			}
			for _, l := range b.Lines {
				c.lines = append(c.lines, string(l))
			}
			c.mu.Unlock()
			c.kick()
		}
	}()
	t.Cleanup(func() { cancel(); <-done; close(out) })
	return c
}

func (c *collect) kick() {
	select {
	case c.seen <- struct{}{}:
	default:
	}
}

// until waits for a condition, asked again whenever something arrived.
func (c *collect) until(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		c.mu.Lock()
		done := ok()
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-c.seen:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("waited in vain for %s; %d lines, the last %q; notes %q", what, len(c.lines), c.lines[max(0, len(c.lines)-3):], c.notes)
		}
	}
}

func (c *collect) expect(want ...string) {
	c.t.Helper()
	c.until(fmt.Sprint(want), func() bool { return len(c.lines) >= len(want) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.Join(c.lines, "\n") != strings.Join(want, "\n") {
		c.t.Fatalf("lines %q, want %q", c.lines, want)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	appendTo(t, path, "one\ntwo\npart")
	c := start(t, &Files{Globs: []string{path}})
	c.expect("one", "two")
	appendTo(t, path, "ial\r\nfour\n")
	c.expect("one", "two", "partial", "four")
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	appendTo(t, path, "1\n")
	c := start(t, &Files{Globs: []string{path}})
	c.expect("1")
	old, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "2\n")
	c.expect("1", "2")
	fmt.Fprintln(old, "3, by a writer that still holds the old file")
	c.expect("1", "2", "3, by a writer that still holds the old file")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	c.until("the truncation", func() bool { return strings.Contains(strings.Join(c.notes, "\n"), "truncated") })
	appendTo(t, path, "4\n")
	c.expect("1", "2", "3, by a writer that still holds the old file", "4")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.until("the deletion", func() bool { return strings.Contains(strings.Join(c.notes, "\n"), "no such file") })
	appendTo(t, path, "5\n")
	c.expect("1", "2", "3, by a writer that still holds the old file", "4", "5")
}

// TestRotationIsNoError: that a log is not there between its rename and the making of
// the new one is not worth a word.
func TestRotationIsNoError(t *testing.T) {
	for _, polling := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "a.log")
		appendTo(t, path, "0\n")
		c := start(t, &Files{Globs: []string{path}, Polling: polling})
		want := []string{"0"}
		c.expect(want...)
		for i := range 5 {
			if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(checkEvery + 50*time.Millisecond) // it has surely looked, and tells of nothing that could be waited for
			want = append(want, fmt.Sprint(i+1))
			appendTo(t, path, want[i+1]+"\n")
			c.expect(want...)
		}
		c.mu.Lock()
		if notes := strings.Join(c.notes, "\n"); strings.Contains(notes, "no such file") {
			t.Errorf("polling %v: told %s", polling, notes)
		}
		c.mu.Unlock()
	}
}

// TestAddAndRemove: logs that come and go while it runs.
func TestAddAndRemove(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, path := range []string{a, b, c} {
		appendTo(t, path, path+" before\n")
	}
	src := &Files{Globs: []string{a}}
	got := start(t, src)
	got.expect(a + " before")
	src.Add(b, false)
	got.expect(a+" before", b+" before")
	src.Add(c, true)
	got.until("the third", func() bool { return len(src.Status()) == 3 })
	appendTo(t, c, "c\n")
	got.expect(a+" before", b+" before", "c")
	if !src.Remove(a) || src.Remove("nobody's") {
		t.Error("Remove")
	}
	hosttest.Soon(func() bool { return len(src.Status()) == 2 })
	appendTo(t, a, "not read\n")
	appendTo(t, b, "b\n")
	got.expect(a+" before", b+" before", "c", "b")
	src.Add(a, false) // again: where it was left
	got.expect(a+" before", b+" before", "c", "b", "not read")
}

func TestLater(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "later")
	src := &Files{Globs: []string{filepath.Join(sub, "*.log"), filepath.Join(dir, "missing.log")}}
	c := start(t, src)
	c.until("the missing file", func() bool { return strings.Contains(strings.Join(c.notes, "\n"), "missing.log: ") })
	glob := filepath.Join(sub, "*.log")
	c.until("the glob without a file", func() bool {
		return strings.Contains(strings.Join(c.notes, "\n"), glob+": no file matches: open "+sub+": no such file or directory: waiting")
	})
	if s := src.Status(); len(s) != 2 || s[0].Path != glob || !strings.HasPrefix(s[0].Error, "no file matches: open ") {
		t.Errorf("status %v", s)
	}
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(sub, "x.log"), "by glob\n")
	c.expect("by glob")
	if s := src.Status(); len(s) != 2 || slices.ContainsFunc(s, func(s Status) bool { return s.Path == glob }) {
		t.Errorf("status %v", s)
	}
	appendTo(t, filepath.Join(dir, "missing.log"), "by name\n")
	c.expect("by glob", "by name")
	// A directory that is replaced takes its watches along: they have to be renewed.
	if err := os.Rename(sub, sub+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(sub, "x.log"), "in a new directory\n")
	c.expect("by glob", "by name", "in a new directory")
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := strings.Count(strings.Join(c.notes, "\n"), "no file matches"); n != 1 {
		t.Errorf("told %d times that no file matches: %q", n, c.notes)
	}
}

func TestSymlink(t *testing.T) {
	dir := t.TempDir()
	a, b, link := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "log")
	appendTo(t, a, "a1\n")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	c := start(t, &Files{Globs: []string{link}})
	c.expect("a1")
	appendTo(t, a, "a2\n")
	c.expect("a1", "a2")
	appendTo(t, b, "b1\n")
	if err := os.Symlink(b, link+"~"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+"~", link); err != nil {
		t.Fatal(err)
	}
	c.expect("a1", "a2", "b1")
}

func TestLongAndBinaryLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	long := strings.Repeat("x", 10<<20)
	appendTo(t, path, long+"\n\x00\xff\xfe\nlast\n")
	c := start(t, &Files{Globs: []string{path}})
	c.expect(long[:MaxLine], "\x00\uFFFD\uFFFD", "last")
}

func TestTwoFollowers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	appendTo(t, path, "1\n")
	c, d := start(t, &Files{Globs: []string{path}}), start(t, &Files{Globs: []string{path}})
	c.expect("1")
	d.expect("1")
	appendTo(t, path, "2\n")
	c.expect("1", "2")
	d.expect("1", "2")
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	c := start(t, &Files{Globs: []string{dir}})
	c.until("the error", func() bool { return strings.Contains(strings.Join(c.notes, "\n"), "is a directory") })
	if st := c.src.Status(); len(st) != 1 || st[0].Error == "" {
		t.Errorf("status %+v", st)
	}
}

func TestSeekTime(t *testing.T) {
	var b bytes.Buffer
	for i := range 100_000 {
		if i%7 == 0 {
			b.WriteString("a line without a date\r\n")
		}
		fmt.Fprintf(&b, "%06d some text that follows\r\n", i)
	}
	for _, want := range []int{0, 1, 4711, 50_000, 99_999, 100_000} {
		off := SeekTime(bytes.NewReader(b.Bytes()), int64(b.Len()), nil, func(line []byte) (bool, bool) {
			var n int
			if _, err := fmt.Sscanf(string(line), "%06d", &n); err != nil {
				return false, false
			}
			return n < want, true
		})
		if off > 0 && b.Bytes()[off-1] != '\n' {
			t.Errorf("%d: offset %d is inside of a line", want, off)
		}
		rest := b.Bytes()[off:]
		if len(rest) > 300<<10 && want > 99_000 {
			t.Errorf("%d: %d bytes are left to read", want, len(rest))
		}
		if want < 100_000 && !bytes.Contains(rest, []byte(fmt.Sprintf("\n%06d ", want))) && !bytes.HasPrefix(rest, []byte(fmt.Sprintf("%06d ", want))) && !bytes.HasPrefix(rest, []byte("a line")) {
			t.Errorf("%d: its line was passed over", want)
		}
	}
}
