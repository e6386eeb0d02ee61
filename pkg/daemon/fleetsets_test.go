package daemon

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"bailiff/pkg/firewall"
)

// TestFleetSets plays bans, ends and lifts of addresses and of networks in one another against a plain list of them: the kernel,
// which takes no network that lies in another, holds the widest of those in force and all addresses; a comparison with what
// it holds finds nothing to do.
func TestFleetSets(t *testing.T) {
	all := []netip.Prefix{}
	for _, text := range []string{
		"198.51.100.7/32", "198.51.100.9/32", "198.51.100.0/24", "198.51.100.0/28", "198.51.100.0/25", "198.51.96.0/20", "203.0.113.0/24",
		"2001:db8::1/128", "2001:db8::/64", "2001:db8::/48", "2001:db8:0:1::/64",
	} {
		all = append(all, netip.MustParsePrefix(text))
	}
	begun := time.Now()
	for seed := range 300 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		now := begun
		s := newFleetSet(firewall.Rule{Jail: "fleet-ssh"})
		ends := map[netip.Prefix]time.Time{}   // the plain list
		kernel := map[netip.Prefix]time.Time{} // as the changes have it
		apply := func(changes []firewall.Change) {
			for _, c := range changes {
				if c.Remove {
					delete(kernel, c.ID)
				} else {
					kernel[c.ID] = now.Add(c.Left)
				}
			}
		}
		for range 60 {
			p := all[rnd.IntN(len(all))]
			switch rnd.IntN(4) {
			case 0:
				changes, _ := s.put(p, time.Time{}, now)
				apply(changes)
				delete(ends, p)
			case 1:
				now = now.Add(time.Duration(rnd.IntN(40)) * time.Second)
				for q, end := range kernel { // it ends them by itself
					if !end.After(now) {
						delete(kernel, q)
					}
				}
				for q, end := range ends {
					if !end.After(now) {
						delete(ends, q)
					}
				}
				apply(s.sweep(now))
			default:
				until := now.Add(time.Duration(10+rnd.IntN(100)) * time.Second).Truncate(time.Millisecond)
				changes, was := s.put(p, until, now)
				if _, had := ends[p]; was != had {
					t.Fatalf("seed %d: %v was in force: %v, and should be %v", seed, p, was, had)
				}
				apply(changes)
				ends[p] = until
			}
			for _, q := range all {
				_, in := ends[q]
				if !q.IsSingleIP() {
					for wider := range ends {
						in = in && (wider.Bits() >= q.Bits() || !wider.Contains(q.Addr()))
					}
				}
				if _, is := kernel[q]; is != in {
					t.Fatalf("seed %d: the kernel has %v: %v, and should be %v", seed, q, is, in)
				}
			}
			var held []firewall.Element
			for q, end := range kernel {
				held = append(held, firewall.Element{ID: q, Left: end.Sub(now)})
			}
			if changes, missing := s.against(held, now); len(changes)+missing > 0 {
				t.Fatalf("seed %d: a comparison asks for %+v, %d missing", seed, changes, missing)
			}
			a := netip.MustParseAddr("198.51.100.9")
			in := false
			for q := range ends {
				in = in || q.Contains(a)
			}
			if s.Holds(a) != in {
				t.Fatalf("seed %d: %v is held: %v", seed, a, !in)
			}
		}
	}
}
