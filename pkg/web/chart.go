package web

import (
	"sync"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
)

// What happened over time, as bars that the server draws, and who was most active.

// spanOf is a time that the overview looks back over.
type spanOf struct {
	Name string // in links
	last time.Duration
	hold time.Duration // for how long who was most active is not counted anew
}

// spans are those that can be chosen; the second is the usual one.
var spans = []spanOf{{"hour", time.Hour, 30 * time.Second}, {"day", 24 * time.Hour, 2 * time.Minute}, {"month", 30 * 24 * time.Hour, 5 * time.Minute}}

// bar is one of a picture, in its units.
type bar struct {
	Class      string
	X, Y, W, H float64
	Title      string
}

// chart is a picture, 1000 wide and 100 high, with the words around it.
type chart struct {
	Title, Sum     string
	Bars           []bar
	From, Mid, To  string
	Most           int64 // what the highest bar stands for
	Problems       []string
	Spans          []chosen
	Failures, Bans int64
}

// chosen is something to choose, and whether it is.
type chosen struct {
	Value, Text, To string
	Is              bool
}

// chartOf draws an answer: failures, and bans before them.
func chartOf(h history.Answer, title string) chart {
	c := chart{Title: title, Problems: h.Problems, Most: 1}
	for i := range h.Failures {
		c.Failures += h.Failures[i]
		c.Bans += h.Bans[i]
		c.Most = max(c.Most, h.Failures[i], h.Bans[i])
	}
	n := len(h.Failures)
	if n == 0 {
		return c
	}
	step := time.Duration(h.Step * float64(time.Second))
	form := "15:04"
	if h.To.Sub(h.From) > 25*time.Hour {
		form = "2 Jan"
	}
	at := func(i int) string { return h.From.Add(time.Duration(i) * step).Local().Format(form) }
	c.From, c.Mid, c.To = at(0), at(n/2), at(n)
	w := 1000 / float64(n)
	for i := range h.Failures {
		for _, of := range []struct {
			class string
			n     int64
		}{{"bar", h.Failures[i]}, {"bar2", h.Bans[i]}} {
			if of.n == 0 {
				continue
			}
			high := max(100*float64(of.n)/float64(c.Most), 1.5)
			x, width := float64(i)*w, w*.86
			if of.class == "bar2" {
				x, width = x+w*.2, w*.46
			}
			c.Bars = append(c.Bars, bar{of.class, x, 100 - high, width, high, text("chart.at", "time", at(i), "failures", number(h.Failures[i]), "bans", number(h.Bans[i]))})
		}
	}
	c.Sum = text("chart.sum", "failures", number(c.Failures), "bans", number(c.Bans))
	return c
}

// topTable is who was most active.
type topTable struct {
	What, Title string
	Entries     []topEntry
	Missing     bool
}

type topEntry struct {
	events.Most
	To    string // of a page; empty: there is none
	Share float64
}

// topShown is how many are in a table.
const topShown = 8

// topKept are answers that hold for a while: each takes a look at all events that are kept.
type topKept struct {
	mu sync.Mutex
	by map[string]keptTop // as many as there are spans and kinds
}

type keptTop struct {
	at  time.Time
	top control.TopAnswer
}

// askTop asks who was most active; the answer holds for a while.
func (a *ask) askTop(what string, s spanOf) (control.TopAnswer, error) {
	k := &a.s.tops
	k.mu.Lock()
	defer k.mu.Unlock() // one at a time
	now := a.s.o.Now()
	kept, ok := k.by[what+s.Name]
	if !ok || now.Sub(kept.at) > s.hold || now.Before(kept.at) {
		top, err := a.api().Top(events.TopQuery{What: what, Since: now.Add(-s.last), Most: control.TopMost})
		if err != nil {
			return top, err
		}
		kept = keptTop{now, top}
		if k.by == nil {
			k.by = map[string]keptTop{}
		}
		k.by[what+s.Name] = kept
	}
	return kept.top, nil
}

// top is a table of who was most active.
func (a *ask) top(what string, s spanOf) (topTable, error) {
	top, err := a.askTop(what, s)
	if err != nil {
		return topTable{}, err
	}
	return topOf(what, top.Entries, top.Missing > 0), nil
}

func topOf(what string, entries []events.Most, missing bool) topTable {
	t := topTable{What: what, Title: text("top." + what), Missing: missing}
	entries = entries[:min(len(entries), topShown)]
	most := 1
	for _, e := range entries {
		most = max(most, e.Failures+e.Bans)
	}
	for _, e := range entries {
		row := topEntry{Most: e, Share: 100 * float64(e.Failures+e.Bans) / float64(most)}
		switch what {
		case "ip":
			row.To = addressURL(e.Key)
		case "network":
			row.To = bansURL(control.BansQuery{Search: e.Key})
		case "jail":
			row.To = jailURL(e.Key)
		}
		t.Entries = append(t.Entries, row)
	}
	return t
}
