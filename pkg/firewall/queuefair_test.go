package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func floodOf(jail string, n int) (out []Change) {
	for i := range n {
		out = append(out, Change{Jail: jail, ID: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)}), 128), Left: time.Duration(i + 1)})
	}
	return out
}

// TestQueueFair: however much waits of one jail, what another one asks for is in the next
// transaction that begins; no jail's changes change places; and who empties its sets comes to
// that as well.
func TestQueueFair(t *testing.T) {
	fake := &fakeApplier{make(chan []Change, 10), make(chan struct{})}
	q := NewQueue(fake, func([]Change, error) { t.Error("failed") }, nil)
	q.Push(floodOf("flood", 20_000)...)
	next := func() []Change {
		fake.block <- struct{}{}
		return <-fake.got
	}
	first := <-fake.got
	if len(first) > sizeFirst {
		t.Errorf("the first transaction has %d changes", len(first))
	}
	id := prefix("192.0.2.1")
	q.Push(Change{Jail: "quiet", ID: id})
	second := next()
	if !slices.Contains(second, Change{Jail: "quiet", ID: id}) || len(second) < sizeLeast {
		t.Errorf("the quiet jail's ban is not in the next transaction, of %d changes", len(second))
	}
	// Many jails: each has something in the next one.
	for i := range 30 {
		q.Push(floodOf(fmt.Sprint("jail", i), 1000)...)
	}
	of := map[string]int{}
	third := 0
	for _, c := range next() {
		of[c.Jail]++
		third++
	}
	if len(of) != 31 {
		t.Errorf("of 31 jails, %d have changes in the next transaction", len(of))
	}
	q.Push(Change{Jail: "jail7", Clear: true})
	q.Push(Change{Jail: "new", Clear: true}, Change{Jail: "new", ID: id})
	got := map[string]int{}
	order := map[string]int{}
	cleared := map[string]int{}
	left := 20_000 + 30*1000 + 4 - len(first) - len(second) - third
	for n := 0; left > 0; n++ {
		list := next()
		left -= len(list)
		for _, c := range list {
			if c.Clear {
				if cleared[c.Jail] = n + 1; len(list) > 1 {
					t.Error("to empty a set is not a transaction of its own")
				}
				continue
			}
			b := c.ID.Addr().As16() // Left gets less with the time that it waits
			if n := int(b[14])<<8 + int(b[15]) + 1; c.Jail != "new" && n <= order[c.Jail] {
				t.Fatalf("%s: change %d after %d", c.Jail, n, order[c.Jail])
			} else {
				order[c.Jail] = n
			}
			got[c.Jail]++
		}
	}
	if cleared["new"] == 0 || cleared["new"] > 33 || cleared["jail7"] == 0 || got["new"] != 1 {
		t.Errorf("emptied at %v, new: %d", cleared, got["new"])
	}
	if all := got["flood"] + len(first) + len(second) - 1 + of["flood"]; all != 20_000 {
		t.Errorf("%d of 20000 changes of the flood", all)
	}
	close(fake.block)
	q.Close()
}

// TestQueuePace: transactions get smaller where they take long, down to a bound, and larger
// again.
func TestQueuePace(t *testing.T) {
	q := &Queue{size: sizeFirst}
	for range 20 {
		q.pace(q.size, 10*transactionMost)
	}
	if q.size != sizeLeast {
		t.Errorf("slow ones have %d changes", q.size)
	}
	q.pace(1, 0) // a single change says nothing
	if q.size != sizeLeast {
		t.Errorf("after one change, %d", q.size)
	}
	for range 20 {
		q.pace(q.size, 0)
	}
	if q.size != perTransaction {
		t.Errorf("quick ones have %d changes", q.size)
	}
}

// TestQueueWaits: a ban that has waited ends when it should all the same.
func TestQueueWaits(t *testing.T) {
	q := &Queue{lanes: map[string]*lane{}, size: sizeFirst}
	q.wake.L = &q.mu
	q.Push(Change{Jail: "j", ID: prefix("192.0.2.1"), Left: time.Hour}, Change{Jail: "j", ID: prefix("192.0.2.2"), Left: time.Second}, Change{Jail: "j", ID: prefix("192.0.2.3")})
	q.lanes["j"].stamps[0].at = time.Now().Add(-time.Minute)
	q.Push(Change{Jail: "j", ID: prefix("192.0.2.4"), Left: time.Hour})
	got := q.take()
	if len(got) != 4 || got[0].Left > 59*time.Minute || !got[1].Remove || got[2].Left != 0 || got[2].Remove || got[3].Left != time.Hour {
		t.Errorf("%+v", got)
	}
}
