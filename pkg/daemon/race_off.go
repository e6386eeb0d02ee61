//go:build !race

package daemon

// raceLogs are where a build with the race detector tells of races.
func raceLogs() []string { return nil }
