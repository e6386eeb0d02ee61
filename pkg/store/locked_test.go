package store

import (
	"database/sql"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
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

// TestLoadLocked: a jail is loaded while the database is locked for longer than one statement waits.
func TestLoadLocked(t *testing.T) {
	defer func(b, p time.Duration) { busyMost, patienceMost, whenBusy = b, p, func() {} }(busyMost, patienceMost)
	busyMost = 10 * time.Millisecond
	path := filepath.Join(t.TempDir(), "db.sqlite3")
	s, err := Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	b := ban.Ban{ID: ban.Of(netip.MustParsePrefix("192.0.2.7/32")), Start: now, End: now.Add(time.Hour), Count: 1}
	if err := s.Write([]*Delta{{Jail: "web", Events: []Event{{Ban: b}}}}); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	lock := func() {
		if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
			t.Fatal(err)
		}
	}
	unlock := func() {
		if _, err := other.Exec("ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	lock()
	tries := 0
	whenBusy = func() {
		if tries++; tries == 3 {
			unlock()
		}
	}
	st, err := s.Load("web", now)
	if err != nil || len(st.Bans) != 1 || st.New || tries != 3 {
		t.Errorf("%d bans, new %v, %v, after %d tries", len(st.Bans), st.New, err, tries)
	}
	if tries < 3 {
		unlock()
	}
	// It ends some time.
	lock()
	patienceMost = 0
	if _, err := s.Load("web", now); !Locked(err) {
		t.Errorf("%v", err)
	}
	unlock()
}
