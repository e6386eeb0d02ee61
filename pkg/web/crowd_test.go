package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// listen has a site answer on loopback.
func (x *site) listen(most int) string {
	x.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.s.o.Most = most
	x.s.Serve(l)
	x.t.Cleanup(x.s.Close)
	return l.Addr().String()
}

// TestManyClients: where all places are taken by who is idle, by who sends nothing, and by who sends
// a header a byte at a time, somebody else is answered all the same.
func TestManyClients(t *testing.T) {
	t.Parallel()
	x := newSite(t, nil)
	at := x.listen(8)
	dial := func(say string) net.Conn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, say)
		return c
	}
	for range 8 { // idle behind a request
		c := dial("GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	get := func(what string) {
		t.Helper()
		c := http.Client{Timeout: time.Minute}
		res, err := c.Get("http://" + at + "/login")
		if err != nil {
			t.Fatalf("beside %s: %v", what, err)
		}
		res.Body.Close()
	}
	get("idle ones")
	for range 4 {
		dial("")
		dial("GET /login HTTP/1.1\r\nHost: 127")
	}
	get("silent and slow ones")
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.warned) != 1 || !strings.Contains(x.warned[0], "as many connections as it may") {
		t.Errorf("told: %q", x.warned)
	}
}

// TestStreams: events come to who follows them; a session has so many streams and no more; who has
// logged out follows nothing.
func TestStreams(t *testing.T) {
	defer func(was time.Duration) { streamLook = was }(streamLook)
	streamLook = 10 * time.Millisecond
	x := newSite(t, nil)
	b := x.in(control.Reader)
	at := x.listen(64)
	follow := func() *http.Response {
		r, err := http.NewRequest("GET", "http://"+at+"/stream?since=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: "bailiff", Value: b.cookies["bailiff"]})
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	var all []*http.Response
	for range streamsOwn {
		all = append(all, follow())
	}
	if res := follow(); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more: %s", res.Status)
	}
	if res := all[0]; res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || res.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	b.post("/jails/sshd", "/logout", url.Values{})
	for _, res := range all { // they end, in whichever way
		_, _ = io.Copy(io.Discard, res.Body)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		x.s.mu.Lock()
		n := x.s.streams
		x.s.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d streams are left", n)
		}
	}
	if res := follow(); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after logging out: %s", res.Status)
	}
}

// TestManyStreams: a thousand pages follow events, none of them reads: each holds memory of a bounded size
// however much happens, one more is refused, which is said, and a page is answered all the same.
func TestManyStreams(t *testing.T) {
	x := newSite(t, nil)
	at := x.listen(ConnectionsMost)
	var cookie string
	open := func(i int) (net.Conn, string) {
		if i%streamsOwn == 0 {
			token, _ := x.s.Link(fmt.Sprintf("user%d", i/streamsOwn), control.Reader)
			b := x.browser()
			if w := b.post("/login/"+token, "/login/"+token, url.Values{}); w.Code != http.StatusSeeOther {
				t.Fatalf("login: %d %s", w.Code, w.Body)
			}
			cookie = b.cookies["bailiff"]
		}
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /stream?since=0 HTTP/1.1\r\nHost: %s\r\nCookie: bailiff=%s\r\n\r\n", at, cookie)
		head := ""
		for b := make([]byte, 512); !strings.Contains(head, "\r\n\r\n"); {
			n, err := c.Read(b)
			if err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			head += string(b[:n])
		}
		return c, head
	}
	inUse := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := inUse()
	for i := range streamsMost {
		if _, head := open(i); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Fatalf("after %d: %s", i, head)
		}
	}
	if _, head := open(streamsMost); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
		t.Errorf("one more: %s", head)
	}
	opened := inUse()
	more := func() int64 {
		for range 10 {
			n, _, _ := x.d.table.Last()
			for range 100 {
				x.d.table.Add(&events.Event{Kind: events.Error, Text: strings.Repeat("x", 1000)})
			}
			if !hosttest.Soon(func() bool {
				last, _, _ := x.d.table.Last()
				return last == n+100
			}) {
				t.Fatal("the events are not there")
			}
			res, err := http.Get("http://" + at + "/login")
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
			res.Body.Close()
		}
		return inUse()
	}
	once := more()
	twice := more()
	each := func(now int64) int64 { return (now - before) / streamsMost }
	t.Logf("%d streams and their sessions: %d bytes each of both ends, %d with a megabyte of events that nobody has read, %d with two", streamsMost, each(opened), each(once), each(twice))
	if each(opened) > 96<<10 || twice-once > 8<<20 {
		t.Errorf("%d bytes each; with events %d, with twice as many %d", each(opened), each(once), each(twice))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.warned) == 0 || !strings.Contains(x.warned[0], "as many pages follow events as may") {
		t.Errorf("told: %q", x.warned)
	}
}

// TestBigForm: a form that is too long does nothing.
func TestBigForm(t *testing.T) {
	x := newSite(t, nil)
	b := x.in(control.Admin)
	if w := b.post("/jails", "/reload", url.Values{"x": {strings.Repeat("x", formMost)}}); w.Code != 403 || len(x.d.done) > 0 {
		t.Errorf("%d %v", w.Code, x.d.done)
	}
	if w := b.post("/jails", "/reload", url.Values{"x": {fmt.Sprint(1)}}); w.Code != 303 || len(x.d.done) != 1 {
		t.Errorf("%d %v", w.Code, x.d.done)
	}
}
