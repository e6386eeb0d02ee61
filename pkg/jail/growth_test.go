package jail

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/store"
)

// direct is a store that writes at once.
type direct struct {
	*store.Store
	t     *testing.T
	clock *clock.Manual // the store's, and of the jails that use it
}

func (d *direct) Push(delta *store.Delta) {
	if err := d.Write([]*store.Delta{delta}); err != nil {
		d.t.Error(err)
	}
}

func openStore(t *testing.T) *direct {
	t.Helper()
	c := clock.NewManual(begin)
	s, err := store.Open(filepath.Join(t.TempDir(), "db.sqlite3"), c.Clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &direct{s, t, c}
}

func failures(l *lab, n int, who string) {
	line := "%s Login failure " + who
	var lines []string
	for range n {
		lines = append(lines, line)
	}
	l.say(lines...)
}

// TestGrowth: who is banned again is banned for longer, and after fewer failures;
// over a restart, too.
func TestGrowth(t *testing.T) {
	db := openStore(t)
	setup := func(c *config.Jail, l *lab) {
		l.store, l.clock = db, db.clock
		c.MaxRetry, c.MaxMatches = 4, 4
		c.Increase = &ban.Increase{MaxTime: 5 * time.Hour}
	}
	l := start(t, setup)
	ended := func() {
		l.sleep(6 * time.Hour)
		l.expire()
		l.asked()
	}
	failures(l, 4, "192.0.2.7")
	l.want("+192.0.2.7/32 1h0m0s")
	ended()
	failures(l, 1, "192.0.2.7") // counts twice
	failures(l, 1, "192.0.2.7")
	l.want("+192.0.2.7/32 2h0m0s")
	l.logged("INFO    [test] Found 192.0.2.7, bad - 2026-01-31 18:00:00, 1 # -> 2\n")
	l.logged("NOTICE  [test] Increase Ban 192.0.2.7 (2 # 2h -> 2026-01-31 20:00:00)\n")
	ended()
	failures(l, 1, "192.0.2.7") // three times
	l.want("")
	failures(l, 1, "192.0.2.7")
	l.want("+192.0.2.7/32 4h0m0s")
	l.jail.Stop(false)

	l.sleep(6 * time.Hour)
	l = start(t, setup)
	failures(l, 1, "192.0.2.7")
	l.want("+192.0.2.7/32 5h0m0s") // eight would be more than maxtime; one failure is enough
	l.logged(", 3 # -> 4, Ban\n")
	failures(l, 4, "192.0.2.8")
	l.want("+192.0.2.8/32 1h0m0s")

	// A pardon forgets.
	_, _ = l.jail.Unban(idOf("192.0.2.7"))
	l.asked()
	failures(l, 3, "192.0.2.7")
	l.want("")
	failures(l, 1, "192.0.2.7")
	l.want("+192.0.2.7/32 1h0m0s")
}

// TestOverallJails: bans of other jails count.
func TestOverallJails(t *testing.T) {
	db := openStore(t)
	id := netip.MustParsePrefix("192.0.2.7/32")
	at := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	for _, jail := range []string{"a", "b"} {
		db.Push(&store.Delta{Jail: jail, Events: []store.Event{{Ban: ban.Ban{ID: ban.Of(id), Start: at, End: at.Add(time.Hour), Count: 1}}}})
	}
	l := start(t, func(c *config.Jail, l *lab) { l.store, c.Increase = db, &ban.Increase{OverallJails: true} })
	failures(l, 3, "192.0.2.7")
	l.want("+192.0.2.7/32 4h0m0s")
}

// TestPrefix: networks are counted and banned in place of addresses.
func TestPrefix(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		c.Networks = config.Networks{Prefix4: 24, Prefix6: 64}
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}
	})
	failures(l, 1, "203.0.113.1")
	failures(l, 1, "203.0.113.2")
	failures(l, 1, "203.0.113.3")
	l.want("+203.0.113.0/24 1h0m0s")
	for i := range 3 {
		failures(l, 1, fmt.Sprintf("2001:db8:1:2::%x", i))
	}
	l.want("+2001:db8:1:2::/64 1h0m0s")
	failures(l, 3, "203.0.113.77")
	l.want("")
	l.logged("203.0.113.0/24 already banned")
	// A network with somebody in it who is never banned is not: its addresses are.
	failures(l, 2, "198.51.100.1")
	failures(l, 1, "198.51.100.2")
	l.want("")
	failures(l, 1, "198.51.100.1")
	l.want("+198.51.100.1/32 1h0m0s")
	// An address is unbanned with its network.
	if found, err := l.jail.Unban(idOf("203.0.113.5")); !found || err != nil {
		t.Error("not unbanned")
	}
	l.want("-203.0.113.0/24")
}

// TestAggregate: bans in one /24 become one of it, unless somebody in it is never
// banned.
func TestAggregate(t *testing.T) {
	db := openStore(t)
	setup := func(c *config.Jail, l *lab) {
		l.store, l.clock = db, db.clock
		c.MaxRetry = 1
		c.Networks = config.Networks{Prefix4: 32, Prefix6: 64, Aggregate: 3}
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}
	}
	l := start(t, setup)
	for i := range 4 {
		failures(l, 1, fmt.Sprintf("198.51.100.%d", i+1))
	}
	if got := l.asked(); strings.Contains(got, "/24") {
		t.Errorf("the network of an ignored address: %s", got)
	}
	failures(l, 1, "203.0.113.1")
	l.sleep(time.Minute)
	failures(l, 1, "203.0.113.2")
	l.asked()
	failures(l, 1, "203.0.113.3")
	l.want("+203.0.113.3/32 1h0m0s, -203.0.113.1/32, -203.0.113.2/32, -203.0.113.3/32, +203.0.113.0/24 1h0m0s")
	l.logged("NOTICE  [test] Ban 203.0.113.0/24\n")
	failures(l, 1, "203.0.113.4")
	l.want("")
	for i := range 3 {
		failures(l, 1, fmt.Sprintf("2001:db8:7:%x::1", i))
	}
	if got := l.asked(); !strings.HasSuffix(got, ", +2001:db8:7::/48 1h0m0s") {
		t.Errorf("asked %s", got)
	}
	l.jail.Stop(false)
	l = start(t, setup)
	var names []string
	bans, err := l.jail.Bans()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bans {
		names = append(names, b.IP)
	}
	if got, want := strings.Join(names, " "), "198.51.100.1 198.51.100.2 198.51.100.3 198.51.100.4 203.0.113.0/24 2001:db8:7::/48"; got != want {
		t.Errorf("after a restart: %s, want %s", got, want)
	}
	if found, err := l.jail.Unban(idOf("203.0.113.2")); !found || err != nil {
		t.Error("not unbanned with its network")
	}
}

// TestSSHPeer: who has a session open is not shut out, unless by force.
func TestSSHPeer(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		c.Ignore.SSH = true
		l.peers = []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	})
	failures(l, 3, "198.51.100.7")
	l.want("")
	l.logged("Ignore 198.51.100.7 by an open SSH session")
	id := netip.MustParsePrefix("198.51.100.0/24")
	if _, err := l.jail.Ban(ban.Of(id), false); err == nil || !strings.Contains(err.Error(), "an open SSH session") {
		t.Errorf("by hand: %v", err)
	}
	if _, err := l.jail.Ban(ban.Of(id), true); err != nil {
		t.Error(err)
	}
}

// TestIgnoredNow: who is ignored since the last start is not banned any more, and a
// ban is not longer than what the jail gives now.
func TestIgnoredNow(t *testing.T) {
	db := openStore(t)
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	d := &store.Delta{Jail: "test"}
	for _, who := range []string{"198.51.100.7/32", "203.0.113.7/32"} {
		d.Events = append(d.Events, store.Event{Ban: ban.Ban{ID: ban.Of(netip.MustParsePrefix(who)), Start: now.Add(-time.Minute), End: now.Add(24 * time.Hour)}})
	}
	db.Push(d)
	l := start(t, func(c *config.Jail, l *lab) {
		l.store, l.clock = db, db.clock
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	got := strings.Split(l.asked(), ", ")
	if strings.Join(got, " ") != "-198.51.100.7/32 +203.0.113.7/32 59m0s" && strings.Join(got, " ") != "+203.0.113.7/32 59m0s -198.51.100.7/32" {
		t.Errorf("asked %q", got)
	}
	if n := l.says("Restore Ban"); n != 1 {
		t.Errorf("%d bans restored", n)
	}
}

// TestSpan compares with fail2ban.
func TestSpan(t *testing.T) {
	var seconds []string
	for _, s := range []int{1, 59, 60, 61, 600, 3594, 3595, 3599, 3600, 3661, 7205, 86399, 86400, 90061, 604799, 604800, 691205, 31535999, 31536000, 63072000, 100000000} {
		seconds = append(seconds, fmt.Sprint(s))
	}
	out := hosttest.Python(t, nil, "", "-c", "from fail2ban.server.mytime import MyTime\nfor s in ("+strings.Join(seconds, ",")+"): print(MyTime.seconds2str(s))")
	for i, want := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		d, err := time.ParseDuration(seconds[i] + "s")
		if err != nil {
			t.Fatal(err)
		}
		if got := Span(d); got != want {
			t.Errorf("%s seconds: %q, fail2ban %q", seconds[i], got, want)
		}
	}
}
