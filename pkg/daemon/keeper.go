package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/store"
)

// keeper is the database as jails see it.
type keeper struct {
	*store.Store
	queue  *store.Queue
	log    *slog.Logger
	asked  chan struct{} // room for questions
	told   chan struct{} // the same, of actions
	closed chan struct{}
}

// keep opens the database. Without one, the daemon runs all the same: bans are in
// the kernel, and logs are read from findtime ago on.
func (d *Daemon) keep() *keeper {
	log := d.log.With("component", "database")
	path := d.cfg.Database.Path
	if d.opts.Database != "" {
		path = config.DatabasePath(d.opts.Database)
	}
	if path == "" || d.opts.DryRun {
		return nil
	}
	s, err := openWithin(loadMost, path, d.clock)
	var damaged *store.Damaged
	switch {
	case errors.As(err, &damaged) && s != nil:
		log.Error(err.Error())
	case err != nil:
		log.Error(fmt.Sprintf("%v: nothing is kept over a restart but what the kernel holds", err))
		return nil
	}
	log.Info(fmt.Sprintf("Connected to fail2ban persistent database '%s'", path))
	if s.Created() {
		log.Warn(fmt.Sprintf("New database created. Version '%d'", store.Version))
	}
	if by := s.Moved(); by != 0 {
		log.Warn(fmt.Sprintf("the clock is %s since the database was written: its times are moved by as much, so bans last as long as they should", clock.Told(by)))
	}
	for _, w := range s.Warnings() {
		log.Warn(w)
	}
	s.Renewed(func(why error) {
		log.Error(fmt.Sprintf("database %s: %v: a new one is begun, and filled with what this daemon knows", path, why))
		go func() {
			for _, j := range d.running() {
				j.Rewrite()
			}
		}()
	})
	k := &keeper{Store: s, log: log, asked: make(chan struct{}, askedMost), told: make(chan struct{}, askedMost), closed: make(chan struct{})}
	k.queue = store.NewQueue(s.Write, func(err error) {
		if err != nil {
			log.Error(fmt.Sprintf("database %s can't be written: %v; trying again, nothing is lost while this daemon runs", path, err))
		} else {
			log.Info(fmt.Sprintf("database %s can be written again", path))
		}
	})
	if err := k.within(loadMost, func() (func(), error) { return nil, s.Purge(d.cfg.Database.PurgeAge, d.clock.Now()) }); err != nil {
		log.Error(fmt.Sprintf("database %s: purge: %v", path, err))
	}
	go k.watch()
	return k
}

// openWithin opens a database, and gives up one whose disk does not answer.
func openWithin(most time.Duration, path string, c *clock.Clock) (*store.Store, error) {
	type opened struct {
		s   *store.Store
		err error
	}
	got := make(chan opened)
	late := make(chan struct{})
	go func() {
		s, err := store.Open(path, c)
		select {
		case got <- opened{s, err}:
			return
		case <-late:
		}
		if s != nil {
			s.Close()
		}
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case o := <-got:
		return o.s, o.err
	case <-timer.C:
		close(late)
		return nil, fmt.Errorf("database %s: %w", path, store.ErrSlow)
	}
}

// Load implements jail.Store. What a jail of that name has left comes first.
func (k *keeper) Load(name string, now time.Time) (store.State, error) {
	if err := k.queue.SyncFor(syncMost); err != nil {
		k.log.Warn(fmt.Sprintf("[%s] what is known may be older than the last changes: %v", name, err))
	}
	var state store.State
	err := k.within(loadMost, func() (keep func(), err error) {
		got, err := k.Store.Load(name, now)
		return func() { state = got }, err
	})
	if errors.Is(err, store.ErrSlow) {
		k.log.Error(fmt.Sprintf("[%s] database %s: %v The jail starts with the bans that the kernel holds, and reads its logs from findtime ago on", name, k.Path(), err))
		return store.State{New: true}, nil
	}
	for _, w := range state.Warnings {
		k.log.Warn(fmt.Sprintf("[%s] database %s: %s", name, k.Path(), w))
	}
	if n := state.PassedOver - len(state.Warnings); n > 0 {
		k.log.Warn(fmt.Sprintf("[%s] database %s: %d more rows can't be read and are passed over", name, k.Path(), n))
	}
	return state, err
}

// Merged implements jail.Store. Actions ask, each for itself: they wait for one another,
// and for the database, and then do without.
func (k *keeper) Merged(name string, id netip.Prefix, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error) {
	timer := time.NewTimer(toldMost)
	defer timer.Stop()
	slow := fmt.Errorf("database %s: %w", k.Path(), store.ErrSlow)
	select {
	case k.told <- struct{}{}:
	case <-timer.C:
		return 0, nil, last, false, slow
	}
	type answer struct {
		failures int
		lines    []string
		last     time.Time
		known    bool
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		var a answer
		a.failures, a.lines, a.last, a.known, a.err = k.Store.Merged(name, id, overall, mostLines)
		<-k.told
		got <- a
	}()
	select {
	case a := <-got:
		return a.failures, a.lines, a.last, a.known, a.err
	case <-timer.C:
		return 0, nil, last, false, slow
	}
}

// How long is waited for the database: nobody waits for a disk that hangs.
const (
	syncMost  = 3 * time.Second // for what is on its way to it
	loadMost  = 5 * time.Second // for what is read at a start
	askedMost = 4               // questions that hang
	// toldMost is for what an action tells of earlier bans; without it, the action tells
	// of this one.
	toldMost = time.Second
)

// within asks the database from a goroutine of its own. What it found is kept by the
// caller, unless that has given up by then.
func (k *keeper) within(d time.Duration, ask func() (keep func(), err error)) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case k.asked <- struct{}{}:
	default:
		return store.ErrSlow
	}
	type answer struct {
		keep func()
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		keep, err := ask()
		<-k.asked
		got <- answer{keep, err}
	}()
	select {
	case a := <-got:
		if a.keep != nil {
			a.keep()
		}
		return a.err
	case <-timer.C:
		return store.ErrSlow
	}
}

// Push implements jail.Store.
func (k *keeper) Push(d *store.Delta) { k.queue.Push(d) }

// Room implements jail.Store.
func (k *keeper) Room(jail string) bool { return k.queue.Room(jail) }

func (k *keeper) disable(jail string) {
	err := k.queue.SyncFor(syncMost)
	if err == nil {
		err = k.within(syncMost, func() (func(), error) { return nil, k.Disable(jail) })
	}
	if err != nil {
		k.log.Error(fmt.Sprintf("database: jail %s: %v", jail, err))
	}
}

// checkEvery is how often the database's files are looked at.
const checkEvery = 3 * time.Second

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
	if !errors.Is(err, store.ErrSlow) {
		err = k.within(syncMost, func() (func(), error) { return nil, k.Store.Close() })
	}
	if err != nil {
		k.log.Error(fmt.Sprintf("database %s: %v", k.Path(), err))
	}
}

func (d *Daemon) purge() {
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
	err := d.store.within(purgeMost, func() (func(), error) { return nil, d.store.Purge(age, d.clock.Now(), jails...) })
	if err != nil {
		d.store.log.Error(fmt.Sprintf("database %s: purge: %v", d.store.Path(), err))
	}
}

// purgeMost is how long is waited for the purge, which nobody waits for.
const purgeMost = time.Minute
