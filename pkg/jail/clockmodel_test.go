package jail

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/store"
)

// A random schedule of what can happen to clocks, logs and the daemon is played to a
// jail with a database and a kernel whose timers are those of Linux 6.1, and to a plain
// model of what is right. After each step the list, the kernel and the model agree.

// Moments are multiples of ten seconds apart, so that these are met by none of them,
// whatever is lost to whole seconds.
const (
	modelFindTime = 605 * time.Second
	modelBanTime  = 3603 * time.Second
	modelRetry    = 3
	// modelSlack is what whole seconds in the database, and steps of the clock of less
	// than one, may add up to.
	modelSlack = 2500 * time.Millisecond
)

var (
	modelIDs   = []string{"192.0.2.7", "192.0.2.8", "2001:db8::7"}
	modelSteps = []time.Duration{
		time.Second, -time.Second, 7 * time.Second, -7 * time.Second, time.Hour, -time.Hour, day, -day, 3650 * day, -3650 * day,
		300 * time.Millisecond, -400 * time.Millisecond, 14 * time.Hour, -20 * 365 * day, 20 * time.Minute, -20 * time.Minute,
	}
)

// model is what is right: moments are those of a clock that nobody sets.
type model struct {
	now      time.Duration
	failures map[string][]time.Duration // ascending
	starts   map[string]time.Duration   // of bans
	ends     map[string]time.Duration
	ignored  map[string]bool

	maxRetry          int
	findTime, banTime time.Duration
}

func newModel(maxRetry int, findTime, banTime time.Duration) *model {
	return &model{
		failures: map[string][]time.Duration{}, starts: map[string]time.Duration{}, ends: map[string]time.Duration{},
		ignored: map[string]bool{}, maxRetry: maxRetry, findTime: findTime, banTime: banTime,
	}
}

func (m *model) clone() *model {
	c := *m
	c.starts, c.ends, c.ignored, c.failures = maps.Clone(m.starts), maps.Clone(m.ends), maps.Clone(m.ignored), map[string][]time.Duration{}
	for id, times := range m.failures {
		c.failures[id] = slices.Clone(times)
	}
	return &c
}

// at is a copy at a later moment.
func (m *model) at(now time.Duration) *model {
	m = m.clone()
	m.now = now
	m.expire()
	return m
}

// expire forgets what is over, and returns the addresses whose failures are.
func (m *model) expire() (quiet []netip.Prefix) {
	for id, end := range m.ends {
		if end <= m.now {
			delete(m.ends, id)
			delete(m.starts, id)
		}
	}
	for id, times := range m.failures {
		if m.now-times[len(times)-1] > m.findTime {
			delete(m.failures, id)
			quiet = append(quiet, prefixOf(id))
		}
	}
	return quiet
}

func prefixOf(id string) netip.Prefix {
	a := netip.MustParseAddr(id)
	return netip.PrefixFrom(a, a.BitLen())
}

func (m *model) failure(id string, age time.Duration) {
	if age > m.findTime || m.ignored[id] {
		return
	}
	at := m.now - age
	times := append(m.failures[id], at)
	slices.Sort(times)
	times = times[max(0, len(times)-m.maxRetry):]
	last, n := times[len(times)-1], 0
	for _, t := range times {
		if last-t <= m.findTime {
			n++
		}
	}
	if m.failures[id] = times; n < m.maxRetry {
		return
	}
	delete(m.failures, id)
	if _, ok := m.ends[id]; !ok && at+m.banTime > m.now {
		m.starts[id], m.ends[id] = at, at+m.banTime
	}
}

// ban is one by hand: the one that ends later stays.
func (m *model) ban(id string) {
	if end := m.now + m.banTime; end > m.ends[id] {
		m.starts[id], m.ends[id] = m.now, end
	}
}

// unban reports whether there was a ban.
func (m *model) unban(id string) bool {
	_, ok := m.ends[id]
	delete(m.starts, id)
	delete(m.ends, id)
	delete(m.failures, id)
	return ok
}

// elements are a kernel's set, and when each ends: to add an element that is there
// changes nothing, and the timers stand still in suspend.
type elements map[netip.Prefix]time.Duration

// change makes changes at a moment of the kernel's timers.
func (s elements) change(now time.Duration, changes ...firewall.Change) {
	s.sweep(now)
	for _, c := range changes {
		_, held := s[c.ID]
		switch {
		case c.Clear:
			clear(s)
		case c.Remove:
			delete(s, c.ID)
		case !held || c.Replace:
			s[c.ID] = now + c.Left
		}
	}
}

func (s elements) sweep(now time.Duration) {
	for id, end := range s {
		if end <= now {
			delete(s, id)
		}
	}
}

func (s elements) list(now time.Duration) (out []firewall.Element) {
	s.sweep(now)
	for id, end := range s {
		out = append(out, firewall.Element{ID: id, Left: end - now})
	}
	return out
}

func (s elements) lift(now time.Duration, id netip.Prefix) bool {
	s.sweep(now)
	_, held := s[id]
	delete(s, id)
	return held
}

// timers is a kernel with that set.
type timers struct {
	*lab
	ends elements
}

func (k *timers) Push(changes ...firewall.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ends.change(k.clock.Monotonic(), changes...)
}

func (k *timers) Elements(string) ([]firewall.Element, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ends.list(k.clock.Monotonic()), nil
}

func (k *timers) Lift(_ string, id netip.Prefix) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ends.lift(k.clock.Monotonic(), id), nil
}

// play plays a schedule, two bytes a step.
func play(t *testing.T, schedule []byte) {
	c := clock.NewManual(begin)
	kernel := &timers{ends: elements{}}
	m := newModel(modelRetry, modelFindTime, modelBanTime)
	path := filepath.Join(t.TempDir(), "db")
	var l *lab
	var db *direct
	var said []string
	launch := func() {
		s, err := store.Open(path, c.Clock)
		if err != nil {
			t.Fatal(err)
		}
		db = &direct{s, t, c}
		l = start(t, func(j *config.Jail, l *lab) {
			l.clock, l.store, l.firewall, l.catchUp = c, db, kernel, true
			kernel.lab = l
			j.MaxRetry, j.FindTime, j.BanTime = modelRetry, modelFindTime, modelBanTime
		})
	}
	end := func() {
		l.jail.Stop(false)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	launch()
	defer func() { end() }()
	small, boot := 0, "manual"
	step := func(arg byte) time.Duration {
		by := modelSteps[int(arg)%len(modelSteps)]
		if by.Abs() < time.Second {
			if small++; small > 2 {
				return time.Hour
			}
		}
		// Templates of dates take the years of this century.
		if year := c.Wall().Add(by).Year(); year < 2002 || year > 2088 {
			return -by
		}
		return by
	}
	pass := func(d time.Duration) {
		c.Advance(d)
		m.now += d
	}
	for i := 0; i+1 < len(schedule) && i < 120; i += 2 {
		arg := schedule[i+1]
		id := modelIDs[int(arg)%len(modelIDs)]
		prefix := prefixOf(id)
		tens := time.Duration(arg) * 10 * time.Second
		what := ""
		switch schedule[i] % 10 {
		case 0:
			what = fmt.Sprint("pass ", tens)
			pass(tens)
		case 1:
			what = fmt.Sprint("pass ", 5*tens)
			pass(5 * tens)
		case 2:
			by := step(arg)
			what = fmt.Sprint("set the clock by ", by)
			c.Set(by)
			if arg >= 128 { // else nobody has noticed yet
				l.jail.Stepped(clock.Step{By: by})
			}
		case 3:
			what = fmt.Sprint("suspend for ", tens)
			c.Suspend(tens)
			m.now += tens
			if arg >= 128 {
				l.jail.Stepped(clock.Step{Suspended: tens})
			}
		case 4, 5:
			age := []time.Duration{0, 0, 100 * time.Second, 400 * time.Second, 610 * time.Second}[int(arg/3)%5]
			n := int(arg/15)%3 + 1
			what = fmt.Sprintf("%d failures of %s, %v old", n, id, age)
			for range n {
				l.say(c.Wall().Add(-age).Format("2006-01-02 15:04:05,000") + " Login failure " + id)
				m.failure(id, age)
			}
		case 6:
			what = "ban " + id
			if _, err := l.jail.Ban(ban.Of(prefix), false); err != nil {
				t.Fatal(err)
			}
			m.ban(id)
		case 7:
			what = "unban " + id
			found, err := l.jail.Unban(ban.Of(prefix))
			if was := m.unban(id); err != nil || was != found {
				t.Fatalf("%s\n%s: found %v, %v; want %v", strings.Join(said, "\n"), what, found, err, was)
			}
		case 8:
			gap := time.Duration(arg/16) * 100 * time.Second
			by := step(arg)
			what = fmt.Sprintf("restart: %v, clock set by %v", gap, by)
			end()
			pass(gap)
			c.Set(by)
			c.Restart(boot)
			launch()
		case 9:
			gap := time.Duration(arg/16) * 100 * time.Second
			by := step(arg).Round(10 * time.Second)
			what = fmt.Sprintf("boot: %v, RTC off by %v", gap, by)
			end()
			c.Advance(gap)
			c.Set(by)
			m.now += max(gap+by, 0) // the wall clock counts; it does not go back
			boot = fmt.Sprint("boot ", i)
			c.Restart(boot)
			clear(kernel.ends)
			launch()
		}
		said = append(said, what)
		quiet := m.expire()
		l.settled()
		_ = l.jail.within(time.Minute, true, func(j *Jail) {
			j.expire()
			// What the jail does now and then, and not in the order of the lines' times.
			for _, id := range quiet {
				j.window.Forget(ban.Of(id))
				j.failuresChanged(ban.Of(id))
			}
		})
		var want, list, held []string
		left := map[string]time.Duration{}
		for id, end := range m.ends {
			want, left[id] = append(want, id), end-m.now
		}
		s := l.jail.Status(true)
		var wrong []string
		for _, b := range s.Bans {
			list = append(list, b.IP)
			if off := b.End.Sub(c.Wall()) - left[b.IP]; off.Abs() > modelSlack {
				wrong = append(wrong, fmt.Sprintf("%s ends %v off on the list", b.IP, off))
			}
		}
		elements, _ := kernel.Elements("test")
		for _, e := range elements {
			id := e.ID.Addr().String()
			held = append(held, id)
			if off := e.Left - left[id]; off.Abs() > modelSlack {
				wrong = append(wrong, fmt.Sprintf("%s ends %v off in the kernel", id, off))
			}
		}
		for _, ids := range []*[]string{&want, &list, &held} {
			slices.Sort(*ids)
		}
		if !slices.Equal(want, list) || !slices.Equal(want, held) || len(wrong) > 0 {
			t.Fatalf("%s\nbanned %q; list %q, kernel %q; %q", strings.Join(said, "\n"), want, list, held, wrong)
		}
		if got := s.Failed; got != len(m.failures) {
			t.Fatalf("%s\n%d addresses with failures, want %d", strings.Join(said, "\n"), got, len(m.failures))
		}
	}
}

// modelSeeds are schedules that were wrong once.
var modelSeeds = [][]byte{
	{4, 0, 2, 7, 4, 30},               // a failure, back a day, three more
	{4, 30, 2, 7, 1, 100, 4, 30},      // a ban, back a day, another one
	{4, 30, 3, 200, 3, 200, 7, 0},     // a ban that ends in suspend
	{4, 30, 8, 22, 4, 33, 8, 23},      // restarts with the clock set meanwhile
	{4, 30, 9, 7, 2, 6, 4, 33, 9, 20}, // boots with a wrong RTC
	{4, 15, 2, 8, 8, 9, 4, 0, 9, 13, 4, 0},
}

func FuzzClock(f *testing.F) {
	for _, s := range modelSeeds {
		f.Add(s)
	}
	f.Fuzz(play)
}

// TestClockModel plays random schedules, others each time.
func TestClockModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for n := range 25 {
		schedule := make([]byte, 80)
		for i := range schedule {
			schedule[i] = byte(r.Uint32())
		}
		if !t.Run(fmt.Sprint(n), func(t *testing.T) { play(t, schedule) }) {
			return
		}
	}
}
