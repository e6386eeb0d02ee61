package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestConfiguredSocket(t *testing.T) {
	for text, want := range map[string]string{
		"": DefaultSocket,
		"socket = \"/run/x.sock\"\n[jail.sshd]\nenabled = true\n": "/run/x.sock",
		"loglevel = 7\nsocket = \"/run/x.sock\"\n":                "/run/x.sock", // somebody else's mistake
		"socket = 7\n":               DefaultSocket,
		"[read]\nsocket = \"/r\"\n":  DefaultSocket,
		"socket = \"/run/x.sock\n[[": DefaultSocket,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ConfiguredSocket(dir); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := ConfiguredSocket(t.TempDir()); got != DefaultSocket {
		t.Errorf("no configuration: %s", got)
	}
}
