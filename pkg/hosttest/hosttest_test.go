package hosttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoon: what comes is waited for, and asked for no more then.
func TestSoon(t *testing.T) {
	asked := 0
	Until(t, "the third time", func() bool { asked++; return asked >= 3 })
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// TestWrite: directories are made, and what was there before is gone.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b/c")
	Write(t, path, "a longer text")
	if Write(t, path, "text") != path {
		t.Error("another path")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPython: programs get what they read and the fail2ban that they are to ask, an oracle line by line.
func TestPython(t *testing.T) {
	out := string(Python(t, Newest(t), "from stdin", "-c", "import sys, fail2ban\nprint(sys.stdin.read(), fail2ban.__path__[0])"))
	if !strings.HasPrefix(out, "from stdin /") || !strings.Contains(out, "fail2bans") {
		t.Errorf("%q", out)
	}
	script := Write(t, filepath.Join(t.TempDir(), "double.py"), "import json, sys\nfor l in sys.stdin: print(json.dumps(2 * json.loads(l)), flush=True)\n")
	o := StartOracle(t, nil, script)
	for _, n := range []int{1, 21} {
		var got int
		if o.Ask(t, n, &got); got != 2*n {
			t.Errorf("%d: %d", n, got)
		}
	}
}
