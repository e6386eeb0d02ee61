package source

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoneText: of a file that reading can't go on in, what is said was looked at.
func TestGoneText(t *testing.T) {
	const lines = "2026-01-31 12:00:00 a line that was read, long enough to be known again by itself\n2026-01-31 12:00:01 another line that was read, long enough to be known again, too\n"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		want   []string
		not    []string
	}{
		{
			"removed", func(t *testing.T, path string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				write(t, path, "2026-02-01 12:00:00 new\n")
			},
			[]string{"is not read, and the log is read from its beginning"}, // by chance with the same inode
			[]string{"compressed ones"},
		},
		{
			"compressed", func(t *testing.T, path string) {
				var b bytes.Buffer
				w := gzip.NewWriter(&b)
				_, _ = w.Write([]byte(lines))
				w.Close()
				write(t, path+".1.gz", b.String())
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				write(t, path, "2026-02-01 12:00:00 new\n")
			},
			[]string{"(compressed ones are not looked into: a.log.1.gz)"},
			nil,
		},
		{
			"emptied", func(t *testing.T, path string) { write(t, path, "short\n") },
			[]string{"what has its name and inode now, 6 bytes, does not hold what was read (it was emptied", "the log is read from its beginning"},
			[]string{"compressed ones", "not found"},
		},
		{
			"anew", func(t *testing.T, path string) {
				write(t, path, strings.Repeat("2026-02-01 12:00:00 other lines\n", 20))
			},
			[]string{"640 bytes, does not hold what was read (it was emptied"},
			[]string{"compressed ones", "not found"},
		},
		{
			"nothing there", func(t *testing.T, path string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"was not found", "and the log is when there is one"},
			[]string{"compressed", "from its beginning"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, lines)
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.until("the lines", func() bool { return len(x.lines) == 2 })
			x.stop()
			var at []Position
			for _, p := range x.pos {
				at = append(at, p)
			}
			c.change(t, path)
			x = takeFrom(t, &Files{Globs: []string{path}, Resume: map[string][]Position{path: at}})
			var told []string
			x.until("what is told", func() bool {
				told = append(told, x.told()...)
				return strings.Contains(strings.Join(told, "\n"), "the file that was followed until byte ")
			})
			all := strings.Join(told, "\n")
			for _, want := range c.want {
				if !strings.Contains(all, want) {
					t.Errorf("not told: %s\n%s", want, all)
				}
			}
			for _, not := range c.not {
				if strings.Contains(all, not) {
					t.Errorf("told: %s\n%s", not, all)
				}
			}
		})
	}
}
