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

// TestOwedIsOver: what the kernel refused to end, or to end earlier, is not said to be in its sets once it would be over.
func TestOwedIsOver(t *testing.T) {
	id := func(n byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 32) }
	o := &debt{changes: map[netip.Prefix]Change{}, since: map[netip.Prefix]time.Time{}}
	for n, ch := range []Change{{Remove: true}, {Left: time.Minute}, {Left: time.Hour}, {Left: 0}} {
		ch.ID = id(byte(n))
		o.changes[ch.ID], o.since[ch.ID] = ch, time.Now().Add(-2*time.Minute)
	}
	var held []Element
	for n := range byte(5) {
		held = append(held, Element{ID: id(n), Left: time.Hour})
	}
	left := o.without(held)
	if len(left) != 3 || left[0].ID != id(2) || left[1].ID != id(3) || left[2].ID != id(4) {
		t.Errorf("%v are left, want %v, %v and %v", left, id(2), id(3), id(4))
	}
}
