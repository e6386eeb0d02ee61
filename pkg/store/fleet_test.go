package store

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fleet"
)

// kept is what a start finds.
func (h *held) kept() (fleet.Start, map[fleet.Key]fleet.Said) {
	h.t.Helper()
	st, err := h.Fleet()
	if err != nil {
		h.t.Fatal(err)
	}
	words := map[fleet.Key]fleet.Said{}
	if err := st.Words(func(s fleet.Said) { words[s.Key] = s }); err != nil {
		h.t.Fatal(err)
	}
	return st, words
}

func (h *held) keep(k fleet.Kept) {
	h.t.Helper()
	if err := h.KeepFleet(k); err != nil {
		h.t.Fatal(err)
	}
}

// TestFleet: what was kept is found, also after the clock was set, with the daemon running or not.
func TestFleet(t *testing.T) {
	h := holding(t)
	if st, words := h.kept(); st.Cursor != 0 || st.Epoch != "" || st.N != 0 || st.Ahead != 0 || len(st.Out)+len(words) != 0 {
		t.Errorf("a new database: %+v, %v", st, words)
	}
	one, two := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("2001:db8::/64")
	word := fleet.Said{
		Key: fleet.BanKey("web", "ssh", one), Rev: 41, Stored: time.UnixMilli(noon.UnixMilli() - 1500),
		Entry: fleet.Entry{Jail: "sshd", Left: fleet.Permanent, N: 7, Seen: 1<<53 - 1, Epoch: "e", Count: 1<<32 - 1, Failures: 5},
	}
	lift := fleet.Said{Key: fleet.LiftKey("web", "ssh", two), Rev: 42, Stored: word.Stored, Entry: fleet.Entry{N: 8}}
	out := fleet.Out{Key: fleet.BanKey("me", "ssh", two), Entry: fleet.Entry{Jail: "sshd", Left: 3600, N: 100, Count: 1}, Made: h.m.Now().Add(-time.Minute)}
	later := out
	later.Entry.N, later.Entry.Left = 102, 0
	h.keep(fleet.Kept{Words: []fleet.Said{word, lift}, Out: []fleet.Out{later, out}, Epoch: "e", Cursor: 42, N: 102, Ahead: time.Hour})
	h.keep(fleet.Kept{Dropped: []fleet.Key{lift.Key}, Done: []fleet.Out{out}, Epoch: "e", Cursor: 43, N: 50, Ahead: time.Hour})

	check := func(what string, waited time.Duration) {
		t.Helper()
		st, words := h.kept()
		if len(words) != 1 || words[word.Key] != word {
			t.Errorf("%s: words %v", what, words)
		}
		if st.Epoch != "e" || st.Cursor != 43 || st.N != 102 || len(st.Out) != 1 || st.Out[0].Entry != later.Entry {
			t.Fatalf("%s: %+v", what, st)
		}
		// By the servers' clock, as long ago as it is.
		if got, want := h.m.Now().Sub(st.Out[0].Made), waited+time.Minute; got != want {
			t.Errorf("%s: said %v ago, and it is %v", what, got, want)
		}
		if got, want := h.m.Now().Add(st.Ahead), noon.Add(waited+time.Hour); !got.Equal(want) {
			t.Errorf("%s: the servers' clock shows %v, and is at %v", what, got, want)
		}
	}
	check("at once", 0)
	waited := time.Duration(0)
	for _, step := range steps {
		h.m.Set(step)
		if err := h.Write(nil); err != nil { // the rows follow
			t.Fatal(err)
		}
		check("the clock was set by "+step.String(), waited)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h.m.Advance(10 * time.Minute)
		waited += 10 * time.Minute
		h.m.Set(-step)
		h.m.Restart("manual")
		h.open()
		check("and back, with no daemon", waited)
	}
	h.keep(fleet.Kept{Forget: true, Epoch: "f", N: 102})
	if st, words := h.kept(); len(words) != 0 || len(st.Out) != 1 || st.Epoch != "f" || st.Cursor != 0 {
		t.Errorf("after another stream: %+v, %v", st, words)
	}
}

// TestFleetDamage: a word that can't be read is told, and not passed over: an agent reads everything anew then.
func TestFleetDamage(t *testing.T) {
	h := holding(t)
	key := fleet.BanKey("web", "ssh", netip.MustParsePrefix("198.51.100.1/32"))
	h.keep(fleet.Kept{Words: []fleet.Said{{Key: key, Rev: 1, Stored: noon, Entry: fleet.Entry{Jail: "sshd", Left: 60, N: 1}}}, Epoch: "e", Cursor: 9, N: 1})
	if _, words := h.kept(); !slices.Equal(slices.Collect(maps.Keys(words)), []fleet.Key{key}) {
		t.Errorf("%v", words)
	}
	if _, err := h.db.Exec("UPDATE bailiff_fleet_entries SET key = 'web.b.ssh.x'"); err != nil {
		t.Fatal(err)
	}
	st, err := h.Fleet()
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Words(func(fleet.Said) {}); err == nil {
		t.Error("a row that can't be read is passed over")
	}
}

// TestFleetPolicy: what was held by other rules is forgotten, what waits to be said is not; and what a ban says to the fleet
// is there with the ban.
func TestFleetPolicy(t *testing.T) {
	h := holding(t)
	p := netip.MustParsePrefix("198.51.100.1/32")
	word := fleet.Said{Key: fleet.BanKey("web", "ssh", p), Rev: 1, Stored: noon, Entry: fleet.Entry{Jail: "sshd", Left: 60, N: 1}}
	out := fleet.Out{Key: fleet.BanKey("me", "ssh", p), Entry: fleet.Entry{Jail: "sshd", Left: 3600, N: 7}, Made: h.m.Now()}
	for i, c := range []struct {
		policy string
		words  int
		cursor uint64
	}{{"a", 0, 0}, {"a", 1, 9}, {"b", 0, 0}} {
		if err := h.FleetPolicy(c.policy); err != nil {
			t.Fatal(err)
		}
		if st, words := h.kept(); len(words) != c.words || st.Cursor != c.cursor {
			t.Errorf("%d: policy %s: %d words, cursor %d", i, c.policy, len(words), st.Cursor)
		}
		if i == 0 {
			h.keep(fleet.Kept{Words: []fleet.Said{word}, Epoch: "e", Cursor: 9, N: 1})
		}
	}
	asked := 0
	b := ban.Ban{ID: ban.Of(p), Start: h.m.Now(), End: h.m.Now().Add(time.Hour)}
	d := &Delta{Jail: "sshd", Events: []Event{{Ban: b, Said: func() []fleet.Out { asked++; return []fleet.Out{out} }}}}
	if err := h.Write([]*Delta{d}); err != nil {
		t.Fatal(err)
	}
	if st, _ := h.kept(); asked != 1 || len(st.Out) != 1 || st.Out[0].Entry != out.Entry {
		t.Errorf("asked %d times; waits: %+v", asked, st.Out)
	}
}
