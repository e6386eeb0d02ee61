package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReplaceFile: mode, owner and group of an export stay, and so does a link to it.
func TestReplaceFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test gives files to others: run it as root (make test says how)")
	}
	dir := t.TempDir()
	path, link := filepath.Join(dir, "bans"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12, 34); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("bans", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link} {
		if err := replaceFile(name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); fi.Mode() != 0o640 || st.Uid != 12 || st.Gid != 34 {
			t.Errorf("%v of %d:%d", fi.Mode(), st.Uid, st.Gid)
		}
		if data, _ := os.ReadFile(path); string(data) != name {
			t.Errorf("holds %q", data)
		}
	}
	if to, err := os.Readlink(link); err != nil || to != "bans" {
		t.Errorf("the link is %q, %v", to, err)
	}
	// Somebody else's link is replaced: he can't have us write elsewhere.
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("victim"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("victim", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 12, 34); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("bans")); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(victim); string(data) != "victim" {
		t.Errorf("the victim holds %q", data)
	}
}

// TestReplaceOnlyFiles: what is no regular file isn't replaced by one, also not behind a
// link of root's.
func TestReplaceOnlyFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test makes a device: run it as root (make test says how)")
	}
	dir := t.TempDir()
	for name, mode := range map[string]uint32{"device": syscall.S_IFCHR, "fifo": syscall.S_IFIFO, "socket": syscall.S_IFSOCK} {
		path := filepath.Join(dir, name)
		if err := syscall.Mknod(path, mode|0o600, 1<<8|3); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, path+"-link"); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, path + "-link"} {
			if err := replaceFile(p, []byte("bans")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%s: %v", p, err)
			}
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode().IsRegular() {
			t.Errorf("%s is %v, %v", path, fi.Mode(), err)
		}
	}
}
