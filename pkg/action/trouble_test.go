package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestTrouble: who asks is told which command of an action failed when it was run last, why,
// and which bans it did not make; and no longer when that is over.
func TestTrouble(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "open")
	g, _ := working(t, defined("gate", 0, "actionstart_on_demand", "true",
		"actionstart", "test -e "+gate+" || { echo one; echo 'no such gate' >&2; exit 3; }",
		"actionban", "test '<ip>' != 192.0.2.3", "actionunban", "true"))
	defer g.Close(time.Now())
	said := func() string { return strings.Join(g.Problems(), "|") }
	until := func(what, want string) {
		t.Helper()
		hosttest.Until(t, what+": "+want, func() bool { return said() == want })
	}
	if got := said(); got != "" {
		t.Errorf("before anything was run: %q", got)
	}
	g.Ban(banOf("192.0.2.1"))
	until("a start that fails", "action gate: actionstart failed when it was run last (no such gate); it did not make these bans: 192.0.2.1")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Ban(banOf("192.0.2.2"))
	until("the next start goes well", "action gate: it did not make these bans: 192.0.2.1")
	g.Ban(banOf("192.0.2.3"))
	until("a ban fails", "action gate: actionban failed when it was run last (exit code 1); it did not make these bans: 192.0.2.1, 192.0.2.3")
	g.Unban("192.0.2.1")
	g.Unban("192.0.2.3")
	until("its bans are over", "action gate: actionban failed when it was run last (exit code 1)")
	g.Ban(banOf("192.0.2.4"))
	until("a ban goes well", "")
	if err := g.Set("gate", func(d *Definition) error { d.Properties.Set("actionban", "false"); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9"} {
		g.Ban(banOf(ip))
	}
	until("many bans fail", "action gate: actionban failed when it was run last (exit code 1); it did not make these bans: 192.0.2.5, 192.0.2.6, 192.0.2.7, and 2 more")
}
