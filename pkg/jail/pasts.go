package jail

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/store"
)

// How often an address was banned before is asked of the database beside the way of the
// lines, where ban times grow. Its failures wait for that, a second at most: then it is
// taken for new, which is told. So a disk that hangs makes bans shorter, not late.

const (
	pastTimeout = time.Second
	// pastBrief is the same while the database has not answered in time lately.
	pastBrief = 50 * time.Millisecond
	// pastsAtOnce is how many addresses are asked about in one go.
	pastsAtOnce = 100
	// overallFor is how long bans of other jails are taken to be as they were told.
	overallFor = 10 * time.Second
	// pastByHand is how long a ban by hand waits for the same.
	pastByHand = 50 * time.Millisecond
)

// pasts are the failures whose addresses' pasts are asked for.
type pasts struct {
	waitlist[ban.ID]
	unasked []ban.ID
	asking  bool
	hung    bool // it did not answer in time
}

type pastAnswer struct {
	id  ban.ID
	was past
	err error
}

// knowsPast reports whether an address can be judged at once.
func (j *Jail) knowsPast(id ban.ID) bool {
	if j.growth == nil || j.deps.Store == nil {
		return true
	}
	p, ok := j.history[id]
	return ok && (!j.growth.OverallJails || time.Now().Before(p.until))
}

// awaitPast has a failure wait for what is known of its address.
func (j *Jail) awaitPast(q *found) {
	l := &j.pasts
	w, over := l.add(q.id, *q, max(perName, j.Config.MaxRetry))
	if !w.asked {
		w.asked = true
		w.until = time.Now().Add(pastTimeout)
		if l.hung {
			w.until = time.Now().Add(pastBrief)
		}
		j.wakeAt(w.until)
		l.unasked = append(l.unasked, q.id)
	}
	j.countAsNew(over)
	j.pumpPasts()
}

// pumpPasts asks for the next addresses, if none are asked for just now.
func (j *Jail) pumpPasts() {
	l := &j.pasts
	if l.asking || len(l.unasked) == 0 {
		return
	}
	n := min(len(l.unasked), pastsAtOnce)
	ids := l.unasked[:n:n]
	l.unasked = l.unasked[n:]
	l.asking = true
	box, store, name, overall := j.inbox, j.deps.Store, j.Config.Name, j.growth != nil && j.growth.OverallJails
	go func() {
		answers := make([]pastAnswer, len(ids))
		for i, id := range ids {
			answers[i] = askPast(store, name, id, overall)
		}
		box.tell(func(j *Jail) {
			j.pasts.asking = false
			for _, a := range answers {
				j.pastKnown(a)
			}
			if n := len(j.pasts.unasked); n > waitingMost { // judged by now
				j.pasts.unasked = j.pasts.unasked[n-waitingMost:]
			}
			j.pumpPasts()
		})
	}()
}

// askPast asks the database; it may hang.
func askPast(store Store, jail string, id ban.ID, overall bool) (a pastAnswer) {
	a.id = id
	if a.was.count, a.was.last, a.err = store.BanCount(jail, id, false); a.err == nil && overall {
		a.was.overall, a.was.lastOf, a.err = store.BanCount(jail, id, true)
	}
	return a
}

// pastKnown is called with what the database says of an address.
func (j *Jail) pastKnown(a pastAnswer) {
	switch {
	case a.err == nil:
	case errors.Is(a.err, store.ErrSlow):
		j.takenNew.add(ban.Name(a.id)) // summed up: that its disk hangs was told
		a.was = past{}
	default:
		if log := j.deps.Log.With("component", "database"); j.tells(j.often.past, log, slog.LevelError) {
			log.Error(fmt.Sprintf("[%s] %v: %s is taken for new", j.Config.Name, a.err, ban.Told(a.id)))
		}
		a.was = past{}
	}
	j.pasts.hung = false
	if have, ok := j.history[a.id]; ok && have.count > a.was.count { // banned meanwhile
		a.was.count, a.was.last = have.count, have.last
	}
	a.was.until = time.Now().Add(overallFor)
	if a.err == nil || j.pasts.by[a.id] != nil {
		j.remember(a.id, a.was)
	}
	waited := j.pasts.take(a.id)
	for i := range waited {
		j.counted(&waited[i])
	}
}

// latePasts takes those for new of whom nothing was told in time.
func (j *Jail) latePasts(now time.Time) {
	if over := j.pasts.late(now); len(over) > 0 {
		j.pasts.hung = true
		j.countAsNew(over)
	}
	if w := j.pasts.order.First(); w != nil {
		j.wakeAt(w.until)
	}
}

func (j *Jail) countAsNew(list []found) {
	for i := range list {
		j.takenNew.add(ban.Name(list[i].id))
		j.counted(&list[i])
	}
}
