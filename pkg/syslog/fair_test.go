package syslog

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestQueue: a queue against a plain model of it, with random senders.
func TestQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := queue{most: 20_000}
	senders := make([]*sender, 20)
	for i := range senders {
		senders[i] = &sender{key: key{user: uint32(i)}, name: fmt.Sprint(i)}
	}
	waits := map[*sender][]time.Time{}
	at := time.Unix(0, 0)
	bytes := func(s *sender) int { return len(waits[s]) * (100 + itemCost) }
	for range 20_000 {
		if r.IntN(3) > 0 {
			s := senders[min(r.IntN(20), r.IntN(20))]
			at = at.Add(time.Second)
			waits[s] = append(waits[s], at)
			for _, d := range q.push(Item{from: s, size: 100, Received: at}) {
				for _, other := range senders {
					if bytes(other) > bytes(d) {
						t.Fatalf("%s lost with %d bytes, and %s has %d", d.name, bytes(d), other.name, bytes(other))
					}
				}
				waits[d] = waits[d][:len(waits[d])-1]
			}
		} else {
			for _, it := range q.pop(1+r.IntN(10), 10_000, r.IntN(2) == 0) {
				if !waits[it.from][0].Equal(it.Received) {
					t.Fatalf("of %s came %v, want %v", it.from.name, it.Received, waits[it.from][0])
				}
				waits[it.from] = waits[it.from][1:]
			}
		}
		lines, all := 0, 0
		for _, s := range senders {
			lines, all = lines+len(waits[s]), all+bytes(s)
		}
		if q.lines != lines || q.bytes != all || all > q.most {
			t.Fatalf("%d lines, %d bytes, want %d, %d", q.lines, q.bytes, lines, all)
		}
	}
}

// TestFair: while nobody takes anything, one sends more than is kept, and another one little:
// of his nothing is lost, and it comes as soon as anything does.
func TestFair(t *testing.T) {
	h, said := newHub(t, Settings{})
	a := loop(t, UDP)
	s := h.Attach("x", Wants{Listen: []Address{a}})
	hostile, honest := send(t, a, "127.0.0.66"), send(t, a, "127.0.0.7")
	const few = 500
	flood := []byte("<38>Jan  2 12:00:00 host sshd[1]: " + strings.Repeat("x", 1000))
	for i := range few {
		for range 20 { // 13 MB in all
			if _, err := hostile.Write(flood); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Fprintf(honest, "<38>sshd[2]: %d", i); err != nil {
			t.Fatal(err)
		}
		n := i + 1
		hosttest.Until(t, "it is read", func() bool { // what the kernel would drop is no matter here
			s.mu.Lock()
			defer s.mu.Unlock()
			w := s.queue.of[keyOf(netip.MustParseAddr("127.0.0.7"))]
			return w != nil && len(w.items)-w.first == n
		})
	}
	if s.Lost() == 0 {
		t.Error("nothing was lost: there was no flood")
	}
	got := 0
	for seen := 0; got < few; {
		for _, line := range take(t, s, 1) {
			seen++
			if strings.HasPrefix(line, "127.0.0.7 ") {
				if want := fmt.Sprintf("127.0.0.7 sshd[2]: %d", got); line != want {
					t.Fatalf("%q, want %q", line, want)
				}
				got++
			}
		}
		if seen > 20*few/2 && got < few/2 {
			t.Fatalf("%d of %d came among %d", got, few, seen)
		}
	}
	hosttest.Until(t, "it is told", func() bool {
		return strings.Contains(said.all(), "of 127.0.0.66, ") && strings.Contains(said.all(), "messages were dropped since they came faster than the jail takes them")
	})
	if strings.Contains(said.all(), "127.0.0.7") {
		t.Error(said.all())
	}
}

// TestStreamsWait: a stream waits for who takes nothing, and loses nothing by it; others that
// share the socket don't wait for long.
func TestStreamsWait(t *testing.T) {
	h, _ := newHub(t, Settings{})
	a := loop(t, TCP)
	s := h.Attach("x", Wants{Listen: []Address{a}})
	const lines = 5000
	text := strings.Repeat("x", 500)
	c := send(t, a, "")
	sent := make(chan error, 1)
	go func() {
		for i := range lines {
			if _, err := fmt.Fprintf(c, "<38>sshd[2]: %d %s\n", i, text); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	hosttest.Until(t, "much waits", func() bool { return s.waiting() > 300 })
	if n := s.waiting(); n > streamMost/500+1 {
		t.Errorf("%d wait", n)
	}
	for got := 0; got < lines; {
		for _, line := range take(t, s, 1) {
			if want := fmt.Sprintf("127.0.0.1 sshd[2]: %d %s", got, text); line != want {
				t.Fatalf("%.60q, want %.60q", line, want)
			}
			got++
		}
	}
	if err := <-sent; err != nil || s.Lost() > 0 {
		t.Error(err, s.Lost())
	}
}

// TestPace: beyond what a sender may send in a second, datagrams are dropped, and a stream is
// read more slowly.
func TestPace(t *testing.T) {
	at := time.Unix(1e9, 0)
	var b budget
	taken := 0
	for range 1000 {
		if b.take(1, 100, at) == 0 {
			taken++
		}
	}
	if taken != 100 {
		t.Errorf("%d at once, want 100", taken)
	}
	if wait := b.take(1, 100, at); wait != 10*time.Millisecond {
		t.Errorf("the next one in %v", wait)
	}
	if b.take(1, 100, at.Add(time.Second)) != 0 || b.take(1000, 100, at.Add(time.Hour)) != 0 || b.take(1, 100, at.Add(time.Hour)) == 0 {
		t.Error("later")
	}
	h, said := newHub(t, Settings{Lines: 50})
	udp, tcp := loop(t, UDP), loop(t, TCP)
	s := h.Attach("x", Wants{Listen: []Address{udp, tcp}})
	many := make([]string, 60)
	for i := range many {
		many[i] = "<38>sshd[2]: x\n"
	}
	send(t, tcp, "", many...)
	take(t, s, len(many))
	c := send(t, udp, "")
	hosttest.Until(t, "it is told", func() bool {
		_, _ = io.WriteString(c, many[0])
		return strings.Contains(said.all(), "of 127.0.0.1, ") && strings.Contains(said.all(), "more than 50 a second")
	})
}

// TestConnections: beyond what a sender may have, the one that was silent for longest ends; beyond
// what there may be, who has most gives to who has less.
func TestConnections(t *testing.T) {
	h, _ := newHub(t, Settings{Connections: 4})
	a := loop(t, TCP)
	s := h.Attach("x", Wants{Listen: []Address{a}})
	var all []net.Conn
	for i := range 4 {
		all = append(all, send(t, a, "", fmt.Sprintf("<38>p: %d\n", i)))
		take(t, s, 1)
	}
	if _, err := io.WriteString(all[0], "<38>p: again\n"); err != nil {
		t.Fatal(err)
	}
	take(t, s, 1)
	fifth := send(t, a, "", "<38>p: 5\n")
	take(t, s, 1)
	_ = all[1].SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := all[1].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the silent one: %v", err)
	}
	for _, c := range []net.Conn{all[0], all[2], all[3], fifth} {
		if _, err := io.WriteString(c, "<38>p: still\n"); err != nil {
			t.Error(err)
		}
	}
	take(t, s, 4)
}

// TestSenders: however many send, so many are remembered, and so many told of.
func TestSenders(t *testing.T) {
	var all senders
	at := time.Unix(1e9, 0)
	addr := netip.MustParseAddr("2001:db8::")
	for i := range 3 * sendersMost {
		b := addr.As16()
		b[4], b[5], b[6], b[7] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i) // a /64 each
		a := netip.AddrFrom16(b)
		s := all.of(keyOf(a), a, at)
		s.counts.fast++
		s.connections = btoi(i == 0)
		b[15] = 7
		if all.of(keyOf(netip.AddrFrom16(b)), netip.AddrFrom16(b), at) != s {
			t.Fatal("another address of the same /64 is another sender")
		}
		all.stranger(a)
	}
	if len(all.all) != sendersMost || len(all.strangers) != strangersMost {
		t.Errorf("%d are known, %d strangers", len(all.all), len(all.strangers))
	}
	if all.all[keyOf(addr)] == nil {
		t.Error("one who is connected is forgotten")
	}
	settings := Settings{}.withDefaults()
	out := all.report(&settings)
	if len(out) != toldMost+2 || !strings.Contains(out[toldMost], fmt.Sprintf("of %d others, %d messages were dropped", 3*sendersMost-toldMost, 3*sendersMost-toldMost)) ||
		!strings.Contains(out[toldMost+1], fmt.Sprintf("others (%d)", 3*sendersMost-toldMost)) {
		t.Errorf("%q", out)
	}
	if again := all.report(&settings); len(again) > 0 {
		t.Errorf("twice: %q", again)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestDrain: at the end nothing more is read, and what was is waited for.
func TestDrain(t *testing.T) {
	h, _ := newHub(t, Settings{})
	a := loop(t, TCP)
	s := h.Attach("x", Wants{Listen: []Address{a}})
	send(t, a, "", "<38>p: 1\n<38>p: 2\n")
	hosttest.Until(t, "both came", func() bool { return s.waiting() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if n := h.Drain(ctx); n != 2 {
		t.Errorf("%d are left, want 2", n)
	}
	done := make(chan int)
	go func() { done <- h.Drain(t.Context()) }()
	take(t, s, 2)
	if n := <-done; n != 0 {
		t.Errorf("%d are left", n)
	}
}
