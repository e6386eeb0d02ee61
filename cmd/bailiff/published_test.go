package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/netlab"
)

// loginServer is a service that logs failed logins with their addresses, and keeps a
// connection open until the client ends it.
func loginServer(t *testing.T, h *netlab.Host, at, log string) {
	t.Helper()
	l, err := h.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	netlab.Serve(l, func(c net.Conn) {
		who, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		for in := bufio.NewScanner(c); in.Scan(); {
			answer := "welcome"
			if in.Text() != "secret" {
				answer = "no"
				fmt.Fprintf(f, "%s django.security Login failure %s\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), who)
			}
			if _, err := fmt.Fprintln(c, answer); err != nil {
				return
			}
		}
	})
}

// login is a client's connection to such a service.
type login struct {
	net.Conn
	reader *bufio.Reader
	in     *bufio.Scanner
}

func dialLogin(h *netlab.Host, from, to string) (*login, error) {
	c, err := h.Dial(from, to, 2*time.Second)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	return &login{c, r, bufio.NewScanner(r)}, nil
}

// says sends a password and returns the answer.
func (l *login) says(password string, within time.Duration) (string, error) {
	if _, err := fmt.Fprintln(l, password); err != nil {
		return "", err
	}
	_ = l.SetReadDeadline(time.Now().Add(within))
	if !l.in.Scan() {
		return "", errors.Join(errors.New("no answer"), l.in.Err())
	}
	return l.in.Text(), nil
}

// publishedPort is a host with a published port of a container's.
func publishedPort(t *testing.T) *netlab.Published {
	t.Helper()
	lab := netlab.New(fmt.Sprintf("bailiff-published-%d-%d", os.Getpid(), networks.Add(1)))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := lab.Published()
	if err != nil {
		t.Fatalf("%v: run it as root (make test says how)", err)
	}
	return p
}

var badClient, goodClient, publishedAt = netlab.PublishedBad[0], netlab.PublishedGood[0], netlab.PublishedAt[0]

// TestPublished: a container's service behind a published port (DNAT 8080 to 80). By default
// an attacker is shut out of it, his open connection is ended, and a customer goes on; also
// after somebody has flushed the ruleset and made his own again. At input nothing of that is
// so, and check says it.
func TestPublished(t *testing.T) {
	t.Parallel()
	p := publishedPort(t)
	gate, client := p.Gate, p.Client
	g := &guarded{t: t, host: gate, dir: t.TempDir(), prog: program(t, "bailiff")}
	const jail = "[jail.django-auth]\nenabled = true\nlogpath = '$DIR/app.log'\nport = '8080'\nmaxretry = 3\nbantime = '1h'\n"
	g.write(map[string]string{
		"app.log": "", "bailiff.toml": jail, "input.toml": "[firewall]\nhook = 'input'\n" + jail, "forward.toml": "[firewall]\nhook = ['input', 'forward']\n" + jail,
		"f2b/jail.conf":              "[DEFAULT]\nbackend = polling\nbanaction = nftables[type=multiport]\naction = %(banaction)s[port=\"%(port)s\", protocol=\"tcp\"]\n[app]\nenabled = true\nfilter = app\nport = 8080\nlogpath = $DIR/app.log\n",
		"f2b/fail2ban.conf":          "[Definition]\ndbfile = None\n",
		"f2b/filter.d/app.conf":      "[Definition]\nfailregex = Login failure <HOST>\n",
		"f2b/action.d/nftables.conf": readFile(t, "/etc/fail2ban/action.d/nftables.conf"),
	})
	loginServer(t, p.Container, netlab.ContainerAt[0], g.path("app.log"))
	open := func(from string) *login {
		t.Helper()
		l, err := dialLogin(client, from, publishedAt)
		if err != nil {
			t.Fatalf("%s: %v\n%s", from, err, g.log())
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	fail := func(l *login) {
		t.Helper()
		for range 3 {
			if answer, err := l.says("guess", 10*time.Second); answer != "no" {
				t.Fatalf("%q, %v", answer, err)
			}
		}
	}
	check := func(config string) string {
		t.Helper()
		out, err := gate.Command(context.Background(), g.prog, "check", "--config", g.path(config)).CombinedOutput()
		if err != nil {
			t.Fatalf("check: %v: %s", err, out)
		}
		return string(out)
	}
	const said = "port 8080 (table ip docker, chain pre): this host passes on what comes there"
	for config, remedy := range map[string]string{"bailiff.toml": "", "forward.toml": "", "input.toml": `set hook = "prerouting"`, "f2b": "chain_hook = prerouting"} {
		out := check(config)
		if strings.Contains(out, said) != (remedy != "") || !strings.Contains(out, remedy) {
			t.Errorf("check of %s says:\n%s", config, out)
		}
	}
	g.write(map[string]string{"f2b/action.d/nftables.local": "[Init]\nchain_hook = prerouting\nchain_priority = -150\n"})
	if out := check("f2b"); strings.Contains(out, said) {
		t.Errorf("with the remedy check says:\n%s", out)
	}

	g.start("input.toml")
	inside := open(badClient)
	fail(inside)
	g.until("not banned", func() bool { return strings.Contains(g.ask("status", "django-auth"), badClient) })
	if answer, err := open(badClient).says("secret", 10*time.Second); answer != "welcome" {
		t.Errorf("at input a published port is shut, too: %v; the test is of no use", err)
	}
	g.ask("unban", badClient)
	g.stop()

	g.start("bailiff.toml")
	staying := open(goodClient)
	inside = open(badClient)
	passed := regexp.MustCompile(`ended \d+ connections? of banned addresses that were passed on`)
	before := len(passed.FindAllString(g.log(), -1))
	fail(inside)
	shut := func() bool {
		l, err := dialLogin(client, badClient, publishedAt)
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	g.until("a new connection is let in", shut)
	if answer, err := inside.says("secret", time.Second); err == nil {
		t.Errorf("the open connection goes on: %q", answer)
	}
	g.until("the open connection is not ended", func() bool {
		return len(passed.FindAllString(g.log(), -1)) > before // earlier ones of his may be known still
	})
	well := func() {
		t.Helper()
		for _, l := range []*login{staying, open(goodClient)} {
			if answer, err := l.says("secret", 10*time.Second); answer != "welcome" {
				t.Errorf("the customer gets %q, %v", answer, err)
			}
		}
	}
	well()
	nftScript(t, gate, "flush ruleset\n"+netlab.PublishedEngine)
	g.until("a new connection is let in after a flush", func() bool { return shut() && strings.Contains(g.table(), "hook prerouting priority -150") })
	staying = open(goodClient)
	well()
	g.ask("unban", badClient)
	if answer, err := open(badClient).says("secret", 10*time.Second); answer != "welcome" {
		t.Errorf("after the unban: %q, %v", answer, err)
	}
	if text := g.log(); strings.Contains(text, "ERROR") {
		t.Errorf("log:\n%s", text)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make test installs Debian's fail2ban)", err)
	}
	return string(text)
}
