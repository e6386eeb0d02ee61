package config

import (
	"flag"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/filter"
)

var (
	proveLines   = flag.Int("prove.lines", 2000, "lines that are made up for each filter, of the samples with which it is proved")
	proveFilters = flag.String("prove.filters", "", "prove only filters whose name matches this `expression`")
)

var proveMade atomic.Int64

// TestProved: the stock filters are proved with the samples that say what a client
// chooses, or are exactly as their files say; no line of those that are made up refutes
// the proof; and each expression, in each mode, has such a sample.
func TestProved(t *testing.T) {
	cfg, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	only := regexp.MustCompile(*proveFilters)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	samples, filters := 0, 0
	for _, name := range sortedKeys(cfg.Filters) {
		f := cfg.Filters[name]
		// The race detector makes a proof ten times as dear, and few of them show what meets.
		if !f.Stock || !only.MatchString(name) || raced && !strings.HasPrefix(name, "s") {
			continue
		}
		filters++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			other := false
			lines := *proveLines / max(1, proved(f))
			for _, s := range f.Samples {
				if p, ok := f.Probe(s); ok {
					proveSample(t, f, s, p, r, lines)
					other = other || !s.Match
				}
			}
			if !other {
				t.Error("no sample of a line that is no failure says what a client chooses of it")
			}
			for _, text := range unprovedExpressions(t, f) {
				t.Errorf("no sample that says what a client chooses is taken by %s", text)
			}
		})
		samples += len(f.Samples)
	}
	t.Logf("%d filters, %d samples", filters, samples)
	t.Cleanup(func() { t.Logf("%d lines made up", proveMade.Load()) })
}

// proved is how many samples of a filter are to be proved with a part that a client chooses.
func proved(f *Filter) (n int) {
	for _, s := range f.Samples {
		if len(s.Client) > 0 && s.Unproved == "" {
			n++
		}
	}
	return n
}

func proveSample(t *testing.T, f *Filter, s Sample, p filter.Probe, r *rand.Rand, lines int) {
	t.Helper()
	def, err := f.Definition(s.Mode)
	if err != nil {
		t.Fatal(err)
	}
	def.Proxies = s.Trusted
	want := filter.Proved
	if s.Unproved != "" {
		want = s.Unproved
	}
	proof, err := filter.Prove(def, time.UTC, p)
	if err != nil || proof.Verdict != want {
		t.Errorf("%s:%d: want %s:\n%s\n%s %v\nforged  %s: %s\nevading %s\n%s", s.File, s.LineNo, want, s.Line, proof.Verdict, err, proof.ForgedID, proof.Forged, proof.Evading, proof.Reason)
		return
	}
	if want != filter.Proved {
		return
	}
	if strings.Contains(strings.TrimPrefix(s.Line, "\n"), "\n") {
		lines = min(lines, 2000) // each with a new filter, that knows nothing of the connection
	}
	made := 0
	refuted, err := filter.Refute(def, time.UTC, p, r, lines, &made)
	if err != nil || refuted != "" {
		t.Errorf("%s:%d: it is proved, and refuted by %q, %v", s.File, s.LineNo, refuted, err)
	}
	if made < lines/10 && len(p.Client) > 0 {
		t.Errorf("%s:%d: only %d lines could be made up", s.File, s.LineNo, made)
	}
	proveMade.Add(int64(made))
}

// unprovedExpressions returns the expressions of a filter, and kinds of JSON, that take
// none of the samples that say what a client chooses.
func unprovedExpressions(t *testing.T, f *Filter) (out []string) {
	t.Helper()
	taken := map[string]bool{}
	var all []string
	for _, mode := range append([]string{""}, f.Modes...) {
		def, err := f.Definition(mode)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range def.Failregex {
			if !slices.Contains(all, e.Text) {
				all = append(all, e.Text)
			}
		}
		for _, s := range f.Samples {
			if s.Client == nil || s.Mode != mode && (s.Mode != "" || mode != "normal") {
				continue
			}
			c, err := filter.Compile(def, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			c.CheckAll = true
			for _, line := range strings.Split(s.Line, "\n") {
				for _, x := range c.Match([]byte(line), time.Now()).Failures {
					if len(def.Failregex) > 0 {
						taken[def.Failregex[x.Regex].Text] = true
					}
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(text string) bool { return taken[text] })
}
