package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	old := time.Now().Add(-2 * leftAfter)
	for name, at := range map[string]time.Time{
		".list.123": old, ".list.456": time.Now(), // somebody may be writing it
		".list.x": old, ".list.": old, ".other.1": old, "list.1": old,
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(text string) func(*os.File) error {
		return func(f *os.File) error { _, err := f.WriteString(text); return errors.Join(err, f.Chmod(0o640)) }
	}
	for _, text := range []string{"one", "two"} {
		if err := Replace(path, fill(text)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if fi, _ := os.Stat(path); err != nil || string(data) != text || fi.Mode().Perm() != 0o640 {
			t.Fatalf("%q, %v, %v", data, fi.Mode(), err)
		}
	}
	full := errors.New("no room")
	for _, c := range []struct {
		path string
		fill func(*os.File) error
		op   string
		is   error
	}{
		{path, func(*os.File) error { return full }, "write", full},
		{path, func(f *os.File) error { return &fs.PathError{Op: "write", Path: f.Name(), Err: full} }, "write", full},
		{filepath.Join(dir, "none", "list"), fill(""), "create", fs.ErrNotExist},
		{dir, fill(""), "write", nil},
	} {
		err := Replace(c.path, c.fill)
		var pe *fs.PathError
		if !errors.As(err, &pe) || pe.Op != c.op || pe.Path != c.path || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != "two" {
		t.Errorf("%q after errors", data)
	}
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".list.", ".list.456", ".list.x", ".other.1", "list", "list.1"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
