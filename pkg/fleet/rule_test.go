package fleet

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestRule(t *testing.T) {
	p := netip.MustParsePrefix("198.51.100.7/32")
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	type said struct {
		host  string
		n     uint64
		rev   uint64
		at    int // seconds after start, by the server
		seen  uint64
		epoch string
		age   int64
	}
	make1 := func(s said, key Key) Said {
		e := Entry{Jail: "sshd", Left: 3600, N: s.n, Seen: s.seen, Epoch: s.epoch, Age: s.age}
		if key.Kind != Ban {
			e.Left = 0
		}
		return Said{Key: key, Entry: e, Rev: s.rev, Stored: start.Add(time.Duration(s.at) * time.Second)}
	}
	for what, c := range map[string]struct {
		ban, lift said
		stands    bool
	}{
		"of one host, the ban later":                  {said{"a", 2, 5, 0, 0, "", 0}, said{"a", 1, 9, 9, 8, "e", 0}, true},
		"of one host, the lift later":                 {said{"a", 1, 9, 9, 8, "e", 0}, said{"a", 2, 5, 0, 0, "", 0}, false},
		"made knowing the lift":                       {said{"a", 1, 9, 0, 5, "e", 0}, said{"b", 1, 5, 9, 0, "e", 0}, true},
		"made knowing the lift of another stream":     {said{"a", 1, 9, 0, 5, "d", 0}, said{"b", 1, 5, 9, 0, "e", 0}, false},
		"lifted knowing the ban":                      {said{"a", 1, 5, 60, 0, "e", 0}, said{"b", 1, 9, 0, 5, "e", 0}, false},
		"lifted knowing a ban of another stream":      {said{"a", 1, 5, 60, 0, "e", 0}, said{"b", 1, 9, 0, 5, "", 0}, true},
		"concurrent, the ban later":                   {said{"a", 1, 5, 30, 0, "e", 0}, said{"b", 1, 9, 0, 3, "e", 0}, true},
		"concurrent, the ban later by the grace":      {said{"a", 1, 5, 5, 0, "e", 0}, said{"b", 1, 9, 0, 3, "e", 0}, false},
		"concurrent, the ban made before, sent late":  {said{"a", 1, 9, 3600, 0, "e", 3700}, said{"b", 1, 5, 0, 3, "e", 0}, false},
		"it says to have seen what comes later":       {said{"a", 1, 5, 0, numberMost, "e", 0}, said{"b", 1, 9, 0, 3, "e", 0}, false},
		"the lift says to have seen what comes later": {said{"a", 1, 9, 30, 0, "e", 0}, said{"b", 1, 5, 0, numberMost, "e", 0}, true},
	} {
		b, l := make1(c.ban, BanKey(c.ban.host, "ssh", p)), make1(c.lift, LiftKey(c.lift.host, "ssh", p))
		r := Rule{Epoch: "e"}
		if got := r.Stands(b, l); got != c.stands {
			t.Errorf("%s: stands %v, want %v", what, got, c.stands)
		}
		if got := r.Until([]Said{l, b}, "ssh", p, 1); got.IsZero() == c.stands {
			t.Errorf("%s: in force until %v", what, got)
		}
	}
	b := BanKey("a", "ssh", p)
	for text, want := range map[string]bool{
		"b.l.ssh.4c6336407": true, "b.l.ssh.4c6336400-24": true, "b.l.ssh.400000000-0": true, "hub.o.a": true,
		"b.l.mail.4c6336407": false, "b.l.ssh.4c6336408": false, "b.l.ssh.4c6336500-24": false, "hub.o.b": false, "b.b.ssh.4c6336407": false,
		"b.l.ssh.600000000000000000000000000000000-0": false,
	} {
		l, err := ParseKey(text)
		if err != nil || Concerns(l, b) != want {
			t.Errorf("%s concerns %s: want %v (%v)", text, b, want, err)
		}
	}
	if Concerns(LiftKey("b", "ssh", p), BanKey("a", "ssh", netip.MustParsePrefix("198.51.100.0/24"))) {
		t.Error("the lift of an address lifts a network")
	}
}

// TestQuorum: a ban lasts for as long as so many hosts' do.
func TestQuorum(t *testing.T) {
	p := netip.MustParsePrefix("198.51.100.7/32")
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var held []Said
	for i, left := range []int64{600, 3600, 0, Permanent} {
		host := string(rune('a' + i))
		held = append(held, Said{Key: BanKey(host, "ssh", p), Rev: uint64(i + 1), Stored: start, Entry: Entry{Jail: "sshd", Left: left, N: 1}})
	}
	for quorum, want := range []time.Duration{DefaultMost, DefaultMost, time.Hour, 10 * time.Minute} {
		if got := (Rule{}).Until(held, "ssh", p, quorum); !got.Equal(start.Add(want)) {
			t.Errorf("quorum %d: until %v, want %v after %v", quorum, got, want, start)
		}
	}
	if got := (Rule{}).Until(held, "ssh", p, 4); !got.IsZero() {
		t.Errorf("three hosts are taken for four: until %v", got)
	}
}

// TestCounted: what the hub has counted over so many hosts as a quorum wants is in force by itself, and never makes up for a host's
// own ban; who doesn't have it count takes none of it. A View says the same.
func TestCounted(t *testing.T) {
	p := netip.MustParsePrefix("198.51.100.7/32")
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	said := func(rev uint64, host string, left int64, count uint32) Said {
		return Said{Key: BanKey(host, "ssh", p), Rev: rev, Stored: start, Entry: Entry{Jail: "j", Left: left, N: 1, Count: count}}
	}
	for what, c := range map[string]struct {
		held []Said
		want [5]time.Duration // by quorum
	}{
		"counted on three":                  {[]Said{said(1, Hub, 600, 3)}, [5]time.Duration{600, 600, 600, 600, 0}},
		"counted on one":                    {[]Said{said(1, Hub, 600, 1)}, [5]time.Duration{600, 600, 0, 0, 0}},
		"and two hosts":                     {[]Said{said(1, Hub, 60, 2), said(2, "a", 600, 9), said(3, "b", 300, 9)}, [5]time.Duration{600, 600, 300, 0, 0}},
		"and one host, which is one of two": {[]Said{said(1, "a", 600, 9), said(2, Hub, 300, 2)}, [5]time.Duration{600, 600, 300, 0, 0}},
		"taken back":                        {[]Said{said(1, Hub, 0, 0), said(2, "a", 300, 1)}, [5]time.Duration{300, 300, 0, 0, 0}},
	} {
		for quorum, want := range c.want {
			end := time.Time{}
			if want > 0 {
				end = start.Add(want * time.Second)
			}
			if got := (Rule{}).Until(c.held, "ssh", p, quorum); !got.Equal(end) {
				t.Errorf("%s, quorum %d: until %v, want %v", what, quorum, got, end)
			}
			for _, counts := range []bool{true, false} {
				v := NewView(Policy{Groups: map[string]int{"ssh": quorum}, Counts: map[string]bool{"ssh": counts, "mail": true}, Accept: func(host string) bool { return host != Hub }})
				held := c.held
				if !counts {
					held = slices.DeleteFunc(slices.Clone(held), func(s Said) bool { return s.Key.Host == Hub })
				}
				for _, s := range c.held {
					v.Apply(s, start, func(Change) {})
				}
				if got, want := v.Until("ssh", p), (Rule{}).Until(held, "ssh", p, quorum); !got.Equal(want) {
					t.Errorf("%s, quorum %d, counting %v: the view says until %v, want %v", what, quorum, counts, got, want)
				}
			}
		}
	}
}
