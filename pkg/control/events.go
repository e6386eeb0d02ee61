package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/events"
)

// The stream of events. Who follows it has a place in the table and no queue: what he has not
// read is in the files, and who comes back goes on behind the number that he has seen last. What he is
// sent is written once for all who are at the same place (sheets.go).

const (
	// idleEvery is how often a comment is sent where nothing happens, to who reads server-sent
	// events.
	idleEvery = 15 * time.Second
	kindsMost = 32
)

// readPatience is how long who follows may not read.
const readPatience = 10 * time.Second

// followPatience is that, in nanoseconds: a test has less.
var followPatience = func() *atomic.Int64 {
	p := new(atomic.Int64)
	p.Store(int64(readPatience))
	return p
}()

// EventsQuery says which events are wanted.
type EventsQuery struct {
	Since uint64 // those behind this number
	events.Filter
	Last   int  // of those that there are, so many at the end; 0: all
	Follow bool // those that come, too
}

// LastMost is how many events can be asked for by Last.
const LastMost = 10_000

func (q *EventsQuery) String() string {
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+"="+url.QueryEscape(value))
		}
	}
	if q.Since > 0 {
		add("since", strconv.FormatUint(q.Since, 10))
	}
	add("jail", q.Jail)
	add("ip", q.ID)
	for _, k := range q.Kinds {
		add("kind", string(k))
	}
	if !q.From.IsZero() {
		add("from", q.From.Format(time.RFC3339Nano))
	}
	if q.Last > 0 {
		add("last", strconv.Itoa(q.Last))
	}
	if q.Follow {
		add("follow", "1")
	}
	return strings.Join(parts, "&")
}

// readEventsQuery reads what a request asks for.
func readEventsQuery(r *http.Request) (q EventsQuery, sse bool, err error) {
	sse = strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	q.Follow = sse // as browsers expect it
	values := r.URL.Query()
	since := values.Get("since")
	if last := r.Header.Get("Last-Event-ID"); sse && last != "" {
		since = last // it was cut off, and goes on
	}
	if since != "" {
		if q.Since, err = strconv.ParseUint(since, 10, 63); err != nil {
			return q, sse, badRequest{fmt.Errorf("since=%.40q: want a number", since)}
		}
	}
	for key, list := range values {
		if len(list) > 1 && key != "kind" || len(list) > kindsMost {
			return q, sse, badRequest{fmt.Errorf("parameter %.40q stands there more than once", key)}
		}
		switch v := list[0]; key {
		case "since":
		case "jail":
			q.Jail = v
		case "ip":
			q.ID = v
		case "kind":
			for _, k := range list {
				if !slices.Contains(events.Kinds, events.Kind(k)) {
					return q, sse, badRequest{fmt.Errorf("kind=%.40q: there is no such kind of events", k)}
				}
				q.Kinds = append(q.Kinds, events.Kind(k))
			}
		case "from":
			if q.From, err = time.Parse(time.RFC3339, v); err != nil {
				return q, sse, badRequest{fmt.Errorf("from=%.40q: want RFC 3339, as 2026-01-31T12:00:00Z", v)}
			}
		case "last":
			if q.Last, err = strconv.Atoi(v); err != nil || q.Last < 1 || q.Last > LastMost {
				return q, sse, badRequest{fmt.Errorf("last=%.40q: want 1 to %d", v, LastMost)}
			}
		case "follow":
			if q.Follow, err = strconv.ParseBool(v); err != nil {
				return q, sse, badRequest{fmt.Errorf("follow=%.40q: want 1 or 0", v)}
			}
		default:
			return q, sse, badRequest{fmt.Errorf("unknown parameter %.40q: want since, last, from, jail, ip, kind, follow", key)}
		}
	}
	return q, sse, nil
}

// streams are those who follow events on a socket.
type streams struct {
	press press
	looks chan struct{} // has as many values as look for the last events
	wait  time.Duration // how long others wait for them
}

// looksAtOnce is how many look for the last events at a time: each goes through all of them.
const looksAtOnce = 4

// errStreams says that no more can follow.
var errStreams = errors.New("as many follow events already as may: end another one")

// tellEvents answers a request for events. free lets others ask.
func tellEvents(t *events.Table, role Role, s *streams, w http.ResponseWriter, r *http.Request, c *conn, closing <-chan struct{}, free func()) {
	defer free()
	q, sse, err := readEventsQuery(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	last, stream, ok := t.Last()
	if !ok {
		fail(w, http.StatusServiceUnavailable, errors.New("the events' files are not open: the log says why"))
		return
	}
	if !c.follow() {
		fail(w, http.StatusServiceUnavailable, errStreams)
		return
	}
	defer c.followed()
	free()
	header := w.Header()
	header.Set("Bailiff-Stream", stream)
	header.Set("Cache-Control", "no-store")
	if sse {
		header.Set("Content-Type", "text/event-stream; charset=utf-8")
	} else {
		header.Set("Content-Type", "application/x-ndjson; charset=utf-8")
	}
	out := &follower{w: w, to: http.NewResponseController(w)}
	begin := eventWriter{sse: sse}
	if q.Since > last {
		begin.gap(last+1, q.Since, "there are no such events: the numbers were begun anew")
		q.Since = 0
	}
	if q.Last > 0 {
		since, err := s.beforeLast(t, &q)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err)
			return
		}
		q.Since = since
	}
	s.press.enter()
	defer s.press.leave()
	at := *t.Reader(q.Since)
	cut := func(err error) {
		c.crowd.mu.Lock()
		c.crowd.complain("a client that follows events was cut off: it goes on with since=NUMBER", fmt.Sprintf("%v; user %s, behind number %d", err, userName(c.uid), at.Since()))
		c.crowd.mu.Unlock()
		panic(http.ErrAbortHandler) // the client sees that the end is none
	}
	if err := out.send(begin.buf.Bytes()); err != nil {
		cut(err)
	}
	key := sheetKey{table: t, filter: (&EventsQuery{Filter: q.Filter}).String(), sse: sse, quoted: role >= Owner}
	var idle <-chan time.Time
	if sse {
		ticker := time.NewTicker(idleEvery)
		defer ticker.Stop()
		idle = ticker.C
	}
	for {
		changed := t.Changed()
		if last, _, _ := t.Last(); last > at.Since() {
			s.press.wait()
			key.since = at.Since()
			sheet, err := s.press.sheet(&at, key, &q)
			if err == nil && len(sheet.body) > 0 {
				err = out.send(sheet.body)
			}
			if err != nil {
				cut(err)
			}
			if at = sheet.after; at.Since() > key.since {
				continue
			}
		}
		if !q.Follow {
			return
		}
		select {
		case <-changed:
		case <-closing:
			return
		case <-r.Context().Done():
			return
		case <-idle:
			if err := out.send([]byte(": \n\n")); err != nil {
				cut(err)
			}
		}
	}
}

// beforeLast is the number behind which the last events are that are wanted. A disk that hangs is not
// waited for.
func (s *streams) beforeLast(t *events.Table, q *EventsQuery) (since uint64, err error) {
	type answer struct {
		since uint64
		err   error
	}
	got := make(chan answer, 1)
	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	select {
	case s.looks <- struct{}{}:
	case <-timer.C:
		return 0, errLooks
	}
	go func() {
		defer func() { <-s.looks }()
		a := answer{since: q.Since}
		ring := make([]uint64, 0, q.Last)
		at := 0
		a.err = t.Reader(q.Since).Each(func(n uint64, line []byte) bool {
			switch {
			case !q.Wants(line):
			case len(ring) < q.Last:
				ring = append(ring, n)
			default:
				ring[at] = n
				at = (at + 1) % q.Last
			}
			return true
		})
		if len(ring) > 0 {
			a.since = ring[at%len(ring)] - 1
		}
		got <- a
	}()
	timer.Reset(sheetPatience)
	select {
	case a := <-got:
		return a.since, a.err
	case <-timer.C:
		return 0, errDisk
	}
}

// errLooks says that others keep the disk.
var errLooks = errors.New("others look for the last events, and have for a while: ask again")

// errDisk says that events could not be read in time.
var errDisk = errors.New("the disk with the events does not answer")

// follower is who is told events.
type follower struct {
	w  http.ResponseWriter
	to *http.ResponseController
}

// send sends a text, and what was said of it before.
func (f *follower) send(text []byte) error {
	_ = f.to.SetWriteDeadline(time.Now().Add(time.Duration(followPatience.Load())))
	if len(text) > 0 {
		if _, err := f.w.Write(text); err != nil {
			return err
		}
	}
	return f.to.Flush()
}

// Events asks for events: f is called with each, as a line of JSON, until it returns an error, the
// daemon has told all, or ctx ends. A line is valid until f returns.
func (c *Client) Events(ctx context.Context, q EventsQuery, f func(line []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bailiff/v1/events?"+q.String(), nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return &NotRunningError{c.socket, err}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return failureOf(res)
	}
	in := bufio.NewScanner(res.Body)
	in.Buffer(make([]byte, 16<<10), 1<<20)
	for in.Scan() {
		if err := f(in.Bytes()); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the daemon has cut the events off, or ended: %w", err)
	}
	return ctx.Err()
}

// userNames are those that were looked up, by number.
var userNames struct {
	sync.Mutex
	by map[uint32]string
}

// UserName is the name of a user, or "user id N"; of the largest number, which is nobody's, it is empty.
func UserName(uid uint32) string { return userName(uid) }

// userName is the name of a user, or "user id N".
func userName(uid uint32) string {
	if uid == ^uint32(0) {
		return ""
	}
	userNames.Lock()
	defer userNames.Unlock()
	if name, ok := userNames.by[uid]; ok {
		return name
	}
	number := strconv.FormatUint(uint64(uid), 10)
	name := "user id " + number
	if uid == 0 {
		name = "root"
	} else if u, err := user.LookupId(number); err == nil {
		name = u.Username
	}
	if userNames.by == nil || len(userNames.by) > 1000 {
		userNames.by = map[uint32]string{}
	}
	userNames.by[uid] = name
	return name
}

// askedBy is who has sent a request.
func askedBy(r *http.Request) string {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		if c.caller != nil {
			return c.caller.Name
		}
		return userName(c.uid)
	}
	return ""
}
