package jail

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/source"
)

// lab runs a jail on lines, a clock and a firewall of the test's.
type lab struct {
	fleet func(jail string, p netip.Prefix, at time.Time, n int)
	t     *testing.T
	jail  *Jail

	mu     sync.Mutex
	clock  *clock.Manual
	before time.Duration // by which the clock was set before the start
	// firewall is asked in place of the lab, if not nil.
	firewall Firewall
	changes  []firewall.Change
	pushed   []firewall.Change // all that there ever were
	held     []firewall.Element
	log      bytes.Buffer
	lookups  map[string][]netip.Addr
	store    Store // nil: none
	memory   *Memory
	run      func(context.Context, action.Command, time.Duration) bool
	peers    []netip.Addr
	silent   chan struct{} // no name is answered until it is closed; nil: all are
	// resolver, if not nil, is asked in place of lookups.
	resolver *net.Resolver

	catchUp   bool // lines are from before the start
	rewritten bool // they stand in a file that was written anew
	placed    bool // they have a place in a file
	files     bool // the jail's own are read
	lines     chan []string
	taken     chan struct{}
}

func (l *lab) AddJail(firewall.Rule) error { return nil }
func (l *lab) RemoveJail(string) error     { return nil }

// Elements tells what a test says that the kernel holds, or else what was asked of it.
func (l *lab) Elements(string) ([]firewall.Element, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		return l.held, nil
	}
	var out []firewall.Element
	for _, c := range l.pushed {
		out = slices.DeleteFunc(out, func(e firewall.Element) bool { return c.Clear || e.ID == c.ID })
		if !c.Remove && !c.Clear {
			out = append(out, firewall.Element{ID: c.ID, Left: c.Left})
		}
	}
	return out, nil
}

// Lift says of what Elements tells that it was there.
func (l *lab) Lift(_ string, id netip.Prefix) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.held)
	l.held = slices.DeleteFunc(l.held, func(e firewall.Element) bool { return e.ID == id })
	return len(l.held) < n, nil
}

func (l *lab) Push(c ...firewall.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, c...)
	l.pushed = append(l.pushed, c...)
}

func (l *lab) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

func (l *lab) Status() []source.Status { return nil }

func (l *lab) Run(ctx context.Context, out chan<- source.Batch) {
	for {
		select {
		case <-ctx.Done():
			return
		case lines := <-l.lines:
			out <- l.batchOf(lines)
			// When one more has left the channel, the jail is through with the first.
			for range cap(out) + 1 {
				out <- source.Batch{Path: "test.log"}
			}
			l.taken <- struct{}{}
		}
	}
}

// batchOf is some lines as a source hands them over.
func (l *lab) batchOf(lines []string) source.Batch {
	b := source.Batch{Path: "test.log", CatchUp: l.catchUp, Rewritten: l.rewritten}
	if l.placed {
		b.File, b.End = source.FileID{Dev: 1, Inode: 2}, 100
	}
	for _, s := range lines {
		b.Lines = append(b.Lines, []byte(s))
	}
	return b
}

// say has the jail read lines; %s in one is the time of now in Django's form.
func (l *lab) say(lines ...string) {
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "%s", l.clock.Wall().Format("2006-01-02 15:04:05,000"))
	}
	l.lines <- lines
	<-l.taken
	l.settled()
}

// settled waits until the jail has done what it was asked, and the database has
// answered.
func (l *lab) settled() {
	l.until(func() bool {
		n, err := ask(l.jail, time.Minute, func(j *Jail) int { return j.pasts.n })
		return err != nil || n == 0
	})
}

func (l *lab) expire() { _ = l.jail.within(time.Minute, true, (*Jail).expire) }

func (l *lab) sleep(d time.Duration) { l.clock.Advance(d) }

// asked returns what was asked of the kernel since the last time.
func (l *lab) asked() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, c := range l.changes {
		if c.Remove {
			out = append(out, "-"+c.ID.String())
		} else {
			out = append(out, fmt.Sprintf("+%v %v", c.ID, c.Left))
		}
	}
	l.changes = nil
	return strings.Join(out, ", ")
}

func (l *lab) logged(want string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.log.String(), want) {
		l.t.Errorf("log lacks %q:\n%s", want, l.log.String())
	}
}

// until waits for what workers beside the jail bring about.
func (l *lab) until(done func() bool) {
	l.t.Helper()
	if !hosttest.Soon(done) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t.Fatalf("waited in vain; log:\n%s", l.log.String())
	}
}

// says reports how often the log has a text.
func (l *lab) says(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.log.String(), text)
}

func (l *lab) want(what string) {
	l.t.Helper()
	if got := l.asked(); got != what {
		l.t.Errorf("asked of the kernel: %q, want %q", got, what)
	}
}

// begin is when labs begin.
var begin = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// Tests run on machines that are busy with others.
func init() { patience = time.Minute }

func start(t *testing.T, change func(*config.Jail, *lab)) *lab {
	t.Helper()
	l := &lab{t: t, clock: clock.NewManual(begin), lines: make(chan []string), taken: make(chan struct{}), lookups: map[string][]netip.Addr{}}
	c := &config.Jail{
		Name: "test", MaxRetry: 3, FindTime: 10 * time.Minute, BanTime: time.Hour,
		Filter: filter.Definition{Name: "test", Failregex: []filter.Expr{{Text: `Login failure <HOST>$`}}},
	}
	c.Ignore.Self = true
	if change != nil {
		change(c, l)
	}
	lines := func(*config.Jail, *filter.Filter) Source { return l }
	if l.files {
		lines = nil
	}
	var fw Firewall = l
	if l.firewall != nil {
		fw = l.firewall
	}
	j, err := Start(c, Deps{
		Firewall: fw, Log: slog.New(eventlog.New(l, "DEBUG")), Clock: l.clock.Clock, ClockSet: l.before, Location: time.UTC,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			if l.silent != nil {
				select {
				case <-l.silent:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			if l.resolver != nil {
				return l.resolver.LookupNetIP(ctx, "ip", name)
			}
			if a, ok := l.lookups[name]; ok {
				return a, nil
			}
			return nil, fmt.Errorf("no such host")
		},
		Own:    func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		Source: lines,
		Store:  l.store, Memory: l.memory, RunAction: l.run, MaxMatches: 10,
		Sessions: func() []netip.Addr { return l.peers }, FleetFailure: l.fleet,
	}, Carry{})
	if err != nil {
		t.Fatal(err)
	}
	l.jail = j
	t.Cleanup(func() { j.Stop(false) })
	return l
}

func TestBan(t *testing.T) {
	l := start(t, nil)
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s something else")
	l.want("")
	l.sleep(9 * time.Minute)
	l.say("%s Login failure 192.0.2.7")
	l.want("+192.0.2.7/32 1h0m0s")
	l.logged("NOTICE  [test] Ban 192.0.2.7\n")
	// Lines that come after the ban are said, not banned again.
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	l.want("")
	l.logged("[test] 192.0.2.7 already banned")
	// A ban ends on the list when the kernel has ended it.
	l.sleep(2 * time.Hour)
	l.expire()
	l.logged("NOTICE  [test] Unban 192.0.2.7\n")
	if s := l.jail.Status(true); s.Banned != 0 || s.TotalBanned != 1 || s.TotalFailed != 6 {
		t.Errorf("status %+v", s)
	}
}

// TestTimes checks that lines count by their own time, and what is done with
// times off the clock.
func TestTimes(t *testing.T) {
	l := start(t, nil)
	l.catchUp = true
	old := "2026-01-31 11:00:00,000 Login failure 192.0.2.7"
	l.say(old, old, old, old)
	l.want("") // an hour ago: findtime is ten minutes, nobody is banned for it now
	l.say("2026-01-31 11:51:00,000 Login failure 192.0.2.8", "2026-01-31 11:52:00,000 Login failure 192.0.2.8", "2026-01-31 11:53:00,000 Login failure 192.0.2.8")
	l.want("+192.0.2.8/32 53m0s") // the ban counts from the failure that made it
	// Lines written now with a time off the clock count as of now.
	l.catchUp = false
	l.say("2026-01-31 10:00:00,000 Login failure 192.0.2.9", "2026-01-31 14:00:00,000 Login failure 192.0.2.9", "2026-01-31 10:00:00,000 Login failure 192.0.2.9")
	l.want("+192.0.2.9/32 1h0m0s")
	l.logged("off the clock")
}

func TestWhoIsNot(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	three := func(who string) {
		line := "%s Login failure " + who
		l.say(line, line, line)
		l.want("")
	}
	three("192.0.2.1")
	l.logged("Ignore 192.0.2.1 by ignoreself rule (own address)")
	three("127.0.0.1")
	three("198.51.100.9")
	l.logged("Ignore 198.51.100.9 by ip\n")
	three("555.5.5.6")
	l.logged("WARNING [test]")
	three("::ffff:198.51.100.9")
}

func TestNames(t *testing.T) {
	l := start(t, func(c *config.Jail, l *lab) {
		l.lookups["bad.example"] = []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}
	})
	line := "%s Login failure bad.example"
	l.say(line, line, line)
	l.until(func() bool { return l.jail.Status(true).Banned == 2 })
	if got := l.asked(); !strings.Contains(got, "+203.0.113.9/32") || !strings.Contains(got, "+2001:db8::9/128") {
		t.Errorf("asked of the kernel: %q", got)
	}
	l.say("%s Login failure nobody.example")
}

func TestByHand(t *testing.T) {
	l := start(t, nil)
	p := netip.MustParsePrefix
	if added, err := l.jail.Ban(ban.Of(p("203.0.113.5/32")), false); !added || err != nil {
		t.Error(added, err)
	}
	if added, err := l.jail.Ban(ban.Of(p("203.0.113.0/24")), false); !added || err != nil {
		t.Error(added, err)
	}
	if added, err := l.jail.Ban(ban.Of(p("203.0.113.0/25")), false); added || err != nil {
		t.Error("a network in a banned one:", added, err)
	}
	if _, err := l.jail.Ban(ban.Of(p("192.0.2.0/24")), false); err == nil {
		t.Error("a network that holds an own address was banned")
	}
	l.want("+203.0.113.5/32 1h0m0s, +203.0.113.0/24 1h0m0s")
	// An address in a banned network needs no ban of its own.
	line := "%s Login failure 203.0.113.77"
	l.say(line, line, line)
	l.want("")
	if _, err := l.jail.Ban(ban.Of(p("203.0.0.0/16")), false); err != nil {
		t.Error(err)
	}
	l.want("-203.0.113.0/24, +203.0.0.0/16 1h0m0s") // the kernel takes no overlap
	first, _ := l.jail.Unban(ban.Of(p("203.0.0.0/16")))
	if again, _ := l.jail.Unban(ban.Of(p("203.0.0.0/16"))); !first || again {
		t.Error("unban")
	}
	if n, err := l.jail.UnbanAll(""); n != 1 || err != nil {
		t.Errorf("unban all: %d", n)
	}
}

// TestKept: without a database, what the kernel holds at the start is on the list; an
// element that would never end gets the jail's bantime. Refill puts all of it back.
func TestKept(t *testing.T) {
	l := start(t, func(_ *config.Jail, l *lab) {
		l.held = []firewall.Element{{ID: netip.MustParsePrefix("192.0.2.9/32"), Left: time.Minute}, {ID: netip.MustParsePrefix("192.0.2.10/32")}}
	})
	l.want("+192.0.2.10/32 1h0m0s")
	l.logged("Restore Ban 192.0.2.9")
	s := l.jail.Status(true)
	if s.Banned != 2 || s.Bans[0].End == nil || s.Bans[1].End == nil {
		t.Errorf("status %+v", s)
	}
	if n, err := l.jail.Refill(); n != 2 || err != nil {
		t.Errorf("%d bans, want 2 (%v)", n, err)
	}
	got := strings.Split(l.asked(), ", ")
	slices.Sort(got)
	if want := []string{"+192.0.2.10/32 1h0m0s", "+192.0.2.9/32 1m0s"}; !slices.Equal(got, want) {
		t.Errorf("asked: %q, want %q", got, want)
	}
}

// TestHostileLines runs a jail on what no log should hold.
func TestHostileLines(t *testing.T) {
	l := start(t, nil)
	l.say("", "\x00\xff\xfe\x80", strings.Repeat("Login failure ", 60_000), strings.Repeat("a", 900_000)+" Login failure 192.0.2.66 x", "%s Login failure 192.0.2.7")
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	l.want("+192.0.2.7/32 1h0m0s")
}
