package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/fleet/link"
	"bailiff/pkg/guard"
	"bailiff/pkg/jail"
)

// This host's part in a fleet (docs/fleet.md): which jails' bans are told, and what others tell. Nothing here is waited for
// by a jail: what it bans is handed over, and what others ban goes into sets of its own.

// fleetSide keeps a daemon's part in a fleet what it is configured to be.
type fleetSide struct {
	d    *Daemon
	log  *slog.Logger
	turn chan struct{} // has a value while one is being changed for another

	mu      sync.Mutex // guards what follows; held over nothing that waits
	run     *fleetRun  // nil: this host is in no fleet
	sets    map[string]*fleetSet
	problem string // why it isn't, though it is to be
}

func newFleetSide(d *Daemon) *fleetSide {
	return &fleetSide{d: d, log: d.log.With("component", "fleet"), turn: make(chan struct{}, 1), sets: map[string]*fleetSet{}}
}

// fleetFiles are those that a host in a fleet reads.
func fleetFiles(f *config.Fleet) []string {
	if len(f.URLs) == 0 {
		return nil
	}
	return []string{f.Credentials, f.CA}
}

// now is the run at work; nil: there is none.
func (f *fleetSide) now() *fleetRun {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.run
}

// set is that of a name like fleet-ssh; nil: there is none.
func (f *fleetSide) set(name string) *fleetSet {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sets[name]
}

// names are those of all sets.
func (f *fleetSide) names() []string {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return sortedKeys(f.sets)
}

// fleetStopMost is how long the part that ends is waited for, which keeps what is new.
const fleetStopMost = 2 * time.Second

// configure brings this host's part in line with a configuration. The errors say what of it could not be.
func (f *fleetSide) configure(cfg *config.Config) (wrong []error) { return f.prepare(cfg)() }

// prepare is the part of configure after which jails may ban: that waits to be told. The part that is begun by what it returns, which is
// to be called, has jails lift what was lifted elsewhere, and wants them to be there.
func (f *fleetSide) prepare(cfg *config.Config) (begin func() []error) {
	is := func(wrong ...error) func() []error { return func() []error { return wrong } }
	select {
	case f.turn <- struct{}{}:
	case <-time.After(2 * fleetStopMost):
		return is(errors.New("[fleet]: the change before this one goes on still: reload once more"))
	}
	r, err := f.make(cfg)
	if r == nil {
		<-f.turn
		if err != nil {
			return is(err)
		}
		return is()
	}
	return func() []error {
		defer func() { <-f.turn }()
		wrong := f.enforce(&r.cfg)
		go r.begin()
		return wrong
	}
}

// make makes what takes part by a configuration, if it is another one than before.
func (f *fleetSide) make(cfg *config.Config) (*fleetRun, error) {
	want := cfg.Fleet
	if len(want.URLs) == 0 {
		f.end(true)
		return nil, nil
	}
	if f.d.opts.DryRun {
		f.d.wouldDo("take part in the fleet of %s", want.URLs[0])
		return nil, nil
	}
	name, sign, err := credentials(&want)
	if err != nil {
		err = fmt.Errorf("%s: [fleet]: %w", want.At, err)
		// What is in force stays so: a host that has left has no [fleet] any more.
		f.mu.Lock()
		f.problem = err.Error()
		f.mu.Unlock()
		return nil, err
	}
	ignored := f.never(cfg)
	before := f.now()
	if before != nil && before.name == name && before.sign == sign && reflect.DeepEqual(before.cfg, want) {
		before.view.Set(ignored)
		f.mu.Lock()
		f.problem = ""
		f.mu.Unlock()
		return nil, nil
	}
	if before != nil && !before.end() {
		return nil, errors.New("[fleet]: what was there before has not ended yet: reload once more")
	}
	if err := readByOthers(&want); err != nil {
		f.log.Warn(err.Error())
	}
	r := &fleetRun{
		f: f, d: f.d, log: f.log, cfg: want, name: name, sign: sign, of: map[string][]string{}, ready: make(chan struct{}), done: make(chan struct{}),
		sayWake: make(chan struct{}, 1), recheck: make(chan struct{}, 1), since: f.d.clock.Wall(), told: "connecting", refused: map[fleet.Reason]uint64{},
	}
	for _, g := range want.Groups {
		for _, jail := range g.Publish {
			r.of[jail] = append(r.of[jail], g.Name)
		}
	}
	r.counts = r.countedGroups()
	r.view = f.d.guard.View(ignored, func() {
		select {
		case r.recheck <- struct{}{}:
		default:
		}
	})
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.keeper, r.allow = newFleetKeeper(r), newFleetAllow(r)
	f.mu.Lock()
	f.run, f.problem = r, ""
	f.mu.Unlock()
	return r, nil
}

// enforce makes the sets of groups whose bans are in force here, and takes away those of others.
func (f *fleetSide) enforce(want *config.Fleet) (wrong []error) {
	next := map[string]*fleetSet{}
	for _, g := range want.Groups {
		if !g.Enforce {
			continue
		}
		if f.d.fw != nil {
			if err := (&kernel{f.d}).AddJail(g.Rule); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: [fleet.group.%s] is not in force: %w", g.At, g.Name, err))
				continue
			}
		}
		next[g.Rule.Jail] = newFleetSet(g.Rule)
	}
	f.mu.Lock()
	before := f.sets
	for name, s := range next {
		if was := before[name]; was != nil { // what is in it stays until everything is told anew
			was.mu.Lock()
			was.rule = s.rule
			was.mu.Unlock()
			next[name] = was
		}
	}
	f.sets = next
	f.mu.Unlock()
	for name := range before {
		if next[name] == nil {
			f.remove(name)
		}
	}
	for name, s := range next {
		f.d.checks.holder(name, s)
	}
	f.d.changed()
	return wrong
}

func (f *fleetSide) remove(name string) {
	f.d.checks.forget(name)
	if f.d.fw == nil {
		return
	}
	if err := (&kernel{f.d}).RemoveJail(name); err != nil {
		f.log.Error(fmt.Sprintf("[%s] %v", name, err))
	}
}

// end ends this host's part; leave has what the fleet has shut out be let in.
func (f *fleetSide) end(leave bool) {
	f.mu.Lock()
	run, sets := f.run, f.sets
	f.run, f.problem = nil, ""
	if leave {
		f.sets = map[string]*fleetSet{}
	}
	f.mu.Unlock()
	if run != nil {
		run.end()
	}
	if !leave {
		return
	}
	for _, name := range sortedKeys(sets) {
		f.remove(name)
	}
	if len(sets) > 0 {
		f.d.changed()
	}
}

// credentials is who this host is, and a sign that changes with the files that say so.
func credentials(f *config.Fleet) (name, sign string, err error) {
	if name, err = enrol.Name(f.Credentials); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: it is to belong to the user whom the daemon is: chown that user %s %s", err, f.Credentials, f.CA)
		}
		return "", "", err
	}
	for _, path := range []string{f.Credentials, f.CA} {
		fi, err := os.Stat(path)
		if err != nil {
			return "", "", err
		}
		sign += fmt.Sprintf("%s %d %d ", filepath.Base(path), fi.Size(), fi.ModTime().UnixNano())
	}
	return name, sign, nil
}

// readByOthers says so if others than the daemon's user can read what this host proves itself by.
func readByOthers(f *config.Fleet) error {
	m, err := os.Stat(f.Credentials)
	if err != nil || m.Mode().Perm()&0o077 == 0 {
		return nil // that it is not there is told elsewhere
	}
	return fmt.Errorf("%s: [fleet]: %s may be read by others (mode %04o), who can then speak as this host: chmod go= %s", f.At, f.Credentials, m.Mode().Perm(), f.Credentials)
}

// CheckFleet says what would keep this host from taking part in the fleet of a configuration.
func CheckFleet(cfg *config.Config) (warnings []error) {
	if len(cfg.Fleet.URLs) == 0 {
		return nil
	}
	if _, _, err := credentials(&cfg.Fleet); err != nil {
		warnings = append(warnings, fmt.Errorf("%s: [fleet]: %w", cfg.Fleet.At, err))
	}
	if err := readByOthers(&cfg.Fleet); err != nil {
		warnings = append(warnings, err)
	}
	return warnings
}

// never is whom no ban of others shuts out: whom a jail here ignores, this host and what it needs, the hubs, and who is logged in.
func (f *fleetSide) never(cfg *config.Config) guard.Want {
	all := cfg.Fleet.Ignore
	add := func(i *config.IgnoreList) {
		all.Prefixes = append(all.Prefixes[:len(all.Prefixes):len(all.Prefixes)], i.Prefixes...)
		all.Names = append(all.Names[:len(all.Names):len(all.Names)], i.Names...)
		all.Files = append(all.Files[:len(all.Files):len(all.Files)], i.Files...)
	}
	for _, j := range cfg.Jails {
		if j.List == nil {
			add(&j.Ignore)
		}
	}
	for _, u := range cfg.Fleet.URLs {
		if u, err := url.Parse(u); err == nil {
			var hub config.IgnoreList
			if a, err := netip.ParseAddr(u.Hostname()); err == nil {
				hub.Prefixes = append(hub.Prefixes, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			} else {
				hub.Names = append(hub.Names, u.Hostname())
			}
			add(&hub)
		}
	}
	c := &config.Jail{Ignore: config.IgnoreList{Prefixes: unique(all.Prefixes), Names: unique(all.Names), Files: unique(all.Files), Self: true, Host: true, SSH: true}}
	return jail.Protected(c)
}

// unique is a list without what comes again in it.
func unique[T comparable](list []T) (out []T) {
	seen := make(map[T]bool, len(list))
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// fleetRun is this host in a fleet, by one configuration.
type fleetRun struct {
	f       *fleetSide
	d       *Daemon
	log     *slog.Logger
	cfg     config.Fleet
	name    string
	sign    string
	of      map[string][]string // groups of a jail's bans
	counts  map[string][]string // those in which its failures are counted over all hosts
	view    *guard.View
	recheck chan struct{}
	ctx     context.Context
	stop    context.CancelFunc
	keeper  *fleetKeeper
	allow   *fleetAllow   // nil: no key of an allow-list is pinned
	ready   chan struct{} // closed when link is there
	done    chan struct{}
	link    *link.Link
	refused map[fleet.Reason]uint64 // by the hub; the agent's goroutine's
	// countedWhy is why the hub doesn't count, as the log has it; the agent's goroutine's.
	countedWhy fleet.Reason

	sayMu  sync.Mutex
	says   []*saying
	unsaid uint64 // bans that were not told, since too many wait
	late   bool   // the database has waited in vain for what is told of a ban, and does not again until that is known
	// failures are those of the last second, uncounted those that were too many.
	failures  []fleetFailure
	uncounted uint64
	// inWriting is what goes into a transaction of the database that is under way.
	inWriting []fleet.Out
	sayWake   chan struct{}

	mu        sync.Mutex // guards what follows
	connected bool
	told      string // how it stands with the connection
	since     time.Time
}

// end stops it; false: it has not ended yet.
func (r *fleetRun) end() bool {
	r.stop()
	select {
	case <-r.done:
		return true
	case <-time.After(fleetStopMost):
		return false
	}
}

// policyName is by what words are held: where that changes, everything is read anew.
func (r *fleetRun) policyName() string {
	text := fmt.Sprintf("%s|%v|%d|%d|%d", r.name, r.cfg.Accept, r.cfg.Bans, r.cfg.Shortest4, r.cfg.Shortest6)
	for _, g := range r.cfg.Groups {
		text += "|" + g.Name
	}
	if len(r.cfg.Count) > 0 {
		text += fmt.Sprintf("|count %v", r.cfg.Count)
	}
	return text
}

func (r *fleetRun) policy() fleet.Policy {
	p := fleet.Policy{
		Groups: map[string]int{}, Counts: map[string]bool{}, Accept: r.cfg.Accepts, Bans: r.cfg.Bans, Shortest4: r.cfg.Shortest4, Shortest6: r.cfg.Shortest6, Longest: r.cfg.MaxBan,
		Never: func(p netip.Prefix) bool {
			rules := r.view.Rules()
			return rules.Why(p).Some() || rules.SSHPeer(p) || r.allow != nil && r.allow.held.Holds(p)
		},
	}
	for _, g := range r.cfg.Groups {
		p.Groups[g.Name] = g.Quorum
	}
	for _, name := range r.cfg.Count {
		p.Counts[name] = true
	}
	return p
}

// begin takes part until it is told to stop.
func (r *fleetRun) begin() {
	defer close(r.done)
	defer r.view.Close()
	for !r.view.Ready() { // so that nobody is shut out for a moment who is never to be
		select {
		case <-r.recheck:
		case <-time.After(100 * time.Millisecond):
		case <-r.ctx.Done():
			return
		}
	}
	start := r.keeper.start()
	l, err := link.New(link.Options{
		Host: r.name, URLs: r.cfg.URLs, Connect: link.Credentials(r.cfg.Credentials, r.cfg.CA), Now: r.d.clock.Now, Tell: r.tell,
	}, r.policy(), start, r)
	if err != nil {
		r.tell(linkDown, err)
		return
	}
	r.link = l
	close(r.ready)
	var beside sync.WaitGroup
	beside.Go(r.saying)
	beside.Go(r.look)
	beside.Go(r.keeper.run)
	if r.allow != nil {
		beside.Go(r.allow.run)
	}
	err = l.Run(r.ctx)
	if err != nil {
		r.tell(linkDown, err)
		<-r.ctx.Done()
	}
	r.stop()
	beside.Wait()
}

// tell keeps in mind how the connection stands, and says in the log what is new.
func (r *fleetRun) tell(what string, err error) {
	if r.ctx.Err() != nil {
		return
	}
	text := what
	if err != nil {
		text += ": " + err.Error()
	}
	if err != nil && what != linkDown { // with a connection all the same
		r.log.Warn("fleet: " + text)
		return
	}
	up := err == nil && what != linkDown
	r.mu.Lock()
	before, was := r.told, r.connected
	r.told, r.connected = text, up
	if was != up {
		r.since = r.d.clock.Wall()
	}
	r.mu.Unlock()
	switch {
	case text == before:
	case up:
		r.log.Info("fleet: " + text)
	default:
		r.log.Warn("fleet: " + text + "; bans here go on, and are shared when there is one")
	}
}

// linkDown is what a link tells where it has no connection.
const linkDown = "no connection to the hub"

// askFleet asks the agent something; false: it did not answer in time, or there is none.
func askFleet[T any](r *fleetRun, most time.Duration, f func(*fleet.Agent, time.Time) T) (v T, ok bool) {
	ctx, cancel := context.WithTimeout(r.ctx, most)
	defer cancel()
	select {
	case <-r.ready:
	case <-ctx.Done():
		return v, false
	}
	got := make(chan T, 1)
	if !r.link.Do(ctx, func(a *fleet.Agent, now time.Time) { got <- f(a, now) }) {
		return v, false
	}
	select {
	case v = <-got:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

// look does what is to be done now and then.
func (r *fleetRun) look() {
	second, hour := time.NewTicker(time.Second), time.NewTicker(time.Hour)
	defer second.Stop()
	defer hour.Stop()
	for n := 0; ; n++ {
		select {
		case <-r.ctx.Done():
			return
		case <-r.recheck:
			askFleet(r, time.Minute, func(a *fleet.Agent, now time.Time) bool { a.Recheck(now); return true })
		case <-hour.C:
			r.renew()
		case <-second.C:
			r.tellFailures()
			for _, name := range r.f.names() {
				if s := r.f.set(name); s != nil && (n%60 == 0 || s.networks()) {
					r.push(s.sweep(r.d.clock.Now()))
				}
			}
		}
	}
}

// networks reports whether there are any.
func (s *fleetSet) networks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.nets) > 0
}

// renew says bans anew that last longer than the fleet keeps one.
func (r *fleetRun) renew() {
	due, _ := askFleet(r, time.Minute, func(a *fleet.Agent, now time.Time) []fleet.Said { return a.View().Renewals(a.Server(now)) })
	left := map[fleet.Key]int64{}
	for _, s := range due {
		for _, j := range r.publishers(s.Key.Group) {
			if n, ok := j.Lasts(s.Key.Prefix()); ok && left[s.Key] != fleet.Permanent {
				if n == fleet.Permanent {
					left[s.Key] = n
				} else {
					left[s.Key] = max(left[s.Key], n)
				}
			}
		}
	}
	if len(left) > 0 {
		askFleet(r, time.Minute, func(a *fleet.Agent, now time.Time) bool {
			a.Renew(now, due, func(s fleet.Said) (int64, bool) { n, ok := left[s.Key]; return n, ok })
			return true
		})
	}
}

// publishers are the jails that run whose bans belong to a group.
func (r *fleetRun) publishers(group string) (out []*jail.Jail) {
	g := r.cfg.Group(group)
	if g == nil {
		return nil
	}
	jails := r.d.jailsNow()
	for _, name := range g.Publish {
		if j := jails[name]; j != nil {
			out = append(out, j)
		}
	}
	return out
}

// push has the kernel do something.
func (r *fleetRun) push(changes []firewallChange) {
	if len(changes) > 0 && r.d.queue != nil {
		r.d.queue.Push(changes...)
	}
}

// toldPrefix is a network or an address as people have it.
func toldPrefix(p netip.Prefix) string { return ban.Name(ban.Of(p)) }
