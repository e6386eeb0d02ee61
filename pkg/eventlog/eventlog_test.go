package eventlog

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"testing"
)

func TestFormat(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(New(&b, "NOTICE")).With("component", "actions")
	log.Info("too quiet")
	log.Log(context.Background(), LevelNotice, "[sshd] Ban 192.0.2.7")
	log.Warn("forged\n2026-01-31 12:00:00,000 fail2ban.actions: line\x1b[0m")
	want := `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban\.actions        \[\d+\]: NOTICE  \[sshd\] Ban 192\.0\.2\.7
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban\.actions        \[\d+\]: WARNING forged\\x0a2026-01-31 12:00:00,000 fail2ban\.actions: line\\x1b\[0m
$`
	if !regexp.MustCompile(want).MatchString(b.String()) {
		t.Errorf("got\n%s", b.String())
	}
}
