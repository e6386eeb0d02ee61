package jail

import (
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestWeight: a failure counts for as many as its expression weighs, and for those times what
// earlier bans make of it; by hand it counts once.
func TestWeight(t *testing.T) {
	weighs := func(c *config.Jail, _ *lab) {
		c.MaxRetry = 6
		c.Filter.Failregex = []filter.Expr{{Text: `Login failure <HOST>$`}, {Text: `Break-in <HOST>$`, Weight: 3}, {Text: `Murder <HOST>$`, Weight: 100}}
	}
	const light, heavy, deadly = "%s Login failure 192.0.2.7", "%s Break-in 192.0.2.7", "%s Murder 192.0.2.7"
	const banned = "+192.0.2.7/32 1h0m0s"
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"light", []string{light, light, light, light, light}, ""},
		{"six light", []string{light, light, light, light, light, light}, banned},
		{"two heavy", []string{heavy, heavy}, banned},
		{"heavy and light", []string{heavy, light, light}, ""},
		{"one more", []string{heavy, light, light, light}, banned},
		{"too much", []string{light, light, light, light, heavy}, banned},
		{"at once", []string{deadly}, banned},
		{"two are one ban", []string{deadly, deadly}, banned},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, weighs)
			l.say(append([]string(nil), c.lines...)...)
			l.want(c.want)
			if n := l.jail.Status(false).TotalFailed; n != len(c.lines) {
				t.Errorf("%d failures in all, want %d", n, len(c.lines))
			}
		})
	}
	t.Run("grown", func(t *testing.T) {
		l := start(t, func(c *config.Jail, l *lab) {
			weighs(c, l)
			c.MaxRetry, c.Increase = 12, &ban.Increase{}
		})
		l.say(heavy, heavy, heavy)
		l.want("")
		l.say(heavy)
		l.want(banned)
		l.sleep(2 * time.Hour)
		l.expire()
		l.asked()
		l.say(heavy) // twice three
		l.want("")
		l.say(heavy)
		l.want("+192.0.2.7/32 2h0m0s")
	})
	t.Run("by hand", func(t *testing.T) {
		l := start(t, func(c *config.Jail, l *lab) {
			weighs(c, l)
			c.Filter.Failregex[0].Weight = 5
		})
		id := ban.Of(filter.ParseID("192.0.2.7", -1))
		if _, err := l.jail.Attempt(id, []string{"a", "b", "c"}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.jail.Attempt(id, nil); err != nil {
			t.Fatal(err)
		}
		l.want("")
		if _, err := l.jail.Attempt(id, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		l.want(banned)
	})
	t.Run("changed", func(t *testing.T) {
		l := start(t, weighs)
		if err := l.jail.Change(func(c *config.Jail) error {
			c.Filter.Failregex = []filter.Expr{{Text: `Break-in <HOST>$`}, {Text: `Login failure <HOST>$`, Weight: 6}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		l.say(heavy)
		l.want("")
		l.say(light)
		l.want(banned)
	})
}
