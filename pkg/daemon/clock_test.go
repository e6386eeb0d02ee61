package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestUnchangedLines: a jail whose lines in the file moved is the same, one with another setting
// is not.
func TestUnchangedLines(t *testing.T) {
	read := func(text string) *config.Jail {
		path := filepath.Join(t.TempDir(), "bailiff.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Options{Path: path})
		if err != nil || len(cfg.Jails) != 1 {
			t.Fatalf("%v, %d jails", err, len(cfg.Jails))
		}
		for i := range cfg.Jails[0].Settings {
			cfg.Jails[0].Settings[i].File = "bailiff.toml"
		}
		cfg.Jails[0].Sources = nil
		return cfg.Jails[0]
	}
	const text = "[jail.x]\nenabled = true\nfilter = 'sshd'\nlogpath = '/x.log'\nmaxretry = 3\n"
	was := read(text)
	if !unchanged(was, read("# a comment\n\n"+text)) {
		t.Error("a comment makes another jail of it")
	}
	if !slices.ContainsFunc(was.Settings, func(s config.Setting) bool { return s.Line > 0 }) {
		t.Error("the lines are lost")
	}
	if unchanged(was, read(strings.Replace(text, "3", "4", 1))) {
		t.Error("another maxretry makes none")
	}
}
