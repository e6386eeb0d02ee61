package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/gatefs"
)

// TestPowerCut: what is said to be written of bans survives a power cut that comes at once, in
// which everything is lost that was not synced: also that a transaction's journal is done with.
func TestPowerCut(t *testing.T) {
	at, under, kept := t.TempDir(), t.TempDir(), t.TempDir()
	f, err := gatefs.Mount(exec.Command("/proc/self/exe", "-test.run", "^TestGateServer$"), at, under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := f.Keep(kept); err != nil {
		t.Fatal(err)
	}
	m := clock.NewManual(noon)
	s, err := Open(filepath.Join(at, "db.sqlite3"), m.Clock)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := NewQueue(s.Write, func(err error) { t.Error(err) })
	defer q.Close()
	var want []string
	step := func(what string, d *Delta) {
		t.Helper()
		d.Jail = "web"
		q.Push(d)
		if err := q.Sync(); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(t.TempDir(), "left")
		if err := os.CopyFS(left, os.DirFS(kept)); err != nil {
			t.Fatal(err)
		}
		after, err := Open(filepath.Join(left, "db.sqlite3"), m.Clock)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer after.Close()
		st, err := after.Load("web", noon)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var got []string
		for _, b := range st.Bans {
			got = append(got, ban.Name(b.ID))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s, and the power goes: %v are banned, want %v", what, got, want)
		}
	}
	for n := range 5 {
		name := fmt.Sprintf("192.0.2.%d", n+1)
		want = append(want, name)
		step("a ban", &Delta{
			Events: []Event{{Ban: ban.Ban{ID: p(name), Start: noon, End: noon.Add(time.Hour)}, Matches: []string{"a line"}}},
			Logs:   map[LogKey]Position{{"a.log", 1, 2}: {Path: "a.log", Dev: 1, Inode: 2, FirstLine: "ff", Offset: int64(100 * n)}},
		})
		step("a failure", &Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.77"): {noon}}})
	}
	gone := want[0]
	want = want[1:]
	step("an unban", &Delta{Events: []Event{{Lifted: true, Ban: ban.Ban{ID: p(gone)}}}})
	want = nil
	step("all are let in", &Delta{Events: []Event{{AllLifted: true}}})
}
