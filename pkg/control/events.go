package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
// read is in the files, and who comes back goes on behind the number that he has seen last.

const (
	// piece is how many bytes of events are sent at a time.
	piece = 64 << 10
	// piecePatience is how long the disk may take for one.
	piecePatience = 5 * time.Second
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
			return q, sse, badRequest{fmt.Errorf("%.40q stands there more than once", key)}
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
			return q, sse, badRequest{fmt.Errorf("%.40q is nothing that can be asked of events: since, last, from, jail, ip, kind, follow", key)}
		}
	}
	return q, sse, nil
}

// streams is how many follow events on a socket, in all and by user.
type streams struct {
	mu     sync.Mutex
	n      int
	byUser map[uint32]int
}

// enter has one more follow, if half of the connections are left to others. leave is nil if not.
func (s *streams) enter(c *conn) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= max(c.crowd.clients/2, 1) || s.byUser[c.uid] >= max(c.crowd.perUser/2, 1) {
		return nil
	}
	if s.byUser == nil {
		s.byUser = map[uint32]int{}
	}
	s.n++
	s.byUser[c.uid]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.n--
		if s.byUser[c.uid]--; s.byUser[c.uid] == 0 {
			delete(s.byUser, c.uid)
		}
	}
}

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
	leave := s.enter(c)
	if leave == nil {
		fail(w, http.StatusServiceUnavailable, errStreams)
		return
	}
	defer leave()
	free()
	header := w.Header()
	header.Set("Bailiff-Stream", stream)
	header.Set("Cache-Control", "no-store")
	if sse {
		header.Set("Content-Type", "text/event-stream; charset=utf-8")
	} else {
		header.Set("Content-Type", "application/x-ndjson; charset=utf-8")
	}
	out := &eventWriter{w: w, to: http.NewResponseController(w), sse: sse}
	if q.Since > last {
		out.gap(last+1, q.Since, "there are no such events: the numbers were begun anew")
		q.Since = 0
	}
	if q.Last > 0 {
		since, err := beforeLast(t, &q)
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err)
			return
		}
		q.Since = since
	}
	feed := &feed{r: t.Reader(q.Since), q: &q, role: role}
	idle := time.NewTicker(idleEvery)
	defer idle.Stop()
	for {
		changed := t.Changed()
		more, err := feed.fill(out)
		if err == nil {
			err = out.flush()
		}
		if err != nil {
			c.crowd.mu.Lock()
			c.crowd.complain("a client that follows events was cut off: it goes on with since=NUMBER", fmt.Sprintf("%v; user %s, behind number %d", err, userName(c.uid), feed.r.Since()))
			c.crowd.mu.Unlock()
			panic(http.ErrAbortHandler) // the client sees that the end is none
		}
		if more {
			continue
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
		case <-idle.C:
			if sse {
				out.buf.WriteString(": \n\n")
			}
		}
	}
}

// beforeLast is the number behind which the last events are that are wanted. A disk that hangs is not
// waited for.
func beforeLast(t *events.Table, q *EventsQuery) (since uint64, err error) {
	type answer struct {
		since uint64
		err   error
	}
	got := make(chan answer, 1)
	go func() {
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
	timer := time.NewTimer(piecePatience)
	defer timer.Stop()
	select {
	case a := <-got:
		return a.since, a.err
	case <-timer.C:
		return 0, errDisk
	}
}

// feed reads events for one client.
type feed struct {
	r    *events.Reader
	q    *EventsQuery
	role Role
	told bool // some were
}

// errDisk says that events could not be read in time.
var errDisk = errors.New("the disk with the events does not answer")

// fill reads a piece of what there is, and reports whether there may be more. A disk that hangs is
// not waited for.
func (f *feed) fill(out *eventWriter) (more bool, err error) {
	type answer struct {
		more bool
		err  error
	}
	got := make(chan answer, 1)
	into := &eventWriter{sse: out.sse} // it may be left behind
	go func() {
		var a answer
		expected := f.r.Since() + 1
		any := f.told || f.r.Since() > 0
		a.err = f.r.Each(func(n uint64, line []byte) bool {
			if any && n > expected && !isGap(line) {
				into.gap(expected, n-1, "no longer kept")
			}
			expected, any = n+1, true
			if f.q.Wants(line) {
				if f.role < Owner {
					line = unquotedEvent(line)
				}
				into.event(n, line)
			}
			a.more = into.buf.Len() >= piece
			return !a.more
		})
		got <- a
	}()
	timer := time.NewTimer(piecePatience)
	defer timer.Stop()
	select {
	case a := <-got:
		f.told = f.told || f.r.Since() > 0
		out.buf.Write(into.buf.Bytes())
		return a.more, a.err
	case <-timer.C:
		return false, errDisk
	}
}

// unquotedEvent leaves out of an event for who may only ask what a line of our log quotes.
func unquotedEvent(line []byte) []byte {
	if !bytes.Contains(line, []byte(`,"text":"`)) || !bytes.Contains(line, []byte(`\"`)) {
		return line
	}
	e, err := events.Parse(line)
	if err != nil {
		return nil
	}
	e.Text = quoted.ReplaceAllLiteralString(e.Text, `"…"`)
	line, _ = json.Marshal(e)
	return line
}

func isGap(line []byte) bool { return bytes.Contains(line, []byte(`,"kind":"`+string(events.Gap)+`"`)) }

// eventWriter writes events in the form that a client wants.
type eventWriter struct {
	w   http.ResponseWriter
	to  *http.ResponseController
	sse bool
	buf bytes.Buffer
}

func (o *eventWriter) event(n uint64, line []byte) {
	if o.sse {
		fmt.Fprintf(&o.buf, "id: %d\ndata: %s\n\n", n, line)
		return
	}
	o.buf.Write(line)
	o.buf.WriteByte('\n')
}

// gap tells of numbers of which nothing is told. It is no event, and has no number.
func (o *eventWriter) gap(from, to uint64, why string) {
	line, _ := json.Marshal(map[string]any{"kind": events.Gap, "from": from, "to": to, "why": why})
	if o.sse {
		fmt.Fprintf(&o.buf, "data: %s\n\n", line)
		return
	}
	o.buf.Write(append(line, '\n'))
}

// flush sends what was written.
func (o *eventWriter) flush() error {
	_ = o.to.SetWriteDeadline(time.Now().Add(time.Duration(followPatience.Load())))
	_, err := o.w.Write(o.buf.Bytes())
	o.buf.Reset()
	if err == nil {
		err = o.to.Flush()
	}
	return err
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
