package remote

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// receiver is a server that keeps what it was sent, and fails as it is told.
type receiver struct {
	*httptest.Server
	t      *testing.T
	secret string

	mu    sync.Mutex
	got   []uint64 // in order, with those that came again
	gaps  int
	most  int // events in a request
	fail  func(w http.ResponseWriter, r *http.Request) bool
	moved int
}

func receive(t *testing.T, secret string) *receiver {
	t.Helper()
	v := &receiver{t: t, secret: secret}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.URL.Path == "/elsewhere" {
		v.moved++
		return
	}
	body, err := io.ReadAll(r.Body)
	at, _ := strconv.ParseInt(r.Header.Get(HookTime), 10, 64)
	switch {
	case err != nil:
		return // it was cut off
	case !hmac.Equal([]byte(r.Header.Get(HookSignature)), []byte(Sign(v.secret, at, body))) || time.Since(time.Unix(at, 0)).Abs() > time.Minute:
		v.t.Errorf("signature %q of %d", r.Header.Get(HookSignature), at)
	case strings.Contains(fmt.Sprint(r.Header)+string(body), v.secret):
		v.t.Error("the secret is sent")
	}
	if v.fail != nil && v.fail(w, r) {
		return
	}
	var b struct {
		First, Last uint64
		Events      []events.Event
	}
	if err := json.Unmarshal(body, &b); err != nil {
		v.t.Errorf("%v: %.200s", err, body)
	}
	v.most = max(v.most, len(b.Events))
	for _, e := range b.Events {
		if e.Kind == events.Gap {
			v.gaps++
			continue
		}
		if e.N < b.First || e.N > b.Last {
			v.t.Errorf("event %d in a batch of %d to %d", e.N, b.First, b.Last)
		}
		v.got = append(v.got, e.N)
	}
}

func (v *receiver) numbers() []uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]uint64(nil), v.got...)
}

// hook makes one that waits for next to nothing.
func (v *receiver) hook(table *events.Table, path string) *Hook {
	return &Hook{
		Client: &Client{URL: v.URL, Token: func() (string, error) { return v.secret, nil }},
		Table:  table, Host: "h", Kinds: []events.Kind{events.Ban, events.Unban}, Path: path,
		Tell:  func(level slog.Level, text string) { v.t.Logf("%v %s", level, text) },
		Sleep: func(ctx context.Context, d time.Duration) error { return Sleep(ctx, min(d, time.Millisecond)) },
	}
}

// TestWebhook: over failures, cut connections, restarts and ends in the middle, each event that is wanted
// comes at least once, in order but for repetitions, and one that came again has its number.
func TestWebhook(t *testing.T) {
	dir := t.TempDir()
	open := func() *events.Table {
		table := events.Open(events.Options{Path: filepath.Join(dir, "db"), Bytes: events.LeastBytes})
		hosttest.Until(t, "the table is open", func() bool { _, _, ok := table.Last(); return ok })
		return table
	}
	v := receive(t, "0123456789abcdef-secret")
	random := rand.New(rand.NewPCG(3, 4))
	v.fail = func(w http.ResponseWriter, r *http.Request) bool {
		switch random.IntN(5) {
		case 0:
			w.WriteHeader([]int{500, 503, 429, 404, 413}[random.IntN(5)])
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	}
	path := filepath.Join(dir, "webhook-x")
	table := open()
	first := v.hook(table, path) // from here on
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); first.Run(ctx) }()
	hosttest.Until(t, "it has begun", func() bool { return first.State().Behind >= 0 })
	wanted := map[uint64]bool{}
	const rounds, each = 8, 60
	for round := range rounds {
		for i := range each {
			kind := []events.Kind{events.Ban, events.Found, events.Unban}[i%3]
			table.Add(&events.Event{Kind: kind, Jail: "sshd", IP: fmt.Sprintf("192.0.2.%d", i)})
		}
		if round%2 == 1 { // in the middle of whatever it is at
			stop()
			<-ended
			table.Close()
			table = open()
			ctx, stop = context.WithCancel(context.Background())
			ended = make(chan struct{})
			h, done := v.hook(table, path), ended
			own := ctx
			go func() { defer close(done); h.Run(own) }()
		}
	}
	defer func() { stop(); <-ended; table.Close() }()
	hosttest.Until(t, "all are written", func() bool { last, _, _ := table.Last(); return last >= rounds*each })
	if err := table.Reader(0).Each(func(n uint64, line []byte) bool {
		if e, err := events.Parse(line); err != nil || e.Kind == events.Ban || e.Kind == events.Unban {
			wanted[n] = true
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(wanted) != rounds*each*2/3 {
		t.Fatalf("%d events are wanted", len(wanted))
	}
	hosttest.Until(t, "all came", func() bool {
		have := map[uint64]bool{}
		for _, n := range v.numbers() {
			have[n] = true
		}
		return len(have) == len(wanted)
	})
	highest := uint64(0)
	for _, n := range v.numbers() {
		if !wanted[n] {
			t.Errorf("event %d came, which is none that is wanted", n)
		}
		if n > highest { // nothing is left out on the way up
			for k := highest + 1; k < n; k++ {
				if wanted[k] {
					t.Errorf("event %d came before %d", n, k)
				}
			}
			highest = n
		}
	}
	if v.moved > 0 {
		t.Error("a redirect was followed")
	}
}

// TestWebhookGap: what the table keeps no more is told as a gap, and the rest comes.
func TestWebhookGap(t *testing.T) {
	table := events.Open(events.Options{Bytes: events.LeastBytes}) // in memory
	defer table.Close()
	hosttest.Until(t, "the table is open", func() bool { _, _, ok := table.Last(); return ok })
	v := receive(t, "0123456789abcdef-secret")
	var down sync.Mutex
	refuse := true
	v.fail = func(w http.ResponseWriter, _ *http.Request) bool {
		down.Lock()
		defer down.Unlock()
		if refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return refuse
	}
	h := v.hook(table, "")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx) }()
	defer func() { stop(); <-done }()
	long := strings.Repeat("x", 500)
	// It has begun, and has an event to tell, before the table lets any go.
	hosttest.Until(t, "the error is told", func() bool {
		table.Add(&events.Event{Kind: events.Ban, Jail: "sshd", IP: "first"})
		return strings.Contains(h.State().Error, "503")
	})
	begun, _, _ := table.Last() // what it has in hand ends within a request of that
	gone := func() bool { return table.Reader(0).Oldest() > begun+hookEvents+1 }
	for i := 0; !gone(); i++ {
		table.Add(&events.Event{Kind: events.Ban, Jail: "sshd", IP: fmt.Sprint(i), Text: long, Why: long, By: long})
		if i%50 == 0 {
			time.Sleep(time.Millisecond) // it writes
		}
	}
	down.Lock()
	refuse = false
	down.Unlock()
	last, _, _ := table.Last()
	hosttest.Until(t, "what is kept came", func() bool { n := v.numbers(); return len(n) > 0 && n[len(n)-1] >= last })
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gaps == 0 {
		t.Error("nothing tells of the gap")
	}
	if v.most > hookEvents+1 {
		t.Errorf("%d events in a request", v.most)
	}
	hosttest.Until(t, "the state is good", func() bool { s := h.State(); return s.Error == "" && s.LastSuccess != nil && s.Event >= last })
}
