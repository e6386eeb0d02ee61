package daemon

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

func TestSessions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1": "UID=0\nUSER=root\nSTATE=active\nREMOTE=1\nTYPE=tty\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n",
		"2": "STATE=online\nREMOTE=1\nREMOTE_HOST=2001:db8::7\nSERVICE=sshd\n",
		"3": "STATE=closing\nREMOTE=1\nREMOTE_HOST=192.0.2.8\nSERVICE=sshd\n",
		"4": "STATE=active\nREMOTE=0\nSERVICE=login\n",
		"5": "STATE=active\nREMOTE=1\nREMOTE_HOST=host.example\nSERVICE=sshd\n",
		"6": "\x00\xff",
	} {
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "1.ref"), 0o600); err != nil { // logind has those
		t.Fatal(err)
	}
	record := func(kind uint16, addr ...byte) []byte {
		r := make([]byte, 384)
		binary.NativeEndian.PutUint16(r, kind)
		copy(r[348:], addr)
		return r
	}
	utmp := filepath.Join(t.TempDir(), "utmp")
	v6 := []byte{0x20, 1, 0xd, 0xb8, 15: 9}
	var all []byte
	for _, r := range [][]byte{record(7, 198, 51, 100, 9), record(8, 198, 51, 100, 10), record(7), record(7, v6...), {1, 2, 3}} {
		all = append(all, r...)
	}
	if err := os.WriteFile(utmp, all, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(sessions(dir, utmp)), "[192.0.2.7 2001:db8::7 198.51.100.9 2001:db8::9]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := sessions(filepath.Join(dir, "none"), filepath.Join(dir, "none")); got != nil {
		t.Errorf("without any: %v", got)
	}
}
