package pyregexp

import (
	"slices"
	"testing"
)

// tally counts searches by how they end.
type tally struct{ known, gaveUp, found int }

// count reports whether the outcome is known.
func (n *tally) count(ok, known bool) bool {
	switch {
	case !known:
		n.gaveUp++
		return false
	case ok:
		n.found++
	}
	n.known++
	return true
}

// TestTagged checks on random patterns that the tagged DFA, where it does not give
// up, finds what the matcher does.
func TestTagged(t *testing.T) {
	seed := seeded(t)
	refused, n := 0, tally{}
	for i := range *randomCases {
		g := newGenerator(seed, uint64(i))
		p, flags := g.pattern()
		if i%3 == 0 {
			p = `\A(?:` + p + `)`
		}
		re, err := Compile(p, flags)
		if err != nil {
			continue
		}
		prog := re.prog
		var groups []string
		if i%2 == 0 {
			groups = []string{"a", "b"}
			prog = prog.only(groups)
		}
		tagged := newTagged(prog, re.starts.anchored)
		if tagged == nil {
			refused++
			continue
		}
		c := newTaggedCache(tagged)
		caps := make([]int, prog.slots)
		head := g.subject() + g.subject() + g.subject()
		for k := range 12 {
			s := []byte(g.subject())
			if k > 5 { // which begin alike
				s = append([]byte(head[:len(head)-g.IntN(min(len(head), 10)+1)]), s...)
			}
			if k%4 == 0 && len(s) > 0 {
				s[g.IntN(len(s))] = byte(g.IntN(256)) // invalid UTF-8, too
			}
			if k%3 == 0 {
				s = append(s, '\n')
			}
			want := []int(nil)
			m := new(machine)
			if m.search(prog, &re.starts, s, 0) {
				want = slices.Clone(m.caps)
			}
			if g.IntN(20) == 0 {
				c.full = true
			}
			ok, sure := c.match(s, caps)
			if !n.count(ok, sure) {
				continue
			}
			if ok != (want != nil) || ok && !slices.Equal(caps, want) {
				t.Fatalf("%q flags %d, groups %q, on %q: %v %v, want %v", p, flags, groups, s, ok, caps, want)
			}
		}
	}
	t.Logf("%d searches, %d found; %d given up; %d patterns refused", n.known, n.found, n.gaveUp, refused)
	if n.found < n.known/20 || n.known < n.gaveUp {
		t.Error("too few to tell")
	}
}

// TestTaggedFilters does the same for fail2ban's own expressions on the lines of
// its own logs.
func TestTaggedFilters(t *testing.T) {
	f := readFilters(t)
	refused, n := 0, tally{}
	for _, e := range f.exprs {
		tagged := newTagged(e.re.prog, e.re.starts.anchored)
		if tagged == nil {
			if !e.re.prog.refs {
				t.Logf("refused, with %d instructions: %.200q", len(e.re.prog.insts), e.Pattern)
				refused++
			}
			continue
		}
		c := newTaggedCache(tagged)
		caps := make([]int, e.re.prog.slots)
		for number, line := range f.lines {
			ok, sure := c.match([]byte(line), caps)
			if !n.count(ok, sure) {
				continue
			}
			want, _, err := e.re.bare([]byte(line))
			if _, hit := e.hits[number]; err != nil || ok != hit || ok && !slices.Equal(caps, want) {
				t.Errorf("filter %s: %q on %q: %v %v, want %v", e.Filter, e.Pattern, line, ok, caps, want)
			}
		}
		if c.over {
			t.Logf("not worth while: %q", e.Pattern)
		}
	}
	t.Logf("%d searches, %d found; %d given up; %d expressions refused", n.known, n.found, n.gaveUp, refused)
	if n.found < 20_000 || n.gaveUp > n.known/20 || refused > 5 {
		t.Error("the tagged DFA is left out too often")
	}
}

// TestTaggedOver has a text lead to ever new states: that ends soon, and for good.
func TestTaggedOver(t *testing.T) {
	for _, pattern := range []string{`^[ab]*a[ab]{40}c`, `([ab]*)a(?:[ab]{0,30}x)*([ab]{60})$`, `^(?:(a|ab)(c|bcd)?(d*))+$`} {
		re := MustCompile(pattern, 0)
		s := re.NewSearcher()
		c := newTaggedCache(newTagged(re.prog, re.starts.anchored))
		x, read := uint32(7), 0
		for n := range 300 {
			line := []byte{}
			for range 1000 {
				x = x*1664525 + 1013904223
				line = append(line, "ab"[x>>31])
			}
			if n%3 == 0 {
				line = append(line, 'c')
			}
			read += len(line)
			want, _, err := re.bare(line)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Search(line, nil); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%q on %q: %v %v, want %v", pattern, line, got, err, want)
			}
			caps := make([]int, re.prog.slots)
			if ok, known := c.match(line, caps); known && (ok != (want != nil) || ok && !slices.Equal(caps, want)) {
				t.Fatalf("%q on %q: %v %v, want %v", pattern, line, ok, caps, want)
			}
			if most := taggedSteps + read/stepBytes + 1_000; c.steps > most || c.bytes > 2*maxTaggedTable {
				t.Fatalf("%q: %d steps after %d bytes, table of %d bytes", pattern, c.steps, read, c.bytes)
			}
		}
		t.Logf("%q: over %v after %d steps", pattern, c.over, c.steps)
	}
}
