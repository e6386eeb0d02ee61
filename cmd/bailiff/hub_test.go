//go:build hub

package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestHubScripts runs the commands of a hub as at a terminal: go test -tags hub ./cmd/bailiff -run TestHubScripts. The
// hub runs in a network of its own (unshare -n), so this needs root.
func TestHubScripts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the scripts start a hub in a network namespace: run them as root (make test says how)")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/hub",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			return nil
		},
	})
}
