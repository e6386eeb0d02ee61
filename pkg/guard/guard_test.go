package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/iplist"
)

func id(s string) netip.Prefix {
	p, err := iplist.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// world is a host and a name server of a test.
type world struct {
	mu    sync.Mutex
	host  Host
	peers []netip.Addr
	names map[string]answerOf // by network and name
	asked map[string]int
	log   bytes.Buffer
}

type answerOf struct {
	addrs []netip.Addr
	err   error
	hang  bool
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

var errNone = &net.DNSError{Err: "no such host", IsNotFound: true}

var errRefused = &net.DNSError{Err: "connection refused"}

func (w *world) guard(t *testing.T) *Guard {
	w.asked = map[string]int{}
	g := New(Options{
		Log: slog.New(slog.NewTextHandler(w, nil)),
		Host: func() (*Host, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			h := w.host
			return &h, nil
		},
		Sessions: func() []netip.Addr {
			w.mu.Lock()
			defer w.mu.Unlock()
			return append([]netip.Addr{}, w.peers...)
		},
		Lookup: func(ctx context.Context, network, name string) ([]netip.Addr, error) {
			w.mu.Lock()
			a, ok := w.names[network+" "+name]
			w.asked[name]++
			w.mu.Unlock()
			switch {
			case a.hang:
				<-ctx.Done()
				return nil, ctx.Err()
			case !ok:
				return nil, errNone
			}
			return append([]netip.Addr{}, a.addrs...), a.err
		},
	})
	t.Cleanup(g.Close)
	return g
}

// until waits for what is promised within a second or two.
func until(t *testing.T, w *world, what string, true func() bool) {
	t.Helper()
	if !hosttest.Soon(true) {
		t.Fatalf("%s\n%s", what, w.text())
	}
}

func TestRules(t *testing.T) {
	w := &world{host: Host{
		Own:         []Place{{id("192.0.2.1"), "own address"}, {id("2001:db8::1"), "own address"}},
		Networks:    []Place{{id("192.0.2.0/24"), "network of eth0"}},
		Gateways:    []Place{{id("192.0.2.254"), "gateway of eth0"}},
		NameServers: []Place{{id("198.51.100.53"), "name server of /etc/resolv.conf"}},
	}, peers: addrs("203.0.113.22")}
	g := w.guard(t)
	prefixes := []netip.Prefix{id("198.51.100.0/28"), id("2001:db8:1::/48"), id("203.0.113.5")}
	for _, c := range []struct {
		id, tree, toml string // reasons under a configuration of fail2ban's, and in TOML
	}{
		{"198.51.100.7", "ignoreip 198.51.100.0/28", "ignoreip 198.51.100.0/28"},
		{"198.51.101.77", "", ""},
		{"2001:db8:1:2::3", "ignoreip 2001:db8:1::/48", "ignoreip 2001:db8:1::/48"},
		{"203.0.113.5", "ignoreip 203.0.113.5", "ignoreip 203.0.113.5"},
		{"203.0.113.0/28", "ignoreip 203.0.113.5", "ignoreip 203.0.113.5"}, // the network would hit it, too
		{"192.0.2.1", "own address", "own address"},
		{"192.0.2.0/24", "own address 192.0.2.1", "own address 192.0.2.1"},
		{"192.0.2.2", "", ""},
		{"127.0.0.53", "own address", "own address"},
		{"::1", "own address", "own address"},
		{"192.0.2.254", "", "gateway of eth0"},
		{"192.0.2.252/30", "", "gateway of eth0 192.0.2.254"},
		{"198.51.100.53", "", "name server of /etc/resolv.conf"},
		{"169.254.7.7", "", "link-local"},
		{"fe80::7", "", "link-local"},
		{"0.0.0.0", "", "unspecified address"},
		{"203.0.113.22", "", "an open SSH session"},
	} {
		tree := g.View(Want{Prefixes: prefixes, Self: true}, nil)
		if got := tree.Rules().Why(id(c.id)).Text; got != c.tree {
			t.Errorf("%s: %q, want %q", c.id, got, c.tree)
		}
		tree.Close()
		toml := g.View(Want{Prefixes: prefixes, Self: true, Host: true, SSH: true}, nil)
		until(t, w, c.id+": want "+c.toml, func() bool { return toml.Rules().Why(id(c.id)).Text == c.toml })
		toml.Close()
	}
	none := g.View(Want{}, nil)
	defer none.Close()
	if why := none.Rules().Why(id("127.0.0.1")); why.Some() {
		t.Errorf("without ignoreself: %v", why)
	}
	for what, source := range map[string]string{"192.0.2.1": "ignoreself rule", "203.0.113.5": "ip"} {
		v := g.View(Want{Prefixes: prefixes, Self: true}, nil)
		if got := v.Rules().Why(id(what)).Source; got != source {
			t.Errorf("%s: %q, want %q", what, got, source)
		}
		v.Close()
	}
}

// TestHostChanges: a new address of the host is known within seconds, and who asked is
// told.
func TestHostChanges(t *testing.T) {
	t.Parallel()
	w := &world{}
	g := w.guard(t)
	told := make(chan struct{}, 100)
	v := g.View(Want{Self: true}, func() { told <- struct{}{} })
	for len(told) > 0 {
		<-told
	}
	w.change(func() { w.host.Own = []Place{{id("192.0.2.9"), "own address"}} })
	select {
	case <-told:
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody is told")
	}
	if !v.Rules().Why(id("192.0.2.9")).Some() {
		t.Error("the new address is not protected")
	}
}

// TestNames: the last known addresses hold until there are others, each family for
// itself; nobody waits for longer than Patience.
func TestNames(t *testing.T) {
	t.Parallel()
	ok := func(list ...string) answerOf { return answerOf{addrs: addrs(list...)} }
	w := &world{names: map[string]answerOf{
		"ip4 admin.example.org": ok("192.0.2.7"), "ip6 admin.example.org": ok("2001:db8::7"),
		"ip4 hangs.example.org": {hang: true}, "ip6 hangs.example.org": {hang: true},
		"ip4 refused.example.org": {err: errRefused}, "ip6 refused.example.org": {err: errRefused},
	}}
	g := w.guard(t)
	v := g.View(Want{Names: []string{"admin.example.org"}}, nil)
	until(t, w, "not ready", v.Ready)
	if why := v.Rules().Why(id("192.0.2.7")); why.Text != "ignoreip admin.example.org" || why.Log() != "dns (ignoreip admin.example.org)" {
		t.Errorf("%+v", why)
	}
	again := func() {
		t.Helper()
		if err := g.resolve(context.Background(), g.names["admin.example.org"]); err != nil {
			w.log.WriteString(err.Error() + "\n")
		}
	}
	check := func(what string, want map[string]bool) {
		t.Helper()
		for a, in := range want {
			if got := v.Rules().Why(id(a)).Some(); got != in {
				t.Errorf("%s: %s: %v, want %v", what, a, got, in)
			}
		}
	}
	timeout := answerOf{err: &net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}}
	set := func(four, six answerOf) {
		w.change(func() { w.names["ip4 admin.example.org"], w.names["ip6 admin.example.org"] = four, six })
		again()
	}
	// As with localhost in many a /etc/hosts.
	set(ok("192.0.2.7"), answerOf{err: &net.AddrError{Err: "no suitable address found", Addr: "admin.example.org"}})
	check("one family alone", map[string]bool{"192.0.2.7": true, "2001:db8::7": false})
	if p := v.Problems(); len(p) > 0 {
		t.Errorf("one family alone is a problem: %q", p)
	}
	set(ok("192.0.2.7"), ok("2001:db8::7"))
	set(timeout, timeout)
	check("no answer", map[string]bool{"192.0.2.7": true, "2001:db8::7": true})
	if p := fmt.Sprint(v.Problems()); !strings.Contains(p, "i/o timeout: it keeps 192.0.2.7 2001:db8::7") {
		t.Errorf("problems: %s", p)
	}
	if p := fmt.Sprint(func() (out []string) {
		x := g.View(Want{Names: []string{"refused.example.org", "none.example.org"}}, nil)
		defer x.Close()
		until(t, w, "not asked", func() bool { out = x.Problems(); return !strings.Contains(fmt.Sprint(out), "waiting") || x.Ready() })
		return out
	}()); !strings.Contains(p, "refused.example.org: lookup : connection refused: no address of it is known, and it is looked up again") ||
		!strings.Contains(p, "none.example.org: lookup : no such host: it has no address") {
		t.Errorf("problems: %s", p)
	}
	set(answerOf{err: errNone}, answerOf{err: errNone})
	check("no such host", map[string]bool{"192.0.2.7": true, "2001:db8::7": true})
	set(timeout, ok("2001:db8::8"))
	check("one family only answers", map[string]bool{"192.0.2.7": true, "2001:db8::7": false, "2001:db8::8": true})
	set(ok("192.0.2.8"), timeout)
	check("the other only", map[string]bool{"192.0.2.7": false, "192.0.2.8": true, "2001:db8::8": true})
	set(ok("192.0.2.9"), answerOf{err: errNone})
	check("it has one family only now", map[string]bool{"192.0.2.8": false, "192.0.2.9": true, "2001:db8::8": false})
	if p := v.Problems(); len(p) > 0 {
		t.Errorf("problems of one that answers: %v", p)
	}
	var many []string
	for i := range MaxAddrs + 10 {
		many = append(many, fmt.Sprintf("198.51.%d.%d", 100+i/256, i%256))
	}
	set(ok(many...), answerOf{err: errNone})
	if n := len(v.Rules().entries); n != MaxAddrs {
		t.Errorf("%d addresses of a name, want %d", n, MaxAddrs)
	}
	set(ok("192.0.2.9"), answerOf{err: errNone})

	// What another view wants of it is known at once, and after a moment without any.
	v.Close()
	v = g.View(Want{Names: []string{"admin.example.org"}}, nil)
	check("after nobody wanted it", map[string]bool{"192.0.2.9": true})
	if !v.Ready() {
		t.Error("it is asked for anew")
	}

	hung := make(chan struct{}, 10)
	h := g.View(Want{Names: []string{"hangs.example.org", "admin.example.org"}}, func() { hung <- struct{}{} })
	if h.Ready() || !strings.Contains(fmt.Sprint(h.Problems()), "hangs.example.org: waiting for its addresses before lines are judged") {
		t.Errorf("ready %v, %v", h.Ready(), h.Problems())
	}
	other := g.View(Want{Names: []string{"hangs.example.org"}}, nil)
	until(t, w, "it waits for ever", func() bool { return h.Ready() && other.Ready() })
	if text := w.text(); strings.Count(text, "ignoreip hangs.example.org: no answer within 5s: lines are judged without it until there is one") != 1 || strings.Contains(text, "admin.example.org: no answer within") {
		t.Errorf("who is not waited for any longer is told wrongly:\n%s", text)
	}
	if len(hung) == 0 {
		t.Error("nobody is told")
	}
	if !h.Rules().Why(id("192.0.2.9")).Some() {
		t.Error("one that hangs holds up another one")
	}
}

// TestManyNames: more names than are asked for at once, of a resolver that never looks at
// its deadline, hold up nobody for longer than Patience.
func TestManyNames(t *testing.T) {
	t.Parallel()
	w := &world{}
	forever := make(chan struct{})
	defer close(forever)
	g := New(Options{
		Host: func() (*Host, error) { return &Host{}, nil }, Log: slog.New(slog.NewTextHandler(w, nil)),
		Lookup: func(context.Context, string, string) ([]netip.Addr, error) { <-forever; return nil, errors.New("x") },
	})
	defer g.Close()
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("n%d.example.org", i))
	}
	v := g.View(Want{Names: names, Prefixes: []netip.Prefix{id("192.0.2.1")}}, nil)
	if !v.Rules().Why(id("192.0.2.1")).Some() {
		t.Error("addresses wait for names")
	}
	until(t, w, "it waits for ever", v.Ready)
}

// TestFiles: a file that is rewritten in place is not read half-empty, one that is gone
// holds what it held, and its names are asked for.
func TestFiles(t *testing.T) {
	t.Parallel()
	w := &world{names: map[string]answerOf{
		"ip4 office.example.org": {addrs: addrs("203.0.113.77")}, "ip4 hangs.example.org": {hang: true}, "ip6 hangs.example.org": {hang: true},
	}}
	g := w.guard(t)
	path := filepath.Join(t.TempDir(), "allowed")
	write := func(text string) {
		t.Helper()
		hosttest.Write(t, path, text)
	}
	const list = "192.0.2.7, 198.51.100.0/24 2001:db8::/32 # office\noffice.example.org\n192.0.2.300\n192.0.2.9 kevin\n"
	write(list)
	v := g.View(Want{Files: []string{path}}, nil)
	until(t, w, "not ready", v.Ready)
	held := func(a string) bool { return v.Rules().Why(id(a)).Some() }
	for _, a := range []string{"192.0.2.7", "198.51.100.9", "2001:db8:9::1", "192.0.2.9"} {
		if !held(a) {
			t.Errorf("%s is not held", a)
		}
	}
	hangs := g.View(Want{Files: []string{path}, Names: []string{"hangs.example.org"}}, nil)
	defer hangs.Close()
	until(t, w, "it waits for ever", hangs.Ready)
	if text := w.text(); strings.Count(text, "192.0.2.300") != 1 || strings.Count(text, "within 5s") != 1 {
		t.Errorf("a wrong entry is told of again, where a name is waited for in vain:\n%s", text)
	}
	until(t, w, "the name in it is not asked for", func() bool { return held("203.0.113.77") })
	if why := v.Rules().Why(id("192.0.2.7")); why.Log() != "file:"+path {
		t.Errorf("%+v", why)
	}
	for name, want := range map[string]bool{"kevin": true, "office.example.org": true, "alice": false, "192.0.2.7": false} {
		if why := v.Rules().WhyName(name); why.Some() != want || want && why.Source != "file:"+path {
			t.Errorf("%s: %+v", name, why)
		}
	}
	if !strings.Contains(w.text(), `allowed:3: \"192.0.2.300\" is no`) || !strings.Contains(fmt.Sprint(v.Problems()), "allowed:3") {
		t.Errorf("the wrong entry is not told: %s %v", w.text(), v.Problems())
	}
	// A writer that empties it, writes for three seconds, and is done: at no moment is
	// somebody missing who was and is in it.
	lost := make(chan string, 1)
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				if !held("192.0.2.7") || !held("2001:db8:9::1") {
					select {
					case lost <- "missing":
					default:
					}
				}
			}
		}
	}()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // it is left alone, and empty
	text := list + "192.0.2.10\n"
	for i := 0; i < len(text); i += 16 {
		if _, err := f.WriteString(text[i:min(i+16, len(text))]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	f.Close()
	until(t, w, "what was written is not read", func() bool { return held("192.0.2.10") })
	// One that is gone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	until(t, w, "not told", func() bool { return strings.Contains(w.text(), "no such file") })
	close(stop)
	<-watched
	select {
	case <-lost:
		t.Error("somebody was missing while the file was written, or gone")
	default:
	}
	if !strings.Contains(fmt.Sprint(v.Problems()), "what was read before holds") {
		t.Errorf("%v", v.Problems())
	}
	// One that is emptied for good is believed after a while, and one that is there again
	// at once.
	write("")
	until(t, w, "an empty file is never believed", func() bool { return !held("192.0.2.7") })
	write("192.0.2.8")
	until(t, w, "the file is not read again", func() bool { return held("192.0.2.8") })
}

// TestFilesThatAreNone: a directory is no file, and one that isn't there keeps nobody waiting.
// TestLookAgain: who asks once more what is wrong with a file is told of the file as it is
// then, and not of a look before.
func TestLookAgain(t *testing.T) {
	w := &world{}
	g := w.guard(t)
	path := filepath.Join(t.TempDir(), "allow")
	v := g.View(Want{Files: []string{path}}, nil)
	until(t, w, "it is not tried", v.Ready)
	for i := range 5 {
		if err := os.Remove(path); i > 0 && err != nil {
			t.Fatal(err)
		}
		until(t, w, "it is not missed", func() bool { return len(v.FileProblems()) > 0 })
		if v.LookAgain(context.Background()); len(v.FileProblems()) != 1 {
			t.Errorf("no problem with what is not there: %q", v.FileProblems())
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "192.0.2.%d\n", i), 0o644); err != nil {
			t.Fatal(err)
		}
		v.LookAgain(context.Background())
		if wrong := v.FileProblems(); len(wrong) > 0 || !v.Rules().Why(id(fmt.Sprintf("192.0.2.%d", i))).Some() {
			t.Errorf("%d: it is there, but: %q", i, wrong)
		}
	}
	hung, stop := context.WithCancel(context.Background())
	stop()
	v.LookAgain(hung) // does not wait
}

func TestFilesThatAreNone(t *testing.T) {
	w := &world{}
	g := w.guard(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, iplist.MaxBytes+1); err != nil {
		t.Fatal(err)
	}
	v := g.View(Want{Files: []string{filepath.Join(dir, "gone"), filepath.Join(dir, "d"), large}}, nil)
	until(t, w, "not ready", v.Ready)
	p := fmt.Sprint(v.FileProblems())
	for _, want := range []string{"gone: no such file", "d: ", "nothing of it is known, and it is tried again", "more than 67108864 are not read"} {
		if !strings.Contains(p, want) {
			t.Errorf("%q is not in %s", want, p)
		}
	}
}

// TestCut: of a list, nothing that is protected is left, and all of the rest is.
func TestCut(t *testing.T) {
	w := &world{host: Host{
		Own:      []Place{{id("192.0.2.1"), "own address"}, {id("203.0.113.1"), "own address"}, {id("fe80::1"), "own address"}},
		Networks: []Place{{id("192.0.2.0/24"), "network of eth0"}, {id("203.0.113.0/24"), "network of eth1"}, {id("fe80::/64"), "network of eth0"}},
		Gateways: []Place{{id("203.0.113.254"), "gateway of eth1"}},
	}}
	g := w.guard(t)
	v := g.View(Want{Self: true, Host: true, List: true, Prefixes: []netip.Prefix{id("198.51.100.7")}}, nil)
	list := iplist.Of([]netip.Prefix{id("127.0.0.0/8"), id("192.0.2.0/24"), id("203.0.113.0/25"), id("203.0.113.254"), id("198.51.100.0/24"), id("::/0")})
	left, cuts := v.Rules().Cut(list)
	var told []string
	for _, c := range cuts {
		told = append(told, c.String())
	}
	want := "127.0.0.0/8 (loopback); 192.0.2.0/24 (network of eth0); 203.0.113.1 (own address); 203.0.113.254 (gateway of eth1); :: (unspecified address); ::1 (loopback); fe80::/10 (link-local)"
	if got := strings.Join(told, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for a, in := range map[string]bool{
		"127.9.9.9": false, "192.0.2.77": false, "203.0.113.1": false, "203.0.113.2": true, "203.0.113.254": false, "198.51.100.7": false, "198.51.100.8": true,
		"::": false, "::1": false, "::2": true, "fe80::9": false, "febf::9": false, "fec0::9": true, "ffff::": true,
	} {
		if left.Overlaps(id(a)) != in {
			t.Errorf("%s: %v, want %v", a, !in, in)
		}
	}
}

// TestLook looks at this host: its loopback is no place of its own, and what it tells is
// well-formed.
func TestLook(t *testing.T) {
	h, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(append([]Place{}, h.Own...), append(h.Gateways, h.NameServers...)...) {
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Masked() != p.Prefix || p.What == "" {
			t.Errorf("%+v", p)
		}
	}
}

func BenchmarkWhy(b *testing.B) {
	w := &world{host: Host{Own: []Place{{id("192.0.2.1"), "own address"}}}}
	g := New(Options{Host: func() (*Host, error) { return &w.host, nil }})
	defer g.Close()
	v := g.View(Want{Self: true, Host: true, Prefixes: []netip.Prefix{id("198.51.100.0/24"), id("2001:db8::/32")}}, nil)
	x := id("203.0.113.9")
	b.ReportAllocs()
	for b.Loop() {
		if v.Rules().Why(x).Some() {
			b.Fatal()
		}
	}
}

func BenchmarkLook(b *testing.B) {
	for b.Loop() {
		if _, err := Look(); err != nil {
			b.Fatal(err)
		}
	}
}
