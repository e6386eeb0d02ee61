package filter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// tied is a filter of connections: sshd-like lines that name a user, slapd-like ones
// that name an address first.
func tied(tb testing.TB, detail Detail) *Filter {
	tb.Helper()
	f, err := Compile(Definition{Name: "tied", Failregex: []Expr{
		{Text: `^\s*conn=<F-MLFID>\S+</F-MLFID> accept <F-NOFAIL>from</F-NOFAIL> <HOST>$`},
		{Text: `^\s*conn=<F-MLFID>\S+</F-MLFID> failed <F-USER>\S+</F-USER> from <HOST>`},
		{Text: `^\s*conn=<F-MLFID>\S+</F-MLFID> refused`},
		{Text: `^\s*conn=<F-MLFID>\S+</F-MLFID> <F-NOFAIL>tried</F-NOFAIL> <F-USER>\S+</F-USER>`},
		{Text: `^\s*conn=<F-MLFID>\S+</F-MLFID> <F-MLFFORGET>closed</F-MLFFORGET>`},
	}}, time.UTC)
	if err != nil {
		tb.Fatal(err)
	}
	f.Detail = detail
	return f
}

var connNow = time.Date(2026, 10, 10, 12, 0, 0, 0, time.UTC)

// play has a filter look at lines of so many a second, in blocks as a jail does, and
// returns the failures.
func play(f *Filter, lines int, line func(i int) string) (failures []Failure) {
	const block = 500
	for from := 0; from < lines; from += block {
		var list [][]byte
		for i := from; i < min(from+block, lines); i++ {
			list = append(list, []byte(connNow.Add(time.Duration(i)*time.Millisecond).Format("2006-01-02 15:04:05.000 ")+line(i)))
		}
		f.MatchBlock(list, nil, connNow.Add(time.Hour), func(_ int, r *Result) { failures = append(failures, r.Failures...) })
	}
	return failures
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestConnectionBounds: whatever is written of connections, what is kept of them, and
// what a line may have to look through, stays small, and who fails after it is told.
func TestConnectionBounds(t *testing.T) {
	sequential(t)
	long := strings.Repeat("x", 8000)
	for _, detail := range []Detail{DetailLines, DetailAll} {
		for _, c := range []struct {
			name  string
			lines int
			line  func(i int) string
		}{
			{"users of one connection", 10_000, func(i int) string { return fmt.Sprintf("conn=1 failed user%d from 192.0.2.7", i) }},
			{"users tried", 5_000, func(i int) string { return fmt.Sprintf("conn=1 tried user%d", i) }},
			{"no address", 5_000, func(int) string { return "conn=1 refused" }},
			{"no address, long lines", 1_000, func(int) string { return "conn=1 refused " + long }},
			{"no address, many connections, long lines", 1_000, func(i int) string { return fmt.Sprintf("conn=%d refused %s", i, long) }},
			{"accepted, again and again, long lines", 1_000, func(i int) string { return fmt.Sprintf("conn=%d tried %s", i%50, long) }},
			{"long ids", 1_000, func(i int) string { return fmt.Sprintf("conn=%d%s refused", i, long) }},
			{"long users", 1_000, func(i int) string { return fmt.Sprintf("conn=1 failed %d%s from 192.0.2.7", i, long) }},
			{"connections", 20_000, func(i int) string { return fmt.Sprintf("conn=%d accept from 192.0.2.7", i) }},
		} {
			f := tied(t, detail)
			play(f, 1000, func(i int) string { return fmt.Sprintf("conn=a%d accept from 192.0.2.7", i) })
			before := heap()
			play(f, c.lines, c.line)
			if held := heap() - before; held > 12<<20 {
				t.Errorf("%s, detail %d: %d bytes held", c.name, detail, held)
			}
			if f.conns.size > connectionsMost || len(f.conns.byID) > maxConnections {
				t.Errorf("%s, detail %d: %d bytes in %d connections", c.name, detail, f.conns.size, len(f.conns.byID))
			}
			if counted := f.conns.count(); counted != f.conns.size {
				t.Errorf("%s, detail %d: %d bytes counted, there are %d", c.name, detail, f.conns.size, counted)
			}
			if got := play(f, 2, func(i int) string { return []string{"conn=z accept from 198.51.100.7", "conn=z refused"}[i] }); len(got) != 1 || got[0].ID != "198.51.100.7" {
				t.Errorf("%s, detail %d: who comes behind is not told: %+v", c.name, detail, got)
			}
			for _, conn := range f.conns.byID { // what a line may have to look through
				if len(conn.users) > usersMost || cap(conn.matches) > 4*linesMost || cap(conn.nofailMatches) > 4*linesMost {
					t.Errorf("%s, detail %d: %d users, room for %d and %d lines", c.name, detail, len(conn.users), cap(conn.matches), cap(conn.nofailMatches))
				}
			}
		}
	}
}

// count adds up what is kept, by looking at it.
func (c *connections) count() (n int) {
	for id, conn := range c.byID {
		n += connectionCost + len(id)
		for _, v := range []value{conn.who.fid, conn.who.ip4, conn.who.ip6, conn.who.cidr, conn.who.dns} {
			n += len(v.text)
		}
		for _, v := range conn.groups {
			n += groupSize(v)
		}
		for _, u := range conn.users {
			n += len(u)
		}
		for _, list := range [][]Line{conn.matches, conn.nofailMatches} {
			for _, l := range list {
				n += l.size()
			}
		}
	}
	return n
}

// TestQuietConnectionGoes: a connection that has lines is not forgotten because others
// came, or because it is old.
func TestQuietConnectionGoes(t *testing.T) {
	f := tied(t, DetailLines)
	if got := play(f, 20_102, func(i int) string {
		switch {
		case i <= 100:
			return fmt.Sprintf("conn=%d accept from 192.0.2.%d", i, i)
		}
		return "conn=0 refused"
	}); len(got) != 20_001 {
		t.Errorf("101 connections, then failures of the first: %d, want 20001", len(got))
	}
	// A line a minute, for an hour.
	f = tied(t, DetailLines)
	match := func(after time.Duration, text string) int {
		at := connNow.Add(after)
		return len(f.Match([]byte(at.Format("2006-01-02 15:04:05 ")+text), at).Failures)
	}
	match(0, "conn=1 accept from 192.0.2.7")
	for n := 1; n <= 60; n++ {
		if match(time.Duration(n)*time.Minute, "conn=1 refused") != 1 {
			t.Fatalf("forgotten after %d minutes", n)
		}
	}
	if match(66*time.Minute, "conn=1 refused") != 0 {
		t.Error("known after six quiet minutes")
	}
	// 10,000 others push out who is quiet, not who is not.
	f = tied(t, DetailLines)
	play(f, 3, func(i int) string {
		return []string{"conn=busy accept from 192.0.2.7", "conn=quiet accept from 192.0.2.8"}[min(i, 1)]
	})
	play(f, 2*maxConnections, func(i int) string {
		if i%100 == 0 {
			return "conn=busy refused"
		}
		return fmt.Sprintf("conn=%d accept from 192.0.2.9", i)
	})
	if got := play(f, 1, func(int) string { return "conn=busy refused" }); len(got) != 1 {
		t.Error("the busy one is forgotten")
	}
	if got := play(f, 1, func(int) string { return "conn=quiet refused" }); len(got) != 0 {
		t.Error("the quiet one is known")
	}
}

// TestWaitingLines: what failed before the address was known is told with it, as far
// as it is kept.
func TestWaitingLines(t *testing.T) {
	sequential(t)
	for _, detail := range []Detail{DetailLines, DetailAll} {
		f := tied(t, detail)
		got := play(f, 251, func(i int) string {
			if i == 250 {
				return "conn=1 failed bob from 192.0.2.7"
			}
			return fmt.Sprintf("conn=1 refused %d %s", i, strings.Repeat("é", 5*i*i))
		})
		if len(got) != 1 || len(got[0].Lines) != linesMost+1 {
			t.Fatalf("%d failures, %d lines", len(got), len(got[0].Lines))
		}
		first, last := got[0].Lines[0].String(), got[0].Lines[linesMost].String()
		if !strings.HasPrefix(first, "2026-10-10 12:00:00.150 conn=1 refused 150 éé") || len(first) > keptLine || len(first) < keptLine-2 || !strings.HasSuffix(first, "é [cut: 225043 bytes]") {
			t.Errorf("%d bytes: %.80q … %q", len(first), first, first[max(len(first)-40, 0):])
		}
		if last != "2026-10-10 12:00:00.250 conn=1 failed bob from 192.0.2.7" {
			t.Errorf("%q", last)
		}
	}
}
