package remote

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// AfterMost is the longest that a server can have us wait.
	AfterMost = time.Hour
	// BackoffFirst is about how long is waited after a first failure, BackoffMost after many.
	BackoffFirst, BackoffMost = time.Second, 5 * time.Minute
)

// Backoff says how long to wait after failures: about twice as long each time, by chance
// more or less, so that not all hosts come back at once.
type Backoff struct {
	First, Most time.Duration // zero: BackoffFirst, BackoffMost
	failures    int
}

// Failed returns how long to wait after one more failure: at least as long as the server
// wants.
func (b *Backoff) Failed(after time.Duration) time.Duration {
	first, most := b.First, b.Most
	if first <= 0 {
		first = BackoffFirst
	}
	if most <= 0 {
		most = BackoffMost
	}
	wait := first << min(b.failures, 20)
	if b.failures++; wait > most || wait <= 0 {
		wait = most
	}
	wait = wait/2 + rand.N(wait/2+1)
	// Also what a server says is not kept to the moment, by all at once.
	return max(wait, min(after, AfterMost)+rand.N(first/4+1))
}

// Worked forgets the failures.
func (b *Backoff) Worked() { b.failures = 0 }

// RetryAfter reads how long a server wants us to wait, from Retry-After, in seconds or as a
// date; 0: it does not say. It is never longer than AfterMost.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		if n > uint64(AfterMost/time.Second) {
			return AfterMost
		}
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), AfterMost)
	}
	return 0
}
