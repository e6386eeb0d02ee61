package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clocked is a history with a clock that is set by hand.
type clocked struct {
	*History
	at   time.Time
	path string
}

func (c *clocked) again(t *testing.T) (k Known) {
	t.Helper()
	c.History = New(c.path, func() time.Time { return c.at })
	k, err := c.Load()
	if err != nil {
		t.Fatal(err)
	}
	c.Loaded()
	return k
}

func begun(t *testing.T) *clocked {
	c := &clocked{at: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "db")}
	c.again(t)
	return c
}

func (c *clocked) sum(from time.Duration, step time.Duration) (sum Counts, a Answer) {
	a = c.Ask(Query{From: c.at.Add(-from), Step: step})
	for i := range a.Failures {
		sum.add(Counts{a.Failures[i], a.Bans[i], a.Unbans[i]})
	}
	return sum, a
}

// TestLevels: a failure a minute for 40 days is known by the minute for two hours, by five minutes for a day,
// by the hour for a month, by the day beyond; also over restarts, and over a file that is written anew.
func TestLevels(t *testing.T) {
	c := begun(t)
	sshd := c.Tally("sshd")
	const days = 40
	saved := 0
	for m := range days * 24 * 60 {
		sshd.Failure()
		if m%10 == 0 {
			sshd.Ban()
		}
		c.Sample()
		c.at = c.at.Add(time.Minute)
		if m%60 == 59 {
			if err := c.Save(uint64(m)); err != nil {
				t.Fatal(err)
			}
			saved++
		}
		if m == 20*24*60 { // and what was not saved is gone, an hour of it at the most
			if k := c.again(t); k.N == 0 || k.Minutes == 0 || k.Minutes >= k.N {
				t.Fatalf("known %+v", k)
			}
			sshd = c.Tally("sshd")
		}
	}
	check := func(when string) {
		for _, x := range []struct {
			from, step, want time.Duration
			each             int64
		}{
			{24 * time.Hour, time.Second, 5 * time.Minute, 5},
			{23 * time.Hour, 0, 5 * time.Minute, 5},
			{20 * 24 * time.Hour, time.Hour, time.Hour, 60},
			{39 * 24 * time.Hour, time.Hour, 24 * time.Hour, 24 * 60},
			{10 * 24 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * 60},
		} {
			_, a := c.sum(x.from, x.step)
			if a.Step != x.want.Seconds() {
				t.Errorf("%s, %v ago: steps of %v s, want %v", when, x.from, a.Step, x.want)
			}
			for i := 1; i < len(a.Failures)-1; i++ {
				if n := a.Failures[i]; n > x.each || n < x.each-1 { // one was lost with a kill
					t.Errorf("%s, %v ago, step %d of %d: %d failures, want %d", when, x.from, i, len(a.Failures), a.Failures[i], x.each)
					break
				}
			}
		}
		sum, a := c.sum(days*24*time.Hour+time.Hour, 0)
		if lost := int64(days*24*60) - sum.Failures; lost < 0 || lost > 61 || sum.Bans < days*24*6-8 || len(a.Problems) > 0 {
			t.Errorf("%s: %+v in all, %q", when, sum, a.Problems)
		}
	}
	if _, a := c.sum(time.Hour, 0); a.Step != 60 || a.Failures[30] != 1 {
		t.Errorf("the last hour: steps of %v s, %d", a.Step, a.Failures)
	}
	check("at work")
	fi, err := os.Stat(c.path + ".history")
	if err != nil {
		t.Fatal(err)
	}
	if perDay := fi.Size() / days; perDay > 8<<10 {
		t.Errorf("%d bytes a day", perDay)
	}
	c.again(t)
	check("after a restart")
	if err := c.anew(7, c.at); err != nil {
		t.Fatal(err)
	}
	c.again(t)
	check("written anew")
}

// TestQuiet: nothing is written where nothing happens.
func TestQuiet(t *testing.T) {
	c := begun(t)
	c.Tally("sshd")
	if err := c.Save(1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.path + ".history"); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
	var none *Tally
	none.Failure()
	none.Ban()
	none.Unban()
}

// TestTorn: whatever a file holds, its whole lines are taken, and it is gone on with.
func TestTorn(t *testing.T) {
	c := begun(t)
	c.Tally("sshd").Ban()
	if err := c.Save(1); err != nil {
		t.Fatal(err)
	}
	file := c.path + ".history"
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(file, append(append([]byte{}, whole...), whole[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		c.again(t)
		c.Tally("sshd").Ban()
		if err := c.Save(2); err != nil {
			t.Fatal(err)
		}
		if k := c.again(t); k.N != 2 {
			t.Errorf("cut at %d: known up to %d", cut, k.N)
		}
		if sum, _ := c.sum(5*time.Hour, 0); sum.Bans != 2 {
			t.Errorf("cut at %d: %d bans", cut, sum.Bans)
		}
	}
	if err := os.WriteFile(file, append([]byte("garbage\n{\"step\":-1}\n"), whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	c.History = New(c.path, func() time.Time { return c.at })
	if _, err := c.Load(); err == nil || !strings.Contains(err.Error(), "2 lines") {
		t.Errorf("garbage: %v", err)
	}
	if sum, _ := c.sum(5*time.Hour, 0); sum.Bans != 1 {
		t.Errorf("behind garbage: %d bans", sum.Bans)
	}
}

// TestSteps: a clock that is set back, or far ahead and back, costs nothing of what is known.
func TestSteps(t *testing.T) {
	c := begun(t)
	one := func() {
		c.Tally("sshd").Failure()
		c.Sample()
	}
	begin := c.at
	one()
	c.at = begin.Add(-10 * time.Minute)
	one()
	one()
	c.at = begin.AddDate(20, 0, 0)
	one()
	c.at = begin.Add(time.Minute)
	one()
	_, a := c.sum(20*time.Minute, time.Minute)
	var got []string
	for i, n := range a.Failures {
		if n > 0 {
			got = append(got, fmt.Sprintf("%d at %s", n, a.From.Add(time.Duration(i)*time.Minute).Format("15:04")))
		}
	}
	if text := strings.Join(got, ", "); text != "2 at 11:50, 1 at 12:00, 1 at 12:01" {
		t.Errorf("%s", text)
	}
	if sum, _ := c.sum(2*time.Hour, 0); sum.Failures != 4 {
		t.Errorf("%d failures", sum.Failures)
	}
}

// TestMany: jails beyond the bound are one.
func TestMany(t *testing.T) {
	c := begun(t)
	for n := range JailsMost + 10 {
		c.Tally(fmt.Sprint("jail", n)).Ban()
	}
	sum, a := c.sum(time.Hour, 0)
	if sum.Bans != JailsMost+10 || len(a.Jails) != JailsMost+1 {
		t.Errorf("%d bans of %d jails", sum.Bans, len(a.Jails))
	}
	if one := c.Ask(Query{Jail: "jail7"}); len(one.Jails) != 1 || one.Jails[0].Bans != 1 {
		t.Errorf("one: %+v", one.Jails)
	}
}

// TestAsk: no question makes an answer without end.
func TestAsk(t *testing.T) {
	c := begun(t)
	c.Tally("sshd").Ban()
	for _, q := range []Query{
		{},
		{From: time.Unix(0, 0), Step: 1},
		{From: time.Unix(-1<<40, 0), To: time.Unix(1<<40, 0)},
		{Step: 1 << 62},
		{From: c.at, To: c.at.Add(-time.Hour)},
		{From: c.at.Add(-time.Second)},
	} {
		if a := c.Ask(q); len(a.Failures) == 0 || len(a.Failures) > StepsMost+2 || a.From.After(a.To) {
			t.Errorf("%+v: %d steps, %v to %v", q, len(a.Failures), a.From, a.To)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"jail":"sshd","n":1,"until":"2026-01-31T12:00:00Z","step":300,"steps":[[5899536,1,1,0]]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path+".history", data, 0o600); err != nil {
			t.Fatal(err)
		}
		h := New(path, time.Now)
		_, _ = h.Load()
		h.Tally("sshd").Ban()
		if err := h.Save(1); err != nil {
			t.Fatal(err)
		}
		h.Ask(Query{From: time.Unix(0, 0)})
	})
}
