package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"bailiff/pkg/netlab"
)

// browser is a client at one address. It has cookies and opens a connection for
// every request.
type browser struct {
	host     *netlab.Host
	from, to string // address; address and port
	http     http.Client
}

func (s *stage) browser(host *netlab.Host, from, to string) *browser {
	jar, _ := cookiejar.New(nil)
	b := &browser{host: host, from: from, to: net.JoinHostPort(to, "80")}
	b.http = http.Client{
		Jar: jar, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return b.host.Dial(b.from, b.to, 2*time.Second)
			},
		},
	}
	return b
}

func (b *browser) do(req *http.Request) (status int, page string, err error) {
	res, err := b.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(body), err
}

func (b *browser) url(path string) string { return "http://" + b.to + path }

func (b *browser) get(path string) (int, error) {
	req, err := http.NewRequest("GET", b.url(path), nil)
	if err != nil {
		return 0, err
	}
	status, _, err := b.do(req)
	return status, err
}

var csrfField = regexp.MustCompile(`name="csrfmiddlewaretoken" value="(\w+)"`)

// loginForm fetches the admin's form and returns its CSRF token.
func (b *browser) loginForm() (token string, err error) {
	req, err := http.NewRequest("GET", b.url("/admin/login/"), nil)
	if err != nil {
		return "", err
	}
	_, page, err := b.do(req)
	if err != nil {
		return "", err
	}
	m := csrfField.FindStringSubmatch(page)
	if m == nil {
		return "", errors.New("the page holds no CSRF token")
	}
	return m[1], nil
}

// enter fetches the form and posts it with a second factor.
func (b *browser) enter(user, password, token string) (status int, err error) {
	csrf, err := b.loginForm()
	if err != nil {
		return 0, err
	}
	status, _, err = b.post(url.Values{"csrfmiddlewaretoken": {csrf}, "username": {user}, "password": {password}, "otp_token": {token}})
	return status, err
}

// login posts the form, with a header that claims another address: nginx
// replaces it, else that one would be banned.
func (b *browser) login(token, user, password string) (status int, page string, err error) {
	return b.post(url.Values{"csrfmiddlewaretoken": {token}, "username": {user}, "password": {password}})
}

func (b *browser) post(form url.Values) (status int, page string, err error) {
	req, err := http.NewRequest("POST", b.url("/admin/login/"), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Real-IP", customer)
	return b.do(req)
}
