package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// How much happens over time. It is written once an hour, and counted again from the events after a
// kill.

// historyEvery is how often what was counted is written.
const historyEvery = time.Hour

// keepHistory takes what was counted each minute.
func (d *Daemon) keepHistory(ctx context.Context) {
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		d.loadHistory(ctx)
	}()
	sample := time.NewTicker(time.Minute)
	defer sample.Stop()
	for saved := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-sample.C:
		}
		d.history.Sample()
		select {
		case <-loaded: // not before: what is not counted yet would be taken for counted
		default:
			continue
		}
		if time.Since(saved) >= historyEvery {
			saved = time.Now()
			d.saveHistory()
		}
	}
}

// saveHistory writes what was counted.
func (d *Daemon) saveHistory() {
	n, _, _ := d.events.Last()
	if err := d.history.Save(n); err != nil {
		d.log.With("component", "database").Error(fmt.Sprintf("history: %v; it is tried again in an hour, and at the stop", err))
	}
}

// loadHistory reads what is known from before, and counts what is behind that from the events.
func (d *Daemon) loadHistory(ctx context.Context) {
	log := d.log.With("component", "database")
	known, err := d.history.Load()
	if err != nil {
		log.Warn(fmt.Sprintf("history: %v", err))
	}
	own := d.ownStart(ctx)
	if ctx.Err() != nil {
		return
	}
	if err := d.events.Reader(known.Minutes).Each(func(n uint64, line []byte) bool {
		if own > 0 && n >= own {
			return false
		}
		if name, at, c, ok := countOf(line); ok {
			d.history.Count(name, at, c, n <= known.N)
		}
		return ctx.Err() == nil
	}); err != nil {
		log.Warn(fmt.Sprintf("history: events: %v", err))
	}
	d.history.Loaded()
}

// ownStart is the number of the event that this daemon has started: what is behind it is counted as it
// happens. 0: it is not known.
func (d *Daemon) ownStart(ctx context.Context) (own uint64) {
	wait := time.NewTicker(100 * time.Millisecond)
	defer wait.Stop()
	begun := d.clock.ToWall(d.started).Add(-2 * time.Second)
	for {
		last, _, ok := d.events.Last()
		if ok && last > 0 {
			_ = d.events.Reader(0).Each(func(n uint64, line []byte) bool {
				if e := startEvent(line); e != nil && e.Time.After(begun) {
					own = n
				}
				return ctx.Err() == nil
			})
			if own > 0 {
				return own
			}
		}
		select {
		case <-ctx.Done():
			return 0
		case <-wait.C:
		}
	}
}

func startEvent(line []byte) *events.Event {
	f := events.Filter{Kinds: []events.Kind{events.Start}}
	if !f.Wants(line) {
		return nil
	}
	e, err := events.Parse(line)
	if err != nil {
		return nil
	}
	return &e
}

// countOf is what an event counts for. Failures that are not kept one by one are taken for ones that
// count.
func countOf(line []byte) (name string, at time.Time, c history.Counts, ok bool) {
	e, err := events.Parse(line)
	if err != nil || e.Jail == "" {
		return "", at, c, false
	}
	switch {
	case e.Kind == events.Found && e.Counted == nil:
		c.Failures = 1
	case e.Kind == events.More && e.What == events.Found:
		c.Failures = int64(e.Count)
	case e.Kind == events.Ban && jail.CountsAsBan(e.Why), e.Kind == events.More && e.What == events.Ban:
		c.Bans = 1
		if e.Kind == events.More {
			c.Bans = int64(e.Count)
		}
	case e.Kind == events.Unban, e.Kind == events.More && e.What == events.Unban:
		c.Unbans = 1
		if e.Kind == events.More {
			c.Unbans = int64(e.Count)
		}
	default:
		return "", at, c, false
	}
	return e.Jail, e.Time, c, true
}

// History implements control.Daemon.
func (d *Daemon) History(q history.Query) (history.Answer, error) { return d.history.Ask(q), nil }

const (
	// topPatience is how long the disk with the events may take to tell who was most active.
	topPatience = 10 * time.Second
	// topKept is how long an answer is given again, and topAnswers how many of them are kept.
	topKept    = 15 * time.Second
	topAnswers = 32
)

// tops are answers to who was most active. One question at a time is gone into.
type tops struct {
	asking chan struct{}
	once   sync.Once
	mu     sync.Mutex
	kept   map[topAsked]topAnswer
}

// topAsked is a question; since in minutes, so that who asks for the last hour gets the same answer for a
// while.
type topAsked struct {
	what, jail string
	since      int64
	most       int
}

type topAnswer struct {
	at  time.Time
	top events.Top
}

// Top implements control.Daemon.
func (d *Daemon) Top(q events.TopQuery) (out control.TopAnswer, err error) {
	t := &d.tops
	t.once.Do(func() { t.asking, t.kept = make(chan struct{}, 1), map[topAsked]topAnswer{} })
	key := topAsked{q.What, q.Jail, q.Since.Unix() / 60, q.Most}
	look := func() (top events.Top, ok bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		a, ok := t.kept[key]
		return a.top, ok && time.Since(a.at) < topKept
	}
	if top, ok := look(); ok {
		return control.TopAnswer{Top: top}, nil
	}
	timer := time.NewTimer(topPatience)
	defer timer.Stop()
	select {
	case t.asking <- struct{}{}:
	case <-timer.C:
		return out, fmt.Errorf("others ask who was most active, and the disk with the events has not answered within %v: ask again", topPatience)
	}
	if top, ok := look(); ok { // others asked the same
		<-t.asking
		return control.TopAnswer{Top: top}, nil
	}
	var top events.Top
	if !safefile.Within(topPatience, func() {
		defer func() { <-t.asking }()
		top, err = events.TopOf(d.events.Reader(0), q)
	}) {
		return control.TopAnswer{Top: events.Top{What: q.What, Since: q.Since, Entries: []events.Most{}}, Problems: []string{"the disk with the events does not answer"}}, nil
	}
	out.Top = top
	if err != nil {
		out.Problems = []string{fmt.Sprintf("events: %v", err)}
		return out, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, a := range t.kept {
		if time.Since(a.at) >= topKept || len(t.kept) >= topAnswers {
			delete(t.kept, k)
		}
	}
	t.kept[key] = topAnswer{time.Now(), top}
	return out, nil
}
