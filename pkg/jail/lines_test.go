package jail

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
)

// TestKeptLines: each address has its last lines, all together have a budget, and who
// was quiet for longest loses his.
func TestKeptLines(t *testing.T) {
	const budget = 100_000
	k := newKeptLines(budget)
	id := func(n int) ban.ID { return single(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})) }
	line := func(n int) []filter.Line { return []filter.Line{{After: fmt.Sprintf("%05d", n)}} }
	for n := range 12 {
		k.add(id(1), line(n), 5)
	}
	if got := strings.Join(k.lines(id(1)), " "); got != "00007 00008 00009 00010 00011" {
		t.Errorf("kept: %q", got)
	}
	// What was given out stays as it is, whatever comes.
	given := k.lines(id(1))
	was := strings.Join(given, " ")
	for n := range 100 {
		k.add(id(1), line(1000+n), 5)
		if got, want := k.lines(id(1)), fmt.Sprintf("%05d", 1000+n); len(got) != 5 || got[4] != want {
			t.Fatalf("kept: %q, want %s at the end", got, want)
		}
		if one := k.byID[id(1)]; one.size > keptCost+one.id.Size()+8*(5+lineCost) {
			t.Fatalf("%d bytes are held for five lines", one.size)
		}
	}
	if now := strings.Join(given, " "); now != was {
		t.Errorf("what was given out is %q by now, and was %q", now, was)
	}
	long := []filter.Line{{After: strings.Repeat("x", 16<<10)}}
	for n := range 5000 {
		k.add(id(n+2), long, 5)
		k.setGroups(id(n+2), map[string]string{"user": "u"})
		k.add(id(2), line(n), 5) // is not quiet
		size, count := 0, 0
		for one := k.oldest; one != nil; one = one.newer {
			size += one.size
			count++
		}
		if size != k.used || count != len(k.byID) || size > budget {
			t.Fatalf("%d bytes of %d addresses, %d of %d counted, at most %d", size, count, k.used, len(k.byID), budget)
		}
	}
	if len(k.lines(id(1))) != 0 || len(k.lines(id(2))) != 5 || len(k.lines(id(5001))) != 1 || len(k.byID) < 10 {
		t.Errorf("%d lines of the quiet one, %d of the busy one, %d of the last, %d addresses", len(k.lines(id(1))), len(k.lines(id(2))), len(k.lines(id(5001))), len(k.byID))
	}
	for n := range 5002 {
		k.drop(id(n))
	}
	if k.used != 0 || k.oldest != nil || k.newest != nil {
		t.Errorf("%d bytes when all is dropped", k.used)
	}
}

// TestForgotten: with or without a database, the lines and groups of an address go
// when its failures do.
func TestForgotten(t *testing.T) {
	l := start(t, func(c *config.Jail, _ *lab) {
		c.MaxMatches = 3
		c.Actions = noting("<F-USER>")
		c.Filter.Failregex = []filter.Expr{{Text: `Login failure <HOST> user <F-USER>\S+</F-USER>$`}}
	})
	for n := range 50 {
		l.say(fmt.Sprintf("%%s Login failure 198.51.100.%d user u%d", n, n))
	}
	kept := func() (n int) {
		_ = l.jail.do(func(*Jail) { n = len(l.jail.kept.byID) })
		return n
	}
	if n := kept(); n != 50 {
		t.Fatalf("lines of %d addresses are kept, want 50", n)
	}
	l.sleep(11 * time.Minute)
	_ = l.jail.do(func(*Jail) {
		for _, id := range l.jail.window.Expire(l.jail.deps.Clock.Now()) {
			l.jail.failuresChanged(id)
		}
	})
	l.until(func() bool { return kept() == 0 })
}

// noting are actions that tell of a ban with some tags, by a command that is not run.
func noting(tags string) []action.Definition {
	d := action.Definition{Name: "notes", Properties: &fail2ban.Options{}}
	d.Properties.Set("actionban", "ban <ip> "+tags)
	d.Properties.Set("actionunban", "unban <ip>")
	return []action.Definition{d}
}
