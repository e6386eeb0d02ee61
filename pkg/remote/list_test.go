package remote_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

const (
	account = "0123456789abcdef0123456789abcdef"
	listID  = "fedcba9876543210fedcba9876543210"
	secret  = "s3cret-of-the-test"
	ours    = "bailiff on web1"
)

// running is a list that is kept against a server of the test's, with waits that take no time.
type running struct {
	t    *testing.T
	fake *remotetest.Cloudflare
	list *remote.List
	due  chan struct{}

	mu     sync.Mutex
	want   remote.Want
	told   []string
	waited []time.Duration
	stop   func()
}

func keep(t *testing.T, fake *remotetest.Cloudflare, set func(*remote.List)) *running {
	t.Helper()
	fake.Account, fake.List, fake.Token = account, listID, secret
	url, ca := remotetest.TLS(t, fake)
	r := &running{t: t, fake: fake, due: make(chan struct{}, 1)}
	p := *remote.ProviderOf("cloudflare")
	r.list = &remote.List{
		Provider: &p, Account: account, ID: listID, Comment: ours, Most: 100_000,
		Client: &remote.Client{URL: url, CA: ca, Header: p.Header, Scheme: p.Scheme, Token: func() (string, error) { return secret, nil }},
		Wanted: func() (remote.Want, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.want, nil
		},
		Tell: func(_ slog.Level, text string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.told = append(r.told, text)
		},
		Sleep: func(ctx context.Context, d time.Duration) error {
			r.mu.Lock()
			r.waited = append(r.waited, d)
			r.mu.Unlock()
			time.Sleep(min(d, time.Millisecond))
			return ctx.Err()
		},
	}
	if set != nil {
		set(r.list)
	}
	return r
}

func (r *running) start() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.list.Run(ctx, r.due)
	}()
	r.stop = func() { stop(); <-done }
	r.t.Cleanup(r.stop)
}

func (r *running) set(partial string, who ...string) {
	r.mu.Lock()
	r.want = remote.Want{Partial: partial}
	for _, w := range who {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			a := netip.MustParseAddr(w)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		r.want.Prefixes = append(r.want.Prefixes, p)
	}
	r.mu.Unlock()
	select {
	case r.due <- struct{}{}:
	default:
	}
}

func (r *running) until(what string, true func() bool) {
	r.t.Helper()
	if !hosttest.Soon(true) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.t.Fatalf("%s: %+v\n%q\nours %q, wrong %q", what, r.list.State(), r.told, r.fake.Items(ours), r.fake.Wrong())
	}
}

func (r *running) untilHas(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	r.until(fmt.Sprintf("the list is not %q", want), func() bool {
		return slices.Equal(r.fake.Items(ours), want) && r.list.State().Behind == 0
	})
}

// TestList: the list is made equal at the start and kept so; what others put there stays.
func TestList(t *testing.T) {
	fake := &remotetest.Cloudflare{}
	fake.Put("198.51.100.1", ours)         // of before, over since
	fake.Put("198.51.100.2", "by hand")    // another's
	fake.Put("198.51.100.3", "by hand")    // another's, and banned here, too
	fake.Put("2001:db8:1::/64", ours+" 2") // another host's
	fake.Put("203.0.113.0/24", ours)       // goes on
	r := keep(t, fake, nil)
	r.set("", "192.0.2.1", "198.51.100.3", "203.0.113.0/24", "2001:db8:2::5", "2001:db8:2::6")
	r.start()
	r.untilHas("192.0.2.1", "203.0.113.0/24", "2001:db8:2::/64")
	if s := r.list.State(); s.On != 4 || s.Widened != 2 || s.LeftOut != 0 || s.Error != "" || s.LastSuccess == nil {
		t.Errorf("%+v", s)
	}
	// One goes that was put there since: its id is asked for.
	before := fake.Requests("GET")
	r.set("", "198.51.100.3", "203.0.113.0/24")
	r.untilHas("203.0.113.0/24")
	if n := fake.Requests("GET") - before; n > 2+2+2 {
		t.Errorf("%d requests to take two off", n)
	}
	// Nothing is taken off while not all is known.
	r.set("jail web is not running", "192.0.2.9")
	r.untilHas("192.0.2.9", "203.0.113.0/24")
	if s := r.list.State(); s.Waits == "" {
		t.Errorf("%+v", s)
	}
	r.set("", "192.0.2.9")
	r.untilHas("192.0.2.9")
	for comment, want := range map[string][]string{"by hand": {"198.51.100.2", "198.51.100.3"}, ours + " 2": {"2001:db8:1::/64"}} {
		if got := fake.Items(comment); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", comment, got, want)
		}
	}
	if w := fake.Wrong(); len(w) > 0 {
		t.Errorf("sent though it can't be on the list: %q", w)
	}
}

// TestListFaults: errors, connections that are cut before and after, an operation that is
// under way from before: at the end the list is equal.
func TestListFaults(t *testing.T) {
	faults := []int{429, 0, 500, 0, remotetest.FaultCut, 0, 0, remotetest.FaultCutAfter, 0, 503, 0, 0}
	fake := &remotetest.Cloudflare{Fault: func(n int, _ *http.Request) int { return faults[n%len(faults)] }}
	r := keep(t, fake, func(l *remote.List) { l.Provider.Batch = 100 })
	var who []string
	for i := range 1234 {
		who = append(who, fmt.Sprintf("192.0.2.%d", i%200), fmt.Sprintf("2001:db8:1:%x::/64", i+1))
	}
	slices.Sort(who)
	who = slices.Compact(who)
	r.set("", who...)
	r.start()
	r.until("half of it", func() bool { return len(fake.Items(ours)) > len(who)/2 })
	r.stop() // and another one goes on
	r.list.Provider.Batch = 90
	r.start()
	r.untilHas(who...)
	if n := fake.Requests("faults"); n < 10 {
		t.Errorf("only %d faults", n)
	}
	for _, n := range fake.Batches() {
		if n > 100 {
			t.Errorf("a batch of %d", n)
		}
	}
	asked := false
	r.mu.Lock()
	for _, d := range r.waited {
		asked = asked || d >= time.Second
	}
	r.mu.Unlock()
	if !asked {
		t.Error("no wait was as long as the server wanted")
	}
}

// TestListRefused: one item that the server refuses costs itself.
func TestListRefused(t *testing.T) {
	fake := &remotetest.Cloudflare{}
	r := keep(t, fake, func(l *remote.List) { l.Provider.Longest = [2]int{32, 128} }) // the server takes /64
	who := []string{"2001:db8::7", "10.0.0.0/7"}
	var good []string
	for i := range 40 {
		good = append(good, fmt.Sprintf("192.0.2.%d", i))
	}
	r.set("", append(who, good...)...)
	r.start()
	r.untilHas(good...)
	s := r.list.State()
	if s.LeftOut != 2 || !strings.Contains(s.Why, "1: refused") || !strings.Contains(s.Why, "1: wider") {
		t.Errorf("%+v", s)
	}
}

// TestListFull: what has no room is told, and has it when there is some.
func TestListFull(t *testing.T) {
	fake := &remotetest.Cloudflare{}
	fake.Put("198.51.100.2", "by hand")
	r := keep(t, fake, func(l *remote.List) { l.Most = 3 })
	r.set("", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
	r.start()
	r.untilHas("192.0.2.1", "192.0.2.2")
	if s := r.list.State(); s.LeftOut != 2 || s.Why != "2: the list has room for 3 (max_items)" {
		t.Errorf("%+v", s)
	}
	r.set("", "192.0.2.2", "192.0.2.3")
	r.untilHas("192.0.2.2", "192.0.2.3")

	// A list whose bound is another one than was told: not each item is tried.
	fake = &remotetest.Cloudflare{Most: 5}
	r = keep(t, fake, func(l *remote.List) { l.Most = 1000 })
	var who []string
	for i := range 200 {
		who = append(who, fmt.Sprintf("192.0.2.%d", i))
	}
	r.set("", who...)
	r.start()
	r.until("it does not say that the list is full", func() bool { return strings.Contains(r.list.State().Error, "takes no more") })
	if n := len(fake.Items(ours)); n != 5 {
		t.Errorf("%d are on it", n)
	}
}

// TestListToken: a token that the server refuses is told, and not which one it is.
func TestListToken(t *testing.T) {
	fake := &remotetest.Cloudflare{}
	r := keep(t, fake, func(l *remote.List) {
		l.Client.Token = func() (string, error) { return "an-0ther-s3cret", nil }
	})
	r.set("", "192.0.2.1")
	r.start()
	r.until("it is not told", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.told) > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.list.State(); !strings.Contains(s.Error, "403") || strings.Contains(fmt.Sprint(s, r.told), "s3cret") {
		t.Errorf("%+v %q", s, r.told)
	}
}

// TestListUntrusted: nothing is sent to a server whose certificate nobody vouches for.
func TestListUntrusted(t *testing.T) {
	fake := &remotetest.Cloudflare{}
	r := keep(t, fake, func(l *remote.List) { l.Client.CA = "" })
	r.set("", "192.0.2.1")
	r.start()
	r.until("no error", func() bool { return strings.Contains(r.list.State().Error, "certificate") })
	if fake.Requests("GET")+fake.Requests("POST") > 0 {
		t.Error("a request was sent")
	}
}
