package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestLeftover: what an action of a daemon that was killed has left is taken away before it
// starts, once for all that share it, and never what somebody of this daemon has made.
func TestLeftover(t *testing.T) {
	dir := t.TempDir()
	chain := filepath.Join(dir, "chain4")
	defs := func(name string) Definition {
		return defined(name, 0,
			"actionstart", "echo start >>"+dir+"/log; test -e "+dir+"/chain<n> || touch "+dir+"/chain<n>",
			"actionstop", "echo stop<n> >>"+dir+"/log; rm "+dir+"/chain<n>", "actioncheck", "test -e "+dir+"/chain<n>",
			"actionban", "echo <ip> >>"+dir+"/chain<n>", "actionunban", "sed -i /<ip>/d "+dir+"/chain<n>", "n", "4", "n?family=inet6", "6")
	}
	if err := os.WriteFile(chain, []byte("192.0.2.1\n192.0.2.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds := func(want string) func() bool {
		return func() bool {
			data, _ := os.ReadFile(chain)
			return strings.Join(strings.Fields(string(data)), " ") == want
		}
	}
	one, log := working(t, defs("one"))
	one.Ban(banOf("192.0.2.1"))
	hosttest.Until(t, "the ban is there once, and what is over is not", holds("192.0.2.1"))
	if n := strings.Count(log.String(), "its rules are there from before"); n != 1 {
		t.Errorf("told %d times\n%s", n, log.String())
	}
	two, log := working(t, defs("two")) // a second jail with the same chain
	two.Ban(banOf("192.0.2.2"))
	hosttest.Until(t, "both are there", holds("192.0.2.1 192.0.2.2"))
	if strings.Contains(log.String(), "from before") {
		t.Errorf("what the first one made was taken away:\n%s", log.String())
	}
	<-two.Close(time.Now().Add(5 * time.Second))
	<-one.Close(time.Now().Add(5 * time.Second))
}

// TestManyEnvironments: environments beyond those that are remembered are not looked at, and
// nobody waits for it.
func TestManyEnvironments(t *testing.T) {
	was := environmentsMost
	defer func() { environmentsMost = was }()
	environments.mu.Lock()
	environmentsMost = len(environments.by) + 1
	environments.mu.Unlock()
	for i, want := range []bool{true, false, false} {
		looked := claim(t.Context(), t.Name()+string(rune('a'+i)))
		if (looked != nil) != want {
			t.Errorf("environment %d: looked at %v", i, looked != nil)
		}
		if looked != nil {
			looked()
		}
	}
	if claim(t.Context(), t.Name()+"a") != nil {
		t.Error("one that was looked at is to be looked at again")
	}
}
