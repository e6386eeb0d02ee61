package iplist

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
)

// Ranges as they are kept: 8 bytes for one of IPv4, 32 for one of IPv6. A netip.Addr has 24.

// number is an address of one family, as a number.
type number[T any] interface {
	comparable
	compare(T) int
	next() T // of the last one, the first
	prev() T // of the first one, the last
	addr() netip.Addr
}

type number4 uint32

func (n number4) compare(o number4) int {
	switch {
	case n < o:
		return -1
	case n > o:
		return 1
	}
	return 0
}
func (n number4) next() number4 { return n + 1 }
func (n number4) prev() number4 { return n - 1 }
func (n number4) addr() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b)
}

type number6 struct{ high, low uint64 }

func (n number6) compare(o number6) int {
	switch {
	case n.high < o.high, n.high == o.high && n.low < o.low:
		return -1
	case n == o:
		return 0
	}
	return 1
}

func (n number6) next() number6 {
	low, carry := bits.Add64(n.low, 1, 0)
	return number6{n.high + carry, low}
}

func (n number6) prev() number6 {
	low, borrow := bits.Sub64(n.low, 1, 0)
	return number6{n.high - borrow, low}
}

func (n number6) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], n.high)
	binary.BigEndian.PutUint64(b[8:], n.low)
	return netip.AddrFrom16(b)
}

func four(a netip.Addr) number4 {
	b := a.As4()
	return number4(binary.BigEndian.Uint32(b[:]))
}

func six(a netip.Addr) number6 {
	b := a.As16()
	return number6{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// pair is a range; both ends belong to it.
type pair[T number[T]] struct{ first, last T }

func (p pair[T]) ranged() Range { return Range{p.first.addr(), p.last.addr()} }

func pair4(r Range) pair[number4] { return pair[number4]{four(r.First), four(r.Last)} }
func pair6(r Range) pair[number6] { return pair[number6]{six(r.First), six(r.Last)} }

// merge sorts pairs and joins those that touch or overlap, in place.
func merge[T number[T]](all []pair[T]) []pair[T] {
	less := func(a, b pair[T]) int {
		if c := a.first.compare(b.first); c != 0 {
			return c
		}
		return a.last.compare(b.last)
	}
	if !slices.IsSortedFunc(all, less) {
		slices.SortFunc(all, less)
	}
	out := all[:0]
	for _, p := range all {
		if n := len(out); n > 0 {
			last := &out[n-1]
			next := last.last.next()
			if p.first.compare(last.last) <= 0 || next == p.first && next.compare(last.last) > 0 {
				if last.last.compare(p.last) < 0 {
					last.last = p.last
				}
				continue
			}
		}
		out = append(out, p)
	}
	if cap(out) > len(out)+len(out)/16+16 { // it stays for long
		out = slices.Clone(out)
	}
	return slices.Clip(out)
}

// from returns the place of the first pair that does not end before an address.
func from[T number[T]](all []pair[T], first T) int {
	i, _ := slices.BinarySearchFunc(all, first, func(p pair[T], a T) int { return p.last.compare(a) })
	return i
}

func overlaps[T number[T]](all []pair[T], p pair[T]) bool {
	i := from(all, p.first)
	return i < len(all) && all[i].first.compare(p.last) <= 0
}

func holds[T number[T]](all []pair[T], p pair[T]) bool {
	i := from(all, p.first)
	return i < len(all) && all[i].first.compare(p.first) <= 0 && p.last.compare(all[i].last) <= 0
}

// within returns what both have in common.
func within[T number[T]](all, networks []pair[T]) (out []pair[T]) {
	for _, n := range networks {
		for i := from(all, n.first); i < len(all) && all[i].first.compare(n.last) <= 0; i++ {
			p := all[i]
			if p.first.compare(n.first) < 0 {
				p.first = n.first
			}
			if n.last.compare(p.last) < 0 {
				p.last = n.last
			}
			out = append(out, p)
		}
	}
	return out
}

// without returns the first without the second; what is the same stays where it is.
func without[T number[T]](all, gone []pair[T]) []pair[T] {
	if !slices.ContainsFunc(gone, func(g pair[T]) bool { return overlaps(all, g) }) {
		return all
	}
	out := make([]pair[T], 0, len(all)+len(gone))
	i := 0
	for _, p := range all {
		for i < len(gone) && gone[i].last.compare(p.first) < 0 {
			i++
		}
		left := true
		for k := i; left && k < len(gone) && gone[k].first.compare(p.last) <= 0; k++ {
			if g := gone[k]; p.first.compare(g.first) < 0 {
				out = append(out, pair[T]{p.first, g.first.prev()})
			}
			next := gone[k].last.next()
			left = next.compare(gone[k].last) > 0 && next.compare(p.last) <= 0
			p.first = next
		}
		if left {
			out = append(out, p)
		}
	}
	return out
}

// builder gathers the ranges of a set.
type builder struct {
	four []pair[number4]
	six  []pair[number6]
}

func (b *builder) add(r Range) {
	if r.First.Is4() {
		b.four = append(b.four, pair4(r))
	} else {
		b.six = append(b.six, pair6(r))
	}
}

func (b *builder) len() int { return len(b.four) + len(b.six) }

// set makes it; the builder is used up.
func (b *builder) set() *Set {
	n := b.len()
	return &Set{four: merge(b.four), six: merge(b.six), Entries: n}
}

// All hands over the ranges in their order; nil has none.
func (s *Set) All() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		if s == nil {
			return
		}
		for _, p := range s.four {
			if !yield(p.ranged()) {
				return
			}
		}
		for _, p := range s.six {
			if !yield(p.ranged()) {
				return
			}
		}
	}
}

// Len is how many ranges there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.four) + len(s.six)
}

// Equal reports whether both have the same ranges.
func (s *Set) Equal(o *Set) bool {
	if s == nil || o == nil {
		return s.Len() == o.Len()
	}
	return slices.Equal(s.four, o.four) && slices.Equal(s.six, o.six)
}
