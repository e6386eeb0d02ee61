package ban_test

import (
	"fmt"
	"net/netip"
	"time"

	"bailiff/pkg/ban"
)

// Three failures within ten minutes are due for a ban. The times are those of the lines.
func ExampleWindow() {
	w := ban.NewWindow(3, 10*time.Minute, ban.DefaultTracked)
	client := ban.Of(netip.MustParsePrefix("203.0.113.7/32"))
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, minute := range []int{0, 8, 12, 15} {
		count, due := w.Add(client, start.Add(time.Duration(minute)*time.Minute))
		fmt.Printf("12:%02d %d %v\n", minute, count, due)
	}
	// Output:
	// 12:00 1 false
	// 12:08 2 false
	// 12:12 2 false
	// 12:15 3 true
}
