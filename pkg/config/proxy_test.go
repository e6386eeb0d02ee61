package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProxyWarnings: what switches banning off is warned of, as is a filter that would take a
// proxy for the client; and a wrong word is told with what is right there.
func TestProxyWarnings(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{`[proxy]
trusted = ["0.0.0.0/0"]`, "bailiff.toml:2: proxy.trusted: 0.0.0.0/0: wider than a /8"},
		{`[proxy]
trusted = ["::/0"]`, "proxy.trusted: ::/0: wider"},
		{`[proxy]
trusted = ["0.0.0.0/1", "128.0.0.0/1"]`, "proxy.trusted: 0.0.0.0/0: wider"},
		{`[proxy]
trusted = ["10.0.0.0/8", "fc00::/7", "fe80::/10"]`, ""},
		{`[jail.caddy.proxy]
trusted = ["2000::/3"]`, "proxy.trusted: 2000::/3: wider"},
		{`[default]
ignoreip = ["192.0.2.1", "64.0.0.0/2"]`, "bailiff.toml:2: ignoreip: 64.0.0.0/2: wider"},
		{`[default]
ignoreip = ["127.0.0.0/8", "10.0.0.0/8", "fc00::/7", "fe80::/10", "224.0.0.0/4"]`, ""},
		{"", "jail caddy: if a proxy stands before the service"},
		{`[proxy]
trusted = []`, ""},
		{`[proxy]
trusted = [7]`, `"7" is no address, network or range: want those, or file:PATH`},
		{`[proxy]
trusted = ["proxy.example.org"]`, "want addresses, networks, ranges or file:PATH"},
	} {
		dir := t.TempDir()
		text := c.toml + fmt.Sprintf("\n[jail.caddy]\nenabled = true\nlogpath = [%q]\n", filepath.Join(dir, "log"))
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		all := append(cfg.Problems(), cfg.Warnings...)
		for _, j := range cfg.Jails {
			all = append(all, j.Warnings...)
		}
		told := ""
		for _, err := range all {
			told += err.Error() + "\n"
		}
		if c.want == "" && (strings.Contains(told, "wider") || strings.Contains(c.toml, "trusted") && strings.Contains(told, "stands before")) || !strings.Contains(told, c.want) {
			t.Errorf("%s:\n%swant %q", c.toml, told, c.want)
		}
		if strings.Contains(c.toml, "trusted") && strings.Contains(told, "host name") {
			t.Errorf("%s:\n%s: a host name is none, either", c.toml, told)
		}
	}
}
