package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/finding"
)

// inside is a daemon that has read a configuration and runs nothing of it.
func inside(t *testing.T, text string) *Daemon {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte("[firewall]\nenabled = false\n[database]\npath = \"\"\n"+strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{clock: clock.System(), cfg: cfg, atStart: *cfg, turn: newTurn(), up: make(chan struct{}), stopping: make(chan struct{}), failed: map[string]error{}}
	close(d.up)
	d.opts.Config.Path = dir
	d.checks, d.page = newChecks(d), newPage(d)
	for _, j := range cfg.Jails {
		d.failed[j.Name] = errors.New("a test does not run it")
	}
	return d
}

// TestDoctorInside: what a look from inside can see is said, what it can't is neither well nor wrong; there
// is one look for all who ask within a time, and who does not want to wait for it has his answer at once.
func TestDoctorInside(t *testing.T) {
	d := inside(t, `
[jail.gone]
enabled = true
filter = "sshd"
logpath = "DIR/gone.log"
[jail.entries]
enabled = true
filter = "sshd"
backend = "systemd"
[jail.commands]
enabled = true
filter = "sshd"
logpath = "DIR/there.log"
`)
	dir := d.opts.Config.Path
	var lines strings.Builder
	for n := range doctorLines * 2 {
		fmt.Fprintf(&lines, "%s host sshd[41]: Failed password for root from 192.0.2.%d port 4711 ssh2\n", time.Now().Add(-time.Minute).Format(time.Stamp), n%200+10)
	}
	if err := os.WriteFile(filepath.Join(dir, "there.log"), []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if a, err := d.Doctor(ctx, control.DoctorQuery{Now: true}); err != nil || a.At != nil || !a.Looking || len(a.Findings) != 0 {
		t.Fatalf("before the first look: %+v, %v", a, err)
	}
	a, err := d.Doctor(ctx, control.DoctorQuery{Age: time.Hour})
	if err != nil || a.At == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	of := func(jail, link string, level finding.Level) string {
		var out []string
		for _, f := range a.Findings {
			if f.Jail == jail && f.Link == link && f.Level == level {
				out = append(out, f.Symptom+": "+f.Cause)
			}
		}
		return strings.Join(out, "\n")
	}
	for _, want := range []struct {
		jail, link string
		level      finding.Level
		text       string
	}{
		{"gone", finding.LinkLog, finding.Broken, "log-missing: "},
		{"gone", finding.LinkLines, finding.Unlooked, "not looked at: "},
		{"entries", finding.LinkLog, finding.Unlooked, "not looked at from inside: the journal: run `bailiff doctor`"},
		{"entries", finding.LinkLines, finding.Unlooked, "from inside: run `bailiff doctor`"},
		{"commands", finding.LinkLines, finding.OK, fmt.Sprintf("%d lines", doctorLines)},
		{"", finding.LinkLog, finding.Unlooked, "which programs have the logs open"},
		{"", finding.LinkBan, finding.Unlooked, "which program listens"},
	} {
		if got := of(want.jail, want.link, want.level); !strings.Contains(got, want.text) {
			t.Errorf("jail %q, %s, %s: %q is not %q", want.jail, want.link, want.level, got, want.text)
		}
	}
	for _, level := range []finding.Level{finding.OK, finding.Doubtful, finding.Broken} {
		if got := of("entries", finding.LinkLog, level); got != "" {
			t.Errorf("the journal, which can't be seen, is %s: %s", level, got)
		}
	}
	again, err := d.Doctor(ctx, control.DoctorQuery{Age: time.Hour})
	if err != nil || !again.At.Equal(*a.At) {
		t.Errorf("within its time it is looked again: %v, %v", again.At, err)
	}
	if one, err := d.Doctor(ctx, control.DoctorQuery{Jail: "gone"}); err != nil || len(one.Jails) != 1 || !one.At.After(*a.At) {
		t.Errorf("one jail: %+v, %v", one, err)
	}
	if _, err := d.Doctor(ctx, control.DoctorQuery{Jail: "nobody"}); err == nil || !strings.Contains(err.Error(), "no jail nobody") {
		t.Errorf("a jail that is not there: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.Doctor(gone, control.DoctorQuery{Age: -1}); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone waits: %v", err)
	}
	if _, err := d.Doctor(ctx, control.DoctorQuery{Age: time.Hour}); err != nil { // the look goes on, and is over with this
		t.Error(err)
	}
	if r := d.look(ctx, ""); r.Level != finding.Broken {
		t.Error(r.Level)
	}
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte("[jail"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := d.look(ctx, ""); len(r.Findings) != 1 || r.Findings[0].Symptom != "conf-unreadable" {
		t.Errorf("%+v", r)
	}
}
