package source

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// All who follow the same journal share one journalctl, which is asked for what any of
// them wants; whose an entry is is found out here (journalmatch.go). It takes eight
// megabytes of memory, and looks at each entry of a busy journal.
//
// Who comes has read by himself up to now. For him, reading together stops for a moment:
// it is looked what the last entry of the whole journal is, and then everybody is read up
// to the end, those who were there together, and who comes by himself. What they have had
// meanwhile is known by its cursors. Behind that entry, reading together goes on. So nobody
// reads again, and none misses an entry, wherever they were. Who doesn't keep up goes back
// to read by himself, and holds nobody up; so do all when journalctl ends, each from where
// he was, and each says himself what is wrong.

const (
	// recentMost is how many entries are known by their cursors: those of the moment in
	// which reading together stops.
	recentMost = 1000
	// memberEntries and memberBytes are what waits for one who reads together.
	memberEntries = 5000
	memberBytes   = 4 << 20
	// behindMost is how often one doesn't keep up, or takes too long to come: then it has a
	// journalctl of its own.
	behindMost = 3
	// gatherFor is how long others that may come, too, are waited for.
	gatherFor = 50 * time.Millisecond
	// leftFor is how long it may be read what nobody wants any more.
	leftFor = 10 * time.Second
	// comeMost is how long those who were there wait for who comes.
	comeMost = 2 * time.Second
)

// errBehind says that a member does not keep up.
var errBehind = errors.New("it does not keep up")

// errUnread says that an entry is to be read once more.
var errUnread = errors.New("an entry came without its message")

// unread knows which entry is read once more. journalctl passes over a field of an entry that
// it can't read, as it happens, seldom, with one that is just being written: once more it is
// whole. Who may write to the journal may leave the message out; then it stays so.
type unread struct {
	cursor string
	since  time.Time
	times  int // since then
}

// unreadMost is how often that is done in a minute.
const unreadMost = 10

// again reports whether an entry without a message is to be read once more.
func (u *unread) again(cursor string) bool {
	if cursor == "" || cursor == u.cursor {
		return false
	}
	if now := time.Now(); now.Sub(u.since) > time.Minute {
		u.since, u.times = now, 0
	}
	u.times++
	u.cursor = cursor
	return u.times <= unreadMost
}

// member is one who reads together with others.
type member struct {
	hub     *hub
	matches [][]string
	enc     *Encoding

	begin chan struct{} // closed when he is to read up to the end
	ready chan joined   // what came of it
	bell  chan struct{} // there is something, or an end

	mu    sync.Mutex
	queue []Entry
	bytes int
	ended error

	// The hub's own.
	recent map[string]struct{} // what he has had already
	holds  matcher             // by the crew's table
}

// joined is what one who comes has had.
type joined struct {
	recent map[string]struct{}
	err    error
}

// next takes the next entry, if there is one. more says that there is another one.
func (m *member) next() (e Entry, more, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return Entry{}, false, false
	}
	e, m.queue[0] = m.queue[0], Entry{}
	if m.queue = m.queue[1:]; len(m.queue) == 0 {
		m.queue = nil
	}
	m.bytes -= len(e.Line)
	return e, len(m.queue) > 0, true
}

// why says why there will be no more; nil: there will.
func (m *member) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) > 0 {
		return nil
	}
	return m.ended
}

// give hands an entry over, unless the member does not keep up.
func (m *member) give(e Entry) {
	m.mu.Lock()
	switch {
	case m.ended != nil:
	case len(m.queue) >= memberEntries || m.bytes+len(e.Line) > memberBytes && len(m.queue) > 0:
		m.ended = errBehind
	default:
		m.queue = append(m.queue, e)
		m.bytes += len(e.Line)
	}
	m.mu.Unlock()
	m.ring()
}

// end gives no more.
func (m *member) end(why error) {
	m.mu.Lock()
	if m.ended == nil {
		m.ended = why
	}
	m.mu.Unlock()
	m.ring()
}

func (m *member) ring() {
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

// hub reads one journal for its members.
type hub struct {
	options JournalOptions // without matches
	key     string
	wake    chan struct{} // somebody comes or goes
	unread  unread

	mu     sync.Mutex
	coming []*member
	gone   map[*member]bool
	all    int // those who are there, and those who come
}

var hubs struct {
	sync.Mutex
	of map[string]*hub
}

// join has one read a journal together with others.
func join(j *Journal) *member {
	o := j.JournalOptions
	o.Matches = nil
	key := strings.Join(o.Args(), "\x00")
	m := &member{
		matches: j.Matches, enc: j.Encoding,
		begin: make(chan struct{}), ready: make(chan joined, 1), bell: make(chan struct{}, 1),
	}
	hubs.Lock()
	defer hubs.Unlock()
	h := hubs.of[key]
	if h == nil {
		h = &hub{options: o, key: key, gone: map[*member]bool{}, wake: make(chan struct{}, 1)}
		if hubs.of == nil {
			hubs.of = map[string]*hub{}
		}
		hubs.of[key] = h
		go h.run()
	}
	m.hub = h
	h.mu.Lock()
	h.coming = append(h.coming, m)
	h.all++
	h.mu.Unlock()
	h.poke()
	return m
}

// leave takes a member away.
func (m *member) leave() {
	m.mu.Lock()
	m.queue, m.ended = nil, errBehind
	m.mu.Unlock()
	h := m.hub
	h.mu.Lock()
	h.gone[m] = true
	h.all--
	h.mu.Unlock()
	h.poke()
}

func (h *hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// over reports whether there is nobody any more; then the hub is no more, either.
func (h *hub) over() bool {
	hubs.Lock()
	defer hubs.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all > 0 {
		return false
	}
	delete(hubs.of, h.key)
	return true
}

// muster lets go who has gone, and returns who has come.
func (h *hub) muster(c *crew) (coming []*member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone := func(m *member) bool { return h.gone[m] }
	c.members = slices.DeleteFunc(c.members, gone)
	coming = slices.DeleteFunc(h.coming, gone)
	h.coming, h.gone = nil, map[*member]bool{}
	return coming
}

// run reads for members until there are none.
func (h *hub) run() {
	c := crew{unread: &h.unread}
	for {
		coming := h.muster(&c)
		if len(c.members)+len(coming) == 0 {
			if h.over() {
				return
			}
			<-h.wake
			continue
		}
		err := h.until(true, func(ctx context.Context) error { return h.form(ctx, &c, coming) })
		if err == nil && len(c.members) > 0 {
			err = h.until(false, func(ctx context.Context) error { return h.stream(ctx, &c) })
		}
		if err != nil {
			for _, m := range append(c.members, coming...) {
				m.end(err)
			}
			c = crew{unread: &h.unread}
		}
	}
}

// until does something until all have gone; or, unless they are being brought together,
// until somebody has come, or has gone a while ago: then there is no error.
func (h *hub) until(forming bool, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		var timer <-chan time.Time
		for {
			h.mu.Lock()
			all, coming, gone := h.all, len(h.coming), len(h.gone)
			h.mu.Unlock()
			switch {
			case all == 0:
				return
			case forming:
			case coming > 0:
				timer = time.After(gatherFor)
			case gone > 0 && timer == nil:
				timer = time.After(leftFor)
			}
			select {
			case <-h.wake:
			case <-timer:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	err := do(ctx)
	ended := ctx.Err() != nil
	cancel()
	<-done
	h.poke() // what it was woken for may not be done
	if ended {
		return nil
	}
	return err
}
