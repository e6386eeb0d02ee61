package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/store"
)

// keeper is the database as jails see it.
type keeper struct {
	path   string
	queue  *store.Queue
	log    *slog.Logger
	clock  *clock.Clock
	asked  chan struct{} // room for questions
	told   chan struct{} // the same, of actions
	wrote  func(error)   // what came of each transaction
	closed chan struct{}

	store atomic.Pointer[store.Store] // nil: it is not open yet
	late  atomic.Bool                 // it was opened after jails had started

	mu      sync.Mutex
	unheard map[string]bool // jails that started without what is known of them
	asking  bool            // they are being asked for
}

// keep opens the database. Without one, the daemon runs all the same: bans are in
// the kernel, and logs are read from findtime ago on. One whose disk hangs is opened when it
// answers, and what it knows is taken over then.
func (d *Daemon) keep() *keeper {
	log := d.log.With("component", "database")
	path := d.cfg.Database.Path
	if d.opts.Database != "" {
		path = config.DatabasePath(d.opts.Database)
	}
	if path == "" || d.opts.DryRun {
		return nil
	}
	k := &keeper{
		path: path, log: log, clock: d.clock, unheard: map[string]bool{}, wrote: func(err error) { d.fleet.wrote(err) },
		asked: make(chan struct{}, askedMost), told: make(chan struct{}, askedMost), closed: make(chan struct{}),
	}
	var s *store.Store
	var err error
	opening := labourAt(func() { s, err = store.Open(path, d.clock) })
	slow := !opening.await(loadMost, openMost)
	if slow {
		log.Error(fmt.Sprintf("database %s: %v The daemon goes on without it: bans are known from the kernel, and logs are read from findtime ago on; what it knows is taken over when it answers", path, store.ErrSlow))
	} else if slow = s == nil && store.Locked(err); slow { // a reader is enough: a backup, say
		log.Error(fmt.Sprintf("%v: another program is at it. The daemon goes on without it: bans are known from the kernel, and logs are read from findtime ago on; what it knows is taken over when it is free", err))
	} else if !k.opened(d, s, err) {
		return nil
	}
	k.queue = store.NewQueue(k.write, func(err error) {
		if err != nil {
			log.Error(fmt.Sprintf("database %s can't be written: %v; trying again, nothing is lost while this daemon runs", path, err))
		} else {
			log.Info(fmt.Sprintf("database %s can be written again", path))
		}
	})
	if slow {
		go k.openLate(d, opening, func() (*store.Store, error) { return s, err })
	} else {
		go k.tidy(d, s)
	}
	go k.watch()
	return k
}

// tidy does what a start need not wait for: it looks through a large database, and has it forget
// what ended long ago.
func (k *keeper) tidy(d *Daemon, s *store.Store) {
	select {
	case <-d.up:
	case <-k.closed:
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-k.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.Check(ctx)
	if ctx.Err() != nil {
		return
	}
	age := d.cfgNow().Database.PurgeAge
	if err := k.within(purgeMost, func() (func(), error) { return nil, s.Purge(age, d.clock.Now()) }); err != nil {
		k.log.Error(fmt.Sprintf("database %s: purge: %v", k.path, err))
	}
}

// opened tells what came of opening the database, and reports whether it is open.
func (k *keeper) opened(d *Daemon, s *store.Store, err error) bool {
	var damaged *store.Damaged
	switch {
	case errors.As(err, &damaged) && s != nil:
		k.log.Error(err.Error())
	case err != nil:
		k.log.Error(fmt.Sprintf("%v: nothing is kept over a restart but what the kernel holds", err))
		return false
	}
	k.log.Info(fmt.Sprintf("Connected to fail2ban persistent database '%s'", k.path))
	if s.Created() {
		k.log.Warn(fmt.Sprintf("New database created. Version '%d'", store.Version))
	}
	if by := s.Moved(); by != 0 {
		k.log.Warn(fmt.Sprintf("the clock is %s since the database was written: its times are moved by as much, so bans last as long as they should", clock.Told(by)))
	}
	for _, w := range s.Warnings() {
		k.log.Warn(w)
	}
	s.Renewed(func(why error) {
		k.log.Error(fmt.Sprintf("database %s: %v: a new one is begun, and filled with what this daemon knows", k.path, why))
		go k.rewrite(d)
	})
	if k.queue == nil {
		k.store.Store(s)
		return true
	}
	// Jails are at work by now.
	k.late.Store(true)
	k.hear(d, s, func() { k.store.Store(s) })
	k.rewrite(d)
	go k.tidy(d, s)
	return true
}

// rewrite has jails tell everything, if the database is another one than it was.
func (k *keeper) rewrite(d *Daemon) {
	if r := d.fleet.now(); r != nil {
		r.keeper.again()
	}
	for _, j := range d.running() {
		j.Rewrite()
	}
}

// reopenEvery is between two tries to open a database that answered late, with an error.
const reopenEvery = 10 * time.Second

// openLate waits for a database whose disk hung at the start.
func (k *keeper) openLate(d *Daemon, opening *labour, got func() (*store.Store, error)) {
	<-opening.done
	s, err := got()
	for failed := ""; ; s, err = store.Open(k.path, k.clock) {
		select {
		case <-k.closed:
			if s != nil {
				s.Close()
			}
			return
		default:
		}
		var damaged *store.Damaged
		if err == nil || errors.As(err, &damaged) && s != nil {
			k.opened(d, s, err)
			return
		}
		if text := err.Error(); text != failed {
			failed = text
			k.log.Error(fmt.Sprintf("%v: it is tried again", err))
		}
		select {
		case <-k.closed:
		case <-time.After(reopenEvery):
		}
	}
}

// heardMost is how long is waited for a jail that is being started, to hear what was known.
const heardMost = time.Minute

// hear has the database tell what it knows of jails that started without it, until there
// are none; then is called while no other one can start like that.
func (k *keeper) hear(d *Daemon, s *store.Store, then func()) {
	for {
		k.mu.Lock()
		names := sortedKeys(k.unheard)
		if len(names) == 0 {
			then()
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		for _, name := range names {
			state, err := s.Load(name, k.clock.Now())
			if store.Locked(err) {
				continue // for a minute: whoever has it does something large
			}
			k.mu.Lock()
			delete(k.unheard, name)
			k.mu.Unlock()
			if err != nil {
				k.log.Error(fmt.Sprintf("[%s] %v: nothing is known of before but what the kernel holds", name, err))
				continue
			}
			k.warn(name, &state)
			for end := time.Now().Add(heardMost); ; time.Sleep(50 * time.Millisecond) { // it may be starting still
				if j := d.jailsNow()[name]; j != nil {
					j.Remember(state.Bans)
					break
				}
				if d.works.of(name) == nil || time.Now().After(end) {
					break // there is no such jail any more
				}
			}
		}
	}
}

// unknown notes a jail that starts without what is known of it. If the database is open,
// it is asked until it answers.
func (k *keeper) unknown(d *Daemon, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unheard[name] = true
	s := k.store.Load()
	if s == nil || k.asking {
		return // it is asked for when it is opened, or is by now
	}
	k.asking = true
	go k.hear(d, s, func() { k.asking = false })
}

var errNotOpen = errors.New("it is not open yet")

func (k *keeper) write(deltas []*store.Delta) error {
	s := k.store.Load()
	if s == nil {
		return errNotOpen
	}
	err := s.Write(deltas)
	k.wrote(err)
	return err
}

// Path returns the name of the file.
func (k *keeper) Path() string { return k.path }

// Moved returns by how much the rows' times were moved when it was opened; 0 if that is
// still to come.
func (k *keeper) Moved() time.Duration {
	if s := k.store.Load(); s != nil {
		return s.Moved()
	}
	return 0
}

// Generation counts how often the database was begun anew, or opened late: jails tell it
// everything then.
func (k *keeper) Generation() (n uint64) {
	if s := k.store.Load(); s != nil {
		if n = s.Generation(); k.late.Load() {
			n++
		}
	}
	return n
}

// BanCount implements jail.Past.
func (k *keeper) BanCount(jail string, id ban.ID, overall bool) (int, time.Time, error) {
	if s := k.store.Load(); s != nil {
		return s.BanCount(jail, id, overall)
	}
	return 0, time.Time{}, fmt.Errorf("database %s: %w", k.path, store.ErrSlow)
}

func (k *keeper) warn(name string, state *store.State) {
	for _, w := range state.Warnings {
		k.log.Warn(fmt.Sprintf("[%s] database %s: %s", name, k.path, w))
	}
	if n := state.PassedOver - len(state.Warnings); n > 0 {
		k.log.Warn(fmt.Sprintf("[%s] database %s: %d more rows can't be read and are passed over", name, k.path, n))
	}
}

// jailKeeper is the keeper as the jails of a daemon see it.
type jailKeeper struct {
	*keeper
	d *Daemon
}

// LoadEach implements jail.Store. What a jail of that name has left comes first.
func (k jailKeeper) LoadEach(name string, now time.Time, bans func([]ban.Ban)) (store.State, error) {
	s := k.store.Load()
	if s == nil {
		k.unknown(k.d, name)
		return store.State{New: true, Late: true}, nil
	}
	if err := k.queue.SyncFor(syncMost, name); err != nil {
		k.log.Warn(fmt.Sprintf("[%s] what is known may be older than the last changes: %v", name, err))
	}
	var state store.State
	pieces, gone := make(chan []ban.Ban, 2), make(chan struct{})
	defer close(gone)
	err := k.withinEach(loadMost, pieces, bans, func() (keep func(), err error) {
		got, err := s.LoadEach(name, now, func(some []ban.Ban) {
			select {
			case pieces <- some:
			case <-gone: // nobody waits for it any more
			}
		})
		return func() { state = got }, err
	})
	if errors.Is(err, store.ErrSlow) || store.Locked(err) {
		k.log.Error(fmt.Sprintf("[%s] database %s: %v The jail starts with the bans that the kernel holds, and reads its logs from findtime ago on; what is known besides is taken over when it answers", name, k.path, err))
		k.unknown(k.d, name)
		return store.State{New: true, Late: true}, nil
	}
	k.warn(name, &state)
	return state, err
}

// Merged implements jail.Store.
func (k *keeper) Merged(name string, id ban.ID, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error) {
	type answer struct {
		failures int
		lines    []string
		last     time.Time
		known    bool
	}
	a, err := tell(k, func(s *store.Store) (a answer, err error) {
		a.failures, a.lines, a.last, a.known, err = s.Merged(name, id, overall, mostLines)
		return a, err
	})
	return a.failures, a.lines, a.last, a.known, err
}

// Captures returns what the filter captured for the last ban of an address in a jail.
func (k *keeper) Captures(name string, id ban.ID) (map[string]string, error) {
	return tell(k, func(s *store.Store) (map[string]string, error) { return s.Captures(name, id) })
}

// Lifted implements jail.Past. The disk is not asked.
func (k *keeper) Lifted(name string, id ban.ID, began int64) (failures int, lines []string, groups map[string]string, ok bool) {
	if s := k.store.Load(); s != nil {
		return s.Lifted(name, id, began)
	}
	return 0, nil, nil, false
}

// tell asks the database for what an action tells of. Actions ask, each for itself: they
// wait for one another, and for the database, and then do without.
func tell[T any](k *keeper, ask func(*store.Store) (T, error)) (none T, err error) {
	timer := time.NewTimer(toldMost)
	defer timer.Stop()
	slow := fmt.Errorf("database %s: %w", k.Path(), store.ErrSlow)
	select {
	case k.told <- struct{}{}:
	case <-timer.C:
		return none, slow
	}
	type answer struct {
		v   T
		err error
	}
	got := make(chan answer, 1)
	s := k.store.Load()
	if s == nil {
		<-k.told
		return none, fmt.Errorf("database %s: %w", k.path, errNotOpen)
	}
	go func() {
		v, err := ask(s)
		<-k.told
		got <- answer{v, err}
	}()
	select {
	case a := <-got:
		return a.v, a.err
	case <-timer.C:
		return none, slow
	}
}

// How long is waited for the database: nobody waits for a disk that hangs.
const (
	syncMost  = 3 * time.Second // for what is on its way to it
	loadMost  = 5 * time.Second // for what is read at a start, while nothing comes
	openMost  = time.Minute     // to open it, however it gets on
	askMost   = time.Minute     // for what is asked of it, however it gets on
	askedMost = 4               // questions that hang
	// toldMost is for what an action tells of earlier bans; without it, the action tells
	// of this one.
	toldMost = time.Second
)

// within asks the database from a thread of its own, and waits as long as it gets on: idle
// is how long it may do nothing. What it found is kept by the caller, unless that has
// given up by then.
func (k *keeper) within(idle time.Duration, ask func() (keep func(), err error)) error {
	return k.withinEach(idle, nil, nil, ask)
}

// withinEach is within for what hands over pieces meanwhile; who has called it gets them.
func (k *keeper) withinEach(idle time.Duration, pieces <-chan []ban.Ban, each func([]ban.Ban), ask func() (keep func(), err error)) error {
	select {
	case k.asked <- struct{}{}:
	default:
		return store.ErrSlow
	}
	var keep func()
	var err error
	l := labourAt(func() {
		keep, err = ask()
		<-k.asked
	})
	if !awaitEach(l, idle, max(idle, askMost), pieces, each) {
		return store.ErrSlow
	}
	if keep != nil {
		keep()
	}
	return err
}

// Push implements jail.Store.
func (k *keeper) Push(d *store.Delta) { k.queue.Push(d) }

// Room implements jail.Store.
func (k *keeper) Room(jail string) bool { return k.queue.Room(jail) }

func (k *keeper) disable(jail string) {
	err := k.queue.SyncFor(syncMost)
	if s := k.store.Load(); s != nil && err == nil {
		err = k.within(syncMost, func() (func(), error) { return nil, s.Disable(jail) })
	}
	if err != nil {
		k.log.Error(fmt.Sprintf("database: jail %s: %v", jail, err))
	}
}

// checkEvery is how often the database's files are looked at.
const checkEvery = 3 * time.Second

// announce makes the jails of a start known to the database; where that can't be done, each
// is when it is loaded.
// over takes back what was said of those that did not start.
func (k *keeper) announce(jails []*config.Jail) (over func()) {
	s := k.store.Load()
	if s == nil {
		return func() {}
	}
	var names []string
	for _, c := range jails {
		if c.List == nil && c.Broken() == nil {
			names = append(names, c.Name)
		}
	}
	_ = k.within(loadMost, func() (func(), error) { return nil, s.Announce(names) })
	return func() {
		if s.Announced() {
			_ = k.within(loadMost, func() (func(), error) { return nil, s.Withdraw() })
		}
	}
}

// watch has the database's files looked at now and then, until closed.
func (k *keeper) watch() {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.queue.Push(store.CheckDelta())
		case <-k.closed:
			return
		}
	}
}

// look has the database's files looked at, and waits for that a moment.
func (k *keeper) look() {
	k.queue.Push(store.CheckDelta())
	_ = k.queue.SyncFor(time.Second)
}

func (k *keeper) close() {
	close(k.closed)
	err := k.queue.Close()
	if err != nil {
		k.log.Error(fmt.Sprintf("database %s: the last changes are not written: %v", k.Path(), err))
	}
	if s := k.store.Load(); s != nil && !errors.Is(err, store.ErrSlow) {
		err = k.within(syncMost, func() (func(), error) { return nil, s.Close() })
	}
	if err != nil {
		k.log.Error(fmt.Sprintf("database %s: %v", k.Path(), err))
	}
}

func (d *Daemon) purge() {
	d.events.Purge()
	d.mu.Lock()
	age := d.cfg.Database.PurgeAge
	var jails []string
	for name := range d.jails {
		jails = append(jails, name)
	}
	for name := range d.failed {
		jails = append(jails, name)
	}
	d.mu.Unlock()
	if d.store == nil {
		d.memory.Purge(d.clock.Now().Add(-age))
		return
	}
	s := d.store.store.Load()
	if s == nil {
		return
	}
	err := d.store.within(purgeMost, func() (func(), error) { return nil, s.Purge(age, d.clock.Now(), jails...) })
	if err != nil {
		d.store.log.Error(fmt.Sprintf("database %s: purge: %v", d.store.Path(), err))
	}
}

// purgeMost is how long is waited for the purge, which nobody waits for.
const purgeMost = time.Minute
