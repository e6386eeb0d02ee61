package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the owner of a log's directory may put in the log's place.

// TestForeignFIFO: a FIFO that isn't named as one is told of and not opened, and a file
// in its place is read.
func TestForeignFIFO(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, other, text(numbered("b", 0, 3)))
	x := takeFrom(t, &Files{Globs: []string{path, other}})
	x.want(numbered("b", 0, 3)...)
	x.until("the error", func() bool {
		st := x.src.Status()
		return len(st) == 2 && strings.Contains(st[0].Error, "is a FIFO: name it as one in logpath")
	})
	// Who writes to it finds no reader.
	if _, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.ENXIO) {
		t.Errorf("opening it for writing: %v, want %v", err, unix.ENXIO)
	}
	rename(t, path, path+"~")
	write(t, path, text(numbered("a", 0, 3)))
	x.want(append(numbered("b", 0, 3), numbered("a", 0, 3)...)...)
	if st := x.src.Status(); st[0].Error != "" {
		t.Errorf("status %+v", st)
	}
}

// TestFIFORace: a regular file and a FIFO take each other's place again and again.
func TestFIFORace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, text(numbered("a", 0, 3)))
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.want(numbered("a", 0, 3)...)
	done := make(chan error, 2)
	stop := make(chan struct{})
	for _, fifo := range []bool{true, false} {
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				next := fmt.Sprintf("%s/%v", dir, fifo)
				if fifo {
					_ = unix.Mkfifo(next, 0o600)
				} else {
					_ = os.WriteFile(next, nil, 0o600)
				}
				if err := os.Rename(next, path); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		select {
		case b := <-x.out:
			x.got(b)
		case <-x.events:
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "last"), text(numbered("b", 0, 3)))
	rename(t, filepath.Join(dir, "last"), path)
	x.want(append(numbered("a", 0, 3), numbered("b", 0, 3)...)...)
}

// TestFileAsFIFO: a regular file in the place of what is named as a FIFO is a file,
// each of its lines is read once.
func TestFileAsFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	write(t, path, text(numbered("a", 0, 3)))
	x := takeFrom(t, &Files{Globs: []string{path}, FIFOs: []string{path}})
	x.want(numbered("a", 0, 3)...)
	if err := unix.Mkfifo(path+"~", 0o600); err != nil {
		t.Fatal(err)
	}
	rename(t, path+"~", path)
	x.until("the pipe", func() bool { return strings.Contains(fmt.Sprint(x.told()), "following a named pipe") })
	write(t, path, text(numbered("b", 0, 1)))
	x.want(append(numbered("a", 0, 3), numbered("b", 0, 1)...)...)
	write(t, path+"~", text(numbered("c", 0, 3)))
	rename(t, path+"~", path)
	x.want(append(append(numbered("a", 0, 3), numbered("b", 0, 1)...), numbered("c", 0, 3)...)...)
}

// TestForeignThings: devices, sockets, directories and strangers' links in a log's
// place, and beside it where files are looked for.
func TestForeignThings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: devices and files of other users are made")
	}
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, text(numbered("secret", 0, 3)))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		make       func(string) error
	}{
		{"device", "is a device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }}, // zero
		{"disk", "is a device", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))) }},
		{"socket", "is a socket", func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o666, 0) }},
		{"directory", "is a directory", func(p string) error { return os.Mkdir(p, 0o755) }},
		{"link", "not followed", func(p string) error {
			made := filepath.Join(t.TempDir(), "link")
			return errors.Join(os.Symlink(secret, made), os.Lchown(made, 12345, 12345), os.Rename(made, p))
		}},
		{"link to a device", "is a device", func(p string) error { return os.Symlink("/dev/zero", p) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.name+".log")
			write(t, path, text(numbered("a", 0, 3)))
			x := takeFrom(t, &Files{Globs: []string{path}})
			x.want(numbered("a", 0, 3)...)
			if err := c.make(path + ".1"); err != nil { // beside it
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			x.until("the error", func() bool { return strings.Contains(x.src.Status()[0].Error, c.want) })
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, text(numbered("b", 10, 12)))
			x.want(append(numbered("a", 0, 3), numbered("b", 10, 12)...)...)
		})
	}
}
