package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// What every request passes before a page is made.

// policy is what a browser may do with our pages: our style, our script, our pictures, nothing from
// elsewhere and nothing that stands in a page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setHeaders(h http.Header) {
	for _, kv := range [][2]string{
		{"Content-Security-Policy", policy},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "DENY"},
		{"Referrer-Policy", "same-origin"}, // without one, forms of ours would say that they are from nowhere
		{"Cross-Origin-Opener-Policy", "same-origin"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
		{"Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"},
		{"X-Robots-Tag", "noindex, nofollow"},
		{"Cache-Control", "no-store"},
	} {
		h.Set(kv[0], kv[1])
	}
}

// ask is a request that is answered.
type ask struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	cfg    *config.Web
	conn   connInfo
	addr   netip.Addr // of the client; the zero value: it has none
	proxy  bool       // a trusted proxy has sent it
	secure bool       // the browser speaks TLS
	who    *session   // nil: nobody is logged in
	upload bool       // its form has a file at the end
	file   io.Reader  // which is read as it comes; nil: there is none
}

// serve is the handler of all listeners.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	cfg := s.cfg.Load()
	if !goodHost(cfg, r.Host) {
		http.Error(w, text("error.host", "host", fmt.Sprintf("%.100q", r.Host)), http.StatusMisdirectedRequest)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, text("error.method"), http.StatusMethodNotAllowed)
		return
	}
	if r.Method == http.MethodPost && !ofOurs(cfg, r) {
		s.often.tell("origin", s.o.Warn, fmt.Sprintf("a form of another page was refused: Origin %.100q for %.100q; behind a proxy that changes Host, [web] hosts has to name the page's", r.Header.Get("Origin"), r.Host))
		http.Error(w, text("error.origin"), http.StatusForbidden)
		return
	}
	s.mu.Lock()
	extra := s.extra[r.URL.Path]
	s.mu.Unlock()
	if extra != nil {
		extra.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// goodHost reports whether a request is for a name that is ours. A page elsewhere can have a name of its
// own lead here, and then read what we answer; an address or localhost it can't.
func goodHost(cfg *config.Web, host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || slices.Contains(cfg.Hosts, host)
}

// ofOurs reports whether a form was one of our pages: what browsers say of that can't be said by a page.
// A client that says nothing of it is no browser, and has no cookies that it did not mean to send.
func ofOurs(cfg *config.Web, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
	default:
		return false
	}
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, r.Host) || slices.Contains(cfg.Hosts, strings.ToLower(u.Hostname()))
}

// client finds out who is at the other end: what a proxy says of it counts if we trust that one.
func (a *ask) client() {
	a.conn, _ = a.r.Context().Value(connKey{}).(connInfo)
	a.addr = addrOf(a.r)
	a.secure = a.r.TLS != nil
	trusted := func(addr netip.Addr) bool {
		return slices.ContainsFunc(a.cfg.Trust, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	said := a.r.Header.Values("X-Forwarded-For")
	switch {
	case a.conn.unix && a.cfg.TrustUnix, a.addr.IsValid() && trusted(a.addr):
	default:
		if len(said) > 0 && a.addr.IsValid() {
			a.s.often.tell("forwarded", a.s.o.Warn, fmt.Sprintf("%s sends X-Forwarded-For, and is not among [web] trust: whoever comes by it counts as %[1]s", a.addr))
		}
		return
	}
	a.proxy = true
	if proto := a.r.Header.Get("X-Forwarded-Proto"); proto != "" {
		a.secure = proto == "https"
	}
	list := strings.Split(strings.Join(said, ","), ",")
	for i := len(list) - 1; i >= 0; i-- { // the last that is none of ours: what is before it anybody may have written
		addr, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(list[i]), "[]"))
		if err != nil {
			return
		}
		a.addr = addr.Unmap().WithZone("")
		if !trusted(a.addr) {
			return
		}
	}
}

// page is a page, and who may ask for it.
type page struct {
	pattern string // of http.ServeMux
	role    control.Role
	open    bool // to everybody
	do      func(*ask) error
}

// answer makes a page for who may have it.
func (s *Server) answer(p page, w http.ResponseWriter, r *http.Request) {
	a := &ask{s: s, w: w, r: r, cfg: s.cfg.Load(), upload: p.upload()}
	a.client()
	if r.Method == http.MethodPost {
		most := int64(formMost)
		if p.upload() {
			most = uploadMost
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
	}
	a.who = a.session()
	switch {
	case p.open:
	case a.who == nil:
		if r.Method == http.MethodGet && r.URL.Path != "/stream" && r.URL.Path != "/events/rows" {
			a.redirect("/login?to=" + url.QueryEscape(r.URL.RequestURI()))
			return
		}
		a.fail(http.StatusUnauthorized, errors.New(text("error.login")))
		return
	case a.who.role < p.role:
		a.fail(http.StatusForbidden, &control.RoleError{Have: a.who.role, Want: p.role})
		return
	case r.Method == http.MethodPost && !same(a.form("csrf"), a.who.csrf):
		a.fail(http.StatusForbidden, errors.New(text("error.form")))
		return
	}
	if err := p.do(a); err != nil {
		status := http.StatusBadGateway
		if e, ok := errors.AsType[*control.AnswerError](err); ok {
			status = e.Status
		}
		if e, ok := errors.AsType[*pageError](err); ok {
			status = e.status
		}
		a.fail(status, err)
	}
}

// pageError is what is wrong with what was asked for.
type pageError struct {
	status int
	error
}

// session is who has sent a request; nil: nobody who is logged in.
func (a *ask) session() *session {
	var id string
	if c, err := a.r.Cookie(a.cookieName()); err == nil {
		id = c.Value
	}
	n := a.s.sessions.find(id, a.r.Header.Get("X-By-Itself") == "")
	if n != nil && !a.may(n) {
		a.s.sessions.end(n)
		n = nil
	}
	if a.cfg.UserHeader != "" && a.proxy {
		if name := a.r.Header.Get(a.cfg.UserHeader); name != "" {
			if n != nil && n.source == byHeader && n.name == name {
				return n
			}
			return a.beginByHeader(name)
		}
		if n != nil && n.source == byHeader { // the proxy has logged him out
			a.s.sessions.end(n)
			return nil
		}
	}
	if n == nil && a.conn.unix && !a.cfg.TrustUnix && a.r.Method == http.MethodGet && a.r.URL.Path != "/logout" {
		return a.beginByPeer()
	}
	return n
}

// may reports whether a session is still one that its user may have.
func (a *ask) may(n *session) bool {
	switch n.source {
	case byLink:
		return true
	case byHeader: // by user_role, too, which a reload may have changed, as an entry may be there by now
		if !a.proxy || a.cfg.UserHeader == "" {
			return false
		}
		role, stamp, ok := a.headerRole(n.name)
		return ok && role == n.role && stamp == n.stamp
	case byPeer: // whose cookie is of no use to another user of the host
		if !a.conn.unix || peerName(a.conn.uid) != n.name {
			return false
		}
		if n.stamp == ([32]byte{}) {
			return true // root, or who the daemon is
		}
	}
	u := a.s.user(n.name)
	return u != nil && u.stamp() == n.stamp
}

// api asks the daemon as who is logged in.
func (a *ask) api() *control.Client { return a.s.api.Client(a.caller()) }

func (a *ask) caller() control.Caller {
	return control.Caller{Name: "web:" + a.who.name, Role: a.who.role}
}

// form is a value of a form; empty: there is none.
func (a *ask) form(key string) string {
	if a.r.Form == nil {
		if strings.HasPrefix(a.r.Header.Get("Content-Type"), "multipart/form-data") {
			if a.upload {
				a.readParts()
			} else if a.r.ParseMultipartForm(formMost) != nil {
				return ""
			}
		} else if a.r.ParseForm() != nil {
			return ""
		}
	}
	return a.r.PostForm.Get(key)
}

// redirect sends a browser to one of our pages.
func (a *ask) redirect(to string) {
	a.w.Header().Set("Location", to)
	a.w.WriteHeader(http.StatusSeeOther)
}

// here is a path of ours that a form or a link named as where to go on; else the overview. Another
// place could be somebody else's page.
func here(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || strings.HasPrefix(u.Path, "/login") {
		return "/"
	}
	return to
}
