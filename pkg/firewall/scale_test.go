package firewall

import (
	"net/netip"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// filled makes changes that ban so many addresses and networks.
func filled(jail string, addresses, networks int) []Change {
	out := make([]Change, 0, addresses+networks)
	for i := range addresses {
		a := netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)})
		out = append(out, Change{Jail: jail, ID: netip.PrefixFrom(a, 32), Left: time.Hour})
	}
	for i := range networks {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(i >> 8), byte(i)})
		out = append(out, Change{Jail: jail, ID: netip.PrefixFrom(a, 64), Left: time.Hour})
		a = netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		out = append(out, Change{Jail: jail, ID: netip.PrefixFrom(a, 24), Left: time.Hour})
	}
	return out
}

// BenchmarkElements reads 100,000 elements back.
func BenchmarkElements(b *testing.B) {
	hosttest.InNamespace(b)
	f := open(b, Rule{Jail: "x"})
	if err := f.Apply(filled("x", 100_000, 0)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		e, err := f.Elements("x")
		if err != nil || len(e) != 100_000 {
			b.Fatal(len(e), err)
		}
	}
}

// BenchmarkOneMore is one more ban beside others: it must cost the same beside
// 100,000 addresses and 10,000 networks as beside none.
func BenchmarkOneMore(b *testing.B) {
	for _, c := range []struct {
		name                string
		addresses, networks int
	}{{"beside none", 0, 0}, {"beside 100,000 addresses and 10,000 networks", 100_000, 5_000}} {
		b.Run(c.name, func(b *testing.B) {
			hosttest.InNamespace(b)
			f := open(b, Rule{Jail: "x"})
			if err := f.Apply(filled("x", c.addresses, c.networks)); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				a := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
				i++
				if err := f.Apply([]Change{{Jail: "x", ID: netip.PrefixFrom(a, 32), Left: time.Hour}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
