package events

import (
	"bytes"
	"slices"
	"time"
)

// Timeline is what has happened to somebody, in order, with what is needed to understand it: restarts
// and reloads meanwhile, and what of it is not kept one by one.
type Timeline struct {
	Events []Event
	// Omitted is how many events before these are not told, since there are more than was asked for.
	Omitted int
	// Oldest is when the oldest event was that is kept of anybody; zero: there is none.
	Oldest time.Time
}

// marks are what a line has that may belong to any timeline.
var marks = func() (out [][]byte) {
	for _, k := range []Kind{Start, Stop, Reload, Restored, More, Gap} {
		out = append(out, []byte(`,"kind":"`+string(k)+`"`))
	}
	return out
}()

// TimelineOf reads the timeline of an address, a network or an id, of the last most events. Where no
// daemon runs now says when bans that have ended since are to be told as ended; else it is zero.
func TimelineOf(r *Reader, id string, most int, now time.Time) (t Timeline, err error) {
	f := Filter{ID: id}
	type place struct{ jail, ip string }
	open := map[place]Event{} // bans that have begun, and of whose end nothing was told
	jails := map[string]bool{}
	add := func(e Event) {
		if t.Events = append(t.Events, e); len(t.Events) > 2*most {
			t.Omitted += len(t.Events) - most
			t.Events = slices.Delete(t.Events, 0, len(t.Events)-most)
		}
	}
	over := func(by time.Time, why string) {
		var ended []Event
		for p, b := range open {
			if b.Until != nil && b.Until.Before(by) {
				ended = append(ended, Event{Kind: Unban, Time: *b.Until, Jail: p.jail, IP: p.ip, Name: b.Name, Address: b.Address, Why: why})
				delete(open, p)
			}
		}
		slices.SortFunc(ended, func(a, b Event) int { return a.Time.Compare(b.Time) })
		for _, e := range ended {
			add(e)
		}
	}
	stopped := true // the daemon before
	var failed error
	if err := r.Each(func(_ uint64, line []byte) bool {
		if t.Oldest.IsZero() {
			if e, err := Parse(line); err == nil {
				t.Oldest = e.Time
			}
		}
		mine := f.Wants(line)
		if !mine && !slices.ContainsFunc(marks, func(m []byte) bool { return bytes.Contains(line, m) }) {
			stopped = false
			return true
		}
		e, err := Parse(line)
		if err != nil {
			failed = err
			return true
		}
		switch {
		case mine:
			jails[e.Jail] = true
			switch p := (place{e.Jail, e.IP}); e.Kind {
			case Ban, Restored:
				open[p] = e
			case Unban:
				delete(open, p)
			}
		case len(jails) == 0, e.IP != "":
			stopped = e.Kind == Stop
			return true
		case e.Jail != "" && !jails[e.Jail]:
			stopped = false
			return true
		case e.Kind == Start:
			over(e.Time, "its time was over, while no daemon ran")
			if !stopped {
				e.Text += "; the one before it was killed"
			}
		}
		stopped = e.Kind == Stop
		add(e)
		return true
	}); err != nil {
		return t, err
	}
	if !now.IsZero() {
		over(now, "its time is over, and no daemon runs")
	}
	if n := len(t.Events) - most; n > 0 {
		t.Omitted += n
		t.Events = slices.Delete(t.Events, 0, n)
	}
	return t, failed
}
