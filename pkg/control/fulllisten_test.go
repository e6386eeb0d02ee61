package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListenFull: the socket of a server that hangs, and has no room for another connection,
// is not taken over.
func TestListenFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	at := &unix.SockaddrUnix{Name: path}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	server := socket()
	if err := unix.Bind(server, at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(server, 1); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = unix.Connect(socket(), at)
	}
	if err != unix.EAGAIN {
		t.Fatalf("filled: %v", err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(path, nil, Options{})
	if err == nil {
		s.Close()
		t.Fatal("it was taken over")
	}
	if !strings.Contains(err.Error(), "something else listens there") {
		t.Error(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another one: %v", err)
	}
}
