package safefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpen: what a path names, and what is opened of it. Nothing here may wait.
func TestOpen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: files of other users are made")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const app, other = 12345, 12346
	must(os.Chmod(dir, 0o755))
	write := func(name string, uid int) {
		must(os.WriteFile(in(name), []byte(name), 0o600))
		must(os.Lchown(in(name), uid, uid))
	}
	link := func(to, name string, uid int) {
		must(os.Symlink(to, in(name)))
		must(os.Lchown(in(name), uid, uid))
	}
	must(os.MkdirAll(in("of-app/deep"), 0o755))
	must(os.Chown(in("of-app"), app, app))
	write("root.log", 0)
	write("app.log", app)
	write("of-app/app.log", app)
	write("of-app/deep/root.log", 0)
	must(unix.Mkfifo(in("fifo"), 0o600))
	must(unix.Mknod(in("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	link("root.log", "by-root", 0)
	link(in("app.log"), "by-root-to-app", 0)
	link("app.log", "by-app", app)
	link("root.log", "by-app-to-root", app)
	link("app.log", "by-other", other)
	link("by-app-to-root", "by-root-by-app", 0)
	link("by-root", "by-app-by-root", app)
	link("by-app", "by-app-by-app", app)
	link("of-app", "dir-by-root", 0)
	link(dir, "dir-by-app", app)
	link("of-app", "own-dir-by-app", app)
	link("loop", "loop", 0)
	link("nowhere", "dangling", 0)
	link("fifo", "fifo-by-root", 0)
	link("device", "device-by-root", 0)
	link("../of-app/./deep/..//app.log", "of-app/long", app)
	const refused, kind = "not followed", "not a regular file"
	for _, c := range []struct{ path, text, err string }{
		{"root.log", "root.log", ""},
		{"of-app/app.log", "of-app/app.log", ""},
		{"by-root", "root.log", ""},
		{"by-root-to-app", "app.log", ""},
		{"by-app", "app.log", ""},
		{"by-app-by-app", "app.log", ""},
		{"by-app-to-root", "", refused},
		{"by-other", "", refused},
		{"by-root-by-app", "", refused},
		{"by-app-by-root", "", refused},
		{"dir-by-root/app.log", "of-app/app.log", ""},
		{"dir-by-root/deep/root.log", "of-app/deep/root.log", ""},
		{"dir-by-app/root.log", "", refused},
		{"own-dir-by-app/app.log", "of-app/app.log", ""},
		{"dir-by-root/long", "of-app/app.log", ""},
		{"loop", "", "too many levels"},
		{"dangling", "", "no such file"},
		{"missing/x", "", "no such file"},
		{"root.log/x", "", "not a directory"},
		{"fifo", "", "is a FIFO"},
		{"fifo-by-root", "", "is a FIFO"},
		{"device", "", "is a device"},
		{"device-by-root", "", kind},
		{".", "", "is a directory"},
		{"../" + filepath.Base(dir) + "/by-root", "root.log", ""},
	} {
		for _, path := range []string{dir + "/" + c.path, c.path} {
			t.Chdir(dir)
			file, err := Open(path)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: error %v, want %q", path, err, c.err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			text, err := io.ReadAll(file)
			if string(text) != c.text || err != nil || file.Name() != path {
				t.Errorf("%s (%s): %q, %v", path, file.Name(), text, err)
			}
			file.Close()
		}
	}
	// A FIFO where one is asked for, without a writer.
	file, err := OpenLog(in("fifo"))
	must(err)
	file.Close()
	if _, err := OpenLog(in("device")); err == nil {
		t.Error("a device is opened as a log")
	}
	// What a process has open, by its name in /proc.
	r, w, err := os.Pipe()
	must(err)
	defer r.Close()
	defer w.Close()
	if file, err = OpenLog("/dev/fd/" + strconv.Itoa(int(r.Fd()))); err != nil {
		t.Error(err)
	} else {
		file.Close()
	}
}

// TestReplaced: while a regular file and a FIFO take each other's place, an open
// neither waits nor gives out the other.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	done, ended := make(chan struct{}), make(chan struct{})
	defer func() {
		close(done)
		<-ended // nothing is made in the directory when it is removed
	}()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			next := path + "~"
			if i%2 == 0 {
				_ = unix.Mkfifo(next, 0o600)
			} else {
				_ = os.WriteFile(next, nil, 0o600)
			}
			_ = os.Rename(next, path)
		}
	}()
	for range 20_000 {
		file, err := Open(path)
		if err == nil {
			fi, err := file.Stat()
			if err != nil || !fi.Mode().IsRegular() {
				t.Fatal(fi, err)
			}
			file.Close()
			continue
		}
		var kind *KindError
		if !errors.As(err, &kind) && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("victim"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("victim", in("link")), os.Symlink("elsewhere", in("dangling")), os.Link(in("victim"), in("second")),
		unix.Mkfifo(in("fifo"), 0o600), os.WriteFile(in("foreign"), nil, 0o666), os.Chown(in("foreign"), 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"link": "symbolic link", "dangling": "symbolic link", "second": "2 names", "fifo": "FIFO", "foreign": "belongs to user 12345", "missing/x": "no such file"} {
		if _, err := Create(in(name), os.O_WRONLY|os.O_TRUNC, 0o600); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if text, err := os.ReadFile(in("victim")); string(text) != "text" {
		t.Errorf("the other file now says %q (%v)", text, err)
	}
	if _, err := os.Lstat(in("elsewhere")); err == nil {
		t.Error("a file was made behind a link")
	}
	for _, text := range []string{"a longer text", "new"} {
		file, err := Create(in("own"), os.O_WRONLY|os.O_TRUNC, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if got, _ := os.ReadFile(in("own")); string(got) != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 4); string(got) != "1234" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ReadFile(path, 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Error(err)
	}
}

func TestAppend(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(unix.Mkfifo(in("fifo"), 0o600), os.WriteFile(in("foreign"), []byte("1"), 0o666), os.Chown(in("foreign"), 12345, 12345),
		os.WriteFile(in("root"), nil, 0o600), os.Symlink("root", in("link")), os.Lchown(in("link"), 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"fifo": "FIFO", "link": "not followed", ".": "directory", "missing/x": "no such file"} {
		if _, err := Append(in(name), 0o600); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for _, path := range []string{in("foreign"), in("new"), in("new"), "/dev/null"} {
		file, err := Append(path, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString("2"); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	for name, want := range map[string]string{"foreign": "12", "new": "22"} {
		if got, _ := os.ReadFile(in(name)); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
