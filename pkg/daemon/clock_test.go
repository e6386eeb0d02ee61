package daemon

import (
	"errors"
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
	dir := t.TempDir()
	read := func(files ...string) *config.Jail {
		t.Helper()
		for i := 0; i < len(files); i += 2 {
			path := filepath.Join(dir, files[i])
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[i+1]), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := config.Load(config.Options{Path: dir})
		if err != nil || len(cfg.Jails) != 1 || cfg.Jails[0].Broken() != nil {
			t.Fatalf("%v, %d jails, %v", err, len(cfg.Jails), cfg.Problems())
		}
		return cfg.Jails[0]
	}
	const (
		jail   = "[jail.x]\nenabled = true\nlogpath = '/x.log'\nmaxretry = 3\n"
		inline = jail + "failregex = ['^x <HOST>$', '^y <HOST>$']\nignoreregex = '^z'\n"
		own    = "prefregex = '^p <F-CONTENT>.*</F-CONTENT>$'\nfailregex = '^x <HOST>$'\n"
		json   = "[json]\nhost = 'ip'\ntime = 'ts'\n[[json.match]]\nevent = 'failed'\n"
	)
	const comment = "# a comment\n\n"
	for _, c := range []struct{ main, filter string }{
		{jail + "filter = 'sshd'\n", ""}, {inline, ""}, {jail + "filter = 'own'\n", own}, {jail + "filter = 'own'\n", json},
	} {
		was := read("bailiff.toml", c.main, "filters/own.toml", c.filter)
		if !unchanged(was, read("bailiff.toml", comment+c.main, "filters/own.toml", comment+c.filter)) {
			t.Errorf("a comment makes another jail of %q, %q", c.main, c.filter)
		}
		if !slices.ContainsFunc(was.Settings, func(s config.Setting) bool { return s.Line > 0 }) {
			t.Error("the lines are lost")
		}
		if unchanged(was, read("bailiff.toml", strings.Replace(c.main, "3", "4", 1))) {
			t.Error("another maxretry makes none")
		}
		for _, change := range []string{"'^x", "'^z", "'^p", "'failed"} {
			changed := strings.Replace(c.main, change, change+"q", 1)
			filter := strings.Replace(c.filter, change, change+"q", 1)
			if changed+filter != c.main+c.filter && unchanged(was, read("bailiff.toml", changed, "filters/own.toml", filter)) {
				t.Errorf("%q is not the same as with %sq", c.main+c.filter, change)
			}
		}
	}
}
