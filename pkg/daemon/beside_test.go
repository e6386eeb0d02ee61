package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/hosttest"
)

// TestBesideConfiguration: a daemon that writes into a directory which holds its configuration is
// told of, whatever it writes there and by whichever way, and no other one is.
func TestBesideConfiguration(t *testing.T) {
	dir := t.TempDir()
	conf, state := filepath.Join(dir, "etc", "conf"), filepath.Join(dir, "state")
	link, linked := filepath.Join(dir, "link"), filepath.Join(dir, "linked")
	if err := errors.Join(os.MkdirAll(filepath.Join(conf, "jails"), 0o755), os.MkdirAll(state, 0o755), os.MkdirAll(linked, 0o755), os.Symlink(conf, link),
		os.WriteFile(filepath.Join(linked, "j.toml"), nil, 0o644), os.Symlink(filepath.Join(linked, "j.toml"), filepath.Join(conf, "jails", "j.toml"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"[database]\npath = '" + state + "/b.sqlite3'\n", ""},
		{"[database]\npath = 'none'\n", ""},
		{"[database]\npath = '" + conf + "/b.sqlite3'\n", "[database] path"},
		{"[database]\npath = '" + link + "/b.sqlite3'\n", "[database] path"},
		{"[database]\npath = '" + conf + "/jails/b.sqlite3'\n", "[database] path"},   // what is there is a link, and another could be put in its place
		{"[database]\npath = '" + conf + "/filters/b.sqlite3'\n", "[database] path"}, // none are there yet
		{"[database]\npath = '" + linked + "/b.sqlite3'\n", "[database] path"},
		{"[database]\npath = '" + dir + "/etc/b.sqlite3'\n", "[database] path"},
		{"[database]\npath = '" + conf + "/no/b.sqlite3'\n", ""}, // a directory of its own, which is made
		{"socket = '" + conf + "/sock'\n", "socket"},
		{"logtarget = '" + conf + "/log'\n", "logtarget"},
		{"[read]\nsocket = '" + conf + "/sock'\ngroup = 'nogroup'\n", "[read] socket"},
		{"[check]\nlisten = '" + conf + "/sock'\n", "[check] listen"},
		{"[export.proxy]\nfile = '" + conf + "/banned'\nformat = 'plain'\n", "export proxy: file"},
		{"[security]\nconfine = false\n[database]\npath = '" + conf + "/b.sqlite3'\n", ""},
		{"[security]\nfixed_actions = false\n[database]\npath = '" + conf + "/b.sqlite3'\n", ""},
	} {
		hosttest.Write(t, filepath.Join(conf, "bailiff.toml"), c.text)
		cfg, err := config.Load(config.Options{Path: conf})
		if err != nil || len(cfg.Problems()) > 0 {
			t.Fatalf("%s: %v, %v", c.text, err, cfg.Problems())
		}
		known := len(cfg.Warnings)
		Trust(cfg, Options{Config: config.Options{Path: conf}})
		var said []string
		for _, w := range cfg.Warnings[known:] {
			said = append(said, w.Error())
		}
		switch {
		case c.want == "" && len(said) > 0, c.want != "" && (len(said) != 1 || !strings.HasPrefix(said[0], c.want+" = ") || !strings.Contains(said[0], "the daemon may write whatever is in")):
			t.Errorf("%s: %q, want %q", c.text, said, c.want)
		}
	}
}
