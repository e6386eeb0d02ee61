package filter

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestCompiledIsShared: filters with the same definition have their expressions in
// common, and nothing else: each finds what is in its own lines, at the same time as
// the others.
func TestCompiledIsShared(t *testing.T) {
	d := Definition{
		Failregex: []Expr{{Text: `^ bad password for <F-USER>\S+</F-USER> from <HOST>$`}, {Text: `^ no user .* from <HOST>$`}},
	}
	var filters []*Filter
	for i := range 4 {
		d.Name = fmt.Sprint("jail", i)
		f, err := Compile(d, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		f.Detail = DetailIDs
		if filters = append(filters, f); f.compiled != filters[0].compiled {
			t.Error("an equal definition was compiled again")
		}
	}
	d.Failregex = d.Failregex[:1]
	other, err := Compile(d, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if other.compiled == filters[0].compiled {
		t.Error("another definition has the same expressions")
	}
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var wg sync.WaitGroup
	for n, f := range filters {
		wg.Go(func() {
			own := netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/32", n+1))
			found := 0
			for range 50 {
				var lines [][]byte
				for k := range 20 {
					lines = append(lines, fmt.Appendf(nil, "2026-01-31 11:59:%02d bad password for u%d from %s", k, k, own.Addr()))
				}
				f.MatchBlock(lines, nil, now, func(_ int, r *Result) {
					for _, x := range r.Failures {
						if found++; x.Addr != own {
							t.Errorf("filter %d finds %v", n, x.Addr)
						}
					}
				})
			}
			if found != 1000 {
				t.Errorf("filter %d finds %d failures, want 1000", n, found)
			}
		})
	}
	wg.Wait()
}
