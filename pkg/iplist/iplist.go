// Package iplist reads lists of addresses and networks, as those who publish them
// write them, and keeps them as ranges that neither touch nor overlap.
//
// A list has one entry a line: an address, a network (192.0.2.0/24) or a range
// (192.0.2.1-192.0.2.9). What follows an entry behind white space, a comma or a
// semicolon is left out; so are empty lines and comments, which begin with #, ; or //.
// The forms of ipset save (add SET ENTRY), of PeerGuardian (NAME:FIRST-LAST) and of
// lines in JSON with a cidr field (Spamhaus' DROP) are read, too. In a list of those
// who are never banned (ReadAllowed), a line may have several entries.
//
// Files are read when they were left alone for a moment (Follow), so that one that is
// being written isn't taken for what it will be.
package iplist

import (
	"cmp"
	"iter"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Range is addresses of one family from First to Last; both belong to it.
type Range struct{ First, Last netip.Addr }

// Overlaps reports whether some address of a network is in the range.
func (r Range) Overlaps(p netip.Prefix) bool {
	o := ofPrefix(p)
	return r.First.Is4() == o.First.Is4() && r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0
}

// String returns the range as an address, a network, or FIRST-LAST.
func (r Range) String() string {
	for p := range Prefixes(r) {
		if p.IsSingleIP() && r.First == r.Last {
			return p.Addr().String()
		}
		if p.Contains(r.Last) {
			return p.String()
		}
		break
	}
	return r.First.String() + "-" + r.Last.String()
}

// Set is ranges in ascending order that neither touch nor overlap, IPv4 before IPv6.
type Set struct {
	ranges []Range
	// Entries is how many entries the lists had.
	Entries int
}

// Ranges returns the ranges; nil has none.
func (s *Set) Ranges() []Range {
	if s == nil {
		return nil
	}
	return s.ranges
}

// Families returns the ranges of IPv4 and of IPv6.
func (s *Set) Families() (four, six []Range) {
	i, _ := slices.BinarySearchFunc(s.ranges, true, func(r Range, _ bool) int {
		if r.First.Is4() {
			return -1
		}
		return 1
	})
	return s.ranges[:i], s.ranges[i:]
}

// Overlaps reports whether some address of a network is in the set.
func (s *Set) Overlaps(p netip.Prefix) bool {
	if s == nil || !p.IsValid() {
		return false
	}
	if a := p.Addr(); p.IsSingleIP() {
		return s.overlaps(Range{a, a})
	}
	return s.overlaps(ofPrefix(p))
}

func (s *Set) overlaps(r Range) bool {
	i, _ := slices.BinarySearchFunc(s.ranges, r.First, func(x Range, a netip.Addr) int { return x.Last.Compare(a) })
	return i < len(s.ranges) && s.ranges[i].First.Compare(r.Last) <= 0
}

// New makes a set of ranges in any order.
func New(ranges []Range) *Set {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Or(a.First.Compare(b.First), a.Last.Compare(b.Last)) })
	s := &Set{Entries: len(ranges)}
	for _, r := range ranges {
		if n := len(s.ranges); n > 0 {
			last := &s.ranges[n-1]
			if next := last.Last.Next(); r.First.Compare(last.Last) <= 0 || next.IsValid() && next == r.First {
				if last.Last.Less(r.Last) {
					last.Last = r.Last
				}
				continue
			}
		}
		s.ranges = append(s.ranges, r)
	}
	return s
}

// Holds reports whether all addresses of a network are in the set.
func (s *Set) Holds(p netip.Prefix) bool {
	if s == nil || !p.IsValid() {
		return false
	}
	r := ofPrefix(p)
	i, _ := slices.BinarySearchFunc(s.ranges, r.First, func(x Range, a netip.Addr) int { return x.Last.Compare(a) })
	return i < len(s.ranges) && s.ranges[i].First.Compare(r.First) <= 0 && r.Last.Compare(s.ranges[i].Last) <= 0
}

// Within returns what the set and some networks have in common.
func (s *Set) Within(networks []netip.Prefix) *Set {
	var out []Range
	for _, n := range Of(networks).ranges {
		i, _ := slices.BinarySearchFunc(s.ranges, n.First, func(x Range, a netip.Addr) int { return x.Last.Compare(a) })
		for ; i < len(s.ranges) && s.ranges[i].First.Compare(n.Last) <= 0; i++ {
			r := s.ranges[i]
			if r.First.Less(n.First) {
				r.First = n.First
			}
			if n.Last.Less(r.Last) {
				r.Last = n.Last
			}
			out = append(out, r)
		}
	}
	return New(out)
}

// Of is the set of some networks.
func Of(networks []netip.Prefix) *Set {
	all := make([]Range, 0, len(networks))
	for _, p := range networks {
		if p.IsValid() {
			all = append(all, ofPrefix(p))
		}
	}
	return New(all)
}

// Without returns the set without what another one and some networks hold.
func (s *Set) Without(others []*Set, networks []netip.Prefix) *Set {
	var cut []Range
	for _, o := range others {
		cut = append(cut, o.ranges...)
	}
	cut = append(cut, Of(networks).ranges...)
	gone := New(cut).ranges
	out := &Set{Entries: s.Entries}
	i := 0
	for _, r := range s.ranges {
		for i < len(gone) && gone[i].Last.Less(r.First) {
			i++
		}
		for k := i; k < len(gone) && gone[k].First.Compare(r.Last) <= 0 && r.First.IsValid(); k++ {
			if g := gone[k]; r.First.Less(g.First) {
				out.ranges = append(out.ranges, Range{r.First, g.First.Prev()})
			}
			if r.First = gone[k].Last.Next(); !r.First.IsValid() || r.Last.Less(r.First) || r.First.Is4() != r.Last.Is4() {
				r.First = netip.Addr{}
			}
		}
		if r.First.IsValid() {
			out.ranges = append(out.ranges, r)
		}
	}
	return out
}

// ofPrefix is a network as a range.
func ofPrefix(p netip.Prefix) Range {
	p = p.Masked()
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return Range{p.Addr(), last}
}

// Files returns the files that patterns name, sorted, each once. A pattern without
// wildcards names its file even if that is not there.
func Files(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil || len(found) == 0 && !strings.ContainsAny(p, "*?[") {
			found = []string{p}
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Prefixes are the networks that a range is made of, the fewest.
func Prefixes(r Range) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for first := r.First; first.IsValid() && first.Is4() == r.Last.Is4() && first.Compare(r.Last) <= 0; {
			bits := first.BitLen()
			for bits > 0 {
				wider := netip.PrefixFrom(first, bits-1)
				if wider.Masked().Addr() != first || r.Last.Less(ofPrefix(wider).Last) {
					break
				}
				bits--
			}
			p := netip.PrefixFrom(first, bits)
			if !yield(p) {
				return
			}
			first = ofPrefix(p).Last.Next()
		}
	}
}
