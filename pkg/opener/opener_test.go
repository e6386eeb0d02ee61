package opener

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKept: what was opened at the start is whoever's asks for it, as often as he likes, and
// takes what came meanwhile; it is closed when it is configured no more.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	p := Place{Network: "unixgram", Address: filepath.Join(dir, "log"), Mode: 0o666}
	if err := Keep(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Retain(nil) })
	if fi, err := os.Stat(p.Address); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", fi, err)
	}
	send := func() {
		t.Helper()
		conn, err := net.Dial("unixgram", p.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		send() // nobody reads yet, or any more
		l, err := ListenPacket(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		if n, _, err := l.ReadFrom(buf); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		l.Close()
	}
	Retain(nil)
	if Kept(p) {
		t.Error("it is kept")
	}
	if _, err := net.Dial("unixgram", p.Address); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("somebody listens: %v", err)
	}
	// The file that is left is in nobody's way; one that is no socket is left alone.
	if l, err := ListenPacket(context.Background(), p); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	p.Address = filepath.Join(dir, "file")
	if err := os.WriteFile(p.Address, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenPacket(context.Background(), p); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v, want that it is in use", err)
	}
	if text, _ := os.ReadFile(p.Address); string(text) != "x" {
		t.Error("the file is gone")
	}
}

// TestReadable: what an engine can be asked reads, and nothing else.
func TestReadable(t *testing.T) {
	for _, s := range []string{
		"/_ping", "/version", "/v1.41/info", "/v1.41/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D&since=17.5",
		"/containers/json?all=true", "/v1.43/containers/3f35acf0/json", "/v4.0.0/libpod/containers/a_b.c-d/logs?follow=1&stdout=1&stderr=1&timestamps=1&since=2026-01-01T00%3A00%3A00Z",
	} {
		if !Readable.MatchString(s) {
			t.Errorf("not readable: %s", s)
		}
	}
	for _, s := range []string{
		"/containers/prune", "/containers/x/attach", "/containers/x/top", "/containers/x/export", "/images/json", "/secrets", "/configs", "/swarm/unlockkey",
		"/v1.41/containers/%2e%2e/json", "/containers/x/json/../export", "/containers/json#x", "/containers/json ", "/version\n", "//version",
	} {
		if Readable.MatchString(s) {
			t.Errorf("readable: %q", s)
		}
	}
}
