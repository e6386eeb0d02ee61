package config

import (
	"testing"

	"bailiff/pkg/filter"
)

// TestStockLint: lint has nothing to say of the stock filters, in any mode.
func TestStockLint(t *testing.T) {
	sequential(t)
	cfg, err := Load(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(cfg.Filters) {
		f := cfg.Filters[name]
		for _, text := range f.UnusedParts() {
			t.Errorf("%s: %s", name, text)
		}
		for _, mode := range append([]string{""}, f.Modes...) {
			def, err := f.Definition(mode)
			if err != nil {
				t.Fatal(err)
			}
			found, err := filter.Lint(def)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, one := range found {
				t.Errorf("%s, mode %q: %s", name, mode, one)
			}
		}
	}
}
