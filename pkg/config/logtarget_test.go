package config

import (
	"strings"
	"testing"
)

func TestLogTarget(t *testing.T) {
	for text, want := range map[string]string{
		"STDERR": "stderr", "SYSOUT": "stdout", "SYSTEMD-JOURNAL": "journal", "/var/log/x.log": "/var/log/x.log",
		"SYSLOG": "syslog", "SYSLOG[facility=local5]": "syslog[facility=local5]", "syslog[facility='AUTH']": "syslog[facility=auth]",
		`SYSLOG[facility=local5, format="%(message)s"]`: "syslog[facility=local5]", "STDERR[padding=off]": "stderr", "/x.log[datetime=off]": "/x.log",
	} {
		if got, err := ParseLogTarget(text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"SYSLOG[facility=nix]": "unknown facility", "SYSLOG[": "want NAME", "x[1].log": "want NAME", "SYSLOG[nix=1]": `unknown option "nix"`, "/x[facility=auth]": "unknown option",
	} {
		if got, err := ParseLogTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %s", text, got, err, want)
		}
	}
	dir := directory(t, "jail.conf", "[DEFAULT]\n", "fail2ban.conf", "[Definition]\nlogtarget = SYSLOG[facility=local5]\n")
	if cfg := load(t, Options{Path: dir}); cfg.Log.Target != "syslog[facility=local5]" || len(cfg.Problems()) > 0 {
		t.Errorf("%q %v", cfg.Log.Target, cfg.Problems())
	}
	dir = directory(t, "jail.conf", "[DEFAULT]\n", "fail2ban.conf", "[Definition]\nlogtarget = SYSLOG[facility=locale5]\n")
	if cfg := load(t, Options{Path: dir}); cfg.Log.Target != "syslog" || !strings.Contains(cfg.Problems()[0].Error(), "fail2ban.conf:2: log target") {
		t.Errorf("%q %v", cfg.Log.Target, cfg.Problems())
	}
}
