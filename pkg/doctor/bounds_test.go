package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/gatefs"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/source"
)

// TestTail: of a log, its last lines are read, as many as may be, each once, whatever it is
// written in; and their numbers are right where all of it was.
func TestTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	var b strings.Builder
	const all = 40_000
	for i := range all {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("x", i%40))
	}
	hosttest.Write(t, path, b.String())
	for _, c := range []struct {
		lines int
		most  int64
		first int
	}{{all, 64 << 20, 1}, {all + 1, 64 << 20, 1}, {100, 64 << 20, 0}, {1, 64 << 20, 0}, {all, 300_000, 0}} {
		f, err := readTail(context.Background(), path, nil, c.lines, c.most)
		if err != nil {
			t.Fatal(err)
		}
		n := len(f.lines)
		if n == 0 || n > c.lines || f.first != c.first || int64(n*20) > c.most+256<<10 || c.most > 1<<20 && n != min(c.lines, all) {
			t.Errorf("%+v: %d lines, the first is number %d", c, n, f.first)
		}
		for i, line := range f.lines {
			if want := fmt.Sprintf("line %d ", all-n+i); !strings.HasPrefix(string(line), want) {
				t.Fatalf("%+v: line %d of %d is %q, want %q", c, i, n, line, want)
			}
		}
	}
	wide, err := source.LookupEncoding("utf-16le")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, r := range b.String() {
		text = append(text, byte(r), 0)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := readTail(context.Background(), path, wide, 100, 64<<20)
	if err != nil || len(f.lines) != 100 || !strings.HasPrefix(string(f.lines[99]), fmt.Sprintf("line %d ", all-1)) {
		t.Errorf("%d lines, %v", len(f.lines), err)
	}
}

// TestMain serves the file system that hangs, and has the tests run in a network of their own:
// what listens on this host, and its rules, are nobody's business.
func TestMain(m *testing.M) {
	if gatefs.Serve() {
		return
	}
	const alone = "DOCTOR_TEST_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), alone+"=yes")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // who dies with it
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			os.Exit(max(exit.ExitCode(), 1))
		case err != nil:
			fmt.Fprintf(os.Stderr, "a network of its own: %v: run it as root (make test says how)\n", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestHangs: a log whose file system doesn't answer is said to hang, and is left behind; other
// jails are looked at.
func TestHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"under", "at"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	line := time.Now().Format("2006-01-02 15:04:05,000") + " django.security Login failure 203.0.113.7\n"
	for name, text := range map[string]string{
		"under/a.log": line, "b.log": line,
		"bailiff.toml": strings.ReplaceAll("[jail.a]\nenabled = true\nfilter = 'django-auth'\nlogpath = '@/at/a.log'\n[jail.b]\nenabled = true\nfilter = 'django-auth'\nlogpath = '@/b.log'\n", "@", dir),
	} {
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	fs, err := gatefs.Mount(exec.Command("/proc/self/exe"), filepath.Join(dir, "at"), filepath.Join(dir, "under"))
	if err != nil {
		t.Fatalf("%v: run it as root, with /dev/fuse", err)
	}
	defer fs.Close()
	cfg, err := config.Load(config.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Hang("all"); err != nil {
		t.Fatal(err)
	}
	r := Look(context.Background(), cfg, Options{Most: 100 * time.Millisecond})
	if err := fs.Hang(); err != nil {
		t.Fatal(err)
	}
	if f := r.Findings[0]; f.Symptom != "log-hangs" || f.Jail != "a" || r.Of("a", LinkLines) != "-" {
		t.Errorf("first %+v", f)
	}
	if r.Of("b", LinkSums) != "ok" {
		t.Errorf("jail b: %s", r.Of("b", LinkSums))
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if r := Look(over, cfg, Options{}); r.Findings[0].Symptom != "not-looked" {
		t.Errorf("when the time is over: %+v", r.Findings[0])
	}
}
