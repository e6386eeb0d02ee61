package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/filter"
)

// Check runs a sample of the filter and says what is wrong with it, "" if nothing
// is. Dates without a zone are read as UTC.
func (f *Filter) Check(s Sample) string {
	def, err := f.definition(s.Mode)
	if err != nil {
		return err.Error()
	}
	def.Proxies = s.Trusted
	compiled, err := filter.Compile(def, time.UTC)
	if err != nil {
		return err.Error()
	}
	r := apply(compiled, &def, strings.Split(s.Line, "\n"), time.Now())
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case !s.Match && len(r.Failures) > 0:
		return fmt.Sprintf("matches with host %s, and should not", r.Failures[0].ID)
	case !s.Match:
		return ""
	case len(r.Failures) == 0:
		return "does not match, and should"
	case s.Host == "":
		return "the sample names no host"
	case r.Failures[0].ID != s.Host:
		return fmt.Sprintf("host %s, want %s", r.Failures[0].ID, s.Host)
	case !r.Dated:
		return "no time was found in the line"
	case !s.Time.IsZero() && !r.Time.Equal(s.Time):
		return fmt.Sprintf("time %s, want %s", r.Time.Format(time.RFC3339Nano), s.Time.Format(time.RFC3339Nano))
	}
	return ""
}

// Probe is a sample as the prover asks for it. Not ok: it does not say what a client
// chooses of the line.
func (f *Filter) Probe(s Sample) (p filter.Probe, ok bool) {
	if s.Client == nil {
		return p, false
	}
	if !s.Match {
		s.Host = ""
	}
	p = filter.Probe{Line: s.Line, Host: s.Host, Now: time.Now()}
	for _, name := range slices.Sorted(maps.Keys(s.Client)) {
		p.Client = append(p.Client, filter.Chosen{Name: name, Text: s.Client[name], Chars: f.Client[name]})
	}
	return p, true
}

// UnusedParts says of which parts [client] tells the characters that no sample names, each
// with its place: a proof that was thought to heed them does not.
func (f *Filter) UnusedParts() (out []string) {
	named := map[string]bool{}
	for _, s := range f.Samples {
		for name := range s.Client {
			named[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Client)) {
		if named[name] {
			continue
		}
		text := fmt.Sprintf("%s:%d: client.%s: no sample names it", f.Source, f.doc.line("client", name), name)
		var without []string // parts of which nothing is told
		for _, n := range slices.Sorted(maps.Keys(named)) {
			if f.Client[n] == nil {
				without = append(without, n)
			}
		}
		if len(without) > 0 {
			text += "; they name " + strings.Join(without, ", ") + ", of which any character is taken to be possible"
		}
		out = append(out, text)
	}
	return out
}

// Text is the filter's file.
func (f *Filter) Text() string { return f.doc.text }

// Definition returns the filter in one of its modes; an empty mode is the first.
func (f *Filter) Definition(mode string) (filter.Definition, error) {
	if len(f.Errors) > 0 {
		return filter.Definition{}, errors.Join(f.Errors...)
	}
	return f.definition(mode)
}

// ReadFilter reads a filter from a TOML file anywhere.
func ReadFilter(path string) (*Filter, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseFilter(strings.TrimSuffix(filepath.Base(path), ".toml"), path, data), nil
}

// ParseFilter reads a filter; what is wrong with it is in its Errors.
func ParseFilter(name, file string, data []byte) *Filter {
	l := &loader{cfg: &Config{Filters: map[string]*Filter{}}}
	l.filter(name, file, data, nil)
	return l.cfg.Filters[name]
}
