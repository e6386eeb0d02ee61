// Package top is the live view at a terminal: the jails of a daemon with their rates, bans as they
// come, and what a person does about them. All that it knows it asks over the socket, and it holds
// on when the daemon ends and is started again.
//
//	err := top.Run(ctx, control.NewClient(socket), top.Options{})
//
// What is shown of logs is cleaned of whatever would steer a terminal, and what is held in memory
// has an end: so many events, so many values of a rate, so many answers to a search.
package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
)

// Daemon is what is asked of one; a *control.Client does it.
type Daemon interface {
	Status() (control.Status, error)
	SearchBans(control.BansQuery) (control.BansPage, error)
	Events(ctx context.Context, q control.EventsQuery, f func(line []byte) error) error
	Unban(control.UnbanRequest) ([]control.UnbanResult, error)
	Allow(control.AllowRequest) ([]control.AllowResult, error)
}

// Options say how it looks.
type Options struct {
	// Every is how often the jails are asked.
	Every time.Duration
	// Plain is for terminals that know ASCII alone.
	Plain bool
	// Text tells what an event is, in one line.
	Text func(*events.Event) string
	Now  func() time.Time
	Zone *time.Location
}

const (
	// ratesMost is how many values of a jail's rate are kept, and jailsWithRates of how many jails.
	ratesMost, jailsWithRates = 240, 2000
	// foundMost is how many answers a search has; the others are counted.
	foundMost = 500
	// allowFor is for how long a key lets somebody in.
	allowFor = time.Hour
	// inputMost is how many bytes can be typed.
	inputMost = control.SearchMost
)

// rates are what has come in each time between two looks.
type rates struct{ failures, bans []int }

// pane is what keys move in.
type pane int

const (
	jailsPane pane = iota
	listPane
)

// mode is what is asked for.
type mode int

const (
	looking   mode = iota
	searching      // a text is typed
	asking         // yes or no
	helping
	showing // one event in full
)

// Model is the whole view. Update and View change nothing else.
type Model struct {
	daemon Daemon
	feed   *Feed
	ctx    context.Context
	opts   Options

	width, height int
	status        control.Status
	known         bool // status is of a daemon that answers
	lost          string
	was           map[string]jail.Status
	started       time.Time // of the daemon of was
	rates         map[string]*rates

	events []events.Event // the newest last
	all    bool           // not only bans and what else matters
	jail   string         // only of this one

	query  string // a search is shown in place of events
	found  []jail.BanStatus
	foundN int
	busy   bool // a search is under way

	pane     pane
	at       int    // of jails
	line     int    // of the list, from its top
	held     uint64 // the event at line, so that it stays there while others come; 0: the newest
	mode     mode
	input    string
	question string
	answer   tea.Cmd // if it is yes
	said     string  // what came of the last command
	bad      bool
}

// New makes a view of a daemon.
func New(ctx context.Context, d Daemon, f *Feed, o Options) *Model {
	if o.Every <= 0 {
		o.Every = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	return &Model{daemon: d, feed: f, ctx: ctx, opts: o, rates: map[string]*rates{}, width: 80, height: 24, pane: listPane}
}

// Messages.
type (
	statusMsg struct {
		s   control.Status
		err error
	}
	tickMsg  struct{}
	batchMsg Batch
	doneMsg  struct {
		text string
		bad  bool
	}
	foundMsg struct {
		query string
		list  []jail.BanStatus
		n     int
		err   error
	}
)

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return tea.Batch(m.ask, m.next) }

// ask asks for the jails.
func (m *Model) ask() tea.Msg {
	s, err := m.daemon.Status()
	return statusMsg{s, err}
}

// next waits for events.
func (m *Model) next() tea.Msg {
	b, ok := m.feed.Next(m.ctx)
	if !ok {
		return nil
	}
	return batchMsg(b)
}

func (m *Model) tick() tea.Cmd {
	return tea.Tick(m.opts.Every, func(time.Time) tea.Msg { return tickMsg{} })
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.PasteMsg:
		if m.mode == searching {
			m.typed(msg.Content)
		}
	case tickMsg:
		return m, m.ask
	case statusMsg:
		m.take(msg)
		return m, m.tick()
	case batchMsg:
		m.came(Batch(msg))
		return m, m.next
	case doneMsg:
		m.said, m.bad = msg.text, msg.bad
	case foundMsg:
		if msg.query != m.query {
			break // another one was begun meanwhile
		}
		m.busy, m.found, m.foundN, m.line = false, msg.list, msg.n, 0
		if msg.err != nil {
			m.said, m.bad = oneLine(msg.err), true
		}
	}
	return m, nil
}

// take takes in how the jails are.
func (m *Model) take(msg statusMsg) {
	if msg.err != nil {
		m.known, m.lost = false, oneLine(msg.err)
		return
	}
	was := m.was
	if !msg.s.Started.Equal(m.started) { // another daemon, which counts anew
		was, m.started = nil, msg.s.Started
	}
	m.known, m.lost = true, ""
	name := ""
	if m.at < len(m.status.Jails) {
		name = m.status.Jails[m.at].Name
	}
	m.status = msg.s
	for i := range m.status.Jails {
		m.status.Jails[i].Bans, m.status.Jails[i].WouldBans = nil, nil
		if m.status.Jails[i].Name == name {
			m.at = i
		}
	}
	m.at = max(min(m.at, len(m.status.Jails)-1), 0)
	now := make(map[string]jail.Status, len(msg.s.Jails))
	for _, j := range m.status.Jails {
		now[j.Name] = j
		r := m.rates[j.Name]
		if r == nil {
			if len(m.rates) >= jailsWithRates {
				continue
			}
			r = &rates{}
			m.rates[j.Name] = r
		}
		before, ok := was[j.Name]
		if !ok {
			continue
		}
		r.failures = push(r.failures, j.TotalFailed-before.TotalFailed)
		r.bans = push(r.bans, j.TotalBanned+j.TotalWouldBan-before.TotalBanned-before.TotalWouldBan)
	}
	for name := range m.rates {
		if _, ok := now[name]; !ok {
			delete(m.rates, name)
		}
	}
	m.was = now
}

func push(list []int, n int) []int {
	list = append(list, max(n, 0))
	if len(list) > ratesMost {
		list = slices.Delete(list, 0, len(list)-ratesMost)
	}
	return list
}

// came takes in events.
func (m *Model) came(b Batch) {
	if b.Err != nil {
		m.known, m.lost = false, oneLine(b.Err)
	}
	if b.Dropped > 0 {
		m.events = append(m.events, events.Event{Kind: events.More, Count: int(b.Dropped), What: "events", Why: "they came too fast to be shown; bailiff events has them"})
	}
	for _, e := range b.Events {
		e.Lines = slices.Clone(e.Lines[:min(len(e.Lines), 8)])
		m.events = append(m.events, e)
	}
	m.trim()
	if m.held > 0 && m.query == "" { // the line that was chosen stays where it was
		for i, e := range m.shown() {
			if e.N == m.held {
				m.line = i
				return
			}
		}
		m.held = 0
	}
}

// trim lets the oldest events go, and failures, which come as often as a client likes, before others as
// long as they are more than half.
func (m *Model) trim() {
	n := len(m.events) - eventsMost
	if n <= 0 {
		return
	}
	failures := -eventsMost / 2
	for i := range m.events {
		if m.events[i].Kind == events.Found {
			failures++
		}
	}
	failures = max(min(failures, n), 0)
	n -= failures
	m.events = slices.DeleteFunc(m.events, func(e events.Event) bool {
		if e.Kind == events.Found && failures > 0 {
			failures--
			return true
		}
		return false
	})
	m.events = slices.Delete(m.events, 0, n)
}

// shown are the events of the list, the newest first.
func (m *Model) shown() (out []*events.Event) {
	for i := len(m.events) - 1; i >= 0; i-- {
		e := &m.events[i]
		if m.jail != "" && e.Jail != m.jail && e.Jail != "" {
			continue
		}
		if !m.all && e.Kind == events.Found {
			continue
		}
		out = append(out, e)
	}
	return out
}

// listLen is how many lines the list has.
func (m *Model) listLen() int {
	if m.query != "" {
		return len(m.found)
	}
	return len(m.shown())
}

// chosen is who is on the line that is chosen, and where.
func (m *Model) chosen() (ip, jail string) {
	if m.query != "" {
		if m.line < len(m.found) {
			return m.found[m.line].IP, m.found[m.line].Jail
		}
		return "", ""
	}
	if list := m.shown(); m.line < len(list) {
		return list[m.line].IP, list[m.line].Jail
	}
	return "", ""
}

// search looks for bans in force.
func (m *Model) search(query string) tea.Cmd {
	m.query, m.busy, m.found, m.foundN, m.line, m.held = query, true, nil, 0, 0, 0
	only := m.jail
	return func() tea.Msg {
		p, err := m.daemon.SearchBans(control.BansQuery{Search: query, Jail: only, Limit: foundMost})
		if err == nil && len(p.Problems) > 0 {
			err = errors.New(strings.Join(p.Problems, "; "))
		}
		return foundMsg{query, p.Bans, p.Total, err}
	}
}

// outcome gathers what came of a command, for the line at the bottom.
type outcome struct {
	said []string
	bad  bool
}

func (o *outcome) say(bad bool, text string) {
	o.said, o.bad = append(o.said, text), o.bad || bad
}

// left says what is not done yet, and who shuts out all the same, if anybody does.
func (o *outcome) left(pending, still string) {
	if pending != "" {
		o.say(false, pending)
	}
	if still != "" {
		o.say(true, "still shut out: it is "+still)
	}
}

func (o *outcome) done() doneMsg { return doneMsg{strings.Join(o.said, "; "), o.bad} }

func (m *Model) unban(ip, of string) tea.Cmd {
	return func() tea.Msg {
		res, err := m.daemon.Unban(control.UnbanRequest{IPs: []string{ip}, Jail: of})
		if err != nil {
			return doneMsg{oneLine(err), true}
		}
		var o outcome
		for _, r := range res {
			switch {
			case r.Error != "":
				o.say(true, r.Error)
			case len(r.Jails) == 0 && r.Pending == "":
				o.say(true, r.IP+" is not banned by itself")
			default:
				o.say(false, fmt.Sprintf("%s unbanned in %s", r.IP, strings.Join(r.Jails, ", ")))
			}
			o.left(r.Pending, r.Still())
		}
		return o.done()
	}
}

func (m *Model) allow(ip string) tea.Cmd {
	return func() tea.Msg {
		res, err := m.daemon.Allow(control.AllowRequest{IPs: []string{ip}, Seconds: allowFor.Seconds()})
		if err != nil {
			return doneMsg{oneLine(err), true}
		}
		var o outcome
		for _, r := range res {
			switch {
			case r.Error != "":
				o.say(true, r.Error)
			case r.Until != nil:
				o.say(false, fmt.Sprintf("%s is let in until %s", r.IP, r.Until.In(m.opts.Zone).Format(time.TimeOnly)))
			}
			o.left(r.Pending, r.Still())
		}
		return o.done()
	}
}
