package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCheckTable: what [check] may say, and what is said of what it may not.
func TestCheckTable(t *testing.T) {
	t.Parallel()
	const jail = "[jail.app]\nenabled = true\nfailregex = '^x <ADDR>$'\nlogpath = \"/var/log/app.log\"\n"
	for _, c := range []struct {
		text   string
		listen []string
		closed bool
		says   string // an error or a warning; empty: none
	}{
		{"[check]\nlisten = \"unix:/run/b//check.sock\"\n", []string{"/run/b/check.sock"}, false, ""},
		{"[check]\nlisten = [\"/run/b/check.sock\", \"127.0.0.1:8787\", \"[::1]:8787\", \"/run/b/check.sock\"]\njails = \"app\"\nfail = \"closed\"\n", []string{"/run/b/check.sock", "127.0.0.1:8787", "[::1]:8787"}, true, ""},
		{"[check]\nlisten = \"check.sock\"\n", nil, false, "2: listen \"check.sock\": want a path from the root"},
		{"[check]\nlisten = \"localhost:8787\"\n", nil, false, "want a path from the root (unix:/run/bailiff/check.sock), or ADDRESS:PORT"},
		{"[check]\nlisten = \"127.0.0.1\"\n", nil, false, "or ADDRESS:PORT"},
		{"[check]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:1\"]\n", []string{"127.0.0.1:1"}, false, "\"127.0.0.1:0\""},
		{"[check]\nlisten = \"0.0.0.0:8787\"\n", []string{"0.0.0.0:8787"}, false, "whoever reaches this host"},
		{"[check]\nlisten = \"127.0.0.1:1\"\nfail = \"shut\"\n", []string{"127.0.0.1:1"}, false, "fail \"shut\": want open or closed"},
		{"[check]\ngroup = \"www-data\"\n", nil, false, "no effect without listen"},
		{"[check]\nlisten = \"127.0.0.1:1\"\njails = [\"app\", \"ap\"]\n", []string{"127.0.0.1:1"}, false, "3: [check]: jails names \"ap\", which is no jail that is enabled"},
		{"[check]\nlisten = \"127.0.0.1:1\"\njails = [\"all\", \"app\"]\n", []string{"127.0.0.1:1"}, false, ""},
		{"[check]\nlisten = \"127.0.0.1:1\"\njails = [\"docker-web\"]\n", []string{"127.0.0.1:1"}, false, "\"docker-web\", which is no jail that is enabled"},
		{"[docker]\nlabels = true\n[check]\nlisten = \"127.0.0.1:1\"\njails = [\"docker-web\", \"docker-*\"]\n", []string{"127.0.0.1:1"}, false, ""},
		{"[docker]\nlabels = true\n[check]\nlisten = \"127.0.0.1:1\"\njails = [\"docke\"]\n", []string{"127.0.0.1:1"}, false, "\"docke\", which is no jail"},
		{"[docker]\nlabels = true\n[report.x]\nkind = \"xarf\"\nfrom = \"a@example.org\"\nto = \"b@example.org\"\norg = \"x\"\njails = [\"docker-web\", \"docker-*\"]\n", nil, false, "report x: jails names \"docker-*\", which is no jail"},
		{"[export.x]\nfile = \"/run/x\"\nformat = \"plain\"\njails = \"ap\"\n", nil, false, "export x: jails names \"ap\""},
		{"[export.x]\nfile = \"/run/x\"\nformat = \"plain\"\nsocket = \"/run/sock\"\n", nil, false, "socket is for format = \"haproxy\""},
		{"[export.x]\nfile = \"/run/x\"\nformat = \"haproxy\"\nsocket = \"sock\"\n", nil, false, "socket \"sock\": want a path from the root"},
		{"[export.x]\nfile = \"/run/x y\"\nformat = \"haproxy\"\nsocket = \"127.0.0.1:9\"\n", nil, false, "takes no name with blanks"},
		{"[export.x]\nfile = \"/run/x\"\nformat = \"haproxy\"\nsocket = \"127.0.0.1:9\"\n", nil, false, ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(c.text+jail), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, err := range append(slices.Clone(cfg.Errors), cfg.Warnings...) {
			said = append(said, err.Error())
		}
		if !slices.Equal(cfg.Check.Listen, c.listen) || cfg.Check.Closed != c.closed {
			t.Errorf("%s: %+v", c.text, cfg.Check)
		}
		if text := strings.Join(said, "; "); c.says == "" && text != "" || !strings.Contains(text, c.says) {
			t.Errorf("%s: says %q, want %q", c.text, text, c.says)
		}
	}
}
