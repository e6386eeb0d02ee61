package filter

import (
	"slices"
	"testing"
	"time"

	"bailiff/pkg/transport"
)

// TestAttempts: an attempt of which a connection's lines tell several times counts once,
// whichever of them comes first, and whichever is left out.
func TestAttempts(t *testing.T) {
	def := Definition{Name: "s", Attempts: true, DatePattern: []string{`{^LN-BEG}`}, Failregex: []Expr{
		{Text: `^ (?:<F-MLFID>s\[\d+\]</F-MLFID>|s): unknown user from <ADDR>$`},
		{Text: `^ (?:<F-MLFID>s\[\d+\]</F-MLFID>|s): wrong password from <ADDR>$`},
		{Text: `^ (?:<F-MLFID>s\[\d+\]</F-MLFID>|s): too many from <ADDR>$`},
	}}
	const a, b = "192.0.2.7", "192.0.2.8"
	for _, c := range []struct {
		name  string
		lines []string
		want  []string // who is counted, by line; "": nobody
	}{
		{"two lines for one", []string{"s[1]: unknown user from " + a, "s[1]: wrong password from " + a}, []string{a, ""}},
		{"the other way round", []string{"s[1]: wrong password from " + a, "s[1]: unknown user from " + a}, []string{a, ""}},
		{"three guesses, five lines", []string{
			"s[1]: unknown user from " + a, "s[1]: wrong password from " + a, "s[1]: wrong password from " + a, "s[1]: wrong password from " + a, "s[1]: too many from " + a,
		}, []string{a, "", a, a, ""}},
		{"the end alone", []string{"s[1]: too many from " + a}, []string{a}},
		{"another connection", []string{"s[1]: unknown user from " + a, "s[2]: wrong password from " + a, "s[1]: wrong password from " + a}, []string{a, a, ""}},
		{"the id is given again, to somebody else's", []string{"s[1]: unknown user from " + a, "s[1]: wrong password from " + b, "s[1]: unknown user from " + b}, []string{a, b, ""}},
		{"nothing says which connection", []string{"s: unknown user from " + a, "s: wrong password from " + a, "s: wrong password from " + a}, []string{a, a, a}},
	} {
		for _, detail := range []Detail{DetailAll, DetailLines, DetailIDs} {
			f, err := Compile(def, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			f.Detail = detail
			var got []string
			for _, line := range c.lines {
				who := ""
				for _, x := range f.Match([]byte("2026-01-31 12:00:00 "+line), time.Now()).Failures {
					who += x.ID
				}
				got = append(got, who)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, detail %d: %q, want %q", c.name, detail, got, c.want)
			}
		}
	}
}

// TestAttemptsFramed: a line whose head may be taken off is counted once, as it is or
// without its head.
func TestAttemptsFramed(t *testing.T) {
	f, err := Compile(Definition{
		Name: "s", Attempts: true, Head: HeadEither, DatePattern: []string{`{^LN-BEG}`}, Failregex: []Expr{
			{Text: `^\s*(?:host s\[\d+\]: )?<F-MLFID>\d+</F-MLFID> unknown user from <ADDR>$`},
			{Text: `^\s*(?:host s\[\d+\]: )?<F-MLFID>\d+</F-MLFID> wrong password from <ADDR>$`},
		},
	}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	const date, head = "2026-01-31 12:00:00 ", "host s[1]: "
	for i, c := range []struct {
		line string
		want int
	}{{"7 unknown user from 192.0.2.7", 1}, {"7 wrong password from 192.0.2.7", 0}, {"7 wrong password from 192.0.2.7", 1}} {
		line := date + head + c.line
		if got := len(f.MatchFramed([]byte(line), transport.Frame{Head: len(date + head)}, time.Now()).Failures); got != c.want {
			t.Errorf("line %d: %d failures, want %d", i, got, c.want)
		}
	}
}
