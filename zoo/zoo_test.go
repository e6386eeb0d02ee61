package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/config"
	"bailiff/zoo/animals"
)

// TestAnimals: each has a name of its own, a stock filter and a stock jail, ways to fail and
// a way to get in; there are enough of them, and a dozen that are quick.
func TestAnimals(t *testing.T) {
	names, filters, quick := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, a := range animals.All() {
		if names[a.Name] {
			t.Errorf("%s: twice", a.Name)
		}
		names[a.Name] = true
		f, err := config.ReadFilter(filepath.Join("..", "filters", a.Filter+".toml"))
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		if _, err := f.Definition(a.Mode); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
		if _, err := os.Stat(filepath.Join("..", "jails", a.Filter+".toml")); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
		if a.Blind == "" {
			filters[a.Filter] = true
			if a.Attempts() == 0 {
				t.Errorf("%s: nobody fails", a.Name)
			}
		}
		if a.Quick {
			quick[a.Filter] = true
		}
		if a.Success == "" || a.Start == "" || a.Log == "" || a.Port == 0 || len(a.Packages) == 0 {
			t.Errorf("%s: want success, start, log, port and packages", a.Name)
		}
	}
	if len(filters) < 45 || len(quick) < 12 {
		t.Errorf("%d filters, want 45; %d of them quick, want 12", len(filters), len(quick))
	}
}

// TestQuoted: a sample's text is the same after it was written and read.
func TestQuoted(t *testing.T) {
	for _, want := range []string{
		"a", "it's", "'", "''' x", "x'", `"\`, "two\nlines", "tab\tand \x16\x03\x01", "é\u2028 \x7f", `'\'`, "",
	} {
		var got struct{ Line string }
		if err := toml.Unmarshal([]byte("line = "+quoted(want)), &got); err != nil || got.Line != want {
			t.Errorf("%q: %q: %v", want, got.Line, err)
		}
	}
}

// TestMoved: dates of the day are moved, in every form that services write; other numbers
// stay.
func TestMoved(t *testing.T) {
	day := time.Date(2027, 3, 4, 15, 0, 0, 0, time.UTC)
	for _, c := range [][2]string{
		{"2027-03-04T10:00:00.1+00:00 host x", "2026-01-31T10:00:00.1+00:00 host x"},
		{"Mar  4 10:00:00 host x", "Jan 31 10:00:00 host x"},
		{"[Thu Mar  4 10:00:00.1 2027] [x]", "[Sat Jan 31 10:00:00.1 2026] [x]"},
		{"[Thu Mar 04 10:00:00 2027] [x]", "[Thu Jan 31 10:00:00 2026] [x]"},
		{`x - - [04/Mar/2027:10:00:00 +0000] "GET"`, `x - - [31/Jan/2026:10:00:00 +0000] "GET"`},
		{"1804154400: x", "1769853600: x"},
		{"4000000000 2027-03-02 192.0.2.7", "4000000000 2027-03-02 192.0.2.7"},
		{"2027/03/03 23:59:59 x", "2026/01/31 23:59:59 x"},
	} {
		if got := moved(c[0], day); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

// TestWriteSamples: what was heard takes the place of what the same service said before,
// and of nothing else; what is written by hand stays.
func TestWriteSamples(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.toml")
	own := "description = \"x\"\ndatepattern = '{^LN-BEG}'\nfailregex = '^ failed from <ADDR>$'\n\n[[sample]]\nline = '2026-01-31 12:00:00 failed from 192.0.2.7'\nhost = \"192.0.2.7\"\n"
	if err := os.WriteFile(path, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	sample := func(version, suite, second string) heardSample {
		return heardSample{from: "srv " + version + " (" + suite + ")", line: "2026-01-31 12:00:" + second + " failed from 192.0.2.7", host: "192.0.2.7"}
	}
	for _, step := range []struct {
		heard []heardSample
		want  []string // versions, in order
	}{
		{[]heardSample{sample("2", "Debian 13", "02"), sample("1", "Debian 12", "01")}, []string{"srv 1 (Debian 12)", "srv 2 (Debian 13)"}},
		{[]heardSample{sample("3", "Debian 13", "03")}, []string{"srv 1 (Debian 12)", "srv 3 (Debian 13)"}},
		{[]heardSample{sample("1.1", "Debian 12", "01")}, []string{"srv 1.1 (Debian 12)", "srv 3 (Debian 13)"}},
	} {
		if err := writeSamples(path, step.heard); err != nil {
			t.Fatal(err)
		}
		f, err := config.ReadFilter(path)
		if err != nil || len(f.Errors) > 0 {
			t.Fatal(err, f.Errors)
		}
		var got []string
		for _, s := range f.Samples[1:] {
			got = append(got, s.From)
		}
		if strings.Join(got, "; ") != strings.Join(step.want, "; ") {
			t.Errorf("%q, want %q", got, step.want)
		}
		text, _ := os.ReadFile(path)
		if !strings.HasPrefix(string(text), own) {
			t.Errorf("what was written by hand has changed:\n%s", text)
		}
	}
	bad := sample("4", "Debian 13", "04")
	bad.host = "192.0.2.8"
	if err := writeSamples(path, []heardSample{bad}); err == nil {
		t.Error("a sample that fails is written")
	}
}
