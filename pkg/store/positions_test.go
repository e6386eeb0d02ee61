package store

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestHadByFail2ban: where fail2ban had the database meanwhile, what it says of a log counts,
// and of an address that it banned, no failure of before; all else is as it was.
func TestHadByFail2ban(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	now := time.Now().Truncate(time.Second)
	write := func(s *Store) {
		t.Helper()
		if err := s.Write([]*Delta{{
			Jail:     "web",
			Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {now.Add(-time.Minute)}, p("192.0.2.2"): {now.Add(-time.Minute), now.Add(-time.Second)}, p("192.0.2.3"): {now}},
			Logs: map[LogKey]Position{
				{Path: "a.log", Dev: 1, Inode: 1}: {Path: "a.log", Dev: 1, Inode: 1, FirstLine: "aa", Offset: 20, Before: "x", Born: 1},
				{Path: "a.log", Dev: 1, Inode: 2}: {Path: "a.log", Dev: 1, Inode: 2, FirstLine: "bb", Offset: 5, Before: "y", Born: 2},
				{Path: "b.log", Dev: 1, Inode: 3}: {Path: "b.log", Dev: 1, Inode: 3, FirstLine: "cc", Offset: 7, Before: "z"},
				{Path: journal}:                   {Path: journal, Cursor: "s=1", Time: now},
			},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path)
	write(s)
	// As it was: all that we know, and every failure, though one was banned by hand since.
	if err := s.Write([]*Delta{{Jail: "web", Events: []Event{{Ban: ban.Ban{ID: p("192.0.2.1"), Start: now, End: now.Add(time.Hour), Count: 1}}}}}); err != nil {
		t.Fatal(err)
	}
	st, err := s.Load("web", now)
	if err != nil || len(st.Logs) != 4 || len(st.Failures) != 3 || len(st.Warnings) != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	// And as fail2ban leaves it: one log read further, the journal, too, a third as it was.
	for _, q := range []string{
		"UPDATE logs SET lastfilepos = 30 WHERE path = 'a.log'",
		fmt.Sprintf("UPDATE logs SET firstlinemd5 = 'iso', lastfilepos = %d.5 WHERE path = 'systemd-journal'", now.Unix()+9),
	} {
		if _, err := s.db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what was forgotten stays so
		st, err = s.Load("web", now)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Position{}
		for _, p := range st.Logs {
			got[fmt.Sprint(p.Path, p.Inode)] = p
		}
		want := map[string]Position{
			"a.log0":      {Path: "a.log", FirstLine: "bb", Offset: 30},
			"b.log3":      {Path: "b.log", Dev: 1, Inode: 3, FirstLine: "cc", Offset: 7, Before: "z"},
			journal + "0": {Path: journal, Time: time.Unix(now.Unix()+9, 0)},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(st.Logs) != 3 {
			t.Errorf("positions %+v\nwant %+v", st.Logs, want)
		}
		failures := map[string]int{}
		for _, f := range st.Failures {
			failures[ban.Name(f.ID)] = len(f.Times)
		}
		if fmt.Sprint(failures) != "map[192.0.2.2:2 192.0.2.3:1]" {
			t.Errorf("failures %v", failures)
		}
	}
	// What it does not follow any more, fail2ban is not told of.
	if err := s.Write([]*Delta{{Jail: "web", Logs: map[LogKey]Position{{Path: "b.log", Dev: 1, Inode: 3}: {Path: "b.log", Dev: 1, Inode: 3, FirstLine: "cc", Offset: 9, Gone: true}}}}); err != nil {
		t.Fatal(err)
	}
	if st, err = s.Load("web", now); err != nil || len(st.Logs) != 2 {
		t.Errorf("%+v, %v", st.Logs, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLoadBesideWrites: what is written while a jail is loaded is not taken for fail2ban's.
func TestLoadBesideWrites(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	at := func(n int64) *Delta {
		p := Position{Path: "/a.log", Dev: 1, Inode: 2, FirstLine: "x", Offset: n, Before: "y"}
		return &Delta{Jail: "app", Logs: map[LogKey]Position{{Path: p.Path, Dev: 1, Inode: 2}: p}}
	}
	const writes = 600
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range int64(writes) {
			if err := s.Write([]*Delta{at(n + 1)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	var loads sync.WaitGroup
	for range 4 {
		loads.Go(func() {
			for {
				st, err := s.Load("app", time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				if len(st.Logs) > 0 && st.Logs[0].Inode == 0 {
					t.Errorf("a position of ours is taken for fail2ban's: %+v", st.Logs)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	loads.Wait()
	<-done
	st, err := s.Load("app", time.Now())
	if err != nil || len(st.Logs) != 1 || st.Logs[0].Offset != writes || st.Logs[0].Inode != 2 {
		t.Errorf("%+v, %v", st.Logs, err)
	}
}
