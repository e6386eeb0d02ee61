package main

import (
	"os"
	"path/filepath"
	"slices"
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
	ipv6, journal := 0, 0
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
		for _, suite := range a.Suites {
			if a.Blind[suite] == "" {
				filters[a.Filter] = true
				if a.Attempts(suite) == 0 {
					t.Errorf("%s: nobody fails", a.Name)
				}
			}
		}
		for _, suite := range []string{animals.Bookworm, animals.Trixie} {
			if slices.Contains(a.Suites, suite) == (a.Lacks[suite] != "") {
				t.Errorf("%s: want %s to be among its suites, or the reason why it is not", a.Name, suite)
			}
		}
		if a.Quick {
			quick[a.Filter] = true
		}
		if a.OverIPv6 {
			ipv6++
		}
		if a.InJournal != "" {
			journal++
			if a.Root != "" {
				t.Errorf("%s: the journal is for animals of the common root, which has systemd", a.Name)
			}
		}
		if a.Success == "" || a.Start == "" || a.Log == "" || a.Port == 0 || len(a.Packages) == 0 {
			t.Errorf("%s: want success, start, log, port and packages", a.Name)
		}
	}
	if ipv6 < 3 || journal < 3 {
		t.Errorf("%d are played over IPv6, %d in the journal, want three at least", ipv6, journal)
	}
	if len(filters) < 45 || len(quick) < 12 {
		t.Errorf("%d filters, want 45; %d of them quick, want 12", len(filters), len(quick))
	}
}

// TestChoose: an animal is played in all its ways, or in the one that is named.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"sshd"}, "sshd sshd.ipv6 sshd.journal"},
		{[]string{"sshd.ipv6", "squid"}, "squid sshd.ipv6"},
		{[]string{"sshd.x"}, `no animal is called "sshd.x": -list shows them`},
		{[]string{"squid.journal"}, `no animal is called "squid.journal": -list shows them`},
	} {
		chosen, err := choose([]string{animals.Trixie}, c.names)
		var got []string
		for _, r := range chosen {
			got = append(got, r.name())
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, want %q", c.names, got, c.want)
		}
	}
}

// TestPage: a play on both Debians is one row, and one that can't be counted says why.
func TestPage(t *testing.T) {
	sshd := &animals.Animal{Name: "sshd", Filter: "sshd", Ways: []animals.Way{{Times: 3}}}
	blind := &animals.Animal{Name: "mute", Filter: "mute", Blind: map[string]string{animals.Trixie: "it says nothing"}}
	w := way{"ipv6", &animals.IPv6, false, ""}
	got := page([]*result{
		{animal: sshd, way: w, suite: animals.Bookworm, version: "openssh 9.2", found: map[string]int{animals.IPv6.Attacker: 3}, theirs: []string{"1.0.2: 4"}},
		{animal: sshd, way: w, suite: animals.Trixie, version: "openssh 10.0", found: map[string]int{animals.IPv6.Attacker: 3}, theirs: []string{"1.0.2: 0"}},
		{animal: blind, way: way{net: &animals.IPv4}, suite: animals.Trixie, version: "mute 1"},
	}, 90*time.Second)
	for _, want := range []string{
		"3 plays, 1 filters,\n1m30s with",
		"\n| sshd.ipv6 | sshd | 9.2: 3 of 3 | 10.0: 3 of 3 |  | 1.0.2: 4 | 1.0.2: 0 |\n",
		"\n| mute | mute |  | 1: not counted, see below |  |  |  |\n",
		"\n- **redis** on Debian 12 can't be counted: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
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
