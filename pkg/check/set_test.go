package check

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"bailiff/pkg/ban"
)

func prefix(s string) netip.Prefix {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.MustParsePrefix(s)
}

// TestSet compares a set with its definition: whoever lies in something that was shut and
// not let in since.
func TestSet(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := NewSet()
		model := map[netip.Prefix]bool{}
		some := func() netip.Addr {
			if rng.IntN(2) == 0 {
				return netip.AddrFrom4([4]byte{byte(rng.IntN(2)) * 192, 0, 2, byte(rng.IntN(64))})
			}
			var b [16]byte
			copy(b[:], []byte{0x20, 1, 0xd, 0xb8})
			b[7], b[15] = byte(rng.IntN(8)), byte(rng.IntN(16))
			if rng.IntN(8) == 0 { // as IPv6 would have addresses of IPv4
				b = netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(64))}).As16()
			}
			return netip.AddrFrom16(b)
		}
		for range 3000 {
			a := some()
			bits := a.BitLen()
			if rng.IntN(3) == 0 {
				bits = rng.IntN(bits + 1)
				if rng.IntN(4) > 0 {
					bits = max(bits, a.BitLen()-8)
				}
			}
			p, _ := a.Prefix(bits)
			if rng.IntN(2) == 0 {
				s.Shut(ban.Of(p))
				model[p] = true
			} else {
				s.Let(ban.Of(p))
				delete(model, p)
				if rng.IntN(100) == 0 { // all of it, as after a flood
					for p := range model {
						s.Let(ban.Of(p))
					}
					clear(model)
				}
			}
			if s.Len() != len(model) {
				t.Fatalf("seed %d: %d are held, want %d", seed, s.Len(), len(model))
			}
			a = some()
			want := false
			for p := range model {
				want = want || p.Contains(a)
			}
			if p, _ := a.Prefix(bits % (a.BitLen() + 1)); s.Has(p) != model[p] {
				t.Fatalf("seed %d: has %v: %v", seed, p, s.Has(p))
			}
			if got := s.Holds(a); got != want {
				t.Fatalf("seed %d: holds %v: %v, want %v; of %v", seed, a, got, want, model)
			}
		}
		all := map[netip.Prefix]bool{}
		for p := range s.All() {
			all[p] = true
		}
		if !maps.Equal(all, model) {
			t.Fatalf("seed %d: all are %v, want %v", seed, all, model)
		}
	}
	s := NewSet()
	s.Shut(ban.Named("alice"))
	s.Shut(ban.ID{})
	if s.Len() != 0 {
		t.Error("who is no address is held")
	}
}

// TestSetWhileAsked has many ask while one changes: who stays shut out is held all the while.
func TestSetWhileAsked(t *testing.T) {
	s := NewSet()
	stays := []string{"192.0.2.7", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:2::1"}
	for _, p := range stays {
		s.Shut(ban.Of(prefix(p)))
	}
	asked := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("2001:db8:1::5"), netip.MustParseAddr("2001:db8:2::1")}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, a := range asked {
					if !s.Holds(a) {
						t.Errorf("%v is let in", a)
						return
					}
				}
				runtime.Gosched()
			}
		})
	}
	for round := range 3 {
		for n := range 5000 {
			s.Shut(nth(n))
			s.Shut(ban.Of(prefix(stays[n%len(stays)])))
		}
		for n := range 5000 {
			if round < 2 {
				s.Let(nth(n))
			}
		}
	}
	close(stop)
	wg.Wait()
}

// nth is one of many: every tenth a network of IPv6.
func nth(n int) ban.ID {
	if n%10 == 0 {
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], 0x20010db8)
		binary.BigEndian.PutUint32(b[4:], uint32(n))
		return ban.Of(netip.PrefixFrom(netip.AddrFrom16(b), 64))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(n)*7)
	return ban.Of(netip.PrefixFrom(netip.AddrFrom4(b), 32))
}

// TestSetMemory drives what a set takes to what bounds.md says of it.
func TestSetMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 200_000
	before := heap()
	s := NewSet()
	for i := range n {
		s.Shut(nth(i))
	}
	each := float64(heap()-before) / n
	if t.Logf("%.1f bytes each", each); each > 16 { // 11, and 46 for a tenth of them
		t.Errorf("%.1f bytes each, want 16 at most", each)
	}
	for i := range n {
		s.Let(nth(i))
	}
	if left := heap() - before; left > 1<<20 && left < 1<<40 {
		t.Errorf("%d bytes are left when all are let in", left)
	}
	runtime.KeepAlive(s)
}

func BenchmarkHolds(b *testing.B) {
	s := NewSet()
	for i := range 1_000_000 {
		s.Shut(nth(i))
	}
	s.Shut(ban.Of(netip.MustParsePrefix("198.51.100.0/24")))
	for name, a := range map[string]netip.Addr{"held": nth(77).Addr(), "not": netip.MustParseAddr("192.0.2.7"), "network": netip.MustParseAddr("198.51.100.9"), "six": netip.MustParseAddr("2001:db8::9")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Holds(a)
			}
		})
	}
}
