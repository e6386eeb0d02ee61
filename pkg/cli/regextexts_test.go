package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestHitList: hits are listed as each by itself would be, in zones whose clocks are set
// on the way, and whatever identifies.
func TestHitList(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Zurich", "Africa/Monrovia", "Asia/Kathmandu"} {
		at, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		var h hitList
		var want strings.Builder
		// Around a summer time's end, and a change by 44 minutes and 30 seconds.
		for _, begin := range []time.Time{time.Date(2026, 10, 25, 0, 55, 0, 0, time.UTC), time.Date(1972, 1, 7, 0, 40, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)} {
			when := begin
			for range 3000 {
				when = when.Add(time.Duration(r.IntN(4000)-500) * time.Millisecond)
				id := strings.Repeat("x", r.IntN(20)*r.IntN(2))
				note := ""
				multiple := r.IntN(3) == 0
				if multiple {
					note = " (multiple regex matched)"
				}
				h.add(id, when, multiple)
				fmt.Fprintf(&want, "|      %s  %s%s\n", id, when.In(at).Format(asctime), note)
			}
		}
		long := strings.Repeat("y", 200_000)
		h.add(long, time.Unix(0, 0), false)
		fmt.Fprintf(&want, "|      %s  %s\n", long, time.Unix(0, 0).In(at).Format(asctime))
		var got bytes.Buffer
		w := bufio.NewWriter(&got)
		h.print(w, at)
		w.Flush()
		if got.String() != want.String() {
			a, b := strings.Split(want.String(), "\n"), strings.Split(got.String(), "\n")
			for i := range a {
				if i >= len(b) || a[i] != b[i] {
					t.Fatalf("%s, hit %d: %.200q, listed as %.200q", zone, i, a[i], b[min(i, len(b)-1)])
				}
			}
			t.Fatalf("%s: too many hits are listed", zone)
		}
	}
}
