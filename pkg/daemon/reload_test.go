package daemon

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/guard"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
)

// unstarted is a daemon that has read its configuration and started nothing, as with --dry-run.
func unstarted(t *testing.T, opts config.Options, log slog.Handler) *Daemon {
	t.Helper()
	cfg, err := config.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{
		opts: Options{Config: opts, DryRun: true}, log: slog.New(log), clock: clock.System(), cfg: cfg, atStart: *cfg,
		endings: &action.Endings{}, memory: jail.NewMemory(), guard: guard.New(guard.Options{}),
		jails: map[string]*jail.Jail{}, lists: map[string]*blocklist{}, failed: map[string]error{},
		exporting: make(chan struct{}, 1), turn: newTurn(), up: make(chan struct{}), stopping: make(chan struct{}),
	}
	d.fleet = newFleetSide(d)
	d.syslog = PrepareSyslog(cfg, Options{Log: d.log})
	t.Cleanup(d.guard.Close)
	t.Cleanup(d.syslog.Close)
	d.mender, d.page = newMender(d), newPage(d)
	close(d.up)
	return d
}

// TestGoneWhileStarted: a jail whose configuration goes while it is still being started,
// since something hangs, does not stay.
func TestGoneWhileStarted(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), text)
	}
	const one = "[jail.one]\nenabled = true\nfailregex = '^failed <HOST>$'\nlogpath = '/nonexistent/log'\n"
	write(one)
	opts := config.Options{Path: dir}
	d := unstarted(t, opts, slog.DiscardHandler)
	cfg := d.cfg
	gate := make(chan struct{})
	work, ok := d.works.begin("one", "being started", func() { <-gate; d.start(cfg.Jails[0]) }, func() { _, _ = d.reload("one", false, "") })
	if !ok {
		t.Fatal("it is being started already")
	}
	write("")
	stepsMost = 10 * time.Millisecond
	defer func() { stepsMost = 9 * time.Second }()
	res, err := d.Reload("")
	if err != nil || !strings.Contains(strings.Join(res.Errors, "\n"), "jail one is being started since ") {
		t.Errorf("it is not said that it is not through: %+v %v", res, err)
	}
	close(gate)
	<-work.done
	if !hosttest.Soon(func() bool { return !(len(d.jailsNow()) > 0 || d.works.of("one") != nil || d.turn.state() != "") }) {
		t.Fatal("it stays")
	}
}
