package jail

import (
	"sync"
	"time"
)

// cache remembers answers for a while, at most so many: the oldest goes first.
type cache struct {
	most int
	ttl  time.Duration

	mu      sync.Mutex
	answers map[string]cached
	order   []string
}

type cached struct {
	answer bool
	until  time.Time
}

func (c *cache) get(key string, now time.Time) (answer, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[key]
	if !ok || !a.until.After(now) {
		return false, false
	}
	return a.answer, true
}

func (c *cache) set(key string, answer bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[string]cached{}
	}
	if _, ok := c.answers[key]; !ok {
		for len(c.order) >= c.most {
			delete(c.answers, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, key)
	}
	c.answers[key] = cached{answer, now.Add(c.ttl)}
}
