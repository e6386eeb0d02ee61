package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/fakeengine"
	"bailiff/pkg/hosttest"
)

// TestRegexContainer: regex reads what containers have written from their engine: by name, by that of status, by
// label; what came in parts is one line, of the time that the engine noted; and says what is there where nothing is
// meant.
func TestRegexContainer(t *testing.T) {
	t.Parallel()
	for _, podman := range []bool{false, true} {
		dir := t.TempDir()
		e := fakeengine.New(filepath.Join(dir, "sock"))
		e.Podman = podman
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		web := e.Add(fakeengine.Container{Name: "web", Labels: map[string]string{"role": "front"}})
		other := e.Add(fakeengine.Container{Name: "other", Labels: map[string]string{"role": "front"}})
		e.Add(fakeengine.Container{Name: "silent"})
		web.Line("Login failure 192.0.2.7")
		web.Line("# Login failure 192.0.2.8")
		web.Line("hello")
		web.Write(fakeengine.Record{Stamp: time.Unix(1700000000, 0), Text: "Login fail"}, fakeengine.Record{Stamp: time.Unix(1700000000, 0), Text: "ure 192.0.2.9\n"})
		other.Line("Login failure 203.0.113.7")
		hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf("[docker]\nsocket = 'unix://%s'\n", e.Socket()))
		for log, want := range map[string]string{
			"docker:web":                "192.0.2.7 192.0.2.8 192.0.2.9",
			"docker:web/" + web.ID[:12]: "192.0.2.7 192.0.2.8 192.0.2.9",
			"docker:id=" + web.ID[:12]:  "192.0.2.7 192.0.2.8 192.0.2.9",
			"docker:label=role=front":   "192.0.2.7 192.0.2.8 192.0.2.9 203.0.113.7",
			"docker:silent":             "",
		} {
			out, err := exec.Command(program(t, "bailiff"), "regex", "--config", dir, "--out", "id", log, "Login failure <HOST>$").CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), " "); err != nil && want != "" || got != want {
				t.Errorf("podman %v, %s: %v, %q, want %q", podman, log, err, got, want)
			}
		}
		for log, want := range map[string]string{
			"docker:nonesuch":   "has no such container (3: ",
			"docker:web/0000":   "has no such container",
			"docker:id=x":       "want 12 to 64 digits of an ID",
			"docker:colour=red": "want NAME, id=ID",
		} {
			out, err := exec.Command(program(t, "bailiff"), "regex", "--config", dir, log, "x <HOST>").CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v, %s, want %s", log, err, out, want)
			}
		}
		out, err := exec.Command(program(t, "bailiff"), "regex", "--config", dir, "docker: login failure 192.0.2.7", "failure <HOST>").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "1 matched") {
			t.Errorf("a line that begins so: %v, %s", err, out)
		}
		e.Stop()
		if out, err := exec.Command(program(t, "bailiff"), "regex", "--config", dir, "docker:web", "x <HOST>").CombinedOutput(); err == nil || !strings.Contains(string(out), "is the engine running?") {
			t.Errorf("without an engine: %v, %s", err, out)
		}
	}
}
