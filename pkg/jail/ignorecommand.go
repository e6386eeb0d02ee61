package jail

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
)

// ignorecommand says of each failure whether it counts: exit code 0 ignores it, 1
// does not. Anything else is a mistake of the command, and the failure counts.

const (
	ignoreWorkers = 4
	ignoreTimeout = time.Minute
)

// checked is a failure with the command's word on it.
type checked struct {
	found
	ignore bool
	err    error
}

// ignoreWorker runs the command, and keeps its answers as ignorecache says.
func (j *Jail) ignoreWorker() func() func(context.Context, found) checked {
	var answers *cache
	if c := j.Config.IgnoreCache; c != nil {
		answers = &cache{most: c.Max, ttl: c.MaxAge}
	}
	answer := func(ctx context.Context, q found) checked {
		ticket := j.ticket(q)
		key := ""
		if answers != nil {
			key = plain(j.Config.IgnoreCache.Key, ticket)
			if ignore, ok := answers.get(key, time.Now()); ok {
				return checked{found: q, ignore: ignore}
			}
		}
		res, err := action.Fill(j.Config.IgnoreCommand, ticket.Tag, ticket.Group).Run(ctx, ignoreTimeout)
		if err == nil && res.Code > 1 {
			err = fmt.Errorf("returned %d, want 0 (ignore) or 1: %s", res.Code, strings.TrimSpace(string(res.Output)))
		}
		ignore := err == nil && res.Code == 0
		if answers != nil && err == nil {
			answers.set(key, ignore, time.Now())
		}
		return checked{q, ignore, err}
	}
	return func() func(context.Context, found) checked { return answer }
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
func (j *Jail) ticket(q found) *action.Ticket {
	t := &action.Ticket{
		ID: ban.Name(q.id), IP: q.id.Addr(), Time: q.failure.Epoch(), Failures: 1, BanTime: j.Config.BanTime,
		Groups: map[string]string{}, Host: j.hostName,
	}
	if q.failure.IP.IsValid() {
		t.IP = q.failure.IP
	}
	for _, l := range q.failure.Lines {
		t.Matches = append(t.Matches, l.String())
	}
	for name := range q.failure.Groups {
		if text, ok := q.failure.Groups.Text(name); ok {
			t.Groups[name] = text
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

func (j *Jail) checked(a checked) {
	log := j.log
	switch {
	case a.err != nil:
		log.Error(fmt.Sprintf("[%s] ignorecommand for %s: %v", j.Config.Name, ban.Name(a.id), a.err))
	case a.ignore:
		log.Info(fmt.Sprintf("[%s] Ignore %s by command", j.Config.Name, ban.Name(a.id)))
		return
	}
	j.count(a.found)
}
