package web

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
)

// anHour is in which tests play; the clock is moved by them.
var anHour = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// site is a page for a test.
type site struct {
	t      *testing.T
	s      *Server
	d      *daemon
	mu     sync.Mutex
	now    time.Time
	failed []string
	warned []string
	peer   connInfo
	addr   string
}

func newSite(t *testing.T, change func(*config.Web)) *site {
	t.Helper()
	x := &site{t: t, d: &daemon{}, now: anHour, addr: "192.0.2.7:4711"}
	x.d.table = events.Open(events.Options{Path: filepath.Join(t.TempDir(), "db"), Boot: "b"})
	t.Cleanup(x.d.table.Close)
	if !hosttest.Soon(func() bool {
		_, _, ok := x.d.table.Last()
		return ok
	}) {
		t.Fatal("the table is not open")
	}
	x.d.status = control.Status{Version: "1.0", Started: anHour, Jails: []jail.Status{{Name: "sshd", MaxRetry: 5, FindTime: 600, BanTime: 3600}}}
	in := control.NewInside(x.d, func(string) {})
	t.Cleanup(in.Close)
	keep := func(into *[]string) func(string) {
		return func(text string) {
			x.mu.Lock()
			defer x.mu.Unlock()
			*into = append(*into, text)
		}
	}
	x.s = New(in, Options{Now: func() time.Time { x.mu.Lock(); defer x.mu.Unlock(); return x.now }, Failed: keep(&x.failed), Warn: keep(&x.warned)})
	cfg := config.Web{Listen: []string{"127.0.0.1:8990"}, Users: filepath.Join(t.TempDir(), "web-users")}
	if change != nil {
		change(&cfg)
	}
	x.s.Set(cfg)
	return x
}

func (x *site) later(d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.now = x.now.Add(d)
}

// browser keeps cookies, and sends what a browser sends.
type browser struct {
	x       *site
	cookies map[string]string
	host    string
	header  map[string]string
}

func (x *site) browser() *browser {
	return &browser{x: x, cookies: map[string]string{}, host: "127.0.0.1:8990", header: map[string]string{}}
}

func (b *browser) do(method, target string, form url.Values) *httptest.ResponseRecorder {
	b.x.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, target, body)
	r.Host, r.RemoteAddr = b.host, b.x.addr
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if method == "POST" {
		r.Header.Set("Origin", "http://"+b.host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for k, v := range b.header {
		r.Header.Set(k, v)
	}
	for k, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	r = r.WithContext(contextWith(r, b.x.peer))
	w := httptest.NewRecorder()
	b.x.s.serve(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
			b.x.t.Errorf("cookie %s: %+v", c.Name, c)
		}
	}
	return w
}

func (b *browser) get(target string) *httptest.ResponseRecorder { return b.do("GET", target, nil) }

var hidden = regexp.MustCompile(`name="(csrf|token)" value="([^"]*)"`)

// post sends a form as the page has it, with the token of the page before.
func (b *browser) post(page, target string, form url.Values) *httptest.ResponseRecorder {
	m := hidden.FindStringSubmatch(b.get(page).Body.String())
	if m == nil {
		b.x.t.Fatalf("%s has no form", page)
	}
	form.Set(m[1], m[2])
	return b.do("POST", target, form)
}

// in logs somebody in by a link.
func (x *site) in(role control.Role) *browser {
	x.t.Helper()
	b := x.browser()
	token, _ := x.s.Link("anna", role)
	if w := b.post("/login/"+token, "/login/"+token, url.Values{}); w.Code != http.StatusSeeOther {
		x.t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	return b
}

// roleOf is who may send what, beside the table of pages itself; all that is only looked at is a viewer's, but for what is named.
var roleOf = map[string]control.Role{
	"GET /filter": control.Operator, "POST /filter": control.Operator, "GET /replay": control.Operator, "POST /replay": control.Operator,
	"POST /ban": control.Operator, "POST /unban": control.Operator, "POST /allow": control.Operator, "POST /reload": control.Operator,
	"POST /fleet/ban": control.Operator, "POST /fleet/unban": control.Operator,
	"POST /never": control.Admin, "POST /filter/save": control.Admin, "POST /jails/{jail}/settings": control.Admin, "POST /jails/{jail}/forget": control.Admin,
}

// TestPagesByRole: every page with every role, and with none: who may not is refused, whatever he sends,
// and nothing was done.
func TestPagesByRole(t *testing.T) {
	x := newSite(t, nil)
	by := map[string]*browser{"nobody": x.browser()}
	for r := control.Reader; r < control.Owner; r++ {
		by[r.String()] = x.in(r)
	}
	form := func(b *browser) url.Values {
		f := url.Values{"ip": {"192.0.2.9"}, "jail": {"sshd"}, "for": {"1h"}, "theme": {"dark"}, "maxretry": {"3"}, "sure": {"1"}, "name": {"mine"}, "filter": {"failregex = 'x'"}}
		if m := hidden.FindStringSubmatch(b.get("/jails/sshd").Body.String()); m != nil {
			f.Set("csrf", m[2])
		}
		return f
	}
	for _, p := range pages {
		method, path, ok := strings.Cut(p.pattern, " ")
		if !ok || strings.Contains(path, "login") || strings.Contains(path, "logout") || strings.Contains(path, "assets") || path == "/stream" {
			continue // tests of their own
		}
		if want, named := roleOf[p.pattern]; p.role != want || method == "POST" && !named && !p.open {
			t.Errorf("%s is for role %s, want %s", p.pattern, p.role, want)
		}
		path = strings.NewReplacer("{$}", "", "{jail}", "sshd", "/rows", "/rows?since=0").Replace(path)
		for _, name := range []string{"nobody", "viewer", "operator", "admin"} {
			b := by[name]
			var f url.Values
			if method == "POST" {
				f = form(b)
			}
			before := len(x.d.done)
			w := b.do(method, path, f)
			role, _ := control.ParseRole(name)
			may := p.open || name != "nobody" && role >= p.role
			good := w.Code == http.StatusOK || w.Code == http.StatusSeeOther && w.Header().Get("Location") != "" && !strings.HasPrefix(w.Header().Get("Location"), "/login")
			if good != may {
				t.Errorf("%s as %s: %d %s", p.pattern, name, w.Code, w.Header().Get("Location"))
			}
			if !may && len(x.d.done) != before {
				t.Errorf("%s as %s: done: %v", p.pattern, name, x.d.done[before:])
			}
		}
	}
	for _, did := range x.d.done {
		if !strings.HasSuffix(did, "by web:anna") {
			t.Errorf("%q has no author", did)
		}
	}
	if len(x.d.done) < 8 {
		t.Errorf("only %v", x.d.done)
	}
}

// TestForms: a form of another page, one without its token, and one with another's do nothing.
func TestForms(t *testing.T) {
	x := newSite(t, func(w *config.Web) { w.Hosts = []string{"bans.example.org"} })
	b, other := x.in(control.Admin), x.in(control.Admin)
	token := hidden.FindStringSubmatch(b.get("/jails").Body.String())[2]
	others := hidden.FindStringSubmatch(other.get("/jails").Body.String())[2]
	for _, c := range []struct {
		name   string
		token  string
		host   string
		header map[string]string
		code   int
	}{
		{"none", "", "", nil, 403},
		{"another's", others, "", nil, 403},
		{"of another page", token, "", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"of another port", token, "", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:80"}, 403},
		{"of another page, by an old browser", token, "", map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, 403},
		{"of no page", token, "", map[string]string{"Sec-Fetch-Site": "", "Origin": "null"}, 403},
		{"for another name", token, "evil.example", nil, 421},
		{"ours, by an old browser", token, "", map[string]string{"Sec-Fetch-Site": ""}, 303},
		{"ours, behind a proxy", token, "127.0.0.1:8990", map[string]string{"Sec-Fetch-Site": "", "Origin": "https://bans.example.org"}, 303},
		{"ours, by name", token, "bans.example.org", nil, 303},
		{"ours", token, "", nil, 303},
	} {
		before := len(x.d.done)
		b.header = c.header
		b.host = "127.0.0.1:8990"
		if c.host != "" {
			b.host = c.host
		}
		w := b.do("POST", "/reload", url.Values{"csrf": {c.token}})
		if w.Code != c.code {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if did := len(x.d.done) > before; did != (c.code == 303) {
			t.Errorf("%s: done: %v", c.name, did)
		}
	}
}

// TestFormsWithoutToken: no form of any page does anything without its token, or with another session's.
func TestFormsWithoutToken(t *testing.T) {
	x := newSite(t, nil)
	b, other := x.in(control.Admin), x.in(control.Admin)
	others := hidden.FindStringSubmatch(other.get("/jails").Body.String())[2]
	n := 0
	for _, p := range pages {
		method, path, _ := strings.Cut(p.pattern, " ")
		if method != "POST" || p.open {
			continue
		}
		n++
		for _, token := range []string{"", others} {
			form := url.Values{"csrf": {token}, "ip": {"192.0.2.9"}, "jail": {"sshd"}, "for": {"1h"}, "maxretry": {"3"}, "sure": {"1"}, "name": {"mine"}, "filter": {"failregex = 'x'"}, "seconds": {"60"}}
			if w := b.do("POST", strings.ReplaceAll(path, "{jail}", "sshd"), form); w.Code != http.StatusForbidden {
				t.Errorf("%s with token %q: %d", path, token, w.Code)
			}
		}
	}
	if n < 11 || len(x.d.done) > 0 || b.get("/jails").Code != http.StatusOK {
		t.Errorf("of %d forms, done: %v", n, x.d.done)
	}
}

// TestLinks: a one-time login lets in once, and not later; looking at it does not use it up.
func TestLinks(t *testing.T) {
	x := newSite(t, nil)
	token, _ := x.s.Link("root", control.Operator)
	b := x.browser()
	for range 3 {
		if w := b.get("/login/" + token); w.Code != 200 || !strings.Contains(w.Body.String(), "operator") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	// The id before the login is not the one behind it, and a form of another browser is refused.
	b.cookies["bailiff"] = "fixed"
	if w := x.browser().do("POST", "/login/"+token, url.Values{"token": {x.s.formSum("x")}}); w.Code != 403 {
		t.Errorf("without its cookie: %d", w.Code)
	}
	if w := b.post("/login/"+token, "/login/"+token, url.Values{}); w.Code != 303 || b.cookies["bailiff"] == "fixed" {
		t.Errorf("%d %v", w.Code, b.cookies)
	}
	if w := b.get("/"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	another, _ := x.s.Link("root", control.Operator)
	if w := x.browser().post("/login/"+another, "/login/"+token, url.Values{}); w.Code != http.StatusGone || len(x.failed) != 1 {
		t.Errorf("a second time: %d, %q", w.Code, x.failed)
	}
	late, _ := x.s.Link("root", control.Operator)
	x.later(linkFor + time.Second)
	if w := x.browser().get("/login/" + late); w.Code != http.StatusGone {
		t.Errorf("late: %d", w.Code)
	}
	for range linksMost + 5 {
		x.s.Link("root", control.Reader)
	}
	if n := len(x.s.sessions.links); n > linksMost {
		t.Errorf("%d links", n)
	}
}

// user makes a user with a hash that costs little.
func (x *site) user(name string, role control.Role, hash string) {
	x.t.Helper()
	if err := ChangeUsers(x.s.cfg.Load().Users, func(u []User) ([]User, error) {
		out := u[:0]
		for _, o := range u {
			if o.Name != name {
				out = append(out, o)
			}
		}
		return append(out, User{name, role, hash}), nil
	}); err != nil {
		x.t.Fatal(err)
	}
	x.s.users.forget()
}

// TestLogin: the right password lets in, and goes on where it was; a wrong one does not, and is told with the
// address; after too many nobody looks at them; who has lost his role is out.
func TestLogin(t *testing.T) {
	x := newSite(t, nil)
	hash, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	x.user("anna", control.Operator, hash)
	b := x.browser()
	if w := b.get("/bans?q=192.0.2.1"); w.Code != 303 || w.Header().Get("Location") != "/login?to=%2Fbans%3Fq%3D192.0.2.1" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w := b.post("/login?to=%2Fbans", "/login", url.Values{"name": {"anna"}, "password": {"correct horse"}, "to": {"/bans"}})
	if w.Code != 303 || w.Header().Get("Location") != "/bans" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.get("/bans"); w.Code != 200 || !strings.Contains(w.Body.String(), "operator") {
		t.Errorf("%d", w.Code)
	}
	// Another role, or none, ends the session within seconds.
	x.user("anna", control.Reader, hash)
	if w := b.get("/bans"); w.Code != 303 {
		t.Errorf("with another role: %d", w.Code)
	}
	bad := x.browser()
	for i := range triesAtOnce {
		w := bad.post("/login", "/login", url.Values{"name": {"anna' from 203.0.113.9 for"}, "password": {"wrong"}})
		if w.Code != 403 {
			t.Errorf("%d. try: %d", i+1, w.Code)
		}
	}
	if w := bad.post("/login", "/login", url.Values{"name": {"anna"}, "password": {"correct horse"}}); w.Code != http.StatusTooManyRequests {
		t.Errorf("one more: %d", w.Code)
	}
	if len(x.failed) != triesAtOnce+1 || x.failed[0] != `login failed from 192.0.2.7 for "anna' from 203.0.113.9 for": no such user` ||
		x.failed[triesAtOnce] != `login failed from 192.0.2.7 for 'anna': too many tries` {
		t.Errorf("told: %q", x.failed)
	}
	x.addr = "192.0.2.8:4711" // it is the address that is tired
	if w := bad.post("/login", "/login", url.Values{"name": {"anna"}, "password": {"correct horse"}}); w.Code != 303 {
		t.Errorf("from another address: %d", w.Code)
	}
	x.user("bob", control.Admin, NoPassword)
	if w := x.browser().post("/login", "/login", url.Values{"name": {"bob"}, "password": {"*"}}); w.Code != 403 {
		t.Errorf("without a password: %d", w.Code)
	}
}

// TestSessions: they end when nobody used them, and in the end; their number is bounded; logging out is for good.
func TestSessions(t *testing.T) {
	x := newSite(t, nil)
	b := x.in(control.Reader)
	x.later(sessionIdle - time.Minute)
	b.header["X-By-Itself"] = "1" // what the page asks by itself is no use
	if w := b.get("/"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	delete(b.header, "X-By-Itself")
	x.later(2 * time.Minute)
	if w := b.get("/"); w.Code != 303 {
		t.Errorf("idle: %d", w.Code)
	}
	b = x.in(control.Reader)
	for range 2 * sessionLongest / sessionIdle {
		x.later(sessionIdle / 2)
		b.get("/")
	}
	x.later(time.Minute)
	if w := b.get("/"); w.Code != 303 {
		t.Errorf("at the end: %d", w.Code)
	}
	for i := range sessionsMost + 50 {
		x.s.sessions.begin(fmt.Sprint("u", i), control.Reader, byLink, [32]byte{})
	}
	for range sessionsOwn + 5 {
		x.s.sessions.begin("anna", control.Reader, byLink, [32]byte{})
	}
	own := 0
	for _, n := range x.s.sessions.by {
		if n.name == "anna" {
			own++
		}
	}
	if n := len(x.s.sessions.by); n > sessionsMost || own > sessionsOwn {
		t.Errorf("%d sessions, %d of one", n, own)
	}
	b = x.in(control.Reader)
	id := b.cookies["bailiff"]
	if w := b.post("/jails/sshd", "/logout", url.Values{}); w.Code != 303 || b.cookies["bailiff"] != "" {
		t.Errorf("%d %v", w.Code, b.cookies)
	}
	b.cookies["bailiff"] = id
	if w := b.get("/"); w.Code != 303 {
		t.Errorf("after logging out: %d", w.Code)
	}
}

// TestHeaders: every answer has them; assets may be kept for good, pages not at all.
func TestHeaders(t *testing.T) {
	x := newSite(t, nil)
	b := x.in(control.Reader)
	css := "/assets/" + assetNames()["style.css"]
	for _, path := range []string{"/", "/login", "/nothing", css, "/assets/../web.go", "/assets/%2e%2e%2fweb.go", "/assets/style.css"} {
		w := b.get(path)
		h := w.Header()
		if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, h)
		}
		if kept := strings.Contains(h.Get("Cache-Control"), "immutable"); kept != (path == css) {
			t.Errorf("%s: %s", path, h.Get("Cache-Control"))
		}
		if strings.Contains(path, "web.go") && w.Code == 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	b.host = "rebound.example"
	if w := b.get("/"); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("for another name: %d", w.Code)
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Error(policy)
	}
	files, _ := embedded.ReadDir("assets")
	for _, f := range files {
		data, _ := embedded.ReadFile("assets/" + f.Name())
		if m := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//`).Find(data); m != nil {
			t.Errorf("%s asks elsewhere: %s", f.Name(), m)
		}
	}
}

// TestHere: where a login goes on is a page of ours.
func TestHere(t *testing.T) {
	for to, want := range map[string]string{
		"/bans?q=x": "/bans?q=x", "": "/", "https://evil.example/": "/", "//evil.example/": "/", "/\\evil.example": "/", "/\t/evil.example": "/",
		"javascript:alert(1)": "/", "/login": "/", "/a\r\nSet-Cookie: x": "/", "bans": "/",
	} {
		if got := here(to); got != want {
			t.Errorf("%q: %q", to, got)
		}
	}
}
