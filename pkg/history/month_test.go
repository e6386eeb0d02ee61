package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestMonth: what twenty jails write in a month, sampled each minute and saved each hour as the daemon does it: five
// that have failures every minute, ten that have some an hour, five that have some a day. What docs/api.md
// says of it is of this test's output.
func TestMonth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []struct {
		name      string
		jails     int
		perMinute float64 // chance of an attacker, who fails five times and is banned for an hour
	}{{"busy", 5, 2}, {"usual", 10, 0.1}, {"quiet", 5, 0.002}}
	const days = 30
	var written, files [3]int64
	for k, kind := range kinds {
		c := begun(t)
		unbans := make([][60]int, kind.jails)
		var tallies []*Tally
		for i := range kind.jails {
			tallies = append(tallies, c.Tally(fmt.Sprintf("%s-%d", kind.name, i)))
		}
		size := int64(0)
		for m := range days * 24 * 60 {
			for i, jail := range tallies {
				for range unbans[i][m%60] {
					jail.Unban()
				}
				unbans[i][m%60] = 0
				for chance := kind.perMinute; r.Float64() < chance; chance-- {
					for range 5 {
						jail.Failure()
					}
					jail.Ban()
					unbans[i][m%60]++
				}
			}
			c.Sample()
			c.at = c.at.Add(time.Minute)
			if m%60 < 59 {
				continue
			}
			if err := c.Save(uint64(m)); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(c.path + ".history")
			if os.IsNotExist(err) {
				continue // nothing has happened yet
			}
			if err != nil {
				t.Fatal(err)
			}
			if written[k] += fi.Size() - size; fi.Size() < size { // written anew
				written[k] += size
			}
			size = fi.Size()
		}
		files[k] = size
		t.Logf("%s: %.2f KB written a day and jail; after %d days %.1f KB of a file each", kind.name,
			float64(written[k])/days/float64(kind.jails)/1e3, days, float64(size)/float64(kind.jails)/1e3)
	}
	all := written[0] + written[1] + written[2]
	t.Logf("%.2f KB written a day and jail of all 20, %.0f KB of files", float64(all)/days/20/1e3, float64(files[0]+files[1]+files[2])/1e3)
	if each := all / days / 20; each > 8_000 {
		t.Errorf("%d bytes a day and jail, promised are a few KB", each)
	}
	if each := written[0] / days / 5; each > 16_000 {
		t.Errorf("%d bytes a day of a busy jail", each)
	}
}
