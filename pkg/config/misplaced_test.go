package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMisplaced: keys of a backend that a jail doesn't have are told, with their places; in [default] they
// are for the jails that have it.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[jail.sshd]\nenabled = true\nlogpath = '/l'\ncontainer = 'web'\n":                                        "bailiff.toml:4: jail sshd: container has no effect without backend = \"docker\"",
		"[jail.sshd]\nenabled = true\nbackend = 'systemd'\nallow = '192.0.2.1'\n":                                 "bailiff.toml:4: jail sshd: allow has no effect without backend = \"syslog\"",
		"[jail.sshd]\nenabled = true\nbackend = 'docker'\ncontainer = 'web'\nmatch = 'program=x'\n":               "bailiff.toml:5: jail sshd: match has no effect",
		"[jail.sshd]\nenabled = true\nlogpath = '/l'\nbackend = 'docker'\ncontainer = 'web'\n":                    "bailiff.toml:3: jail sshd: logpath is not read: backend = \"docker\"",
		"[jail.sshd]\nenabled = true\nlogpath = '/l'\nlisten = 'unix:///x'\ntrust_name = true\n":                  "bailiff.toml:5: jail sshd: trust_name has no effect",
		"[jail.sshd]\nenabled = true\nbackend = 'docker'\ncontainer = 'web'\n":                                    "",
		"[default]\nbackend = 'syslog'\nlisten = 'unix:///x'\n[jail.sshd]\nenabled = true\nbackend = 'systemd'\n": "",
		"[default]\nbackend = 'docker'\ncontainer = 'web'\n[jail.sshd]\nenabled = true\n":                         "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil || len(cfg.Jails) != 1 {
			t.Fatal(text, err)
		}
		got := fmt.Sprint(cfg.Jails[0].Warnings)
		if want == "" && strings.Contains(got, "effect") || !strings.Contains(got, want) {
			t.Errorf("%s%s, want %q", text, got, want)
		}
	}
}
