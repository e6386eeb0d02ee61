package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// TestCompare: what the kernel's sets hold and what the list says is mended both ways.
func TestCompare(t *testing.T) {
	p := netip.MustParsePrefix
	for _, remove := range []bool{false, true} {
		l := start(t, func(c *config.Jail, l *lab) {
			c.Ignore.Prefixes = []netip.Prefix{p("198.51.100.0/24")}
		})
		l.jail.deps.RemoveForeign = func() bool { return remove }
		for _, id := range []string{"192.0.2.11/32", "192.0.2.2/32", "192.0.2.3/32"} {
			if _, err := l.jail.Ban(ban.Of(p(id)), false); err != nil {
				t.Fatal(err)
			}
		}
		l.asked()
		l.held = []firewall.Element{
			{ID: p("192.0.2.11/32"), Left: time.Hour},
			{ID: p("192.0.2.2/32")}, // for ever
			{ID: p("203.0.113.77/32")},
			{ID: p("203.0.113.78/32"), Left: time.Minute},
			{ID: p("203.0.113.79/32"), Left: time.Second}, // ends by itself
			{ID: p("198.51.100.9/32")},                    // never banned
			{ID: p("0.0.0.0/1"), Left: time.Hour},         // half of all
		}
		got, err := l.jail.Compare()
		if err != nil {
			t.Fatal(err)
		}
		want := Difference{Held: 2, Missing: 1, Retimed: 1, Adopted: 2, Removed: 2}
		changes := "+192.0.2.2/32 1h0m0s, +203.0.113.77/32 1h0m0s, -198.51.100.9/32, -0.0.0.0/1, +192.0.2.3/32 1h0m0s"
		if remove {
			want.Adopted, want.Removed = 0, 4
			changes = "+192.0.2.2/32 1h0m0s, -203.0.113.77/32, -203.0.113.78/32, -198.51.100.9/32, -0.0.0.0/1, +192.0.2.3/32 1h0m0s"
		}
		if got != want {
			t.Errorf("remove %v: %+v, want %+v", remove, got, want)
		}
		l.want(changes)
		if remove {
			l.logged("Remove 203.0.113.77")
			continue
		}
		l.logged("Adopt 203.0.113.77: in the kernel's sets, but on no list; banned until 2026-01-31 13:00:00")
		s := l.jail.Status(true)
		if s.Banned != 5 {
			t.Errorf("%d bans, want 5: %+v", s.Banned, s.Bans)
		}
	}
}

// slow is a firewall in which something happens while its sets are read.
type slow struct {
	*lab
	during func()
}

func (s *slow) Elements(name string) ([]firewall.Element, error) {
	held, err := s.lab.Elements(name)
	held = slices.Clone(held)
	s.during()
	return held, err
}

// TestCompareMeanwhile: what is banned or unbanned while the sets are read is neither
// missing nor adopted.
func TestCompareMeanwhile(t *testing.T) {
	p := netip.MustParsePrefix
	l := start(t, nil)
	for i := range 3 * slice {
		if _, err := l.jail.Ban(single(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})), false); err != nil {
			t.Fatal(err)
		}
	}
	held := strings.Count(l.asked(), "+")
	for i := range held {
		l.held = append(l.held, firewall.Element{ID: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32), Left: time.Hour})
	}
	l.held = append(l.held, firewall.Element{ID: p("203.0.113.5/32"), Left: time.Hour}) // unban finds it in the kernel alone
	l.jail.deps.Firewall = &slow{l, func() {
		for _, id := range []string{"198.18.0.7/32", "203.0.113.5/32"} {
			if found, err := l.jail.Unban(ban.Of(p(id))); !found || err != nil {
				t.Error(id, found, err)
			}
		}
		if _, err := l.jail.Ban(ban.Of(p("192.0.2.9/32")), false); err != nil {
			t.Error(err)
		}
	}}
	got, err := l.jail.Compare()
	if want := (Difference{Held: 3*slice - 1}); err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
	if got := l.asked(); strings.Count(got, ",") > 2 || !strings.Contains(got, "-198.18.0.7/32") || !strings.Contains(got, "+192.0.2.9/32") {
		t.Errorf("asked: %.300s", got)
	}
}

// TestCompareMany: one that has many strays writes few lines.
func TestCompareMany(t *testing.T) {
	l := start(t, nil)
	for i := range 1000 {
		l.held = append(l.held, firewall.Element{ID: netip.MustParsePrefix(fmt.Sprintf("198.18.%d.%d/32", i>>8, i&255))})
	}
	if got, err := l.jail.Compare(); err != nil || got.Adopted != 1000 {
		t.Fatalf("%+v %v", got, err)
	}
	l.logged("and 980 more")
	if n := l.says("Adopt "); n != strayLines {
		t.Errorf("%d lines", n)
	}
}
