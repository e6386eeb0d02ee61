package jail

import (
	"slices"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// For how many failures one counts.

// weightsOf are those of a jail's failregexes; nil: each counts once.
func weightsOf(c *config.Jail) []int {
	if !slices.ContainsFunc(c.Filter.Failregex, func(x filter.Expr) bool { return x.Weight > 1 }) {
		return nil
	}
	out := make([]int, len(c.Filter.Failregex))
	for i, x := range c.Filter.Failregex {
		out[i] = max(x.Weight, 1)
	}
	return out
}

// weight is for how many a failure counts by the expression that found it.
func (j *Jail) weight(q *found) int {
	if n := q.failure.Regex; n >= 0 && n < len(j.weights) {
		return j.weights[n]
	}
	return 1
}

// weigh adds a failure to the window for as many as it counts.
func (j *Jail) weigh(q *found) (n int, due bool) {
	weight := j.weight(q)
	for tries := j.retries(q); tries > 0 && !due; tries-- {
		q.times += weight
		n, due = j.window.AddTimes(q.id, q.at, weight)
	}
	return n, due
}
