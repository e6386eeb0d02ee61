package jail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
)

// ignorecommand says of each failure whether it counts: exit code 0 ignores it, 1
// does not. Anything else is a mistake of the command, and the failure counts; so it
// does when the command does not end in time, or when too many failures wait for it.

const (
	ignoreWorkers = 4 // at once
	outputTold    = 2 << 10
	ignoreTimeout = time.Minute
	// ignoreBrief is how long a failure waits for a command that has not ended in time
	// at all lately.
	ignoreBrief = 5 * time.Second
	hungAfter   = ignoreWorkers
)

// checked is the command's word on a failure.
type checked struct {
	ignore bool
	err    error
}

// checks are the failures that the command is asked about.
type checks struct {
	waitlist[uint64]
	next    uint64 // the key of the next one
	running int
	streak  int // how often the command did not end in time, in a row
	answers *cache
	unasked []uint64 // keys of those that are not asked about yet; some may be judged already
}

// check has a failure wait for the command's word on it.
func (j *Jail) check(q *found) {
	c := &j.checks
	c.next++
	w, over := c.add(c.next, *q, 1)
	w.until = time.Now().Add(ignoreTimeout)
	if c.hung() {
		w.until = time.Now().Add(ignoreBrief)
	}
	if len(c.unasked) > 2*waitingMost {
		c.unasked = slices.DeleteFunc(c.unasked, func(key uint64) bool { return c.by[key] == nil })
	}
	c.unasked = append(c.unasked, c.next)
	j.wakeAt(w.until)
	j.countUnchecked(over)
	j.pumpChecks()
}

// hung reports whether the command has not ended in time lately.
func (c *checks) hung() bool { return c.streak >= hungAfter }

// pumpChecks runs the command for as many failures as may be asked about at a time.
func (j *Jail) pumpChecks() {
	c := &j.checks
	for c.running < ignoreWorkers && len(c.unasked) > 0 {
		w := c.by[c.unasked[0]]
		if c.unasked = c.unasked[1:]; w == nil {
			continue
		}
		limit := ignoreTimeout
		if c.hung() {
			limit = 2 * ignoreBrief
		}
		w.asked = true
		c.running++
		key, q, box, settings, answers := w.key, w.failures[0], j.inbox, j.Config, c.answers
		ctx := j.ctx
		go func() {
			a := j.runIgnore(ctx, settings, answers, q, limit)
			box.tell(func(j *Jail) {
				j.checks.running--
				j.checked(key, a)
				j.pumpChecks()
			})
		}()
	}
}

// runIgnore runs the command, and keeps its answers as ignorecache says. It is not the
// jail's goroutine.
func (j *Jail) runIgnore(ctx context.Context, c *config.Jail, answers *cache, q found, limit time.Duration) checked {
	ticket := j.ticket(c, q)
	key := ""
	if answers != nil {
		key = plain(c.IgnoreCache.Key, ticket)
		if ignore, ok := answers.get(key, time.Now()); ok {
			return checked{ignore: ignore}
		}
	}
	res, err := action.Fill(c.IgnoreCommand, ticket.Tag, ticket.Group).Run(ctx, limit)
	if err == nil && res.Code > 1 {
		err = fmt.Errorf("returned %d, want 0 (ignore) or 1: %s", res.Code, strings.TrimSpace(action.Cut(res.Output(), outputTold)))
	}
	ignore := err == nil && res.Code == 0
	if answers != nil && err == nil {
		answers.set(key, ignore, time.Now())
	}
	return checked{ignore, err}
}

// plain fills a text in that no shell will see.
func plain(text string, t *action.Ticket) string {
	c := action.Fill(text, t.Tag, t.Group)
	for _, v := range c.Vars {
		c.Text = strings.ReplaceAll(c.Text, "$"+v.Name, v.Value)
	}
	return c.Text
}

// ticket is a failure as the tags of a command tell of it.
func (j *Jail) ticket(c *config.Jail, q found) *action.Ticket {
	t := &action.Ticket{
		ID: ban.Name(q.id), IP: q.id.Addr(), Time: q.failure.Epoch(), Failures: 1, BanTime: c.BanTime,
		Groups: map[string]string{}, Host: j.hostName,
	}
	if q.failure.IP.IsValid() {
		t.IP = q.failure.IP
	}
	for _, l := range q.failure.Lines {
		t.Matches = append(t.Matches, action.Cut(l.String(), lineMost))
	}
	for name := range q.failure.Groups {
		if text, ok := q.failure.Groups.Text(name); ok {
			t.Groups[name] = action.Cut(text, lineMost)
		}
	}
	return t
}

func (j *Jail) hostName(ctx context.Context, a netip.Addr) string {
	if j.deps.Host == nil {
		return ""
	}
	return j.deps.Host(ctx, a)
}

// checked is called with the command's word on a failure.
func (j *Jail) checked(key uint64, a checked) {
	c := &j.checks
	var late *action.TimeoutError
	switch {
	case errors.As(a.err, &late):
		j.ignoreHangs(1)
	case c.hung() && !errors.Is(a.err, context.Canceled):
		j.log.Warn(fmt.Sprintf("[%s] ignorecommand ends in time again", j.Config.Name))
		c.streak = 0
	default:
		c.streak = 0
	}
	waited := c.take(key)
	if len(waited) == 0 {
		return // it was judged without
	}
	q := &waited[0]
	switch {
	case errors.Is(a.err, context.Canceled): // the jail before this one ended
		j.judge(q)
		return
	case a.err != nil:
		if j.tells(j.often.command, j.log, slog.LevelError) {
			j.log.Error(fmt.Sprintf("[%s] ignorecommand for %s: %v", j.Config.Name, q.who(), a.err))
		}
	case a.ignore:
		j.counters.ignored.Add(1)
		j.ignores(q.who(), "command")
		j.happened(q, false, 0, "ignored: ignorecommand")
		return
	}
	j.count(q)
}

// ignoreHangs notes that the command did not end in time so many times more. When it
// does so again and again, failures wait for it only a little.
func (j *Jail) ignoreHangs(times int) {
	c := &j.checks
	was := c.hung()
	if c.streak += times; was || !c.hung() {
		return
	}
	j.log.Error(fmt.Sprintf("[%s] ignorecommand does not end within %v, again and again: until it does, failures wait for it %v and then count", j.Config.Name, ignoreTimeout, ignoreBrief))
	soon := time.Now().Add(ignoreBrief)
	for w := range c.order.All() {
		if w.until.After(soon) {
			w.until = soon
		}
	}
	j.wakeAt(soon)
}

// lateChecks counts the failures that have waited for as long as they may.
func (j *Jail) lateChecks(now time.Time) {
	if over := j.checks.late(now); len(over) > 0 {
		j.countUnchecked(over)
	}
	if w := j.checks.order.First(); w != nil {
		j.wakeAt(w.until)
	}
}

// countUnchecked counts failures without the command's word, and has that told.
func (j *Jail) countUnchecked(list []found) {
	for i := range list {
		j.unasked.add(ban.Name(list[i].id))
		j.count(&list[i])
	}
}

// recheck goes on with failures that waited in the jail before this one.
func (j *Jail) recheck() {
	if j.Config.IgnoreCommand != "" {
		j.pumpChecks()
		return
	}
	j.checks.unasked = nil
	for w := range j.checks.order.All() {
		if !w.asked { // else its word will come
			waited := j.checks.take(w.key)
			for i := range waited {
				j.count(&waited[i])
			}
		}
	}
}
