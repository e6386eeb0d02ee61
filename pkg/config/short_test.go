package config

import "testing"

// sequential skips a test that has one goroutine only, and takes its time, where -short asks
// for less: so runs the race detector, which makes it ten times as slow and finds nothing
// there. Every run without -short has it.
func sequential(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine, and a long test: run without -short")
	}
}
