package jail

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestLiftedIsTold: a command that lifts a restored ban tells what it was for, however long
// after the database has forgotten it it comes.
func TestLiftedIsTold(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprint("all ", all), func(t *testing.T) {
			db := openStore(t)
			ran := &told{}
			hold := make(chan struct{})
			var holding bool
			jail := func() *lab {
				return start(t, func(c *config.Jail, l *lab) {
					l.store, l.clock, c.MaxMatches = db, db.clock, 3
					l.run = func(ctx context.Context, c action.Command, most time.Duration) bool {
						if holding {
							<-hold
						}
						return ran.run(ctx, c, most)
					}
					c.Actions = noting("")
					c.Actions[0].Properties.Set("actionunban", "unban <ip> <failures> <matches> <F-USER>")
					c.Filter.Failregex = []filter.Expr{{Text: `failure <HOST> user <F-USER>\S+</F-USER>$`}}
				})
			}
			l := jail()
			l.thrice("%s failure 192.0.2.7 user alice")
			l.jail.Actions().Sync(context.Background())
			l.jail.Stop(false)

			holding = true
			l = jail()
			if all {
				if n, err := l.jail.UnbanAll(""); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			} else if found, err := l.jail.Unban(idOf("192.0.2.7")); !found || err != nil {
				t.Fatal(found, err)
			}
			_ = l.jail.do(func(j *Jail) { j.push() }) // as at the end of a batch
			if groups, err := db.Captures("test", idOf("192.0.2.7")); groups != nil || err != nil {
				t.Fatal("the database knows it still: ", groups, err)
			}
			close(hold)
			l.jail.Actions().Sync(context.Background())
			if got := ran.last(); !strings.HasPrefix(got, "unban 192.0.2.7 3 ") || !strings.HasSuffix(got, " alice") || strings.Count(got, "failure 192.0.2.7") != 3 {
				t.Errorf("told %q", got)
			}
		})
	}
}
