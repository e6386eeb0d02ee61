package store

import (
	"maps"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fleet"
)

// Event is a ban that was made or lifted.
type Event struct {
	Ban     ban.Ban
	Matches []string // lines of the log that led to it
	// Groups are what the filter captured, by name; Captured finds it where it is not known
	// yet, and is called when the ban is written.
	Groups   map[string]string
	Captured func() map[string]string
	// Said is what the fleet is told of it, asked for when it is written: that goes into the ban's own transaction.
	// nil: it is told of nothing.
	Said   func() []fleet.Out
	Lifted bool // it was lifted by hand
	// Moved: it is there already, and lasts from Ban.Start to Ban.End now: it ends earlier,
	// since another one takes its place, or later.
	Moved bool
	// AllLifted: every ban of the jail was, whatever Ban says.
	AllLifted bool
}

// Delta is what changed in a jail since the last one.
//
// Where too much changed to be told one by one, or nothing is known any more, it says
// what is: All… says so, and what was is forgotten.
type Delta struct {
	Jail     string
	Events   []Event
	Failures map[ban.ID][]time.Time
	// Marked says more of those in Failures or Window, in a jail that keeps it.
	Marked map[ban.ID]Marked
	Logs   map[LogKey]Position

	// AllBans: the bans in force are Bans, and then Events.
	AllBans bool
	Bans    *ban.Snapshot
	// AllFailures: the failures are those of Window, and then Failures.
	AllFailures bool
	Window      Window
	// AllLogs: Logs are all there are.
	AllLogs bool

	lines int // bytes of the lines in Events
}

// Window is the failures of many addresses, in little memory.
type Window struct {
	ids   []ban.ID
	ends  []int // of an address's in times
	times []int64
}

// Add adds the failures of an address, in microseconds since 1970, ascending.
func (w *Window) Add(id ban.ID, times ...int64) {
	w.times = append(w.times, times...)
	w.ids, w.ends = append(w.ids, id), append(w.ends, len(w.times))
}

// Grow makes room for so many addresses.
func (w *Window) Grow(n int) {
	w.ids, w.ends, w.times = slices.Grow(w.ids, n), slices.Grow(w.ends, n), slices.Grow(w.times, n)
}

// whole reports whether it tells all of a jail.
func (d *Delta) whole() bool { return d.AllBans && d.AllFailures && d.AllLogs }

// LogKey tells the files of one path apart.
type LogKey struct {
	Path       string
	Dev, Inode uint64
}

// Empty reports whether nothing changed.
func (d *Delta) Empty() bool {
	return len(d.Events) == 0 && len(d.Failures) == 0 && len(d.Logs) == 0 && !d.AllBans && !d.AllFailures && !d.AllLogs
}

const (
	// RoomMost is how much may wait to be written for one jail: addresses, bans and
	// positions. What is more, the jail holds back.
	RoomMost = 20_000
	// eventLines is how many bytes of lines of the log a jail holds back with bans; the
	// older bans go without.
	eventLines = 4 << 20
	// logsMost is how many files' positions wait; those that are gone are forgotten.
	logsMost = 10_000
)

func (d *Delta) weight() int {
	return len(d.Events) + len(d.Failures) + len(d.Logs) + d.Bans.Len() + len(d.Window.ids)
}

// Add adds an event. Where the lines of all of them are too much, the earlier ones go
// without.
func (d *Delta) Add(e Event) {
	size := linesOf(&e)
	if len(d.Events) == 0 {
		d.lines = 0
	}
	if d.lines+size > eventLines {
		for i := range d.Events {
			d.Events[i].Matches, d.Events[i].Groups, d.Events[i].Captured = nil, nil, nil
		}
		d.lines = 0
	}
	d.lines += size
	d.Events = append(d.Events, e)
}

// TakeEvents moves the events to a delta of their own.
func (d *Delta) TakeEvents() *Delta {
	out := &Delta{Jail: d.Jail, Events: d.Events, lines: d.lines}
	d.Events, d.lines = nil, 0
	return out
}

// merge puts a later delta of the same jail to this one. It reports whether events were
// dropped.
func (d *Delta) merge(later *Delta) (dropped bool) {
	if later.AllBans {
		dropped = len(d.Events) > 0
		d.AllBans, d.Bans, d.Events = true, later.Bans, nil
	}
	d.Events = append(d.Events, later.Events...)
	if later.AllFailures {
		d.AllFailures, d.Window, d.Failures = true, later.Window, nil
	}
	if d.Failures == nil {
		d.Failures = map[ban.ID][]time.Time{}
	}
	for id, times := range later.Failures {
		d.Failures[id] = times
	}
	if later.AllFailures {
		d.Marked = nil
	}
	if d.Marked == nil {
		d.Marked = later.Marked
	} else {
		maps.Copy(d.Marked, later.Marked)
	}
	if later.AllLogs || d.Logs == nil {
		d.AllLogs, d.Logs = d.AllLogs || later.AllLogs, map[LogKey]Position{}
	}
	for k, p := range later.Logs {
		d.Logs[k] = p
	}
	if len(d.Logs) > logsMost {
		for k, p := range d.Logs {
			if p.Gone {
				delete(d.Logs, k)
			}
		}
	}
	return dropped
}
