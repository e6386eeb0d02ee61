//go:build hub

package main

import (
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
	bailiff := program(t, "bailiff")
	s, err := stage.New(t.TempDir(), bailiff, bailiff, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
}
