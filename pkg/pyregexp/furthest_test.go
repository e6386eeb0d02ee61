package pyregexp

import (
	"fmt"
	"testing"
)

func TestFurthest(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          string // text up to Pos, wanted parts, Left/Total
	}{
		{`^Login failure (\d+)$`, "Login failed 7", `"Login fail" wants ["u"] 5/15`},
		{`Login failure (\d+)`, "x Login failure y Login z", `"x Login failure " wants ["\\d"] 1/15`},
		{`^.*from <(\d+)> end$`, "it is from <12> and on", `"it is from <12> " wants ["e"] 3/12`},
		{`^(?:ab|cde|cdf)z`, "cdx", `"cd" wants ["e" "f"] 2/3`},
		{`^user (\w+)(?: of (\w+))?$`, "user me of", `"user me" wants ["$"] 0/6`},
		{`^a(?!b)c`, "ab", `"a" wants ["(?!b)"] 1/2`},
		{`^a(?=b)b`, "ac", `"a" wants ["(?=b)"] 1/2`},
		{`^(?>a+)b`, "aaac", `"aaa" wants ["b"] 1/2`},
		{`^(\w)-\1$`, "a-b", `"a-" wants ["\\1"] 0/2`},
		{`^\s*é[x-z]+$`, " éxa", `" éx" wants ["$"] 0/2`},
		{`(?x) ^ fo o # comment
		  \d`, "foo", `"foo" wants ["\\d"] 1/4`},
		{`^x{3}y`, "xx", `"xx" wants ["x"] 2/4`},
		{`^a`, "", `"" wants ["a"] 1/1`},
	} {
		r, ok, err := MustCompile(c.pattern, 0).Furthest([]byte(c.text))
		if err != nil || !ok {
			t.Errorf("%s on %q: ok %v, error %v", c.pattern, c.text, ok, err)
			continue
		}
		parts := []string{}
		for _, w := range r.Wanted {
			parts = append(parts, c.pattern[w[0]:w[1]])
		}
		if got := fmt.Sprintf("%q wants %q %d/%d", c.text[:r.Pos], parts, r.Left, r.Total); got != c.want {
			t.Errorf("%s on %q:\n got %s\nwant %s", c.pattern, c.text, got, c.want)
		}
	}
	if _, ok, err := MustCompile(`a(b|c)`, 0).Furthest([]byte("xac")); ok || err != nil {
		t.Errorf("a match: ok %v, error %v", ok, err)
	}
	if _, _, err := MustCompile(`^(a*)*b\1$`, 0).Furthest([]byte(string(make([]byte, 10)) + "aaaa")); err != nil {
		t.Error(err)
	}
}

// TestFurthestAgrees: it says that there is a match exactly where there is one,
// and what it tells lies inside of text and pattern.
func TestFurthestAgrees(t *testing.T) {
	n := 0
	for i := range uint64(3000) {
		g := newGenerator(7, i)
		pattern, flags := g.pattern()
		re, err := Compile(pattern, flags)
		if err != nil {
			continue
		}
		for range 4 {
			text := g.subject()
			want, err := re.Search([]byte(text), nil)
			if err != nil {
				continue
			}
			r, ok, err := re.Furthest([]byte(text))
			if err != nil {
				continue
			}
			if ok && want != nil {
				t.Fatalf("%q on %q: matches at %v, and Furthest says %+v", pattern, text, want, r)
			}
			if !ok {
				continue
			}
			n++
			if r.Left < 0 || r.Pos < r.Start || r.Pos > len(text) {
				t.Fatalf("%q on %q: %+v", pattern, text, r)
			}
			for _, w := range r.Wanted {
				if w[0] >= w[1] || w[1] > len(pattern) {
					t.Fatalf("%q on %q: %+v", pattern, text, r)
				}
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d failures were looked at", n)
	}
}
