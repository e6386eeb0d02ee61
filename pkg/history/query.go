package history

import (
	"cmp"
	"slices"
	"time"
)

// Query says what is wanted.
type Query struct {
	From, To time.Time     // zero: an hour before To; now
	Step     time.Duration // at the least; 0: as fits
	Jail     string        // empty: all together
}

// StepsMost is how many steps an answer has; FitSteps how many are aimed at where none is asked for.
const (
	StepsMost = 2000
	FitSteps  = 300
)

// Answer is what happened, step by step: the first one begins at From. Steps of a day or more begin at
// midnight UTC.
type Answer struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`   // the end of the last step
	Step     float64   `json:"step"` // seconds
	Failures []int64   `json:"failures"`
	Bans     []int64   `json:"bans"`
	Unbans   []int64   `json:"unbans"`
	// Jails are the sums of each jail that had anything.
	Jails []JailCounts `json:"jails"`
	// Problems are what is missing.
	Problems []string `json:"problems,omitempty"`
}

// JailCounts is what a jail has had.
type JailCounts struct {
	Jail string `json:"jail"` // empty: of jails beyond JailsMost
	Counts
}

// Ask answers. Its steps are longer than those that were asked for where it is not known any more so
// exactly, or would be too many.
func (h *History) Ask(q Query) Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sample()
	now := h.now()
	if q.To.IsZero() {
		q.To = now.Add(1) // the step that goes on is in it
	}
	oldest := levels[len(levels)-1]
	reach := oldest.step * time.Duration(oldest.most)
	if q.To.After(now.Add(reach)) { // the clock may have been ahead
		q.To = now.Add(reach)
	}
	if early := now.Add(-reach); q.From.Before(early) && !q.From.IsZero() {
		q.From = early
	}
	if q.From.IsZero() || !q.From.Before(q.To) {
		q.From = q.To.Add(-time.Hour)
	}
	want := max(q.Step, q.To.Sub(q.From)/StepsMost+1)
	if q.Step == 0 {
		want = max(want, q.To.Sub(q.From)/FitSteps)
	}
	at := len(levels) - 1
	for l, of := range levels {
		if !q.From.Before(now.Add(-of.step * time.Duration(of.most))) {
			at = l
			break
		}
	}
	for at < len(levels)-1 && want >= levels[at+1].step { // the same, from fewer points
		at++
	}
	unit := levels[at].step
	want = min(want, reach)
	step := unit * ((want + unit - 1) / unit)
	seconds := int64(step / time.Second)
	first := floor(q.From.Unix(), seconds)
	end := floor(q.To.Add(-1).Unix(), seconds) + 1
	n := int(max(end-first, 1))
	a := Answer{
		From: time.Unix(first*seconds, 0).UTC(), To: time.Unix((first+int64(n))*seconds, 0).UTC(), Step: step.Seconds(),
		Failures: make([]int64, n), Bans: make([]int64, n), Unbans: make([]int64, n), Jails: []JailCounts{},
	}
	for name, j := range h.jails {
		if q.Jail != "" && name != q.Jail {
			continue
		}
		sum := JailCounts{Jail: name}
		for _, p := range j.points[at] {
			i := floor(p.at*int64(unit/time.Second), seconds) - first
			if i < 0 || i >= int64(n) {
				continue
			}
			a.Failures[i] += p.Failures
			a.Bans[i] += p.Bans
			a.Unbans[i] += p.Unbans
			sum.add(p.Counts)
		}
		if sum.Counts != (Counts{}) {
			a.Jails = append(a.Jails, sum)
		}
	}
	slices.SortFunc(a.Jails, func(x, y JailCounts) int { return cmp.Compare(x.Jail, y.Jail) })
	if !h.ready {
		a.Problems = append(a.Problems, "what happened before the start of the daemon is still being read: it is missing here")
	}
	return a
}

func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}
