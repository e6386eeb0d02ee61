//go:build race

package jail

const usualHistories = 6 // the race detector makes them ten times as slow
