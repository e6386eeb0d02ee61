package jail

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestWeight: a failure counts for as many as its expression weighs, and for those times what
// earlier bans make of it; by hand it counts once.
func TestWeight(t *testing.T) {
	weighs := func(c *config.Jail, _ *lab) {
		c.MaxRetry = 6
		c.Filter.Failregex = []filter.Expr{{Text: `Login failure <HOST>$`}, {Text: `Break-in <HOST>$`, Weight: 3}, {Text: `Murder <HOST>$`, Weight: 100}}
	}
	const light, heavy, deadly = "%s Login failure 192.0.2.7", "%s Break-in 192.0.2.7", "%s Murder 192.0.2.7"
	const banned = "+192.0.2.7/32 1h0m0s"
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"light", []string{light, light, light, light, light}, ""},
		{"six light", []string{light, light, light, light, light, light}, banned},
		{"two heavy", []string{heavy, heavy}, banned},
		{"heavy and light", []string{heavy, light, light}, ""},
		{"one more", []string{heavy, light, light, light}, banned},
		{"too much", []string{light, light, light, light, heavy}, banned},
		{"at once", []string{deadly}, banned},
		{"two are one ban", []string{deadly, deadly}, banned},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, weighs)
			l.say(append([]string(nil), c.lines...)...)
			l.want(c.want)
			if n := l.jail.Status(false).TotalFailed; n != len(c.lines) {
				t.Errorf("%d failures in all, want %d", n, len(c.lines))
			}
		})
	}
	t.Run("grown", func(t *testing.T) {
		l := start(t, func(c *config.Jail, l *lab) {
			weighs(c, l)
			c.MaxRetry, c.Increase = 12, &ban.Increase{}
		})
		l.say(heavy, heavy, heavy)
		l.want("")
		l.say(heavy)
		l.want(banned)
		l.sleep(2 * time.Hour)
		l.expire()
		l.asked()
		l.say(heavy) // twice three
		l.want("")
		l.say(heavy)
		l.want("+192.0.2.7/32 2h0m0s")
	})
	t.Run("by hand", func(t *testing.T) {
		l := start(t, func(c *config.Jail, l *lab) {
			weighs(c, l)
			c.Filter.Failregex[0].Weight = 5
		})
		id := ban.Of(filter.ParseID("192.0.2.7", -1))
		if _, err := l.jail.Attempt(id, []string{"a", "b", "c"}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.jail.Attempt(id, nil); err != nil {
			t.Fatal(err)
		}
		l.want("")
		if _, err := l.jail.Attempt(id, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		l.want(banned)
	})
	t.Run("changed", func(t *testing.T) {
		l := start(t, weighs)
		if err := l.jail.Change(func(c *config.Jail) error {
			c.Filter.Failregex = []filter.Expr{{Text: `Break-in <HOST>$`}, {Text: `Login failure <HOST>$`, Weight: 6}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		l.say(heavy)
		l.want("")
		l.say(light)
		l.want(banned)
	})
}

// counts makes a lab whose jail counts by users, and knows who logs in.
func counts(t *testing.T, change func(*config.Jail, *lab)) *lab {
	return start(t, func(c *config.Jail, l *lab) {
		c.MaxRetry, c.Counting.Most = 4, 3
		c.Filter.Failregex = []filter.Expr{
			{Text: `^\s*fail <F-USER>\S*</F-USER> on <F-PATH>\S*</F-PATH> from <HOST>$`},
			{Text: `^\s*fail from <HOST>$`},
			{Text: `heavy <F-USER>\S+</F-USER> from <HOST>$`, Weight: 2},
			{Text: `<F-MLFID>conn\d+</F-MLFID> fail <F-USER>\S+</F-USER> from <ADDR>$`},
			{Text: `<F-MLFID>conn\d+</F-MLFID> fail from <ADDR>$`},
			{Text: `<F-MLFID>conn\d+</F-MLFID> <F-MLFGAINED>good</F-MLFGAINED>(?: <F-USER>\S+</F-USER>)? from <ADDR>$`},
		}
		c.Filter.Success = []filter.Expr{{Text: `welcome <F-USER>\S+</F-USER> from <HOST>$`}}
		if change != nil {
			change(c, l)
		}
	})
}

func fails(user string) string { return "%s fail " + user + " on /x from 192.0.2.7" }

const welcome = "%s welcome alice from 192.0.2.7"

// TestDistinct: of failures that captured the same, one counts, as long as the last of them is
// within findtime.
func TestDistinct(t *testing.T) {
	const banned = "+192.0.2.7/32 1h0m0s"
	for name, c := range map[string]struct {
		group string
		lines []string
		pause time.Duration
		want  string
	}{
		"one account":         {"user", []string{fails("a"), fails("a"), fails("a"), fails("a"), fails("a"), fails("a")}, 0, ""},
		"three accounts":      {"user", []string{fails("a"), fails("b"), fails("c"), fails("a"), fails("b"), fails("c")}, 0, ""},
		"four accounts":       {"user", []string{fails("a"), fails("b"), fails("a"), fails("c"), fails("d")}, 0, banned},
		"off":                 {"", []string{fails("a"), fails("a"), fails("a"), fails("a")}, 0, banned},
		"no user":             {"user", []string{fails(""), fails(""), "%s fail from 192.0.2.7", "%s fail from 192.0.2.7"}, 0, banned},
		"another group":       {"path", []string{fails("a"), fails("b"), fails("c"), fails("d")}, 0, ""},
		"several of it":       {"path", []string{fails("a"), "%s fail a on /1 from 192.0.2.7", "%s fail a on /2 from 192.0.2.7", "%s fail a on /3 from 192.0.2.7"}, 0, banned},
		"it lasts":            {"user", []string{fails("a"), fails("b"), fails("a"), fails("c"), fails("d")}, 3 * time.Minute, banned},
		"it is over":          {"user", []string{fails("a"), fails("b"), fails("c"), fails("c"), fails("d")}, 4 * time.Minute, ""},
		"weight is kept":      {"user", []string{"%s heavy a from 192.0.2.7", fails("a"), fails("b"), fails("c")}, 0, banned},
		"weight comes later":  {"user", []string{fails("a"), fails("b"), fails("c"), "%s heavy a from 192.0.2.7"}, 0, banned},
		"weight counts once":  {"user", []string{"%s heavy a from 192.0.2.7", "%s heavy a from 192.0.2.7", fails("b")}, 0, ""},
		"connections have it": {"user", []string{"%s conn1 fail a from 192.0.2.7", "%s conn1 fail from 192.0.2.7", "%s conn1 fail from 192.0.2.7", fails("b"), fails("c")}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := counts(t, func(j *config.Jail, _ *lab) { j.Counting.Distinct = c.group })
			for _, line := range c.lines {
				l.say(line)
				l.sleep(c.pause)
			}
			l.want(c.want)
		})
	}
}

// TestForgives: who logs in takes back what failed of him from the same address before, and
// nothing else.
func TestForgives(t *testing.T) {
	const banned = "+192.0.2.7/32 1h0m0s"
	a, r := fails("alice"), fails("root")
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"never":                     {[]string{a, a, a, a}, banned},
		"clumsy":                    {[]string{a, a, a, welcome, a, a, a}, ""},
		"once too often":            {[]string{a, a, a, welcome, a, a, a, a}, banned},
		"of another user":           {[]string{r, r, r, welcome, r}, banned},
		"another's login":           {[]string{a, a, a, "%s welcome bob from 192.0.2.7", a}, banned},
		"another address":           {[]string{a, a, a, "%s welcome alice from 192.0.2.8", a}, banned},
		"alternating":               {[]string{r, a, welcome, r, a, welcome, r, a, welcome, r}, banned},
		"a login without failures":  {[]string{welcome, welcome, welcome, welcome, a, a, a, welcome, a, a, a}, ""},
		"success before failure":    {[]string{welcome, a, a, a, a}, banned},
		"after the ban":             {[]string{a, a, a, a, welcome}, banned},
		"case of letters":           {[]string{a, a, a, "%s welcome Alice from 192.0.2.7", a}, banned},
		"no user in the failure":    {[]string{"%s fail from 192.0.2.7", "%s fail from 192.0.2.7", "%s fail from 192.0.2.7", welcome, a}, banned},
		"three times a day":         {[]string{a, welcome, a, welcome, a, welcome, a, a, a}, ""},
		"a fourth time":             {[]string{a, welcome, a, welcome, a, welcome, a, a, a, welcome, a}, banned},
		"users have one number":     {[]string{a, welcome, fails("bob"), "%s welcome bob from 192.0.2.7", a, welcome, a, welcome, r, r, r}, banned},
		"the heavy one":             {[]string{"%s heavy alice from 192.0.2.7", a, welcome, r, r, r}, ""},
		"ipv4 written as ipv6":      {[]string{a, a, a, "%s welcome alice from ::ffff:192.0.2.7", a, a, a}, ""},
		"a connection":              {[]string{"%s conn1 fail alice from 192.0.2.7", "%s conn1 fail from 192.0.2.7", "%s conn1 fail from 192.0.2.7", welcome, r, r, r}, ""},
		"gained":                    {[]string{"%s conn1 fail alice from 192.0.2.7", "%s conn1 fail from 192.0.2.7", "%s conn1 good from 192.0.2.7", r, r, r}, ""},
		"gained, with several":      {[]string{"%s conn1 fail root from 192.0.2.7", "%s conn1 fail alice from 192.0.2.7", "%s conn1 good alice from 192.0.2.7", a}, banned},
		"several on one connection": {[]string{"%s conn1 fail root from 192.0.2.7", "%s conn1 fail alice from 192.0.2.7", "%s conn1 fail alice from 192.0.2.7", welcome, a}, banned},
	} {
		t.Run(name, func(t *testing.T) {
			for _, batch := range []bool{false, true} {
				l := counts(t, func(j *config.Jail, _ *lab) { j.Counting.Forgives = true })
				if batch {
					l.say(append([]string(nil), c.lines...)...)
				} else {
					for _, line := range c.lines {
						l.say(line)
						l.sleep(time.Second)
					}
				}
				l.want(c.want)
			}
		})
	}
}

// TestForgivesADay: the bound is of any 24 hours, to the second.
func TestForgivesADay(t *testing.T) {
	l := counts(t, func(j *config.Jail, _ *lab) { j.Counting.Forgives, j.Counting.Most = true, 2 })
	mistake := func() {
		l.say(fails("alice"), welcome)
	}
	left := func(want int) {
		t.Helper()
		if n := l.jail.Status(false).Failed; n != want {
			t.Errorf("%d addresses with failures, want %d; log:\n%s", n, want, l.log.String())
		}
	}
	mistake() // at 0
	l.sleep(time.Hour)
	mistake() // at 1 h
	left(0)
	l.logged(`Forgive 192.0.2.7 1 failure: "alice" has logged in`)
	l.sleep(23*time.Hour - time.Second)
	mistake() // at 24 h but for a second
	left(1)
	l.logged(`192.0.2.7 is not forgiven 1 failure, though "alice" has logged in: 2 times in 24 hours is the most (success.most)`)
	l.sleep(time.Second)
	l.say(welcome)
	left(0)
	l.sleep(time.Second)
	mistake()
	left(1)
}

// TestForgivenMost: of so many addresses it is known when they were forgiven; beyond them nobody else
// is, until a day is over.
func TestForgivenMost(t *testing.T) {
	l := counts(t, func(j *config.Jail, _ *lab) { j.Counting.Forgives, j.Counting.Most, j.FindTime = true, 2, time.Minute })
	known := func() (n int) {
		if err := l.jail.do(func(j *Jail) { n = len(j.counting.forgiven) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	mistake := func(who string) {
		l.say("%s fail alice on / from "+who, "%s welcome alice from "+who)
	}
	if err := l.jail.do(func(j *Jail) {
		for i := range forgivenMost - 1 {
			who := ban.Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32))
			j.counting.forgiven[who] = []time.Time{j.deps.Clock.Now()}
		}
	}); err != nil {
		t.Fatal(err)
	}
	mistake("198.51.100.7")
	mistake("198.51.100.8")
	if n := known(); n != forgivenMost {
		t.Errorf("%d addresses are known, want %d", n, forgivenMost)
	}
	l.logged(fmt.Sprintf("198.51.100.8 is not forgiven 1 failure, though \"alice\" has logged in: %d addresses were today", forgivenMost))
	mistake("198.51.100.7") // who is known is forgiven on
	if n := l.says("Forgive 198.51.100.7 1 failure"); n != 2 {
		t.Errorf("198.51.100.7 was forgiven %d times, want 2", n)
	}
	l.sleep(forgivenFor)
	if err := l.jail.do((*Jail).forget); err != nil {
		t.Fatal(err)
	}
	if n := known(); n != 0 {
		t.Errorf("%d addresses are known after a day", n)
	}
	mistake("198.51.100.8")
	l.logged("Forgive 198.51.100.8 1 failure")
}

// TestForgivesNetwork: of IPv6, the network that is counted in place of its addresses is forgiven so
// often, and each address what failed of itself.
func TestForgivesNetwork(t *testing.T) {
	l := counts(t, func(j *config.Jail, _ *lab) {
		j.Counting.Forgives, j.Counting.Most = true, 1
		j.Networks.Prefix6 = 64
	})
	l.say("%s fail alice on / from 2001:db8::1", "%s fail alice on / from 2001:db8::2", "%s welcome alice from 2001:db8::2")
	l.say("%s fail alice on / from 2001:db8::3", "%s welcome alice from 2001:db8::3", "%s fail bob on / from 2001:db8::4")
	l.want("")
	l.say("%s fail bob on / from 2001:db8::4")
	l.want("+2001:db8::/64 1h0m0s")
}

// TestForgivesWaiting: failures that wait for what the database says of their address are taken
// back, too.
func TestForgivesWaiting(t *testing.T) {
	db := openStore(t)
	l := counts(t, func(c *config.Jail, l *lab) {
		l.store, l.clock = db, db.clock
		c.Counting.Forgives, c.Increase = true, &ban.Increase{}
	})
	a := fails("alice")
	l.say(a, a, a, welcome, a, a, a)
	l.want("")
	l.say(fails("alice"))
	l.want("+192.0.2.7/32 1h0m0s")
}

// TestCountingOverRestart: what counts, and what was forgiven, is known after a restart and after a
// kill, as it is without one.
func TestCountingOverRestart(t *testing.T) {
	for _, kill := range []bool{false, true} {
		db := openStore(t)
		setup := func(c *config.Jail, l *lab) {
			l.store, l.clock, l.placed = db, db.clock, true
			c.Counting.Distinct, c.Counting.Forgives, c.Counting.Most = "user", true, 1
		}
		l := counts(t, setup)
		again := func() {
			t.Helper()
			if kill {
				if err := l.jail.do(func(j *Jail) { j.push() }); err != nil { // what is there in the end
					t.Fatal(err)
				}
				l.jail.handed.Do(func() {})
			}
			l.jail.Stop(false)
			l = counts(t, setup)
		}
		l.say(fails("alice"), fails("root"), fails("root"))
		again()
		l.say(fails("root"), welcome, fails("bob"), fails("bob"))
		l.want("")
		again()
		l.sleep(time.Minute)
		l.say(fails("alice"), welcome)
		l.want("")
		l.logged("is not forgiven")
		again()
		l.say(fails("bob"), fails("root"), fails("alice"))
		l.want("")
		l.say(fails("carol"))
		l.want("+192.0.2.7/32 1h0m0s")
		st, err := db.Load("test", db.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Marked) > 1 {
			t.Errorf("%+v", st.Marked)
		}
		l.jail.Stop(false)
		// Without these keys, nothing of it stays.
		l = start(t, func(c *config.Jail, l *lab) { l.store, l.clock = db, db.clock })
		l.jail.Stop(false)
		if st, err = db.Load("test", db.clock.Now()); err != nil || len(st.Marked) > 0 {
			t.Errorf("%+v, %v", st.Marked, err)
		}
	}
}
