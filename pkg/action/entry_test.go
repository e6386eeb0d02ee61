package action

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestEntry: whatever a ticket tells, an entry tells it again, also when it was prolonged.
func TestEntry(t *testing.T) {
	ids := []string{
		"192.0.2.7", "192.0.2.0/24", "192.0.2.7/24", "2001:db8::1", "2001:db8::/64", "2001:DB8::1", "::ffff:192.0.2.1", "::ffff:192.0.2.1/128", "fe80::1%eth0",
		"192.0.2.7/32", "alice", "", "192.0.2.07", "0.0.0.0", "0.0.0.0/0", "::", "::/0",
	}
	times := []string{"1764000000.123456", "1764000000.0", "1764000000.50", "1764000000", "0", "", "1764000000.", "1764000000.1234567", "-5.5", "1764000000.-1", "1e9", "99999999999999999999"}
	lasts := []time.Duration{-1, 0, time.Second, time.Hour, 1500 * time.Millisecond, -time.Second, 285 * 365 * 24 * time.Hour}
	began, many := []int64{1764000000, 0, 1 << 40}, []int{3, 1<<16 - 20, 1<<31 - 100, 1<<16 - 1, 0}
	for _, id := range ids {
		for i, text := range times {
			for k, last := range lasts {
				ticket := func(n int) *Ticket {
					ip, _ := netip.ParseAddr(id)
					if n%3 == 1 {
						ip = netip.MustParseAddr("198.51.100.9")
					}
					return &Ticket{ID: id, IP: ip, Time: text, Began: began[n%len(began)] + int64(n), BanTime: last, Failures: many[n%len(many)] + n, BanCount: many[n/2%len(many)], Restored: n%2 == 1}
				}
				first, again := ticket(i+k), ticket(i+k+1)
				again.IP, again.Restored = first.IP, first.Restored
				e := newEntry(whoIs(id), first, 1)
				told := func(f facts) *Ticket {
					out := e.ticket(f, nil)
					out.load = false
					return out
				}
				before := e.begun()
				if got := told(e.last()); !reflect.DeepEqual(got, first) {
					t.Fatalf("%+v, told as %+v", first, got)
				}
				e.take(again)
				if got := told(e.last()); !reflect.DeepEqual(got, again) {
					t.Fatalf("%+v, prolonged, told as %+v", again, got)
				}
				if got := told(before); !reflect.DeepEqual(got, first) {
					t.Fatalf("%+v, as it was, told as %+v", first, got)
				}
			}
		}
	}
}

// TestEntries: as a map would have it, also where many have the same hash.
func TestEntries(t *testing.T) {
	testEntries(t)
	before := hashMask
	defer func() { hashMask = before }()
	hashMask = 15
	testEntries(t)
}

func testEntries(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s entries
	model := map[string]*entry{}
	for step := range 20_000 {
		id := fmt.Sprintf("192.0.2.%d", random.IntN(200))
		if random.IntN(4) == 0 {
			id = fmt.Sprintf("name%d", random.IntN(200))
		}
		w := whoIs(id)
		if got := s.get(w); got != model[id] {
			t.Fatalf("step %d: %s is %v, and not %v", step, id, got, model[id])
		}
		switch random.IntN(3) {
		case 0:
			if got := s.remove(w); got != model[id] {
				t.Fatalf("step %d: %s, removed, was %v, and not %v", step, id, got, model[id])
			}
			delete(model, id)
		default:
			if model[id] == nil {
				model[id] = newEntry(w, &Ticket{ID: id, Time: "1.0"}, uint64(step))
				s.add(model[id])
			}
		}
		if random.IntN(2000) == 0 {
			s.clear()
			clear(model)
		}
		n := 0
		for e := range s.all() {
			if n++; model[e.id()] != e {
				t.Fatalf("step %d: %s is there", step, e.id())
			}
		}
		if n != len(model) || s.n != n {
			t.Fatalf("step %d: %d, counted as %d, and not %d", step, n, s.n, len(model))
		}
	}
}

// TestJobs: what waits comes in its order.
func TestJobs(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var q jobs
	next, first := uint64(0), uint64(0)
	for range 20_000 {
		for range random.IntN(5) {
			q.push(job{no: next})
			next++
		}
		for range random.IntN(5) {
			if q.n == 0 {
				break
			}
			if at := q.at(q.n / 2).no; at != first+uint64(q.n/2) {
				t.Fatalf("in the middle is %d, and not %d", at, first+uint64(q.n/2))
			}
			if j := q.pop(); j.no != first {
				t.Fatalf("%d in place of %d", j.no, first)
			}
			first++
		}
		if q.n != int(next-first) || len(q.pieces) > q.n/jobsPiece+2 {
			t.Fatalf("%d jobs wait, counted as %d in %d pieces", next-first, q.n, len(q.pieces))
		}
	}
}

// TestMarks: those in the entries and those in sets are the same, each apart from the others.
func TestMarks(t *testing.T) {
	all := map[[2]int]marks{}
	for action := range 20 {
		for kind := range 2 {
			all[[2]int{action, kind}] = marksOf(action, kind)
		}
	}
	is := map[[3]int]bool{}
	random := rand.New(rand.NewPCG(5, 6))
	some := []*entry{{}, {}, {}}
	for range 10_000 {
		k, n := [2]int{random.IntN(20), random.IntN(2)}, random.IntN(3)
		m := all[k]
		if is[[3]int{k[0], k[1], n}] = random.IntN(2) == 0; is[[3]int{k[0], k[1], n}] {
			m.add(some[n])
		} else {
			m.remove(some[n])
		}
		for k, m := range all {
			for n, e := range some {
				if m.has(e) != is[[3]int{k[0], k[1], n}] {
					t.Fatalf("action %d, kind %d, entry %d: %v", k[0], k[1], n, m.has(e))
				}
			}
		}
	}
}

// TestTold: what is kept of bans in force that all actions were told of, and whose lines they
// don't ask for, is little: there may be as many as there are bans.
func TestTold(t *testing.T) {
	const bans = 100_000
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	site := &Site{
		Jail: "web", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Run: func(context.Context, Command, time.Duration) bool { return true },
	}
	g := NewGroup([]Definition{defined("one", 0, "actionban", "ban <ip>", "actionunban", "un <ip>"), defined("two", 0, "actionban", "ban <ip>", "actionunban", "un <ip>")}, site)
	g.Begin()
	before := heap()
	for i := range bans {
		ticket := banOf(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}).String())
		ticket.Matches = []string{strings.Repeat("x", 1000)}
		g.Ban(ticket)
	}
	g.Sync(t.Context())
	took := (heap() - before) / bans
	t.Logf("%d bytes a ban", took)
	if took > 150 {
		t.Errorf("a ban that two actions were told of takes %d bytes", took)
	}
	for i := range bans {
		g.Unban(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}).String())
	}
	g.Sync(t.Context())
	if left := heap() - before; left > 1<<20 {
		t.Errorf("%d bytes are left of bans that are lifted", left)
	}
	<-g.Close(time.Time{})
}
