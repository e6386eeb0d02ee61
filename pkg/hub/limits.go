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
	mu sync.Mutex
	// each is what a host may that own doesn't name.
	each  HostLimits
	own   map[string]HostLimits
	hosts map[string]*hostLimit
}

// hostLimit is one host's.
type hostLimit struct {
	// tokens are the entries that it may send at once; as of at.
	tokens float64
	at     time.Time
	flying int

	// entries are those that it has in the stream, as counted at counted; with what was let in since.
	entries int
	counted time.Time
	// reserved are those that were let in and are on their way.
	reserved int
	// fails are the words of failures that it may send at once; as of failedAt.
	fails    float64
	failedAt time.Time
	// counting is closed when the count that is under way is done; nil: none is.
	counting chan struct{}

	stored  uint64
	refused map[fleet.Reason]uint64
	told    time.Time // when the log told of a refusal
	untold  uint64
}

func newLimits(c Config) *limits {
	l := &limits{hosts: map[string]*hostLimit{}}
	l.set(c)
	return l
}

// set has other limits hold from now on.
func (l *limits) set(c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each, l.own = c.HostLimits, c.Hosts
}

// may is what a host may, with the lock held.
func (l *limits) may(host string) HostLimits {
	if own, ok := l.own[host]; ok {
		return own
	}
	return l.each
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
	h = &hostLimit{tokens: float64(l.may(host).Burst), at: now, refused: map[fleet.Reason]uint64{}}
	l.hosts[host] = h
	return h
}

// enter takes one of a host's tokens and one of its places on the way; a reason: it may not.
func (l *limits) enter(host string, now time.Time) fleet.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	if passed := now.Sub(h.at); passed > 0 {
		may := l.may(host)
		h.tokens = min(h.tokens+passed.Seconds()*may.Rate, float64(may.Burst))
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

// mayFail takes one of the words of failures that a host may send.
func (l *limits) mayFail(host string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	if h.failedAt.IsZero() {
		h.fails = failBurst
	} else if passed := now.Sub(h.failedAt); passed > 0 {
		h.fails = min(h.fails+passed.Seconds()*failRate, failBurst)
	}
	h.failedAt = now
	if h.fails < 1 {
		return false
	}
	h.fails--
	return true
}

// leave ends what enter began, and counts what came of it. reserved: room has let one entry more in for it.
func (l *limits) leave(host string, a fleet.Answer, reserved bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	h.flying = max(h.flying-1, 0)
	if reserved {
		h.reserved = max(h.reserved-1, 0)
	}
	if a.Status == fleet.Stored {
		h.stored++
		if reserved {
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

// room reports whether a host may have one entry more, and keeps its place for it until leave. count: who asks is to count its entries first, and ask again. wait:
// somebody counts them, and nothing was known before: who asks is to ask again when it is closed.
func (l *limits) room(host string, now time.Time) (ok, count bool, wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	old := now.Sub(h.counted)
	quota := l.may(host).Quota
	due := h.counted.IsZero() || old > countFor || h.entries >= quota && old > countAgain
	switch {
	case due && h.counting == nil:
		h.counting = make(chan struct{})
		return false, true, nil
	case h.counted.IsZero():
		return false, false, h.counting
	}
	if h.entries+h.reserved >= quota {
		return false, false, nil
	}
	h.reserved++
	return true, false, nil
}

// counted tells how many entries a host has; below 0: it could not be found out.
func (l *limits) counted(host string, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.of(host, now)
	if h.counting != nil {
		close(h.counting)
		h.counting = nil
	}
	if n >= 0 {
		h.entries, h.counted = n, now
	}
}

// Usage is what one hub knows of a host's use of the fleet.
type Usage struct {
	Stored  uint64                  `json:"stored"`
	Refused map[fleet.Reason]uint64 `json:"refused,omitempty"`
	// Counted is of how many addresses its failures count at present.
	Counted int `json:"counted,omitempty"`
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
