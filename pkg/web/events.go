package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
)

// What has happened: tables of events, and rows that come while somebody looks.

// eventRow is an event in a table.
type eventRow struct {
	events.Event
	Word, Tone string
	Says       string
}

// eventList is a table of events, the last one first.
type eventList struct {
	List         []eventRow
	Stream, Rows string // where more come from
	Last         uint64
	Most         int
}

// tones are what kinds of events look like.
var tones = map[events.Kind]string{events.Ban: "bad", events.Unban: "good", events.Error: "bad", events.Action: "bad", events.Repair: "warn", events.Gap: "warn", events.More: "warn"}

func rowOf(e events.Event) eventRow {
	r := eventRow{Event: e, Word: string(e.Kind), Tone: tones[e.Kind]}
	if slices.Contains(events.Kinds, e.Kind) {
		r.Word = text("event." + string(e.Kind))
	}
	var says []string
	add := func(s string) {
		if s != "" {
			says = append(says, s)
		}
	}
	switch {
	case e.Counted != nil && !*e.Counted:
		add(text("event.notcounted"))
	case e.Kind == events.Found && e.MaxRetry > 0:
		add(text("event.failures", "n", e.Failures, "max", e.MaxRetry))
	}
	switch {
	case e.Permanent:
		add(text("event.permanent"))
	case e.Until != nil:
		add(text("event.until", "time", e.Until.Local().Format("2006-01-02 15:04:05")))
	}
	switch {
	case e.Kind == events.More:
		add(text("event.morecount", "n", e.Count, "what", text("event."+string(e.What))))
	case e.Kind == events.Gap:
		add(text("event.numbers", "from", e.From, "to", e.To))
	case e.Kind == events.Restored && e.IP == "":
		add(text("event.bans", "n", e.Count))
	case e.Kind == events.Forgiven && e.Count > 0:
		add(text("event.takenback", "n", e.Count, "left", e.Failures))
	case e.Kind == events.Ban && e.Count > 1:
		add(text("event.times", "n", e.Count))
	}
	add(e.Why)
	add(e.Text)
	if e.By != "" {
		add(text("event.by", "name", e.By))
	}
	r.Says = strings.Join(says, " · ")
	if e.Line != "" {
		r.Lines = []string{e.Line}
	}
	return r
}

// eventList is a table of events that are there, the last one first.
func (a *ask) eventList(list []events.Event, f events.Filter, most int) eventList {
	l := eventList{Most: max(most, 50)}
	for _, e := range list {
		l.List = append(l.List, rowOf(e))
		l.Last = max(l.Last, e.N)
	}
	q := url.Values{}
	if f.Jail != "" {
		q.Set("jail", f.Jail)
	}
	if f.ID != "" {
		q.Set("ip", f.ID)
	}
	for _, k := range f.Kinds {
		q.Add("kind", string(k))
	}
	sep := "?"
	if len(q) > 0 {
		sep = "?" + q.Encode() + "&"
	}
	l.Stream, l.Rows = "/stream"+sep, "/events/rows"+sep
	return l
}

// eventsPatience is how long the daemon is asked for events.
const eventsPatience = 10 * time.Second

// lastEvents are the last ones that a filter wants.
func (a *ask) lastEvents(f events.Filter, most int) (eventList, error) {
	list, last, err := a.askEvents(control.EventsQuery{Filter: f, Last: most})
	l := a.eventList(list, f, most)
	if l.Last == 0 { // what comes next is behind the last of all
		l.Last = last
	}
	return l, err
}

// askEvents asks for events, and returns them with the last one first.
func (a *ask) askEvents(q control.EventsQuery) (list []events.Event, last uint64, err error) {
	ctx, cancel := context.WithTimeout(a.r.Context(), eventsPatience)
	defer cancel()
	err = a.api().Events(ctx, q, func(line []byte) error {
		e, err := events.Parse(line)
		if err == nil {
			list = append(list, e)
		}
		return nil
	})
	slices.Reverse(list)
	if len(list) == 0 && q.Last > 0 && err == nil && (q.Jail != "" || q.ID != "" || len(q.Kinds) > 0) {
		_ = a.api().Events(ctx, control.EventsQuery{Last: 1}, func(line []byte) error {
			if e, err := events.Parse(line); err == nil {
				last = e.N
			}
			return nil
		})
	}
	return list, last, err
}

// eventsShown is how many events are on their page.
const eventsShown = 200

// eventFilter reads which events a page is to show.
func (a *ask) eventFilter() (f events.Filter, err error) {
	v := a.r.URL.Query()
	f.Jail, f.ID = v.Get("jail"), strings.TrimSpace(v.Get("ip"))
	for _, k := range v["kind"] {
		switch {
		case k == "":
		case !slices.Contains(events.Kinds, events.Kind(k)) || len(f.Kinds) > len(events.Kinds):
			return f, &pageError{http.StatusBadRequest, errors.New(text("error.nothing"))}
		default:
			f.Kinds = append(f.Kinds, events.Kind(k))
		}
	}
	return f, nil
}

func eventsPage(a *ask) error {
	f, err := a.eventFilter()
	if err != nil {
		return err
	}
	type kind struct {
		Value, Text string
		Is          bool
	}
	d := struct {
		Kinds    []kind
		Jails    []string
		Jail, IP string
		Events   eventList
	}{Jail: f.Jail, IP: f.ID}
	for _, k := range events.Kinds {
		d.Kinds = append(d.Kinds, kind{string(k), text("event." + string(k)), slices.Contains(f.Kinds, k)})
	}
	st, err := a.api().Status()
	if err != nil {
		return err
	}
	for _, j := range st.Jails {
		d.Jails = append(d.Jails, j.Name)
	}
	if d.Events, err = a.lastEvents(f, eventsShown); err != nil {
		return err
	}
	return a.show(http.StatusOK, "events", text("events.title"), d)
}

// eventRows are the rows of events behind a number, for the script.
func eventRows(a *ask) error {
	f, err := a.eventFilter()
	if err != nil {
		return err
	}
	since, err := strconv.ParseUint(a.r.URL.Query().Get("since"), 10, 63)
	if err != nil {
		return &pageError{http.StatusBadRequest, errors.New(text("error.nothing"))}
	}
	list, _, err := a.askEvents(control.EventsQuery{Filter: f, Since: since, Last: eventsShown})
	if err != nil {
		return err
	}
	return a.write(http.StatusOK, "events", "rows", a.eventList(list, f, eventsShown).List)
}

// stream has the API tell events as they come, as long as the session lasts.
func stream(a *ask) error {
	s := a.s
	s.mu.Lock()
	s.sessions.mu.Lock()
	full := s.streams >= min(streamsMost, s.o.Most*2/3) || a.who.streams >= streamsOwn
	if !full {
		s.streams++
		a.who.streams++
	}
	s.sessions.mu.Unlock()
	s.mu.Unlock()
	if full {
		s.often.tell("streams", s.o.Warn, "as many pages follow events as may: others are refused")
		return &pageError{http.StatusServiceUnavailable, errors.New(text("error.streams"))}
	}
	defer func() {
		s.mu.Lock()
		s.sessions.mu.Lock()
		s.streams--
		a.who.streams--
		s.sessions.mu.Unlock()
		s.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(a.r.Context())
	defer cancel()
	go func() { // who is logged out follows nothing more
		look := time.NewTicker(streamLook)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				if !s.sessions.there(a.who) || !a.may(a.who) {
					cancel()
					return
				}
			case <-s.ended:
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	control.SlowBuffer(a.conn.of)
	r := a.r.Clone(ctx)
	r.URL = &url.URL{Path: "/v1/events", RawQuery: a.r.URL.RawQuery}
	r.Header.Set("Accept", "text/event-stream")
	a.w.Header().Set("X-Accel-Buffering", "no") // nginx passes it on as it comes
	s.api.Serve(a.caller(), a.w, r)
	return nil
}

// streamLook is how often it is looked whether who follows may still. Tests have another.
var streamLook = 5 * time.Second
