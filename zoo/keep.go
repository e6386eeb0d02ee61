package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/zoo/animals"
)

// mark stands in a filter's file before the samples that are written here.
const mark = "# What real services wrote, as make zoo KEEP=1 heard it, with its dates moved to one day. It\n# is written anew from here on."

// heardSample is a line, or several of one connection, as a sample of a filter.
type heardSample struct{ from, mode, line, host string }

// key says which samples take the place of which.
func (s heardSample) key() string {
	program, _, _ := strings.Cut(s.from, " ")
	_, suite, _ := strings.Cut(s.from, "(")
	return program + " " + suite + " " + s.mode
}

func (s heardSample) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n[[sample]]\nfrom = %q\n", s.from)
	if s.mode != "" {
		fmt.Fprintf(&b, "mode = %q\n", s.mode)
	}
	fmt.Fprintf(&b, "line = %s\n", quoted(s.line))
	if s.host == "" {
		b.WriteString("match = false\n")
	} else {
		fmt.Fprintf(&b, "host = %q\n", s.host)
	}
	return b.String()
}

// quoted is a text as a string of TOML.
func quoted(s string) string {
	plain := !strings.Contains(s, "'''") && !strings.HasSuffix(s, "'") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f })
	switch {
	case plain && !strings.Contains(s, "'") && !strings.Contains(s, "\n"):
		return "'" + s + "'"
	case plain:
		return "'''" + s + "'''"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// keepSamples writes what green plays heard, of this run and of earlier ones, into the
// filters' files: a line of each kind that counts, and one of the customer's that does not.
func keepSamples(heardIn string) error {
	byFilter := map[string][]heardSample{}
	for _, a := range animals.All() {
		for _, suite := range a.Suites {
			for _, w := range ways(a) {
				r := &result{animal: a, way: w, suite: suite}
				path := filepath.Join(heardIn, suite, r.name())
				version, err := os.ReadFile(path + ".green")
				if w.journal || errors.Is(err, fs.ErrNotExist) {
					continue // what is in the journal is what rsyslog would write
				}
				if err != nil {
					return err
				}
				r.version = string(version)
				heard, err := samplesOf(r, path+".log")
				if err != nil {
					return fmt.Errorf("%s: %w", r.name(), err)
				}
				byFilter[a.Filter] = append(byFilter[a.Filter], heard...)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byFilter)) {
		if err := writeSamples(filepath.Join("filters", name+".toml"), byFilter[name]); err != nil {
			return err
		}
	}
	return nil
}

// mostTogether is how many lines before a line are looked at for what it is to make sense
// with.
const mostTogether = 12

func samplesOf(r *result, log string) (out []heardSample, err error) {
	a := r.animal
	f, err := config.ReadFilter(filepath.Join("filters", a.Filter+".toml"))
	if err != nil {
		return nil, err
	}
	def, err := f.Definition(a.Mode)
	if err != nil {
		return nil, err
	}
	def.Attempts = false // each kind of line, also of an attempt that was told of before
	c, err := filter.Compile(def, time.UTC)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	heard, err := os.Stat(log)
	if err != nil {
		return nil, err
	}
	text = []byte(moved(string(text), heard.ModTime()))
	where := animals.Debian[r.suite]
	if r.way.net == &animals.IPv6 {
		where += ", IPv6"
	}
	from := fmt.Sprintf("%s (%s)", r.version, where)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	kinds := map[int]bool{}
	customer := ""
	for i, line := range lines {
		if !utf8.ValidString(line) {
			continue
		}
		found := c.Match([]byte(line), time.Now()).Failures
		switch {
		case len(found) == 0:
			if strings.Contains(line, r.way.net.Customer) {
				customer = line
			}
			continue
		case kinds[found[0].Regex]:
			continue
		}
		kinds[found[0].Regex] = true
		for n := 1; n <= min(mostTogether, i+1); n++ {
			s := heardSample{from: from, mode: a.Mode, host: found[0].ID, line: strings.Join(lines[i-n+1:i+1], "\n")}
			if f.Check(config.Sample{Line: s.line, Mode: s.mode, Host: s.host, Match: true}) == "" {
				out = append(out, s)
				break
			}
		}
	}
	if customer != "" {
		out = append(out, heardSample{from: from, mode: a.Mode, line: customer})
	}
	return out, nil
}

// writeSamples puts samples behind the mark, in place of older ones of the same service,
// suite and mode.
func writeSamples(path string, heard []heardSample) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	own, kept, _ := strings.Cut(string(text), mark)
	var all []heardSample
	seen := map[string]bool{}
	for _, s := range heard {
		seen[s.key()] = true
	}
	if kept != "" {
		old := config.ParseFilter("old", path, []byte("failregex = '<HOST>'\n"+kept))
		for _, s := range old.Samples {
			h := heardSample{s.From, s.Mode, s.Line, s.Host}
			if !seen[h.key()] {
				all = append(all, h)
			}
		}
	}
	all = append(all, heard...)
	slices.SortStableFunc(all, func(a, b heardSample) int { return cmp.Compare(a.key(), b.key()) })
	var b strings.Builder
	b.WriteString(strings.TrimRight(own, "\n") + "\n\n" + mark + "\n")
	for _, s := range all {
		b.WriteString(s.text())
	}
	check := config.ParseFilter("new", path, []byte(b.String()))
	for _, s := range check.Samples {
		if problem := check.Check(s); problem != "" {
			return fmt.Errorf("%s:%d: %s: %s", path, s.LineNo, problem, s.Line)
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
