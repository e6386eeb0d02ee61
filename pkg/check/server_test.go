package check

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/iplist"
)

// server starts one on a Unix socket.
func server(t *testing.T, index *Index, opts Options, most int) (s *Server, dial func() net.Conn, warned func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	s = Serve(l, index, opts, most, func(_, text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, text)
	})
	t.Cleanup(func() { s.Close() })
	dial = func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	return s, dial, func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := told
		told = nil
		return out
	}
}

// known is an index with two jails and a list.
func known() *Index {
	x := &Index{}
	web, ssh := NewSet(), NewSet()
	web.Shut(ban.Of(prefix("192.0.2.7")))
	web.Shut(ban.Of(prefix("198.51.100.0/24")))
	web.Shut(ban.Of(prefix("2001:db8:1::/64")))
	ssh.Shut(ban.Of(prefix("203.0.113.22")))
	x.Put("web", web)
	x.Put("ssh", ssh)
	x.Put("feed", List{iplist.Of([]netip.Prefix{prefix("203.0.113.128/25")})})
	return x
}

// TestAnswers has every kind of request answered, over one connection.
func TestAnswers(t *testing.T) {
	const none = ""
	ready := known()
	ready.Complete()
	trusted := func(a netip.Addr) bool {
		return prefix("198.51.100.5/32").Contains(a) || prefix("2001:db8:f::/48").Contains(a)
	}
	open := Options{Trusted: trusted}
	closed := Options{Trusted: trusted, Closed: true}
	some := Options{Trusted: trusted, Closed: true, Jails: []string{"web", "gone"}}
	long := strings.Repeat("198.51.100.5, ", mostHops)
	for i, c := range []struct {
		opts    Options
		index   *Index
		request string // METHOD TARGET, and headers behind it
		want    int
		why     string // Bailiff-Check
	}{
		{open, ready, "GET /v1/check?ip=192.0.2.7", 403, none},
		{open, ready, "HEAD /v1/check?ip=192.0.2.7", 403, none},
		{open, ready, "GET /v1/check?ip=192.0.2.8", 204, none},
		{open, ready, "HEAD /v1/check?ip=192.0.2.8", 204, none},
		{open, ready, "GET /v1/check?ip=198.51.100.9", 403, none},
		{open, ready, "GET /v1/check?ip=::ffff:192.0.2.7", 403, none},
		{open, ready, "GET /v1/check?ip=192.0.2.7:4711", 403, none},
		{open, ready, "GET /v1/check?ip=[2001:db8:1::9]:4711", 403, none},
		{open, ready, "GET /v1/check?ip=[2001:db8:1::9]", 403, none},
		{open, ready, "GET /v1/check?ip=2001:db8:1::9%25eth0", 403, none},
		{open, ready, "GET /v1/check?ip=2001:db8:2::9", 204, none},
		{open, ready, "GET /v1/check?ip=203.0.113.200", 403, none},
		{open, ready, "GET /v1/check?ip=203.0.113.22&jail=ssh", 403, none},
		{open, ready, "GET /v1/check?ip=203.0.113.22&jail=web", 204, none},
		{open, ready, "GET /v1/check?ip=203.0.113.22&jail=web&jail=ssh", 403, none},
		{open, ready, "GET /v1/check?ip=203.0.113.22&jail=gone", 204, "the request names a jail that isn't there"},
		{closed, ready, "GET /v1/check?ip=203.0.113.22&jail=gone", 400, "the request names a jail that isn't there"},
		{closed, ready, "GET /v1/check?ip=203.0.113.22&jail=gone&jail=ssh", 403, none},
		{some, ready, "GET /v1/check?ip=203.0.113.22", 204, none},
		{some, ready, "GET /v1/check?ip=192.0.2.7", 403, none},
		{some, ready, "GET /v1/check?ip=203.0.113.22&jail=ssh", 400, "the request names a jail that [check] jails does not"},
		// The query, and nothing else, where it names somebody.
		{open, ready, "GET /v1/check?ip=192.0.2.8\nX-Real-IP: 192.0.2.7\nX-Forwarded-For: 192.0.2.7", 204, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.8", 204, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7", 403, none},
		// Who stands before the one whom the proxy wrote was invented by him.
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7, 192.0.2.8", 204, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.8, 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.8, 192.0.2.7, 198.51.100.5", 403, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.8\nX-Forwarded-For: 192.0.2.7, 2001:db8:f::1, 198.51.100.5", 403, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: garbage, 192.0.2.7", 403, none},
		{closed, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7, garbage", 400, "X-Forwarded-For holds no address of a client"},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7, garbage", 204, "X-Forwarded-For holds no address of a client"},
		{closed, ready, "GET /v1/check\nX-Forwarded-For: 198.51.100.5", 204, none}, // the proxy by itself
		{closed, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7, " + long + "198.51.100.5", 400, "X-Forwarded-For holds no address of a client"},
		// A client who writes one of the headers and not the other.
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.8\nX-Forwarded-For: 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7\nX-Forwarded-For: 192.0.2.8", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: garbage\nX-Forwarded-For: 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7\nX-Forwarded-For: garbage", 403, none},
		{closed, ready, "GET /v1/check\nX-Real-IP: 192.0.2.8\nX-Forwarded-For: garbage", 204, none},
		// Nobody is named.
		{open, ready, "GET /v1/check", 204, "no address is named: want ?ip=, X-Real-IP or X-Forwarded-For"},
		{closed, ready, "GET /v1/check", 400, "no address is named: want ?ip=, X-Real-IP or X-Forwarded-For"},
		{open, ready, "GET /v1/check?ip=", 204, "ip of the query is no address"},
		{closed, ready, "GET /v1/check?ip=192.0.2.0/24", 400, "ip of the query is no address"},
		{closed, ready, "GET /v1/check?ip=192.0.2.8&ip=192.0.2.9", 400, "the query has more than one ip"},
		{closed, ready, "GET /v1/check?ip=192.0.2.8&jial=web", 400, "the query has a key that is neither ip nor jail"},
		{closed, ready, "GET /v1/check?ip=%zz", 400, "the query can't be read"},
		{closed, ready, "GET /v1/check?ip=192.0.2.8" + strings.Repeat("&jail=web", mostJails+1), 400, "the query names more than 64 jails"},
		// Who is known to be banned is refused, whatever else can't be said.
		{open, ready, "GET /v1/check?ip=192.0.2.7&ip=192.0.2.8", 403, none},
		{open, ready, "GET /v1/check?ip=192.0.2.8&ip=192.0.2.7", 403, none},
		{open, ready, "GET /v1/check?ip=192.0.2.8&ip=192.0.2.9", 204, "the query has more than one ip"},
		{some, ready, "GET /v1/check?ip=192.0.2.7&jail=ssh&jail=web", 403, none},
		{some, ready, "GET /v1/check?ip=203.0.113.22&jail=ssh&jail=web", 400, "the request names a jail that [check] jails does not"},
		{closed, ready, "GET /v1/check?ip=192.0.2.7&jail=", 400, "the request names a jail that isn't there"},
		{open, ready, "GET /v1/check?ip=192.0.2.7&jail=&jail=web", 403, none},
		// A proxy that adds a header to the client's, on either side, or makes one of several.
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7\nX-Real-IP: 192.0.2.8", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.8\nX-Real-IP: 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7, 192.0.2.8", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: garbage\nX-Real-IP: 192.0.2.7", 403, none},
		{open, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7\nX-Real-IP: garbage", 403, none},
		{closed, ready, "GET /v1/check\nX-Real-IP: 192.0.2.8\nX-Real-IP: garbage", 204, none},
		{closed, ready, "GET /v1/check\nX-Real-IP: 192.0.2.7" + strings.Repeat(", 192.0.2.8", 500), 403, none},
		// Empty elements of a list count for nothing (RFC 9110, 5.6.1).
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7,", 403, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7\nX-Forwarded-For:", 403, none},
		{open, ready, "GET /v1/check\nX-Forwarded-For: 192.0.2.7, , 198.51.100.5", 403, none},
		{closed, ready, "GET /v1/check\nX-Forwarded-For: , ,", 400, "X-Forwarded-For holds no address of a client"},
		{closed, ready, "GET /v1/check\nX-Forwarded-For:", 400, "X-Forwarded-For holds no address of a client"},
		// While it starts, whoever is known to be banned is.
		{open, known(), "GET /v1/check?ip=192.0.2.7", 403, none},
		{open, known(), "GET /v1/check?ip=192.0.2.8", 204, "starting"},
		{closed, known(), "GET /v1/check?ip=192.0.2.8", 503, "starting"},
		{closed, &Index{}, "GET /v1/check?ip=192.0.2.8&jail=web", 503, "starting"},
		// Nothing else is answered.
		{open, ready, "GET /v1/status", 404, none},
		{open, ready, "GET /", 404, none},
		{open, ready, "POST /v1/check?ip=192.0.2.8\nContent-Length: 0", 405, none},
		{open, ready, "DELETE /v1/check?ip=192.0.2.8", 405, none},
	} {
		_, dial, warned := server(t, c.index, c.opts, 16)
		conn := dial()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		first, headers, _ := strings.Cut(c.request, "\n")
		if headers != "" {
			headers = strings.ReplaceAll(headers, "\n", "\r\n") + "\r\n"
		}
		in := bufio.NewReader(conn)
		for range 2 { // on one connection
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n", first, headers)
			method, _, _ := strings.Cut(first, " ")
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%d, %s: %v", i, first, err)
			}
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.want || res.Header.Get("Bailiff-Check") != c.why || len(body) > 0 {
				t.Errorf("%q: %d %q %q, want %d %q", c.request, res.StatusCode, res.Header.Get("Bailiff-Check"), body, c.want, c.why)
			}
		}
		told := warned()
		if quiet := c.why == "" || c.why == "starting"; quiet != (len(told) == 0) || !quiet && !strings.Contains(told[0], c.why) {
			t.Errorf("%q: told %q", c.request, told)
		}
	}
}

// TestBodies has requests with bodies answered, which nobody waits for: nginx announces that of the
// request that it asks about, and may not send it.
func TestBodies(t *testing.T) {
	x := known()
	x.Complete()
	_, dial, _ := server(t, x, Options{}, 4)
	conn := dial()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "GET /v1/check?ip=192.0.2.7 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 403 || !res.Close {
		t.Errorf("%v %v", res, err)
	}
}

// TestManyConnections has more of them than there may be: who is idle goes, and everybody is
// answered.
func TestManyConnections(t *testing.T) {
	x := known()
	x.Complete()
	s, dial, _ := server(t, x, Options{}, 4)
	ask := func(conn net.Conn) int {
		_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
		fmt.Fprintf(conn, "GET /v1/check?ip=192.0.2.7 HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		return res.StatusCode
	}
	for i := range 20 {
		if got := ask(dial()); got != 403 {
			t.Fatalf("connection %d: %d", i, got)
		}
	}
	for range 4 { // who says nothing keeps a place for headerTimeout
		dial()
	}
	if got := ask(dial()); got != 403 {
		t.Errorf("behind silent ones: %d", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestHeader has a header refused that is longer than its bound.
func TestHeader(t *testing.T) {
	x := known()
	x.Complete()
	_, dial, _ := server(t, x, Options{}, 4)
	conn := dial()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	go fmt.Fprintf(conn, "GET /v1/check?ip=192.0.2.7 HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", strings.Repeat("a", 4*maxHeader))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v %v", res, err)
	}
}

func FuzzAsk(f *testing.F) {
	for _, s := range []string{"ip=192.0.2.7", "ip=[2001:db8::1]:80&jail=web", "jail=a&jail=b", "%zz", ""} {
		f.Add(s, "192.0.2.7", "192.0.2.7, 198.51.100.5")
	}
	trusted := func(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 198 }
	f.Fuzz(func(t *testing.T, query, real, chain string) {
		r, err := http.NewRequestWithContext(context.Background(), "GET", "http://x/v1/check", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = query
		r.Header["X-Real-Ip"], r.Header["X-Forwarded-For"] = []string{real}, []string{chain}
		q, err := ask(r, trusted)
		if err == nil && len(q.addrs) == 0 && !strings.Contains(chain, "198.") && !strings.Contains(strings.ToLower(chain), "c6") {
			t.Errorf("nobody is asked about, and that is no error: %q %q %q", query, real, chain)
		}
		for _, a := range q.addrs {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("asked about %v", a)
			}
		}
	})
}

// TestGroups: a jail of a group counts where it or its group is named.
func TestGroups(t *testing.T) {
	t.Parallel()
	x := known()
	of := NewSet()
	of.Shut(ban.Of(prefix("192.0.2.99")))
	x.PutIn("docker-*", "docker-web", of)
	x.Complete()
	for _, c := range []struct {
		jails []string // [check] jails
		query string
		want  string
	}{
		{nil, "", "204"},
		{nil, "&jail=docker-web", "403"},
		{nil, "&jail=docker-*", "403"},
		{nil, "&jail=docker-other", "400 the request names a jail that isn't there"},
		{nil, "&jail=web", "204"},
		{[]string{"all"}, "", "204"},
		{[]string{"all"}, "&jail=docker-web", "400 the request names a jail that [check] jails does not"},
		{[]string{"docker-web"}, "", "403"},
		{[]string{"web", "docker-*"}, "", "403"},
		{[]string{"docker-*"}, "&jail=docker-web", "403"},
		{[]string{"docker-*"}, "&jail=web", "400 the request names a jail that [check] jails does not"},
		{[]string{"none-*"}, "", "204"},
	} {
		_, dial, _ := server(t, x, Options{Jails: c.jails, Closed: true}, 10)
		conn := dial()
		fmt.Fprintf(conn, "GET /v1/check?ip=192.0.2.99%s HTTP/1.1\r\nHost: x\r\n\r\n", c.query)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", res.Header.Get("Bailiff-Check"))); got != c.want {
			t.Errorf("jails %q, %q: %s, want %s", c.jails, c.query, got, c.want)
		}
	}
	shut := func(jails []string) (yes bool) {
		for h := range x.Each(jails) {
			yes = yes || h.Holds(netip.MustParseAddr("192.0.2.99"))
		}
		return yes
	}
	if shut(nil) || shut([]string{"all"}) || !shut([]string{"docker-*"}) || !shut([]string{"web", "docker-web"}) {
		t.Error("not the holders that are named")
	}
	x.Put("docker-web", nil)
	if shut([]string{"docker-*"}) {
		t.Error("it is there after it is gone")
	}
}
