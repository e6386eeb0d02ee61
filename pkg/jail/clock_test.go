package jail

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

const day = 24 * time.Hour

var steps = []time.Duration{time.Second, -time.Second, time.Hour, -time.Hour, day, -day, 3650 * day, -3650 * day}

// set sets the wall clock as the daemon is told of it.
func (l *lab) set(d time.Duration) {
	l.clock.Set(d)
	l.jail.Stepped(clock.Step{By: d})
	l.settled()
}

// TestStepBetweenFailures: failures before and after the clock was set count together.
func TestStepBetweenFailures(t *testing.T) {
	for _, step := range steps {
		l := start(t, nil)
		l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
		l.sleep(9 * time.Minute)
		l.set(step)
		l.want("")
		l.say("%s Login failure 192.0.2.7")
		l.want("+192.0.2.7/32 1h0m0s")
		// What lies longer ago than findtime does not count, whatever the clock says.
		l.say("%s Login failure 192.0.2.8", "%s Login failure 192.0.2.8")
		l.sleep(11 * time.Minute)
		l.set(-step)
		l.say("%s Login failure 192.0.2.8")
		l.want("")
	}
}

// TestStepDuringBan: a ban lasts as long as it should, and then there can be another.
func TestStepDuringBan(t *testing.T) {
	for _, step := range steps {
		l := start(t, nil)
		three := func() {
			l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
		}
		three()
		l.want("+192.0.2.7/32 1h0m0s")
		l.set(step)
		l.sleep(59 * time.Minute)
		l.expire()
		s := l.jail.Status(true)
		if s.Banned != 1 {
			t.Fatalf("step %v: the ban is over after 59 minutes", step)
		}
		if left := s.Bans[0].End.Sub(l.clock.Wall()); left != time.Minute {
			t.Errorf("step %v: the list says that it lasts %v more, want a minute", step, left)
		}
		l.sleep(time.Minute + expireGrace)
		l.expire()
		if s := l.jail.Status(true); s.Banned != 0 {
			t.Fatalf("step %v: the ban lasts on: %+v", step, s.Bans)
		}
		l.want("")
		three()
		l.want("+192.0.2.7/32 1h0m0s")
	}
}

// TestBanAtItsEnd: who is to be banned when his ban is over by the clock, but still on the list, is
// banned anew, and is not taken for banned: that would cost his failures, and let him in.
func TestBanAtItsEnd(t *testing.T) {
	of := func(s string) ban.ID { return ban.Of(netip.MustParsePrefix(s)) }
	for _, c := range []struct {
		name, first, then string
		again             func(t *testing.T, l *lab)
	}{
		{"lines", "203.0.113.7/32", "+203.0.113.7/32 1h0m0s", func(_ *testing.T, l *lab) { l.thrice("%s Login failure 203.0.113.7") }},
		{"lines, of a network", "203.0.113.0/24", "+203.0.113.7/32 1h0m0s", func(_ *testing.T, l *lab) { l.thrice("%s Login failure 203.0.113.7") }},
		{"by hand", "203.0.113.7/32", "+203.0.113.7/32 1h0m0s", func(t *testing.T, l *lab) {
			if made, err := l.jail.Ban(of("203.0.113.7/32"), false); !made || err != nil {
				t.Error(made, err)
			}
		}},
		{"handed over", "203.0.113.0/24", "+203.0.113.7/32 30m0s", func(t *testing.T, l *lab) {
			now := l.clock.Clock.Now()
			if r := l.jail.Import([]ban.Ban{{ID: of("203.0.113.7/32"), Start: now, End: now.Add(30 * time.Minute)}}, false, ""); !r[0].Added || r[0].Err != nil {
				t.Error(r)
			}
		}},
		{"suspended", "203.0.113.0/24", "-203.0.113.0/24, +203.0.113.7/32 1h0m0s", func(_ *testing.T, l *lab) {
			l.clock.Suspend(time.Minute)
			l.thrice("%s Login failure 203.0.113.7")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, nil)
			if _, err := l.jail.Ban(of(c.first), false); err != nil {
				t.Fatal(err)
			}
			l.want("+" + c.first + " 1h0m0s")
			l.sleep(time.Hour)
			c.again(t, l)
			l.want(c.then)
			if last := l.pushed[len(l.pushed)-1]; !last.Replace {
				t.Errorf("the kernel may still have it, and is not told so: %+v", last)
			}
			if l.says("already banned") != 0 || l.says("Unban "+ban.Told(of(c.first))) != 1 {
				t.Errorf("log:\n%s", l.log.String())
			}
			if s := l.jail.Status(true); s.Banned != 1 {
				t.Errorf("%d are banned: %+v", s.Banned, s.Bans)
			}
		})
	}
}

// TestSuspend: the kernel's timers stood still; it is told anew when bans end, and what
// is over goes.
func TestSuspend(t *testing.T) {
	for _, told := range []bool{true, false} {
		l := start(t, nil)
		p := netip.MustParsePrefix
		for _, s := range []string{"192.0.2.7/32", "192.0.2.8/32"} {
			if _, err := l.jail.Ban(ban.Of(p(s)), false); err != nil {
				t.Fatal(err)
			}
			l.sleep(30 * time.Minute)
		}
		l.want("+192.0.2.7/32 1h0m0s, +192.0.2.8/32 1h0m0s")
		l.clock.Suspend(10 * time.Minute)
		if told {
			l.jail.Stepped(clock.Step{Suspended: 10 * time.Minute})
			l.settled()
		} else {
			l.expire() // it ended before that was noticed
		}
		l.want("-192.0.2.7/32, +192.0.2.8/32 20m0s")
		l.jail.Stepped(clock.Step{Suspended: 10 * time.Minute})
		l.settled()
		l.want("") // once is enough
	}
}

// TestUnbanUnlisted: what the kernel holds and no list has can be lifted.
func TestUnbanUnlisted(t *testing.T) {
	l := start(t, nil)
	id := netip.MustParsePrefix("192.0.2.9/32")
	l.mu.Lock()
	l.held = []firewall.Element{{ID: id, Left: time.Hour}}
	l.mu.Unlock()
	if found, err := l.jail.Unban(ban.Of(id)); !found || err != nil {
		t.Error("it can't be lifted")
	}
	l.logged("NOTICE  [test] Unban 192.0.2.9\n")
	if found, _ := l.jail.Unban(ban.Of(id)); found {
		t.Error("it was lifted, and is again")
	}
}

// TestStepOverRestart: the same where the jail ends and another one goes on from the
// database.
func TestStepOverRestart(t *testing.T) {
	for _, step := range steps {
		db := openStore(t)
		l := start(t, func(_ *config.Jail, l *lab) { l.store, l.clock = db, db.clock })
		l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
		l.say("%s Login failure 192.0.2.8", "%s Login failure 192.0.2.8")
		l.want("+192.0.2.7/32 1h0m0s")
		l.jail.Stop(false)
		db.clock.Advance(9 * time.Minute)
		db.clock.Set(step)
		l = start(t, func(_ *config.Jail, l *lab) { l.store, l.clock = db, db.clock })
		l.want("+192.0.2.7/32 51m0s")
		l.say("%s Login failure 192.0.2.8")
		l.want("+192.0.2.8/32 1h0m0s")
	}
}

// TestYears: a daemon that was started with a clock years off reads dates when that was
// set right, and the other way round.
func TestYears(t *testing.T) {
	for _, off := range []time.Duration{-3650 * day, -56 * 365 * day, 3650 * day, 20000 * day} {
		m := clock.NewManual(begin.Add(max(-off, 0))) // from 2026 or back to it
		l := start(t, func(_ *config.Jail, l *lab) { l.clock = m })
		l.catchUp = true // a line without a date that is known is of now else
		three := func(old time.Duration, who string) {
			at := l.clock.Wall().Add(-old).Format("2006-01-02 15:04:05,000")
			l.say(at+" Login failure "+who, at+" Login failure "+who, at+" Login failure "+who)
		}
		three(0, "192.0.2.7")
		l.want("+192.0.2.7/32 1h0m0s")
		l.set(off)
		three(15*time.Minute, "192.0.2.8") // too old
		l.want("")
		three(5*time.Minute, "192.0.2.9")
		l.want("+192.0.2.9/32 55m0s")
	}
}

// TestLinesOnTheWay: lines that were written just before the clock was set and come
// after it count as the others do.
func TestLinesOnTheWay(t *testing.T) {
	for _, step := range steps {
		l := start(t, nil)
		line := l.clock.Wall().Format("2006-01-02 15:04:05,000") + " Login failure 192.0.2.7"
		l.say(line)
		for range 20 {
			l.say("%s something else") // the log is on the clock, as far as is known
		}
		l.clock.Set(step)
		l.say(line, "%s Login failure 192.0.2.7")
		l.want("+192.0.2.7/32 1h0m0s")
		// What is as old as that a minute later was old already.
		l.sleep(time.Minute)
		if step < day {
			continue
		}
		old := l.clock.Wall().Add(-step).Format("2006-01-02 15:04:05,000") + " Login failure 192.0.2.8"
		l.say(old, old, old)
		l.want("")
	}
}

// TestLogOfOldClock: a log that was written before the clock was set back, and since, is
// not one of another zone.
func TestLogOfOldClock(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -day} {
		path := filepath.Join(t.TempDir(), "a.log")
		var text []byte
		write := func(at time.Time, who string) {
			text = fmt.Appendf(text, "%s Login failure %s\n", at.Format("2006-01-02 15:04:05"), who)
		}
		for n := range 20 {
			write(begin.Add(-step-time.Duration(20-n)*time.Second), fmt.Sprintf("198.51.100.%d", n))
		}
		for range 3 {
			write(begin, "192.0.2.7")
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l := start(t, func(c *config.Jail, l *lab) {
			c.LogPath, l.files, l.before = []string{path}, true, step
		})
		l.until(func() bool { return l.says("Ban 192.0.2.7") == 1 })
		if n := l.says("its times are"); n > 0 {
			t.Error("the log is said to be off")
		}
	}
}
