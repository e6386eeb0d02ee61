package jail

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/tags"
)

// TestKeptLines: each address has its last lines, all together have a budget, and who
// was quiet for longest loses his.
func TestKeptLines(t *testing.T) {
	const budget = 100_000
	k := newKeptLines(budget)
	id := func(n int) ban.ID { return single(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})) }
	line := func(n int) *filter.Failure { return failureOf(fmt.Sprintf("%05d", n)) }
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
		if one := k.all[k.index[id(1)]]; int(one.size) > keptCost+one.id.Size()+8*(5+lineCost) {
			t.Fatalf("%d bytes are held for five lines", one.size)
		}
	}
	if now := strings.Join(given, " "); now != was {
		t.Errorf("what was given out is %q by now, and was %q", now, was)
	}
	long := failureOf(strings.Repeat("x", 16<<10))
	for n := range 5000 {
		k.add(id(n+2), long, 5)
		k.setGroups(id(n+2), map[string]string{"user": "u"})
		k.add(id(2), line(n), 5) // is not quiet
		size, count := 0, 0
		for n := k.ring.First(); n != 0; n = k.ring.Next(n) {
			size += int(k.all[n].size)
			count++
		}
		if size != k.used || count != len(k.index) || size > budget {
			t.Fatalf("%d bytes of %d addresses, %d of %d counted, at most %d", size, count, k.used, len(k.index), budget)
		}
	}
	if len(k.lines(id(1))) != 0 || len(k.lines(id(2))) != 5 || len(k.lines(id(5001))) != 1 || len(k.index) < 10 {
		t.Errorf("%d lines of the quiet one, %d of the busy one, %d of the last, %d addresses", len(k.lines(id(1))), len(k.lines(id(2))), len(k.lines(id(5001))), len(k.index))
	}
	for n := range 5002 {
		k.drop(id(n))
	}
	if k.used != 0 || k.ring.First() != 0 || len(k.all) > keptSmall {
		t.Errorf("%d bytes when all is dropped", k.used)
	}
}

// failureOf is a failure with a line.
func failureOf(line string) *filter.Failure {
	return &filter.Failure{Lines: []filter.Line{{After: line}}}
}

// TestKeptAmong: jails that are told of the same failures keep the lines that each would keep by
// itself, whoever comes first, also where one misses some, forgets, or keeps fewer.
func TestKeptAmong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var alone, among [4]*keptLines
		var most [4]int
		for i := range alone {
			alone[i], among[i], most[i] = newKeptLines(6000), newKeptLines(6000), 1+r.IntN(2)*4+r.IntN(2)*100
		}
		for n := range 500 {
			id := single(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(5))}))
			f := failureOf(fmt.Sprint("line ", n))
			told := *f
			told.Among = &filter.Among{}
			for _, i := range r.Perm(len(alone)) {
				switch r.IntN(200) {
				case 0:
					continue // it is ignored here
				case 1:
					alone[i].drop(id)
					among[i].drop(id)
				}
				alone[i].add(id, f, most[i])
				among[i].add(id, &told, most[i])
				for i := range alone { // what others add may not change what one has
					if a, b := alone[i].lines(id), among[i].lines(id); !slices.Equal(a, b) {
						t.Fatalf("%q kept, want %q", b, a)
					}
				}
			}
		}
	}
	// They have one list between them, but for who has another one before.
	a, b, c := newKeptLines(6000), newKeptLines(6000), newKeptLines(6000)
	id := single(netip.MustParseAddr("198.51.100.1"))
	c.add(id, failureOf("another line"), 5)
	for n := range 20 {
		f := failureOf(fmt.Sprint("line ", n))
		f.Among = &filter.Among{}
		all := []*keptLines{a, b, c}
		for _, i := range r.Perm(3) {
			all[i].add(id, f, 5)
		}
		if !sameList(a.lines(id), b.lines(id)) || sameList(a.lines(id), c.lines(id)) {
			t.Fatalf("line %d: lists are not shared by who has the same", n)
		}
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
		_ = l.jail.do(func(*Jail) { n = len(l.jail.kept.index) })
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
func noting(wanted string) []action.Definition {
	d := action.Definition{Name: "notes", Properties: &tags.Options{}}
	d.Properties.Set("actionban", "ban <ip> "+wanted)
	d.Properties.Set("actionunban", "unban <ip>")
	return []action.Definition{d}
}
