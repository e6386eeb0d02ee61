package jail

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/store"
	"bailiff/pkg/tags"
)

// refusing is a kernel that refuses sets and rules, or to tell what they hold.
type refusing struct {
	*lab
	add, tell error
	removed   []string
}

func (r *refusing) AddJail(firewall.Rule) error { return r.add }

func (r *refusing) RemoveJail(name string) error {
	r.removed = append(r.removed, name)
	return nil
}

func (r *refusing) Elements(string) ([]firewall.Element, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held, r.tell
}

// goroutines waits until no more are at work than before.
func goroutines(t *testing.T, before int) {
	t.Helper()
	if !hosttest.Soon(func() bool { return runtime.NumGoroutine() <= before }) {
		buf := make([]byte, 1<<20)
		t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	}
}

func telling(commands ...string) []action.Definition {
	d := action.Definition{Name: "tell", Properties: &tags.Options{}}
	for _, c := range commands {
		d.Properties.Set("action"+c, c+" <ip>")
	}
	return []action.Definition{d}
}

// TestStartFails: a jail that can't start leaves nothing behind, and the one whose place
// it was to take goes on, with its actions as they were.
func TestStartFails(t *testing.T) {
	ran := &told{}
	kernel := &refusing{}
	l := start(t, func(c *config.Jail, l *lab) {
		kernel.lab, l.firewall, l.run = l, kernel, ran.run
		c.Actions = telling("start", "stop", "ban")
	})
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	l.until(func() bool { return strings.HasPrefix(ran.last(), "ban") })
	ran.mu.Lock()
	commands := len(ran.runs)
	ran.mu.Unlock()
	before := runtime.NumGoroutine()

	kernel.add = errors.New("no room in the kernel")
	bad := *l.jail.Configured
	bad.Actions = telling("start", "stop", "reload", "ban", "unban")
	for range 20 {
		if _, err := Prepare(&bad, l.jail.deps); !errors.Is(err, kernel.add) {
			t.Fatal(err)
		}
		deps := l.jail.deps
		deps.Guard = nil
		if _, err := Start(&bad, deps, Carry{}); !errors.Is(err, kernel.add) {
			t.Fatal(err)
		}
	}
	wrong := *l.jail.Configured
	wrong.Filter.Failregex[0].Text = "("
	kernel.add = nil
	if _, err := Start(&wrong, l.jail.deps, Carry{}); err == nil {
		t.Error("a filter that is none starts")
	}
	goroutines(t, before)
	ran.mu.Lock()
	if len(ran.runs) != commands {
		t.Errorf("commands were run: %q", ran.runs[commands:])
	}
	ran.mu.Unlock()
	l.say("%s Login failure 192.0.2.8", "%s Login failure 192.0.2.8", "%s Login failure 192.0.2.8")
	if l.jail.Status(false).Banned != 2 {
		t.Errorf("it does not go on: %+v", l.jail.Status(false))
	}
	l.until(func() bool { return strings.Contains(ran.last(), "ban") && len(ran.last()) > 0 })

	ended := l.jail.Stop(false)
	<-ended.Close(time.Time{})
	goroutines(t, before)
}

// TestKernelSilent: a jail starts though the kernel does not tell what it holds, and
// takes it over when it does.
func TestKernelSilent(t *testing.T) {
	kernel := &refusing{tell: errors.New("interrupted system call")}
	l := start(t, func(c *config.Jail, l *lab) {
		kernel.lab, l.firewall = l, kernel
		l.held = []firewall.Element{{ID: netip.MustParsePrefix("192.0.2.7/32"), Left: time.Hour}}
	})
	l.logged("[test] what the kernel holds is not known yet: interrupted system call")
	kernel.mu.Lock()
	kernel.tell = nil
	kernel.mu.Unlock()
	l.until(func() bool { return l.jail.Status(false).Banned == 1 })
}

// remembering is a database that can't be written, and knows a ban of before.
type remembering struct {
	Store
	mu    sync.Mutex
	state store.State
	asked int
}

func (r *remembering) LoadEach(_ string, _ time.Time, bans func([]ban.Ban)) (store.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	bans(r.state.Bans)
	return r.state, nil
}

func (r *remembering) Push(*store.Delta) {}

// TestLiftedStaysLifted: what was lifted is not banned again by a reload, though the
// database still has it since it can't be written, or the kernel since it refused.
func TestLiftedStaysLifted(t *testing.T) {
	id := netip.MustParsePrefix("192.0.2.7/32")
	for _, with := range []bool{true, false} {
		var db *remembering
		l := start(t, func(c *config.Jail, l *lab) {
			l.held = []firewall.Element{{ID: id, Left: time.Hour}}
			if with {
				db = &remembering{Store: openStore(t)}
				state, _ := db.Store.LoadEach("test", l.clock.Now(), func([]ban.Ban) {})
				state.New = false
				db.state, l.store = state, db
			}
		})
		if with {
			if added, err := l.jail.Ban(ban.Of(id), false); !added || err != nil {
				t.Fatal(added, err)
			}
			b, _ := ask(l.jail, time.Minute, func(j *Jail) (b []store.State) {
				return []store.State{{Bans: j.bans.All()}}
			})
			db.mu.Lock()
			db.state.Bans = b[0].Bans
			db.mu.Unlock()
		}
		if found, err := l.jail.Unban(ban.Of(id)); !found || err != nil {
			t.Fatal(with, found, err)
		}
		changed := *l.jail.Configured
		changed.BanTime = 2 * time.Hour
		deps := l.jail.deps
		next, err := Prepare(&changed, deps)
		if err != nil {
			t.Fatal(err)
		}
		l.asked()
		l.jail = next.Start(l.jail.Stop(false))
		t.Cleanup(func() { l.jail.Stop(false) })
		l.settled()
		if s := l.jail.Status(true); s.Banned != 0 {
			t.Errorf("database %v: banned again: %+v", with, s.Bans)
		}
		l.want("")
		if with && db.asked != 1 {
			t.Errorf("the database was asked %d times", db.asked)
		}
	}
}

// TestToActions: a jail whose actions ban from now on has no sets in the kernel any more,
// and its bans go to the actions first.
func TestToActions(t *testing.T) {
	ran := &told{}
	kernel := &refusing{}
	l := start(t, func(c *config.Jail, l *lab) { kernel.lab, l.firewall, l.run = l, kernel, ran.run })
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	changed := *l.jail.Configured
	changed.Unenforced, changed.Actions = true, telling("ban")
	deps := l.jail.deps
	deps.Firewall = kernel
	next, err := Prepare(&changed, deps)
	if err != nil {
		t.Fatal(err)
	}
	if len(kernel.removed) != 0 {
		t.Error("the sets went before")
	}
	l.jail = next.Start(l.jail.Stop(false))
	t.Cleanup(func() { l.jail.Stop(false) })
	if len(kernel.removed) != 1 {
		t.Errorf("sets removed: %v", kernel.removed)
	}
	l.until(func() bool { return ran.last() == "ban 192.0.2.7" })
}

// slowly is a database that reads one ban, and the next one when the kernel was asked for the
// one before.
type slowly struct {
	Store
	l     *lab
	bans  []ban.Ban
	fails error
	ahead bool // it was asked for none in time
}

func (s *slowly) LoadEach(_ string, _ time.Time, bans func([]ban.Ban)) (store.State, error) {
	for _, b := range s.bans {
		bans([]ban.Ban{b})
		end := time.Now().Add(10 * time.Second)
		for !strings.Contains(s.l.asked(), "+"+b.ID.String()) {
			if time.Now().After(end) {
				s.ahead = true
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	return store.State{}, s.fails
}

// TestKernelWhileRead: the kernel gets the bans of the database while the next ones are read,
// and has them though the database fails then.
func TestKernelWhileRead(t *testing.T) {
	t.Parallel()
	for _, fails := range []error{nil, errors.New("a disk")} {
		db := &slowly{Store: openStore(t), fails: fails}
		for i := range 5 {
			id := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 32)
			db.bans = append(db.bans, ban.Ban{ID: ban.Of(id), Start: begin, End: begin.Add(time.Hour)})
		}
		l := start(t, func(_ *config.Jail, l *lab) { db.l, l.store = l, db })
		l.until(func() bool { return l.jail.Status(false).Banned == len(db.bans) })
		if db.ahead {
			t.Error("the kernel gets a ban after the next one was read")
		}
		l.logged("Restore Ban 192.0.2.14")
		if fails != nil {
			l.logged("nothing is known of before but what the kernel holds")
		}
	}
}
