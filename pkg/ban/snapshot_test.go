package ban

import (
	"fmt"
	"maps"
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
