package pyregexp

import (
	"fmt"
	"slices"
	"testing"
)

// TestWithin: a set inside of an outer pattern leaves out no member that is found in
// what the outer one cuts out.
func TestWithin(t *testing.T) {
	outers := []string{
		`^(?P<id>\S+ sshd\[\d+\]:)\s+(?P<content>.+)$`, `^(?:\S+\s+)?(?P<content>.+)$`, `^(?P<content>[^,]+), end`, `^x*(?P<content>.+?)$`,
		`^(?:error: )?(?P<content>.+?)(?: \[preauth\])?$`, `(?i)^HOST (?P<content>(?:a|b).*)$`, `^(?P<content>[^,]+)`,
	}
	members := []string{`^Failed \S+ for (?P<user>\S+) from`, `^a`, `b$`, `\d+$`, `from (?P<ip>\S+)$`, `^(?:x|sshd)`, `end`, `(?!a)b`, `^\S+$`, `é`}
	texts := []string{
		"web sshd[12]: Failed password for bob from 192.0.2.7", "web sshd[12]: a", "a b", "b", "x xb", "error: Failed x for y from z [preauth]", "host ab", "a, end", "a b, end of 12",
		"é", "web é", "xxx", "sshd", "12", "web 12", "", " ", "a\xffb", "host bé",
	}
	var res []*Regexp
	for _, m := range members {
		res = append(res, MustCompile(m, 0))
	}
	found, turnedAway, onlyMinor := 0, 0, 0
	for _, o := range outers {
		outer := MustCompile(o, 0)
		set := NewSetWithin(outer, "content", res...)
		if set == nil {
			t.Errorf("%s: no set", o)
			continue
		}
		matcher := set.NewMatcher("user", "ip")
		anchored := []*Regexp{res[0], res[1], res[5], res[8]}
		lesser := NewSetWithin(outer, "content", anchored...)
		lesser.Minor(0, 2)
		soon, late := lesser.NewMatcher(), NewSetWithin(outer, "content", anchored...).NewMatcher()
		group := outer.SubexpIndex("content")
		for _, text := range texts {
			line := []byte(text + "\n")
			may := matcher.Match(line, nil)
			turnedAway += len(members) - len(may)
			// With minor members, no more is named but these, and only where no other is.
			switch mayLate, maySoon := late.Match(line, nil), soon.Match(line, nil); {
			case !lesser.AllMinor(maySoon) && !slices.Equal(mayLate, maySoon):
				t.Errorf("%s on %q: %v, with minor ones %v", o, text, mayLate, maySoon)
			case lesser.AllMinor(maySoon):
				for _, m := range mayLate {
					if !slices.Contains(maySoon, m) {
						t.Errorf("%s on %q: %v, with minor ones only %v", o, text, mayLate, maySoon)
					}
				}
				onlyMinor += len(maySoon)
			}
			if mask := soon.MatchLines([][]byte{[]byte(text)}, nil); lesser.OnlyMinor(mask) != lesser.AllMinor(lesser.members(mask, nil)) {
				t.Errorf("%s on %q: %b", o, text, mask)
			}
			caps, err := outer.Search(line, nil)
			if err != nil || caps == nil {
				continue
			}
			content := []byte(fmt.Sprintf("%s\n", line[caps[2*group]:caps[2*group+1]]))
			for i, re := range res {
				want := re.FindSubmatchIndex(content)
				if want == nil {
					continue
				}
				found++
				if !slices.Contains(may, i) {
					t.Errorf("%s in %s leaves out %q", members[i], o, text)
				}
				got, err := matcher.Confirm(i, content, nil)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%s on %q: %v %v, want %v", members[i], content, got, err, want)
				}
			}
		}
	}
	if found < 50 || turnedAway < 50 || onlyMinor < 3 {
		t.Errorf("%d found, %d turned away, %d minor ones named alone", found, turnedAway, onlyMinor)
	}
	for _, o := range []string{`^(?P<content>.*)$`, `(?P<content>.+)`, `^(?:(?P<content>a)|b)`, `^(?P<content>a)?b`, `^a`} {
		if NewSetWithin(MustCompile(o, 0), "content", res...) != nil {
			t.Errorf("%s: what its group holds can't be told beforehand", o)
		}
	}
}
