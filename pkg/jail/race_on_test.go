//go:build race

package jail

const usualHistories = 40 // the race detector makes them ten times as slow
