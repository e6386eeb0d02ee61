package store

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/hosttest"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func p(s string) ban.ID {
	if a, err := netip.ParseAddr(s); err == nil {
		return ban.Of(netip.PrefixFrom(a, a.BitLen()))
	}
	if n, err := netip.ParsePrefix(s); err == nil {
		return ban.Of(n)
	}
	return ban.Named(s)
}

func (st State) String() string {
	var out []string
	for _, b := range st.Bans {
		end := "for ever"
		if !b.Permanent() {
			end = b.End.UTC().Format(time.RFC3339)
		}
		out = append(out, fmt.Sprintf("ban %s %s count %d", ban.Name(b.ID), end, b.Count))
	}
	for _, f := range st.Failures {
		out = append(out, fmt.Sprintf("failures %s %d", ban.Name(f.ID), len(f.Times)))
	}
	for _, l := range st.Logs {
		out = append(out, fmt.Sprintf("log %s %d/%d %s %d", l.Path, l.Dev, l.Inode, l.FirstLine, l.Offset))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "db.sqlite3")
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	s := open(t, path)
	if st, err := s.Load("web", now); err != nil || !st.New {
		t.Fatal(st, err)
	}
	first := &Delta{
		Jail: "web",
		Events: []Event{
			{Ban: ban.Ban{ID: p("192.0.2.7"), Start: now, End: now.Add(time.Hour)}, Matches: []string{"a line"}},
			{Ban: ban.Ban{ID: p("192.0.2.8"), Start: now, End: now.Add(time.Hour)}},
			{Ban: ban.Ban{ID: p("2001:db8::/64"), Start: now, Count: 4}},
			{Ban: ban.Ban{ID: p("session 'x', no. 4"), Start: now, End: now.Add(time.Hour)}},
			{Ban: ban.Ban{ID: p("192.0.2.9"), Start: now.Add(-time.Hour), End: now.Add(-time.Minute)}},
		},
		Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {now, now.Add(time.Second)}, p("192.0.2.2"): {now}, p("kevin"): {now}},
		Logs:     map[LogKey]Position{{"a.log", 1, 2}: {Path: "a.log", Dev: 1, Inode: 2, FirstLine: "ff", Offset: 10}, {"a.log", 1, 3}: {Path: "a.log", Dev: 1, Inode: 3, FirstLine: "fe", Offset: 4}},
	}
	later := &Delta{
		Jail:     "web",
		Events:   []Event{{Ban: ban.Ban{ID: p("192.0.2.8")}, Lifted: true}},
		Failures: map[ban.ID][]time.Time{p("192.0.2.2"): nil},
		Logs:     map[LogKey]Position{{"a.log", 1, 2}: {Path: "a.log", Dev: 1, Inode: 2, FirstLine: "ff", Offset: 20}, {"a.log", 1, 3}: {Path: "a.log", Dev: 1, Inode: 3, Gone: true}},
	}
	if err := s.Write([]*Delta{first}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write([]*Delta{later, {Jail: "other", Events: []Event{{Ban: ban.Ban{ID: p("192.0.2.7"), Start: now, End: now.Add(time.Hour), Count: 2}}}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	st, err := s.Load("web", now)
	if err != nil || st.New {
		t.Fatal(st, err)
	}
	want := "ban 192.0.2.7 2026-01-31T13:00:00Z count 1; ban 2001:db8::/64 for ever count 4; ban session 'x', no. 4 2026-01-31T13:00:00Z count 1; failures 192.0.2.1 2; failures kevin 1; log a.log 1/2 ff 20"
	if st.String() != want {
		t.Errorf("got  %s\nwant %s", st, want)
	}
	for _, c := range []struct {
		overall bool
		want    int
	}{{false, 1}, {true, 3}} {
		if n, _, err := s.BanCount("web", p("192.0.2.7"), c.overall); n != c.want || err != nil {
			t.Errorf("count, in all jails %v: %d, want %d, %v", c.overall, n, c.want, err)
		}
	}
	// A day later, ended bans are forgotten; their counts are kept two days more.
	if err := s.Purge(24*time.Hour, now.Add(26*time.Hour)); err != nil {
		t.Fatal(err)
	}
	var bans, bips int
	if err := s.db.QueryRow("SELECT (SELECT count(*) FROM bans), (SELECT count(*) FROM bips)").Scan(&bans, &bips); err != nil || bans != 1 || bips != 5 {
		t.Errorf("after a day: %d bans, %d bips, %v", bans, bips, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if _, err := Open(path, clock.System()); err == nil || !strings.Contains(err.Error(), "another daemon uses it") {
		t.Errorf("a second daemon: %v", err)
	}
}

// TestRealFail2ban: a database of the real one is taken over, and ours opens there.
func TestRealFail2ban(t *testing.T) {
	dir := t.TempDir()
	path, log := filepath.Join(dir, "fail2ban.sqlite3"), filepath.Join(dir, "auth.log")
	hosttest.Write(t, log, "first line\nsecond\nthird\n")
	real := func(args ...string) []byte {
		t.Helper()
		return hosttest.Python(t, nil, "", append([]string{"testdata/fail2ban.py"}, args...)...)
	}
	real("write", path, log, "18")
	now := time.Now()
	s := open(t, path)
	st, err := s.Load("sshd", now)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte("first line\n"))
	got := map[string]int{}
	for _, b := range st.Bans {
		left := "for ever"
		if !b.Permanent() {
			left = strconv.Itoa(int(b.End.Sub(now).Seconds()+5) / 10 * 10)
		}
		got[ban.Name(b.ID)+" "+left] = b.Count
	}
	if fmt.Sprint(got) != "map[192.0.2.7 590:1 2001:db8::7 for ever:3 203.0.113.0/24 3590:1]" {
		t.Errorf("bans taken over: %v", got)
	}
	if len(st.Logs) != 1 || st.Logs[0] != (Position{Path: log, FirstLine: hex.EncodeToString(sum[:]), Offset: 18}) {
		t.Errorf("positions taken over: %+v", st.Logs)
	}
	if n, _, err := s.BanCount("sshd", p("192.0.2.8"), false); n != 2 || err != nil {
		t.Errorf("count of an ended ban: %d, %v", n, err)
	}
	if err := s.Write([]*Delta{{
		Jail: "sshd",
		Events: []Event{
			{Ban: ban.Ban{ID: p("192.0.2.55"), Start: now, End: now.Add(time.Hour), Count: 2, Failures: 5}, Matches: []string{"Zeile mit ü"}},
			{Ban: ban.Ban{ID: p("192.0.2.7")}, Lifted: true},
		},
		Logs: map[LogKey]Position{{Path: log}: {Path: log, Dev: 1, Inode: 9, FirstLine: hex.EncodeToString(sum[:]), Offset: 24}},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Bans  [][]any
		Pos   int
		Jails []string
	}
	if err := json.Unmarshal(real("read", path, log), &back); err != nil {
		t.Fatal(err)
	}
	want := "[[192.0.2.55 3600 2 [Zeile mit ü]] [2001:db8::7 -1 3 [a line of 2001:db8::7]] [203.0.113.0/24 3600 1 [a line of 203.0.113.0/24]]] 24 [sshd]"
	if got := fmt.Sprint(back.Bans, back.Pos, back.Jails); got != want {
		t.Errorf("the real one reads\n%s, want\n%s", got, want)
	}
	// And once more with us, after it wrote.
	s = open(t, path)
	defer s.Close()
	if st, err := s.Load("sshd", now); err != nil || len(st.Bans) != 3 {
		t.Errorf("%v %v", st, err)
	}
}

func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte("this is a text, and no database at all") },
		"cut":         func(b []byte) []byte { return b[:len(b)/2] },
		"garbage in the middle": func(b []byte) []byte {
			rng := rand.New(rand.NewPCG(1, 2))
			for i := 4096; i < len(b); i++ {
				b[i] = byte(rng.Uint32())
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db.sqlite3")
			s := open(t, path)
			if _, err := s.Load("web", time.Now()); err != nil {
				t.Fatal(err)
			}
			s.Close()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = Open(path, clock.System())
			var damaged *Damaged
			if !errors.As(err, &damaged) || s == nil {
				t.Fatalf("got %v, %v", s, err)
			}
			defer s.Close()
			if _, err := os.Stat(damaged.Aside); err != nil {
				t.Errorf("not set aside: %v", err)
			}
			if st, err := s.Load("web", time.Now()); err != nil || !st.New {
				t.Errorf("the new one: %v, %v", st, err)
			}
		})
	}
	// One of a newer fail2ban is left alone.
	path := filepath.Join(t.TempDir(), "db.sqlite3")
	s := open(t, path)
	if _, err := s.db.Exec("UPDATE fail2banDb SET version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err := Open(path, clock.System()); s != nil || err == nil || !strings.Contains(err.Error(), "newer fail2ban") {
		t.Errorf("got %v, %v", s, err)
	}
}

// TestQueueKeeps: what can't be written is kept, merged with what comes later, and
// written when that is possible again.
func TestQueueKeeps(t *testing.T) {
	var mu sync.Mutex
	full := true
	var written []*Delta
	var told []error
	q := NewQueue(func(d []*Delta) error {
		mu.Lock()
		defer mu.Unlock()
		if full {
			return errors.New("disk full")
		}
		written = append(written, d...)
		return nil
	}, func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() })
	at := func(n int) *Delta {
		return &Delta{Jail: "web", Events: []Event{{Ban: ban.Ban{Failures: n}}}, Logs: map[LogKey]Position{{Path: "a"}: {Offset: int64(n)}}}
	}
	for n := range 5 {
		q.Push(at(n))
		if err := q.Sync(); err == nil {
			t.Error("Sync says that it is written")
		}
	}
	mu.Lock()
	full = false
	mu.Unlock()
	if !hosttest.Soon(func() bool { return q.Sync() == nil }) {
		t.Fatal("it is not written")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	var order []int
	for _, d := range written {
		for _, e := range d.Events {
			order = append(order, e.Ban.Failures)
		}
	}
	if fmt.Sprint(order) != "[0 1 2 3 4]" || written[len(written)-1].Logs[LogKey{Path: "a"}].Offset != 4 {
		t.Errorf("written %v, %+v", order, written)
	}
	if len(told) != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("told %v", told)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "db"), clock.System())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Load("web", time.Now()); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				d := &Delta{Jail: "web"}
				for range n {
					i++
					a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
					d.Events = append(d.Events, Event{Ban: ban.Ban{ID: ban.Of(netip.PrefixFrom(a, 32)), Start: time.Unix(1, 0), End: time.Unix(1e10, 0)}})
				}
				if err := s.Write([]*Delta{d}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
