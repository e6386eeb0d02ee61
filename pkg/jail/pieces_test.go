package jail

import (
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestEachBan: all bans are told by the wall clock, also after it was set, and who has seen enough is told no more.
func TestEachBan(t *testing.T) {
	l := start(t, nil)
	if err := l.jail.do(func(j *Jail) {
		for n := range 3 * slice / 2 {
			j.bans.Add(ban.Ban{ID: ban.Named(string(rune('A' + n))), Start: begin, End: begin.Add(time.Hour)})
		}
	}); err != nil {
		t.Fatal(err)
	}
	l.clock.Set(30 * time.Minute)
	seen, pieces := map[ban.ID]bool{}, 0
	if err := l.jail.EachBan(func(bans []ban.Ban) bool {
		pieces++
		for _, b := range bans {
			seen[b.ID] = true
			if d := b.Start.Sub(begin); d != 30*time.Minute || b.End.Sub(b.Start) != time.Hour {
				t.Fatalf("began at %v, ends at %v", b.Start, b.End)
			}
		}
		return true
	}); err != nil || len(seen) != 3*slice/2 || pieces != 2 {
		t.Errorf("%d bans in %d pieces, %v", len(seen), pieces, err)
	}
	if err := l.jail.EachBan(func([]ban.Ban) bool { pieces++; return false }); err != nil || pieces != 3 {
		t.Errorf("%d pieces, %v", pieces, err)
	}
}
