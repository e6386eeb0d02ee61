package gatefs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

func TestMain(m *testing.M) {
	if Serve() {
		return
	}
	os.Exit(m.Run())
}

// TestHang: what is to wait does, in its folder alone, and goes on.
func TestHang(t *testing.T) {
	at, under := t.TempDir(), t.TempDir()
	for _, dir := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(under, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		hosttest.Write(t, filepath.Join(under, dir, "file"), "text")
	}
	f, err := Mount(exec.Command("/proc/self/exe"), at, under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	for _, c := range []struct {
		op string
		do func(dir string) error
	}{
		{"read", func(dir string) error { _, err := os.ReadFile(filepath.Join(dir, "file")); return err }},
		{"open", func(dir string) error { _, err := os.ReadFile(filepath.Join(dir, "file")); return err }},
		{"lookup", func(dir string) error { _, err := os.Stat(filepath.Join(dir, "file")); return err }},
		{"getattr", func(dir string) error { _, err := os.Stat(filepath.Join(dir, "file")); return err }},
		{"write", func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0) }},
		{"create", func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) }},
		{"readdir", func(dir string) error { _, err := os.ReadDir(dir); return err }},
		{"rename", func(dir string) error { return os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "newer")) }},
		{"unlink", func(dir string) error { return os.Remove(filepath.Join(dir, "newer")) }},
		{"all", func(dir string) error {
			if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}},
	} {
		if err := f.Hang("a/" + c.op); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.do(filepath.Join(at, "a")) }()
		if err := c.do(filepath.Join(at, "b")); err != nil {
			t.Errorf("%s: %v", c.op, err)
		}
		select {
		case err := <-done:
			t.Errorf("%s does not wait: %v", c.op, err)
			done <- err
		case <-time.After(20 * time.Millisecond): // it had time
		}
		if err := f.Hang(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", c.op, err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s does not go on", c.op)
		}
	}
}
