package iplist

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

func text(s *Set) string {
	var out []string
	for _, r := range s.Ranges() {
		out = append(out, r.First.String()+"-"+r.Last.String())
	}
	return strings.Join(out, " ")
}

func TestRead(t *testing.T) {
	list := "\uFEFF# a comment\n\n192.0.2.7\n192.0.2.8 # next to it\r\n198.51.100.0/24 ; SBL1\n198.51.100.128/25\n; x\n// y\n" +
		"203.0.113.5-203.0.113.9\n203.0.113.20 - 203.0.113.21\n" + `"203.0.113.40","name"` + "\n" +
		"create drop hash:net\nadd drop 203.0.113.64/26 timeout 5\nSome: name - x:203.0.113.10-203.0.113.11\n" +
		`{"cidr":"2001:db8::/33","sblid":"x"}` + "\n" + `{"type":"metadata","timestamp":1}` + "\n2001:db8:8000::/33\n::ffff:192.0.2.100\n" +
		"not an address\n192.0.2.300\n192.0.2.9-192.0.2.1\nfe80::1%eth0\n2001:db8::/129\n"
	ranges, bad, err := Read(strings.NewReader(list), "x.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := New(ranges)
	want := "192.0.2.7-192.0.2.8 192.0.2.100-192.0.2.100 198.51.100.0-198.51.100.255 203.0.113.5-203.0.113.11 203.0.113.20-203.0.113.21 203.0.113.40-203.0.113.40 203.0.113.64-203.0.113.127 " +
		"2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
	if text(s) != want {
		t.Errorf("%s\nwant %s", text(s), want)
	}
	if len(bad) != 5 || !strings.HasPrefix(bad[0].Error(), `x.txt:19: "not an address"`) {
		t.Errorf("%d: %v", len(bad), bad)
	}
	four, six := s.Families()
	if len(four) != 7 || len(six) != 1 {
		t.Errorf("%d and %d", len(four), len(six))
	}
	for p, in := range map[string]bool{"192.0.2.7/32": true, "192.0.2.9/32": false, "192.0.2.0/24": true, "0.0.0.0/0": true, "203.0.113.12/30": false, "2001:db8:9::1/128": true, "2001:db9::/32": false, "::/0": true, "192.0.2.0/29": true, "192.0.2.0/30": false} {
		if got := s.Overlaps(netip.MustParsePrefix(p)); got != in {
			t.Errorf("%s: %v", p, got)
		}
	}
	if _, _, err := ReadFiles([]string{filepath.Join(t.TempDir(), "gone")}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestTooWide: what is wider than what is banned without --force is left out, in whatever
// form it is written, with its line; it is told though many other lines are wrong, too.
func TestTooWide(t *testing.T) {
	var list strings.Builder
	for i := range 20 {
		fmt.Fprintf(&list, "wrong %d\n", i)
	}
	for _, e := range []string{
		"0.0.0.0/0", "::/0", "0.0.0.0/7 ; x", "10.0.0.0-11.0.0.0", "10.0.0.0 - 10.255.255.255", "10.0.0.1-11.0.0.1", "2000::/18", "2000::/19", "2000::-2000:2000::", "2000::-2000:1fff:ffff:ffff:ffff:ffff:ffff:ffff",
		`{"cidr":"128.0.0.0/1"}`, "add x 0.0.0.0/1", "all:0.0.0.0-255.255.255.255", "::ffff:0.0.0.0/96", "8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "224.0.0.0/8",
	} {
		list.WriteString(e + "\n")
	}
	ranges, bad, err := Read(strings.NewReader(list.String()), "x.txt")
	if err != nil {
		t.Fatal(err)
	}
	if want := "10.0.0.0-10.255.255.255 224.0.0.0-224.255.255.255 2000::-2000:1fff:ffff:ffff:ffff:ffff:ffff:ffff"; text(New(ranges)) != want || len(ranges) != 4 {
		t.Errorf("%s, want %s", text(New(ranges)), want)
	}
	var lines []string
	for _, b := range bad[MaxErrors:] {
		lines = append(lines, b.Error())
	}
	if len(bad) != 2*MaxErrors || !strings.HasPrefix(lines[0], `x.txt:21: "0.0.0.0/0" is wider than /8 (IPv6: /19;`) || !strings.HasPrefix(lines[3], `x.txt:24: "10.0.0.0-11.0.0.0" is`) || !strings.HasPrefix(lines[5], "x.txt:27:") {
		t.Errorf("%q", bad)
	}
}

// TestSets compares with sets of single addresses.
func TestSets(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, byte(i)}) }
	r := rand.New(rand.NewPCG(1, 1))
	make := func() (*Set, *[256]bool) {
		var ranges []Range
		var in [256]bool
		for range r.IntN(12) {
			a := r.IntN(256)
			b := min(255, a+r.IntN(20))
			ranges = append(ranges, Range{addr(a), addr(b)})
			for i := a; i <= b; i++ {
				in[i] = true
			}
		}
		return New(ranges), &in
	}
	for i := range 3000 {
		a, inA := make()
		b, inB := make()
		bits := 24 + r.IntN(9)
		net := netip.PrefixFrom(addr(r.IntN(256)), bits).Masked()
		left := a.Without([]*Set{b}, []netip.Prefix{net})
		for k := range 256 {
			one := netip.PrefixFrom(addr(k), 32)
			if a.Overlaps(one) != inA[k] {
				t.Fatalf("%d: %s: %v", i, text(a), one)
			}
			if want := inA[k] && !inB[k] && !net.Contains(addr(k)); left.Overlaps(one) != want {
				t.Fatalf("%d: %s without %s and %v is %s: %v", i, text(a), text(b), net, text(left), one)
			}
		}
		var again []Range
		for _, r := range left.Ranges() {
			for p := range Prefixes(r) {
				again = append(again, ofPrefix(p))
			}
		}
		if back := New(again); text(back) != text(left) {
			t.Fatalf("%d: %s in networks is %s", i, text(left), text(back))
		}
		for k := 1; k < len(left.Ranges()); k++ {
			if !left.Ranges()[k-1].Last.Less(left.Ranges()[k].First) {
				t.Fatalf("%d: out of order: %s", i, text(left))
			}
		}
	}
}

// Large writes a list of networks that don't touch.
func large(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d.%d.%d.%d/29\n", 1+i>>20, i>>12&255, i>>4&255, i&15<<4)
	}
	return b.String()
}

func BenchmarkRead(b *testing.B) {
	list := large(200_000)
	for b.Loop() {
		ranges, _, err := Read(strings.NewReader(list), "x")
		if err != nil || len(New(ranges).Ranges()) != 200_000 {
			b.Fatal(err)
		}
	}
}
