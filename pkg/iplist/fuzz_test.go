package iplist

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// protected is what may never be left of a list.
var protected = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("0.0.0.0/32"),
	netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("ffff:ffff::/32"),
}

// wellFormed fails unless ranges are in order, apart, and each of one family.
func wellFormed(t *testing.T, s *Set) {
	t.Helper()
	for i, r := range s.Ranges() {
		switch {
		case !r.First.IsValid() || !r.Last.IsValid() || r.First.Is4() != r.Last.Is4() || r.Last.Less(r.First) || r.First.Is4In6() || r.First.Zone() != "":
			t.Fatalf("%v is no range", r)
		case i > 0 && !s.Ranges()[i-1].Last.Less(r.First):
			t.Fatalf("%v behind %v", r, s.Ranges()[i-1])
		}
	}
}

// again reads what a set is printed as, as networks and as ranges.
func again(t *testing.T, s *Set) {
	t.Helper()
	var networks, ranges strings.Builder
	for _, r := range s.Ranges() {
		for p := range Prefixes(r) {
			fmt.Fprintln(&networks, p)
		}
		fmt.Fprintf(&ranges, "%s-%s\n", r.First, r.Last)
	}
	for _, printed := range []string{networks.String(), ranges.String()} {
		back, bad, err := Read(strings.NewReader(printed), "printed")
		if err != nil || len(bad) > 0 {
			t.Fatalf("what is printed is not read: %v %v", bad, err)
		}
		if got := New(back); text(got) != text(s) {
			t.Fatalf("printed and read again:\n%s\nwant %s", text(got), text(s))
		}
		allowed, bad, err := readAllowed(strings.NewReader(printed), "printed")
		if err != nil || len(bad) > 0 || text(allowed.Set) != text(s) {
			t.Fatalf("read as a list of who is never banned: %s %v %v\nwant %s", text(allowed.Set), bad, err, text(s))
		}
	}
}

var seeds = []string{
	"192.0.2.1 - 192.0.2.9\nadd x 2001:db8::/32\n{\"cidr\":\"x\"}\na:1-2", "127.0.0.0/8\n0.0.0.0/0\n::/0", "0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"192.0.2.7, 198.51.100.0/24 2001:db8::/32 # office", "::ffff:192.0.2.0/120\n192.0.2.0/255.255.255.0", "\uFEFF{\"cidr\":\"::/1\"}\r\n\x00", "create x\nflush x\nadd x\nadd", "a:b:1-2:3", "\"1.1.1.1\",x",
	"255.255.255.255\n255.255.255.254/31", "ffff:ffff::/32", strings.Repeat("x", MaxLine+10) + "\n192.0.2.5",
}

// FuzzRead reads a list: whatever it says, its ranges are in order, what is protected is
// taken out of it and nothing else, and it is what it is when it is printed and read
// again.
func FuzzRead(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ranges, bad, err := Read(strings.NewReader(s), "x")
		if err != nil {
			t.Fatal(err)
		}
		if len(bad) > MaxErrors || len(ranges) > len(s) {
			t.Fatalf("%d ranges and %d errors of %d bytes", len(ranges), len(bad), len(s))
		}
		set := New(ranges)
		wellFormed(t, set)
		again(t, set)
		left := set.Without(nil, protected)
		wellFormed(t, left)
		again(t, left)
		for _, p := range protected {
			if left.Overlaps(p) {
				t.Fatalf("%v is left in %s", p, text(left))
			}
		}
		// What was taken out and what is left are all of it.
		both := append(append([]Range{}, left.Ranges()...), set.Within(protected).Ranges()...)
		if got := New(both); text(got) != text(set) {
			t.Fatalf("%s, want %s", text(got), text(set))
		}
	})
}

// FuzzAllowed reads a list of who is never banned: who stands in it is in it.
func FuzzAllowed(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, bad, err := readAllowed(strings.NewReader(s), "x")
		if err != nil {
			return
		}
		if len(bad) > MaxErrors || len(a.Names) > MaxNames {
			t.Fatalf("%d errors, %d names", len(bad), len(a.Names))
		}
		wellFormed(t, a.Set)
		for _, n := range a.Names {
			if _, err := Parse(n); err == nil {
				t.Fatalf("%q is no name", n)
			}
		}
		if strings.ContainsAny(s, "\n#;{\"'") || len(s) > 100 {
			return
		}
		if p, err := Parse(strings.TrimSpace(s)); err == nil && !a.Set.Holds(p) {
			t.Fatalf("%q is not in it: %s", s, text(a.Set))
		}
	})
}

// FuzzParse reads addresses and networks: what is printed is read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"192.0.2.7", "192.0.2.0/255.255.255.0", "::ffff:192.0.2.0/120", "[2001:db8::1]/64", "fe80::1%eth0", "192.0.2.1-192.0.2.9", "2001:db8::/ffff::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := Parse(s); err == nil {
			if back, err := Parse(p.String()); err != nil || back != p || p.Masked() != p || p.Addr().Is4In6() || p.Addr().Zone() != "" {
				t.Fatalf("%q: %v, again %v %v", s, p, back, err)
			}
		}
		if r, err := ParseRange(s); err == nil {
			wellFormed(t, New([]Range{r}))
		}
	})
}

// TestHostileLists: what a file says costs no more than a small multiple of its size, and
// what is too much is refused as a whole.
func TestHostileLists(t *testing.T) {
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const size = 1 << 20
	for what, one := range map[string]string{
		"no newline": "x", "bad lines": "x\n", "empty lines": "\n", "json": "{\"a\":[[[[[[[[[[", "json lines": "{}\n", "short": "::\n", "names": "a.b ", "commas": ",", "zones": "fe80::1%" + strings.Repeat("e", 100) + "\n",
	} {
		s := strings.Repeat(one, size/len(one))
		n := allocated(func() { _, _, _ = Read(strings.NewReader(s), "x") })
		m := allocated(func() { _, _, _ = readAllowed(strings.NewReader(s), "x") })
		if most := uint64(200 * size); n > most || m > most { // 48 bytes a range and a slice that doubles; garbage counts here
			t.Errorf("%s: %d and %d MB for %d MB", what, n>>20, m>>20, size>>20)
		}
	}
	if _, _, err := Read(strings.NewReader(strings.Repeat("::1\n", MaxEntries+1)), "x"); err == nil {
		t.Error("too many entries are read")
	}
	if _, _, err := readAllowed(strings.NewReader(strings.Repeat("a.b ", MaxNames+1)), "x"); err == nil {
		t.Error("too many names are read")
	}
	ranges, bad, err := Read(strings.NewReader(strings.Repeat("x", 3*MaxLine)+"\n192.0.2.7\n"), "x")
	if err != nil || len(bad) != 1 || len(ranges) != 1 {
		t.Errorf("a line that is too long: %v %v %v", ranges, bad, err)
	}
}
