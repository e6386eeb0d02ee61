package hub

import (
	"sync"
	"time"

	"bailiff/pkg/fleet"
)

// Bounds of what the gate knows of hosts.
const (
	// hostsMost is how many hosts it counts for; of more, the one that was quiet for longest is forgotten.
	hostsMost = 100_000
	// countAgain is how soon the entries of a host that has its quota are counted anew.
	countAgain = 10 * time.Second
	// countFor is how long a count is good for: other gates let entries in, too.
	countFor = time.Minute
	// complainEvery is how often the log tells of a host that is over its limits.
	complainEvery = time.Minute
)

// limits hold hosts to their rate and quota.
type limits struct {
	rate  float64
	burst float64
	quota int

	mu    sync.Mutex
	hosts map[string]*hostLimit
}

// hostLimit is one host's.
type hostLimit struct {
	// tokens are the entries that it may send at once; as of at.
	tokens float64
	at     time.Time
	flying int

	// entries are those that it has in the stream, as counted at counted; with what was let in since.
	entries  int
	counted  time.Time
	counting bool

	stored  uint64
	refused map[fleet.Reason]uint64
	told    time.Time // when the log told of a refusal
	untold  uint64
}

func newLimits(c Config) *limits {
	return &limits{rate: c.Rate, burst: float64(c.Burst), quota: c.Quota, hosts: map[string]*hostLimit{}}
}

// of is a host's, with the lock held.
func (l *limits) of(host string, now time.Time) *hostLimit {
	h := l.hosts[host]
	if h != nil {
		return h
	}
	if len(l.hosts) >= hostsMost {
		var quiet string
		for name, one := range l.hosts {
			if one.flying == 0 && (quiet == "" || one.at.Before(l.hosts[quiet].at)) {
				quiet = name
			}
		}
		delete(l.hosts, quiet)
	}
	h = &hostLimit{tokens: l.burst, at: now, refused: map[fleet.Reason]uint64{}}
	l.hosts[host] = h
	return h
}

// enter takes one of a host's tokens and one of its places on the way; a reason: it may not.
func (l *limits) enter(host string, now time.Time) fleet.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	if passed := now.Sub(h.at); passed > 0 {
		h.tokens = min(h.tokens+passed.Seconds()*l.rate, l.burst)
		h.at = now
	}
	switch {
	case h.tokens < 1:
		return fleet.Rate
	case h.flying >= flyingMost:
		return fleet.TooMany
	}
	h.tokens--
	h.flying++
	return ""
}

// leave ends what enter began, and counts what came of it. created: the host has one entry more, if it was stored.
func (l *limits) leave(host string, a fleet.Answer, created bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	h.flying = max(h.flying-1, 0)
	if a.Status == fleet.Stored {
		h.stored++
		if created {
			h.entries++
		}
	}
}

// refuse counts an answer that was no; tell is how many of them the log is to be told of, 0: none now.
func (l *limits) refuse(host string, r fleet.Reason, now time.Time) (tell uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	h.refused[r]++
	h.untold++
	if now.Sub(h.told) < complainEvery {
		return 0
	}
	tell, h.untold, h.told = h.untold, 0, now
	return tell
}

// room reports whether a host may have one entry more. count: who asks is to count its entries first, and ask again.
func (l *limits) room(host string, now time.Time) (ok, count bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	old := now.Sub(h.counted)
	due := h.counted.IsZero() || old > countFor || h.entries >= l.quota && old > countAgain
	if due && !h.counting {
		h.counting = true
		return false, true
	}
	return !h.counted.IsZero() && h.entries < l.quota, false
}

// counted tells how many entries a host has; below 0: it could not be found out.
func (l *limits) counted(host string, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	h.counting = false
	if n >= 0 {
		h.entries, h.counted = n, now
	}
}

// Usage is what one hub knows of a host's use of the fleet.
type Usage struct {
	Stored  uint64                  `json:"stored"`
	Refused map[fleet.Reason]uint64 `json:"refused,omitempty"`
}

// usage is that of all hosts.
func (l *limits) usage() map[string]Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]Usage, len(l.hosts))
	for name, h := range l.hosts {
		u := Usage{Stored: h.stored, Refused: map[fleet.Reason]uint64{}}
		for r, n := range h.refused {
			u.Refused[r] = n
		}
		out[name] = u
	}
	return out
}
