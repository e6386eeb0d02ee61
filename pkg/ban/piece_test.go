package ban

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestPiece: who is on the list from the first piece to the last is told once, whoever comes,
// goes or is banned for longer meanwhile.
func TestPiece(t *testing.T) {
	l := NewList()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id := func(n int) ID {
		return Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 32))
	}
	add := func(n int, for_ time.Duration) {
		l.Add(Ban{ID: id(n), Start: begin, End: begin.Add(for_)})
	}
	for n := range 5000 {
		add(n, time.Hour)
	}
	seen := map[ID]int{}
	for at, round := int32(0), 0; ; round++ {
		var got []Ban
		if got, at = l.Piece(at, 100, nil); len(got) > 100 {
			t.Fatalf("a piece of %d", len(got))
		}
		for _, b := range got {
			seen[b.ID]++
		}
		if at == 0 {
			break
		}
		add(7*round, 2*time.Hour)    // some that were told, and some that are to come
		l.Remove(id(4000 + round))   // which goes
		add(10_000+round, time.Hour) // which comes
	}
	for n := range 4000 {
		if seen[id(n)] != 1 {
			t.Errorf("%v was told %d times", id(n), seen[id(n)])
		}
	}
	if got, at := NewList().Piece(0, 10, nil); len(got) != 0 || at != 0 {
		t.Errorf("of an empty list %v, %d", got, at)
	}
}

// TestCompare: addresses in the order of their numbers, a network before what is in it, names last.
func TestCompare(t *testing.T) {
	want := []ID{}
	for _, s := range []string{"192.0.2.0/24", "192.0.2.0/32", "192.0.2.9/32", "192.0.2.10/32", "2001:db8::/32", "2001:db8::1/128"} {
		want = append(want, Of(netip.MustParsePrefix(s)))
	}
	want = append(want, Named("alice"), Named("bob"))
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, ID.Compare)
	for i, x := range got {
		if x != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
		if s := string(x.AppendName([]byte("x"))); s != "x"+Name(x) {
			t.Errorf("%s, want x%s", s, Name(x))
		}
	}
}
