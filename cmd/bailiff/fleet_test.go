//go:build hub

package main

import (
	"flag"
	"os"
	"testing"

	"bailiff/examples/fleet/stage"
)

// TestFleet plays what make demo DEMO=-fleet does: three hosts, a real hub, nftables; bans and lifts everywhere, the hub killed,
// a partition, a host that was off, a captured one. It has the build tag of the hub: go test -tags hub ./cmd/bailiff -run TestFleet.
func TestFleet(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	if err := fleetStage(t).Play(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// fleetStage is three hosts and a hub, until the test's end.
func fleetStage(t *testing.T) *stage.Stage {
	t.Helper()
	bailiff := program(t, "bailiff")
	s, err := stage.New(t.TempDir(), bailiff, bailiff, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var fleetKills = flag.Int("fleet.kills", 30, "how often TestFleetKilled kills a host's daemon; make soak takes more")

// TestFleetKilled kills a host's daemon with -9 at moments between a ban, its transaction, the hub's acknowledgement and what
// is kept of that: nothing that a jail or a command has acknowledged is lost, nothing that was lifted comes back, nothing is
// told twice, and kernels, databases and stream agree.
func TestFleetKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	k, err := fleetStage(t).Kill(t.Context(), *fleetKills)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(k)
	for what, all := range map[string][]string{"lost": k.Lost, "resurrected": k.Resurrected, "told twice": k.Twice, "wrong": k.Wrong} {
		for _, one := range all {
			t.Errorf("%s: %s", what, one)
		}
	}
}
