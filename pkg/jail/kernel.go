package jail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/events"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
)

// kernelSide is what the kernel is told, and when it is compared with the list.
type kernelSide struct {
	written   int64 // when the line was written that leads to the ban that is made; 0: none does
	pace      pace
	rush      rush
	comparing sync.Mutex // held while the kernel's sets are compared with the list
}

// What the list says and what the kernel holds. The kernel has its own timers, and others
// may put something into our sets or take it out; so the two are compared now and then,
// and mended both ways. Reading the sets and comparing goes beside the jail's goroutine,
// which has a look at a thousand at a time.

const (
	// reconcileAfter is when the sets are compared after a start: by then, the lines
	// that may have led to what they hold are read again.
	reconcileAfter = 2 * time.Second
	// leftSlack is by how much the kernel's timeout of a ban may differ from ours.
	leftSlack = 2 * time.Second
	// slice is how many elements or bans the jail's goroutine looks at before it does
	// something else.
	slice = 1000
	// strayLines is how many lines one comparison writes about what is on no list.
	strayLines = 20
)

// Difference is what a comparison found.
type Difference struct {
	Held    int // bans that the kernel has
	Missing int // bans that it lacked
	Retimed int // that were to end at another time there
	Adopted int // elements on no list that are bans now
	Removed int // elements on no list that were taken out
}

// reconcile compares once, soon after the start: what was there from before may be
// missing there, end at another time, or be nobody's.
func (j *Jail) reconcile(ctx context.Context) {
	timer := time.NewTimer(reconcileAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		if _, err := j.Compare(); err != nil && !Gone(err) {
			j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Configured.Name, err))
		}
	}
}

// comparePatience is how long a comparison waits for a jail: it is made again.
const comparePatience = 10 * time.Second

// errReplaced: another jail has taken the place of this one.
var errReplaced = errors.New("the jail was started anew meanwhile")

// Compare compares what the kernel holds with the list, and asks for the difference.
// The error may be a *BusyError.
func (j *Jail) Compare() (Difference, error) {
	j.comparing.Lock()
	defer j.comparing.Unlock()
	d, err := j.compare()
	if max(d.Held+d.Adopted+d.Removed, int(j.shown.banned.Load())) >= heldMany { // what reading them took is not wanted for an hour
		time.AfterFunc(time.Second, debug.FreeOSMemory) // the jail may be at the last piece still
	}
	return d, err
}

// heldMany is how many elements take so much memory, while they are compared, that it is
// given back at once.
const heldMany = 50_000

func (j *Jail) compare() (Difference, error) {
	c := &comparison{}
	var mark uint64
	err := j.now(func(now *Jail) {
		c.j, c.list, c.began = now, now.bans, now.deps.Clock.Now()
		mark = c.list.Follow()
	})
	if err != nil {
		return Difference{}, err
	}
	list := c.list // and not what is compared with it
	defer j.inbox.tell(func(*Jail) { list.Unfollow() })
	held, err := j.deps.Firewall.Elements(j.Configured.Name)
	if err != nil {
		return Difference{}, err
	}
	c.ended, c.inKernel = j.deps.Clock.Now(), list.Shut()
	for piece := range slices.Chunk(held, slice) {
		if err := j.part(c.list, func() { c.elements(piece) }); err != nil {
			return c.Difference, err
		}
	}
	held = nil
	next, stop := iter.Pull(c.inKernel.Others(mark))
	defer stop()
	for more := true; more; {
		if err := j.part(c.list, func() { more = c.bans(next) }); err != nil {
			return c.Difference, err
		}
	}
	c.told()
	return c.Difference, nil
}

// now has the jail's goroutine do f. When it returns, f is done or will never be.
func (j *Jail) now(f func(*Jail)) error {
	var mu sync.Mutex
	late := false
	err := j.within(comparePatience, false, func(now *Jail) {
		mu.Lock()
		defer mu.Unlock()
		if !late {
			f(now)
		}
	})
	mu.Lock()
	late = true
	mu.Unlock()
	return err
}

// part has the jail's goroutine do a part of what is done with a list of bans, if that
// is still the jail's.
func (j *Jail) part(list *ban.List, f func()) error {
	replaced := false
	err := j.now(func(now *Jail) {
		if replaced = now.bans != list; !replaced {
			f()
		}
	})
	if err == nil && replaced {
		return errReplaced
	}
	return err
}

// Refill puts all bans into the jail's sets, which were made anew, and returns how many
// there are. The error may be a *BusyError.
func (j *Jail) Refill() (n int, err error) {
	var mark uint64
	var list *ban.List
	var at *Jail
	if err := j.now(func(now *Jail) { at, list, mark = now, now.bans, now.bans.Mark() }); err != nil {
		return 0, err
	}
	next, stop := iter.Pull(list.Before(mark))
	defer stop()
	for more := true; more; {
		err := j.part(list, func() {
			now := at.deps.Clock.Now()
			changes := make([]change, 0, slice)
			for range slice {
				var b ban.Ban
				if b, more = next(); !more {
					break
				}
				if b.Element().IsValid() && (b.Permanent() || b.End.After(now)) {
					changes = append(changes, change{ID: b.ID, IP: b.IP, Left: b.Left(now)})
				}
			}
			at.enforced(changes...)
			n += len(changes)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// RulesetChanged is told that somebody else changed the kernel's ruleset: actions that
// ban by commands may have lost what they made.
func (j *Jail) RulesetChanged() {
	j.CheckActions()
}

// comparison is one at work. What the kernel held is of some moment between began and
// ended.
type comparison struct {
	Difference
	j            *Jail
	list         *ban.List
	began, ended time.Time
	inKernel     *ban.Shut // bans whose elements it has
	lines        int
}

// elements looks at some of what the kernel holds.
func (c *comparison) elements(piece []firewall.Element) {
	j := c.j
	now := j.deps.Clock.Now()
	var changes []change
	for _, e := range piece {
		id := ban.Of(e.ID)
		c.inKernel.Add(id)
		b, ok := j.holder(id)
		switch {
		case !ok:
			if change, ok := c.stray(e, now); ok {
				changes = append(changes, change)
			}
			continue
		case b.Permanent() != (e.Left == 0),
			!b.Permanent() && b.Left(now) > leftSlack && (e.Left > b.Left(c.began)+leftSlack || e.Left < b.Left(c.ended)-leftSlack):
			changes = append(changes, change{ID: id, Left: b.Left(now), Replace: true})
			c.Retimed++
		}
		c.Held++
	}
	if len(changes) > 0 {
		j.enforced(changes...)
		j.push()
	}
}

// stray is the way of an element that is on no list.
func (c *comparison) stray(e firewall.Element, now time.Time) (change, bool) {
	j, id := c.j, ban.Of(e.ID)
	if j.bans.Gone(id) || e.Left > 0 && e.Left <= leftSlack+now.Sub(c.began) {
		return change{}, false // it was lifted since, or ends by itself
	}
	if reason := j.unwanted(e, true); reason != "" {
		if c.lines++; c.lines <= strayLines {
			j.tookOut(id, reason)
		}
		c.Removed++
		return change{ID: id, Remove: true}, true
	}
	b := j.adopt(e, now)
	if c.lines++; c.lines <= strayLines {
		until := "for ever"
		if !b.Permanent() {
			until = "until " + wall(j.deps.Clock.ToWall(b.End))
		}
		j.notice("Adopt %s: in the kernel's sets, but on no list; banned %s", ban.Told(b.ID), until)
	}
	c.Adopted++
	j.actions.Ban(j.restoredTicket(b))
	return change{ID: id, Left: b.Left(now), Replace: true}, b.Permanent() != (e.Left == 0)
}

// unwanted says why an element that is on no list is not to be a ban; empty: it may be
// one. foreign: it can't be from us.
func (j *Jail) unwanted(e firewall.Element, foreign bool) string {
	switch reason := j.ignored(ban.Of(e.ID)); {
	case reason != "":
		return "it is never banned, " + reason
	case iplist.TooWide(e.ID):
		return fmt.Sprintf("it is wider than /%d (IPv6: /%d)", iplist.Shortest4, iplist.Shortest6)
	case foreign && j.deps.RemoveForeign != nil && j.deps.RemoveForeign():
		return "[firewall] foreign = remove"
	}
	return ""
}

func (j *Jail) tookOut(id ban.ID, reason string) {
	j.notice("Remove %s from the kernel's sets: on no list, and %s", ban.Told(id), reason)
}

// adopt makes a ban of an element. One without a timeout ends as if the jail had banned
// it now.
func (j *Jail) adopt(e firewall.Element, now time.Time) ban.Ban {
	b := ban.Ban{ID: ban.Of(e.ID), Start: now}
	switch {
	case e.Left > 0:
		b.End = now.Add(e.Left)
	case j.Config.BanTime > 0:
		b.End = now.Add(j.Config.BanTime)
	}
	j.bans.Add(b)
	j.banEvent(b, true, nil, "found in the kernel's sets, and on no list", "")
	j.banned(b, nil)
	return b
}

// bans looks at some bans of the list; false: those were all.
func (c *comparison) bans(next func() (ban.Ban, bool)) (more bool) {
	j := c.j
	now := j.deps.Clock.Now()
	var changes []change
	for range slice {
		b, ok := next()
		if !ok {
			j.enforced(changes...)
			return false
		}
		element := b.Element()
		if !element.IsValid() {
			continue
		}
		if b.IP.IsValid() && b.ID != element && j.why(element).Some() {
			continue
		}
		if b.Permanent() || b.End.After(now) {
			changes = append(changes, change{ID: b.ID, IP: b.IP, Left: b.Left(now)})
			c.Missing++
		}
	}
	j.enforced(changes...)
	return true
}

// told sums up what was not told one by one.
func (c *comparison) told() {
	log := c.j.deps.Log.With("component", "actions")
	if c.Missing+c.Retimed > 0 {
		text := fmt.Sprintf("the kernel's sets lacked %d bans, and %d were to end at another time there: put right", c.Missing, c.Retimed)
		log.Warn(fmt.Sprintf("[%s] %s", c.j.Configured.Name, text))
		c.j.deps.Events.Add(&events.Event{Kind: events.Repair, Jail: c.j.Configured.Name, Text: text})
	}
	if more := c.lines - strayLines; more > 0 {
		log.Warn(fmt.Sprintf("[%s] and %d more that were in the kernel's sets but on no list: %d adopted, %d removed in all", c.j.Configured.Name, more, c.Adopted, c.Removed))
	}
}
