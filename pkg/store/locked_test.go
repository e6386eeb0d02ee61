package store

import (
	"database/sql"
	"path/filepath"
	"testing"

	"bailiff/pkg/clock"
)

// TestLocked: a database at which another program is when it is to be opened is told from
// one that can't be used.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite3")
	s, err := Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, clock.System()); s != nil || !Locked(err) {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, clock.System()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.TempDir(), clock.System()); err == nil || Locked(err) {
		t.Error(err)
	}
}
