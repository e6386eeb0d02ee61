package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/netlab"
)

// Acts 4 to 7: django-axes, a second factor, lists, and a site that asks.

// Who takes part in them.
const (
	locked     = "192.0.2.70" // guesses where django-axes counts
	halfway    = "192.0.2.71" // knows a password, and no second factor
	listed     = "192.0.2.80" // is on a list
	allowed    = "192.0.2.90" // is on the allow-list
	axesPort   = "8080"
	otpRetries = 3
	// token is the second factor that the demo's user has.
	token = "246810"
)

// axesConfig enables the example's other jails, with the demo's paths and times.
func (s *stage) axesConfig(jails string) error {
	if err := os.MkdirAll(s.path("bailiff/jails"), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("lists"), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"lists/bad.txt": "# known bad\n" + listed + "\n203.0.113.0/24\n" + allowed + "\n",
		"allow.txt":     allowed + " # ours\n",
	} {
		if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	short := fmt.Sprintf("bantime = %q", banTime)
	for name, changes := range map[string]map[string]string{
		"django-axes.toml": {
			`"/var/log/django/axes.log"`: strconv.Quote(s.axesLog()), `bantime = "1h"`: short, `"http,https"`: `"http,https,` + axesPort + `"`,
			"/etc/default/mysite": s.path("mysite.env"), "/srv/mysite/manage.py": "/usr/bin/python3 " + s.path("site/manage.py"),
		},
		"django-otp.toml": {`"/var/log/django/auth.log"`: strconv.Quote(s.authLog()), `bantime = "1h"`: short, `"http,https"`: `"http,https,` + axesPort + `"`},
		"blocklist.toml":  {"/etc/bailiff/lists/": s.path("lists") + "/", "file:/etc/bailiff/allow.txt": "file:" + s.path("allow.txt")},
	} {
		text, err := os.ReadFile(filepath.Join(jails, name))
		if err != nil {
			return err
		}
		changes["enabled = false"] = "enabled = true"
		out := string(text)
		for old, replacement := range changes {
			if !strings.Contains(out, old) {
				return fmt.Errorf("%s: %s is not in it", name, old)
			}
			out = strings.ReplaceAll(out, old, replacement)
		}
		if err := os.WriteFile(s.path("bailiff/jails/"+name), []byte(out), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) axesLog() string { return s.path("data/axes.log") }

// more plays the acts.
func (s *stage) more(ctx context.Context) error {
	fmt.Println("\nAct 4: django-axes locks out; one place to unban")
	if err := s.startBailiff(); err != nil {
		return err
	}
	x := s.browserAt(s.attacker, locked, serverForAttacker, axesPort)
	form, err := x.loginForm()
	if err != nil {
		return err
	}
	for n := 1; n <= 3; n++ {
		status, _, err := x.login(form, "admin", "guess")
		if n < 3 && (err != nil || status != 200) || n == 3 && err == nil && status != 403 {
			return fmt.Errorf("%s: attempt %d: status %d, %w", locked, n, status, err)
		}
	}
	if err := s.untilBanned(ctx, locked); err != nil {
		return err
	}
	if err := s.refused(x); err != nil {
		return err
	}
	told("three wrong passwords: Axes locks %s out, bailiff bans it from Axes' own log", locked)
	if out, err := s.manage("axes_list_attempts"); err != nil || !strings.Contains(out, locked) {
		return fmt.Errorf("axes should know %s: %q %w", locked, out, err)
	}
	if err := s.show(ctx, "bailiff", []string{"unban", locked}, locked+" unbanned in django-axes"); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, err := s.manage("axes_list_attempts")
		if err == nil && !strings.Contains(out, locked) {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("after the unban, Axes still has %q: %w\n%s", out, err, s.output("bailiff"))
		}
	}
	if status, err := x.enter("admin", "the-right-one", token); err != nil || status != 302 {
		return fmt.Errorf("after the unban, the right password should do: status %d, %w", status, err)
	}
	told("the unban has lifted Axes' lock-out, too: the right password and token are let in")

	fmt.Println("\nAct 5: the password is right, the second factor wrong")
	h := s.browserAt(s.attacker, halfway, serverForAttacker, axesPort)
	for n := 1; n <= otpRetries; n++ {
		status, err := h.enter("admin", "the-right-one", "000000")
		if (err != nil || status != 200) && n < otpRetries {
			return fmt.Errorf("%s: token %d: status %d, %w", halfway, n, status, err)
		}
	}
	if err := s.untilBanned(ctx, halfway); err != nil {
		return err
	}
	if err := s.refused(h); err != nil {
		return err
	}
	told("%s is banned after %d wrong tokens", halfway, otpRetries)

	fmt.Println("\nAct 6: lists")
	if err := s.refused(s.browser(s.attacker, listed, serverForAttacker)); err != nil {
		return err
	}
	told("%s is on a list: refused from the start", listed)
	a := s.browser(s.attacker, allowed, serverForAttacker)
	form, err = a.loginForm()
	if err != nil {
		return err
	}
	const tries = 100
	for n := 1; n <= tries; n++ {
		if status, _, err := a.login(form, "admin", "guess"); err != nil || status != 200 {
			return fmt.Errorf("%s: attempt %d: status %d, %w", allowed, n, status, err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	if at, ok := s.kernel.added(allowed); ok {
		return fmt.Errorf("%s is on the allow-list, and was banned at %v", allowed, at)
	}
	if status, err := a.get("/admin/login/"); err != nil || status != 200 {
		return fmt.Errorf("%s should get 200: status %d, %w", allowed, status, err)
	}
	told("%s is on that list and on the allow-list: %d wrong passwords, and still 200", allowed, tries)

	fmt.Println("\nAct 7: no firewall to command: the site asks")
	// django-auth's ban is for port 80; the other site is asked for on another one.
	if err := s.show(ctx, "bailiff", []string{"ban", "django-auth", attacker}, attacker); err != nil {
		return err
	}
	b := s.browserAt(s.attacker, attacker, serverForAttacker, axesPort)
	if err := b.until(403); err != nil {
		return err
	}
	told("a middleware of the other site asks bailiff: %s gets 403", attacker)
	if err := s.show(ctx, "bailiff", []string{"unban", attacker}, attacker+" unbanned"); err != nil {
		return err
	}
	if err := b.until(200); err != nil {
		return err
	}
	told("unbanned, it gets 200")
	return nil
}

// manage runs manage.py of the site with Axes.
func (s *stage) manage(args ...string) (string, error) {
	c := s.server.Command(s.ctx, "/usr/bin/python3", append([]string{filepath.Join(s.project, "manage.py")}, args...)...)
	c.Env = append(append(os.Environ(), s.env...), "DJANGO_SETTINGS_MODULE=mysite.settings_axes")
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("manage.py %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// untilBanned waits for the kernel's element.
func (s *stage) untilBanned(ctx context.Context, addr string) error {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if _, ok := s.kernel.added(addr); ok {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is not banned\n%s", addr, s.output("bailiff"))
		}
	}
}

// browserAt is browser for another port.
func (s *stage) browserAt(host *netlab.Host, from, to, port string) *browser {
	b := s.browser(host, from, to)
	b.to = net.JoinHostPort(to, port)
	return b
}

// until asks for the form until the answer has a status.
func (b *browser) until(want int) error {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		status, err := b.get("/admin/login/")
		if err == nil && status == want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s should get %d: status %d, %w", b.from, want, status, err)
		}
	}
}
