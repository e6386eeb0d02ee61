package ban

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestRows: who is on the list from the first rows to the last is told once, whoever comes,
// goes or is banned for longer meanwhile; and never more of the list is looked at at a time than RowsMost.
func TestRows(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprint("back ", back), func(t *testing.T) { rowsMove(t, back) })
	}
}

func rowsMove(t *testing.T, back bool) {
	l := NewList()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id := func(n int) ID {
		return Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 32))
	}
	add := func(n int, for_ time.Duration) {
		l.Add(Ban{ID: id(n), Start: begin, End: begin.Add(for_)})
	}
	const all = 5 * RowsMost
	for n := range all {
		add(n, time.Hour)
	}
	seen := map[ID]int{}
	rows := Rows{Back: back}
	round := 0
	for at := int32(0); ; round++ {
		if at = l.Rows(at, &rows); rows.Len() > RowsMost {
			t.Fatalf("%d rows", rows.Len())
		}
		for i := range rows.Len() {
			seen[rows.At(i).ID()]++
		}
		if at == 0 {
			break
		}
		add(7*round, 2*time.Hour)       // some that were told, and some that are to come
		l.Remove(id(all - 100 + round)) // which goes
		add(all+round, time.Hour)       // which comes
	}
	for n := range all - 100 {
		if seen[id(n)] != 1 {
			t.Errorf("%v was told %d times", id(n), seen[id(n)])
		}
	}
	if round < 4 {
		t.Errorf("%d bans in %d pieces", all, round+1)
	}
	for n := range all - 1 { // of free places no more is looked at, either
		l.Remove(id(n))
	}
	pieces := 1
	for at := l.Rows(0, &rows); at != 0; at = l.Rows(at, &rows) {
		pieces++
	}
	if pieces < 5 {
		t.Errorf("what is left of %d in %d pieces", all, pieces)
	}
	if at := NewList().Rows(0, &rows); rows.Len() != 0 || at != 0 {
		t.Errorf("of an empty list %d, %d", rows.Len(), at)
	}
}

// TestRow: a row says what the list does, and of times by how much they are off.
func TestRow(t *testing.T) {
	l := NewList()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 7, time.UTC)
	beside := AddressOf(netip.MustParseAddr("198.51.100.7"))
	for i, b := range []Ban{
		{ID: Named("alice")},
		{ID: Named("bob"), IP: beside, Count: 3},
		{ID: Of(netip.MustParsePrefix("192.0.2.9/32")), IP: beside, Forced: true, Failures: 4},
		{ID: Of(netip.MustParsePrefix("2001:db8::/32"))},
	} {
		b.Start = begin.Add(time.Duration(i) * time.Minute)
		if i > 0 {
			b.End = b.Start.Add(time.Hour)
		}
		l.Add(b)
	}
	for _, off := range []time.Duration{0, -90 * time.Second} {
		rows := Rows{Offset: off}
		l.Rows(0, &rows)
		for i := range rows.Len() {
			r := rows.At(i)
			want, ok := l.Get(r.ID())
			want.Start = want.Start.Add(off)
			if !want.Permanent() {
				want.End = want.End.Add(off)
			}
			if got := r.Ban(); !ok || got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			end, ends := r.End()
			if r.Start() != want.Start.UnixNano() || ends == want.Permanent() || ends && end != want.End.UnixNano() || r.Count() != want.Count || r.IP() != want.IP {
				t.Errorf("%v: %d to %d, %v, %d", r.ID(), r.Start(), end, ends, r.Count())
			}
		}
		if rows.Len() != 4 {
			t.Errorf("%d rows", rows.Len())
		}
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
		for _, y := range want[:i] {
			if y.Rank() > x.Rank() || y.Rank() == x.Rank() && !y.IsName() && y.Addr() != x.Addr() && y.Prefix().Bits() > 60 {
				t.Errorf("%v has rank %d, and comes before %v, which has %d", y, y.Rank(), x, x.Rank())
			}
		}
	}
}
