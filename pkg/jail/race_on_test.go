//go:build race

package jail

const usualHistories = 20 // the race detector makes them ten times as slow
