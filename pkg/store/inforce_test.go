package store

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

// TestInForce: the bans of a database are read while a daemon has it open and writes, and
// what Import wrote is among them; of two bans of one address the one that ends later.
func TestInForce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f2b.sqlite3")
	if _, _, err := InForce(context.Background(), path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("of a file that is not there: %v", err)
	}
	now := time.Now().Truncate(time.Second)
	id := func(a string) ban.ID { return ban.Of(netip.MustParsePrefix(a)) }
	bans := []Held{
		{"ssh", ban.Ban{ID: id("192.0.2.7/32"), Start: now, End: now.Add(time.Hour), Count: 3}},
		{"ssh", ban.Ban{ID: id("203.0.113.0/24"), Start: now}},
		{"ssh", ban.Ban{ID: id("192.0.2.7/32"), Start: now, End: now.Add(time.Minute)}},
		{"web", ban.Ban{ID: id("2001:db8::/64"), Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour)}},
		{"web", ban.Ban{ID: ban.Named("somebody"), IP: ban.AddressOf(netip.MustParseAddr("192.0.2.9")), Start: now, End: now.Add(time.Hour)}},
		{"ssh", ban.Ban{ID: id("192.0.2.7/32"), Start: now, End: now.Add(2 * time.Hour), Count: 4}},
	}
	became, err := Import(path, bans)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Imported{ImportAdded, ImportAdded, ImportWas, ImportOver, ImportAdded, ImportAdded} {
		if became[i] != want {
			t.Errorf("%+v became %d, want %d", bans[i], became[i], want)
		}
	}
	s, err := Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Import(path, bans); err == nil {
		t.Error("bans were written into a database that a daemon has")
	}
	tx, err := s.db.Begin() // it writes, and is not at the end yet
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM bips"); err != nil {
		t.Fatal(err)
	}
	held, notes, err := InForce(context.Background(), path)
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	want := map[string]Held{"192.0.2.7": bans[5], "203.0.113.0/24": bans[1], "somebody": bans[4]}
	for _, h := range held {
		name := ban.Name(h.Ban.ID)
		w := want[name]
		if w.Ban.Count = max(w.Ban.Count, 1); h.Jail != w.Jail || h.Ban.Count != w.Ban.Count || !h.Ban.Start.Equal(w.Ban.Start) || !h.Ban.End.Equal(w.Ban.End) || h.Ban.IP != w.Ban.IP {
			t.Errorf("%s: %+v, want %+v", name, h, w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if err := os.WriteFile(path+".other", []byte("no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := InForce(context.Background(), path+".other"); err == nil {
		t.Error("bans of what is no database")
	}
}
