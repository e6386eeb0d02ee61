package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

const (
	hour = time.Hour
	day  = 24 * hour
	year = 365 * day
)

var steps = []time.Duration{time.Second, -time.Second, hour, -hour, day, -day, 10 * year, -10 * year}

// held is a store by a clock that a test moves.
type held struct {
	*Store
	t    *testing.T
	path string
	m    *clock.Manual
}

func holding(t *testing.T) *held {
	h := &held{t: t, path: filepath.Join(t.TempDir(), "db"), m: clock.NewManual(noon)}
	h.open()
	return h
}

func (h *held) open() {
	h.t.Helper()
	s, err := Open(h.path, h.m.Clock)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Store = s
	h.t.Cleanup(func() { s.Close() })
}

func (h *held) write(d *Delta) {
	h.t.Helper()
	d.Jail = "web"
	if err := h.Write([]*Delta{d}); err != nil {
		h.t.Fatal(err)
	}
}

var who = p("192.0.2.7/32")

func (h *held) ban(lasts time.Duration) {
	h.t.Helper()
	now := h.m.Now()
	h.write(&Delta{
		Events:   []Event{{Ban: ban.Ban{ID: who, Start: now, End: now.Add(lasts)}}},
		Failures: map[ban.ID][]time.Time{p("192.0.2.8/32"): {now.Add(-time.Minute), now.Add(-30 * time.Second)}},
	})
}

// left is how long the ban lasts yet, and how old the failures are, as a jail sees it.
func (h *held) left() string {
	h.t.Helper()
	now := h.m.Now()
	st, err := h.Load("web", now)
	if err != nil {
		h.t.Fatal(err)
	}
	out := ""
	for _, b := range st.Bans {
		out += fmt.Sprintf("ban %v ", b.End.Sub(now))
	}
	for _, f := range st.Failures {
		for _, at := range f.Times {
			out += fmt.Sprintf("failure %v ", now.Sub(at))
		}
	}
	if count, last, err := h.BanCount("web", who, false); err != nil || count != 1 || last.After(now) {
		h.t.Errorf("count %d, last %v, %v", count, now.Sub(last), err)
	}
	if _, _, last, known, err := h.Merged("web", who, true, 1); err != nil || !known || last.After(now) {
		h.t.Errorf("merged: last %v, %v, %v", now.Sub(last), known, err)
	}
	return out
}

// ends is when the ban ends as fail2ban reads it.
func (h *held) ends() time.Time {
	h.t.Helper()
	var end, of int64
	if err := h.db.QueryRow("SELECT bips.timeofban + bips.bantime, bans.timeofban + bans.bantime FROM bips JOIN bans USING (ip)").Scan(&end, &of); err != nil {
		h.t.Fatal(err)
	}
	if end != of {
		h.t.Errorf("bips and bans differ: %d, %d", end, of)
	}
	return time.Unix(end, 0)
}

// TestStepWhileOpen: a ban lasts as long as it should, and the rows are right by the
// new clock with the next change.
func TestStepWhileOpen(t *testing.T) {
	for _, step := range steps {
		h := holding(t)
		h.ban(hour)
		h.m.Advance(10 * time.Minute)
		h.m.Set(step)
		const want = "ban 50m0s failure 11m0s failure 10m30s "
		if got := h.left(); got != want {
			t.Errorf("step %v: %s, want %s", step, got, want)
		}
		h.write(&Delta{})
		if got := h.left(); got != want {
			t.Errorf("step %v, written: %s, want %s", step, got, want)
		}
		if got, want := h.ends(), noon.Add(hour+step); !got.Equal(want) {
			t.Errorf("step %v: ends at %v, want %v", step, got, want)
		}
		// What is written now stands beside it.
		h.write(&Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.9/32"): {h.m.Now()}}})
		if got := h.left(); got != want+"failure 0s " {
			t.Errorf("step %v, another failure: %s", step, got)
		}
	}
}

// TestStepWhileStopped: the same where no daemon runs.
func TestStepWhileStopped(t *testing.T) {
	for _, step := range steps {
		for _, crash := range []bool{false, true} {
			h := holding(t)
			h.ban(hour)
			if crash {
				h.lock.Close() // nothing is closed in an orderly way
			} else if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h.m.Advance(10 * time.Minute)
			h.m.Set(step)
			h.m.Restart("manual")
			h.open()
			const want = "ban 50m0s failure 11m0s failure 10m30s "
			if got := h.left(); got != want {
				t.Errorf("step %v: %s, want %s", step, got, want)
			}
			if got, want := h.ends(), noon.Add(hour+step); !got.Equal(want) || h.Moved() != step {
				t.Errorf("step %v: ends at %v, want %v; told %v", step, got, want, h.Moved())
			}
			h.Close()
			h.m.Restart("manual")
			h.open()
			if got := h.left(); got != want || h.Moved() != 0 {
				t.Errorf("step %v, once more: %s, moved %v", step, got, h.Moved())
			}
		}
	}
}

// TestReboot: after another boot the wall clock counts, and no ban gets longer.
func TestReboot(t *testing.T) {
	for _, c := range []struct {
		off  time.Duration // by which the RTC is wrong
		want string
	}{
		{0, "ban 50m0s failure 11m0s failure 10m30s "},
		{20 * time.Minute, "ban 30m0s failure 31m0s failure 30m30s "},
		{-5 * time.Minute, "ban 55m0s failure 6m0s failure 5m30s "},
		{day, "failure 24h11m0s failure 24h10m30s "},
		{10 * year, "failure 87600h11m0s failure 87600h10m30s "},
		{-hour, "ban 1h0m0s failure 1m0s failure 30s "}, // before it was written: no time has passed
		{-day, "ban 1h0m0s failure 1m0s failure 30s "},
		{-56 * year, "ban 1h0m0s failure 1m0s failure 30s "},
	} {
		h := holding(t)
		h.ban(hour)
		h.Close()
		h.m.Advance(10 * time.Minute)
		h.m.Set(c.off)
		h.m.Restart("another")
		h.open()
		if got := h.left(); got != c.want {
			t.Errorf("off by %v: %s, want %s", c.off, got, c.want)
		}
		// NTP sets it right: nothing changes for those who are banned.
		h.m.Set(-c.off)
		h.write(&Delta{})
		if got := h.left(); got != c.want {
			t.Errorf("off by %v, set right: %s, want %s", c.off, got, c.want)
		}
	}
}

// TestForeignFuture: what another program wrote ahead of the clock begins now, and does
// not begin anew with each start.
func TestForeignFuture(t *testing.T) {
	h := holding(t)
	h.ban(hour)
	h.Close()
	h.open()
	for _, table := range []string{"bips", "bans"} {
		if _, err := h.db.Exec("UPDATE "+table+" SET timeofban = ?", noon.Add(day).Unix()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.db.Exec("DELETE FROM bailiff_clock"); err != nil {
		t.Fatal(err)
	}
	h.Close()
	h.open()
	if got := h.left(); got != "ban 1h0m0s failure 1m0s failure 30s " {
		t.Error(got)
	}
	h.Close()
	h.m.Advance(10 * time.Minute)
	h.open()
	if got := h.left(); got != "ban 50m0s failure 11m0s failure 10m30s " {
		t.Error(got)
	}
}

// TestStepRefused: a transaction that fails moves nothing, and the next one moves all
// once.
func TestStepRefused(t *testing.T) {
	h := holding(t)
	h.ban(hour)
	if _, err := h.db.Exec("CREATE TRIGGER no BEFORE UPDATE ON bips BEGIN SELECT RAISE(ABORT, 'disk full'); END"); err != nil {
		t.Fatal(err)
	}
	h.m.Set(-day)
	for range 3 {
		if err := h.Write([]*Delta{{Jail: "web"}}); err == nil {
			t.Fatal("written")
		}
		if got := h.left(); got != "ban 1h0m0s failure 1m0s failure 30s " {
			t.Error(got)
		}
	}
	if _, err := h.db.Exec("DROP TRIGGER no"); err != nil {
		t.Fatal(err)
	}
	h.write(&Delta{})
	if got, want := h.ends(), noon.Add(hour-day); !got.Equal(want) {
		t.Errorf("ends at %v, want %v", got, want)
	}
	if got := h.left(); got != "ban 1h0m0s failure 1m0s failure 30s " {
		t.Error(got)
	}
}

// TestStepWhileRead: whoever reads while the rows are moved sees them as before or as
// after, which is the same by the steady time.
func TestStepWhileRead(t *testing.T) {
	h := holding(t)
	h.ban(hour)
	done := make(chan error)
	go func() {
		var wrong error
		for i := range 40 {
			h.m.Set([]time.Duration{-day, day}[i%2])
			wrong = errors.Join(wrong, h.Write([]*Delta{{Jail: "web"}}))
		}
		done <- wrong
	}()
	for {
		if got := h.left(); got != "ban 1h0m0s failure 1m0s failure 30s " {
			t.Fatal(got)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
