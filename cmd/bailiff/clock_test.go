package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"bailiff/pkg/control"
	"bailiff/pkg/netlab"
)

// withTestClock returns the program with a clock that is off by what the file says that
// BAILIFF_TEST_CLOCK names.
func withTestClock(t *testing.T) (program string) {
	t.Helper()
	program, err := testClock()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// testClock builds it, once for all tests.
var testClock = sync.OnceValues(func() (program string, err error) {
	if builtDir, err = os.MkdirTemp("", "testclock"); err != nil {
		return "", err
	}
	program = filepath.Join(builtDir, "bailiff")
	out, err := exec.Command("go", "build", "-pgo=off", "-tags", "testclock", "-o", program, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, err
})

// builtDir is what testClock leaves; it is removed after all tests.
var builtDir string

// TestClocks sets the clock at every moment of a ban: whatever is done to it, each
// attacker is banned for bantime of the time that passes, and the list, the kernel and
// the database agree on when it ends. The daemon is one whose clock is off by what a
// file says (pkg/clock, built with testclock), its kernel and nftables are real. Needs
// root.
func TestClocks(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	program := withTestClock(t)
	const day = 24 * time.Hour
	set := func(by time.Duration) clockStep {
		return clockStep{name: fmt.Sprintf("set by %v", by), do: func(c *clockCase) error { return c.set(by) }, told: by.Abs() >= time.Second}
	}
	steps := []clockStep{
		set(time.Second), set(-time.Second), set(time.Hour), set(-time.Hour), set(day), set(-day), set(3650 * day), set(-3650 * day),
		turn("summer", time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)),
		turn("winter", time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)),
		{name: "stopped by a signal", do: func(c *clockCase) error { return c.daemon.Process.Signal(syscall.SIGSTOP) }, goOn: func(c *clockCase) error {
			time.Sleep(time.Second) // that is what is tried
			return c.daemon.Process.Signal(syscall.SIGCONT)
		}},
	}
	moments := []struct {
		name string
		run  func(*clockCase) error
	}{
		{"before the first failure", beforeFailures},
		{"between failures", betweenFailures},
		{"during a ban", duringBan},
		{"while the daemon is stopped", whileStopped},
	}
	lab := netlab.New(fmt.Sprintf("bailiff-clocks-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	// Most of a case is waiting: they run side by side.
	var all sync.WaitGroup
	var done atomic.Int32
	room := make(chan struct{}, 12)
	n := 0
	for _, s := range steps {
		for _, m := range moments {
			host, err := lab.Host(fmt.Sprint("s", n))
			if err != nil {
				t.Fatal(err)
			}
			c := &clockCase{program: program, host: host, dir: filepath.Join(t.TempDir(), fmt.Sprint(n)), step: s}
			n++
			all.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				err := os.Mkdir(c.dir, 0o755)
				if err == nil {
					err = m.run(c)
				}
				if c.daemon != nil {
					_ = c.daemon.Process.Signal(syscall.SIGCONT)
					_ = c.kill()
				}
				if err != nil {
					text, _ := os.ReadFile(c.path("out"))
					t.Errorf("%s, %s: %v\n%s", s.name, m.name, err, clipped(string(text), 3000))
					return
				}
				done.Add(1)
			})
		}
	}
	all.Wait()
	t.Logf("%d of %d cases", done.Load(), n)
}

// clockStep is something done to a clock.
type clockStep struct {
	name string
	zone string    // of the daemon; empty: UTC
	at   time.Time // what the clock says at the beginning; zero: what it does
	do   func(*clockCase) error
	goOn func(*clockCase) error // after lines were written; nil: nothing
	told bool                   // the log says so
}

// turn is the night in which clocks are set forward or back; lines name no zone.
func turn(name string, at time.Time) clockStep {
	return clockStep{name: "to " + name + " time", zone: "Europe/Berlin", at: at.Add(-5 * time.Second), do: func(c *clockCase) error {
		time.Sleep(at.Add(10 * time.Millisecond).Sub(c.now()))
		return nil
	}}
}

// clockCase is one daemon with a clock of its own.
type clockCase struct {
	program string
	host    *netlab.Host
	dir     string
	step    clockStep
	offset  time.Duration // of its clock from the machine's
	daemon  *exec.Cmd
	exited  chan error
	zone    *time.Location
}

const (
	longBan  = time.Hour
	shortBan = 2 * time.Second
)

func (c *clockCase) path(name string) string { return filepath.Join(c.dir, name) }

// now is what the daemon's clock says.
func (c *clockCase) now() time.Time { return time.Now().Round(0).Add(c.offset) }

// set sets the clock forward by d.
func (c *clockCase) set(d time.Duration) error {
	c.offset += d
	if err := os.WriteFile(c.path("clock.new"), []byte(c.offset.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(c.path("clock.new"), c.path("clock"))
}

func (c *clockCase) start() error {
	if c.exited == nil {
		config := fmt.Sprintf("[database]\npath = %q\n", c.path("db"))
		for name, lasts := range map[string]time.Duration{"long": longBan, "short": shortBan} {
			config += fmt.Sprintf("[jail.%s]\nenabled = true\nfilter = \"django-auth\"\nport = \"80\"\nlogpath = %q\nbantime = %q\nmaxretry = 3\n", name, c.path("log"), lasts)
		}
		if err := os.WriteFile(c.path("bailiff.toml"), []byte(config), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(c.path("log"), nil, 0o644); err != nil {
			return err
		}
		if c.step.zone == "" {
			c.step.zone = "UTC"
		}
		var err error
		if c.zone, err = time.LoadLocation(c.step.zone); err != nil {
			return err
		}
		first := time.Duration(0)
		if !c.step.at.IsZero() {
			first = time.Until(c.step.at)
		}
		if err := c.set(first); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(c.path("out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	d := c.host.Command(context.Background(), c.program, "run", "--config", c.path("bailiff.toml"), "--socket", c.path("sock"))
	d.Stdout, d.Stderr = out, out
	d.Env = append(os.Environ(), "TZ="+c.step.zone, "BAILIFF_TEST_CLOCK="+c.path("clock"))
	if err := d.Start(); err != nil {
		return err
	}
	c.daemon, c.exited = d, make(chan error, 1)
	go func(exited chan<- error) { exited <- d.Wait() }(c.exited)
	return c.until("it answers", func() bool { _, err := c.status("long"); return err == nil })
}

func (c *clockCase) kill() error {
	if err := c.daemon.Process.Kill(); err != nil {
		return err
	}
	<-c.exited
	c.daemon = nil
	return nil
}

func (c *clockCase) stop() error {
	if err := c.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := <-c.exited
	c.daemon = nil
	return err
}

func (c *clockCase) until(what string, f func() bool) error {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f() {
			return nil
		}
	}
	return fmt.Errorf("not in a minute: %s", what)
}

// fails writes failures, and returns a moment before that.
func (c *clockCase) fails(count int, who string) (before time.Time, err error) {
	before = time.Now()
	f, err := os.OpenFile(c.path("log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return before, err
	}
	defer f.Close()
	for range count {
		if _, err := fmt.Fprintf(f, "%s ERROR Login failure %s\n", c.now().In(c.zone).Format("2006-01-02 15:04:05,000"), who); err != nil {
			return before, err
		}
	}
	return before, nil
}

// counted waits until both jails have counted failures.
func (c *clockCase) counted(count int, who string) error {
	return c.until(fmt.Sprintf("%d failures of %s are counted", count, who), func() bool {
		text, _ := os.ReadFile(c.path("out"))
		return strings.Count(string(text), "[long] Found "+who+" ") == count && strings.Count(string(text), "[short] Found "+who+" ") == count
	})
}

// status is the list's word: when bans end by the daemon's clock.
func (c *clockCase) status(jail string) (ends map[string]time.Time, err error) {
	s, err := control.NewClient(c.path("sock")).Jail(jail)
	if err != nil {
		return nil, err
	}
	ends = map[string]time.Time{}
	for _, b := range s.Bans {
		ends[b.IP] = *b.End
	}
	return ends, nil
}

// kernel is how long the kernel says that an address is still shut out.
func (c *clockCase) kernel(jail, who string) (left time.Duration, held bool, err error) {
	conn, err := nftables.New(nftables.WithNetNSFd(c.host.NsFd()))
	if err != nil {
		return 0, false, err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "f2b-table"}
	set, err := conn.GetSetByName(table, "addr-set-"+jail)
	if err != nil {
		return 0, false, err
	}
	elements, err := conn.GetSetElements(set)
	if err != nil {
		return 0, false, err
	}
	for _, e := range elements {
		if a, ok := netip.AddrFromSlice(e.Key); ok && a.String() == who {
			return e.Expires, true, nil
		}
	}
	return 0, false, nil
}

// clockSlack is what clocks that tick in milliseconds, and lines that tell of them, may
// differ by.
const clockSlack = 250 * time.Millisecond

// holds checks a ban of the jail long that began between two moments.
func (c *clockCase) holds(who string, earliest, latest time.Time) error {
	earliest, latest = earliest.Add(longBan-clockSlack), latest.Add(longBan+clockSlack)
	var end time.Time
	if err := c.until(who+" is on the list", func() bool {
		ends, err := c.status("long")
		end = ends[who]
		return err == nil && !end.IsZero()
	}); err != nil {
		return err
	}
	if at := end.Add(-c.offset); at.Before(earliest) || at.After(latest) {
		return fmt.Errorf("the list says that the ban of %s ends at %v, want %v to %v", who, at, earliest, latest)
	}
	var left time.Duration
	var before, after time.Time
	held := false
	var err error
	if waited := c.until(who+" is in the kernel", func() bool {
		before = time.Now()
		left, held, err = c.kernel("long", who)
		after = time.Now()
		return err == nil && held
	}); waited != nil {
		return errors.Join(waited, err)
	}
	if after.Add(left).Before(earliest) || before.Add(left).After(latest) {
		return fmt.Errorf("the kernel says that the ban of %s ends at %v, want %v to %v", who, after.Add(left), earliest, latest)
	}
	db, err := sql.Open("sqlite", c.path("db"))
	if err != nil {
		return err
	}
	defer db.Close()
	var at int64
	if err := c.until(fmt.Sprintf("the database says that the ban of %s ends at %v", who, end), func() bool {
		err = db.QueryRow("SELECT timeofban + bantime FROM bips WHERE jail = 'long' AND ip = ?", who).Scan(&at)
		off := end.Sub(time.Unix(at, 0))
		return err == nil && off.Abs() < 1500*time.Millisecond
	}); err != nil {
		return fmt.Errorf("%w; it says %v", err, time.Unix(at, 0))
	}
	return nil
}

// over checks that the short ban ends in the kernel and on the list, and that the
// address can be banned again.
func (c *clockCase) over(who string) error {
	for _, again := range []bool{true, false} {
		if err := c.until("the short ban of "+who+" is over", func() bool {
			ends, err := c.status("short")
			_, listed := ends[who]
			_, held, err2 := c.kernel("short", who)
			return err == nil && err2 == nil && !listed && !held
		}); err != nil {
			return err
		}
		if !again {
			return nil
		}
		bans := func() int {
			text, _ := os.ReadFile(c.path("out"))
			return strings.Count(string(text), "[short] Ban "+who+"\n")
		}
		before := bans()
		if _, err := c.fails(3, who); err != nil {
			return err
		}
		if err := c.until(who+" is banned again", func() bool {
			_, held, err := c.kernel("short", who)
			return err == nil && held || bans() > before // two seconds pass quickly on a busy machine
		}); err != nil {
			return err
		}
	}
	return nil
}

// banned writes failures that are one too many and checks the ban.
func (c *clockCase) banned(failures int, who string, then func() error) (earliest, latest time.Time, err error) {
	if earliest, err = c.fails(failures, who); err != nil {
		return
	}
	if then != nil {
		if err = then(); err != nil {
			return
		}
	}
	if err = c.until(who+" is banned", func() bool {
		_, held, err := c.kernel("long", who)
		return err == nil && held
	}); err != nil {
		return
	}
	latest = time.Now()
	return earliest, latest, c.holds(who, earliest, latest)
}

func (c *clockCase) goOn() error {
	if c.step.goOn == nil {
		return nil
	}
	return c.step.goOn(c)
}

const (
	attacker = "192.0.2.7"
	another  = "192.0.2.8"
)

func beforeFailures(c *clockCase) error {
	if err := c.start(); err != nil {
		return err
	}
	if err := c.step.do(c); err != nil {
		return err
	}
	if _, _, err := c.banned(3, attacker, c.goOn); err != nil {
		return err
	}
	return c.over(attacker)
}

func betweenFailures(c *clockCase) error {
	if err := c.start(); err != nil {
		return err
	}
	if _, err := c.fails(2, attacker); err != nil {
		return err
	}
	if err := c.counted(2, attacker); err != nil {
		return err
	}
	if err := c.step.do(c); err != nil {
		return err
	}
	if _, _, err := c.banned(1, attacker, c.goOn); err != nil {
		return err
	}
	return c.over(attacker)
}

func duringBan(c *clockCase) error {
	if err := c.start(); err != nil {
		return err
	}
	earliest, latest, err := c.banned(3, attacker, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(c.step.do(c), c.goOn()); err != nil {
		return err
	}
	if err := c.holds(attacker, earliest, latest); err != nil {
		return err
	}
	if c.step.told {
		if err := c.until("the log says that the clock was set", func() bool {
			text, _ := os.ReadFile(c.path("out"))
			return strings.Contains(string(text), "the clock was set ")
		}); err != nil {
			return err
		}
	}
	return c.over(attacker)
}

func whileStopped(c *clockCase) error {
	if err := c.start(); err != nil {
		return err
	}
	earliest, latest, err := c.banned(3, attacker, nil)
	if err != nil {
		return err
	}
	if _, err := c.fails(2, another); err != nil {
		return err
	}
	if err := c.counted(2, another); err != nil {
		return err
	}
	if c.step.goOn == nil {
		if err := errors.Join(c.stop(), c.step.do(c)); err != nil {
			return err
		}
	} else if err := errors.Join(c.step.do(c), c.kill()); err != nil { // stopped for good
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	// The database knows whole seconds.
	if err := c.holds(attacker, earliest.Add(-time.Second), latest); err != nil {
		return err
	}
	if _, _, err := c.banned(1, another, nil); err != nil {
		return err
	}
	return errors.Join(c.over(attacker), c.over(another))
}
