package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

// Whom an operator lets in for a while. It is kept in a file beside the database (keptlines.go).

const (
	// allowMost is how many addresses and networks may be let in at a time.
	allowMost   = 1000
	allowEnding = ".allowed"
	// allowWait is how long the disk, and lists, are waited for.
	allowWait = time.Second
)

// startAllowing reads who was let in before.
func (d *Daemon) startAllowing() {
	d.allows = d.keepsLines(allowEnding, "who is let in by bailiff allow", func(path string) error { return writeLines(path, d.Allowed()) })
	var list []guard.LetIn
	readLines(d.allows, "no address with a time", func(a *control.Allowance) bool {
		p, err := iplist.Parse(a.IP)
		if err != nil || iplist.TooWide(p) {
			return false
		}
		if slices.ContainsFunc(list, func(l guard.LetIn) bool { return l.Prefix == p }) {
			return true
		}
		if left := time.Until(a.Until); left > 0 && len(list) < allowMost {
			list = append(list, guard.LetIn{Prefix: p, Until: time.Now().Add(min(left, control.AllowLongest))})
		}
		return true
	})
	if d.guard.SetLetIn(list); len(list) > 0 {
		d.log.With("component", "database").Info(fmt.Sprintf("%d addresses and networks are let in for a while (bailiff allow)", len(list)))
	}
}

// Allow implements control.Daemon.
func (d *Daemon) Allow(r control.AllowRequest) ([]control.AllowResult, error) {
	begun := time.Now()
	last := time.Duration(r.Seconds * float64(time.Second))
	if !r.End && (r.Seconds <= 0 || r.Seconds > control.AllowLongest.Seconds()) {
		return nil, control.Bad(fmt.Errorf("seconds: %v: want more than 0, and at most %.0f (%d days); who is never to be banned belongs into ignoreip, or bailiff never", r.Seconds, control.AllowLongest.Seconds(), int(control.AllowLongest.Hours()/24)))
	}
	out := make([]control.AllowResult, len(r.IPs))
	var ids []string
	var of []int // which of out
	d.allows.mu.Lock()
	list := d.guard.LetIn()
	for i, s := range r.IPs {
		var id ban.ID
		if id, out[i] = decidedOf(s); out[i].Error != "" {
			continue
		}
		p := id.Prefix()
		at := slices.IndexFunc(list, func(l guard.LetIn) bool { return l.Prefix == p })
		switch {
		case r.End && at < 0:
			out[i].Error = out[i].IP + " is not let in by bailiff allow"
			continue
		case r.End:
			list = slices.Delete(list, at, at+1)
			continue
		case jail.TooWide(id):
			out[i].Error = fmt.Sprintf("%s is wider than /8 (IPv6: /19): to switch banning off, use observe = true", out[i].IP)
			continue
		case at < 0 && len(list) >= allowMost:
			out[i].Error = fmt.Sprintf("%s: %d addresses and networks are let in, as many as may be: end some of them, or use ignoreip", out[i].IP, allowMost)
			continue
		}
		until := begun.Add(last)
		out[i].Until = &until
		if l := (guard.LetIn{Prefix: p, Until: until}); at < 0 {
			list = append(list, l)
		} else {
			list[at] = l
		}
		ids, of = append(ids, out[i].IP), append(of, i)
	}
	pending := lifting{d: d, begun: begun, jails: d.running(), ids: ids, of: of, by: r.By}
	pending.first()
	d.guard.SetLetIn(list)
	note := d.allows.save()
	for i := range out {
		if out[i].Error == "" {
			d.tellAllowed(events.Event{IP: out[i].IP, By: r.By, Until: out[i].Until, Why: allowWords[r.End]})
		}
	}
	d.allows.mu.Unlock()
	for i := range out {
		if out[i].Error == "" {
			out[i].Pending = note
		}
	}
	pending.rest(out)
	return out, nil
}

// decidedOf is the address or network that a request names, and the answer for it so far.
func decidedOf(s string) (ban.ID, control.AllowResult) {
	p, err := iplist.Parse(s)
	if err != nil {
		return ban.ID{}, control.AllowResult{IP: s, Jails: []string{}, Error: err.Error()}
	}
	id := ban.Of(p)
	return id, control.AllowResult{IP: ban.Name(id), Jails: []string{}}
}

// allowWords are what an event says of who is let in; true: no more.
var allowWords = map[bool]string{false: "let in by hand", true: "no longer let in"}

// tellAllowed tells the table of what somebody decided about an address.
func (d *Daemon) tellAllowed(e events.Event) {
	e.Kind, e.Time = events.Allow, d.clock.Wall()
	d.events.Add(&e)
}

// lifting lifts bans of those who are not to be banned by now: before the guard knows of it, so that it is told
// by whom, and once more behind that.
type lifting struct {
	d     *Daemon
	begun time.Time
	jails []*jail.Jail
	only  string // the jail or list that was named, if one was
	ids   []string
	of    []int // which of the answers each of ids is
	by    string
	did   []control.UnbanResult
}

func (l *lifting) first() { l.did = l.d.unban(l.jails, l.only, l.ids, l.by) }

// rest waits for lists and the kernel, and puts into the answers what became of it.
func (l *lifting) rest(out []control.AllowResult) {
	if len(l.ids) == 0 {
		return
	}
	late := l.d.listsFollow(allowWait)
	// Once more: who was banned meanwhile is let in, and so is who is in a banned network, by
	// the time at which the jails have come to this.
	again := l.d.unban(l.jails, l.only, l.ids, l.by)
	for i, u := range l.did {
		res := &out[l.of[i]]
		res.Jails, res.Count, res.Error = u.Jails, u.Count, u.Error
		res.Lifted, res.By = liftedOf(u.By, again[i].By, late != "")
		for _, text := range []string{u.Pending, again[i].Pending, late} {
			if text != "" && !strings.Contains(res.Pending, text) {
				res.Pending = strings.TrimPrefix(res.Pending+"; "+text, "; ")
			}
		}
	}
	if pending := l.d.settle(l.begun, false, l.jails...); pending != "" {
		for _, i := range l.of {
			if out[i].Pending == "" {
				out[i].Pending = pending
			}
		}
	}
}

// liftedOf tells what is lifted of that which shut out somebody besides a ban of his own, and
// what shuts him out all the same: a ban that was made with force. Lists that follow later are
// neither.
func liftedOf(before, now []control.Wider, later bool) (lifted, by []control.Wider) {
	same := func(a control.Wider) func(control.Wider) bool {
		return func(b control.Wider) bool {
			return a.Jail == b.Jail && a.List == b.List && a.IP == b.IP && (a.Inside > 0) == (b.Inside > 0)
		}
	}
	for _, w := range now {
		if !w.List || !later {
			by = append(by, w)
		}
	}
	for _, w := range before {
		i := slices.IndexFunc(now, same(w))
		switch {
		case i < 0:
			lifted = append(lifted, w)
		case w.Inside > now[i].Inside:
			w.Inside -= now[i].Inside
			lifted = append(lifted, w)
		}
	}
	return lifted, by
}

// Allowed implements control.Daemon.
func (d *Daemon) Allowed() []control.Allowance {
	out := []control.Allowance{}
	for _, l := range d.guard.LetIn() {
		out = append(out, control.Allowance{IP: ban.Name(ban.Of(l.Prefix)), Until: l.Until})
	}
	return out
}

// listsFollow waits until the lists heed the rules that hold now, and says which don't yet.
func (d *Daemon) listsFollow(most time.Duration) string {
	end := time.Now().Add(most)
	for name, l := range d.listsNow() {
		for {
			l.mu.Lock()
			done := l.ended || l.raw == nil || l.rules == l.view.Rules()
			l.mu.Unlock()
			if done {
				break
			}
			if time.Now().After(end) {
				return fmt.Sprintf("list %s follows as soon as the kernel takes it", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return ""
}
