package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config"
)

// TestCheckProxies: a check says of files of proxy.trusted that they can't be read, or name
// no proxy, once for all jails.
func TestCheckProxies(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "no such file",
		"# none\n":                    "it names no proxy",
		"proxy\n":                     `proxies:1: "proxy" is no address, network or range`,
		"198.51.100.1\n":              "",
		"0.0.0.0/0\n":                 "",
		"198.51.100.1\n192.0.2.300\n": "left out",
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "proxies")
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(fmt.Sprintf("[proxy]\ntrusted = [\"file:%s\"]\n[jail.sshd]\nenabled=true\nlogpath=[%q]\n[jail.caddy]\nenabled=true\nlogpath=[%q]\n", file, filepath.Join(dir, "log"), filepath.Join(dir, "log"))), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		problems, warnings := CheckLists(cfg)
		wide := strings.HasPrefix(text, "0.0.0.0/0")
		if text := fmt.Sprint(warnings); strings.Contains(text, "proxy.trusted file:"+file+": 0.0.0.0/0: wider than a /8") != wide {
			t.Errorf("wide %v: warnings %s", wide, text)
		}
		place := filepath.Join(dir, "bailiff.toml") + ":2: proxy.trusted"
		if len(problems) > 0 && (len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), place)) || wide && (len(warnings) != 1 || !strings.HasPrefix(warnings[0].Error(), place)) {
			t.Errorf("%q: not once, with its place: %v, %v", text, problems, warnings)
		}
		got := fmt.Sprint(problems)
		if want == "" && len(problems) > 0 || !strings.Contains(got, want) || strings.Contains(got, "ignoreip") || strings.Contains(got, "jail ") {
			t.Errorf("%q: %s, want %q", text, got, want)
		}
	}
}
