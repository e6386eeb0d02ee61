package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestFleetFailure: the fleet is told of each failure that counts in a jail, with its own time and its weight; of none that is ignored,
// too old, or no more than one before; and of none of a jail that observes.
func TestFleetFailure(t *testing.T) {
	var told []string
	jail := func(change func(*config.Jail)) *lab {
		told = nil
		return start(t, func(c *config.Jail, l *lab) {
			c.Ignore.Prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
			c.Filter.Failregex = []filter.Expr{{Text: `Login failure <HOST>$`}, {Text: `Break-in <HOST>$`, Weight: 3}, {Text: `Bad user <F-USER>\S+</F-USER> <HOST>$`}}
			c.MaxRetry = 10
			l.fleet = func(jail string, p netip.Prefix, at time.Time, n int) {
				told = append(told, fmt.Sprintf("%s %s %s %d", jail, p, at.Sub(begin), n))
			}
			if change != nil {
				change(c)
			}
		})
	}
	want := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("%s: told %q, want %q", what, told, want)
		}
	}
	l := jail(nil)
	l.say("%s Login failure 203.0.113.7", "%s Break-in 203.0.113.7", "%s Login failure 198.51.100.7", "%s nothing")
	l.settled()
	want("two that count", "test 203.0.113.7/32 0s 1", "test 203.0.113.7/32 0s 3")
	told = nil
	l.catchUp = true
	l.say("2026-01-31 11:00:00,000 Login failure 203.0.113.8", "2026-01-31 11:55:00,000 Login failure 203.0.113.8")
	l.settled()
	want("one of before", "test 203.0.113.8/32 -5m0s 1")
	l = jail(func(c *config.Jail) { c.Counting.Distinct = "user" })
	l.say("%s Bad user bob 203.0.113.7", "%s Bad user bob 203.0.113.7", "%s Bad user eve 203.0.113.7")
	l.settled()
	want("the same user once", "test 203.0.113.7/32 0s 1", "test 203.0.113.7/32 0s 1")
	l = jail(func(c *config.Jail) { c.Observe = true })
	l.say("%s Login failure 203.0.113.7")
	l.settled()
	want("a jail that observes")
}
