package jail

import (
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestEachBan: all bans are told by the wall clock, also after it was set, and who has seen enough is told no more.
// Between two pieces the jail comes to what else is wanted of it.
func TestEachBan(t *testing.T) {
	l := start(t, nil)
	const bans = 5 * ban.RowsMost / 2
	if err := l.jail.do(func(j *Jail) {
		for n := range bans {
			j.bans.Add(ban.Ban{ID: ban.Named(string(rune('A' + n))), Start: begin, End: begin.Add(time.Hour)})
		}
	}); err != nil {
		t.Fatal(err)
	}
	l.clock.Set(30 * time.Minute)
	seen, pieces, others := map[ban.ID]bool{}, 0, 0
	if err := l.jail.EachBan(false, func(rows *ban.Rows) bool {
		// What was wanted while the last piece was looked at was done before this one was copied.
		if n, err := ask(l.jail, time.Minute, func(*Jail) int { return others }); err != nil || n != pieces {
			t.Fatalf("before piece %d the jail did %d other things, %v", pieces, n, err)
		}
		pieces++
		l.jail.inbox.tell(func(*Jail) { others++ })
		if rows.Len() > ban.RowsMost {
			t.Fatalf("a piece of %d", rows.Len())
		}
		for i := range rows.Len() {
			b := rows.At(i).Ban()
			seen[b.ID] = true
			if d := b.Start.Sub(begin); d != 30*time.Minute || b.End.Sub(b.Start) != time.Hour {
				t.Fatalf("began at %v, ends at %v", b.Start, b.End)
			}
		}
		return true
	}); err != nil || len(seen) != bans || pieces != 3 {
		t.Errorf("%d bans in %d pieces, %v", len(seen), pieces, err)
	}
	if err := l.jail.EachBan(true, func(*ban.Rows) bool { pieces++; return false }); err != nil || pieces != 4 {
		t.Errorf("%d pieces, %v", pieces, err)
	}
}
