package config

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/filter"
)

var proveLines = flag.Int("prove.lines", 2000, "lines that are made up for each sample whose filter is proved")

// TestProved: the stock filters are proved with the samples that say what a client
// chooses, and no line of those that are made up refutes the proof.
func TestProved(t *testing.T) {
	cfg, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	samples, filters := 0, map[string]bool{}
	for name, f := range cfg.Filters {
		if !f.Stock {
			continue
		}
		for _, s := range f.Samples {
			p, ok := f.Probe(s)
			if !ok {
				continue
			}
			samples++
			filters[name] = true
			def, err := f.Definition(s.Mode)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := filter.Prove(def, time.UTC, p)
			if err != nil || proof.Verdict != filter.Proved {
				t.Errorf("%s:%d: %+v, %v", s.File, s.LineNo, proof, err)
				continue
			}
			made := 0
			refuted, err := filter.Refute(def, time.UTC, p, rand.New(rand.NewPCG(seed, uint64(s.LineNo))), *proveLines, &made)
			if err != nil || refuted != "" {
				t.Errorf("%s:%d: it is proved, and refuted by %q, %v", s.File, s.LineNo, refuted, err)
			}
			if made < *proveLines/10 && len(p.Client) > 0 {
				t.Errorf("%s:%d: only %d lines could be made up", s.File, s.LineNo, made)
			}
		}
	}
	without := []string{}
	for name, f := range cfg.Filters {
		if f.Stock && !filters[name] {
			without = append(without, name)
		}
	}
	slices.Sort(without)
	t.Logf("%d samples of %d filters; none of: %s", samples, len(filters), strings.Join(without, " "))
}
