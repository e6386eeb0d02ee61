package jail

import (
	"fmt"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
)

// TestOften: an attacker's lines don't fill the log, and no ban is left out.
func TestOften(t *testing.T) {
	const each, all = 3, 2000
	for _, as := range []struct {
		name     string
		fail2ban bool
		most     int
	}{
		{"ours", false, eventlog.OftenOwn + eventlog.OftenShared},
		{"fail2ban's, at the level DEBUG", true, 1 << 30},
	} {
		t.Run(as.name, func(t *testing.T) {
			l := start(t, func(c *config.Jail, _ *lab) { c.MaxRetry, c.Fail2ban = each, as.fail2ban })
			often := l.jail.deps.Often
			if _, err := ask(l.jail, patience, func(*Jail) int { often.Now = func() time.Time { return begin }; return 0 }); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for i := range all {
				for range each {
					lines = append(lines, fmt.Sprintf("%%s Login failure 198.51.%d.%d", 100+i/256, i%256))
				}
			}
			l.say(lines...)
			lines = lines[:0]
			for range each * all { // every third one is due
				lines = append(lines, "%s Login failure 198.51.100.0")
			}
			l.say(lines...)
			lines = lines[:0]
			for range each * all {
				lines = append(lines, "%s Login failure 192.0.2.1") // its own address
			}
			l.say(lines...)
			often.Close()
			for what, n := range map[string]int{"] Found 198": 2 * each * all, "] 198.51.100.0 already banned": all, "] Ignore 192.0.2.1 by": each * all} {
				if told := l.says(what); told != min(n, as.most) {
					t.Errorf("%q is told %d times of %d", what, told, n)
				}
			}
			if n := l.says("] Ban 198"); n != all {
				t.Errorf("%d bans are told of %d", n, all)
			}
			for _, kind := range []string{`more "Found" within a second`, `more "already banned" within a second`, `more "Ignore" within a second`} {
				if (l.says(kind) == 1) == as.fail2ban {
					t.Errorf("%s: told %d times", kind, l.says(kind))
				}
			}
		})
	}
}
