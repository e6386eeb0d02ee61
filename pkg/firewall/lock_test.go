package firewall

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func lockDir(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("locks are root's: run it as root (make test says how)")
	}
	dir := filepath.Join(t.TempDir(), "run")
	was := LockDir
	LockDir = dir
	t.Cleanup(func() { LockDir = was })
	return dir
}

// TestLocksLeft: what daemons that were killed have left is removed at the next start of
// any; what somebody holds, and whatever is no lock, stays. An orderly end leaves nothing.
func TestLocksLeft(t *testing.T) {
	dir := lockDir(t)
	held, err := lockTable("held")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nftables-f2b-table-4026531840.lock", "nftables-a_b-1.lock", "nftables-x.lock", "bailiff.sock", "nftables-f2b-table-7.lock.d"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("bailiff.sock", filepath.Join(dir, "nftables-link-1.lock")); err != nil {
		t.Fatal(err)
	}
	mine, err := lockTable("mine")
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return strings.Join(out, " ")
	}
	own, other := filepath.Base(mine.Name()), filepath.Base(held.Name())
	if want := "bailiff.sock nftables-f2b-table-7.lock.d " + other + " nftables-link-1.lock " + own + " nftables-x.lock"; names() != want {
		t.Errorf("left: %s, want %s", names(), want)
	}
	unlock(mine)
	unlock(held)
	if want := "bailiff.sock nftables-f2b-table-7.lock.d nftables-link-1.lock nftables-x.lock"; names() != want {
		t.Errorf("after the end: %s, want %s", names(), want)
	}
}

// TestLockOwner: root takes the directory of the service's user for its own, nobody
// else's; and no file there that is another's, or has another name, too.
func TestLockOwner(t *testing.T) {
	dir := lockDir(t)
	const nobody = 65534
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if f, err := lockTable("x"); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("a stranger's directory: %v %v", f, err)
	}
	was := serviceUser
	serviceUser = "nobody"
	defer func() { serviceUser = was }()
	f, err := lockTable("x")
	if err != nil {
		t.Fatal(err)
	}
	path := f.Name()
	unlock(f)
	elsewhere := filepath.Join(dir, "else")
	for what, make := range map[string]func() error{
		"of two names": func() error {
			return errors.Join(os.WriteFile(elsewhere, []byte("kept"), 0o600), os.Link(elsewhere, path))
		},
		"somebody else's": func() error {
			return errors.Join(os.WriteFile(path, []byte("kept"), 0o600), os.Chown(path, 1000, 1000))
		},
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		var none *noLockError
		if f, err := lockTable("x"); !errors.As(err, &none) {
			t.Errorf("%s: %v %v", what, f, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "kept" {
			t.Errorf("%s: it was written to: %q %v", what, data, err)
		}
		os.Remove(path)
	}
}

// TestLockRace: daemons that end, start and tidy up at the same time never have one table
// both.
func TestLockRace(t *testing.T) {
	lockDir(t)
	var holders [2]atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		table := i % 2
		wg.Go(func() {
			for range 40 {
				f, err := lockTable([]string{"one", "two"}[table])
				if err != nil {
					if !strings.Contains(err.Error(), "another bailiff") {
						t.Error(err)
						return
					}
					continue // for five seconds it was never free when looked at
				}
				if n := holders[table].Add(1); n != 1 {
					t.Errorf("%d have the table", n)
				}
				holders[table].Add(-1)
				unlock(f)
			}
		})
	}
	wg.Wait()
}
