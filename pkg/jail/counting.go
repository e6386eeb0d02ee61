package jail

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/events"
	"bailiff/pkg/filter"
	"bailiff/pkg/store"
)

// For how many failures one counts: by its expression (weight), by what was tried before
// (count.distinct), and by who logs in afterwards (success.forgives). A jail without any of these
// has no counting, and does nothing of all this.

// counting is how a jail counts that does not count each failure once.
type counting struct {
	weights []int // of the failregexes; nil: each counts once
	config.Counting
	// forgiven is when failures were taken back of an address, or of the network that is counted in
	// its place: within forgivenFor, ascending. With Forgives.
	forgiven map[ban.ID][]time.Time
	total    int // how often
}

const (
	// forgivenFor is the day in which failures are taken back so often at most.
	forgivenFor = 24 * time.Hour
	// forgivenMost is of how many addresses it is known when that was. Beyond them, nobody else is
	// forgiven.
	forgivenMost = 10_000
)

// countingOf is how a jail counts; nil: each failure once.
func countingOf(c *config.Jail) *counting {
	weighs := slices.ContainsFunc(c.Filter.Failregex, func(x filter.Expr) bool { return x.Weight > 1 })
	if !weighs && c.Counting.Distinct == "" && !c.Counting.Forgives {
		return nil
	}
	out := &counting{Counting: c.Counting}
	if weighs {
		out.weights = make([]int, len(c.Filter.Failregex))
		for i, x := range c.Filter.Failregex {
			out.weights[i] = max(x.Weight, 1)
		}
	}
	if c.Counting.Forgives {
		out.forgiven = map[ban.ID][]time.Time{}
	}
	return out
}

// counts has the jail count as it is configured, with what is known from before.
func (j *Jail) counts(c *config.Jail) {
	was := j.counting
	if j.counting = countingOf(c); was != nil && was.forgiven != nil && j.counting.marks() && j.counting.Forgives {
		j.counting.forgiven, j.counting.total = was.forgiven, was.total
	}
	j.window.Mark(j.counting.marks())
}

// countingText says how a jail counts; empty: each failure once.
func countingText(c *config.Jail) string {
	var parts []string
	if slices.ContainsFunc(c.Filter.Failregex, func(x filter.Expr) bool { return x.Weight > 1 }) {
		parts = append(parts, "some expressions count for several failures (weight)")
	}
	if c.Counting.Distinct != "" {
		parts = append(parts, fmt.Sprintf("of failures with the same %s one counts (count.distinct)", c.Counting.Distinct))
	}
	if c.Counting.Forgives {
		parts = append(parts, fmt.Sprintf("a login takes back its user's, %d times a day at most (success.forgives)", c.Counting.Most))
	}
	return strings.Join(parts, "; ")
}

// marks reports whether the window keeps marks.
func (c *counting) marks() bool { return c != nil && (c.Distinct != "" || c.Forgives) }

// groups reports whether the filter has to tell of all that it captured.
func (c *counting) groups() bool { return c != nil && c.Distinct != "" && c.Distinct != userGroup }

// userGroup is the group of whom a failure tried, which filters tell at once.
const userGroup = "user"

// countedFilter is a filter's definition with what the jail wants to be told.
func countedFilter(c *config.Jail) filter.Definition {
	d := c.Filter
	d.Logins = d.Logins || c.Counting.Forgives
	return d
}

// weight is for how many a failure counts by the expression that found it.
func (c *counting) weight(q *found) int {
	if n := q.failure.Regex; n >= 0 && n < len(c.weights) {
		return c.weights[n]
	}
	return 1
}

// weigh adds a failure to the window for as many as it counts. again says that it was about the
// same as one before, and that there are no more for it.
func (j *Jail) weigh(q *found) (n int, due, again bool) {
	c := j.counting
	weight, tries := c.weight(q), j.retries(q)
	q.times = weight * tries
	if c.marks() {
		return j.window.AddMarked(q.id, q.at, c.mark(q), q.times)
	}
	for ; tries > 0 && !due; tries-- {
		n, due = j.window.AddTimes(q.id, q.at, weight)
	}
	return n, due, false
}

// mark is what is kept of a failure beside its time.
func (c *counting) mark(q *found) (m ban.Mark) {
	f := &q.failure
	value := ""
	switch {
	case c.Distinct == userGroup:
		value = f.User
	case c.Distinct != "":
		value, _ = f.Groups.Text(c.Distinct)
	}
	if value != "" { // else it counts: there is nothing to tell it from others by
		m.Value = ban.SumOf(value)
	}
	if c.Forgives && !f.Unsure && !f.IP.IsValid() {
		m.User = triedMark(f.Addr, f.User)
	}
	return m
}

// triedMark is who was tried from which address; 0: that is not known.
func triedMark(addr netip.Prefix, user string) uint64 {
	if user == "" || !addr.IsValid() || !addr.IsSingleIP() {
		return 0
	}
	return ban.SumOf(addr.Addr().Unmap().WithZone("").String(), user)
}

// succeeded takes back the failures of an address that tried the user who has logged in from it by
// now: he has mistyped. Of whoever was banned for them, nothing is taken back, nor more than so often
// a day: who has an account could clean himself by it.
func (j *Jail) succeeded(l *filter.Login, b *batchTimes, i int, at time.Time) {
	c := j.counting
	if c == nil || !c.Forgives || l.Unsure {
		return
	}
	user := triedMark(l.Addr, l.User)
	if user == 0 {
		return
	}
	q, counts := j.inTime(&filter.Failure{Time: at}, b, i)
	if counts {
		j.forgive(j.widened(single(l.Addr.Addr().Unmap().WithZone(""))), user, q.at, l)
	}
}

// forgive takes back what an address has tried of a user, up to a time.
func (j *Jail) forgive(id ban.ID, user uint64, at time.Time, l *filter.Login) (taken int) {
	c := j.counting
	waiting := j.waitingFor(id, user, at)
	taken = j.window.Forgivable(id, user, at)
	for _, q := range waiting {
		taken += c.weight(q)
	}
	if taken == 0 {
		return 0
	}
	lately := c.forgiven[id]
	for len(lately) > 0 && !lately[0].After(at.Add(-forgivenFor)) {
		lately = lately[1:]
	}
	refused := ""
	switch {
	case len(lately) >= c.Most:
		refused = fmt.Sprintf("%d times in 24 hours is the most (success.most)", c.Most)
	case c.forgiven[id] == nil && len(c.forgiven) >= forgivenMost:
		refused = fmt.Sprintf("%d addresses were today", forgivenMost)
	}
	if refused != "" {
		if j.tells(j.often.forgiven, j.log, slog.LevelInfo) {
			j.log.Info(fmt.Sprintf("[%s] %s is not forgiven %s, though %.64q has logged in: %s", j.Config.Name, ban.Told(id), failuresText(taken), l.User, refused))
		}
		j.forgivenEvent(id, 0, j.window.Count(id), fmt.Sprintf("not forgiven, though %.64q has logged in: %s", l.User, refused))
		return 0
	}
	n, _ := slices.BinarySearchFunc(lately, at, time.Time.Compare)
	c.forgiven[id] = slices.Insert(slices.Clone(lately), n, at)
	c.total++
	left := j.window.Forgive(id, user, at)
	for _, q := range waiting {
		q.forgiven = true
	}
	j.failuresChanged(id)
	if j.tells(j.often.forgiven, j.log, slog.LevelInfo) {
		j.log.Info(fmt.Sprintf("[%s] Forgive %s %s: %.64q has logged in", j.Config.Name, ban.Told(id), failuresText(taken), l.User))
	}
	j.forgivenEvent(id, taken, left, fmt.Sprintf("%.64q has logged in", l.User))
	return taken
}

func failuresText(n int) string {
	if n == 1 {
		return "1 failure"
	}
	return fmt.Sprintf("%d failures", n)
}

// waitingFor are the failures of an address that tried a user, and for which something has to be
// said before they count.
func (j *Jail) waitingFor(id ban.ID, user uint64, at time.Time) (out []*found) {
	mine := func(q *found) {
		if !q.forgiven && !q.at.After(at) && j.counting.mark(q).User == user {
			out = append(out, q)
		}
	}
	if w := j.pasts.by[id]; w != nil {
		for i := range w.failures {
			mine(&w.failures[i])
		}
	}
	for w := range j.checks.order.All() {
		for i := range w.failures {
			mine(&w.failures[i])
		}
	}
	return out
}

// forgivenEvent tells the table of failures that were taken back, or were not.
func (j *Jail) forgivenEvent(id ban.ID, taken, left int, why string) {
	if j.deps.Events == nil {
		return
	}
	j.deps.Events.Add(&events.Event{
		Kind: events.Forgiven, Time: j.deps.Clock.Wall(), Jail: j.Config.Name, IP: ban.Name(id), Name: id.IsName(),
		Count: taken, Failures: left, Why: why,
	})
}

// forgetForgiven forgets what was forgiven longer than a day ago.
func (j *Jail) forgetForgiven() {
	if j.counting == nil || len(j.counting.forgiven) == 0 {
		return
	}
	over := j.deps.Clock.Now().Add(-forgivenFor)
	for id, list := range j.counting.forgiven {
		if !list[len(list)-1].After(over) {
			delete(j.counting.forgiven, id)
			j.failuresOver(id)
		}
	}
}

// marked is what the store is to know of an address beside the times of its failures.
func (j *Jail) marked(id ban.ID) store.Marked {
	return store.Marked{Of: j.window.Marks(id), Forgiven: j.counting.forgiven[id]}
}

// allMarked is that of all addresses.
func (j *Jail) allMarked() map[ban.ID]store.Marked {
	if !j.counting.marks() {
		return nil
	}
	var ids []ban.ID
	j.window.Each(func(id ban.ID, _ []int64) { ids = append(ids, id) })
	out := make(map[ban.ID]store.Marked, len(ids))
	for _, id := range ids {
		if m := j.marked(id); len(m.Of)+len(m.Forgiven) > 0 {
			out[id] = m
		}
		j.pace.line()
	}
	for id := range j.counting.forgiven {
		out[id] = j.marked(id)
	}
	return out
}

// restoreMarked takes over what the store knows beside failures, which are in the window.
func (j *Jail) restoreMarked(known map[ban.ID]store.Marked) {
	if !j.counting.marks() { // it was once: nobody wants it any more
		for id := range known {
			if j.delta.Marked == nil {
				j.delta.Marked = map[ban.ID]store.Marked{}
			}
			j.delta.Marked[id] = store.Marked{}
			j.failuresOver(id)
		}
		return
	}
	over := j.deps.Clock.Now().Add(-forgivenFor)
	for id, m := range known {
		j.window.RestoreMarks(id, m.Of)
		if n := len(m.Forgiven); n > 0 && m.Forgiven[n-1].After(over) && j.counting.forgiven != nil && len(j.counting.forgiven) < forgivenMost {
			j.counting.forgiven[id] = m.Forgiven
		} else if n > 0 {
			j.failuresOver(id)
		}
	}
}
