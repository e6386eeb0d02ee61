package config

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"bailiff/pkg/filter"
)

// TestReportedLines runs lines from public reports through the stock filters: the address
// that each has to give, or none.
func TestReportedLines(t *testing.T) {
	cfg, err := Load(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("testdata/lines.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for in := bufio.NewScanner(file); in.Scan(); n++ {
		var c struct {
			Filter, Mode, Line string
			Host               *string
			Then               string
			ThenHost           *string `json:"then_host"`
			Why                string
		}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		def, err := cfg.FilterDefinition(c.Filter, c.Mode)
		if err != nil {
			t.Error(err)
			continue
		}
		f, err := filter.Compile(def, time.UTC)
		if err != nil {
			t.Error(err)
			continue
		}
		look := func(line string, want *string) {
			got := ""
			if r := apply(f, &def, []string{line}, time.Now()); len(r.Failures) > 0 {
				got = r.Failures[0].ID
			}
			if want == nil && got != "" || want != nil && got != *want {
				text := "none"
				if want != nil {
					text = *want
				}
				t.Errorf("%s, mode %q: %q, want %s (%s): %s", c.Filter, c.Mode, got, text, c.Why, fmt.Sprintf("%.300s", line))
			}
		}
		look(c.Line, c.Host)
		if c.Then != "" {
			look(c.Then, c.ThenHost)
		}
	}
	if n < 25 {
		t.Errorf("%d lines, want 25", n)
	}
}
