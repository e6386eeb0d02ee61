package daemon

import (
	"errors"
	"testing"
	"time"

	"bailiff/pkg/firewall"
	"bailiff/pkg/source"
)

// TestLatencyCounted: a ban's way counts from when its line was written until its transaction is through; bans
// without one, and those that the kernel refused, don't.
func TestLatencyCounted(t *testing.T) {
	var c counts
	long := source.Moment() - int64(2*time.Second)
	c.transaction([]firewall.Change{{Written: long}, {}, {Remove: true}}, time.Millisecond, nil)
	c.transaction([]firewall.Change{{Written: long}}, time.Millisecond, errors.New("refused"))
	if s := c.latency.State(); s.Count != 1 || s.Sum < 2 {
		t.Errorf("%d bans in %v s are counted", s.Count, s.Sum)
	}
	if c.took.Load() != 1 || c.refused.Load() != 1 || c.changed.Load() != 4 || c.transactions.State().Count != 2 {
		t.Errorf("%d transactions, %d refused, %d changes", c.took.Load(), c.refused.Load(), c.changed.Load())
	}
}
