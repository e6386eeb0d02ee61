package jail

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/store"
)

var admin = []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}

// TestNameFirst: lines that are there at the start are judged when the names of ignoreip
// were asked, and not before.
func TestNameFirst(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		l.silent = make(chan struct{})
		l.lookups["admin.example.org"] = admin
		c.Ignore.Names = []string{"admin.example.org"}
	})
	said := make(chan struct{})
	go func() {
		defer close(said)
		line := "%s Login failure 203.0.113.9"
		l.say(line, line, line, "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	}()
	l.until(func() bool {
		return strings.Contains(fmt.Sprint(l.jail.Status(false).Problems), "ignoreip admin.example.org: waiting for its addresses before lines are judged")
	})
	close(l.silent)
	<-said
	l.want("+192.0.2.7/32 1h0m0s")
	l.logged("Ignore 203.0.113.9 by dns (ignoreip admin.example.org)")
	if n := l.says("Found 203.0.113.9"); n > 0 {
		t.Errorf("it was counted %d times", n)
	}
	if p := l.jail.Status(false).Problems; len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
}

// TestNameLate: a name that doesn't answer holds up lines for five seconds and no longer,
// and who was banned meanwhile is let in when it answers.
func TestNameLate(t *testing.T) {
	t.Parallel()
	l := start(t, func(c *config.Jail, l *lab) {
		l.silent = make(chan struct{})
		l.lookups["admin.example.org"] = admin
		c.Ignore.Names = []string{"admin.example.org"}
	})
	line := "%s Login failure 203.0.113.9"
	l.say(line, line, line)
	l.want("+203.0.113.9/32 1h0m0s")
	l.logged("no answer within 5s: lines are judged without it")
	close(l.silent)
	if !hosttest.Soon(func() bool { return l.jail.Status(false).Banned <= 0 }) {
		t.Fatal("it stays banned")
	}
	l.want("-203.0.113.9/32")
	l.logged("NOTICE  [test] Unban 203.0.113.9\n")
}

// TestAddWhileAsking: what is added to ignoreip while names are asked for, or changed in
// the settings, takes nothing away.
func TestAddWhileAsking(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		l.lookups["admin.example.org"] = admin
		c.Ignore.Names = []string{"admin.example.org"}
	})
	ignored := func(addr string, want bool) {
		t.Helper()
		id := netip.MustParsePrefix(addr)
		got, err := ask(l.jail, time.Minute, func(j *Jail) bool { return j.ignored(ban.Of(id)) != "" })
		if err != nil || got != want {
			t.Errorf("%s: %v, want %v (%v)", addr, got, want, err)
		}
	}
	l.until(func() bool {
		ok, _ := ask(l.jail, time.Minute, func(j *Jail) bool { return j.ready })
		return ok
	})
	change := func(f func(*config.Jail)) {
		t.Helper()
		if err := l.jail.Change(func(c *config.Jail) error { f(c); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	change(func(c *config.Jail) { c.MaxRetry = 4 })
	ignored("203.0.113.9/32", true)
	silent := make(chan struct{})
	defer close(silent)
	if err := l.jail.within(time.Minute, true, func(*Jail) { l.silent = silent }); err != nil { // from now on nobody answers
		t.Fatal(err)
	}
	change(func(c *config.Jail) {
		c.Ignore.Prefixes = append(slices.Clone(c.Ignore.Prefixes), netip.MustParsePrefix("198.51.100.0/24"))
		c.Ignore.Names = append(slices.Clone(c.Ignore.Names), "other.example.org")
	})
	ignored("203.0.113.9/32", true)
	ignored("198.51.100.7/32", true)
	change(func(c *config.Jail) { c.Ignore.Names = []string{"other.example.org"} })
	ignored("203.0.113.9/32", false)
	ignored("198.51.100.7/32", true)
}

// TestForce: what may not be banned is banned with force only, and stays then; networks
// that are too wide, too.
func TestForce(t *testing.T) {
	l := start(t, nil)
	p := netip.MustParsePrefix
	for id, want := range map[string]string{
		"192.0.2.1/32": "192.0.2.1 is never banned in jail test: own address; if you mean it, bailiff ban --force test 192.0.2.1", "192.0.2.0/24": "192.0.2.0/24 is never banned in jail test: own address 192.0.2.1; if you mean it, bailiff ban --force test 192.0.2.0/24", "128.0.0.0/1": "128.0.0.0/1 is wider than /8 (IPv6: /19): if you mean it, bailiff ban --force test 128.0.0.0/1",
		"2000::/18": "2000::/18 is wider than", "126.0.0.0/7": "is wider than", "127.0.0.0/8": "never banned",
	} {
		if _, err := l.jail.Ban(ban.Of(p(id)), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	l.want("")
	if _, err := l.jail.Ban(ban.Of(p("192.0.2.1/32")), true); err != nil {
		t.Error(err)
	}
	if _, err := l.jail.Ban(ban.Of(p("128.0.0.0/1")), true); err != nil {
		t.Error(err)
	}
	if _, err := l.jail.Ban(ban.Of(p("10.0.0.0/8")), false); err != nil {
		t.Error(err)
	}
	if err := l.jail.Change(func(c *config.Jail) error {
		c.Ignore.Prefixes = []netip.Prefix{p("10.1.0.0/16"), p("192.0.2.0/24")}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, b := range l.jail.Status(true).Bans {
		held = append(held, b.IP)
	}
	slices.Sort(held)
	if got := strings.Join(held, " "); got != "128.0.0.0/1 192.0.2.1" {
		t.Errorf("held: %s", got)
	}
}

// memory is a store that knows bans, and what was handed over.
type memory struct {
	Past
	state store.State

	mu     sync.Mutex
	handed []store.Event
}

func (m *memory) LoadEach(_ string, _ time.Time, bans func([]ban.Ban)) (store.State, error) {
	bans(m.state.Bans)
	return m.state, nil
}

func (m *memory) Push(d *store.Delta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handed = append(m.handed, d.Events...)
}

func (m *memory) events() []store.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.handed)
}

// TestRestoredOwner: bans of the store and of the kernel of who is protected now are not
// put back; the store forgets them.
func TestRestoredOwner(t *testing.T) {
	dir := t.TempDir()
	p := netip.MustParsePrefix
	path := filepath.Join(dir, "allowed")
	hosttest.Write(t, path, "203.0.113.9 # ours\n")
	m := &memory{state: store.State{Bans: []ban.Ban{
		{ID: ban.Of(p("192.0.2.1/32")), Start: begin, End: begin.Add(time.Hour)},
		{ID: ban.Of(p("192.0.2.0/24")), Start: begin, End: begin.Add(time.Hour)},
		{ID: ban.Of(p("203.0.113.9/32")), Start: begin, End: begin.Add(time.Hour)},
		{ID: ban.Of(p("198.51.100.7/32")), Start: begin, End: begin.Add(time.Hour)},
	}}}
	l := start(t, func(c *config.Jail, l *lab) {
		l.store = m
		l.held = []firewall.Element{{ID: p("192.0.2.1/32"), Left: time.Minute}}
		c.Ignore.Files = []string{path}
	})
	l.until(func() bool { return l.jail.Status(false).Banned == 1 })
	l.logged("Ignore 192.0.2.1 by own address: its ban is lifted")
	l.until(func() bool {
		lifted := map[string]bool{}
		for _, e := range m.events() {
			if e.Lifted {
				lifted[e.Ban.ID.String()] = true
			}
		}
		return len(lifted) == 3 && !lifted["198.51.100.7/32"]
	})
	if got := l.asked(); strings.Contains(got, "+192.0.2.") || !strings.Contains(got, "-192.0.2.1/32") || !strings.Contains(got, "-192.0.2.0/24") || !strings.Contains(got, "-203.0.113.9/32") {
		t.Errorf("asked of the kernel: %s", got)
	}
}
