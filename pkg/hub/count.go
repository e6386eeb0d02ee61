package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
)

// Failures counted over all hosts. Each hub counts for itself, in memory, what hosts tell; the first whose count is full bans, in the
// name hub, by the way of every put: the same allow-list, the same limits. Nothing of a failure is stored.

const (
	// failRate is how many words of failures a host may send in a second over a while, failBurst how many at once: a host of ours sends 8.
	failRate  = 10
	failBurst = 50
	// countEvery is how often is looked what is due and was not stored.
	countEvery = time.Second
	// countSome is how many bans of it are on their way at a time, at most.
	countSome = 100
	// sweepSome is how many addresses are looked at in a second, to forget what is old.
	sweepSome = 20_000
	// liftSubjects are where the stream tells of lifts, and of what hubs say.
	liftSubjects = fleet.LiveSubjects + "*.l.>"
	hubSubjects  = fleet.LiveSubjects + fleet.Hub + ".>"
)

// counting is what a hub counts.
type counting struct {
	g     *gate
	start time.Time
	wake  chan struct{}

	mu sync.Mutex
	c  *fleet.Counter
	// lifted is the number of the newest lift that was taken into account: what a ban has seen.
	lifted uint64
}

func newCounting(g *gate) *counting {
	return &counting{g: g, start: time.Now(), wake: make(chan struct{}, 1), c: fleet.NewCounter()}
}

// now is the time by which is counted: one that nobody sets.
func (c *counting) now() int64 { return 1<<40 + time.Since(c.start).Milliseconds() }

// serve begins; stop ends it.
func (c *counting) serve(ctx context.Context) (stop func(), err error) {
	var subs []*nats.Subscription
	for subject, handle := range map[string]nats.MsgHandler{fleet.FailSubjects + "*": c.told, liftSubjects: c.live, hubSubjects: c.live} {
		sub, err := c.g.nc.Subscribe(subject, handle)
		if err == nil {
			err = sub.SetPendingLimits(queueMost, queueBytes)
		}
		if err != nil {
			return nil, err
		}
		subs = append(subs, sub)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx)
	}()
	return func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe() // the connection ends anyway
		}
		cancel()
		<-done
	}, nil
}

// told takes failures that a host tells of: the server vouches for its name.
func (c *counting) told(m *nats.Msg) {
	now := time.Now()
	host, err := fleet.ParseFailSubject(m.Subject)
	if err != nil {
		return // the server lets no host do that
	}
	answer, reason := c.take(host, m.Data, now)
	if reason != "" {
		if tell := c.g.limits.refuse(host, reason, now); tell > 0 {
			c.g.log.Warn(fmt.Sprintf("host %s: %d reports not taken, the last one (failures) %s", host, tell, why(reason, c.g.config(), host)))
		}
		answer = fleet.FailAnswer{Reason: reason}
	}
	if m.Reply == "" {
		return
	}
	data, err := answer.Encode()
	if err == nil {
		err = c.g.nc.Publish(m.Reply, data)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.g.log.Error(fmt.Sprintf("gate: an answer can't be sent: %v", err))
	}
}

// take counts what a host tells, or says why not.
func (c *counting) take(host string, data []byte, now time.Time) (a fleet.FailAnswer, r fleet.Reason) {
	if !c.g.limits.mayFail(host, now) {
		return a, fleet.Rate
	}
	f, err := fleet.DecodeFailures(data)
	switch {
	case errors.Is(err, fleet.ErrVersion):
		return a, fleet.BadVersion
	case err != nil:
		return a, fleet.BadEntry
	case c.g.isGone(host):
		return a, fleet.StaleEpoch
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rule, counts := c.c.Rule(f.Group)
	if !counts {
		return a, fleet.NoCount
	}
	by, at := c.g.rules.Load(), c.now()
	for _, of := range f.Of {
		// Whom the fleet never bans is not counted either, nor a network that is too large.
		if len(of.Ages) > 0 && (by.wide(of.Prefix) || by.allow.Overlaps(of.Prefix)) {
			continue
		}
		if !c.c.Add(at, host, f.Run, f.Group, of) {
			r = fleet.Quota // of its addresses; others of this word are counted
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	if r != "" {
		return a, r
	}
	return fleet.FailAnswer{Find: rule.Find, Share: rule.Share}, ""
}

// live takes into account what the stream tells: lifts, bans of a hub beside this one, hosts that are not trusted any more.
func (c *counting) live(m *nats.Msg) {
	s, err := fleet.ReadLive(m.Subject, m.Header, m.Data)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s.Key.Kind {
	case fleet.Lift:
		c.c.Done(c.now(), s.Key.Group, s.Key.Prefix())
		c.lifted = s.Rev // of a stream that was put back it is smaller
	case fleet.Ban:
		if s.Key.Host == fleet.Hub {
			c.c.Done(c.now(), s.Key.Group, s.Key.Prefix())
		}
	case fleet.Distrust:
		c.c.Forget(s.Key.Target())
	}
}

// run bans who is due, until the context ends.
func (c *counting) run(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-tick.C:
			c.mu.Lock()
			c.c.Sweep(c.now(), sweepSome)
			c.mu.Unlock()
		}
		c.mu.Lock()
		due := c.c.Due(c.now(), countSome)
		c.mu.Unlock()
		for _, v := range due {
			if ctx.Err() != nil {
				return
			}
			c.ban(ctx, v)
		}
	}
}

// ban bans in the hub's name. What is not stored is due still, and comes again.
func (c *counting) ban(ctx context.Context, v fleet.Verdict) {
	epoch, _ := c.g.where()
	c.mu.Lock()
	rule, counts := c.c.Rule(v.Group)
	seen := c.lifted
	c.mu.Unlock()
	if epoch == "" || !counts {
		return
	}
	key := fleet.BanKey(fleet.Hub, v.Group, v.Prefix)
	p := fleet.Put{Entry: fleet.Entry{
		Jail: v.Text(), Left: int64(rule.Ban / time.Second), N: uint64(time.Now().UnixMilli()), Seen: seen, Epoch: epoch, Count: uint32(len(v.By)), Failures: uint32(v.Failures),
	}}
	data, err := p.Encode(key.Kind)
	if err != nil {
		c.g.log.Error(fmt.Sprintf("count: %v", err))
		return
	}
	// As everybody's: read anew, and judged.
	p, r := c.g.judge(key, data)
	var a fleet.Answer
	if r == "" {
		a, r = c.put(ctx, key, p)
	}
	now := time.Now()
	switch {
	case r != "":
		if tell := c.g.limits.refuse(fleet.Hub, r, now); tell > 0 {
			c.g.log.Warn(fmt.Sprintf("count: %d bans not stored, the last one (%s) %s", tell, key, why(r, c.g.config(), fleet.Hub)))
		}
		if fleet.No(r).Status == fleet.Busy {
			return
		}
	case a.Status == fleet.Stored:
		var by []string
		for _, b := range v.By {
			by = append(by, fmt.Sprintf("%s %d", b.Host, b.Failures))
		}
		text := strings.Join(by[:min(len(by), 20)], ", ")
		if len(by) > 20 {
			text += fmt.Sprintf(" and %d more", len(by)-20)
		}
		c.g.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("[count.%s] Ban %s: %d failures on %d hosts (%s)", v.Group, v.Prefix, v.Failures, len(v.By), text))
	}
	c.mu.Lock()
	c.c.Done(c.now(), v.Group, v.Prefix)
	c.mu.Unlock()
}

// put stores a ban of the hub's, in the place of one before. What another hub has banned for the same count is no conflict.
func (c *counting) put(ctx context.Context, key fleet.Key, p fleet.Put) (fleet.Answer, fleet.Reason) {
	for range 3 {
		a, reserved := c.g.store(key, p)
		c.g.limits.leave(fleet.Hub, a, reserved, time.Now())
		if a.Status != fleet.Conflict {
			return a, a.Reason
		}
		data, rev, err := last(ctx, c.g.js, fleet.Stream, fleet.StreamSubjects+key.String())
		if err != nil {
			return a, fleet.Down
		}
		if e, err := fleet.DecodeEntry(key.Kind, data); rev != 0 && err == nil && time.Since(time.UnixMilli(int64(e.N))).Abs() < sameCount {
			return a, ""
		}
		p.Expect = rev
	}
	return fleet.Answer{}, fleet.Down
}

// sameCount is how far apart two hubs may be with the ban for one count.
const sameCount = 10 * time.Second

// held is how many addresses are counted of each host of usage.
func (c *counting) held(usage map[string]Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, u := range usage {
		u.Counted = c.c.Held(name)
		usage[name] = u
	}
}
