package metrics

import (
	"math"
	"sync"
	"time"
)

// Histograms of times. Each is two at once: one with buckets of fixed bounds, which every Prometheus
// reads, and a native one, whose buckets grow by a fifth each, so that any quantile is known to
// a few per cent. Both have a fixed size.

// Bounds are the upper bounds of the fixed buckets, in seconds.
var Bounds = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

const (
	// Schema says how native buckets grow: by 2^(2^-Schema) each.
	Schema = 2
	// The native buckets are from a microsecond to 17 minutes; what is beyond counts as that.
	nativeFirst, nativeLast = -20 << Schema, 10 << Schema
	// zeroMost is up to where a time is none.
	zeroMost = 1.0 / (1 << 30)
)

// Histogram counts times. The zero value is one that has seen none. Its methods may be called by
// several at once, and wait for nobody for long; a nil one counts nothing.
type Histogram struct {
	mu sync.Mutex
	s  State
}

// State is what a histogram has seen.
type State struct {
	Count, Zero uint64
	Sum         float64                              // seconds
	Fixed       [len(Bounds)]uint64                  // not added up
	Native      [nativeLast - nativeFirst + 1]uint64 // by index, from nativeFirst on
}

// Observe counts a time.
func (h *Histogram) Observe(d time.Duration) { h.ObserveN(d, 1) }

// ObserveN counts a time so many times.
func (h *Histogram) ObserveN(d time.Duration, n int) {
	if h == nil || n <= 0 {
		return
	}
	v := max(d.Seconds(), 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.s.Count += uint64(n)
	h.s.Sum += v * float64(n)
	for i, b := range Bounds {
		if v <= b {
			h.s.Fixed[i] += uint64(n)
			break
		}
	}
	if v <= zeroMost {
		h.s.Zero += uint64(n)
		return
	}
	h.s.Native[bucketOf(v)-nativeFirst] += uint64(n)
}

// State returns what it has seen so far.
func (h *Histogram) State() State {
	if h == nil {
		return State{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.s
}

// bucketOf is the index of the native bucket that holds a value: that of i has what is above
// 2^((i-1)/4) and up to 2^(i/4).
func bucketOf(v float64) int {
	frac, exp := math.Frexp(v) // v = frac * 2^exp, frac in [0.5, 1)
	i := exp<<Schema - (1<<Schema - 1)
	for k := 1; k < 1<<Schema && frac > steps[k]; k++ {
		i++
	}
	if frac == 0.5 { // it is the bound of the one below
		i--
	}
	return min(max(i, nativeFirst), nativeLast)
}

// steps are the bounds of buckets between 0.5 and 1.
var steps = func() (out [1 << Schema]float64) {
	for k := range out {
		out[k] = math.Exp2(-1 + float64(k)/(1<<Schema))
	}
	return out
}()
