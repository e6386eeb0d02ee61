package ban

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestShut: of random elements of a kernel's sets, those bans are missing of whose elements
// there is none, and that were on the list when it began.
func TestShut(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		l := NewList()
		one := func() Ban {
			b := Ban{ID: Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(60))}), 32)), Start: time.Unix(1764000000, 0), End: time.Unix(1764003600, 0)}
			switch random.IntN(4) {
			case 0:
				b.ID = Named(fmt.Sprint("name", random.IntN(60)))
				b.IP = AddressOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(60))}))
			case 1:
				b.IP = AddressOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(60))}))
			}
			return b
		}
		for range random.IntN(100) {
			l.Add(one())
		}
		mark, before := l.Follow(), map[ID]Ban{}
		for _, b := range l.All() {
			before[b.ID] = b
		}
		shut, elements := l.Shut(), map[ID]bool{}
		for range random.IntN(60) {
			e := one().Element()
			elements[e] = true
			shut.Add(e)
			if random.IntN(3) == 0 { // the list changes meanwhile
				b := one()
				l.Remove(b.ID)
				delete(before, b.ID)
				if b = one(); random.IntN(2) == 0 {
					if _, held := l.Get(b.ID); !held {
						l.Add(b)
						delete(before, b.ID)
					}
				}
			}
		}
		for b := range shut.Others(mark) {
			if elements[b.Element()] || before[b.ID] != b {
				t.Fatalf("%v is missing", b)
			}
			delete(before, b.ID)
		}
		for _, b := range before {
			if !elements[b.Element()] {
				t.Fatalf("%v isn't missing", b)
			}
		}
	}
}
