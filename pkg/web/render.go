package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/control"
)

// How a page is made of its template. What is embedded is read at the first request: a daemon without
// one keeps nothing of it.

//go:embed templates assets texts.toml
var embedded embed.FS

// texts are all words of the page.
var texts = sync.OnceValue(func() map[string]string {
	data, err := embedded.ReadFile("texts.toml")
	words := map[string]string{}
	if err == nil {
		err = toml.Unmarshal(data, &words)
	}
	if err != nil {
		panic("web: texts.toml: " + err.Error()) // a test reads it
	}
	return words
})

// text is a text with what it names filled in: text("user.as", "name", n, "role", r).
func text(key string, pairs ...any) string {
	t, ok := texts()[key]
	if !ok {
		return key
	}
	if len(pairs) == 0 {
		return t
	}
	fill := make([]string, len(pairs))
	for i, p := range pairs {
		if fill[i] = fmt.Sprint(p); i%2 == 0 {
			fill[i] = "{" + fill[i] + "}"
		}
	}
	return strings.NewReplacer(fill...).Replace(t)
}

// assetNames are the names under which assets are asked for, by those that they have: with a sum of
// what is in them, so that a browser may keep them for good.
var assetNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	files, _ := embedded.ReadDir("assets")
	for _, f := range files {
		data, err := embedded.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(f.Name())
		names[f.Name()] = strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
	}
	return names
})

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// asset answers with a file of ours.
func asset(a *ask) error {
	for name, as := range assetNames() {
		if as != a.r.PathValue("file") {
			continue
		}
		data, err := embedded.ReadFile("assets/" + name)
		if err != nil {
			return err
		}
		h := a.w.Header()
		h.Set("Content-Type", assetKinds[path.Ext(name)])
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = a.w.Write(data)
		return nil
	}
	return nothing(a)
}

// pageNames are the templates of pages; the others are parts.
var pageNames = []string{"login", "error", "overview", "bans", "address", "jails", "jail", "events", "settings", "try", "doctor", "replay", "never", "fleet"}

var parts = []string{"templates/base.html", "templates/parts.html", "templates/jailtable.html", "templates/chart.html", "templates/findings.html"}

var templates = sync.OnceValue(func() map[string]*template.Template {
	all := map[string]*template.Template{}
	base := template.Must(template.New("base.html").Funcs(functions).ParseFS(embedded, parts...))
	for _, name := range pageNames {
		t := template.Must(base.Clone())
		all[name] = template.Must(t.ParseFS(embedded, "templates/"+name+".html"))
	}
	return all
})

var functions = template.FuncMap{
	"t":          text,
	"asset":      func(name string) string { return "/assets/" + assetNames()[name] },
	"number":     number,
	"seconds":    func(s float64) string { return span(s) },
	"left":       left,
	"rfc":        func(t any) string { return timeOf(t).UTC().Format(time.RFC3339) },
	"stamp":      func(t any) string { return timeOf(t).Format("2006-01-02 15:04:05") },
	"short":      func(t any) string { return short(timeOf(t), time.Now()) },
	"addressURL": addressURL,
	"diff":       diffLines,
	"deref":      func(n *int64) int64 { return *n },
	"jailURL":    jailURL,
}

func addressURL(ip string) string { return "/address?ip=" + url.QueryEscape(ip) }

func jailURL(name string) string { return "/jails/" + url.PathEscape(name) }

func timeOf(t any) time.Time {
	switch t := t.(type) {
	case time.Time:
		return t.Local()
	case *time.Time:
		return t.Local()
	}
	return time.Time{}
}

// short is a time as a table has it: today's without the day.
func short(t, now time.Time) string {
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2006-01-02")
}

// number groups a number's digits.
func number(v any) string {
	s := fmt.Sprint(v)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "\u202f" + s[at:]
	}
	return s
}

// span is a time in words; below zero: for ever.
func span(s float64) string {
	n := int64(math.Round(s))
	switch {
	case n < 0:
		return text("time.forever")
	case n >= 86400:
		return text("time.days", "d", n/86400, "h", n%86400/3600)
	case n >= 3600:
		return text("time.hours", "h", n/3600, "m", n%3600/60)
	case n >= 60 && n%60 == 0:
		return text("time.minutes", "m", n/60)
	}
	return text("time.seconds", "s", n)
}

// left is what is left of a ban's time in the kernel; 0: it has no end.
func left(s float64) string {
	if s == 0 {
		return text("time.forever")
	}
	return span(s)
}

// layout is what all pages are made of.
type layout struct {
	Title, Theme, User, Role, CSRF, Foot string
	Query                                string // that was searched for
	Here                                 string // this page
	Nav                                  []navigation
	Notices                              []notice
	Themes                               []string
	Data                                 any
}

type navigation struct {
	To, Text string
	Here     bool
}

// notice is what a page says of what was done before.
type notice struct {
	Text string
	Bad  bool
}

// navigations are the pages that every page leads to.
var navigations = []struct {
	to, text string
	role     control.Role
}{{"/", "nav.overview", control.Reader}, {"/bans", "nav.bans", control.Reader}, {"/jails", "nav.jails", control.Reader}, {"/events", "nav.events", control.Reader}, {"/fleet", "nav.fleet", control.Reader}, {"/doctor", "nav.doctor", control.Reader}, {"/filter", "nav.filter", control.Operator}, {"/replay", "nav.replay", control.Operator}}

// show answers with a page.
func (a *ask) show(status int, name, title string, data any) error {
	l := layout{Title: title, Theme: themes[0], Here: here(a.r.URL.RequestURI()), Themes: themes, Data: data}
	if a.r.Method != http.MethodGet && a.r.Method != http.MethodHead {
		l.Here = "/"
	}
	if c, err := a.r.Cookie(themeCookie); err == nil {
		for _, t := range themes {
			if t == c.Value {
				l.Theme = t
			}
		}
	}
	if a.who != nil && a.s.sessions.there(a.who) {
		l.User, l.Role, l.CSRF, l.Query = a.who.name, a.who.role.String(), a.who.csrf, a.r.URL.Query().Get("q")
		for _, n := range navigations {
			if a.who.role < n.role || n.to == "/fleet" && !a.inFleet() {
				continue
			}
			is := a.r.URL.Path == n.to || n.to != "/" && strings.HasPrefix(a.r.URL.Path, n.to+"/")
			l.Nav = append(l.Nav, navigation{n.to, text(n.text), is})
		}
		if a.r.Header.Get("X-By-Itself") == "" {
			l.Notices = a.s.sessions.notices(a.who)
		}
		l.Foot = a.s.foot()
	}
	return a.write(status, name, "base.html", l)
}

// write makes something of a template.
func (a *ask) write(status int, name, part string, data any) error {
	var b bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&b, part, data); err != nil {
		http.Error(a.w, "the page can't be made: "+err.Error(), http.StatusInternalServerError)
		return nil
	}
	a.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	a.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	a.w.WriteHeader(status)
	_, _ = a.w.Write(b.Bytes())
	return nil
}

// fail says why there is no page.
func (a *ask) fail(status int, err error) {
	_ = a.show(status, "error", text("error.title"), err.Error())
}

// foot is what stands under each page.
func (s *Server) foot() string {
	return text("foot", "version", s.o.Version, "since", s.o.Started.Format("2006-01-02 15:04"))
}

// noticesMost is how many are kept for a session's next page.
const noticesMost = 20

// note has the next page say something.
func (a *ask) note(bad bool, text string) {
	s := a.s.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(a.who.notes) < noticesMost {
		a.who.notes = append(a.who.notes, notice{clipped(text, 1000), bad})
	}
}

// notices are those of a session, which are said once.
func (s *sessions) notices(n *session) []notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	notes := n.notes
	n.notes = nil
	return notes
}
