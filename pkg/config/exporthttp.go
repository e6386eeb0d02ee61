package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/pkg/events"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/remote"
)

// HTTPExport is a list that a server elsewhere keeps, and that is made equal to who is banned.
type HTTPExport struct {
	Name     string
	Provider string // of remote.Providers
	URL      string // where its API begins
	Account  string
	List     string
	Token    remote.Token
	CA       string // file of certificates that are trusted in place of the system's; empty: those
	Comment  string // what our items are known by
	Most     int    // items of the list
	// Events are the kinds of events that are sent to URL; empty: it is a list. Provider is
	// ExportHook then.
	Events []events.Kind
	Jails  []string
	At     string // FILE:LINE where it is configured
}

// Kinds of exports.
const (
	ExportFile = "file"
	ExportHTTP = "http"
	ExportHook = "webhook"
)

// pathWord is what may stand in the path of a request: a name that a server gave.
var pathWord = lazyregexp.New(`^[A-Za-z0-9_-]{1,100}$`)

// httpExport reads an export of the kind http.
func (l *loader) httpExport(name string, x rawExport, at string, fail func(key, format string, args ...any)) (HTTPExport, bool) {
	ok := true
	wrong := func(key, format string, args ...any) {
		ok = false
		fail(key, format, args...)
	}
	p := remote.ProviderOf(x.Provider)
	if p == nil {
		wrong("provider", "provider %q: want %s", x.Provider, strings.Join(remote.ProviderNames(), ", "))
		return HTTPExport{}, false
	}
	for _, of := range []struct{ key, value string }{{"file", x.File}, {"format", x.Format}, {"reload", x.Reload}, {"socket", x.Socket}} {
		if of.value != "" {
			wrong(of.key, "%s is for exports into a file (kind = %q)", of.key, ExportFile)
		}
	}
	for _, of := range x.ofHooks() {
		if of.given {
			wrong(of.key, "%s is for webhooks (kind = %q)", of.key, ExportHook)
		}
	}
	if p.Account && !pathWord.MatchString(x.Account) {
		wrong("account", "account %q: want the id of the account, as %s names it", x.Account, p.Name)
	}
	if !pathWord.MatchString(x.List) {
		wrong("list", "list %q: want the id of the list, as %s names it", x.List, p.Name)
	}
	token, err := tokenOf(x.TokenFile, x.TokenCredential)
	if err != nil {
		wrong("token_file", "%v", err)
	}
	base := p.URL
	if x.URL != "" {
		if base, err = secureURL(x.URL); err != nil {
			wrong("url", "%v", err)
		}
	}
	if x.CAFile != "" && !filepath.IsAbs(x.CAFile) {
		wrong("ca_file", "ca_file %q: want a path from the root", x.CAFile)
	}
	most := p.Most
	if x.MaxItems != nil {
		if most = *x.MaxItems; most < 1 || most > remote.MostItems {
			wrong("max_items", "max_items = %d: want 1 to %d", most, remote.MostItems)
		}
	}
	comment := x.Comment
	if comment == "" {
		comment = "bailiff " + hostOf() + " " + name
	}
	if len(comment) > 100 || strings.IndexFunc(comment, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		wrong("comment", "comment %.120q: want at most 100 characters of ASCII", comment)
	}
	return HTTPExport{Name: name, Provider: p.Name, URL: base, Account: x.Account, List: x.List, Token: token, CA: x.CAFile, Comment: comment, Most: most, Jails: x.Jails, At: at}, ok
}

// webhook reads an export of the kind webhook.
func (l *loader) webhook(name string, x rawExport, at string, fail func(key, format string, args ...any)) (HTTPExport, bool) {
	ok := true
	wrong := func(key, format string, args ...any) {
		ok = false
		fail(key, format, args...)
	}
	for _, of := range []struct{ key, value string }{{"file", x.File}, {"format", x.Format}, {"reload", x.Reload}, {"socket", x.Socket}} {
		if of.value != "" {
			wrong(of.key, "%s is for exports into a file (kind = %q)", of.key, ExportFile)
		}
	}
	for _, of := range x.ofLists() {
		if of.given {
			wrong(of.key, "%s is for lists elsewhere (kind = %q)", of.key, ExportHTTP)
		}
	}
	if !pathWord.MatchString(name) {
		wrong("kind", "want a name of letters, digits, - and _: a file beside the database has it")
	}
	token, err := tokenOf(x.TokenFile, x.TokenCredential)
	if err != nil {
		wrong("token_file", "%v", err)
	}
	if err := hookURL(x.URL, x.HTTP); err != nil {
		wrong("url", "%v", err)
	}
	if x.CAFile != "" && !filepath.IsAbs(x.CAFile) {
		wrong("ca_file", "ca_file %q: want a path from the root", x.CAFile)
	}
	var kinds []events.Kind
	for _, k := range x.Events {
		if !slices.Contains(events.Kinds, events.Kind(k)) {
			wrong("events", "events: there are none of kind %q: want %s", k, strings.Join(eventKinds(), ", "))
		}
		kinds = append(kinds, events.Kind(k))
	}
	if x.Events == nil {
		kinds = slices.DeleteFunc(slices.Clone(events.Kinds), func(k events.Kind) bool { return k == events.Found })
	} else if len(kinds) == 0 {
		wrong("events", "events: want at least one kind")
	}
	return HTTPExport{Name: name, Provider: ExportHook, URL: x.URL, Token: token, CA: x.CAFile, Jails: x.Jails, Events: kinds, At: at}, ok
}

func eventKinds() (out []string) {
	for _, k := range events.Kinds {
		out = append(out, string(k))
	}
	return out
}

// hookURL says what is wrong with a URL that events are sent to: they quote logs, so that nobody on the
// way is to read them.
func hookURL(text string, plain bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("url %q: want https://HOST/PATH", text)
	}
	host := u.Hostname()
	addr, _ := netip.ParseAddr(host)
	if u.Scheme == "http" && !plain && host != "localhost" && !addr.IsLoopback() {
		return fmt.Errorf("url %q: want https:// but for this host's own (127.0.0.1, ::1, localhost): events quote lines of logs; http = true sends them to whoever listens on the way", text)
	}
	return nil
}

// tokenOf says where a token is.
func tokenOf(file, credential string) (remote.Token, error) {
	t := remote.Token{File: file, Credential: credential}
	switch {
	case (file == "") == (credential == ""):
		return t, fmt.Errorf("want one of token_file, a path, and token_credential, the name of a credential of systemd's")
	case file != "" && !filepath.IsAbs(file):
		return t, fmt.Errorf("token_file %q: want a path from the root", file)
	case credential != "" && !pathWord.MatchString(strings.ReplaceAll(credential, ".", "_")):
		return t, fmt.Errorf("token_credential %q: want the name of a credential", credential)
	}
	return t, nil
}

// secureURL takes a URL to which a token can be sent.
func secureURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("url %q: want https://HOST, or https://HOST/PATH", text)
	}
	return strings.TrimSuffix(text, "/"), nil
}

func hostOf() string {
	name, err := os.Hostname()
	if err != nil {
		return "this-host"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, name[:min(len(name), 60)])
}

// stayed adds what was there of a name, to a list from which it is gone.
func stayed[X any](l []X, was []X, name string, of func(X) string) []X {
	if i := slices.IndexFunc(was, func(x X) bool { return of(x) == name }); i >= 0 {
		return append(l, was[i])
	}
	return l
}
