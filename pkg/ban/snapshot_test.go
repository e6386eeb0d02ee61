package ban

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestSnapshot: a snapshot is what the list was, whatever becomes of the list.
func TestSnapshot(t *testing.T) {
	var none *Snapshot
	if none.Len() != 0 || len(slices.Collect(none.Each())) != 0 {
		t.Error("there is something in none")
	}
	l := NewList()
	at := time.Unix(1764000000, 123)
	for i := range 5000 {
		b := Ban{ID: Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)), Start: at.Add(time.Duration(i)), Count: i, Failures: 3}
		switch i % 7 {
		case 1:
			b.End = at.Add(time.Hour)
		case 2:
			b.ID = Named(fmt.Sprint("name ", i))
		case 3:
			b.IP = AddressOf(netip.MustParseAddr("192.0.2.7"))
		}
		l.Add(b)
	}
	for i := range 1000 {
		l.Remove(Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(i)}), 32)))
	}
	want := map[ID]Ban{}
	for _, b := range l.All() {
		want[b.ID] = b
	}
	s, again := l.Snapshot(), SnapshotOf(l.All()...)
	for _, b := range l.All() {
		l.Remove(b.ID)
	}
	l.Add(Ban{ID: Named("later"), Start: at})
	for name, s := range map[string]*Snapshot{"a list's": s, "one of bans": again} {
		got := map[ID]Ban{}
		for b := range s.Each() {
			got[b.ID] = b
		}
		if !maps.Equal(got, want) || s.Len() != len(want) {
			t.Errorf("%s has %d bans, counted as %d, and not %d", name, len(got), s.Len(), len(want))
		}
	}
}

// TestSnapshotShares: a snapshot and its list have one memory but for what has changed since, and each
// of several snapshots stays as it was.
func TestSnapshotShares(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	l, at := NewList(), time.Unix(1764000000, 0)
	id := func(n int) ID {
		return Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 32))
	}
	add := func(n int) { l.Add(Ban{ID: id(n), Start: at, End: at.Add(time.Duration(r.IntN(1e9))), Count: 1}) }
	for n := range 20 * pageSize {
		l.Add(Ban{ID: id(n), Start: at, End: at.Add(time.Hour + time.Duration(n))})
	}
	apart := func(s *Snapshot) (n int) {
		for i, p := range s.table.pages {
			if p != l.table.pages[i] {
				n++
			}
		}
		return n
	}
	s := l.Snapshot()
	if n := apart(s); n != 0 {
		t.Errorf("%d of %d pages are copied though nothing has changed", n, len(s.table.pages))
	}
	for n := range pageSize {
		l.Add(Ban{ID: id(20*pageSize + n), Start: at, End: at.Add(2*time.Hour + time.Duration(n))})
	}
	if n := apart(s); n != 1 {
		t.Errorf("%d of %d pages are copied for bans behind all others, and not the last one", n, len(s.table.pages))
	}
	all := func(s *Snapshot) map[ID]Ban {
		out := map[ID]Ban{}
		for b := range s.Each() {
			out[b.ID] = b
		}
		return out
	}
	type taken struct {
		s    *Snapshot
		want map[ID]Ban
	}
	var before []taken
	for step := range 4000 {
		switch n := r.IntN(22 * pageSize); r.IntN(3) {
		case 0:
			l.Remove(id(n))
		case 1:
			l.ExpireSome(at.Add(time.Duration(r.IntN(1e9))), 5)
		default:
			add(n)
		}
		if step%500 == 0 {
			want := map[ID]Ban{}
			for _, b := range l.All() {
				want[b.ID] = b
			}
			before = append(before, taken{l.Snapshot(), want})
		}
	}
	for i, x := range before {
		if got := all(x.s); !maps.Equal(got, x.want) {
			t.Errorf("snapshot %d has %d bans, and had %d, or others", i, len(got), len(x.want))
		}
	}
}
