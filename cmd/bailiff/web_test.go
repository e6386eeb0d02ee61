package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// surfer is a browser on a host.
type surfer struct {
	*http.Client
	t *testing.T
}

// newSurfer makes one that connects from an address.
func newSurfer(t *testing.T, on *netlab.Host, from string) *surfer {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &surfer{t: t, Client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, to string) (net.Conn, error) {
			return on.Dial(from, to, 3*time.Second)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var hiddenField = regexp.MustCompile(`name="(csrf|token)" value="([^"]*)"`)

// page gets a page.
func (s *surfer) page(url string) (int, string) {
	s.t.Helper()
	res, err := s.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// send sends a form of a page's; the error is that of a connection.
func (s *surfer) send(page, to string, form url.Values) (int, error) {
	res, err := s.Get(page)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return 0, err
	}
	m := hiddenField.FindStringSubmatch(string(text))
	if m == nil {
		return 0, fmt.Errorf("%s has no form: %s", page, text)
	}
	form.Set(m[1], m[2])
	if res, err = s.PostForm(to, form); err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// TestWeb: the page of a confined daemon. A link lets in once, a user with his password; what is done
// there is done, and said to be of him; who fails to log in eleven times is banned, in the kernel, by the
// stock jail that reads the daemon's own log.
func TestWeb(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	hosttest.Write(t, n.path("auth.log"), "")
	hosttest.Write(t, n.path("own.log"), "")
	users := exec.Command(n.path("bailiff"), "web", "user", "add", "anna", "--role", "operator", "--file", n.path("web-users"))
	users.Stdin = strings.NewReader("correct horse\n")
	config := func(listen string) string {
		return fmt.Sprintf(`
logtarget = %q
[database]
path = %q
[web]
listen = [%s]
users = %q
[jail.django-auth]
enabled = true
port = "all"
logpath = %q
[jail.bailiff-web]
enabled = true
logpath = %[1]q
`, n.path("own.log"), n.path("db.sqlite3"), listen, n.path("web-users"), n.path("auth.log"))
	}
	n.start(config(`"192.0.2.1:8990", "198.51.100.1:8990"`))
	if out, err := users.CombinedOutput(); err != nil || string(out) != "anna (operator) is in "+n.path("web-users")+"\n" {
		t.Fatalf("%v %s", err, out)
	}
	if fi, err := os.Stat(n.path("web-users")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", fi, err)
	}
	anna := newSurfer(t, n.customer, "198.51.100.7")
	const site, other = "http://198.51.100.1:8990", "http://192.0.2.1:8990"

	link := regexp.MustCompile(`http://198\.51\.100\.1:8990/login/\S+`).FindString(n.ask("web", "--role", "viewer"))
	if code, err := anna.send(link, link, url.Values{}); code != 303 || err != nil {
		t.Fatalf("%s: %d %v", link, code, err)
	}
	if code, text := anna.page(site + "/"); code != 200 || !strings.Contains(text, "viewer") {
		t.Fatalf("%d %s", code, text)
	}
	if code, err := anna.send(site+"/jails/django-auth", site+"/reload", url.Values{}); code != 403 || err != nil {
		t.Errorf("a viewer reloads: %d %v", code, err)
	}
	if code, _ := newSurfer(t, n.customer, "198.51.100.7").page(link); code != http.StatusGone {
		t.Errorf("the link again: %d", code)
	}
	operator := newSurfer(t, n.customer, "198.51.100.7")
	if code, err := operator.send(site+"/login", site+"/login", url.Values{"name": {"anna"}, "password": {"correct horse"}}); code != 303 || err != nil {
		t.Fatalf("%d %v", code, err)
	}
	if code, err := operator.send(site+"/jails/django-auth", site+"/ban", url.Values{"ip": {"192.0.2.67"}, "jail": {"django-auth"}}); code != 303 || err != nil {
		t.Fatalf("%d %v", code, err)
	}
	if _, text := operator.page(site + "/bans"); !strings.Contains(text, "192.0.2.67") {
		t.Error(text)
	}
	n.until("the ban has an author", func() bool {
		return strings.Contains(n.ask("events", "--ip", "192.0.2.67", "--json"), `"by":"web:anna"`)
	})
	if _, err := newSurfer(t, n.attacker, "192.0.2.67").Get(other + "/login"); err == nil {
		t.Error("who was banned by the page comes to it")
	}
	if code, err := operator.send(site+"/address?ip=192.0.2.67", site+"/unban", url.Values{"ip": {"192.0.2.67"}}); code != 303 || err != nil {
		t.Fatalf("%d %v", code, err)
	}
	if code, _ := newSurfer(t, n.attacker, "192.0.2.67").page(other + "/login"); code != 200 {
		t.Errorf("who was unbanned: %d", code)
	}

	eve := newSurfer(t, n.attacker, "192.0.2.66")
	for i := range 11 {
		code, err := eve.send(other+"/login", other+"/login", url.Values{"name": {"anna"}, "password": {"guess"}})
		if refused := net.Error(nil); errors.As(err, &refused) && i >= 10 {
			break // it is quick
		}
		if code != 403 && code != 429 || err != nil {
			t.Fatalf("%d. guess: %d %v", i+1, code, err)
		}
	}
	n.until("eve is banned", func() bool {
		text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-bailiff-web").CombinedOutput()
		return strings.Contains(string(text), "192.0.2.66")
	})
	if res, err := eve.Get(other + "/login"); err == nil {
		res.Body.Close()
		t.Error("eve comes to the page")
	}

	// Who is removed is logged out; another place comes by a reload, and what is no more is closed.
	if out, err := exec.Command(n.path("bailiff"), "web", "user", "remove", "anna", "--file", n.path("web-users")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.until("anna is out", func() bool { code, _ := operator.page(site + "/"); return code == 303 })
	hosttest.Write(t, n.path("bailiff.toml"), config(`"198.51.100.1:8991"`))
	n.ask("reload")
	if code, _ := anna.page("http://198.51.100.1:8991/login"); code != 200 && code != 303 {
		t.Errorf("elsewhere: %d", code)
	}
	if res, err := anna.Get(site + "/login"); err == nil {
		res.Body.Close()
		t.Error("it is where it was, too")
	}
}
