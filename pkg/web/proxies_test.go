package web

import (
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// TestProxies: what a proxy says of a client counts if we trust it, and nobody else's word does.
func TestProxies(t *testing.T) {
	x := newSite(t, func(w *config.Web) {
		w.Trust = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		w.UserHeader, w.UserRole = "X-Remote-User", "viewer"
	})
	x.user("anna", control.Admin, NoPassword)
	for _, c := range []struct{ from, forwarded, user, want string }{
		{"192.0.2.7:1", "203.0.113.1", "anna", "192.0.2.7 "},
		{"198.51.100.1:1", "203.0.113.1", "", "203.0.113.1 "},
		{"198.51.100.1:1", "192.0.2.1, 203.0.113.1, 198.51.100.9", "anna", "203.0.113.1 anna admin"},
		{"198.51.100.1:1", "nonsense, 203.0.113.1", "carl", "203.0.113.1 carl viewer"},
		{"198.51.100.1:1", "", "carl", "198.51.100.1 carl viewer"},
		{"198.51.100.1:1", "203.0.113.1", "a b", "203.0.113.1 "},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.from
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if c.user != "" {
			r.Header.Set("X-Remote-User", c.user)
		}
		a := &ask{s: x.s, w: httptest.NewRecorder(), r: r, cfg: x.s.cfg.Load()}
		a.client()
		got := a.addr.String() + " "
		if n := a.session(); n != nil {
			got += n.name + " " + n.role.String()
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	b := x.browser() // the session of a header is nobody's without it
	x.addr, b.header["X-Remote-User"] = "198.51.100.1:1", "anna"
	if w := b.get("/"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	delete(b.header, "X-Remote-User")
	if w := b.get("/"); w.Code != 303 {
		t.Errorf("without the header: %d", w.Code)
	}
}

// TestHeaderRoles: who is in by a proxy's header has the role that he would have if he came now, whatever was changed
// since, and is not in at all where the file that may give him less can't be read.
func TestHeaderRoles(t *testing.T) {
	x := newSite(t, func(w *config.Web) {
		w.Trust = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		w.UserHeader, w.UserRole = "X-Remote-User", "admin"
	})
	x.addr = "198.51.100.1:1"
	b := x.browser()
	b.header["X-Remote-User"], b.header["Accept"] = "carl", "text/html"
	role := func(want int) {
		t.Helper()
		x.later(time.Minute)
		if w := b.get("/filter"); w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	role(200)
	cfg := *x.s.cfg.Load()
	cfg.UserRole = "viewer"
	x.s.Set(cfg)
	role(403)
	x.user("carl", control.Operator, NoPassword)
	role(200)
	cfg.UserRole = "admin"
	x.s.Set(cfg)
	if err := os.WriteFile(cfg.Users, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	role(303)
	if err := os.Remove(cfg.Users); err != nil {
		t.Fatal(err)
	}
	role(200)
	cfg.UserRole = ""
	x.s.Set(cfg)
	role(303)
}

// TestPeers: who is at the other end of the Unix socket is root, or one of the file's users, or has to log in.
func TestPeers(t *testing.T) {
	x := newSite(t, nil)
	x.addr = "@"
	x.peer = connInfo{unix: true, uid: 0}
	if w := x.browser().get("/"); w.Code != 200 || !strings.Contains(w.Body.String(), "root") {
		t.Errorf("root: %d", w.Code)
	}
	// A browser, which asks for a page, has a session; a program, which keeps no cookie, has none, and ends none.
	b := x.browser()
	b.header["Accept"] = "text/html,*/*"
	token := hidden.FindStringSubmatch(b.get("/jails").Body.String())[2]
	program := x.browser()
	for range 3 * sessionsOwn {
		program.cookies = map[string]string{}
		if w := program.get("/bans"); w.Code != 200 || len(program.cookies) != 0 {
			t.Fatalf("a program: %d %v", w.Code, program.cookies)
		}
	}
	if w := b.do("POST", "/reload", url.Values{"csrf": {token}}); w.Code != 303 || len(x.s.sessions.by) != 1 {
		t.Errorf("the browser's session: %d, there are %d", w.Code, len(x.s.sessions.by))
	}
	if w := program.post("/jails", "/reload", url.Values{}); w.Code != 401 || len(x.d.done) != 1 {
		t.Errorf("a form without a session: %d, done %v", w.Code, x.d.done)
	}
	x.peer.uid = 54321
	if w := x.browser().get("/"); w.Code != 303 {
		t.Errorf("somebody: %d", w.Code)
	}
	if w := b.get("/jails"); w.Code != 303 {
		t.Errorf("somebody with root's cookie: %d", w.Code)
	}
	x.s.cfg.Load().TrustUnix = true // then it is a proxy
	x.peer.uid = 0
	if w := x.browser().get("/"); w.Code != 303 {
		t.Errorf("a proxy: %d", w.Code)
	}
}
