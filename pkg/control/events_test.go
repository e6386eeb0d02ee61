package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// listenEvents answers on a socket with a table of events.
func listenEvents(t *testing.T, opts Options) (table *events.Table, path string) {
	t.Helper()
	table = events.Open(events.Options{Path: filepath.Join(t.TempDir(), "db"), Boot: "b"})
	t.Cleanup(table.Close)
	path = filepath.Join(t.TempDir(), "sock")
	s, err := Listen(path, &fake{events: table}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, _, ok := table.Last(); ok {
			return table, path
		}
		if time.Now().After(end) {
			t.Fatal("the table is not open")
		}
	}
}

// until waits until a table has so many events.
func until(t *testing.T, table *events.Table, n uint64) {
	t.Helper()
	if !hosttest.Soon(func() bool {
		last, _, _ := table.Last()
		return last >= n
	}) {
		t.Fatalf("there is no event %d", n)
	}
}

// get asks over a socket, and returns the answer as it comes.
func get(t *testing.T, path, query string, header ...string) *http.Response {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", path)
	}}}
	req, err := http.NewRequest(http.MethodGet, "http://bailiff"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close(); client.CloseIdleConnections() })
	return res
}

// TestEvents: what is asked for is told, and no more; what can't be told any more is said.
func TestEvents(t *testing.T) {
	table, path := listenEvents(t, Options{})
	for _, e := range []events.Event{
		{Kind: events.Found, Jail: "sshd", IP: "192.0.2.7"},
		{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.0/24"},
		{Kind: events.Found, Jail: "sshd", IP: "192.0.2.77", Line: `","ip":"192.0.2.7","x":"`},
		{Kind: events.Found, Jail: "shop", IP: "alice", Name: true, Address: "192.0.2.7"},
		{Kind: events.Found, Jail: "shop", IP: "2001:db8::7"},
		{Kind: events.Unban, Jail: `a"b`, IP: "198.51.100.1"},
	} {
		table.Add(&e)
	}
	until(t, table, 6)
	client := NewClient(path)
	for _, c := range []struct {
		q    EventsQuery
		want string
	}{
		{EventsQuery{}, "1 2 3 4 5 6"},
		{EventsQuery{Since: 4}, "5 6"},
		{EventsQuery{Filter: events.Filter{ID: "192.0.2.7"}}, "1 2 4"},
		{EventsQuery{Filter: events.Filter{ID: "192.0.2.0/25"}}, "1 2 3 4"},
		{EventsQuery{Filter: events.Filter{ID: "2001:db8::/32"}}, "5"},
		{EventsQuery{Filter: events.Filter{ID: "alice"}}, "4"},
		{EventsQuery{Filter: events.Filter{Jail: "shop"}}, "4 5"},
		{EventsQuery{Filter: events.Filter{Jail: `a"b`}}, "6"},
		{EventsQuery{Filter: events.Filter{Kinds: []events.Kind{events.Ban, events.Unban}}}, "2 6"},
		{EventsQuery{Filter: events.Filter{From: time.Now().Add(-time.Hour)}}, "1 2 3 4 5 6"},
		{EventsQuery{Filter: events.Filter{From: time.Now().Add(time.Hour)}}, ""},
		{EventsQuery{Last: 2}, "5 6"},
		{EventsQuery{Last: 99}, "1 2 3 4 5 6"},
		{EventsQuery{Last: 1, Filter: events.Filter{Jail: "shop"}}, "5"},
		{EventsQuery{Last: 2, Filter: events.Filter{ID: "192.0.2.7"}}, "2 4"},
		{EventsQuery{Since: 5, Last: 3}, "6"},
		{EventsQuery{Last: 3, Filter: events.Filter{Jail: "none"}}, ""},
		{EventsQuery{Since: 99, Filter: events.Filter{Kinds: []events.Kind{events.Ban}}}, "gap 7-99 2"},
	} {
		var got []string
		if err := client.Events(context.Background(), c.q, func(line []byte) error {
			e, err := events.Parse(line)
			if e.N > 0 {
				got = append(got, fmt.Sprint(e.N))
			} else {
				got = append(got, fmt.Sprintf("%s %d-%d", e.Kind, e.From, e.To))
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", c.q.String(), err)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%q: %s, want %s", c.q.String(), text, c.want)
		}
	}
	for _, query := range []string{"?since=x", "?kind=nothing", "?from=yesterday", "?limit=3", "?follow=perhaps", "?ip=1&ip=2", "?since=-1", "?last=0", "?last=10001"} {
		if res := get(t, path, "/v1/events"+query); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", query, res.Status)
		}
	}
}

// TestLooks: so many look for the last events at a time. One more waits until one of them has ended, or says that others look.
func TestLooks(t *testing.T) {
	table, _ := listenEvents(t, Options{})
	table.Add(&events.Event{Kind: events.Ban, IP: "192.0.2.7"})
	until(t, table, 1)
	s := &streams{looks: make(chan struct{}, looksAtOnce), wait: time.Millisecond}
	for range looksAtOnce {
		s.looks <- struct{}{}
	}
	got := make(chan error, 1)
	ask := func() {
		_, err := s.beforeLast(table, &EventsQuery{Last: 1})
		got <- err
	}
	go ask()
	if err := <-got; !errors.Is(err, errLooks) {
		t.Errorf("beside %d others: %v", looksAtOnce, err)
	}
	s.wait = sheetPatience
	go ask()
	<-s.looks // one has ended
	if err := <-got; err != nil {
		t.Errorf("when one has ended: %v", err)
	}
}

// TestEventsFollowed: events come as they happen, as lines and as server-sent events; who was cut off
// goes on behind the last one.
func TestEventsFollowed(t *testing.T) {
	table, path := listenEvents(t, Options{})
	table.Add(&events.Event{Kind: events.Found, IP: "192.0.2.1"})
	until(t, table, 1)
	lines := bufio.NewReader(get(t, path, "/v1/events?follow=1").Body)
	sent := bufio.NewReader(get(t, path, "/v1/events", "Accept", "text/event-stream").Body)
	res := get(t, path, "/v1/events", "Accept", "text/event-stream", "Last-Event-ID", "1")
	later := bufio.NewReader(res.Body)
	if kind, stream := res.Header.Get("Content-Type"), res.Header.Get("Bailiff-Stream"); !strings.HasPrefix(kind, "text/event-stream") || len(stream) != 16 {
		t.Errorf("%s, %q", kind, stream)
	}
	next := func(r *bufio.Reader) string {
		t.Helper()
		text, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for n := 1; n <= 4; n++ {
		if n > 1 {
			table.Add(&events.Event{Kind: events.Found, IP: fmt.Sprintf("192.0.2.%d", n)})
		}
		want := fmt.Sprintf(`{"n":%d,`, n)
		if line := next(lines); !strings.HasPrefix(line, want) {
			t.Errorf("%s", line)
		}
		readers := []*bufio.Reader{sent}
		if n > 1 {
			readers = append(readers, later)
		}
		for _, r := range readers {
			if id, data, end := next(r), next(r), next(r); id != fmt.Sprintf("id: %d\n", n) || !strings.HasPrefix(data, "data: "+want) || end != "\n" {
				t.Errorf("%q %q %q", id, data, end)
			}
		}
	}
}

// TestEventsReader: who may only ask is not told what our log quotes of a configuration.
func TestEventsReader(t *testing.T) {
	table, path := listenEvents(t, Options{ReadGroup: "root"})
	table.Add(&events.Event{Kind: events.Error, Text: `jail sshd: action "curl -u me:secret": unknown`})
	until(t, table, 1)
	var b strings.Builder
	if err := NewClient(path).Events(context.Background(), EventsQuery{}, func(line []byte) error { b.Write(line); return nil }); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "secret") || !strings.Contains(b.String(), "jail sshd: action") {
		t.Error(b.String())
	}
}

// TestEventsSlow: who follows and does not read is cut off, which is told, and holds up nobody. A part
// of the connections is left to others.
func TestEventsSlow(t *testing.T) {
	defer followPatience.Store(int64(readPatience))
	followPatience.Store(int64(300 * time.Millisecond))
	var mu sync.Mutex
	var said []string
	table, path := listenEvents(t, Options{Warn: func(text string) { mu.Lock(); said = append(said, text); mu.Unlock() }})
	slow, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	text := strings.Repeat("x", 400)
	n := uint64(0)
	for range 20 { // more than the socket takes
		for range 250 {
			table.Add(&events.Event{Kind: events.Error, Text: text})
			n++
		}
		until(t, table, n)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		told := strings.Join(said, "\n")
		mu.Unlock()
		if strings.Contains(told, "a client that follows events was cut off: it goes on with since=NUMBER") && strings.Contains(told, "behind number") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not cut off: %q", told)
		}
	}
	// These have nothing to read, and so are not cut off.
	follow := fmt.Sprintf("/v1/events?follow=1&since=%d", n)
	most := clientBounds(Owner).streams
	for range most {
		if res := get(t, path, follow); res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
	}
	if res := get(t, path, follow); res.StatusCode != http.StatusServiceUnavailable {
		t.Error(res.Status)
	}
	if err := NewClient(path).Ping(); err != nil {
		t.Error(err)
	}
}
