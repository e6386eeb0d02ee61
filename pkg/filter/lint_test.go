package filter

import (
	"slices"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	for _, c := range []struct {
		prefix, expr string
		dates        []string
		want         []string
	}{
		{expr: `^login failed from <ADDR>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `login failed from <ADDR>`, dates: []string{"{^LN-BEG}"}, want: []string{RuleStart}},
		{expr: `^login of .* failed from <ADDR>`, dates: []string{"{^LN-BEG}"}, want: []string{RuleEnd}},
		{expr: `^login of .* failed from <ADDR>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^login of .* failed from <ADDR>: .*$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleMoved}},
		{expr: `^login of (?:(?! failed).)* failed from <HOST>: .*$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^\S+ <ADDR>$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleLiteral}},
		{expr: `^login failed from <ADDR>$`, want: []string{RuleTime}},
		{prefix: `^.* client <ADDR>: <F-CONTENT>.+</F-CONTENT>$`, expr: `^denied`, dates: []string{"{^LN-BEG}"}, want: []string{RuleMoved}},
		{expr: `^bad login "<F-ID>[^"]*</F-ID>"$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleID}},
		{expr: `^bad login <F-ID>\S+</F-ID> here$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleID}},
		{expr: `^bad login <F-ID/> here$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleID}},
		{expr: `^bad login (?P<fid>\S+) here$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleID}},
		{prefix: `^app <F-ID>\S+</F-ID>: <F-CONTENT>.+</F-CONTENT>$`, expr: `^denied$`, dates: []string{"{^LN-BEG}"}, want: []string{RuleID}},
		{prefix: `^app <ADDR>: <F-CONTENT>.+</F-CONTENT>$`, expr: `^denied to <F-ID>\S+</F-ID>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^bad login "<F-ID>[^"]*</F-ID>" from <ADDR>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^bad login from <F-ID><ADDR></F-ID>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^bad login from <F-ID>[\d.]+</F-ID>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^bad login from <F-ID>(?:[0-9a-f:]+|\d{1,3}(?:\.\d{1,3}){3})</F-ID>$`, dates: []string{"{^LN-BEG}"}},
		{expr: `^bad login of session <F-ID>\w+</F-ID>$`, dates: []string{"{^LN-BEG}"}}, // no address reads so
		{prefix: `^<F-MLFID>\S+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$`, expr: `^denied$`, dates: []string{"{^LN-BEG}"}},
	} {
		found, err := Lint(Definition{Prefregex: Expr{Text: c.prefix}, Failregex: []Expr{{Text: c.expr, File: "x.toml", Line: 3}}, DatePattern: c.dates})
		if err != nil {
			t.Fatalf("%s: %v", c.expr, err)
		}
		var got []string
		for _, f := range found {
			got = append(got, f.Rule)
			if f.Rule != RuleTime && c.prefix == "" && !strings.HasPrefix(f.String(), "x.toml:3: "+f.Rule) {
				t.Errorf("%q names no place", f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %v, want %v", c.prefix, c.expr, got, c.want)
		}
	}
	if _, err := Lint(Definition{Failregex: []Expr{{Text: `(`}}}); err == nil {
		t.Error("a broken expression has nothing said of it")
	}
}

func TestPropose(t *testing.T) {
	var examples []Example
	for _, line := range []string{
		`Jan 31 12:00:00 web app[41]: login of "bob" failed: user=bob client=192.0.2.7:5432 (code 17)`,
		`Jan 31 12:00:01 web app[4101]: login of "eve x" failed: user=eve client=198.51.100.9:5 (code 3)`,
		`2026-01-31T12:00:02Z app: no such user: mallory@example.org from <2001:db8::7> via 203.0.113.1`,
		`2026-01-31T12:00:03Z app: no such user: trudy.x from <192.0.2.9> via 203.0.113.1`,
	} {
		e, err := ParseExample(line)
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, e)
	}
	got, err := Propose(examples)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`^\s*\S+\s+app\[\d+\]:\s+login\s+of\s+"[^"]*"\s+failed:\s+user=\S+\s+client=<ADDR>:\d+\s+\(code\s+\d+\)\s*$`,
		`^\s*app:\s+no\s+such\s+user:\s+mallory@example\.org\s+from\s+<ADDR>\s+via\s+\d+\.\d+\.\d+\.\d+\s*$`,
		`^\s*app:\s+no\s+such\s+user:\s+trudy\.x\s+from\s+<ADDR>\s+via\s+\d+\.\d+\.\d+\.\d+\s*$`,
	}
	for i := range want {
		if i >= len(got) || strings.NewReplacer(`\-`, "-").Replace(got[i]) != want[i] {
			t.Errorf("%d: %q\nwant %q", i, got, want[i])
			break
		}
	}
	for _, line := range []string{"no address", "192.0.2.1 and 192.0.2.2", "<192.0.2.1> and <192.0.2.2>", ""} {
		if e, err := ParseExample(line); err == nil {
			t.Errorf("%q: %+v", line, e)
		}
	}
	if _, err := Propose(nil); err == nil {
		t.Error("a filter of no line")
	}
}

func FuzzPropose(f *testing.F) {
	f.Add("Jan 31 12:00:00 web app[41]: login of bob failed: <192.0.2.7>")
	f.Add("'\"<::1>\xff 12:12:12")
	f.Fuzz(func(_ *testing.T, line string) {
		if e, err := ParseExample(line); err == nil {
			_, _ = Propose([]Example{e, e})
		}
	})
}

// TestGreedy: what takes the beginning of an address is named.
func TestGreedy(t *testing.T) {
	for text, want := range map[string]bool{
		`^ app: failed .*<HOST>$`: true, `^ app: (?:.*)<ADDR>$`: true, `^ app: \S+<ADDR>$`: true, `^ app: [^ ]*<HOST>$`: true, `^ app: <F-USER>.+</F-USER><HOST>$`: true, `^ app: .{0,9}<HOST>$`: true,
		`^ app: .*\[?<ADDR>$`: true, `^ app: .*\(?<HOST>\)?$`: true, `^ app: .+(?:::ffff:)?<ADDR>$`: true, `^ app: .*(?: from )?<ADDR>$`: true, `^ app: .*\s*<HOST>$`: true,
		`^ app: .*(?:\[|\()?["']?<ADDR>`: true, `^ app: (?:failed .*|denied )<ADDR>`: true, `^ app: (?:\w+[ .])*<HOST>$`: true, `^ app: .*(?=\d)<ADDR>`: true, `^ app: .*\.?<IP4>`: true,
		`^ app: .*.<ADDR>$`: true, `^ app: id \d*<ADDR>`: true, `^ app: (?:user=\S*,? ?)?<ADDR>$`: true, `^ app: .*:<ADDR>$`: true, `^ app: \d<ADDR>`: true, `^ app: (?:\S*\s*)*<HOST>`: true,
		`^ app: (?:(?! from ).)*<ADDR>$`: true, `^ app: .*\b<IP6>$`: true, `^ app: .*(?:(?:ip|addr)=)?<SUBNET>$`: true, `^ app: .*(?P<ip4>\S+)$`: true, `^ app: \w?<ADDR>`: true,
		`^ app: .*(?<!\()<ADDR>`: true, `(?i)^ APP: .*"?<ADDR>`: true,

		`^ app: failed .* <HOST>$`: false, `^ app: .*?<HOST>$`: false, `^ app: \.*<HOST>$`: false, `^ app: \d*@<HOST>$`: false, `^ app: .*?\[?<ADDR>$`: false, `^ app: \s*<ADDR>$`: false,
		`^ app: .*\[<ADDR>\]$`: false, `^ app: .* from:? <ADDR>$`: false, `^ app: .*=<ADDR>$`: false, `^ app: .* \[?<HOST>\]?$`: false, `^ app: .*(?: |=)\(?<ADDR>`: false, `^ app: .*\b<IP4>$`: false,
		`^ app: .*(?<![\w.:])<ADDR>$`: false, `^ app: .*(?<=from )<ADDR>$`: false, `^ app: (?:\S+ )*<ADDR>$`: false, `^ app: "<ADDR>".*$`: false, `^ app: user .<ADDR>`: false, `<ADDR>`: false, `(`: false,
		`^ app: <F-ID>.*</F-ID>$`: false, `^ app: (?:.* from )?<ADDR>$`: false, `^ app: .{3}<ADDR>$`: false,
	} {
		if got := Greedy(text) != ""; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
