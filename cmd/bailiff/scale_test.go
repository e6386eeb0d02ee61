package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/store"
)

const scaleConfig = `
[database]
path = "%s"
[jail.django-auth]
enabled = true
logpath = "%s"
maxretry = 3
findtime = "1h"
bantime = "1h"
`

// attackerAddr is the i-th of many addresses, from 198.18.0.0/15, which is for
// measurements (RFC 2544), and behind it.
func attackerAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)})
}

// storedBans writes a database with bans of the jail django-auth.
func storedBans(t *testing.T, path string, count int) {
	t.Helper()
	s, err := store.Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	d := &store.Delta{Jail: "django-auth"}
	now := time.Now()
	for i := range count {
		d.Events = append(d.Events, store.Event{Ban: ban.Ban{ID: ban.Of(netip.PrefixFrom(attackerAddr(i), 32)), Start: now, End: now.Add(time.Hour)}})
	}
	if err := s.Write([]*store.Delta{d}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// count asks nft how many elements the jail's set for IPv4 addresses has. The
// daemon stands still meanwhile, since to list 100,000 takes nft a second.
func (n *network) count() int {
	n.t.Helper()
	_ = n.daemon.Process.Signal(syscall.SIGSTOP)
	defer n.daemon.Process.Signal(syscall.SIGCONT)
	out, err := n.server.Command(context.Background(), "nft", "-j", "list", "set", "inet", "f2b-table", "addr-set-django-auth").Output()
	if err != nil {
		return -1
	}
	return strings.Count(string(out), `{"elem": {"val"`)
}

// counts waits until the set has so many elements, and says after how long; promised is
// what others' programs on the machine may make ten times as long.
func (n *network) counts(what string, want int, since time.Time, promised time.Duration) {
	n.t.Helper()
	got := 0
	for end := since.Add(max(10*promised, 30*time.Second)); ; {
		looked := time.Now()
		if got = n.count(); got == want {
			n.t.Logf("%s: %d elements after %v, promised after %v", what, got, time.Since(since).Round(time.Millisecond), promised)
			return
		}
		if time.Now().After(end) {
			break
		}
		time.Sleep(2 * time.Since(looked)) // the daemon stood still meanwhile
	}
	text, _ := os.ReadFile(n.path("out"))
	n.t.Fatalf("%s: %d of %d elements\n%.3000s", what, got, want, text)
}

func (n *network) nft(script string) {
	n.t.Helper()
	if out, err := n.server.Command(context.Background(), "nft", script).CombinedOutput(); err != nil {
		n.t.Fatalf("nft %s: %v: %s", script, err, out)
	}
}

var soakBans = flag.Int("bans", 100_000, "how many bans TestScale stores; make soak takes a million")

// TestScale: 100,000 bans are back after a start, 2,000 more come in one write,
// and all are lifted, each as quickly as promised.
func TestScale(t *testing.T) {
	t.Parallel()
	bans := *soakBans
	// What is promised for 100,000 may take longer for more.
	second := time.Second * time.Duration(max(bans/100_000, 1))
	n := newNetwork(t)
	db, log := n.path("db.sqlite3"), n.path("auth.log")
	config := fmt.Sprintf(scaleConfig, db, log)
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	storedBans(t, db, bans)
	start := time.Now()
	n.launch(config)
	n.counts("a start with empty sets", bans, start, second)

	// Some are there, some are not, one is nobody's.
	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	n.nft("delete element inet f2b-table addr-set-django-auth { " + attackerAddr(7).String() + ", " + attackerAddr(70_000).String() + " }; add element inet f2b-table addr-set-django-auth { 203.0.113.9 timeout 1h }")
	start = time.Now()
	n.launch(config)
	n.counts("a start with most of them there", bans+1, start, second)
	n.until("bailiff answers", func() bool { return n.ask("status") != "" })
	// What nobody knows becomes a ban.
	n.until("what nobody knew is adopted", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "Adopt 203.0.113.9")
	})
	n.ask("unban", "203.0.113.9")
	n.counts("what was adopted is unbanned", bans, time.Now(), second)

	const more = 2_000
	var lines strings.Builder
	for range 3 {
		for i := range more {
			fmt.Fprintf(&lines, "%s ERROR Login failure 203.0.%d.%d\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), 113+i/250, i%250)
		}
	}
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if _, err := f.WriteString(lines.String()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	n.counts("2,000 attackers in one write", bans+more, start, 200*time.Millisecond)

	start = time.Now()
	n.ask("unban", "--all")
	n.counts("all lifted", 0, start, second)
}

// TestFlushedFromOutside: what `nft flush ruleset` or a hand at nft removes is
// back, and the log says so in a line when it is, not one a ban.
func TestFlushedFromOutside(t *testing.T) {
	t.Parallel()
	const bans = 10_000
	n := newNetwork(t)
	db, log := n.path("db.sqlite3"), n.path("auth.log")
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	storedBans(t, db, bans)
	n.launch(fmt.Sprintf(scaleConfig, db, log))
	said := func() string {
		text, _ := os.ReadFile(n.path("out"))
		return string(text)
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		if !hosttest.Soon(done) {
			text := said()
			t.Fatalf("%s: %d of %d elements\n%s", what, n.count(), bans, text[max(0, len(text)-5000):])
		}
	}
	wait("a start", func() bool { return n.count() == bans })
	n.until("bailiff answers", func() bool { return n.ask("status") != "" })
	anew := 0
	for _, script := range []string{
		"flush ruleset",
		"delete table inet f2b-table",
		"flush set inet f2b-table addr-set-django-auth",
		"flush chain inet f2b-table f2b-chain",
		"delete element inet f2b-table addr-set-django-auth { " + attackerAddr(5).String() + " }",
	} {
		n.nft(script)
		wait("after nft "+script, func() bool {
			rules, err := n.server.Command(context.Background(), "nft", "list", "chain", "inet", "f2b-table", "f2b-chain").Output()
			return err == nil && strings.Contains(string(rules), "@addr-set-django-auth") && n.count() == bans
		})
		if strings.Contains(script, "table") && !strings.Contains(script, "chain") && !strings.Contains(script, "element") || script == "flush ruleset" {
			anew++
			wait("the log says that it is back", func() bool {
				return strings.Count(said(), fmt.Sprintf("made anew, with %d bans", bans)) >= anew
			})
			anew = strings.Count(said(), fmt.Sprintf("made anew, with %d bans", bans))
		}
	}
	text := said()
	if strings.Contains(text, "] Ban ") {
		t.Error("the log tells of bans that were not made")
	}
	if lines := strings.Count(text, "\n"); lines > bans+60 { // one a ban at the start
		t.Errorf("the log has %d lines", lines)
	}
	for _, want := range []string{"table inet f2b-table was gone", "emptied a set of jail django-auth", "sets lacked 1 bans"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not say %q: %.2000s", want, text[max(0, len(text)-2000):])
		}
	}
}
