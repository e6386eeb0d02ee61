package source

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOldDirectory: a log that was renamed into a directory of old ones is read to its end,
// whether somebody follows it meanwhile or not.
func TestOldDirectory(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprint("down ", down), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, old := filepath.Join(dir, "app.log"), filepath.Join(dir, "old")
			write := func(text string) {
				t.Helper()
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
				if err == nil {
					_, err = f.WriteString(text)
				}
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			rotate := func() {
				t.Helper()
				write("two\n")
				if err := os.Mkdir(old, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(path, filepath.Join(old, "app.log-20260131")); err != nil {
					t.Fatal(err)
				}
				write("three\n")
			}
			write("one\n")
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want("one")
			if !down {
				rotate()
				x.want("one", "two", "three")
				return
			}
			resume := x.left(path)
			rotate()
			x = takeFrom(t, &Files{Globs: []string{path}, Resume: resume})
			x.want("two", "three")
		})
	}
}

// TestCopiedUnseen: a log of which no more than its header was read, or nothing, is
// copied and emptied, and begins as it did before: what stands in the copy is read, once,
// whether somebody follows the log meanwhile or not, and after restarts.
func TestCopiedUnseen(t *testing.T) {
	for _, header := range []string{"# header\n", ""} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("header %q, down %v", header, down), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.log")
				add := func(text string) {
					t.Helper()
					f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
					if err == nil {
						_, err = f.WriteString(text)
					}
					if err != nil {
						t.Fatal(err)
					}
					f.Close()
				}
				n := 0
				rotate := func() {
					t.Helper()
					content, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					n++
					if err := os.WriteFile(fmt.Sprintf("%s.%d", path, n), content, 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.Truncate(path, 0); err != nil {
						t.Fatal(err)
					}
					add(header)
				}
				var lines []string
				is := func(x *taken, more int) {
					t.Helper()
					x.until("all lines", func() bool {
						n := 0
						for _, l := range x.lines {
							if l != "# header" {
								n++
							}
						}
						return n == more
					})
					for _, l := range x.lines {
						if l != "# header" {
							lines = append(lines, l)
						}
					}
				}
				add(header)
				x := takeFrom(t, &Files{Globs: []string{path}})
				x.until("it is open", func() bool { return len(x.pos) > 0 && len(x.lines) == len(header)/9 })
				if down {
					resume := x.left(path)
					x = nil
					add("one\ntwo\n")
					rotate()
					add("one\nthree\n")
					rotate()
					add("four\n")
					x = takeFrom(t, &Files{Globs: []string{path}, Resume: resume})
				} else {
					add("one\ntwo\n")
					rotate()
					add("one\nthree\n")
					rotate()
					add("four\n")
				}
				is(x, 5)
				// Again: nothing of it comes twice.
				x = takeFrom(t, &Files{Globs: []string{path}, Resume: x.left(path)})
				add("five\n")
				is(x, 1)
				slices.Sort(lines)
				if want := []string{"five", "four", "one", "one", "three", "two"}; !slices.Equal(lines, want) {
					t.Errorf("%q, want %q; %v", lines, want, x.told())
				}
			})
		}
	}
}
