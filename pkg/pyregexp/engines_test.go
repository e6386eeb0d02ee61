package pyregexp

import (
	"regexp"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
)

// BenchmarkEngines compares engines on the expressions of fail2ban's sshd filter
// in mode aggressive, read from Debian's package: which is the first that
// matches, and what are its groups? Lines are as the filter's prefregex leaves
// them.
//
// Go's regexp has no look-around and no conditionals. It gets the expressions
// without the look-behind of <HOST>, which changes nothing, and none of those
// that it refuses even so: less work than the others.
func BenchmarkEngines(b *testing.B) {
	var exprs []string
	for _, e := range readFilters(b).exprs {
		if e.Filter == "sshd" && !strings.Contains(e.Pattern, "(?P<content>") {
			exprs = append(exprs, e.Pattern)
		}
	}
	var ours []*Regexp
	var theirs []*regexp2.Regexp
	var gos []*regexp.Regexp
	for _, e := range exprs {
		ours = append(ours, MustCompile(e, 0))
		// regexp2 writes named groups (?<name>…), and not {,3}.
		theirs = append(theirs, regexp2.MustCompile(strings.ReplaceAll(e, "(?P<", "(?<"), regexp2.None))
		if re, err := regexp.Compile(strings.ReplaceAll(e, "(?<=:)", "")); err == nil {
			gos = append(gos, re)
		}
	}
	b.Logf("%d expressions, of which Go's regexp runs %d", len(exprs), len(gos))
	set := NewSet(ours...)
	for _, c := range []struct{ name, line string }{
		{"matching", "Failed password for invalid user bob from 192.0.2.7 port 4712 ssh2\n"},
		{"nearly", "Failed password for invalid user bob by 192.0.2.7 port 4712 ssh2\n"},
		{"foreign", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)\n"},
	} {
		line := []byte(c.line)
		b.Run(c.name+"/pyregexp", func(b *testing.B) {
			b.ReportAllocs()
			members, dst := make([]int, 0, len(exprs)), make([]int, 100)
			found := 0
			for b.Loop() {
				for _, m := range set.Match(line, members) {
					if spans, _ := set.Confirm(m, line, dst); spans != nil {
						found++
						break
					}
				}
			}
			if found > 0 != (c.name == "matching") {
				b.Fatalf("%d matches", found)
			}
		})
		b.Run(c.name+"/regexp", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, re := range gos {
					if re.FindSubmatchIndex(line) != nil {
						break
					}
				}
			}
		})
		b.Run(c.name+"/regexp2", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, re := range theirs {
					if m, _ := re.FindStringMatch(c.line); m != nil {
						break
					}
				}
			}
		})
	}
}
