package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, &Files{Globs: []string{path}, FIFOs: []string{path}})
	for i := range 3 { // writers come and go
		appendTo(t, path, fmt.Sprintf("%d\nhalf", i))
		appendTo(t, path, fmt.Sprintf(" of %d\n", i))
	}
	c.expect("0", "half of 0", "1", "half of 1", "2", "half of 2")
	// It makes way for a file.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "a file\n")
	c.expect("0", "half of 0", "1", "half of 1", "2", "half of 2", "a file")
}

// TestStdin runs in a process of its own, whose standard input is a pipe.
func TestStdin(t *testing.T) {
	if os.Getenv("SOURCE_STDIN") != "" {
		c := start(t, &Files{Globs: []string{"-"}})
		c.expect("one", "two", "no newline")
		c.until("the end", func() bool { return strings.Contains(strings.Join(c.notes, "\n"), "standard input has ended") })
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStdin$")
	cmd.Env = append(os.Environ(), "SOURCE_STDIN=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"one\ntw", "o\nno newline"} {
		if _, err := in.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
}

// TestPolling follows without events, as on a file system that has none.
func TestPolling(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "dir", "a.log")
	c := start(t, &Files{Globs: []string{path}, Polling: true})
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "one\n")
	c.expect("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", "two\n")
	appendTo(t, path, "three\n")
	c.until("all", func() bool { return len(c.lines) == 3 })
}

// TestDirectoryLater: the directory of a log, and of a glob, comes later.
func TestDirectoryLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "x.log")
	c := start(t, &Files{Globs: []string{path, filepath.Join(dir, "c*", "*.log")}})
	for _, p := range []string{path, filepath.Join(dir, "c1", "y.log")} {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		appendTo(t, p, p+"\n")
	}
	c.until("both", func() bool { return len(c.lines) == 2 })
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "again\n")
	c.until("the new one", func() bool { return len(c.lines) == 3 && c.lines[2] == "again" })
}

// TestShared: what one reader has read, others take over, and the result is the
// same, also when the file is emptied and written again.
func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	appendTo(t, path, "0\n")
	var all []*collect
	for range 4 {
		all = append(all, start(t, &Files{Globs: []string{path}}))
	}
	var want []string
	want = append(want, "0")
	for _, c := range all {
		c.expect(want...)
	}
	for round := range 5 {
		for i := range 200 {
			line := fmt.Sprintf("%d.%d", round, i)
			want = append(want, line)
			appendTo(t, path, line+"\n")
		}
		for _, c := range all {
			c.expect(want...)
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			c.until("the truncation", func() bool { return strings.Count(strings.Join(c.notes, "\n"), "truncated") == round+1 })
		}
	}
}
