package config

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReportedLines runs lines from public reports, and such as newer versions of services
// write, through the stock filters: the address that each has to give, or none; as they are,
// and behind what may stand around them.
func TestReportedLines(t *testing.T) {
	cfg, err := Load(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		file  string
		least int
	}{{"testdata/lines.jsonl", 25}, {"testdata/reported.jsonl", 400}} {
		file, err := os.Open(x.file)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		n := 0
		in := bufio.NewScanner(file)
		for in.Buffer(nil, 1<<20); in.Scan(); n++ {
			var c reported
			if err := json.Unmarshal(in.Bytes(), &c); err != nil {
				t.Fatalf("%s: %v: %s", x.file, err, in.Text())
			}
			c.look(t, cfg)
		}
		if n < x.least {
			t.Errorf("%s: %d lines, want %d", x.file, n, x.least)
		}
	}
}

// reported is a line with what is right.
type reported struct {
	Filter, Mode, Line string
	Host               *string
	Then               string
	ThenHost           *string `json:"then_host"`
	Why                string
}

func (c *reported) look(t *testing.T, cfg *Config) {
	t.Helper()
	def, err := cfg.FilterDefinition(c.Filter, c.Mode)
	if err != nil {
		t.Error(err)
		return
	}
	for _, around := range []string{"", "docker", "cri", "RFC 5424"} {
		wrap := func(line string, _ int) string { return line }
		if around != "" && (strings.HasPrefix(c.Line, `{"log":`) || strings.HasPrefix(c.Line, "<")) {
			continue // something stands around it
		}
		for _, w := range wrappers {
			if w.name == around {
				wrap = w.wrap
			}
		}
		f := compileFilter(t, def)
		look := func(line string, want *string) {
			got := ""
			if r := apply(f, &def, []string{wrap(line, headOf(line))}, time.Now()); len(r.Failures) > 0 {
				got = r.Failures[0].ID
			}
			if want == nil && got != "" || want != nil && got != *want {
				text := "none"
				if want != nil {
					text = *want
				}
				t.Errorf("%s, mode %q, behind %q: %q, want %s (%s): %.300s", c.Filter, c.Mode, around, got, text, c.Why, line)
			}
		}
		look(c.Line, c.Host)
		if c.Then != "" {
			look(c.Then, c.ThenHost)
		}
	}
}
