package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
)

// users is a jail that counts users, whose lines tell an address, too.
func users(t *testing.T, more func(*config.Jail, *lab)) *lab {
	return start(t, func(c *config.Jail, l *lab) {
		c.Filter.Failregex = []filter.Expr{{Text: `^ user <F-ID>\S+</F-ID> from <ADDR>$`}}
		if more != nil {
			more(c, l)
		}
	})
}

func (l *lab) thrice(line string) { l.t.Helper(); l.say(line, line, line) }

// TestBeside: where a line tells an address beside the id, that is what is shut out, and
// not an address that somebody has for a user name. It stays so as long as one of the ids
// is banned.
func TestBeside(t *testing.T) {
	db := openStore(t)
	stored := func(c *config.Jail, l *lab) {
		l.store, l.clock = db, db.clock
		c.Networks.Aggregate = 1
	}
	l := users(t, stored)
	l.thrice("%s user alice from 198.51.100.1")
	l.want("+198.51.100.1/32 1h0m0s")
	l.logged("NOTICE  [test] Ban alice\n")
	l.thrice("%s user 203.0.113.9 from 2001:db8::1")
	l.want("+2001:db8::1/128 1h0m0s")
	l.sleep(10 * time.Minute)
	l.thrice("%s user bob from 198.51.100.1")
	l.want("+198.51.100.1/32 1h0m0s")
	bans, _ := l.jail.Bans()
	if len(bans) != 3 || bans[0].Address != "198.51.100.1" || bans[1].IP != "203.0.113.9" || bans[1].Name || bans[1].Address != "2001:db8::1" {
		t.Errorf("%+v", bans)
	}
	// Bob's is the later end; alice's goes without him.
	if each, err := l.jail.UnbanEach([]ban.ID{ban.Named("alice"), idOf("198.51.100.1"), idOf("203.0.113.0/24")}, ""); err != nil ||
		each[0] != (Unbanned{Found: true}) || each[1] != (Unbanned{By: ban.Named("bob")}) || each[2] != (Unbanned{}) {
		t.Errorf("%+v %v", each, err)
	}
	l.want("+198.51.100.1/32 1h0m0s")
	// One of its own and bob's: the one that ends later.
	if added, err := l.jail.Ban(idOf("198.51.100.1"), false); !added || err != nil {
		t.Error(added, err)
	}
	l.want("+198.51.100.1/32 1h0m0s")
	if found, err := l.jail.Unban(idOf("198.51.100.1")); !found || err != nil {
		t.Error(found, err)
	}
	l.want("+198.51.100.1/32 1h0m0s")
	// A network by hand that holds the name of a user holds nothing of it.
	if added, err := l.jail.Ban(idOf("203.0.113.0/24"), false); !added || err != nil {
		t.Error(added, err)
	}
	l.want("+203.0.113.0/24 1h0m0s")
	l.thrice("%s user 203.0.113.10 from 198.51.100.2")
	l.want("+198.51.100.2/32 1h0m0s")
	l.held = []firewall.Element{
		{ID: netip.MustParsePrefix("198.51.100.1/32"), Left: time.Hour},
		{ID: netip.MustParsePrefix("2001:db8::1/128"), Left: 50 * time.Minute},
		{ID: netip.MustParsePrefix("203.0.113.0/24"), Left: time.Hour},
	}
	if d, err := l.jail.Compare(); err != nil || d != (Difference{Held: 3, Missing: 1}) {
		t.Errorf("%+v %v", d, err)
	}
	l.want("+198.51.100.2/32 1h0m0s")
	l.jail.Stop(false)

	// A restart.
	l = users(t, stored)
	l.logged("Restore Ban bob\n")
	l.logged("Restore Ban \"203.0.113.9\"\n")
	got := map[string]bool{}
	l.mu.Lock()
	for _, c := range l.changes {
		got[c.ID.String()] = !c.Remove
	}
	l.changes = nil
	l.mu.Unlock()
	for _, want := range []string{"198.51.100.1/32", "198.51.100.2/32", "2001:db8::1/128", "203.0.113.0/24"} {
		if !got[want] {
			t.Errorf("%s is not put back: %v", want, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("asked of the kernel: %v", got)
	}
	if found, err := l.jail.Unban(ban.Named("bob")); !found || err != nil {
		t.Error(found, err)
	}
	l.want("-198.51.100.1/32")
	if found, err := l.jail.Unban(idOf("203.0.113.9")); !found || err != nil {
		t.Error(found, err)
	}
	l.want("-2001:db8::1/128")
}

// TestBesideIgnored: who is never banned is not shut out for a user either.
func TestBesideIgnored(t *testing.T) {
	l := users(t, nil)
	l.thrice("%s user alice from 192.0.2.1")
	l.logged("Ignore 192.0.2.1 by ignoreself rule (own address): the ban of alice does not shut it out\n")
	l.logged("NOTICE  [test] Ban alice\n")
	// The guard tells the jail that it looked, and who is protected is let in once more:
	// before the ban or after it.
	own := func(want string) {
		t.Helper()
		got := strings.Split(l.asked(), ", ")
		if got = slices.DeleteFunc(got, func(c string) bool { return c == "-192.0.2.1/32" && c != want }); !slices.Contains(got, want) || slices.ContainsFunc(got, func(c string) bool { return c != want }) {
			t.Errorf("asked of the kernel: %q, want %q", got, want)
		}
	}
	own("-192.0.2.1/32")
	l.thrice("%s user bob from 198.51.100.1")
	own("+198.51.100.1/32 1h0m0s")
	if err := l.jail.Change(func(c *config.Jail) error {
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := l.asked(); !strings.Contains(got, "-198.51.100.1/32") || strings.Contains(got, "+") {
		t.Errorf("asked of the kernel: %q", got)
	}
	if d, err := l.jail.Compare(); err != nil || d != (Difference{}) {
		t.Errorf("%+v %v", d, err)
	}
	if s := l.jail.Status(true); s.Banned != 2 {
		t.Errorf("%+v", s.Bans)
	}
}

// TestBesideAddressLike: whatever a client calls himself, it is his address that is judged
// and shut out, and no log's reader takes the name for an address.
func TestBesideAddressLike(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		c.Filter.Failregex = []filter.Expr{{Text: `^ bad login "<F-ID>[^"]*</F-ID>" from <ADDR>$`}}
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/25")}
		c.Ignore.Names = []string{"kevin"}
		c.Networks.Prefix6 = 64
	})
	for i, c := range []struct{ name, told string }{
		{"127.0.0.1", `"127.0.0.1"`},
		{"::1", `"::1"`},
		{"192.0.2.1", `"192.0.2.1"`}, // the host's own
		{"198.51.100.1", `"198.51.100.1"`},
		{"198.51.100.0/25", `"198.51.100.0/25"`},
		{"203.0.113.0/25", `"203.0.113.0/25"`},
		{"0.0.0.0/0", `"0.0.0.0/0"`},
		{"2001:db8::/32", `"2001:db8::/32"`},
		{"203.0.113.78", `"203.0.113.78"`},
		{"::ffff:203.0.113.80", `"203.0.113.80"`},
		{"2001:db8::77", `"2001:db8::77"`},
		{"[2001:db8::78]", `"2001:db8::78"`},
		{"alice", "alice"},
	} {
		client := fmt.Sprintf("192.0.2.%d", 100+i)
		l.thrice(fmt.Sprintf(`%%s bad login "%s" from %s`, c.name, client))
		l.logged("[test] Found " + c.told + " - ")
		l.logged("NOTICE  [test] Ban " + c.told + "\n")
		l.want("+" + client + "/32 1h0m0s")
	}
	// What can't be an id is the address' failure.
	for i, name := range []string{"", strings.Repeat("x", ban.MaxName+1)} {
		client := fmt.Sprintf("192.0.2.%d", 200+i)
		l.thrice(fmt.Sprintf(`%%s bad login "%s" from %s`, name, client))
		l.logged("NOTICE  [test] Ban " + client + "\n")
		l.want("+" + client + "/32 1h0m0s")
	}
	// His own address for a name is no other one.
	l.thrice(`%s bad login "::ffff:192.0.2.210" from 192.0.2.210`)
	l.logged("NOTICE  [test] Ban 192.0.2.210\n")
	l.want("+192.0.2.210/32 1h0m0s")
	l.thrice(`%s bad login "kevin" from 192.0.2.211`)
	l.logged("Ignore kevin by ip\n")
	l.want("")
	// Who failed first may not be shut out; who goes on may.
	l.say(`%s bad login "bob" from 198.51.100.2`)
	l.say(`%s bad login "bob" from 192.0.2.212`, `%s bad login "bob" from 192.0.2.213`)
	l.want("+192.0.2.212/32 1h0m0s")
	if found, err := l.jail.Unban(idOf("203.0.113.0/25")); !found || err != nil {
		t.Error(found, err)
	}
	l.logged("NOTICE  [test] Unban \"203.0.113.0/25\"\n")
	l.want("-192.0.2.105/32")
	if n := l.says("Ban 203.0.113") + l.says("Found 203.0.113") + l.says("Ban 2001:") + l.says("Found 2001:"); n != 0 {
		t.Errorf("%d lines tell of a name as of an address", n)
	}
}

// TestBesideReloaded: what ignoreip says of addresses later lifts no ban of a name that
// reads as one, nor does a restart.
func TestBesideReloaded(t *testing.T) {
	db := openStore(t)
	stored := func(c *config.Jail, l *lab) { l.store, l.clock = db, db.clock }
	l := users(t, stored)
	l.thrice("%s user 203.0.113.9 from 198.51.100.1")
	l.thrice("%s user 203.0.113.0/24 from 198.51.100.2")
	l.want("+198.51.100.1/32 1h0m0s, +198.51.100.2/32 1h0m0s")
	if err := l.jail.Change(func(c *config.Jail) error {
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := l.jail.Status(true); s.Banned != 2 {
		t.Errorf("%+v", s.Bans)
	}
	l.want("")
	l.jail.Stop(false)
	l = users(t, func(c *config.Jail, l *lab) {
		stored(c, l)
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	})
	l.logged("Restore Ban \"203.0.113.9\"\n")
	l.logged("Restore Ban \"203.0.113.0/24\"\n")
	if s := l.jail.Status(true); s.Banned != 2 {
		t.Errorf("%+v", s.Bans)
	}
}

// TestBesideBanned: who calls himself like an address that is banned is shut out; and an
// address isn't told to be banned since somebody calls himself so.
func TestBesideBanned(t *testing.T) {
	l := users(t, nil)
	if added, err := l.jail.Ban(idOf("203.0.113.9"), false); !added || err != nil {
		t.Error(added, err)
	}
	l.want("+203.0.113.9/32 1h0m0s")
	l.thrice("%s user 203.0.113.9 from 192.0.2.97")
	l.logged("NOTICE  [test] Ban 192.0.2.97\n")
	l.want("+192.0.2.97/32 1h0m0s")
	l.thrice("%s user 203.0.113.10 from 192.0.2.98")
	l.want("+192.0.2.98/32 1h0m0s")
	if added, err := l.jail.Ban(idOf("203.0.113.10"), false); added || err == nil ||
		!strings.Contains(err.Error(), `"203.0.113.10" is banned as an id, for which 192.0.2.98 is shut out`) {
		t.Error(added, err)
	}
	l.want("")
	if found, err := l.jail.Unban(idOf("203.0.113.10")); !found || err != nil {
		t.Error(found, err)
	}
	l.want("-192.0.2.98/32")
	if added, err := l.jail.Ban(idOf("203.0.113.10"), false); !added || err != nil {
		t.Error(added, err)
	}
	l.want("+203.0.113.10/32 1h0m0s")
}
