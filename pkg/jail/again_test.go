package jail

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestBanAgain: who is banned by hand while he is banned already is told as banned
// once, which is what recidive counts; the ban that ends later stays, and list, kernel
// and database agree on it.
func TestBanAgain(t *testing.T) {
	id := netip.MustParsePrefix("192.0.2.7/32")
	for name, c := range map[string]struct {
		first, then time.Duration
		want        time.Duration // from the second on; negative: for ever
		kernel      string        // what it is asked for then
	}{
		"longer":       {time.Hour, 2 * time.Hour, 2 * time.Hour, "+192.0.2.7/32 2h0m0s"},
		"shorter":      {time.Hour, 10 * time.Minute, 50 * time.Minute, ""},
		"same":         {time.Hour, time.Hour, time.Hour, "+192.0.2.7/32 1h0m0s"},
		"ever":         {time.Hour, -1, -1, "+192.0.2.7/32 0s"},
		"ever shorter": {-1, 10 * time.Minute, -1, ""},
		"ever ever":    {-1, -1, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			db := openStore(t)
			l := start(t, func(c2 *config.Jail, l *lab) {
				l.store = db
				c2.BanTime = c.first
			})
			if added, err := l.jail.Ban(ban.Of(id), false); !added || err != nil {
				t.Fatal(added, err)
			}
			l.asked()
			l.sleep(10 * time.Minute)
			if err := l.jail.Change(func(j *config.Jail) error { j.BanTime = c.then; return nil }); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if added, err := l.jail.Ban(ban.Of(id), false); added || err != nil {
					t.Error(added, err)
				}
			}
			l.want(c.kernel)
			if n := l.says("] Ban 192.0.2.7"); n != 1 {
				t.Errorf("the log says %d times that it is banned", n)
			}
			if n := l.says("] 192.0.2.7 already banned"); n != 3 {
				t.Errorf("the log says %d times that it is banned already", n)
			}
			now := l.clock.Now()
			is := func(where string, b ban.Ban) {
				t.Helper()
				if left := b.End.Sub(now); b.Permanent() != (c.want < 0) || !b.Permanent() && (left < c.want || left > c.want+time.Second) {
					t.Errorf("%s: permanent %v, or until %v from now; want %v", where, b.Permanent(), left, c.want)
				}
			}
			s := l.jail.Status(true)
			if s.Banned != 1 || s.TotalBanned != 1 || (s.Bans[0].End == nil) != (c.want < 0) || s.Bans[0].End != nil && s.Bans[0].End.Sub(now) != c.want {
				t.Errorf("status %+v", s)
			}
			st, err := db.Load("test", now)
			if err != nil || len(st.Bans) != 1 {
				t.Fatal(st, err)
			}
			is("database", st.Bans[0])
			if n, _, _, _, err := db.Merged("test", ban.Of(id), false, 10); n != 0 || err != nil {
				t.Errorf("%d failures, %v", n, err)
			}
			l.jail.Unban(ban.Of(id))
			if added, err := l.jail.Ban(ban.Of(id), false); !added || err != nil {
				t.Errorf("after it was lifted: %v, %v", added, err)
			}
		})
	}
}

// told are the commands that a jail's actions would run.
type told struct {
	mu   sync.Mutex
	runs []string
}

func (r *told) run(_ context.Context, c action.Command, _ time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := c.Text
	for _, v := range c.Vars {
		text = strings.ReplaceAll(text, "$"+v.Name, strings.ReplaceAll(v.Value, "\n", "|"))
	}
	r.runs = append(r.runs, text)
	return true
}

func (r *told) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.runs) == 0 {
		return ""
	}
	return r.runs[len(r.runs)-1]
}

// TestToldWithoutDatabase: what commands tell of failures, lines and earlier bans is the
// same with a database and without: of this ban, of those before, and of other jails'.
func TestToldWithoutDatabase(t *testing.T) {
	for _, with := range []bool{false, true} {
		t.Run(fmt.Sprint("database ", with), func(t *testing.T) {
			var db *direct
			if with {
				db = openStore(t)
			}
			memory := NewMemory()
			jail := func(name string) (*lab, *told) {
				r := &told{}
				l := start(t, func(c *config.Jail, l *lab) {
					c.Name, c.MaxMatches = name, 3
					if with {
						l.store = db
					}
					l.memory, l.run = memory, r.run
					c.Actions = noting("<failures> <ipfailures> <ipjailfailures> <bancount> <matches> / <ipmatches> / <ipjailmatches> / <F-USER>")
					c.Filter.Failregex = []filter.Expr{{Text: `failure <HOST> user <F-USER>\S+</F-USER>$`}}
				})
				return l, r
			}
			one, ranOne := jail("one")
			two, ranTwo := jail("two")
			fail := func(l *lab, user string) {
				for n := range 3 {
					l.say(fmt.Sprintf("%%s failure 192.0.2.7 user %s%d", user, n))
				}
				_ = l.jail.do(func(j *Jail) { j.push() }) // as at the end of a batch
				l.jail.Actions().Sync(context.Background())
			}
			users := func(text string) string { // times differ
				var out []string
				for _, part := range strings.Split(text, " / ") {
					var names []string
					for _, line := range strings.Split(part, "|") {
						names = append(names, line[strings.LastIndexByte(line, ' ')+1:])
					}
					out = append(out, strings.Join(names, ","))
				}
				return strings.Join(out, "/")
			}
			want := func(r *told, numbers, lines string) {
				t.Helper()
				got := r.last()
				if !strings.HasPrefix(got, "ban 192.0.2.7 "+numbers+" ") || users(got) != lines {
					t.Errorf("told %q (%s), want %s and %s", got, users(got), numbers, lines)
				}
			}
			fail(one, "a")
			want(ranOne, "3 3 3 1", "a0,a1,a2/a0,a1,a2/a0,a1,a2/a0")
			fail(two, "b")
			want(ranTwo, "3 6 3 1", "b0,b1,b2/a0,a1,a2,b0,b1,b2/b0,b1,b2/b0")
			one.sleep(2 * time.Hour)
			two.sleep(2 * time.Hour)
			one.jail.expireNow(one)
			fail(one, "c")
			want(ranOne, "3 9 6 1", "c0,c1,c2/a0,a1,a2,b0,b1,b2,c0,c1,c2/a0,a1,a2,c0,c1,c2/c0")
			// What is lifted by hand is forgotten, as the database does.
			one.jail.Unban(idOf("192.0.2.7"))
			one.sleep(time.Minute)
			fail(one, "d")
			want(ranOne, "3 6 3 1", "d0,d1,d2/b0,b1,b2,d0,d1,d2/d0,d1,d2/d0")
		})
	}
}

func (j *Jail) expireNow(l *lab) {
	_ = j.do(func(j *Jail) { j.expire() })
	l.asked()
}

// TestMemory: what is remembered of bans has a budget, and the oldest go first.
func TestMemory(t *testing.T) {
	m := NewMemory()
	id := func(n int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 32)
	}
	lines := []string{strings.Repeat("x", 4<<10), strings.Repeat("y", 4<<10)}
	for n := range 20_000 {
		m.Add("a", ban.Ban{ID: ban.Of(id(n)), Start: begin, Failures: 2}, lines, nil, nil, 10)
		m.Add("b", ban.Ban{ID: ban.Of(id(n)), Start: begin, Failures: 1}, lines, nil, nil, 10)
		if m.used > m.budget {
			t.Fatalf("%d bytes, at most %d", m.used, m.budget)
		}
	}
	if n, l, _, known, _ := m.Merged("a", ban.Of(id(19_999)), true, 3); n != 3 || len(l) != 3 || !known {
		t.Errorf("the last one: %d failures, %d lines, %v", n, len(l), known)
	}
	if _, _, _, known, _ := m.Merged("a", ban.Of(id(0)), true, 3); known || len(m.byID) < 400 {
		t.Errorf("the first one is known: %v; %d are", known, len(m.byID))
	}
	m.ForgetAll("a")
	if n, _, _, _, _ := m.Merged("b", ban.Of(id(19_999)), true, 3); n != 1 {
		t.Errorf("%d failures of the other jail", n)
	}
	m.Purge(begin.Add(time.Hour))
	if len(m.byID) != 0 || m.used != 0 || m.order.First() != nil {
		t.Errorf("%d are left with %d bytes", len(m.byID), m.used)
	}
}
