package pyregexp

import (
	"slices"
	"testing"
)

// FuzzCompile reads any pattern: it is refused with a place in it, or runs.
func FuzzCompile(f *testing.F) {
	for i := range 200 {
		p, flags := newGenerator(1, uint64(i)).pattern()
		f.Add(p, uint8(flags))
	}
	for _, p := range []string{`(?P<a>x)(?(a)b|c)(?P=a)\1`, `(?<=ab)(?<!c)(?>d*+)`, `[^]a-z\d\N{DIGIT ONE}]{,3}?`, "(?x) a # b\n", `\x41\u00e9\U0001F600\101`, `(?i-s:a.)`, `(?(2)a)`, `a{99999}`} {
		f.Add(p, uint8(0))
	}
	f.Fuzz(func(t *testing.T, pattern string, flags uint8) {
		if len(pattern) > 2000 {
			return
		}
		re, err := Compile(pattern, Flag(flags)&(IGNORECASE|MULTILINE|DOTALL|VERBOSE|ASCII))
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Msg == "" {
				t.Fatalf("%q: error %#v", pattern, err)
			}
			return
		}
		if re.NumSubexp()+1 != len(re.SubexpNames()) {
			t.Fatalf("%q: %d groups, %d names", pattern, re.NumSubexp(), len(re.SubexpNames()))
		}
		checkRungs(t, re, []byte("aab: 192.0.2.7 \xff é\n"))
		checkRungs(t, re, []byte(pattern))
	})
}

// FuzzMatch runs generated patterns, which are rich, on any text.
func FuzzMatch(f *testing.F) {
	for i := range 100 {
		f.Add(uint64(i), []byte(newGenerator(2, uint64(i)).subject()))
	}
	f.Fuzz(func(t *testing.T, seed uint64, text []byte) {
		if len(text) > 500 {
			return
		}
		var set []*Regexp
		for i := range 3 {
			p, flags := newGenerator(seed, uint64(i)).pattern()
			if re, err := Compile(p, flags); err == nil {
				checkRungs(t, re, text)
				set = append(set, re)
			}
		}
		members := NewSet(set...).Match(text, nil)
		for i, re := range set {
			if m, _, err := re.bare(text); err == nil && m != nil && !slices.Contains(members, i) {
				t.Fatalf("the set of %q leaves out %d on %q", set, i, text)
			}
		}
	})
}

// checkRungs compares the ladder with the matcher alone, and what it finds with
// what spans are.
func checkRungs(t *testing.T, re *Regexp, text []byte) {
	t.Helper()
	want, _, err := re.bare(text)
	if err != nil {
		return // the budget of back references
	}
	got, err := re.Search(text, nil)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%q on %q: %v %v, the matcher alone %v", re, text, got, err, want)
	}
	if tagged := newTagged(re.prog, re.starts.anchored); tagged != nil {
		caps := make([]int, re.prog.slots)
		if ok, known := newTaggedCache(tagged).match(text, caps); known && (ok != (want != nil) || ok && !slices.Equal(caps, want)) {
			t.Fatalf("%q on %q: the tagged DFA %v %v, the matcher alone %v", re, text, ok, caps, want)
		}
	}
	for i := 0; i < len(got); i += 2 {
		if a, b := got[i], got[i+1]; a > len(text) || b > len(text) || i == 0 && (a < 0 || b < a) {
			t.Fatalf("%q on %q: spans %v", re, text, got)
		}
	}
}
