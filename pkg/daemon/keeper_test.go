package daemon

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/store"
)

// TestLiftedIsKnown: jails get from a daemon's database what a ban was for that was lifted a moment ago, when its row is gone.
func TestLiftedIsKnown(t *testing.T) {
	d := &Daemon{log: slog.New(slog.DiscardHandler), clock: clock.System(), cfg: &config.Config{}}
	d.opts.Database = filepath.Join(t.TempDir(), "db")
	d.fleet = newFleetSide(d)
	k := d.keep()
	if k == nil {
		t.Fatal("no database")
	}
	defer k.close()
	start := d.clock.Now()
	b := ban.Ban{ID: ban.Of(netip.MustParsePrefix("203.0.113.7/32")), Start: start, End: start.Add(time.Hour), Failures: 3, Count: 1}
	for _, lifted := range []bool{false, true} {
		k.Push(&store.Delta{Jail: "web", Events: []store.Event{{Ban: b, Matches: []string{"failed alice"}, Groups: map[string]string{"user": "alice"}, Lifted: lifted}}})
		if err := k.queue.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if groups, err := k.Captures("web", b.ID); groups != nil || err != nil {
		t.Fatalf("its row is there still: %v, %v", groups, err)
	}
	failures, lines, groups, ok := k.Lifted("web", b.ID, start.Unix())
	if !ok || failures != 3 || len(lines) != 1 || groups["user"] != "alice" {
		t.Errorf("%d failures, %q, %v, %v", failures, lines, groups, ok)
	}
}
