package jail

import (
	"fmt"
	"runtime"
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/fair"
)

// TestRush: lines that lead to bans come before what can wait, until they are through, and
// with many of them there is a second core.
func TestRush(t *testing.T) {
	defer fair.One()()
	l := start(t, func(c *config.Jail, _ *lab) { c.MaxRetry = 1 })
	cores := 0
	var r rush
	for n := range rushBans {
		r.banned()
		if cores = runtime.GOMAXPROCS(0); cores != 1 && n+1 < rushBans {
			t.Fatalf("%d cores after %d bans", cores, n+1)
		}
	}
	if cores != 2 || r.urgent == nil {
		t.Errorf("%d cores after %d bans", cores, rushBans)
	}
	r.over()
	if r.bans != 0 || r.urgent != nil || r.spare != nil {
		t.Errorf("it goes on behind the lines: %+v", r)
	}
	var lines []string
	for i := range 2 * rushBans {
		lines = append(lines, fmt.Sprintf("%%s Login failure 198.51.%d.%d", 100+i/256, i%256))
	}
	l.say(lines...)
	if n, err := ask(l.jail, patience, func(j *Jail) int { return j.bans.Len()*10 + j.rush.bans }); err != nil || n != 2*rushBans*10 {
		t.Errorf("%d bans, and a rush of %d behind them: %v", n/10, n%10, err)
	}
}
