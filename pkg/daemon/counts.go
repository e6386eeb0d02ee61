package daemon

import (
	"log/slog"
	"sync/atomic"
	"time"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/firewall"
	"bailiff/pkg/metrics"
	"bailiff/pkg/source"
)

// counts is what the daemon counts of itself for who watches it. Nothing in it waits for anybody.
type counts struct {
	warnings, errors, criticals atomic.Uint64 // lines of our log
	repairs                     atomic.Uint64
	reloads, reloadsFailed      atomic.Uint64
	loaded                      atomic.Bool  // the last one took everything
	loadedAt                    atomic.Int64 // when one did last, in nanoseconds since 1970; 0: none did

	latency, transactions metrics.Histogram
	changed               atomic.Uint64 // elements
	took, refused         atomic.Uint64 // transactions

	writes             metrics.Histogram
	wrote, writeFailed atomic.Uint64
	writable           atomic.Bool

	actions metrics.Histogram
}

// line counts one of our log's.
func (c *counts) line(level slog.Level) {
	switch {
	case c == nil || level < slog.LevelWarn:
	case level >= eventlog.LevelCritical:
		c.criticals.Add(1)
	case level >= slog.LevelError:
		c.errors.Add(1)
	default:
		c.warnings.Add(1)
	}
}

// began notes a start, and reloaded a reload, and whether it took the whole configuration.
func (c *counts) began(whole bool, now time.Time) {
	c.loaded.Store(whole)
	if whole {
		c.loadedAt.Store(now.UnixNano())
	}
}

func (c *counts) reloaded(whole bool, now time.Time) {
	if whole {
		c.reloads.Add(1)
	} else {
		c.reloadsFailed.Add(1)
	}
	c.began(whole, now)
}

// transaction counts one of the kernel's.
func (c *counts) transaction(changes []firewall.Change, took time.Duration, err error) {
	c.transactions.Observe(took)
	c.changed.Add(uint64(len(changes)))
	if err != nil {
		c.refused.Add(1)
		return
	}
	c.took.Add(1)
	now := source.Moment()
	for i := range changes {
		if at := changes[i].Written; at != 0 {
			c.latency.Observe(time.Duration(now - at))
		}
	}
}

// written counts a try to write the database.
func (c *counts) written(took time.Duration, err error) {
	c.writes.Observe(took)
	c.writable.Store(err == nil)
	if err != nil {
		c.writeFailed.Add(1)
		return
	}
	c.wrote.Add(1)
}
