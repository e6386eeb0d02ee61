package chart

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestChart: everything is in some bucket, however long a log is, and the frequent names are kept.
func TestChart(t *testing.T) {
	t.Parallel()
	var c Chart
	begin := time.Date(2026, 1, 31, 12, 0, 30, 0, time.UTC)
	const all = 40_000
	for n := range all {
		who, user := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 32), "root"
		if n%2 == 0 {
			user = fmt.Sprint("user", n)
			who = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x:%x::7/128", n>>8, n))
		}
		c.Failure(who, user, begin.Add(time.Duration(n)*time.Hour))
	}
	sum := int64(0)
	for _, b := range c.Times {
		sum += b.Failures
	}
	end := c.Begin.Add(time.Duration(len(c.Times)) * c.Width)
	if last := begin.Add((all - 1) * time.Hour); sum != all || len(c.Times) > bucketsMost || len(c.Times) < bucketsMost/2 || c.Begin.After(begin) || !end.After(last) {
		t.Errorf("%d in %d buckets of %v, from %v to %v", sum, len(c.Times), c.Width, c.Begin, end)
	}
	if top := c.Users(1); top[0] != (Count{"root", all / 2}) || len(c.users.by) > countsMost {
		t.Errorf("%v, %d users", top, len(c.users.by))
	}
	if top := c.Networks(1); top[0] != (Count{"192.0.2.0/24", all / 2}) {
		t.Errorf("%v", top)
	}
}
