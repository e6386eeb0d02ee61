package source

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestBetween: the log is rotated several times before anybody looks again, with
// names that grow, names that shift and dated ones.
func TestBetween(t *testing.T) {
	kinds := map[string]func(path string, n int){
		"growing": func(path string, n int) { rename(t, path, fmt.Sprintf("%s.%d", path, n+1)) },
		"shifted": func(path string, _ int) {
			for i := 9; i > 0; i-- {
				_ = os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1))
			}
			rename(t, path, path+".1")
		},
		"dated":     func(path string, n int) { rename(t, path, fmt.Sprintf("%s-2026101%d", path, n)) },
		"extension": func(path string, n int) { rename(t, path, fmt.Sprintf("%s-2026101%d.log", path[:len(path)-4], n)) },
		"hours":     func(path string, n int) { rename(t, path, fmt.Sprintf("%s.2026-10-10T0%d:00", path, n)) },
	}
	for kind, rotate := range kinds {
		for _, c := range []string{"stopped", "away", "away, and the first one is deleted"} {
			t.Run(kind+", "+c, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "app.log")
				// Of earlier days, and of others.
				write(t, path+".7", text(numbered("older", 500, 510)))
				write(t, path+".json", text(numbered("other", 600, 610)))
				write(t, path+".8.gz", text(numbered("packed", 700, 710)))
				tick()
				want := numbered("a", 0, 10)
				write(t, path, text(want))
				var positions map[string][]Position
				var process *apart
				if c == "stopped" {
					process = followApart(t, path)
					process.want(want...)
					process.signal(syscall.SIGSTOP)
				} else {
					x := takeFrom(t, &Files{Globs: []string{path}})
					x.want(want...)
					positions = x.left(path)
				}
				for n := range 3 {
					appendTo(t, path, text(numbered("rest", 20*n+50, 20*n+52)))
					if c != "away, and the first one is deleted" || n > 0 {
						want = append(want, numbered("rest", 20*n+50, 20*n+52)...)
					}
					rotate(path, n)
					if c == "away, and the first one is deleted" && n == 0 {
						for _, b := range listed(path, false) {
							if b.path != path+".7" {
								if err := os.Remove(b.path); err != nil {
									t.Fatal(err)
								}
							}
						}
					}
					tick()
					write(t, path, "")
				}
				appendTo(t, path, text(numbered("last", 200, 205)))
				want = append(want, numbered("last", 200, 205)...)
				if c == "stopped" {
					process.signal(syscall.SIGCONT)
					process.want(want...)
					return
				}
				y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
				y.want(want[10:]...)
			})
		}
	}
}

// apart follows a log in a process of its own, which can be stopped.
type apart struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	got   []string
}

func followApart(t *testing.T, path string) *apart {
	a := &apart{t: t, lines: make(chan string, 100_000)}
	a.cmd = exec.Command(os.Args[0], "-test.run=^TestFollowApart$")
	a.cmd.Env = append(os.Environ(), "SOURCE_FOLLOW="+path)
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			a.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	})
	return a
}

func (a *apart) want(lines ...string) {
	a.t.Helper()
	for deadline := time.After(2 * time.Minute); len(a.got) < len(lines); {
		select {
		case l := <-a.lines:
			a.got = append(a.got, l)
		case <-deadline:
			a.t.Fatalf("waited in vain: %d lines of %d: %q, want %q", len(a.got), len(lines), a.got, lines)
		}
	}
	select {
	case l := <-a.lines:
		a.got = append(a.got, l)
	case <-time.After(50 * time.Millisecond):
	}
	if !slices.Equal(a.got, lines) {
		a.t.Fatalf("%q, want %q", a.got, lines)
	}
}

func (a *apart) signal(s os.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

// TestFollowApart is such a process.
func TestFollowApart(t *testing.T) {
	path := os.Getenv("SOURCE_FOLLOW")
	if path == "" {
		return
	}
	out := make(chan Batch)
	go (&Files{Globs: []string{path}}).Run(t.Context(), out)
	for b := range out {
		for _, l := range b.Lines {
			fmt.Println(string(l))
		}
	}
}

// TestRotatedWhileOlderIsRead: at a start, older files are read first, while the log
// goes on being rotated.
func TestRotatedWhileOlderIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	want := numbered("a", 0, 10)
	write(t, path, text(want))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(want...)
	positions := x.left(path)
	n := 10
	more := func(lines int) {
		appendTo(t, path, text(numbered("a", n, n+lines)))
		n += lines
	}
	for i := range 3 {
		more(2)
		rename(t, path, fmt.Sprintf("%s.%d", path, i))
		tick()
		more(1)
	}
	y := takeFrom(t, &Files{Globs: []string{path}, Resume: positions})
	y.until("the first older one", func() bool { return len(y.lines) > 0 })
	for i := range 20 {
		more(2)
		rename(t, path, fmt.Sprintf("%s.%d", path, i+3))
		time.Sleep(5 * time.Millisecond)
		more(1)
	}
	y.want(numbered("a", 10, n)...)
}

// TestStoodStill: a process that is stopped between two steps of one look takes what the
// log was meanwhile for what came before it, not for copies that came beside it.
func TestStoodStill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	write(t, path, "one\n")
	l := &lookout{path: path}
	l.check()
	tick()
	// The look found the path as it was, and goes on only after this.
	for n := range 2 {
		rename(t, path, fmt.Sprintf("%s.%d", path, n+1))
		tick()
		write(t, path, fmt.Sprintf("%d\n", n+2))
	}
	late := l.copies()
	found, _ := l.check()
	var got []string
	for _, s := range append(late, found...) {
		if s.of != (FileID{}) {
			t.Errorf("%s is a copy of %v", s.file.Name(), s.of)
		}
		got = append(got, filepath.Base(s.file.Name()))
		s.close()
	}
	if want := []string{"app.log.2", "app.log"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
