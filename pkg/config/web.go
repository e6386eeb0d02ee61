package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Web says where the page is, and who may log in.
type Web struct {
	Listen []string // ADDRESS:PORT of TCP, and paths of Unix sockets, from the root; nil: there is no page
	Group  string   // who may connect to Unix sockets, beside the daemon's user; empty: nobody
	Users  string   // the file of users
	Hosts  []string // by which names the page is called, in small letters; addresses are always good
	// Cert and Key are files in PEM; empty: no TLS.
	Cert, Key string
	// Trust are the proxies whose word counts about who a client is. TrustUnix: so does that of whoever may
	// connect to the Unix sockets.
	Trust     []netip.Prefix
	TrustUnix bool
	// UserHeader is a header in which they say who has logged in; empty: they don't.
	UserHeader string
	// UserRole is that of who comes so and is in no file of users; empty: he does not come in.
	UserRole string
	// MMDB are files that say where addresses are, and whose.
	MMDB []string
	// Metrics says who may have /metrics: empty: nobody, WebOpen: whoever reaches the page, else a file with
	// the token that he sends.
	Metrics string
	Where   string // FILE:LINE of listen, and a colon and a blank
}

// WebOpen has metrics be told to whoever reaches the page.
const WebOpen = "open"

// WebRoles are what users of the page may be, each may what those before it may.
var WebRoles = []string{"viewer", "operator", "admin"}

// unixPeers is how [web] trust names whoever may connect to the Unix sockets.
const unixPeers = "unix"

// web reads [web].
func (l *loader) web(doc *document, raw rawWeb, fail func(string, ...any) func(...string)) {
	table, isTable := doc.get("web").(map[string]any)
	if !isTable {
		return
	}
	warn := func(key, format string, args ...any) {
		line := doc.line("web")
		if key != "" {
			line = doc.line("web", key)
		}
		l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, line, fmt.Sprintf(format, args...)})
	}
	if len(raw.Listen) == 0 {
		if len(table) > 0 {
			warn("", "[web] has no effect without listen: where the page is, ADDRESS:PORT or a path")
		}
		return
	}
	w := Web{Group: raw.Group, Users: raw.Users, Cert: raw.Cert, Key: raw.Key, UserHeader: raw.UserHeader, UserRole: raw.UserRole, Metrics: raw.Metrics}
	w.Where = fmt.Sprintf("%s:%d: ", doc.file, doc.line("web", "listen"))
	beyond := ""
	for _, at := range raw.Listen {
		at, addr, ok := listensAt(at)
		switch {
		case !ok:
			fail("listen %q: want ADDRESS:PORT (127.0.0.1:8990), or a path from the root (unix:/run/bailiff/web.sock)", at)("web", "listen")
			continue
		case addr.IsValid() && !addr.Addr().IsLoopback():
			beyond = cmp.Or(beyond, at)
		}
		if !slices.Contains(w.Listen, at) {
			w.Listen = append(w.Listen, at)
		}
	}
	if beyond != "" && w.Cert == "" {
		warn("listen", "listen %s: passwords and sessions go over the network as they are, for everybody on the way to read: give cert and key, or listen at 127.0.0.1 behind a proxy that has TLS (docs/web.md)", beyond)
	}
	if (w.Cert == "") != (w.Key == "") {
		fail("cert and key: want both, or none")("web", cmp.Or(given("cert", w.Cert), "key"))
	}
	for key, path := range map[string]string{"cert": w.Cert, "key": w.Key, "users": w.Users} {
		if path != "" && !filepath.IsAbs(path) {
			fail("%s %q: want a path from the root", key, path)("web", key)
		}
	}
	for _, path := range raw.MMDB {
		if !filepath.IsAbs(path) {
			fail("mmdb %q: want a path from the root", path)("web", "mmdb")
			continue
		}
		w.MMDB = append(w.MMDB, path)
	}
	if w.Users == "" {
		w.Users = filepath.Join(filepath.Dir(doc.file), "web-users")
		if !filepath.IsAbs(doc.file) {
			if abs, err := filepath.Abs(w.Users); err == nil {
				w.Users = abs
			}
		}
	}
	for _, host := range raw.Hosts {
		if name := strings.ToLower(strings.TrimSuffix(host, ".")); name == "" || strings.ContainsAny(name, ":/ @*") {
			fail("hosts: %q: want a name, without a port: bans.example.org", host)("web", "hosts")
		} else {
			w.Hosts = append(w.Hosts, name)
		}
	}
	for _, text := range raw.Trust {
		if text == unixPeers {
			w.TrustUnix = true
			continue
		}
		p, err := netip.ParsePrefix(text)
		if a, is := netip.ParseAddr(text); err != nil && is == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Zone() != "" {
			fail("trust: %q: want an address, a network, or unix", text)("web", "trust")
			continue
		}
		w.Trust = append(w.Trust, p.Masked())
	}
	switch {
	case w.UserHeader == "":
		if w.UserRole != "" {
			warn("user_role", "[web] user_role has no effect without user_header")
		}
	case strings.ContainsFunc(w.UserHeader, func(r rune) bool { return !isToken(r) }):
		fail("user_header %q: want a header's name, like X-Remote-User", w.UserHeader)("web", "user_header")
	case len(w.Trust) == 0 && !w.TrustUnix:
		warn("user_header", "[web] user_header has no effect without trust: who says so has to be a proxy of yours")
	}
	if w.UserRole != "" && !slices.Contains(WebRoles, w.UserRole) {
		fail("user_role %q: want %s", w.UserRole, strings.Join(WebRoles, ", "))("web", "user_role")
	}
	if w.Metrics != "" && w.Metrics != WebOpen && !filepath.IsAbs(w.Metrics) {
		fail("metrics %q: want open, or the path from the root of a file that holds a token", w.Metrics)("web", "metrics")
	}
	if w.Group != "" && !slices.ContainsFunc(w.Listen, filepath.IsAbs) {
		warn("group", "[web] group has no effect: nothing listens at a Unix socket")
	}
	l.cfg.Web = w
}

func given(key, value string) string {
	if value == "" {
		return ""
	}
	return key
}

// isToken reports whether a character may be in a header's name.
func isToken(r rune) bool {
	return r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// WebAddress is how a browser calls the page at a place, and false for a Unix socket.
func (w *Web) WebAddress(at string) (string, bool) {
	if filepath.IsAbs(at) {
		return "", false
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "", false
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		host = "localhost"
	}
	if len(w.Hosts) > 0 {
		host = w.Hosts[0]
	}
	scheme := "http"
	if w.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port), true
}
