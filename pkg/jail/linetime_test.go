package jail

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/source"
)

// TestLoggedTimes: the log tells times as a clock on this host's wall shows them. It runs
// in a process of its own, since every time.Now in it asks for the zone, also of goroutines
// that other tests have left to end by themselves.
func TestLoggedTimes(t *testing.T) {
	const zone = "Europe/Berlin"
	if os.Getenv("TZ") != zone {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLoggedTimes$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), "TZ="+zone)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestLoggedTimes") {
			t.Errorf("in the zone %s: %v\n%s", zone, err, out)
		}
		return
	}
	l := start(t, nil)
	l.say("2026-01-31 11:59:57+00:00 Login failure 192.0.2.7")
	l.logged("Found 192.0.2.7 - 2026-01-31 12:59:57\n")
	l.say("2026-01-31T12:59:58.467434244+01:00 Login failure 192.0.2.8")
	l.logged("Found 192.0.2.8 - 2026-01-31 12:59:58\n")
}

// TestJudge: how old a line is that is off the clock.
func TestJudge(t *testing.T) {
	start := time.Date(2026, 10, 10, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	// line is one that comes at a moment after the start and is dated so long before.
	type line struct{ at, behind time.Duration }
	lines := func(n int, l line) []line {
		out := make([]line, n)
		for i := range out {
			out[i] = line{l.at * time.Duration(i), l.behind}
		}
		return out
	}
	differing := lines(12, line{time.Second, 0})
	for i := range differing {
		differing[i].behind = 30*day + time.Duration(i)*7*time.Minute
	}
	for _, c := range []struct {
		name    string
		before  []line
		line    line
		how     passage
		literal bool
		ahead   time.Duration // known of the log
		age     time.Duration
		is      verdict
	}{
		{name: "on time", line: line{0, 3 * time.Second}, age: 3 * time.Second},
		{name: "a little ahead", line: line{0, -40 * time.Second}},
		{name: "an hour, first line", line: line{0, time.Hour + 2*time.Second}, is: asNow},
		{name: "an hour, first line, late", line: line{0, time.Hour + 61*time.Second}, age: time.Hour + 61*time.Second, is: asOld},
		{name: "Nepal", line: line{0, 5*time.Hour + 45*time.Minute}, is: asNow},
		{name: "37 minutes, first line", line: line{0, 37 * time.Minute}, age: 37 * time.Minute, is: asOld},
		{name: "37 minutes, nine before", before: lines(9, line{0, 37 * time.Minute}), line: line{0, 37 * time.Minute}, age: 37 * time.Minute, is: asOld},
		{name: "37 minutes, ten before", before: lines(10, line{0, 37*time.Minute + 50*time.Second}), line: line{0, 37 * time.Minute}, is: asNow},
		{name: "ten before, further off", before: lines(10, line{0, 39 * time.Minute}), line: line{0, 37 * time.Minute}, age: 37 * time.Minute, is: asOld},
		{name: "an hour, but the ten before were on time", before: lines(10, line{time.Second, 0}), line: line{10 * time.Second, time.Hour}, age: time.Hour, is: asOld},
		{name: "an hour, known by now", before: lines(10, line{time.Second, 0}), line: line{10 * time.Second, time.Hour}, ahead: -time.Hour, is: asNow},
		{name: "15 hours, first line", line: line{0, 15 * time.Hour}, age: 15 * time.Hour, is: asOld},
		{name: "30 days", line: line{0, 30 * day}, age: 30 * day, is: asOld},
		{name: "30 days, all of one minute, at once", before: lines(30, line{0, 30 * day}), line: line{0, 30 * day}, age: 30 * day, is: asOld},
		{name: "30 days, each of another time", before: differing, line: line{time.Minute, 30 * day}, age: 30 * day, is: asOld},
		{name: "a clock of 1970, for a while", before: lines(10, line{10 * time.Second, 56 * 365 * day}), line: line{100 * time.Second, 56 * 365 * day}, is: asNow},
		{name: "ahead", line: line{0, -2 * time.Hour}, is: asNow},
		{name: "ahead by anything", line: line{0, -31*time.Hour - 7*time.Minute}, is: asNow},

		{name: "fail2ban: 30 days", line: line{0, 30 * day}, literal: true, is: asNow},
		{name: "fail2ban: 37 minutes", line: line{0, 37 * time.Minute}, literal: true, is: asNow},
		{name: "fail2ban: on time", line: line{0, 59 * time.Second}, literal: true, age: 59 * time.Second},
		{name: "fail2ban: written anew", line: line{0, 30 * day}, literal: true, how: rewritten, age: 30 * day},
		{name: "written anew", before: lines(10, line{0, time.Hour}), line: line{0, time.Hour}, how: rewritten, age: time.Hour},
		{name: "written anew, of a zone behind", line: line{0, 3 * time.Hour}, how: rewritten, ahead: -2 * time.Hour, age: time.Hour, is: asOld},

		{name: "there before", line: line{0, 30 * day}, how: catchingUp, age: 30 * day},
		{name: "there before, of a zone ahead", line: line{0, -time.Hour}, how: catchingUp, ahead: 2 * time.Hour, age: time.Hour, is: asOld},
		{name: "there before, of a zone behind", line: line{0, 2*time.Hour + time.Minute}, how: catchingUp, ahead: -2 * time.Hour, age: time.Minute, is: asOld},
		{name: "there before, of the future", line: line{0, -time.Hour}, how: catchingUp, is: asNow},
		{name: "fail2ban: there before, of a zone ahead", line: line{0, -time.Hour}, how: catchingUp, literal: true, ahead: 2 * time.Hour, age: time.Hour, is: asOld},
	} {
		l := logTimes{ahead: c.ahead}
		read := func(at time.Duration) clock.Reading { return clock.Reading{Wall: start.Add(at), Steady: start.Add(at)} }
		for _, b := range c.before {
			l.saw(start.Add(b.at-b.behind), read(b.at))
		}
		age, is := l.judge(start.Add(c.line.at-c.line.behind), read(c.line.at), c.how, c.literal)
		if age != c.age || is != c.is {
			t.Errorf("%s: age %v, verdict %d, want %v, %d", c.name, age, is, c.age, c.is)
		}
	}
	// Once the zone is known, it is for the lines behind, too, and for a file in its place.
	var times lineTimes
	l := times.of("a.log", source.FileID{Inode: 1})
	read := clock.Reading{Wall: start, Steady: start}
	l.judge(start.Add(-2*time.Hour), read, following, false)
	for range 20 {
		l.saw(start, read)
	}
	if age, _ := l.judge(start.Add(-2*time.Hour), read, following, false); age != 0 {
		t.Errorf("a known zone: %v", age)
	}
	if next := times.of("a.log", source.FileID{Inode: 2}); next.ahead != -2*time.Hour {
		t.Errorf("the next file: %v", next.ahead)
	}
	for i := range 10 * logsRemembered {
		times.of("b.log", source.FileID{Inode: uint64(i)})
	}
	if n := len(times.logs); n != logsRemembered {
		t.Errorf("%d files remembered, want %d", n, logsRemembered)
	}
}

// TestZoneError: what a file from before the start tells of its zone.
func TestZoneError(t *testing.T) {
	now := time.Date(2026, 10, 10, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ newest, written, want time.Duration }{ // newest and written before now
		{0, 0, 0},
		{time.Hour, time.Hour, 0},
		{-2 * time.Hour, 0, 2 * time.Hour},
		{-2*time.Hour + 30*time.Second, 0, 2 * time.Hour},
		{0, 2 * time.Hour, 2 * time.Hour}, // quiet for two hours
		{3 * time.Hour, 5 * time.Hour, 2 * time.Hour},
		{2*time.Hour + 20*time.Second, 0, -2 * time.Hour},
		{26 * time.Hour, 24 * time.Hour, -2 * time.Hour},
		{20 * time.Minute, 0, 0}, // quiet, and touched
		{30 * 24 * time.Hour, 0, 0},
		{-37 * time.Minute, 0, 37 * time.Minute},
		{-37 * time.Minute, -time.Hour, 0}, // both before the clock was set back
		{-37 * time.Minute, -30 * time.Minute, 37 * time.Minute},
		{-24 * time.Hour, 0, 24 * time.Hour},
	} {
		if got := zoneError(now.Add(-c.newest), now.Add(-c.written), now); got.Round(time.Minute) != c.want {
			t.Errorf("newest %v ago, written %v ago: %v, want %v", c.newest, c.written, got, c.want)
		}
	}
}

// TestZoneAtFirstStart: a log whose zone is not this host's, there before the start:
// who failed long ago is not banned, who failed a minute ago is.
func TestZoneAtFirstStart(t *testing.T) {
	for _, tree := range []bool{false, true} {
		for _, zone := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour, 5*time.Hour + 30*time.Minute, -8 * time.Hour} {
			t.Run(fmt.Sprintf("fail2ban %v, %v ahead", tree, zone), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "a.log")
				var text []byte
				now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
				write := func(ago time.Duration, addr string) {
					at := now.Add(zone - ago).Format("2006-01-02 15:04:05")
					text = fmt.Appendf(text, "%s Login failure %s\n", at, addr)
				}
				for ago := 600; ago > 10; ago-- { // minutes: three failures each, spread over two
					for n := range 3 {
						write(time.Duration(ago)*time.Minute-time.Duration(n)*time.Second, fmt.Sprintf("192.0.2.%d", ago%200))
					}
				}
				for n := range 3 {
					write(time.Duration(8-n)*time.Minute, "198.51.100.7")
				}
				for n := range 2 {
					write(time.Duration(2-n)*time.Second, "198.51.100.8")
				}
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				l := start(t, func(c *config.Jail, l *lab) {
					c.Fail2ban, c.LogPath = tree, []string{path}
					l.files = true
				})
				l.until(func() bool { return l.says("Found 198.51.100.8") == 2 })
				l.jail.do(func(*Jail) {})
				l.want("+198.51.100.7/32 54m0s")
				if (l.says("the times of the lines that stand there are taken to be") > 0) != (zone != 0) {
					l.logged("the times of the lines that stand there are taken to be")
				}
				// And what comes then counts as of now.
				f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				text = nil
				write(0, "198.51.100.8")
				if _, err := f.Write(text); err != nil {
					t.Fatal(err)
				}
				l.until(func() bool { return l.says("Ban 198.51.100.8") == 1 })
			})
		}
	}
}

// TestOldLines: lines of 30 days ago that come while a log is followed, since somebody
// wrote it anew, are old.
func TestOldLines(t *testing.T) {
	old := func(apart time.Duration) (lines []string) {
		at := time.Date(2026, 1, 1, 11, 30, 0, 0, time.UTC)
		for i := range 42 {
			for range 3 {
				lines = append(lines, fmt.Sprintf("%s Login failure 192.0.2.%d", at.Add(time.Duration(i)*apart).Format("2006-01-02 15:04:05"), i+2))
			}
		}
		return lines
	}
	for _, apart := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		l := start(t, nil)
		l.say("%s Login failure 198.51.100.7")
		l.say(old(apart)...)
		l.want("")
		l.logged("written anew?")
		l.say("%s Login failure 198.51.100.7", "%s Login failure 198.51.100.7")
		l.want("+198.51.100.7/32 1h0m0s")
		// Under fail2ban's configuration, as there; but not where the file is known.
		l = start(t, func(c *config.Jail, l *lab) { c.Fail2ban, l.rewritten = true, true })
		l.say(old(apart)...)
		l.want("")
		l = start(t, func(c *config.Jail, l *lab) { c.Fail2ban = true })
		l.say(old(apart)...)
		if got := strings.Count(l.asked(), "+"); got != 42 {
			t.Errorf("%v apart, under fail2ban's configuration: %d bans, want 42", apart, got)
		}
	}
	// A device whose clock is 37 minutes slow.
	l := start(t, nil)
	slow := l.clock.Wall().Add(-37 * time.Minute).Format("2006-01-02 15:04:05")
	l.say(slow+" Login failure 192.0.2.7", slow+" Login failure 192.0.2.7", slow+" Login failure 192.0.2.7")
	l.want("")
	for range 7 {
		l.say(slow + " all is well")
	}
	l.say(slow+" Login failure 192.0.2.7", slow+" Login failure 192.0.2.7", slow+" Login failure 192.0.2.7")
	l.want("+192.0.2.7/32 1h0m0s")
}

// TestSetBackBeforeReload: a log whose newest line with a date is from before the clock was
// set back, and which was written to since, is not one of another zone.
func TestSetBackBeforeReload(t *testing.T) {
	l := start(t, nil)
	dates, err := compile(l.jail.Config.Filter, &l.jail.deps)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "app.log")
	text := l.clock.Wall().Format("2006-01-02 15:04:05") + " all is well\n# opened\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l.clock.Advance(10 * time.Second)
	l.clock.Set(-time.Hour)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := l.jail.old(f, dates); got != 0 {
		t.Errorf("it is taken to be %v ahead", got)
	}
}
