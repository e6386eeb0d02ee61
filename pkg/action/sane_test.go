package action

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestNeverSane: of an environment that can't be brought in order it is not said that its
// bans are in it again, and what is wrong is told once; when it is in order, they are, and
// each once, in whatever moment of a repair it came in order.
func TestNeverSane(t *testing.T) {
	dir := t.TempDir()
	broken, bans := filepath.Join(dir, "broken"), filepath.Join(dir, "bans")
	g, log := working(t, defined("own", time.Minute, "actionstart", "> "+bans, "actionstop", "rm -f "+bans,
		"actioncheck", "echo x >> "+filepath.Join(dir, "checks")+"; test ! -e "+broken, "actionban", "echo <ip> >> "+bans))
	defer g.Close(time.Now().Add(10 * time.Second))
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return string(text)
	}
	g.Ban(banOf("192.0.2.7"))
	g.Ban(banOf("192.0.2.8"))
	hosttest.Until(t, "not banned", func() bool { return strings.Count(read("bans"), "\n") == 2 })
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := strings.Count(log.String(), "Invariant check failed")
		g.Check()
		hosttest.Until(t, "not checked", func() bool { return strings.Count(log.String(), "Invariant check failed") > before })
	}
	const wrong = "its environment can't be brought in order, actioncheck fails: 2 of its bans"
	hosttest.Until(t, "not told", func() bool { return strings.Contains(log.String(), wrong) })
	if n := strings.Count(log.String(), wrong); n != 1 || strings.Contains(log.String(), "in it again") {
		t.Errorf("told %d times:\n%s", n, log)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String(), read("bans"))
		}
	})
	hosttest.Until(t, "not in order", func() bool {
		g.Check() // one asked for while another is at work is that one
		bans := strings.Fields(read("bans"))
		slices.Sort(bans)
		return strings.Contains(log.String(), "its environment is in order again, and its bans are in it") && slices.Equal(bans, []string{"192.0.2.7", "192.0.2.8"})
	})
}
