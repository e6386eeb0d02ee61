package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestTreeTransport: transport in a jail of fail2ban's configuration is heeded, and a wrong
// word told.
func TestTreeTransport(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []string
		err   string
	}{
		{"", nil, ""},
		{"transport = auto", nil, ""},
		{"transport = none", []string{"none"}, ""},
		{"transport = docker syslog", []string{"docker", "syslog"}, ""},
		{"transport = nosuch", nil, `jail.local:4: transport "nosuch": want auto, none, docker, cri or syslog`},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"fail2ban.conf":   "[Definition]\n",
			"jail.conf":       "[DEFAULT]\n",
			"filter.d/x.conf": "[Definition]\nfailregex = ^ failed <HOST>$\n",
			"jail.local":      "[x]\nenabled = true\nlogpath = /tmp/none\n" + c.value + "\naction =\n",
		} {
			hosttest.Write(t, filepath.Join(dir, name), text)
		}
		cfg := load(t, Options{Path: dir})
		j := cfg.Jails[0]
		if got := fmt.Sprint(cfg.Problems()); c.err != "" && !strings.Contains(got, c.err) || c.err == "" && strings.Contains(got, "transport") {
			t.Errorf("%q: %s, want %q", c.value, got, c.err)
		}
		if !slices.Equal(j.Filter.Transport, c.want) && c.err == "" {
			t.Errorf("%q: %v, want %v", c.value, j.Filter.Transport, c.want)
		}
	}
}
