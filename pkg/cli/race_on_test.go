//go:build race

package cli

const reportLines = 250 // the race detector makes them ten times as slow
