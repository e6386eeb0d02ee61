package jail

import "sync/atomic"

// numbers are what others may know of a jail at any time, without asking it.
type numbers struct {
	failed, totalFailed, banned, totalBanned atomic.Int64
	version                                  atomic.Uint64 // of the list of bans
}

// publish brings what others see up to date.
func (j *Jail) publish() {
	for _, n := range [...]struct {
		at *atomic.Int64
		is int
	}{
		{&j.shown.failed, j.window.Len()},
		{&j.shown.totalFailed, j.window.Total()},
		{&j.shown.banned, j.bans.Len()},
		{&j.shown.totalBanned, j.bans.Total()},
	} {
		if n.at.Load() != int64(n.is) { // a store costs more
			n.at.Store(int64(n.is))
		}
	}
	if v := j.bans.Version(); j.shown.version.Load() != v {
		j.shown.version.Store(v)
	}
	if j.settings.Load() != j.Config {
		j.settings.Store(j.Config)
	}
	if j.hasBegun.Load() != j.begun {
		j.hasBegun.Store(j.begun)
	}
}
