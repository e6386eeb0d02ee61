package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/jail"
)

// Others may change our table: a firewall that is reloaded, a hand at nft. The ruleset's
// generation tells that somebody changed something; then it is looked whether our table
// is what it should be, and it is made so at once. Single elements are found by comparing
// the sets with the lists, which takes longer and is done less often.

const (
	// askEvery is how often the generation is asked for.
	askEvery = 250 * time.Millisecond
	// lookEvery is how often the table is looked at in any case.
	lookEvery = time.Minute
	// againAfter and againAtMost are between two attempts at what the kernel refuses.
	againAfter, againAtMost = time.Second, time.Minute
	// tellAgain is when an error that stays is told once more.
	tellAgain = 10 * time.Minute
	// linesAMinute is how often it is written in a minute what others did.
	linesAMinute = 20
	// compareEvery is how often each jail's sets are compared in any case.
	compareEvery = time.Hour
	// compareSoon is when they are compared again that couldn't be, where somebody waits for
	// word of it.
	compareSoon = 10 * time.Second
	// unreadEvery is how often it is asked for sets that nobody has read since the start.
	unreadEvery = 5 * time.Second
	// Between two comparisons of a jail lies a hundred times what one takes, within
	// these bounds.
	pauseAtLeast, pauseAtMost = 10 * time.Second, time.Minute
)

// theGuard is compared like a jail; no jail has such a name.
const theGuard = "\x00guard"

// mender keeps the kernel's table what it should be.
type mender struct {
	d      *Daemon
	poked  chan struct{} // the kernel refused something
	told   map[string]time.Time
	looked time.Time
	asked  time.Time     // for sets that nobody has read
	pause  time.Duration // 0: nothing is owed, and no error stays
	again  time.Time

	mu      sync.Mutex // guards what follows
	notes   map[string]bool
	wake    chan struct{}
	due     map[string]time.Time // when a jail's sets are to be compared
	rested  map[string]time.Time // not before
	renewed map[string]bool      // its sets were made anew, and nobody was told yet
	lacking map[string]bool      // its sets were made anew by the way, and lack its bans
	minute  time.Time            // in which lines about changes were written
	lines   int
}

func newMender(d *Daemon) *mender {
	return &mender{
		d: d, poked: make(chan struct{}, 1), told: map[string]time.Time{}, notes: map[string]bool{},
		wake: make(chan struct{}, 1), due: map[string]time.Time{}, rested: map[string]time.Time{}, renewed: map[string]bool{}, lacking: map[string]bool{},
	}
}

// poke has the mender look at once.
func (m *mender) poke() {
	select {
	case m.poked <- struct{}{}:
	default:
	}
}

// run mends until ctx ends. Where there is no firewall of ours, jails are told all the
// same that the ruleset changed: their actions may have a part in it.
func (m *mender) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var changed func() bool
	if m.d.fw != nil {
		changed = m.d.fw.Changed
		wg.Go(func() { m.comparing(ctx) })
	} else if gens, err := firewall.NewGenerations(); err == nil {
		defer gens.Close()
		changed = gens.Changed
	} else {
		return // nobody may ask, and so nobody banned by nftables
	}
	m.looked = time.Now()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		poked := false
		select {
		case <-ctx.Done():
			return
		case <-m.poked:
			poked = true
		case <-tick.C:
		}
		foreign := changed()
		if foreign {
			for _, j := range m.d.running() {
				j.RulesetChanged()
			}
		}
		if m.d.fw == nil {
			continue
		}
		if poked && m.pause == 0 {
			m.pause, m.again = againAfter, time.Now()
		}
		if owed := m.pause > 0 && !time.Now().Before(m.again); foreign || owed || time.Since(m.looked) > lookEvery || m.pause == 0 && m.d.fw.GuardDue() {
			m.look(foreign)
		}
		if time.Since(m.asked) > unreadEvery {
			m.asked = time.Now()
			m.unread()
		}
	}
}

// look makes the table right, and pays what is owed to it.
func (m *mender) look(foreign bool) {
	m.looked = time.Now()
	fw := m.d.fw
	report, err := fw.Check()
	m.report(report)
	ok := m.tell(err)
	m.mu.Lock()
	report.Refill = slices.AppendSeq(report.Refill, maps.Keys(m.lacking))
	clear(m.lacking)
	m.mu.Unlock()
	for _, name := range report.Refill {
		m.refill(name)
	}
	if foreign {
		for _, name := range fw.Emptied() {
			m.warn("something else emptied a set of jail " + name)
			m.refill(name)
		}
		m.compare(append(m.d.enforced(), theGuard)...)
	}
	paid, err := fw.Pay()
	ok = m.tell(err) && ok
	m.mu.Lock()
	for _, name := range paid {
		delete(m.rested, name) // at once: it may not be all
	}
	m.mu.Unlock()
	m.compare(paid...)
	if ok {
		m.pause = 0
		return
	}
	m.pause = min(max(2*m.pause, againAfter), againAtMost)
	m.again = time.Now().Add(m.pause)
}

// report writes what was found otherwise than it should be.
func (m *mender) report(r firewall.Report) {
	if len(r.Mended) > 0 {
		m.warn("something else changed our nftables table: " + strings.Join(r.Mended, "; "))
	}
	m.note(r.Notes)
}

// warn writes what somebody else did. One who does it again and again fills no log.
func (m *mender) warn(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.d.log.With("component", "server")
	if now := time.Now(); now.Sub(m.minute) > time.Minute {
		if more := m.lines - linesAMinute; more > 0 {
			text := fmt.Sprintf("something else changed our nftables table %d times more, and it was made right", more)
			log.Warn(text)
			m.d.repaired("", text)
		}
		m.minute, m.lines = now, 0
	}
	if m.lines++; m.lines <= linesAMinute {
		log.Warn(text)
		m.d.repaired("", text)
	}
}

// note writes what is new among things that stay.
func (m *mender) note(notes []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, text := range notes {
		if !m.notes[text] {
			m.d.log.With("component", "server").Warn("nftables: " + strings.TrimPrefix(text, "nftables: "))
		}
	}
	clear(m.notes)
	for _, text := range notes {
		m.notes[text] = true
	}
}

// settled writes what a change of ours found.
func (d *Daemon) settled(r firewall.Report) {
	for _, text := range r.Mended {
		d.log.With("component", "server").Info("nftables: " + text)
	}
	d.mender.note(r.Notes)
	if len(r.Refill) > 0 {
		d.mender.mu.Lock()
		for _, name := range r.Refill {
			d.mender.lacking[name] = true
		}
		d.mender.mu.Unlock()
		d.mender.poke()
	}
}

// openFirewall makes the table what it should be for the jails of a configuration, so
// that what is in it stays in force.
func openFirewall(cfg *config.Config) (*firewall.Firewall, firewall.Report, error) {
	var rules []firewall.Rule
	for _, j := range cfg.Jails {
		if !j.Unenforced && j.Broken() == nil {
			rules = append(rules, ruleOf(j))
		}
	}
	for _, g := range cfg.Fleet.Groups {
		if g.Enforce && len(cfg.Fleet.URLs) > 0 {
			rules = append(rules, g.Rule)
		}
	}
	return firewall.Open(firewallOptions(cfg), rules...)
}

// ruleOf is a jail's or a list's rule.
func ruleOf(c *config.Jail) firewall.Rule {
	r := c.Rule
	r.List = len(c.List) > 0
	return r
}

func firewallOptions(cfg *config.Config) firewall.Options {
	opts := cfg.Firewall
	opts.Others, opts.Waiting, opts.Ending = nil, nil, nil
	for _, j := range cfg.Jails {
		opts.Others = append(opts.Others, j.OthersSets...)
		switch {
		case j.Observe && j.Broken() == nil:
			opts.Ending = append(opts.Ending, j.Name)
		case j.Unenforced && !j.Observe:
			opts.Others = append(opts.Others, j.Name)
		case j.Broken() != nil:
			opts.Waiting = append(opts.Waiting, j.Name)
		}
	}
	return opts
}

// firewallChanged brings the table in line with another configuration, and returns what
// could not be done.
func (d *Daemon) firewallChanged(cfg *config.Config) (wrong []string) {
	d.removeForeign.Store(cfg.RemoveForeign)
	if d.fw == nil || cfg.NoFirewall || reflect.DeepEqual(cfg.Firewall, d.cfgNow().Firewall) {
		return nil
	}
	report, err := d.fw.Reconfigure(firewallOptions(cfg))
	d.settled(report)
	if err != nil {
		text := fmt.Sprintf("[firewall]: %v: the table stays as it was", err)
		d.log.With("component", "server").Error(text)
		wrong = append(wrong, text)
	}
	return wrong
}

// find returns a running jail or list.
func (d *Daemon) find(name string) (*jail.Jail, *blocklist) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.jails[name], d.lists[name]
}

// enforced returns the names of the jails and lists whose bans are in our sets.
func (d *Daemon) enforced() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for name, j := range d.jails {
		if !j.Configured.Unenforced {
			out = append(out, name)
		}
	}
	out = slices.AppendSeq(out, maps.Keys(d.lists))
	out = append(out, d.fleet.names()...)
	slices.Sort(out)
	return out
}

// tell writes an error, unless it was told a short while ago. It reports whether there
// was none.
func (m *mender) tell(err error) bool {
	if err == nil {
		return true
	}
	now := time.Now()
	maps.DeleteFunc(m.told, func(_ string, at time.Time) bool { return now.Sub(at) > tellAgain })
	if _, known := m.told[err.Error()]; !known && len(m.told) < 100 {
		m.told[err.Error()] = now
		for line := range strings.Lines(err.Error()) {
			m.d.log.With("component", "server").Error(strings.TrimSuffix(line, "\n"))
		}
	}
	return false
}

// refill puts a jail's bans, or a list, into sets that lack them.
func (m *mender) refill(name string) {
	j, l := m.d.find(name)
	switch {
	case j != nil:
		_, _ = j.Refill() // a busy one's bans are found missing by the comparison
	case l != nil:
		if err := l.refill(); err != nil {
			m.tell(fmt.Errorf("[%s] %w", name, err))
		}
	case m.d.fleet.set(name) != nil:
		m.d.queue.Push(m.d.fleet.set(name).all(m.d.clock.Now())...)
	default:
		return
	}
	m.mu.Lock()
	m.renewed[name] = true
	m.due[name] = time.Now()
	m.rested[name] = time.Time{}
	m.mu.Unlock()
	m.rouse()
}

// compare has sets compared with their lists, as soon as it is their turn.
func (m *mender) compare(names ...string) {
	if len(names) == 0 {
		return
	}
	m.mu.Lock()
	now := time.Now()
	for _, name := range names {
		if due, ok := m.due[name]; !ok || due.After(now) {
			m.due[name] = now
		}
	}
	m.mu.Unlock()
	m.rouse()
}

// soonest has sets compared at once, whatever they rest from.
func (m *mender) soonest(name string) {
	m.mu.Lock()
	m.due[name], m.rested[name] = time.Now(), time.Time{}
	m.mu.Unlock()
	m.rouse()
}

// soon compares a jail's sets again after a while.
func (m *mender) soon(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due[name] = time.Now().Add(compareSoon)
}

func (m *mender) rouse() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// next returns a jail whose turn it is, or else how long there is none.
func (m *mender) next() (name string, wait time.Duration) {
	running := append(m.d.enforced(), theGuard)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, known := range []map[string]time.Time{m.due, m.rested} {
		maps.DeleteFunc(known, func(name string, _ time.Time) bool { return !slices.Contains(running, name) })
	}
	maps.DeleteFunc(m.renewed, func(name string, _ bool) bool { return !slices.Contains(running, name) })
	wait = time.Minute
	for _, n := range running {
		at, ok := m.due[n]
		if !ok {
			at = now.Add(compareEvery)
			m.due[n] = at
		}
		if rest := m.rested[n]; at.Before(rest) {
			at = rest
		}
		if left := at.Sub(now); left < wait {
			name, wait = n, left
		}
	}
	if wait > 0 {
		return "", wait
	}
	m.due[name] = now.Add(compareEvery)
	return name, 0
}

// comparing compares sets with lists until ctx ends, one after the other.
func (m *mender) comparing(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		name, wait := m.next()
		if name != "" {
			begun := time.Now()
			m.compareOne(name)
			wait = 0
			m.mu.Lock()
			m.rested[name] = time.Now().Add(min(max(100*time.Since(begun), pauseAtLeast), pauseAtMost))
			m.mu.Unlock()
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

// unread has sets read of which it isn't known what they hold: as long as there are any,
// each packet is looked up in the sets of all jails. Those of running jails are compared
// with their lists; who isn't running has nobody else to read his.
func (m *mender) unread() {
	running := m.d.enforced()
	for _, name := range m.d.fw.Unread() {
		if slices.Contains(running, name) {
			m.compare(name)
		} else if _, err := m.d.fw.Elements(name); err != nil {
			m.tell(err)
		}
	}
}

// compareOne compares one jail's sets with its list. Only when they are the same is it
// said that what was lost is back.
func (m *mender) compareOne(name string) {
	log := m.d.log.With("component", "actions")
	if name == theGuard {
		lacked, idle, err := m.d.fw.CheckGuard()
		if err != nil {
			log.Error(err.Error())
		}
		if lacked+idle > 0 {
			m.warn(fmt.Sprintf("something else changed the sets of all who are banned: %d were missing there, %d too many: put right", lacked, idle))
		}
		return
	}
	j, l := m.d.find(name)
	m.mu.Lock()
	renewed := m.renewed[name]
	m.mu.Unlock()
	held, missing := 0, 0
	switch {
	case j != nil:
		diff, err := j.Compare()
		var busy *jail.BusyError
		if errors.As(err, &busy) {
			m.compare(name)
			return
		}
		if err != nil {
			// Of a jail that ended meanwhile, or was started anew, there is nothing to be told.
			if !jail.Gone(err) {
				log.Error(fmt.Sprintf("[%s] %v", name, err))
			}
			if now, _ := m.d.find(name); renewed && now != nil { // whether what was lost is back is still to be told
				m.soon(name)
			}
			return
		}
		held, missing = diff.Held, diff.Missing
	case l != nil:
		n, same, err := l.compare()
		if err == nil && !same {
			if !renewed {
				text := "something else changed the kernel's sets of this list: loaded again"
				log.Warn(fmt.Sprintf("[%s] %s", name, text))
				m.d.repaired(name, text)
			}
			missing = n
			err = l.refill()
		}
		if err != nil {
			log.Error(fmt.Sprintf("[%s] %v", name, err))
			return
		}
		held = n
	case m.d.fleet.set(name) != nil:
		var err error
		if held, missing, err = m.d.compareFleet(m.d.fleet.set(name)); err != nil {
			log.Error(fmt.Sprintf("[%s] %v", name, err))
			return
		}
	}
	if !renewed {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if missing > 0 { // not yet: look again
		m.due[name] = time.Now()
		return
	}
	delete(m.renewed, name)
	text := fmt.Sprintf("nftables sets and rules made anew, with %d bans", held)
	log.Warn(fmt.Sprintf("[%s] %s", name, text))
	m.d.repaired(name, text)
}
