package filter

import (
	"strings"
	"testing"
)

// TestProposeKeeps: what is the same in all lines stays as it is, so that a success is not
// taken; what tells nothing of the failure is left open.
func TestProposeKeeps(t *testing.T) {
	for _, c := range []struct {
		lines     []string
		good      string
		has, want string // of the expression; the date pattern
	}{
		{
			[]string{
				`192.0.2.7 - - [31/Jan/2026:12:00:00 +0000] "POST /login HTTP/1.1" 401 17`,
				`192.0.2.8 - - [31/Jan/2026:12:00:09 +0000] "POST /login HTTP/1.1" 401 18`,
			},
			`192.0.2.9 - - [31/Jan/2026:12:00:10 +0000] "POST /login HTTP/1.1" 200 18`,
			`401\s+\d+`, `datepattern = '^(?:[^"\\]|\\.)*\[({DATE})\] "'`,
		},
		{
			[]string{`Jan 31 12:00:00 web app[41]: status 403 for 192.0.2.7 port 4711`},
			`Jan 31 12:00:00 web app[41]: status 200 for 192.0.2.7 port 4711`,
			`app\[\d+\]:\s+status\s+403\s+for\s+<ADDR>\s+port\s+\d+`, `datepattern = '{^LN-BEG}'`,
		},
		{
			[]string{`time="2026-01-31T12:00:00Z" code=7 ip=192.0.2.7`, `time="2026-01-31T12:00:01Z" code=7 ip=192.0.2.8`},
			`time="2026-01-31T12:00:00Z" code=0 ip=192.0.2.7`,
			`code=7`, `datepattern = '^time="({DATE})'`,
		},
	} {
		var examples []Example
		for _, l := range c.lines {
			e, err := ParseExample(l)
			if err != nil {
				t.Fatal(err)
			}
			examples = append(examples, e)
		}
		list, err := Propose(examples)
		if err != nil || len(list) != 1 || !strings.Contains(list[0], c.has) {
			t.Errorf("%q, %v, want one with %q", list, err, c.has)
			continue
		}
		if got := strings.TrimSpace(DatesOf(examples)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		f, err := Compile(Definition{Failregex: []Expr{{Text: list[0]}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := f.Match([]byte(c.good), proveNow); len(r.Failures) > 0 {
			t.Errorf("%s takes %s", list[0], c.good)
		}
	}
}
