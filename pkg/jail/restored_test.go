package jail

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/tags"
)

// TestRestoredWithoutStore: bans that only the kernel remembers over a restart are
// restored ones to actions, as the log says, so that nobody is mailed again.
func TestRestoredWithoutStore(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	l := start(t, func(c *config.Jail, l *lab) {
		opts := &tags.Options{}
		opts.Set("actionban", "ban <ip> <restored> <bancount>")
		quiet := &tags.Options{}
		quiet.Set("actionban", "mail <ip>")
		quiet.Set("norestored", "1")
		c.Actions = []action.Definition{{Name: "own", Properties: opts}, {Name: "mail", Properties: quiet}}
		l.held = []firewall.Element{{ID: netip.MustParsePrefix("192.0.2.9/32"), Left: time.Minute}}
		l.run = func(_ context.Context, c action.Command, _ time.Duration) bool {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, c.Text)
			return true
		}
	})
	l.logged("Restore Ban 192.0.2.9")
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	told := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(ran, ", ")
	}
	const want = "ban 192.0.2.9 1 1, ban 192.0.2.7 0 1, mail 192.0.2.7"
	l.until(func() bool { return strings.Contains(told(), "mail 192.0.2.7") })
	if told() != want {
		t.Errorf("ran %q, want %q", told(), want)
	}
}
