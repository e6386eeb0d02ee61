package cli

import (
	"strings"
	"testing"
)

// TestExplainAround: what stood around a line is told by its name, and a part of a line is
// said to be one.
func TestExplainAround(t *testing.T) {
	const (
		line = "2026-01-31 12:00:00 Login failed 192.0.2.7"
		rest = "the beginning of a line whose rest is missing"
	)
	for _, c := range []struct{ line, want, verdict string }{
		{line, "", "A failure of 192.0.2.7."},
		{"\x1b[31m" + line + "\x1b[0m", "colours of a terminal: taken off", "A failure of 192.0.2.7."},
		{`{"log":"` + line + `\n","stream":"stdout","time":"2026-01-31T12:00:00Z"}`, "docker, which is taken off", "A failure of 192.0.2.7."},
		{`{"log":"\u001b[31m` + line + `\u001b[0m\n","stream":"stdout","time":"2026-01-31T12:00:00Z"}`, "docker, colours of a terminal: taken off", "A failure of 192.0.2.7."},
		{"Jan 31 12:00:00 host app[7]: " + line, "syslog, which is taken off", ""},
		{"Jan 31 12:00:00 host app[7]: \x1b[31m" + line, "syslog, colours of a terminal: taken off", ""},
		{`{"log":"2026-01-31 12:00:00 Login","stream":"stdout","time":"2026-01-31T12:00:00Z"}`, "docker: " + rest, "No failure."},
		{"2026-01-31T12:00:00.000000000Z stdout P 2026-01-31 12:00:00 Login", "cri: " + rest, "No failure."},
		{"2026-01-31T12:00:00.000000000Z stdout P 2026-01-31 12:00:00 Login\n2026-01-31T12:00:00.000000000Z stdout F  failed 192.0.2.7", "cri, which is taken off", "A failure of 192.0.2.7."},
		{"2026-01-31T12:00:00.000000000Z stdout F " + line + "\n2026-01-31T12:00:00.000000000Z stdout P 2026-01-31 12:00:00 Login", "cri: " + rest, "No failure."},
	} {
		var out, errs strings.Builder
		cmd := explainCommand()
		cmd.SetOut(&out)
		cmd.SetErr(&errs)
		cmd.SetArgs([]string{c.line, `^ Login failed <ADDR>$`})
		_ = cmd.Execute() // 1: no failure
		around := ""
		for l := range strings.Lines(out.String()) {
			if text, ok := strings.CutPrefix(l, "Around    "); ok {
				around = text
			}
		}
		if c.want == "" && around != "" || !strings.HasPrefix(around, c.want) || !strings.Contains(out.String(), c.verdict) {
			t.Errorf("%q: around %q, want %q and %q\n%s%s", c.line, around, c.want, c.verdict, out.String(), errs.String())
		}
	}
}

// TestProxyHints: explain and regex say what to set where an address may be a proxy's.
func TestProxyHints(t *testing.T) {
	const (
		line = "2026-01-31 12:00:00 Login failed 198.51.100.1 (192.0.2.7)"
		expr = `^ Login failed <ADDR> \(<F-FORWARDED>.*</F-FORWARDED>\)$`
		hint = `[proxy] trusted = ["198.51.100.1"]`
	)
	for _, given := range [][]string{nil, {"--trusted", "198.51.100.1"}} {
		var out strings.Builder
		for _, cmd := range []string{"explain", "regex"} {
			c := explainCommand()
			if cmd == "regex" {
				c = regexCommand()
			}
			out.Reset()
			c.SetOut(&out)
			c.SetErr(&out)
			c.SetArgs(append([]string{line, expr}, given...))
			if err := c.Execute(); err != nil {
				t.Error(err)
			}
			if got := strings.Count(out.String(), hint); got != 1 && given == nil || got > 0 && given != nil {
				t.Errorf("%s %v: said %d times\n%s", cmd, given, got, out.String())
			}
		}
	}
}
