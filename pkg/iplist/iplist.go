// Package iplist reads lists of addresses and networks, as those who publish them
// write them, and keeps them as ranges that neither touch nor overlap.
//
// A list has one entry a line: an address, a network (192.0.2.0/24) or a range
// (192.0.2.1-192.0.2.9). What follows an entry behind white space, a comma or a
// semicolon is left out; so are empty lines and comments, which begin with #, ; or //.
// The forms of ipset save (add SET ENTRY), of PeerGuardian (NAME:FIRST-LAST) and of
// lines in JSON with a cidr field (Spamhaus' DROP) are read, too.
package iplist

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Range is addresses of one family from First to Last; both belong to it.
type Range struct{ First, Last netip.Addr }

// Set is ranges in ascending order that neither touch nor overlap, IPv4 before IPv6.
type Set struct {
	ranges []Range
	// Entries is how many entries the lists had.
	Entries int
}

// LineError is a line that is no entry.
type LineError struct {
	File string
	Line int
	Text string
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %.80q is no address, network or range", e.File, e.Line, e.Text)
}

// MaxErrors is how many lines that are no entries are told of; the others are passed
// over.
const MaxErrors = 10

// Ranges returns the ranges.
func (s *Set) Ranges() []Range { return s.ranges }

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
	r := ofPrefix(p)
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

// Without returns the set without what another one and some networks hold.
func (s *Set) Without(others []*Set, networks []netip.Prefix) *Set {
	var cut []Range
	for _, o := range others {
		cut = append(cut, o.ranges...)
	}
	for _, p := range networks {
		cut = append(cut, ofPrefix(p))
	}
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

// ReadFiles reads lists into one set. lines are those that are no entries, the first
// MaxErrors of them; the error is for a file that can't be read.
func ReadFiles(files []string) (s *Set, lines []error, err error) {
	var all []Range
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, lines, err
		}
		ranges, bad, err := Read(f, name)
		f.Close()
		if err != nil {
			return nil, lines, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, ranges...)
		lines = append(lines, bad[:min(len(bad), MaxErrors-len(lines))]...)
	}
	return New(all), lines, nil
}

// Read reads a list. bad are the lines that are no entries, the first MaxErrors of
// them.
func Read(r io.Reader, name string) (ranges []Range, bad []error, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), 1<<20)
	for n := 1; in.Scan(); n++ {
		line := bytes.TrimSpace(bytes.TrimPrefix(in.Bytes(), []byte("\uFEFF")))
		if len(line) == 0 || line[0] == '#' || line[0] == ';' || bytes.HasPrefix(line, []byte("//")) {
			continue
		}
		x, skip, ok := parse(line)
		switch {
		case ok:
			ranges = append(ranges, x)
		case !skip && len(bad) < MaxErrors:
			bad = append(bad, &LineError{name, n, string(line)})
		}
	}
	return ranges, bad, in.Err()
}

// parse reads an entry; skip says that the line is none, and need not be.
func parse(line []byte) (r Range, skip, ok bool) {
	if line[0] == '{' {
		var entry struct {
			CIDR string `json:"cidr"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return r, false, false
		}
		if entry.CIDR == "" {
			return r, true, false // the list's own name and date
		}
		line = []byte(entry.CIDR)
	}
	s := string(line)
	if rest, is := strings.CutPrefix(s, "add "); is {
		_, s, _ = strings.Cut(strings.TrimSpace(rest), " ")
	} else if strings.HasPrefix(s, "create ") || strings.HasPrefix(s, "flush ") {
		return r, true, false
	}
	if i := strings.IndexAny(s, " \t,;#"); i >= 0 {
		if rest := strings.TrimSpace(s[i:]); strings.HasPrefix(rest, "- ") { // FIRST - LAST
			s = s[:i] + "-" + strings.TrimSpace(rest[1:])
		}
		if i = strings.IndexAny(s, " \t,;#"); i >= 0 {
			s = s[:i]
		}
	}
	s = strings.Trim(s, `"'`)
	if r, ok = entry(s); ok {
		return r, false, true
	}
	// NAME:FIRST-LAST; the name may hold anything.
	whole := string(line)
	if i := strings.LastIndexByte(whole, ':'); i >= 0 && strings.Contains(whole[i:], "-") {
		r, ok = entry(strings.TrimSpace(whole[i+1:]))
	}
	return r, false, ok
}

func entry(s string) (Range, bool) {
	if first, last, is := strings.Cut(s, "-"); is {
		a, err1 := netip.ParseAddr(strings.TrimSpace(first))
		b, err2 := netip.ParseAddr(strings.TrimSpace(last))
		a, b = a.Unmap(), b.Unmap()
		if err1 != nil || err2 != nil || a.Zone() != "" || b.Zone() != "" || a.Is4() != b.Is4() || b.Less(a) {
			return Range{}, false
		}
		return Range{a, b}, true
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return Range{}, false
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return ofPrefix(p), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return Range{}, false
	}
	a = a.Unmap()
	return Range{a, a}, true
}

// Signature is another one when a file was changed, replaced, made or removed.
func Signature(files []string) string {
	var b strings.Builder
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%s gone\n", f)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", f, fi.Size(), fi.ModTime().UnixNano())
	}
	return b.String()
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
