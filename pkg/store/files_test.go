package store

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

// modes are those of the files in a directory.
func modes(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	out := map[string]fs.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = fi.Mode()
	}
	return out
}

// TestFilesAreOurs: nobody else can read or lock the database, nor what SQLite makes
// beside it, be it new or from before, whatever the umask says.
func TestFilesAreOurs(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "lib")
	path := filepath.Join(dir, "db.sqlite3")
	for _, turn := range []string{"new", "from before", "after a crash"} {
		s := open(t, path)
		if _, err := s.Load("web", noon); err != nil {
			t.Fatal(err)
		}
		got := modes(t, dir)
		for _, name := range []string{"db.sqlite3", "db.sqlite3-journal", "db.sqlite3.lock"} {
			if got[name] != 0o600 {
				t.Errorf("%s: %s has mode %v, want 0600", turn, name, got[name])
			}
		}
		if fi, _ := os.Stat(dir); fi.Mode().Perm() != 0o700 {
			t.Errorf("the directory has mode %v", fi.Mode())
		}
		if turn != "new" && !strings.Contains(strings.Join(s.Warnings(), "\n"), "could be read by others (mode 0644): it is 0600 now") {
			t.Errorf("%s: warnings %q", turn, s.Warnings())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if turn == "from before" { // the files of a crash are left, of a version that had a log
			crashedWithLog(t, path)
			continue
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFilesAreNobodyElses: what stands in a file's place is not followed, and a
// directory of somebody's is told of.
func TestFilesAreNobodyElses(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "db.sqlite3")
	if err := os.Symlink(victim, path+".lock"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, clock.System()); err == nil {
		s.Close()
		t.Error("the lock's link was followed")
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("a file was made elsewhere by the lock's name")
	}
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, clock.System()); err == nil || !strings.Contains(err.Error(), "is a FIFO") {
		t.Errorf("a FIFO: %v", err)
		s.Close()
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// A link of somebody's to what he can't write to; root's own is the way to another disk.
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(path, 65534, 65534); err != nil {
		t.Fatalf("%v: run it as root", err)
	}
	if s, err := Open(path, clock.System()); err == nil || !strings.Contains(err.Error(), "is a symbolic link of user 65534") {
		t.Errorf("a stranger's link: %v", err)
		s.Close()
	}
	if err := os.Lchown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	linked := open(t, path)
	if fi, err := os.Stat(victim); err != nil || fi.Size() == 0 {
		t.Errorf("root's own link: %v", err)
	}
	if err := linked.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	defer s.Close()
	if w := strings.Join(s.Warnings(), "\n"); !strings.Contains(w, "can be written to by others (mode 0777)") {
		t.Errorf("warnings %q", w)
	}
}

// all is everything of a jail.
func all(jail string, at time.Time) *Delta {
	var window Window
	window.Add(p("192.0.2.1"), at.UnixMicro())
	return &Delta{
		Jail: jail, AllBans: true, AllFailures: true, AllLogs: true,
		Bans:   ban.SnapshotOf(ban.Ban{ID: p("192.0.2.7"), Start: at, End: at.Add(time.Hour), Count: 2}, ban.Ban{ID: p("192.0.2.9"), Start: at}),
		Window: window,
		Logs:   map[LogKey]Position{{"a.log", 1, 2}: {Path: "a.log", Dev: 1, Inode: 2, FirstLine: "ff", Offset: 20}},
	}
}

const allOf = "ban 192.0.2.7 2026-01-31T13:00:00Z count 2; ban 192.0.2.9 for ever count 1; failures 192.0.2.1 1; log a.log 1/2 ff 20"

// TestRenewed: a database that is removed, replaced or damaged while it is in use is
// begun anew; until a jail has told everything, nothing is known of it.
func TestRenewed(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"all removed": func(path string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-journal"))
		},
		"removed": os.Remove,
		"its directory removed": func(path string) error {
			return os.RemoveAll(filepath.Dir(path))
		},
		"replaced by another": func(path string) error {
			other := path + ".other"
			s, err := Open(other, clock.NewManual(noon).Clock)
			if err == nil {
				_, err = s.Load("other", noon)
			}
			return errors.Join(err, s.Close(), os.Rename(other, path))
		},
		"replaced by a text": func(path string) error {
			return errors.Join(os.WriteFile(path+".other", []byte(strings.Repeat("no database\n", 1000)), 0o600), os.Rename(path+".other", path))
		},
		"overwritten": func(path string) error {
			for _, name := range []string{path, path + "-journal"} {
				fi, err := os.Stat(name)
				if err == nil {
					err = os.WriteFile(name, []byte(strings.Repeat("x", int(fi.Size()))), 0o600)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lib", "db.sqlite3")
			m := clock.NewManual(noon)
			s, err := Open(path, m.Clock)
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			s.Renewed(func(why error) { told = append(told, why.Error()) })
			for _, jail := range []string{"web", "mail"} {
				if _, err := s.Load(jail, noon); err != nil {
					t.Fatal(err)
				}
			}
			part := func(jail string, n int) *Delta {
				at := noon.Add(time.Duration(n) * time.Second)
				return &Delta{Jail: jail, Events: []Event{{Ban: ban.Ban{ID: p(fmt.Sprintf("198.51.100.%d", n)), Start: at, End: at.Add(time.Hour)}}}}
			}
			if err := s.Write([]*Delta{part("web", 1), part("mail", 2)}); err != nil {
				t.Fatal(err)
			}
			if err := s.Write([]*Delta{CheckDelta()}); err != nil || len(told) > 0 || s.Generation() != 0 {
				t.Fatalf("nothing happened yet: %v, %q", err, told)
			}
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			// Some damage shows only when something is written.
			for n := 3; s.Generation() == 0 && n < 20; n++ {
				if err := s.Write([]*Delta{CheckDelta(), part("web", n)}); err != nil {
					t.Fatal(err)
				}
			}
			if s.Generation() != 1 || len(told) != 1 {
				t.Fatalf("generation %d, told %q", s.Generation(), told)
			}
			t.Log(told[0])
			// A part of a jail is no news any more, all of it is.
			if err := s.Write([]*Delta{part("web", 30), part("mail", 31)}); err != nil {
				t.Fatal(err)
			}
			if err := s.Write([]*Delta{all("web", noon)}); err != nil {
				t.Fatal(err)
			}
			if err := s.Write([]*Delta{CheckDelta(), {Jail: "web", Failures: map[ban.ID][]time.Time{p("192.0.2.2"): {noon}}}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(path, m.Clock)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			st, err := s.Load("web", noon)
			if want := strings.Replace(allOf, "log a", "failures 192.0.2.2 1; log a", 1); err != nil || st.New || st.String() != want {
				t.Errorf("%v\ngot  %s\nwant %s", err, st, want)
			}
			if st, err := s.Load("mail", noon); err != nil || !st.New {
				t.Errorf("what is known of the other jail: %v, %v", st, err)
			}
			if fi, err := os.Stat(path + "-journal"); err != nil || fi.Mode() != 0o600 {
				t.Errorf("%v, %v", fi, err)
			}
		})
	}
}

// TestAllBans: a list of what is in force takes the place of what was told; who is not
// on it is not banned, and what was known of those who are stays.
func TestAllBans(t *testing.T) {
	h := holding(t)
	hour := noon.Add(time.Hour)
	h.write(&Delta{Events: []Event{
		{Ban: ban.Ban{ID: p("192.0.2.7"), Start: noon, End: hour, Count: 3, Failures: 5}, Matches: []string{"a line"}},
		{Ban: ban.Ban{ID: p("192.0.2.8"), Start: noon, End: hour}},
		{Ban: ban.Ban{ID: p("192.0.2.10"), Start: noon.Add(-2 * time.Hour), End: noon.Add(-time.Hour), Count: 4}},
	}})
	h.write(&Delta{
		AllBans: true, Bans: ban.SnapshotOf(ban.Ban{ID: p("192.0.2.7"), Start: noon, End: noon.Add(30 * time.Minute), Count: 3}, ban.Ban{ID: p("192.0.2.9"), Start: noon, End: hour}),
		Events: []Event{{Ban: ban.Ban{ID: p("192.0.2.11"), Start: noon, End: hour}}},
	})
	st, err := h.Load("web", noon)
	want := "ban 192.0.2.11 2026-01-31T13:00:00Z count 1; ban 192.0.2.7 2026-01-31T12:30:00Z count 3; ban 192.0.2.9 2026-01-31T13:00:00Z count 1"
	if err != nil || st.String() != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, st, want)
	}
	if n, _, err := h.BanCount("web", p("192.0.2.10"), false); n != 4 || err != nil {
		t.Errorf("the count of one that has ended: %d, %v", n, err)
	}
	if n, lines, _, _, err := h.Merged("web", p("192.0.2.7"), false, 10); n != 5 || len(lines) != 1 || err != nil {
		t.Errorf("failures %d, lines %q, %v", n, lines, err)
	}
}

// TestOddRows: what fail2ban, or anybody, has written is read as far as it goes; the
// rest is passed over, and told.
func TestOddRows(t *testing.T) {
	h := holding(t)
	if _, err := h.Load("web", noon); err != nil {
		t.Fatal(err)
	}
	at := noon.Unix()
	for _, row := range []struct {
		ip             string
		at, lasts, cnt any
	}{
		{"192.0.2.1", float64(at) + 0.25, 3599.5, 1},
		{"192.0.2.2", at, int64(9999999999), 2},
		{"192.0.2.3", at, 1e300, 1},
		{"192.0.2.4", at, int64(1) << 62, int64(1) << 62},
		{"192.0.2.5", at, "soon", 1},
		{"192.0.2.6", "today", 1e10, 1},
		{"192.0.2.7", 1e300, -1, 1},
		{"192.0.2.8", at, []byte{1, 2}, 1},
		{"192.0.2.9", at, -1.0, 1},
		{"192.0.2.10", at, 3600, "many"},
	} {
		if _, err := h.db.Exec("INSERT INTO bips(ip, jail, timeofban, bantime, bancount) VALUES(?, 'web', ?, ?, ?)", row.ip, row.at, row.lasts, row.cnt); err != nil {
			t.Fatal(err)
		}
		if _, err := h.db.Exec("INSERT INTO bans(ip, jail, timeofban, bantime, bancount, data) VALUES(?, 'web', ?, ?, ?, '{}')", row.ip, row.at, row.lasts, row.cnt); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.db.Exec("INSERT INTO bailiff_logs(jail, path, dev, inode, firstlinemd5, offset) VALUES('web', 'a.log', 'x', 1, 'ff', 10), ('web', 'b.log', 1, 1, 'ff', 10)"); err != nil {
		t.Fatal(err)
	}
	st, err := h.Load("web", noon)
	if err != nil {
		t.Fatal(err)
	}
	want := "ban 192.0.2.1 2026-01-31T13:00:00Z count 1; ban 192.0.2.2 2126-04-17T12:00:00Z count 2; ban 192.0.2.3 2126-04-17T12:00:00Z count 1; " +
		"ban 192.0.2.4 2126-04-17T12:00:00Z count 2147483647; ban 192.0.2.9 for ever count 1; log b.log 1/1 ff 10"
	if st.String() != want {
		t.Errorf("got  %s\nwant %s", st, want)
	}
	if st.PassedOver < 3 || len(st.Warnings) != 3 || !strings.Contains(strings.Join(st.Warnings, "\n"), "can't be read and is passed over") {
		t.Errorf("%d passed over, warnings %q", st.PassedOver, st.Warnings)
	}
	if n, last, err := h.BanCount("web", p("192.0.2.1"), true); n != 1 || !last.Equal(noon) || err != nil {
		t.Errorf("%d, %v, %v", n, last, err)
	}
	if n, _, _, known, err := h.Merged("web", p("192.0.2.1"), false, 10); n != 1 || !known || err != nil {
		t.Errorf("%d, %v, %v", n, known, err)
	}
}

// TestPurgeGone: failures and positions of jails that are gone go.
func TestPurgeGone(t *testing.T) {
	h := holding(t)
	for _, jail := range []string{"web", "gone"} {
		if _, err := h.Load(jail, noon); err != nil {
			t.Fatal(err)
		}
		d := all(jail, noon)
		if err := h.Write([]*Delta{d}); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		err := h.db.QueryRow("SELECT (SELECT count(*) FROM bailiff_failures) * 100 + (SELECT count(*) FROM bailiff_logs) * 10 + (SELECT count(*) FROM logs)").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := h.Purge(24*time.Hour, noon); err != nil || count() != 222 {
		t.Errorf("nobody knows which jails there are: %d left, %v", count(), err)
	}
	if err := h.Purge(24*time.Hour, noon, "web", "other"); err != nil || count() != 111 {
		t.Errorf("%d left, want 111, %v", count(), err)
	}
	if st, err := h.Load("web", noon); err != nil || st.String() != allOf {
		t.Errorf("%v %v", st, err)
	}
	if st, err := h.Load("gone", noon); err != nil || len(st.Bans) != 2 {
		t.Errorf("bans outlive their jail until they are old: %v %v", st, err)
	}
}

// crashedWithLog has a database be left as by a crash of a version that had a log beside
// it, with the modes that its files had.
func crashedWithLog(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)")
	if err == nil {
		_, err = db.Exec("UPDATE fail2banDb SET version = version")
	}
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"", "-wal", "-shm"}
	for _, name := range all {
		data, err := os.ReadFile(path + name)
		if err == nil {
			err = os.WriteFile(path+".copy"+name, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if err := os.Rename(path+".copy"+name, path+name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoSharedMemory: nothing of the database is mapped into this process: who touches
// such memory while its disk hangs can't be waited for, and stops the collector.
func TestNoSharedMemory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, turn := range []string{"new", "after a crash with a log", "after that"} {
		path := filepath.Join(dir, "db.sqlite3")
		s := open(t, path)
		if _, err := s.Load("web", noon); err != nil {
			t.Fatal(err)
		}
		if err := s.Write([]*Delta{all("web", noon)}); err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(maps), "\n") {
			if strings.Contains(line, dir) {
				t.Errorf("%s: %s", turn, line)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if turn == "new" {
			crashedWithLog(t, path)
		}
	}
}

// TestLockInChildren: a program that is about to be run has what is open for a moment, and
// with it a database's lock. A daemon that was closed gives it back all the same.
func TestLockInChildren(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(s.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, clock.System()); err != nil {
		t.Fatal("after it was closed:", err)
	}
	syscall.Close(child)
	s.Close()
}
