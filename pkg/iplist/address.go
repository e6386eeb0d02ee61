package iplist

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// Shortest4 and Shortest6 are the shortest networks that are banned without --force:
// what is wider holds more than one provider's customers.
const (
	Shortest4 = 8
	Shortest6 = 19
)

// TooWide reports whether a network is shorter than Shortest4 or Shortest6.
func TooWide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < Shortest4
	}
	return p.Bits() < Shortest6
}

// TooWide reports whether a range has more addresses than the widest network that is
// banned without --force.
func (r Range) TooWide() bool {
	first, last := r.First.As16(), r.Last.As16()
	high := binary.BigEndian.Uint64(last[:8]) - binary.BigEndian.Uint64(first[:8])
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
	high -= borrow
	if r.First.Is4() {
		return low >= 1<<(32-Shortest4)
	}
	return high >= 1<<(64-Shortest6)
}

// Wide says which of its ranges are so wide that to spare them switches banning off: they
// have more than a /8 of IPv4, or than a /19 of what IPv6 has in use. "": none.
func (s *Set) Wide() string {
	inUse, special := netip.MustParsePrefix("2000::/3"), netip.MustParsePrefix("224.0.0.0/3")
	var list []string
	for r := range s.All() {
		if len(list) < 4 && r.TooWide() && (r.First.Is4() && !special.Contains(r.First) || r.Overlaps(inUse)) {
			list = append(list, r.String())
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: wider than a /%d (IPv6: /%d): nobody in it is ever banned", strings.Join(list, ", "), Shortest4, Shortest6)
}

// Parse reads an address, or a network: 192.0.2.7, 192.0.2.0/24,
// 192.0.2.0/255.255.255.0, 2001:db8::/32, 2001:db8::/ffff:ffff::. An IPv6 address may
// stand in brackets. IPv4 that is written as IPv6 (::ffff:192.0.2.0/120) is IPv4. What
// stands behind the length of a network doesn't count (192.0.2.7/24 is 192.0.2.0/24). An
// address comes back as a prefix of full length.
func Parse(s string) (netip.Prefix, error) {
	text, length, network := strings.Cut(s, "/")
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") && strings.Contains(inner, ":") {
		text = strings.TrimSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%.80q is no address or network", s)
	case a.Zone() != "":
		return netip.Prefix{}, fmt.Errorf("%.80q has a zone: write it without %%%s", s, a.Zone())
	}
	if !network {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	bits, err := prefixLength(length, a)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.80q: %w", s, err)
	}
	if a.Is4In6() {
		if bits < 96 {
			return netip.Prefix{}, fmt.Errorf("%.80q is IPv4 written as IPv6: its length has to be 96 or more", s)
		}
		a, bits = a.Unmap(), bits-96
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// prefixLength reads a length of a network, in bits or as a mask.
func prefixLength(s string, a netip.Addr) (int, error) {
	if mask, err := netip.ParseAddr(s); err == nil {
		if mask.Is4() != a.Is4() || mask.Zone() != "" {
			return 0, fmt.Errorf("%s is no mask of such an address", s)
		}
		bits, ended := 0, false
		for _, b := range mask.AsSlice() {
			for i := 7; i >= 0; i-- {
				switch one := b>>i&1 == 1; {
				case one && ended:
					return 0, fmt.Errorf("%s is no mask of a network", s)
				case one:
					bits++
				default:
					ended = true
				}
			}
		}
		if bits == 0 && !mask.IsUnspecified() {
			return 0, fmt.Errorf("%s is no mask of a network", s)
		}
		return bits, nil
	}
	bits, err := strconv.Atoi(s)
	if err != nil || bits < 0 || bits > a.BitLen() || strconv.Itoa(bits) != s {
		return 0, fmt.Errorf("want a length of 0 to %d behind the /", a.BitLen())
	}
	return bits, nil
}

// ParseRange reads what Parse does, or two addresses with - between them.
func ParseRange(s string) (Range, error) {
	first, last, is := strings.Cut(s, "-")
	if !is {
		p, err := Parse(s)
		if err != nil {
			return Range{}, err
		}
		return ofPrefix(p), nil
	}
	a, err := Parse(strings.TrimSpace(first))
	if err != nil {
		return Range{}, err
	}
	b, err := Parse(strings.TrimSpace(last))
	switch {
	case err != nil:
		return Range{}, err
	case !a.IsSingleIP() || !b.IsSingleIP() || a.Addr().Is4() != b.Addr().Is4() || b.Addr().Less(a.Addr()):
		return Range{}, fmt.Errorf("%.80q is no range: want two addresses of one family, the lower one first", s)
	}
	return Range{a.Addr(), b.Addr()}, nil
}
