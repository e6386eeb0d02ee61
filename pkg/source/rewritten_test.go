package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRewritten: a log that is written anew in its place is known: what was read of it
// isn't read again or, where every line was changed, is marked; what is appended
// afterwards is new.
func TestRewritten(t *testing.T) {
	header := []string{"# a header", "# of two lines"}
	var body []string
	for i := range 42 {
		body = append(body, fmt.Sprintf("2026-09-10 14:47:%02d foo app[%d]: Login failure 192.0.2.%d", i, 1000+i, i+1))
	}
	old := append(append([]string(nil), header...), body...)
	fresh := []string{"2026-10-10 14:47:35 foo app[77]: Login failure 192.0.2.77"}
	sed := func(args ...string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if out, err := exec.Command("sed", append(args, path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	inPlace := func(lines []string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, l := range lines {
				fmt.Fprintln(f, l)
			}
		}
	}
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, path string)
		again int // lines that come again, marked; -1: some may
	}{
		{"sed that changes nothing", sed("-i", "s/nothing/x/"), 0},
		{"sed that changes all", sed("-i", "s/foo/barbar/"), 44},
		{"sed that changes the addresses", sed("-i", `s/192\.0\.2\./203.0.113.1/`), 44},
		{"sed that changes one", sed("-i", "5s/foo/bar/"), 0},
		{"sed that takes lines out", sed("-i", "3,10d"), 0},
		{"sed with a backup", sed("-i.bak", "s/foo/bar/"), 44},
		{"emptied and written", inPlace(old), -1},
		{"another file, empty at first", func(t *testing.T, path string) {
			// An editor that writes a new file in its place, seen before it wrote anything.
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			rename(t, path+".new", path)
			time.Sleep(2 * checkEvery) // seen or not: it is read once
			write(t, path, text(old))
		}, 0},
		{"emptied and changed", inPlace(strings.Split(strings.ReplaceAll(strings.Join(old, "\n"), "foo", "barbar"), "\n")), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, text(old))
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(old...)
			c.do(t, path)
			x.until("what was done", func() bool {
				return strings.Contains(fmt.Sprint(x.told()), "rewritten") || len(x.lines) >= len(old)+c.again
			})
			x.until("the lines that come again", func() bool { return len(x.lines) >= len(old)+c.again })
			appendTo(t, path, text(fresh))
			x.until("the new line", func() bool { return x.lines[len(x.lines)-1] == fresh[0] })
			// What is read together with them is marked, too: it is as old as it says, new.
			if n := len(x.lines) - len(old) - 1; n > x.again || x.again > n+1 || c.again >= 0 && n != c.again {
				t.Errorf("%d lines came again, of which %d were marked, want %d: %q", n, x.again, c.again, x.lines[len(old):])
			}
		})
	}
	// Rotation isn't that, also if the new log begins with the same lines.
	for _, c := range []string{"renamed", "deleted", "emptied"} {
		t.Run(c, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, text(old))
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(old...)
			switch c {
			case "renamed":
				rename(t, path, path+".1")
			case "deleted":
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			case "emptied":
				if err := os.Truncate(path, 0); err != nil {
					t.Fatal(err)
				}
				x.until("that", func() bool { return strings.Contains(fmt.Sprint(x.told()), "truncated") })
			}
			next := append(append([]string(nil), header...), numbered("a", 100, 160)...)
			appendTo(t, path, text(next))
			x.want(append(append([]string(nil), old...), next...)...)
			if x.again != 0 {
				t.Errorf("%d lines are marked", x.again)
			}
		})
	}
	// While nobody read it, too.
	t.Run("away", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.log")
		write(t, path, text(old))
		x := takeFrom(t, &Files{Globs: []string{path}})
		x.want(old...)
		positions := x.left(path)
		sed("-i", "5s/foo/barbar/")(t, path)
		appendTo(t, path, text(fresh))
		y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
		y.want(fresh...)
	})
}
