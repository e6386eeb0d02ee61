package pyregexp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// openingLine is a line whose words are few and whose numbers are many, and which is sometimes cut.
func openingLine(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	number := func() int { return r.IntN([]int{10, 1000, 100_000, 1_000_000_000, 1e18}[r.IntN(5)]) }
	line := pick(" web1 ", " web1 ", " web1 ", " web12 ", " db-main ", " mail.example.org ") + pick(
		fmt.Sprintf("sshd[%d]: ", number()), fmt.Sprintf("sshd[%d]: ", number()), fmt.Sprintf("sshd[%d]: ", number()),
		fmt.Sprintf("sshd[%d]: ", number()), fmt.Sprintf("sshd[%d]: ", number()), fmt.Sprintf("sshd-session[%d]: ", number()), fmt.Sprintf("sshd-session[%d]: ", number()), fmt.Sprintf("CRON[%d]: ", number()), "sudo: ", fmt.Sprintf("sshd%d[x]: ", number()),
		fmt.Sprintf("sshd[%dx]: ", number()), "sshd[\r]: ", "sshd[]: ",
	) + pick(
		"pam_unix(sshd:session): session opened for user root", "Accepted publickey for bob from ", "Disconnected from user bob ",
		"Disconnected from invalid user bob ", "Failed password for root from ", "Received disconnect from ", "error: maximum of ",
		fmt.Sprintf("round %d of the great wheel of ", number()), fmt.Sprintf("%d times and again, ", number()),
	) + pick("192.0.2.7", "198.51.100.12", "2001:db8::1") + pick("", " port 22", fmt.Sprintf(" port %d ssh2", number()))
	if r.IntN(20) == 0 {
		line = line[:r.IntN(len(line)+1)]
	}
	if r.IntN(50) == 0 {
		i := r.IntN(len(line) + 1)
		line = line[:i] + pick("\r", "\x00", "7", "\t", "é") + line[i:]
	}
	return line
}

// TestOpenings: what is known by what lines open with is what a sieve says of them that has never
// seen one before.
func TestOpenings(t *testing.T) {
	outer := MustCompile(`^(?:\s*(?:\S+ )?sshd(?:-session)?\[\d+\]: )(?:error: )?(?P<content>.+)$`, 0)
	members := []*Regexp{
		MustCompile(`^Failed \w+ for .*? from \S+`, 0), MustCompile(`^(?:Accepted|Disconnected from user) `, 0), MustCompile(`^Disconnected from invalid `, 0),
		MustCompile(`^maximum `, 0), MustCompile(`^round 7 of `, 0), MustCompile(`^1\d* times `, 0),
	}
	anything := MustCompile(`.`, 0)
	for name, set := range map[string]*Set{
		"minor": func() *Set {
			s := NewSetWithin(outer, "content", members...)
			s.Minor(1)
			return s
		}(),
		"light": NewSetWithin(outer, "content", append(slices.Clone(members), anything)...),
		"alone": NewSet(members...),
	} {
		r := rand.New(rand.NewPCG(31, 32))
		known, said := set.NewMatcher(), map[Opening]int{}
		for round := range 400 {
			lines := make([][]byte, 200)
			for i := range lines {
				lines[i] = []byte(openingLine(r))
			}
			sample := func() [][]byte { return lines }
			fresh := set.NewMatcher().Sieve(len(lines), sample)
			v := known.Sieve(len(lines), sample)
			if name == "light" {
				fresh.Light(len(members))
				v.Light(len(members))
			}
			var passed []int
			light := make([]bool, len(lines))
			for i, line := range lines {
				var passes bool
				if passes, light[i] = fresh.Passes(line); passes {
					passed = append(passed, i)
				}
			}
			masks, words := fresh.Masks(nil), set.Words()
			mask := func(i int) []uint64 {
				if k := slices.Index(passed, i); k >= 0 {
					return masks[k*words : (k+1)*words]
				}
				return nil
			}
			o := v.Openings()
			if round >= 300 { // much is forgotten while lines are looked at, of which something was said before
				o.most, o.credit = 30, 1000
			}
			first := make([]Opening, len(lines))
			for i, line := range lines {
				first[i] = o.First(line)
			}
			for i, line := range lines {
				opening := first[i]
				if opening >= OpeningGoes {
					opening = o.Further(line, opening)
				}
				said[opening]++
				m := mask(i)
				switch {
				case opening == OpeningAway && (light[i] || m != nil && slices.Max(m) != 0),
					opening == OpeningLight && !light[i] && (m == nil || !v.OnlyLight(m)),
					opening == OpeningMinor && (m == nil || slices.Max(m) == 0 || !set.OnlyMinor(m)):
					t.Fatalf("%s: of %q is known %d, the sieve says %b, light %v", name, line, opening, m, light[i])
				}
				v.Passes(line)
			}
			v.Masks(nil)
		}
		t.Log(name, said)
		if n := said[OpeningAway] + said[OpeningLight] + said[OpeningMinor]; name != "alone" && n < 400*200/4 || said[OpeningUnknown] < 400 || (name == "minor") != (said[OpeningMinor] > 0) || (name == "light") != (said[OpeningLight] > 0) {
			t.Errorf("%s: %v", name, said)
		}
	}
}
