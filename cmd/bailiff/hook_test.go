package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

const hookSecret = "0123456789abcdef-of-the-test"

// hookRequest is what a daemon has sent. Each life of it sends to a path of its own.
type hookRequest struct {
	Stream      string
	First, Last uint64
	Events      []events.Event
	life        string
	taken       bool // it is dealt with: by a receiver that has said so, or that could not
}

// begins is the number of its first event; what it looked at before is nothing that is sent, or what is gone.
func (q *hookRequest) begins() uint64 {
	e := q.Events[0]
	return max(e.N, e.To)
}

// hookReceiver is a server for events that may be away, refuse, or vanish before it has answered.
type hookReceiver struct {
	t    *testing.T
	addr string
	http *http.Server
	mu   sync.Mutex
	got  []*hookRequest
	// answer answers what is dealt with, by default with 204.
	answer  func(w http.ResponseWriter)
	refused int
	refuse  bool
}

// listen brings it to its address, and away brings it away with all connections.
func (v *hookReceiver) listen() {
	v.t.Helper()
	addr := v.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		v.t.Fatal(err)
	}
	v.addr = l.Addr().String()
	v.http = &http.Server{Handler: v}
	go v.http.Serve(l)
}

func (v *hookReceiver) away() { v.http.Close() }

func (v *hookReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was killed meanwhile
	}
	stamp, signature := r.Header.Get("Bailiff-Timestamp"), r.Header.Get("Bailiff-Signature")
	mac := hmac.New(sha256.New, []byte(hookSecret))
	fmt.Fprintf(mac, "%s.%s", stamp, body)
	if want := "v1=" + hex.EncodeToString(mac.Sum(nil)); signature != want {
		v.t.Errorf("signature %q, want %q", signature, want)
	}
	q := &hookRequest{life: r.URL.Path}
	if err := json.Unmarshal(body, q); err != nil || len(q.Events) == 0 {
		v.t.Errorf("%v: %.200s", err, body)
		return
	}
	if len(q.Events) > 201 || len(body) > 300<<10 {
		v.t.Errorf("a request of %d events, %d bytes", len(q.Events), len(body))
	}
	v.mu.Lock()
	v.got = append(v.got, q)
	refuse, answer := v.refuse, v.answer
	if q.taken = !refuse; refuse {
		v.refused++
	}
	v.mu.Unlock()
	switch {
	case refuse:
		w.WriteHeader(http.StatusServiceUnavailable)
	case answer != nil:
		answer(w)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// set changes how it answers.
func (v *hookReceiver) set(refuse bool, answer func(http.ResponseWriter)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refuse, v.answer = refuse, answer
}

// has reports whether something of an address has come.
func (v *hookReceiver) has(ip string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, q := range v.got {
		for _, e := range q.Events {
			if q.taken && e.IP == ip {
				return true
			}
		}
	}
	return false
}

// hookLives runs a daemon with a webhook in one life after the other.
type hookLives struct {
	*daemonAt
	*hookReceiver
	dir, text string // text is the configuration, with %s for where events are sent to
	logged    string
	process   *exec.Cmd
	lives     int
	next      int
}

// start begins a life; the webhook has begun when it returns.
func (h *hookLives) start() {
	h.daemonAt.t.Helper()
	t := h.daemonAt.t
	h.lives++
	hosttest.Write(t, filepath.Join(h.dir, "bailiff.toml"), fmt.Sprintf(h.text, fmt.Sprintf("http://%s/%d", h.addr, h.lives)))
	h.process = exec.Command(program(t, "bailiff"), "run", "--config", h.dir, "--socket", h.socket, "--log-target", h.log)
	c := h.process
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	h.api = control.NewClient(h.socket)
	h.until("the webhook does not begin", func() bool {
		s, err := h.api.Status()
		return err == nil && len(s.Exports) == 1 && s.Exports[0].Behind >= 0
	})
}

func (h *hookLives) kill() {
	_ = h.process.Process.Kill()
	_ = h.process.Wait()
}

// fail writes lines of so many addresses into the log, and returns the last one's network when its ban is in the table.
func (h *hookLives) fail(n int) string {
	h.daemonAt.t.Helper()
	t := h.daemonAt.t
	var lines bytes.Buffer
	last := ""
	for range n {
		last = fmt.Sprintf("2001:db8:1:%x::/64", h.next) // which is banned of IPv6
		fmt.Fprintf(&lines, "%s login failed from 2001:db8:1:%x::7\n", time.Now().UTC().Format(time.RFC3339), h.next)
		h.next++
	}
	f, err := os.OpenFile(h.logged, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(lines.Bytes()); err != nil {
		t.Fatal(err)
	}
	h.until("the last ban is no event", func() bool {
		found := false
		err := h.api.Events(context.Background(), control.EventsQuery{Filter: events.Filter{ID: last, Kinds: []events.Kind{events.Ban}}}, func([]byte) error { found = true; return nil })
		return err == nil && found
	})
	return last
}

// TestHookOverKills: a webhook of a real daemon, which is killed (SIGKILL) at rest, over an outage, and while
// the receiver deals with a request; the receiver is away, refuses, and vanishes before it has answered.
// Each event comes, with its number, in an order that goes up; what comes again is what was under way
// when something broke; each request is signed and bounded; and what the table of events, which is
// bounded, could not keep over an outage is told as a gap, to the number.
func TestHookOverKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := &hookReceiver{t: t}
	v.listen()
	defer func() { v.away() }()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(hookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	h := &hookLives{
		daemonAt: &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}, hookReceiver: v, dir: dir, logged: log,
		text: fmt.Sprintf("[database]\npath = %q\nevents = 1\n[export.hook]\nkind = \"webhook\"\ntoken_file = %q\nevents = [\"found\", \"ban\", \"more\", \"stop\"]\n", filepath.Join(dir, "db"), secret) + "url = %[1]q\n" + strings.ReplaceAll(shopWithoutFirewall(log), "maxretry = 2", "maxretry = 1"),
	}
	come := func(ip string) {
		t.Helper()
		h.until(ip+" is not told of", func() bool { return v.has(ip) })
	}

	h.start() // 1: all is well
	come(h.fail(450))
	h.kill()

	h.start() // 2: it is away, and refuses when it is back
	v.away()
	h.fail(300)
	h.until("nothing is said of it", func() bool { out, _ := h.run("status"); return strings.Contains(out, "connection refused") })
	v.set(true, nil)
	v.listen()
	h.until("it is not tried again", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.refused > 0 })
	h.kill()

	h.start() // 3: still it refuses, then it is back, and dies when it has dealt with one request
	h.fail(5)
	died := false
	v.set(false, func(w http.ResponseWriter) {
		v.mu.Lock()
		first := !died
		died = true
		v.mu.Unlock()
		if first {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	come(h.fail(5))
	h.kill()

	h.start() // 4: the daemon dies while it is answered
	at, killed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	v.set(false, func(http.ResponseWriter) { once.Do(func() { close(at) }); <-killed; panic(http.ErrAbortHandler) })
	h.fail(20)
	<-at
	h.kill()
	close(killed)

	v.set(true, nil)
	h.start() // 5: an outage that is longer than what the table keeps
	for range 8 {
		h.fail(500)
	}
	h.kill()

	v.set(false, nil)
	h.start() // 6: and well again
	come(h.fail(10))
	h.until("it does not say that all is sent", func() bool {
		s, err := h.api.Status()
		return err == nil && s.Exports[0].Behind == 0 && s.Exports[0].Error == "" && s.Exports[0].LastSuccess != nil
	})
	last, err := h.api.Status()
	if err != nil {
		t.Fatal(err)
	}
	upTo := last.Exports[0].Event
	h.kill()

	kept, size := map[uint64]events.Event{}, int64(0)
	r, err := events.Files(filepath.Join(dir, "db"), 0, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Each(func(n uint64, line []byte) bool {
		e, err := events.Parse(line)
		if err != nil {
			t.Errorf("%v: %s", err, line)
		}
		kept[n] = e
		return true
	}); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "db.events*"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil {
			size += fi.Size()
		}
	}
	if size == 0 || size > 2<<20 {
		t.Errorf("the table has %d bytes, in %q", size, files)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	checkHook(t, v.got, kept, upTo)
}

// checkHook looks at what a receiver was sent, beside what the table has.
func checkHook(t *testing.T, got []*hookRequest, kept map[uint64]events.Event, upTo uint64) {
	t.Helper()
	next := got[0].First // the number that has to come
	var before *hookRequest
	gaps, again := 0, 0
	for i, q := range got {
		if q.Stream != got[0].Stream {
			t.Errorf("request %d is of stream %s", i, q.Stream)
		}
		for n := next; n < q.First; n++ {
			wantNone(t, kept, n)
		}
		// What was dealt with comes again only right behind a request to which there was no answer, or which
		// was the last of a life.
		if q.First < next {
			again++
			if q.begins() < before.begins() || q.life == before.life && got[i-1] != before {
				t.Errorf("request %d, of life %s, begins at %d once more, behind %d to %d of life %s", i, q.life, q.First, before.First, before.Last, before.life)
			}
		}
		at := q.First - 1
		for _, e := range q.Events {
			if e.Kind == events.Gap && e.N == 0 {
				gaps++
				if e.From <= at || e.To < e.From || e.To > q.Last {
					t.Errorf("request %d, %d to %d: a gap of %d to %d behind %d", i, q.First, q.Last, e.From, e.To, at)
				}
				for n := e.From; n <= e.To; n++ {
					if _, ok := kept[n]; ok {
						t.Fatalf("number %d is said to be gone, and is there", n)
					}
				}
				at = e.To
				continue
			}
			if e.N <= at || e.N > q.Last {
				t.Errorf("request %d, %d to %d: number %d behind %d", i, q.First, q.Last, e.N, at)
			}
			for n := at + 1; n < e.N; n++ {
				wantNone(t, kept, n)
			}
			if k, ok := kept[e.N]; ok && (k.Kind != e.Kind || k.IP != e.IP || !k.Time.Equal(e.Time)) {
				t.Errorf("number %d is %+v, and was told as %+v", e.N, k, e)
			}
			at = e.N
		}
		for n := at + 1; n <= q.Last; n++ {
			wantNone(t, kept, n)
		}
		if q.taken {
			next, before = q.Last+1, q
		}
	}
	for n := next; n <= upTo; n++ {
		wantNone(t, kept, n)
	}
	if gaps == 0 || again == 0 || len(got) < 10 {
		t.Errorf("%d gaps were told of, %d requests came again, of %d", gaps, again, len(got))
	}
	t.Logf("%d requests, %d of them again, %d gaps, %d numbers", len(got), again, gaps, upTo)
}

// wantNone wants a number to be that of an event that is not for the receiver, or of one that was gone when the
// table was read.
func wantNone(t *testing.T, kept map[uint64]events.Event, n uint64) {
	t.Helper()
	if e, ok := kept[n]; ok && (e.Kind == events.Found || e.Kind == events.Ban || e.Kind == events.More) {
		t.Errorf("number %d was never told: %+v", n, e)
	}
}
