// Command demo plays the story of examples/django with real parts: Django's
// admin on gunicorn behind nginx, bailiff, and the kernel's nftables, in three
// network namespaces of their own (a server, an attacker, a customer). It
// measures what happens and exits with 1 as soon as a step is not as expected.
// Everything it makes is taken down at its end, interrupted or not.
//
// Run it as root from the project's root: make demo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	root := flag.String("root", ".", "the project's `directory`")
	tree := flag.Bool("fail2ban", false, "give bailiff a configuration of fail2ban's instead of its own")
	wave := flag.Int("attackers", 24, "how many addresses attack in the second act")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := play(ctx, *root, *wave, *tree)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything is taken down")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		os.Exit(1)
	}
}

// Documentation addresses (RFC 5737, RFC 3849).
const (
	serverForAttacker = "192.0.2.1"
	serverForCustomer = "198.51.100.1"
	server6           = "2001:db8::1"
	attacker          = "192.0.2.66"
	attacker6         = "2001:db8::66"
	customer          = "198.51.100.7"
)

const (
	maxRetry = 5
	// banTime is short, so that the demo can see a ban end.
	banTime = 20 * time.Second
)

func told(format string, args ...any) { fmt.Printf("  ok  "+format+"\n", args...) }

func play(ctx context.Context, root string, wave int, tree bool) (err error) {
	fmt.Println("Django's admin behind nginx, followed by bailiff; three network namespaces")
	s, err := setUp(ctx, root, wave, tree)
	if s != nil {
		defer func() { err = errors.Join(err, s.tearDown()) }()
	}
	if err != nil {
		return err
	}
	told("nginx, gunicorn and Django %s are up, bailiff follows Django's log", s.djangoVersion)

	fmt.Println("\nAct 1: an attacker, a customer")
	b := s.browser(s.attacker, attacker, serverForAttacker)
	c := s.browser(s.customer, customer, serverForCustomer)
	if err := s.attack(ctx, b); err != nil {
		return err
	}
	if err := s.refused(b); err != nil {
		return err
	}
	told("his next connection is refused by the kernel")
	if status, err := c.get("/admin/login/"); err != nil || status != 200 {
		return fmt.Errorf("the customer at %s should get 200: status %d, %w", customer, status, err)
	}
	told("the customer at %s still gets 200", customer)
	if err := s.show(ctx, "bailiff", []string{"status", "django-auth"}, attacker); err != nil {
		return err
	}
	if err := s.show(ctx, "nft", []string{"list", "set", "inet", "f2b-table", "addr-set-django-auth"}, attacker); err != nil {
		return err
	}
	if err := s.show(ctx, "bailiff", []string{"unban", attacker}, attacker+" unbanned in django-auth"); err != nil {
		return err
	}
	if status, err := b.get("/admin/login/"); err != nil || status != 200 {
		return fmt.Errorf("after the unban the attacker should get 200: status %d, %w", status, err)
	}
	told("unbanned, %s gets 200 again", attacker)

	fmt.Printf("\nAct 2: %d attackers, one of them over IPv6\n", wave)
	var delays []time.Duration
	for _, from := range s.waveAddresses() {
		to := serverForAttacker
		if from == attacker6 {
			to = server6
		}
		x := s.browser(s.attacker, from, to)
		d, err := s.guessUntilBanned(ctx, x)
		if err != nil {
			return err
		}
		if err := s.refused(x); err != nil {
			return err
		}
		delays = append(delays, d)
		fmt.Printf("      %-16s banned after %d attempts, %5.1f ms after its line was written\n", from, maxRetry, ms(d))
	}
	slices.Sort(delays)
	median := delays[len(delays)/2]
	text := fmt.Sprintf("from log line to kernel element, %d bans: median %.1f ms, fastest %.1f ms, slowest %.1f ms", len(delays), ms(median), ms(delays[0]), ms(delays[len(delays)-1]))
	if median >= 20*time.Millisecond {
		return errors.New(text + "; the median should be under 20 ms")
	}
	told("%s", text)
	if status, err := c.get("/admin/login/"); err != nil || status != 200 {
		return fmt.Errorf("the customer should still get 200: status %d, %w", status, err)
	}
	told("the customer still gets 200")

	fmt.Println("\nAct 3: the daemon is killed, the ban ends on time without it")
	if err := s.attack(ctx, b); err != nil {
		return err
	}
	since := time.Now()
	if err := s.kill(); err != nil {
		return err
	}
	told("bailiff is killed with -9")
	if err := s.refused(b); err != nil {
		return err
	}
	told("the attacker is still refused")
	ended, err := s.waitUntilGone(ctx, attacker)
	if err != nil {
		return err
	}
	if off := ended.Sub(since) - banTime; off < -2*time.Second || off > 2*time.Second {
		return fmt.Errorf("the ban of %v ended %v after the ban", banTime, ended.Sub(since).Round(time.Millisecond))
	}
	if status, err := b.get("/admin/login/"); err != nil || status != 200 {
		return fmt.Errorf("once the ban has ended the attacker should get 200: status %d, %w", status, err)
	}
	told("the kernel ended the ban of %v after %.1f s; the attacker gets 200", banTime, ended.Sub(since).Seconds())
	if !tree {
		if err := s.more(ctx); err != nil {
			return err
		}
	}
	fmt.Println("\nAll as expected.")
	return nil
}

// attack guesses passwords until the ban and tells of it.
func (s *stage) attack(ctx context.Context, b *browser) error {
	d, err := s.guessUntilBanned(ctx, b)
	if err != nil {
		return err
	}
	told("%s sends wrong passwords to the admin's form: each is answered 200; banned after %d attempts", b.from, maxRetry)
	told("from the line in Django's log to the element in the kernel: %.1f ms", ms(d))
	return nil
}

// guessUntilBanned posts wrong passwords, and waits for the kernel's element. It
// returns how long after the writing of the last line the element was there.
func (s *stage) guessUntilBanned(ctx context.Context, b *browser) (time.Duration, error) {
	token, err := b.loginForm()
	if err != nil {
		return 0, fmt.Errorf("%s: login form: %w", b.from, err)
	}
	s.kernel.forget(b.from)
	for n := 1; n <= maxRetry; n++ {
		status, page, err := b.login(token, "admin", fmt.Sprintf("guess-%d", n))
		switch {
		case err != nil && n == maxRetry:
			// The ban may come while the answer is on its way: open connections
			// are cut off.
		case err != nil:
			return 0, fmt.Errorf("%s: attempt %d: %w", b.from, n, err)
		case status != 200 || !strings.Contains(page, "errornote"):
			return 0, fmt.Errorf("%s: attempt %d: want 200 and the form with its error, got %d", b.from, n, status)
		}
		if at, ok := s.kernel.added(b.from); ok && n < maxRetry {
			return 0, fmt.Errorf("%s was banned after %d attempts, at %v", b.from, n, at)
		}
	}
	var at time.Time
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var ok bool
		if at, ok = s.kernel.added(b.from); ok {
			break
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: no ban 5 s after %d wrong passwords", b.from, maxRetry)
		}
	}
	written, err := s.lastLine(b.from)
	if err != nil {
		return 0, err
	}
	return at.Sub(written), nil
}

// refused checks that a new connection is turned away.
func (s *stage) refused(b *browser) error {
	conn, err := b.host.Dial(b.from, b.to, 2*time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s is banned and could connect", b.from)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: want a refused connection: %w", b.from, err)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
