// Package hosttest is what tests of all packages need of the host that they run on: to wait until
// something is so, files with their directories, Python and fail2ban to be asked, and a network of a
// test's own. Networks of several hosts are netlab's, the fail2bans that can be asked are references'.
//
//	hosttest.Write(t, filepath.Join(dir, "etc/bailiff.toml"), text)
//	hosttest.Until(t, "the jail bans", func() bool { return banned() > 0 })
package hosttest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long tests wait for what has to come: no test is about this time, and the machine
// may be busy with others.
const Patience = 3 * time.Minute

// Soon waits until something is so, and reports whether it was within Patience. Who asks leaves room for
// who is to answer: between two questions it sleeps as long as the last one took.
func Soon(ok func() bool) bool {
	for end := time.Now().Add(Patience); ; {
		asked := time.Now()
		if ok() {
			return true
		}
		if asked.After(end) {
			return false
		}
		time.Sleep(max(2*time.Millisecond, time.Since(asked)))
	}
}

// Until is Soon for who has nothing more to say of it than what was waited for.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Soon(ok) {
		t.Fatalf("waited %v in vain: %s", Patience, what)
	}
}

// Write writes a file, and the directories in which it is to be, and returns its path.
func Write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// InNamespace gives the test a network of its own: its thread is moved there, and thrown away with the
// test. Needs root.
func InNamespace(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes a network namespace: run it as root (make test says how)")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}
