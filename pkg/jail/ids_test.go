package jail

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/tags"
)

// sessions is a jail that bans sessions, and notes what its action runs.
func sessions(t *testing.T, more func(*config.Jail, *lab)) (l *lab, ran func() string) {
	var mu sync.Mutex
	var all []string
	l = start(t, func(c *config.Jail, l *lab) {
		c.Filter.Failregex = []filter.Expr{{Text: `^ session "<F-ID>[^"]*</F-ID>"`}}
		opts := &tags.Options{}
		opts.Set("actionban", `ban <fid> <ip> <family> <ip-rev> <ip-host> <restored>`)
		opts.Set("actionunban", "unban <fid>")
		c.Actions = []action.Definition{{Name: "own", Properties: opts}}
		l.run = func(_ context.Context, c action.Command, _ time.Duration) bool {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, strings.ReplaceAll(c.String(), "\n", ""))
			return true
		}
		if more != nil {
			more(c, l)
		}
	})
	return l, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(all, ", ")
	}
}

// TestSessions: what is no address is counted, banned, told to actions, kept, restored,
// lifted; and never an element of the kernel's sets.
func TestSessions(t *testing.T) {
	db := openStore(t)
	stored := func(c *config.Jail, l *lab) { l.store, l.clock = db, db.clock }
	l, ran := sessions(t, stored)
	line := `%s session "my-session 1"`
	l.say(line, line, `%s session "other"`)
	if s := l.jail.Status(true); s.Failed != 2 || s.Banned != 0 {
		t.Errorf("%+v", s)
	}
	l.say(line)
	evil := `%s session "$(reboot);'x] Ban 203.0.113.9"`
	l.say(evil, evil, evil)
	ranWant := `ban my-session 1 my-session 1 None  None 0, f2bV_fid="$(reboot);'x] Ban 203.0.113.9" f2bV_ip="$(reboot);'x] Ban 203.0.113.9" ban $f2bV_fid $f2bV_ip None  None 0`
	l.until(func() bool { return strings.Count(ran(), "ban ") >= 2 && strings.Contains(ran(), "reboot") })
	if ran() != ranWant {
		t.Errorf("ran %s\nwant %s", ran(), ranWant)
	}
	l.want("")
	l.logged("NOTICE  [test] Ban my-session 1\n")
	l.logged("NOTICE  [test] Ban \"$(reboot);'x] Ban 203.0.113.9\"\n")
	if n := l.says("nftables can't hold"); n != 1 {
		t.Errorf("told %d times that nftables can't hold it", n)
	}
	if s := l.jail.Status(false); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "left to the jail's other actions") {
		t.Errorf("problems: %q", s.Problems)
	}
	l.say(line)
	l.say(line, line)
	l.logged("my-session 1 already banned")
	if added, err := l.jail.Ban(ban.Named("my-session 1"), false); added || err != nil {
		t.Error(added, err)
	}
	if added, err := l.jail.Ban(ban.Named("by-hand"), false); !added || err != nil {
		t.Error(added, err)
	}
	if d, err := l.jail.Compare(); err != nil || d != (Difference{}) {
		t.Errorf("%+v %v", d, err)
	}
	if n, err := l.jail.Refill(); n != 0 && err != nil {
		t.Error(n, err)
	}
	if bans, _ := l.jail.Bans(); len(bans) != 3 || bans[0].IP != "my-session 1" || !bans[0].Name {
		t.Errorf("%+v", bans)
	}
	l.jail.Stop(false)
	l.want("")

	// After a restart.
	l, ran = sessions(t, stored)
	l.logged("Restore Ban my-session 1\n")
	l.logged("Restore Ban by-hand\n")
	l.until(func() bool { return strings.Count(ran(), " 1") >= 3 })
	l.say(`%s session "other"`, `%s session "other"`) // the third, with the one before
	l.logged("Ban other\n")
	if found, err := l.jail.Unban(ban.Named("my-session 1")); !found || err != nil {
		t.Error(found, err)
	}
	if found, err := l.jail.Unban(ban.Named("nobody")); found || err != nil {
		t.Error(found, err)
	}
	l.logged("NOTICE  [test] Unban my-session 1\n")
	l.sleep(2 * time.Hour)
	l.expire()
	l.logged("NOTICE  [test] Unban other\n")
	l.until(func() bool {
		return strings.Contains(ran(), "unban other") && strings.Contains(ran(), "unban my-session 1")
	})
	if s := l.jail.Status(true); s.Banned != 0 {
		t.Errorf("%+v", s)
	}
	l.want("")
}

// TestOddSessions: what can't be one costs itself; ignoreip may name one.
func TestOddSessions(t *testing.T) {
	l, _ := sessions(t, func(c *config.Jail, l *lab) {
		l.lookups["kevin"] = admin[:1]
		c.MaxRetry = 1
		c.Ignore.Names = []string{"kevin"}
		c.Networks.Prefix6 = 64
		c.Networks.Aggregate = 2
	})
	for _, c := range []struct{ id, says string }{
		{strings.Repeat("x", ban.MaxName+1), "an id has 1024 bytes at most, not 1025"},
		{"", "an empty id"},
		{"203.0.113.0/24", `"203.0.113.0/24" is a network: it matched, but is not banned`},
		{"kevin", "Ignore kevin by ip\n"},
		{"192.0.2.1", "Ignore 192.0.2.1 by ignoreself rule"},
	} {
		l.say(fmt.Sprintf(`%%s session "%s"`, c.id))
		l.logged(c.says)
	}
	l.want("")
	if s := l.jail.Status(true); s.Banned != 0 {
		t.Errorf("%+v", s.Bans)
	}
	// An address is one in any form, and a text that only looks like one is none.
	l.say(`%s session "[2001:db8::1]"`)
	l.want("+2001:db8::/64 1h0m0s")
	for _, id := range []string{"1.2.3.999", "fe80::1%eth0", "a", "b", strings.Repeat("y", ban.MaxName)} {
		l.say(fmt.Sprintf(`%%s session "%s"`, strings.ReplaceAll(id, "%", "%%")))
	}
	l.want("")
	if s := l.jail.Status(true); s.Banned != 6 {
		t.Errorf("%+v", s.Bans)
	}
}

// TestSessionsGrow: ban times of names grow as those of addresses do.
func TestSessionsGrow(t *testing.T) {
	for _, stored := range []bool{true, false} {
		t.Run(fmt.Sprint(stored), func(t *testing.T) {
			l, _ := sessions(t, func(c *config.Jail, l *lab) {
				c.Increase = &ban.Increase{}
				if stored {
					db := openStore(t)
					l.store, l.clock = db, db.clock
				}
			})
			for i, want := range []string{"Increase Ban kevin (2 # 2h", "Increase Ban kevin (3 # 4h"} {
				for range 3 {
					l.say(`%s session "kevin"`)
				}
				if i == 0 {
					l.sleep(2 * time.Hour)
					l.expire()
					for range 3 {
						l.say(`%s session "kevin"`)
					}
				}
				l.logged(want)
				l.sleep(5 * time.Hour)
				l.expire()
			}
		})
	}
}

// TestTooManyNames: bans of names have a bound in bytes, which is told.
func TestTooManyNames(t *testing.T) {
	defer func(n int) { namesMost = n }(namesMost)
	namesMost = 100
	l, _ := sessions(t, func(c *config.Jail, _ *lab) { c.MaxRetry = 1 })
	for i := range 30 {
		l.say(fmt.Sprintf(`%%s session "name-%05d"`, i))
	}
	if s := l.jail.Status(true); s.Banned != 10 {
		t.Errorf("%d are banned", s.Banned)
	}
	if n := l.says("there is no room for more"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if found, err := l.jail.Unban(ban.Named("name-00003")); !found || err != nil {
		t.Error(found, err)
	}
	l.say(`%s session "again-5678"`)
	if s := l.jail.Status(true); s.Banned != 10 {
		t.Errorf("%d are banned after one was lifted", s.Banned)
	}
	l.say(`%s session "192.0.2.77"`) // addresses have no part in it
	l.want("+192.0.2.77/32 1h0m0s")
}
