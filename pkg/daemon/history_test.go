package daemon

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
	"bailiff/pkg/hosttest"
)

// TestHistoryAfterKill: what was counted since the file was last written is counted again from the events
// of the daemon that was killed, and nothing of the one that runs is counted twice.
func TestHistoryAfterKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	d := &Daemon{log: slog.New(slog.DiscardHandler), clock: clock.System(), started: clock.System().Now().Add(-time.Minute)}
	d.opts.Database = path
	d.cfg = &config.Config{Database: config.Database{Events: events.LeastBytes}}
	d.openEvents()
	written := func(n uint64) {
		t.Helper()
		if !hosttest.Soon(func() bool {
			last, _, _ := d.events.Last()
			return last >= n
		}) {
			t.Fatal("events are not written")
		}
	}
	no := false
	happens := func() {
		for _, e := range []*events.Event{
			{Kind: events.Found, Jail: "sshd", IP: "192.0.2.7"},
			{Kind: events.Found, Jail: "sshd", IP: "192.0.2.7", Counted: &no},
			{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.7"},
			{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.7", Why: "by hand: it lasts longer by now"},
			{Kind: events.Unban, Jail: "sshd", IP: "192.0.2.7"},
			{Kind: events.Reload},
		} {
			d.events.Add(e)
		}
		tally := d.history.Tally("sshd")
		tally.Failure()
		tally.Ban()
		tally.Unban()
	}
	happens()
	written(7)
	d.saveHistory()
	happens()
	written(13)
	d.events.Close() // killed: the history is not saved
	d.started = clock.System().Now()
	d.openEvents()
	happens()
	written(20)
	d.loadHistory(context.Background())
	a, err := d.History(history.Query{Step: time.Minute, From: time.Now().Add(-100 * time.Minute)})
	if err != nil || len(a.Jails) != 1 || a.Jails[0].Counts != (history.Counts{Failures: 3, Bans: 3, Unbans: 3}) {
		t.Errorf("by the minute %+v, %v", a.Jails, err)
	}
	a, _ = d.History(history.Query{Step: 5 * time.Minute, From: time.Now().Add(-10 * time.Hour)})
	if len(a.Jails) != 1 || a.Jails[0].Counts != (history.Counts{Failures: 3, Bans: 3, Unbans: 3}) || len(a.Problems) > 0 {
		t.Errorf("by five %+v", a)
	}
	top, err := d.Top(events.TopQuery{What: "ip", Most: 5})
	if err != nil || len(top.Entries) != 1 || top.Entries[0].Failures != 6 || len(top.Problems) > 0 {
		t.Errorf("top %+v, %v", top, err)
	}
	again, err := d.Top(events.TopQuery{What: "ip", Most: 5})
	if err != nil || len(again.Entries) != 1 {
		t.Errorf("top again %+v, %v", again, err)
	}
	d.events.Close()
}
