package web

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
)

// Logging in and out.

// cookieName is that of the session's. Under TLS a browser takes one of this name from us alone.
func (a *ask) cookieName() string {
	if a.secure {
		return "__Host-bailiff"
	}
	return "bailiff"
}

// formCookie is a cookie's name that ties a login form to a browser.
const formCookie = "bailiff-form"

func (a *ask) setCookie(name, value string, age time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteStrictMode, MaxAge: int(age.Seconds())}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(a.w, c)
}

// begin logs somebody in. Who is known by the connection or by a proxy anyway, and does not ask as a browser does for a page, is in
// for this one request: else each of a program's, which keeps no cookie, would be a login, and end a browser's session.
func (a *ask) begin(name string, role control.Role, by source, stamp [32]byte) *session {
	if (by == byPeer || by == byHeader) && !strings.Contains(a.r.Header.Get("Accept"), "text/html") {
		return a.s.sessions.passing(name, role, by, stamp)
	}
	n, id := a.s.sessions.begin(name, role, by, stamp)
	a.setCookie(a.cookieName(), id, 0) // until the browser ends
	a.s.o.Note(fmt.Sprintf("%s has logged in%s by %s, as %s", eventlog.Quote(name), a.from(), by, role))
	return n
}

// from says where a request came from, behind a verb.
func (a *ask) from() string {
	if a.addr.IsValid() {
		return " from " + a.addr.String()
	}
	return " over the Unix socket"
}

// beginByHeader logs in whom a proxy names; nil: he may not.
func (a *ask) beginByHeader(name string) *session {
	if err := CheckName(name); err != nil {
		a.s.often.tell("header", a.s.o.Warn, fmt.Sprintf("the proxy's header %s: %v", a.cfg.UserHeader, err))
		return nil
	}
	role, stamp, ok := a.headerRole(name)
	if !ok {
		return nil
	}
	return a.begin(name, role, byHeader, stamp)
}

// headerRole is the role of whom a proxy names, by the file of users, or user_role; false: he may not. Where the file can't
// be read nobody may: it could give him less than user_role does.
func (a *ask) headerRole(name string) (role control.Role, stamp [32]byte, ok bool) {
	u, err := a.s.findUser(name)
	if err != nil {
		return role, stamp, false
	}
	if u != nil {
		return u.Role, u.stamp(), true
	}
	role, err = control.ParseRole(a.cfg.UserRole)
	return role, stamp, err == nil
}

// peerName is the name under which a user of the host is logged in.
func peerName(uid uint32) string { return cmp.Or(control.UserName(uid), "root") }

// beginByPeer logs in who is at the other end of the Unix socket; nil: he may not.
func (a *ask) beginByPeer() *session {
	name := peerName(a.conn.uid)
	if a.conn.uid == 0 || int(a.conn.uid) == os.Geteuid() {
		return a.begin(name, control.Admin, byPeer, [32]byte{})
	}
	if u := a.s.user(name); u != nil {
		return a.begin(name, u.Role, byPeer, u.stamp())
	}
	return nil
}

// loginData is what the login page shows.
type loginData struct {
	To, Token, Name string
	Link            string // a one-time login's token; empty: a name and a password are asked for
	Role            string
	Users           bool // there is somebody who could log in by a password
	Problem         string
}

// formToken is what a login form has to bring with its cookie.
func (a *ask) formToken() string {
	value := ""
	if c, err := a.r.Cookie(formCookie); err == nil && len(c.Value) == 43 {
		value = c.Value
	} else {
		value = secret()
		a.setCookie(formCookie, value, time.Hour)
	}
	return a.s.formSum(value)
}

func (s *Server) formSum(value string) string {
	m := hmac.New(sha256.New, s.formKey)
	m.Write([]byte(value))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// formOurs reports whether a login form is one that we gave this browser.
func (a *ask) formOurs() bool {
	c, err := a.r.Cookie(formCookie)
	return err == nil && same(a.form("token"), a.s.formSum(c.Value))
}

func (a *ask) showLogin(status int, d loginData) error {
	d.To, d.Token = here(d.To), a.formToken()
	users, _ := a.s.usersNow() // who finds no form here finds the reason in the log
	d.Users = len(users) > 0
	return a.show(status, "login", text("login.title"), d)
}

func loginPage(a *ask) error {
	if a.who != nil {
		a.redirect(here(a.r.URL.Query().Get("to")))
		return nil
	}
	return a.showLogin(http.StatusOK, loginData{To: a.r.URL.Query().Get("to")})
}

// loginWait is how long a password waits for others to be looked at.
const loginWait = 5 * time.Second

func login(a *ask) error {
	name, password := a.form("name"), a.form("password")
	again := func(status int, problem string) error {
		return a.showLogin(status, loginData{To: a.form("to"), Name: clipped(name, nameMost), Problem: problem})
	}
	if !a.formOurs() {
		return again(http.StatusForbidden, text("login.form"))
	}
	refused := func(why string) {
		a.s.o.Failed(fmt.Sprintf("login failed%s for %s: %s", a.from(), eventlog.Quote(clipped(name, nameMost)), why))
	}
	if !a.s.limit.take(a.addr) {
		refused("too many tries")
		a.w.Header().Set("Retry-After", fmt.Sprint(int(triesEvery.Seconds())))
		return again(http.StatusTooManyRequests, text("login.often"))
	}
	timer := time.NewTimer(loginWait)
	defer timer.Stop()
	select {
	case a.s.hashing <- struct{}{}:
	case <-timer.C:
		return again(http.StatusServiceUnavailable, text("login.busy"))
	case <-a.r.Context().Done():
		return nil
	}
	u := a.s.user(name)
	hash := nobodys
	if u != nil && u.Hash != NoPassword {
		hash = u.Hash
	}
	right := verify(hash, password)
	<-a.s.hashing
	if !right || u == nil {
		why := "wrong password"
		if u == nil {
			why = "no such user"
		}
		refused(why)
		return again(http.StatusForbidden, text("login.wrong"))
	}
	a.s.limit.right(a.addr)
	a.endSession()
	a.begin(u.Name, u.Role, byPassword, u.stamp())
	a.redirect(here(a.form("to")))
	return nil
}

// linkPage is what a one-time link leads to: a button, since whatever looks ahead at links would use it up.
func linkPage(a *ask) error {
	token := a.r.PathValue("token")
	l, ok := a.s.sessions.seeLink(token)
	if !ok {
		return a.showLogin(http.StatusGone, loginData{Problem: text("login.used")})
	}
	return a.showLogin(http.StatusOK, loginData{Link: token, Name: l.name, Role: l.role.String()})
}

func linkLogin(a *ask) error {
	if !a.formOurs() {
		return a.showLogin(http.StatusForbidden, loginData{Problem: text("login.form")})
	}
	if !a.s.limit.take(a.addr) {
		return a.showLogin(http.StatusTooManyRequests, loginData{Problem: text("login.often")})
	}
	l, ok := a.s.sessions.useLink(a.r.PathValue("token"))
	if !ok {
		a.s.o.Failed(fmt.Sprintf("login failed%s for '': no such link", a.from()))
		return a.showLogin(http.StatusGone, loginData{Problem: text("login.used")})
	}
	a.s.limit.right(a.addr)
	a.endSession()
	a.begin(l.name, l.role, byLink, [32]byte{})
	a.redirect("/")
	return nil
}

// endSession ends the one that a browser has: a login is never under an id that was known before.
func (a *ask) endSession() {
	if c, err := a.r.Cookie(a.cookieName()); err == nil {
		if n := a.s.sessions.find(c.Value, false); n != nil {
			a.s.sessions.end(n)
		}
	}
}

func logout(a *ask) error {
	a.s.sessions.end(a.who)
	a.setCookie(a.cookieName(), "", 0)
	a.redirect("/login")
	return nil
}

// themes are how the page may look; the first: as the browser has it.
var themes = []string{"auto", "light", "dark"}

const themeCookie = "bailiff-theme"

func setTheme(a *ask) error {
	for _, t := range themes {
		if t == a.form("theme") {
			a.setCookie(themeCookie, t, 365*24*time.Hour)
			a.redirect(here(a.form("to")))
			return nil
		}
	}
	return &pageError{http.StatusBadRequest, errors.New(text("error.theme"))}
}

// clipped is the beginning of a text.
func clipped(text string, most int) string {
	if len(text) > most {
		return text[:most]
	}
	return text
}
