package pyregexp

import (
	"slices"
	"testing"
	"time"
)

// TestTagged checks on random patterns that the tagged DFA, where it does not give
// up, finds what the matcher does.
func TestTagged(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -random.seed %d)", seed, seed)
	refused, known, gaveUp, found := 0, 0, 0, 0
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
		for k := range 12 {
			s := []byte(g.subject())
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
			if !sure {
				gaveUp++
				continue
			}
			known++
			if ok {
				found++
			}
			if ok != (want != nil) || ok && !slices.Equal(caps, want) {
				t.Fatalf("%q flags %d, groups %q, on %q: %v %v, want %v", p, flags, groups, s, ok, caps, want)
			}
		}
	}
	t.Logf("%d searches, %d found; %d given up; %d patterns refused", known, found, gaveUp, refused)
	if found < known/20 || known < gaveUp {
		t.Error("too few to tell")
	}
}
