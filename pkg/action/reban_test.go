package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestManyNotMadeAgain: of bans that can't be made again in an environment that was mended,
// three in a row are tried, and the rest at the next check, which is told.
func TestManyNotMadeAgain(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	lines := func(name string) int {
		text, _ := os.ReadFile(path(name))
		return strings.Count(string(text), "\n")
	}
	g, log := working(t, defined("own", time.Minute,
		"actionstart", "touch "+path("there"), "actionstop", "true", "actioncheck", "test -e "+path("there"),
		"actionban", "echo <ip> >>"+path("tried")+"; test ! -e "+path("refuses")+" && echo <ip> >>"+path("done")))
	defer g.Close(time.Now().Add(10 * time.Second))
	const bans = 20
	for i := range bans {
		g.Ban(banOf(many(i)))
	}
	hosttest.Until(t, "not banned", func() bool { return lines("done") == bans }) // tried may be refused still
	// Somebody takes all away, and nothing can be banned.
	if err := os.WriteFile(path("refuses"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path("there")); err != nil {
		t.Fatal(err)
	}
	g.Check()
	hosttest.Until(t, "not told", func() bool {
		return strings.Contains(log.String(), "its environment was made anew, but 20 of 20 bans are not in it again (") &&
			strings.Contains(log.String(), "they are tried at the next check")
	})
	text, _ := os.ReadFile(path("tried"))
	again := map[string]bool{} // each twice: after a failure, the environment is checked
	for _, ip := range strings.Fields(string(text))[bans:] {
		again[ip] = true
	}
	if len(again) != rebanMost {
		t.Errorf("%d were tried, want %d", len(again), rebanMost)
	}
	if n := strings.Count(log.String(), "Failed to execute reban"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log)
	}
	// It can again: the next check makes all of them.
	if err := os.Remove(path("refuses")); err != nil {
		t.Fatal(err)
	}
	before := lines("tried")
	hosttest.Until(t, "not made again", func() bool {
		g.Check()
		return lines("tried") == before+bans
	})
}
