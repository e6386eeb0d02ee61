package jail

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/resolve"
)

// nameServer answers on loopback; names that it does not know do not exist, and
// those that begin with "slow" wait until the test ends.
type nameServer struct {
	conn    *net.UDPConn
	names   map[string][]netip.Addr
	release chan struct{}
	speak   func() // closes release

	mu    sync.Mutex
	asked map[string]int
}

func serveNames(t *testing.T, names map[string][]netip.Addr) (*nameServer, *net.Resolver) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, names: names, release: make(chan struct{}), asked: map[string]int{}}
	s.speak = sync.OnceFunc(func() { close(s.release) })
	t.Cleanup(func() { s.speak(); conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) == nil && len(m.Questions) == 1 {
				go s.answer(m, from)
			}
		}
	}()
	return s, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func (s *nameServer) answer(m dnsmessage.Message, to *net.UDPAddr) {
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	s.mu.Lock()
	s.asked[name]++
	s.mu.Unlock()
	if strings.HasPrefix(name, "slow") {
		<-s.release
	}
	m.Response, m.RecursionAvailable = true, true
	m.Additionals = nil
	if _, ok := s.names[name]; !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range s.names[name] {
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if out, err := m.Pack(); err == nil {
		s.conn.WriteToUDP(out, to)
	}
}

func (s *nameServer) questions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

// TestUseDNS has names of a log looked up, by a server of the test's.
func TestUseDNS(t *testing.T) {
	bad := map[string][]netip.Addr{"bad.test": {netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}}
	for _, c := range []struct {
		dns    filter.UseDNS
		asks   bool
		warned int
	}{
		{"", true, 3}, {filter.DNSWarn, true, 3}, {filter.DNSYes, true, 0}, {filter.DNSNo, false, 0}, {filter.DNSRaw, false, 0},
	} {
		t.Run(string(c.dns), func(t *testing.T) {
			server, resolver := serveNames(t, bad)
			l := start(t, func(c2 *config.Jail, l *lab) {
				c2.Filter.UseDNS, l.resolver = c.dns, resolver
			})
			line := "%s Login failure bad.test"
			l.say(line, line, line, "%s Login failure 192.0.2.77", "%s Login failure 192.0.2.77", "%s Login failure 192.0.2.77")
			want := 1
			switch {
			case c.asks:
				want = 3
			case c.dns == filter.DNSRaw: // the name itself is banned
				want = 2
			}
			l.until(func() bool { return l.jail.Status(true).Banned == want })
			got := l.asked()
			if strings.Contains(got, "+203.0.113.9/32") != c.asks || strings.Contains(got, "+2001:db8::9/128") != c.asks || !strings.Contains(got, "+192.0.2.77/32") {
				t.Errorf("asked of the kernel: %q", got)
			}
			if asked := server.questions("bad.test"); c.asks != (asked > 0) {
				t.Errorf("the name server was asked %d times", asked)
			}
			if n := l.says("the address of \"bad.test\" was looked up"); n != c.warned {
				t.Errorf("%d warnings, want %d", n, c.warned)
			}
		})
	}
}

// TestNamesAreKept: a name is asked for once, not once a line; one
// that does not exist is told and bans nobody; a server that does not answer
// holds up no other ban.
func TestNamesAreKept(t *testing.T) {
	server, resolver := serveNames(t, map[string][]netip.Addr{"bad.test": {netip.MustParseAddr("203.0.113.9")}})
	l := start(t, func(c *config.Jail, l *lab) {
		l.resolver = resolver
		c.MaxRetry = 100
	})
	for range 20 {
		l.say(strings.Split(strings.TrimSuffix(strings.Repeat("%s Login failure bad.test\n", 5), "\n"), "\n")...)
	}
	l.until(func() bool { return l.jail.Status(true).Banned == 1 })
	if asked := server.questions("bad.test"); asked > 2 {
		t.Errorf("100 lines asked the server %d times: want once for A and AAAA each", asked)
	}
	l.say("%s Login failure none.test")
	l.until(func() bool { return l.says(`unable to find an address for "none.test"`) == 1 })
	for i := range 2 * resolve.AtOnce { // none is free
		l.say(fmt.Sprintf("%%s Login failure slow%d.test", i))
	}
	l.asked()
	for range 100 {
		l.say("%s Login failure 192.0.2.7")
	}
	l.want("+192.0.2.7/32 1h0m0s")
}

// TestIgnoreCommand: the command decides by its exit code, sees what an attacker
// wrote as it is, and runs nothing of it.
func TestIgnoreCommand(t *testing.T) {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	l := start(t, func(c *config.Jail, _ *lab) {
		c.MaxRetry = 1
		c.Filter.Failregex = []filter.Expr{{Text: `Login failure <ADDR> user <F-USER>.*</F-USER>$`}}
		c.IgnoreCommand = `printf '%s %s\n' "<ip>" "<F-USER>" >>` + calls + `; case "<F-USER>" in friend) exit 0;; broken) echo oh; exit 7;; esac; exit 1`
	})
	l.say("%s Login failure 192.0.2.7 user friend", "%s Login failure 192.0.2.8 user foe",
		"%s Login failure 192.0.2.9 user $(touch "+dir+"/ran)'\"; touch "+dir+"/ran;", "%s Login failure 192.0.2.10 user broken")
	l.until(func() bool { return l.jail.Status(true).Banned == 3 && l.says("Ignore 192.0.2.7 by command") == 1 })
	l.logged("[test] ignorecommand for 192.0.2.10: returned 7, want 0 (ignore) or 1: oh")
	if got := l.asked(); strings.Contains(got, "192.0.2.7/") {
		t.Errorf("banned though ignored: %s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a user's name was run")
	}
	data, _ := os.ReadFile(calls)
	if want := "192.0.2.9 $(touch " + dir + "/ran)'\"; touch " + dir + "/ran;\n"; !strings.Contains(string(data), want) {
		t.Errorf("the command saw %q", data)
	}
}

// TestIgnoreCache: an answer holds for its key and its time, for so many keys.
func TestIgnoreCache(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	l := start(t, func(c *config.Jail, _ *lab) {
		c.MaxRetry = 1000
		c.IgnoreCommand = "echo <ip> >>" + calls + "; exit 0"
		var err error
		if c.IgnoreCache, err = config.ParseIgnoreCache(`key="<ip>", max-count=2, max-time=1h`); err != nil {
			t.Fatal(err)
		}
	})
	said := 0
	for _, last := range []string{"1", "1", "1", "2", "1", "3", "2", "1"} { // 3 turns 1 out
		l.say("%s Login failure 198.51.100." + last)
		said++
		l.until(func() bool { return l.says("by command") == said })
	}
	data, _ := os.ReadFile(calls)
	var got []string
	for _, f := range strings.Fields(string(data)) {
		got = append(got, f[strings.LastIndexByte(f, '.')+1:])
	}
	if strings.Join(got, " ") != "1 2 3 1" {
		t.Errorf("the command was run for %q, want 1 2 3 1", got)
	}
	if _, err := config.ParseIgnoreCache("max-count=2"); err == nil {
		t.Error("an ignorecache without a key is taken")
	}
}

// TestChangedWhileAsked: settings change while ignorecommand and names are asked by other
// goroutines, which have copies of what they need; the race detector sees to it.
func TestChangedWhileAsked(t *testing.T) {
	const n = 30
	l := start(t, func(c *config.Jail, l *lab) {
		c.MaxRetry = 1
		c.IgnoreCommand = "exit 1"
		c.Ignore.Names = []string{"friend.example"}
		l.lookups = map[string][]netip.Addr{"friend.example": {netip.MustParseAddr("198.51.100.1")}}
		for i := range n {
			l.lookups[fmt.Sprintf("friend%d.example", i)] = []netip.Addr{netip.MustParseAddr("198.51.100.2")}
		}
	})
	for i := range n {
		l.say(fmt.Sprintf("%%s Login failure 192.0.2.%d", i+2))
		if err := l.jail.Change(func(c *config.Jail) error {
			c.IgnoreCommand = fmt.Sprintf("true %d; exit 1", i)
			c.Ignore.Names = []string{"friend.example", fmt.Sprintf("friend%d.example", i)}
			c.BanTime += time.Second
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	l.until(func() bool { return l.jail.Status(true).Banned == n })
}
