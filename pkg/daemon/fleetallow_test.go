package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet/allow"
)

// TestFleetAllow: the list that a host holds outlives its restart, so an older one is not taken after it either; what isn't taken is said
// once; and a file that was changed, or is of another key than the one that is pinned now, is as none.
func TestFleetAllow(t *testing.T) {
	seed, public, err := allow.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	foreign, other, err := allow.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(version uint64, by []byte, who string) []byte {
		l := allow.List{Version: version}
		if err := l.Add(netip.MustParsePrefix(who)); err != nil {
			t.Fatal(err)
		}
		text, err := allow.Sign(l, by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var said bytes.Buffer
	cfg := &config.Config{}
	cfg.Database.Path = filepath.Join(t.TempDir(), "bailiff.sqlite3")
	file := cfg.Database.Path + fleetAllowEnding
	d := &Daemon{log: slog.New(eventlog.New(&said, "INFO")), cfg: cfg}
	begin := func(key string) *fleetAllow {
		said.Reset()
		return newFleetAllow(&fleetRun{d: d, log: d.log, cfg: config.Fleet{AllowKey: key}, recheck: make(chan struct{}, 1)})
	}
	holds := func(f *fleetAllow, what string, version uint64, problem string) {
		t.Helper()
		if s := f.status(); s.Version != version || !strings.Contains(s.Problem, problem) || (problem == "") != (s.Problem == "") {
			t.Errorf("%s: %+v", what, s)
		}
	}
	if begin("") != nil || newFleetAllow(&fleetRun{d: d, log: d.log}).status() != nil {
		t.Error("without a key, there is a list")
	}
	two := sign(2, seed, "198.51.100.0/24")
	f := begin(public)
	holds(f, "at first", 0, "")
	f.take(two)
	holds(f, "taken", 2, "")
	if len(f.r.recheck) != 1 || !f.held.Holds(netip.MustParsePrefix("198.51.100.7/32")) {
		t.Error("what is in force is not looked at anew")
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil && bytes.Equal(text, two) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it is not kept: %v", err)
		}
	}
	f = begin(public)
	holds(f, "after a restart", 2, "")
	for range 3 {
		f.take(sign(1, seed, "203.0.113.0/24"))
	}
	holds(f, "an older one", 2, "older than the one that is held: version 1, and 2 is held")
	f.take(sign(9, foreign, "203.0.113.0/24"))
	holds(f, "of another key", 2, "signed by another key")
	if n := strings.Count(said.String(), "version 1, and 2"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, said.String())
	}
	f.take(two)
	holds(f, "the same again", 2, "")
	holds(begin(other), "another key is pinned", 0, "")
	if err := os.WriteFile(file, bytes.Replace(two, []byte("198.51.100.0/24"), []byte("0.0.0.0/8"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(begin(public), "a file that was changed", 0, "")
	if !strings.Contains(said.String(), "its signature is wrong") {
		t.Error(said.String())
	}
}
