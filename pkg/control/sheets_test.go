package control

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/events"
)

// TestSheets: whoever is at the same place and wants the same has the same sheet, whichever way he came
// there; each event is put into a form once, and what is kept is bounded, and for nobody nothing.
func TestSheets(t *testing.T) {
	table, _ := listenEvents(t, Options{})
	var p press
	const followers, rounds = 1000, 8
	for range followers {
		p.enter()
	}
	at := make([]events.Reader, followers)
	seen := make([]uint64, followers)
	for i := range at {
		at[i] = *table.Reader(0)
	}
	n := uint64(0)
	for range rounds {
		for range 100 {
			table.Add(&events.Event{Kind: events.Error, Text: strings.Repeat("x", 1000)})
			n++
		}
		until(t, table, n)
		for i := range at {
			for at[i].Since() < n {
				key := sheetKey{table: table, since: at[i].Since(), sse: i%2 == 0, quoted: true}
				s, err := p.sheet(&at[i], key, &EventsQuery{})
				if err != nil || len(s.body) > sheetSize+2000 {
					t.Fatalf("%d bytes, %v", len(s.body), err)
				}
				seen[i] += uint64(strings.Count(string(s.body), `{"n":`))
				at[i] = s.after
			}
		}
		if p.bytes > sheetsMost || len(p.sheets) != len(p.order) {
			t.Fatalf("%d bytes, %d sheets, %d in order", p.bytes, len(p.sheets), len(p.order))
		}
	}
	for i, got := range seen {
		if got != n {
			t.Fatalf("follower %d was told %d of %d", i, got, n)
		}
	}
	if p.told != 2*int(n) { // in two forms
		t.Errorf("%d events were put into a form for %d followers, want %d", p.told, followers, 2*n)
	}
	late := *table.Reader(0) // what is not kept any more is made anew
	if s, err := p.sheet(&late, sheetKey{table: table, quoted: true}, &EventsQuery{}); err != nil || !strings.HasPrefix(string(s.body), `{"n":1,`) {
		t.Errorf("%v %.100s", err, s.body)
	}
	for range followers {
		p.leave()
	}
	if p.sheets != nil || p.order != nil || p.bytes != 0 {
		t.Errorf("%d sheets of %d bytes are kept for nobody", len(p.sheets), p.bytes)
	}
}

// TestEventsMany: as many follow as may, nine of ten of whom never read. The others are told all, others are
// answered, and what the slow ones cost does not grow with the events.
func TestEventsMany(t *testing.T) {
	defer followPatience.Store(int64(readPatience))
	followPatience.Store(int64(time.Hour)) // that who does not read is cut off is TestEventsSlow's
	table := events.Open(events.Options{Path: filepath.Join(t.TempDir(), "db"), Boot: "b"})
	defer table.Close()
	path := filepath.Join(t.TempDir(), "sock")
	s, err := Listen(path, &fake{events: table}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	until(t, table, 0)
	followers := clientBounds(Owner).streams
	before := inUse()
	var slow []*net.UnixConn
	var read sync.WaitGroup
	var last atomic.Uint64 // the event with which readers end
	for i := range followers {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		var head strings.Builder
		for b := make([]byte, 512); !strings.Contains(head.String(), "\r\n\r\n"); {
			n, err := c.Read(b)
			if err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			head.Write(b[:n])
		}
		if !strings.HasPrefix(head.String(), "HTTP/1.1 200 ") {
			t.Fatalf("after %d: %s", i, head.String())
		}
		if i%10 > 0 {
			slow = append(slow, c.(*net.UnixConn))
			continue
		}
		read.Go(func() {
			in := bufio.NewReaderSize(c, 4096)
			want := uint64(1)
			for last.Load() == 0 || want <= last.Load() {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Errorf("before event %d: %v", want, err)
					return
				}
				if !strings.HasPrefix(line, "{") {
					continue // of the pieces that it comes in
				}
				if !strings.HasPrefix(line, fmt.Sprintf(`{"n":%d,`, want)) {
					t.Errorf("%.40s instead of event %d", line, want)
					return
				}
				want++
			}
		})
	}
	open := inUse()
	n := uint64(0)
	more := func() uint64 {
		for range 10 {
			for range 100 {
				table.Add(&events.Event{Kind: events.Error, Text: strings.Repeat("x", 1000)})
				n++
			}
			until(t, table, n)
			if err := NewClient(path).Ping(); err != nil { // others have their turn
				t.Fatal(err)
			}
		}
		// All who don't read are stuck: what the kernel keeps for them grows no more.
		for had := -1; ; time.Sleep(100 * time.Millisecond) {
			all, some := 0, true
			for _, c := range slow {
				is := notRead(t, c)
				if is > 4*followBuffer {
					t.Fatalf("%d bytes wait in the kernel for one who does not read", is)
				}
				all += is
				some = some && is > 0
			}
			if some && all == had {
				break
			}
			had = all
		}
		return inUse()
	}
	once := more()
	twice := more()
	last.Store(n)
	table.Add(&events.Event{Kind: events.Error, Text: "the last one"}) // who has read all looks once more
	read.Wait()
	each := func(now uint64) int64 { return (int64(now) - int64(before)) / int64(followers) }
	t.Logf("%d streams: %d bytes each of both ends, %d with a megabyte of events that %d of them have not read, %d with two", followers, each(open), each(once), len(slow), each(twice))
	if each(open) > 64<<10 || each(twice) > 64<<10+sheetSize {
		t.Errorf("%d bytes each, with events that are not read %d", each(open), each(twice))
	}
	if grown := int64(twice) - int64(once); grown > 4*sheetsMost {
		t.Errorf("%d bytes more with twice as many events", grown)
	}
}

// inUse is how many bytes of memory are in use.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// notRead is how many bytes wait in the kernel for who is to read them.
func notRead(t *testing.T, c *net.UnixConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
