package firewall

import (
	"net/netip"
	"testing"
	"time"
)

// TestOwedBansEnd: while the kernel refuses, bans go on ending. One that is over by then
// is not made.
func TestOwedBansEnd(t *testing.T) {
	f := &Firewall{jails: map[string]*jailSets{"a": {}}, owed: map[string]*debt{}}
	id := netip.MustParsePrefix
	f.owe([]Change{
		{Jail: "a", ID: id("192.0.2.1/32"), Left: time.Hour},
		{Jail: "a", ID: id("192.0.2.2/32"), Left: time.Minute},
		{Jail: "a", ID: id("192.0.2.3/32")},
		{Jail: "a", ID: id("192.0.2.4/32"), Remove: true},
	})
	o := f.owed["a"]
	for id := range o.since {
		o.since[id] = o.since[id].Add(-10 * time.Minute)
	}
	for _, c := range o.before("a", nil) {
		switch c.ID {
		case id("192.0.2.1/32"):
			if c.Remove || c.Left > 50*time.Minute || c.Left < 40*time.Minute {
				t.Errorf("a ban of an hour, ten minutes later: %+v", c)
			}
		case id("192.0.2.3/32"):
			if c.Remove || c.Left != 0 {
				t.Errorf("a ban for ever: %+v", c)
			}
		default:
			if !c.Remove {
				t.Errorf("%+v, and it is over", c)
			}
		}
	}
}
