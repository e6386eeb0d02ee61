package pyregexp

import (
	"slices"
	"testing"
)

// bare searches with the remembering matcher alone.
func (re *Regexp) bare(b []byte) (spans []int, m *machine, err error) {
	m = new(machine)
	defer func() {
		if e, ok := recover().(*BudgetError); ok {
			err = e
		}
	}()
	if m.search(re.prog, &re.starts, b, 0) {
		return slices.Clone(m.caps), m, nil
	}
	return nil, m, nil
}

// TestLadder checks on random patterns that no rung changes what the matcher
// alone finds, that a Set leaves out no member that matches, and that a small
// table, cleared again and again, does not change that.
func TestLadder(t *testing.T) {
	seed := seeded(t)
	var members []*Regexp
	onePass, literal, sets := 0, 0, 0
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
		if re.one != nil {
			onePass++
		}
		if len(re.lits) > 0 {
			literal++
		}
		var subjects [][]byte
		for k := range 8 {
			s := []byte(g.subject())
			if k%2 == 0 && len(s) > 0 {
				s[g.IntN(len(s))] = byte(g.IntN(256)) // invalid UTF-8, too
			}
			subjects = append(subjects, s)
			want, _, err := re.bare(s)
			if err != nil {
				continue
			}
			got, err := re.Search(s, nil)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%q flags %d on %q: %v %v, the matcher alone %v", p, flags, s, got, err, want)
			}
		}
		if members = append(members, re); len(members) < 6 {
			continue
		}
		sets++
		set := NewSet(members...)
		small := NewSet(members...)
		own := set.NewMatcher()
		var dst []int
		for _, s := range subjects {
			cut := g.IntN(len(s) + 1)
			whole := set.Match(s, nil)
			if d := small.dfa.get(small.outer, small.res...); d != nil && len(d.spare) > 0 {
				d.spare[0].bytes = maxDFA + 1 // full: the next transition clears it
			}
			for _, got := range [][]int{whole, set.MatchParts(dst, s[:cut], s[cut:]), small.Match(s, nil), own.Match(s, nil)} {
				for m, re := range members {
					if want, _, err := re.bare(s); want != nil && err == nil && !slices.Contains(got, m) {
						t.Errorf("the set of %q leaves out %d on %q", members, m, s)
					}
				}
			}
			for _, m := range whole {
				want, _, err := members[m].bare(s)
				got, gotErr := set.Confirm(m, s, nil)
				if same, sameErr := own.Confirm(m, s, nil); !slices.Equal(got, same) || (gotErr == nil) != (sameErr == nil) {
					t.Errorf("%q on %q: the set confirms %v %v, its matcher %v %v", members[m], s, got, gotErr, same, sameErr)
				}
				if err == nil && (gotErr != nil || !slices.Equal(got, want)) {
					t.Errorf("%q on %q: confirmed %v %v, want %v", members[m], s, got, gotErr, want)
				}
			}
		}
		members = nil
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d one-pass, %d with required literals, %d sets", onePass, literal, sets)
}

func TestLiterals(t *testing.T) {
	for pattern, want := range map[string][]string{
		`Login failure <HOST>`:                 {"Login failure <HOST>"},
		`^(?:error: )?Failed (?:a|b)c from`:    {"Failed ac from", "Failed bc from"},
		`(?:Invalid|Illegal) user .* from`:     {"Invalid user ", "Illegal user "},
		`a*(?:bcd)+`:                           {"bcd"},
		`(?:abc)?d`:                            nil,
		`foo|`:                                 nil,
		`foo|b`:                                nil,
		`x(?=foo)bar\b`:                        {"xbar"},
		`(?i)Ab1234`:                           {"ab1234", "aB1234", "Ab1234", "AB1234"},
		`(?i)k\d+ver`:                          {"VER", "VEr", "VeR", "Ver", "vER", "vEr", "veR", "ver"},
		`[ab][cd]`:                             {"ac", "ad", "bc", "bd"},
		`(a)(?(1)foo|food)`:                    {"foo"},
		`(?P<x>ab)(?P=x)`:                      {"ab"},
		`\d{1,3}(?:\.\d{1,3}){3} denied by us`: {" denied by us"},
	} {
		var got []string
		for _, l := range MustCompile(pattern, 0).lits {
			got = append(got, string(l))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", pattern, got, want)
		}
	}
}

func TestOnePass(t *testing.T) {
	for pattern, want := range map[string]bool{
		`^(\d+)-(\d+)$`:                  true,
		`^\s*(?:\w+:)? (\S+) x`:          false, // \s* and \w+ part, but a word may end in no colon
		`^(?:a(b)|c(d))*e`:               true,
		`^(a*)a`:                         false,
		`(\d+)-(\d+)`:                    false, // not anchored
		`^(a)?(?(1)b|c)$`:                true,
		`^(?:a|ab)c`:                     false,
		`^(?=a)a`:                        false,
		`^[^ ]* - (\S+) \[(.*)`:          true,
		`^(?P<y>\d{4})-(\d\d)T(\d\d):.*`: true,
	} {
		if got := MustCompile(pattern, 0).one != nil; got != want {
			t.Errorf("%q: one-pass %v, want %v", pattern, got, want)
		}
	}
}

// TestEmptyText: where a text begins and ends at once, ^ may come after \Z.
func TestEmptyText(t *testing.T) {
	for _, p := range []string{`\Z^`, `$^`, `^\Z^$`, `\Z(?:|_)^`} {
		if !MustCompile(p, 0).Match(nil) {
			t.Errorf("%q does not match the empty text", p)
		}
	}
}

// TestReferenceToAnchor: what a group matched at the text's begin may come again
// anywhere.
func TestReferenceToAnchor(t *testing.T) {
	if re := MustCompile(`(^a)b\1$`, 0); !re.Match([]byte("aba")) {
		t.Errorf("%q does not match", re)
	}
	if re := MustCompile(`(a$\n)*b?(\Za|x)\2`, 0); !re.Match([]byte("xx")) {
		t.Errorf("%q does not match", re)
	}
}

// TestConcurrent uses one Regexp and one Set from many goroutines.
func TestConcurrent(t *testing.T) {
	re := MustCompile(`(\w+) from (?P<ip>\d+\.\d+)(?= port)`, 0)
	set := NewSet(re, MustCompile(`x+y`, 0))
	done := make(chan bool)
	for range 8 {
		go func() {
			ok := true
			for i := range 500 {
				line, member := []byte("bob from 1.2 port"), 0
				if i%2 == 0 {
					line, member = []byte("bob fro 1.2 port xxy"), 1
				}
				ok = ok && re.Match(line) == (member == 0) && slices.Equal(set.Match(line, nil), []int{member})
			}
			done <- ok
		}()
	}
	for range 8 {
		if !<-done {
			t.Error("a search among others gives another result")
		}
	}
}

func TestNoAllocations(t *testing.T) {
	re := MustCompile(`^(?:error: )?Failed \S+ for .* from (?P<ip>(?:\d+\.){3}\d+)(?= port)`, 0)
	set := NewSet(re, MustCompile(`foo`, 0))
	hit, miss := []byte("Failed password for root from 192.0.2.7 port 22"), []byte("Failed password for root from nowhere port 22")
	dst, members := make([]int, 4), make([]int, 0, 2)
	run := func() {
		if m, _ := re.Search(hit, dst); m == nil {
			t.Error("no match")
		}
		if m, _ := re.Search(miss, dst); m != nil {
			t.Error("match")
		}
		set.Match(hit, members)
		set.Match(miss, members)
	}
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations per run", n)
	}
}
