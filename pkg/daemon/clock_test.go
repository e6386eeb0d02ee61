package daemon

import (
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestUnchanged: a reload in another year, or after the clock was set, restarts no jail.
func TestUnchanged(t *testing.T) {
	jail := func(year, retries int) *config.Jail {
		return &config.Jail{Name: "web", MaxRetry: retries, Filter: filter.Definition{Name: "web", Year: year}}
	}
	if !unchanged(jail(2026, 5), jail(2027, 5)) {
		t.Error("another year is another configuration")
	}
	if unchanged(jail(2026, 5), jail(2026, 6)) {
		t.Error("another maxretry is none")
	}
}
