package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWebTable: what [web] may say, and what is said of what it may not.
func TestWebTable(t *testing.T) {
	t.Parallel()
	const jail = "[jail.app]\nenabled = true\nfailregex = '^x <ADDR>$'\nlogpath = \"/var/log/app.log\"\n"
	for _, c := range []struct {
		text   string
		listen []string
		says   string // an error or a warning; empty: none
	}{
		{"[web]\nlisten = \"127.0.0.1:8990\"\n", []string{"127.0.0.1:8990"}, ""},
		{"[web]\nlisten = [\"unix:/run/b//web.sock\", \"[::1]:8990\"]\ngroup = \"www-data\"\n", []string{"/run/b/web.sock", "[::1]:8990"}, ""},
		{"[web]\nlisten = \"localhost:8990\"\n", nil, "2: listen \"localhost:8990\": want ADDRESS:PORT"},
		{"[web]\nlisten = \"127.0.0.1:0\"\n", nil, "want ADDRESS:PORT"},
		{"[web]\nlisten = \"0.0.0.0:8990\"\n", []string{"0.0.0.0:8990"}, "passwords and sessions go over the network as they are"},
		{"[web]\nlisten = \"0.0.0.0:8990\"\ncert = \"/x.pem\"\nkey = \"/x.key\"\n", []string{"0.0.0.0:8990"}, ""},
		{"[web]\nlisten = \"127.0.0.1:1\"\ncert = \"/x.pem\"\n", []string{"127.0.0.1:1"}, "3: cert and key: want both"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nusers = \"users\"\n", []string{"127.0.0.1:1"}, "want a path from the root"},
		{"[web]\nusers = \"/x\"\n", nil, "no effect without listen"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nhosts = [\"a:80\"]\n", []string{"127.0.0.1:1"}, "hosts: \"a:80\": want a name"},
		{"[web]\nlisten = \"127.0.0.1:1\"\ntrust = [\"127.0.0.1\", \"2001:db8::/32\", \"unix\"]\nuser_header = \"X-Remote-User\"\nuser_role = \"viewer\"\n", []string{"127.0.0.1:1"}, ""},
		{"[web]\nlisten = \"127.0.0.1:1\"\nmmdb = \"x.mmdb\"\n", []string{"127.0.0.1:1"}, "mmdb \"x.mmdb\": want a path"},
		{"[web]\nlisten = \"127.0.0.1:1\"\ntrust = [\"proxy\"]\n", []string{"127.0.0.1:1"}, "trust: \"proxy\": want an address"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nuser_header = \"X-Remote-User\"\n", []string{"127.0.0.1:1"}, "no effect without trust"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nuser_header = \"X Y\"\ntrust = [\"127.0.0.1\"]\n", []string{"127.0.0.1:1"}, "want a header's name"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nuser_role = \"viewer\"\n", []string{"127.0.0.1:1"}, "no effect without user_header"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nuser_header = \"X\"\ntrust = [\"127.0.0.1\"]\nuser_role = \"owner\"\n", []string{"127.0.0.1:1"}, "user_role \"owner\": want viewer, operator, admin"},
		{"[web]\nlisten = \"127.0.0.1:1\"\ngroup = \"www-data\"\n", []string{"127.0.0.1:1"}, "nothing listens at a Unix socket"},
		{"[web]\nlisten = \"127.0.0.1:1\"\nlisten_on = 3\n", []string{"127.0.0.1:1"}, "listen_on"},
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
		if !slices.Equal(cfg.Web.Listen, c.listen) {
			t.Errorf("%s: %+v", c.text, cfg.Web)
		}
		if text := strings.Join(said, "; "); c.says == "" && text != "" || !strings.Contains(text, c.says) {
			t.Errorf("%s: says %q, want %q", c.text, text, c.says)
		}
		if len(c.listen) > 0 && cfg.Web.Users != "users" && cfg.Web.Users != filepath.Join(dir, "web-users") {
			t.Errorf("%s: users in %s", c.text, cfg.Web.Users)
		}
	}
}
