package jail

import (
	"sync/atomic"

	"bailiff/pkg/filter"
)

// hits is how often each failregex has found something, for who wants to know which of them are of use.
type hits struct {
	of     atomic.Pointer[filter.Filter]
	counts atomic.Pointer[[]atomic.Int64]
}

// begin begins anew where the filter is another one.
func (h *hits) begin(f *filter.Filter) {
	if h.of.Swap(f) != f {
		counts := make([]atomic.Int64, len(f.Failregex()))
		h.counts.Store(&counts)
	}
}

func (h *hits) add(regex int) {
	if c := h.counts.Load(); c != nil && regex >= 0 && regex < len(*c) {
		(*c)[regex].Add(1)
	}
}

// Hits returns how often each failregex has found something since the filter was loaded.
func (j *Jail) Hits() []int64 {
	c := j.hits.counts.Load()
	if c == nil {
		return nil
	}
	out := make([]int64, len(*c))
	for i := range *c {
		out[i] = (*c)[i].Load()
	}
	return out
}
