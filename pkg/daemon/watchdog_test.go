package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/hosttest"
)

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// TestWatchdog: who watches is told that all is well for as long as every jail answers,
// not while one stands still, and again when it goes on.
func TestWatchdog(t *testing.T) {
	dir := t.TempDir()
	text := ""
	for _, name := range []string{"one", "two"} {
		text += "[jail." + name + "]\nenabled = true\nfailregex = '^failed <HOST>$'\nlogpath = '/nonexistent/log'\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	d := unstarted(t, config.Options{Path: dir}, slog.NewTextHandler(&log, nil))
	for _, c := range d.cfg.Jails {
		d.start(c)
	}
	jails := d.jailsNow()
	if len(jails) != 2 {
		t.Fatalf("%d jails: %s", len(jails), log.text())
	}
	defer func() {
		for _, j := range jails {
			j.Stop(false)
		}
	}()
	var well atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go d.watch(ctx, Watchdog{Within: 30 * time.Millisecond, Well: func() { well.Add(1) }})
	until := func(what string, done func() bool) {
		t.Helper()
		if !hosttest.Soon(done) {
			t.Fatalf("%s: waited in vain: %s", what, log.text())
		}
	}
	until("well", func() bool { return well.Load() > 3 })
	gate, held := make(chan struct{}), make(chan struct{})
	go func() {
		_ = jails["two"].Change(func(*config.Jail) error { close(held); <-gate; return nil })
	}()
	<-held
	until("silent", func() bool { return strings.Contains(log.text(), "gets no keep-alive") })
	before := well.Load()
	if !strings.Contains(log.text(), "jail two") || strings.Contains(log.text(), "jail one") {
		t.Errorf("which jail? %s", log.text())
	}
	if text := d.silent(10 * time.Millisecond); text == "" {
		t.Error("it is silent, and that isn't seen")
	}
	if n := well.Load() - before; n != 0 {
		t.Errorf("told %d times that all is well", n)
	}
	close(gate)
	until("well again", func() bool { return well.Load() > before })
}
