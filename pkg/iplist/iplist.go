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

// Set is ranges in ascending order that neither touch nor overlap, IPv4 before IPv6. It
// takes 8 bytes for one of IPv4 and 32 for one of IPv6, and never changes.
type Set struct {
	four []pair[number4]
	six  []pair[number6]
	// Entries is how many entries the lists had.
	Entries int
}

// Ranges returns the ranges; nil has none. Of a large set, [Set.All] takes no memory.
func (s *Set) Ranges() []Range {
	if s.Len() == 0 {
		return nil
	}
	return slices.AppendSeq(make([]Range, 0, s.Len()), s.All())
}

// Families returns the ranges of IPv4 and of IPv6.
func (s *Set) Families() (four, six []Range) {
	return (&Set{four: s.four}).Ranges(), (&Set{six: s.six}).Ranges()
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
	if r.First.Is4() {
		return overlaps(s.four, pair4(r))
	}
	return overlaps(s.six, pair6(r))
}

// New makes a set of ranges in any order.
func New(ranges []Range) *Set {
	var b builder
	for _, r := range ranges {
		b.add(r)
	}
	return b.set()
}

// Holds reports whether all addresses of a network are in the set.
func (s *Set) Holds(p netip.Prefix) bool {
	if s == nil || !p.IsValid() {
		return false
	}
	if r := ofPrefix(p); r.First.Is4() {
		return holds(s.four, pair4(r))
	} else {
		return holds(s.six, pair6(r))
	}
}

// Within returns what the set and some networks have in common.
func (s *Set) Within(networks []netip.Prefix) *Set {
	n := Of(networks)
	b := builder{within(s.four, n.four), within(s.six, n.six)}
	return b.set()
}

// Of is the set of some networks.
func Of(networks []netip.Prefix) *Set {
	var b builder
	for _, p := range networks {
		if p.IsValid() {
			b.add(ofPrefix(p))
		}
	}
	return b.set()
}

// Without returns the set without what another one and some networks hold.
func (s *Set) Without(others []*Set, networks []netip.Prefix) *Set {
	var b builder
	for _, o := range append(slices.Clone(others), Of(networks)) {
		b.four, b.six = append(b.four, o.four...), append(b.six, o.six...)
	}
	gone := b.set()
	return &Set{four: without(s.four, gone.four), six: without(s.six, gone.six), Entries: s.Entries}
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
