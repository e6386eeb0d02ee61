package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/store"
)

// keeper is the database as jails see it.
type keeper struct {
	*store.Store
	queue *store.Queue
	log   *slog.Logger
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
	_, statErr := os.Stat(path)
	s, err := store.Open(path, d.clock)
	var damaged *store.Damaged
	switch {
	case errors.As(err, &damaged) && s != nil:
		log.Error(err.Error())
	case err != nil:
		log.Error(fmt.Sprintf("%v: nothing is kept over a restart but what the kernel holds", err))
		return nil
	}
	log.Info(fmt.Sprintf("Connected to fail2ban persistent database '%s'", path))
	if statErr != nil {
		log.Warn(fmt.Sprintf("New database created. Version '%d'", store.Version))
	}
	if by := s.Moved(); by != 0 {
		log.Warn(fmt.Sprintf("the clock is %s since the database was written: its times are moved by as much, so bans last as long as they should", clock.Told(by)))
	}
	k := &keeper{Store: s, log: log}
	k.queue = store.NewQueue(s.Write, func(err error) {
		if err != nil {
			log.Error(fmt.Sprintf("database %s can't be written: %v; trying again, nothing is lost while this daemon runs", path, err))
		} else {
			log.Info(fmt.Sprintf("database %s can be written again", path))
		}
	})
	if err := s.Purge(d.cfg.Database.PurgeAge, d.clock.Now()); err != nil {
		log.Error(fmt.Sprintf("database %s: purge: %v", path, err))
	}
	return k
}

// Load implements jail.Store. What a jail of that name has left comes first.
func (k *keeper) Load(name string, now time.Time) (store.State, error) {
	if err := k.queue.Sync(); err != nil {
		k.log.Warn(fmt.Sprintf("[%s] what is known may be older than the last changes: %v", name, err))
	}
	return k.Store.Load(name, now)
}

// Push implements jail.Store.
func (k *keeper) Push(d *store.Delta) { k.queue.Push(d) }

func (k *keeper) disable(jail string) {
	if err := k.queue.Sync(); err == nil {
		if err := k.Disable(jail); err != nil {
			k.log.Error(fmt.Sprintf("database: jail %s: %v", jail, err))
		}
	}
}

func (k *keeper) close() {
	if err := k.queue.Close(); err != nil {
		k.log.Error(fmt.Sprintf("database %s: the last changes are not written: %v", k.Path(), err))
	}
	if err := k.Store.Close(); err != nil {
		k.log.Error(fmt.Sprintf("database %s: %v", k.Path(), err))
	}
}

func (d *Daemon) purge() {
	d.mu.Lock()
	age := d.cfg.Database.PurgeAge
	d.mu.Unlock()
	if d.store == nil {
		d.memory.Purge(d.clock.Now().Add(-age))
		return
	}
	if err := d.store.Purge(age, d.clock.Now()); err != nil {
		d.store.log.Error(fmt.Sprintf("database %s: purge: %v", d.store.Path(), err))
	}
}
