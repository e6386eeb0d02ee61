// Package link connects a fleet.Agent with its hub by NATS: it carries out what the agent asks for, and has
// one goroutine in which everything that comes in is told to it.
//
//	l, err := link.New(link.Options{Host: "web-1", URLs: urls, Credentials: file, CA: pem}, …)
//	go l.Run(ctx)                                            // until ctx ends; never because of the hub
//	l.Do(func(a *fleet.Agent, now time.Time) { a.Say(now, key, entry) })
//
// It uses nats.go's core alone: no consumer, no stream's API. Nobody waits for the hub: what it is asked is
// on its way in goroutines of their own, as many as the agent has questions.
package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// Bounds and patience of a connection.
const (
	connectMost = 5 * time.Second
	pingEvery   = 2 * time.Second
	answerMost  = 10 * time.Second
	// pageMost is how long a page may take, which is less than the agent's patience: what has come until then counts, and less is
	// asked for at a time, down to pageLeast words, so that a hub that has too much to do doesn't send the same again and again.
	pageMost  = 4 * time.Second
	pageLeast = 20
	// pageLarge is how many are asked for at a time where many are missing: for each page the server counts all that it
	// has from there on, which for a million takes it a quarter of a second.
	pageLarge   = 5000
	tickEvery   = 100 * time.Millisecond
	reconnectIn = 200 * time.Millisecond
	reconnectBy = 4 * time.Second
	// liveMost words, or bytes, wait for the agent; what is more is dropped, and asked for by it.
	liveMost  = 65_536
	liveBytes = 32 << 20
	// waitMost events wait for the agent's goroutine.
	waitMost = 4096
)

// Options say where the hub is, and who this host is.
type Options struct {
	// Host is this host's name in the fleet.
	Host string
	// URLs are the hub's servers: tls://HOST:PORT, or nats://HOST:PORT on loopback.
	URLs []string
	// Connect says how this host proves who it is, and whom it believes to be the hub.
	Connect []nats.Option
	// Now is the host's time: one that only goes forward.
	Now func() time.Time
	// Tell is told, from any goroutine, what an operator wants to know: that there is a connection,
	// that there is none and why.
	Tell func(what string, err error)
}

// Link is a connection and its agent.
type Link struct {
	o      Options
	events chan event
	agent  *fleet.Agent

	ctx context.Context

	mu sync.Mutex
	nc *nats.Conn
	// wrong is what was told of the server last: it is not told again while it stays so.
	wrong string
	// out: the hub has said that it doesn't let this host in; that the connection ended is no news then.
	out bool
	// batch is how many words are asked for at a time: fleet.PageMost at first.
	batch int
}

type event func(*fleet.Agent, time.Time)

// New returns one that is not connected yet.
func New(o Options, p fleet.Policy, s fleet.Start, h fleet.Host) (*Link, error) {
	if err := fleet.CheckHost(o.Host); err != nil {
		return nil, err
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("fleet: no URL of a hub")
	}
	for _, u := range o.URLs {
		if err := fleet.CheckURL(u); err != nil {
			return nil, fmt.Errorf("fleet: %w", err)
		}
	}
	if o.Tell == nil {
		o.Tell = func(string, error) {}
	}
	p.Self = o.Host
	l := &Link{o: o, events: make(chan event, waitMost), batch: fleet.PageMost}
	l.agent = fleet.NewAgent(p, s, l, h, o.Now())
	return l, nil
}

// Do has something done with the agent, in its goroutine; false: the link is at its end. It waits only
// for that goroutine, which waits for nobody.
func (l *Link) Do(ctx context.Context, do func(*fleet.Agent, time.Time)) bool {
	select {
	case l.events <- do:
		return true
	case <-ctx.Done():
		return false
	}
}

// post is Do for what comes from the connection.
func (l *Link) post(do event) { l.Do(l.ctx, do) }

// Run connects, and has the agent at work until ctx ends. That there is no hub, or none that lets this
// host in, is told, and tried again for ever. It is called once.
func (l *Link) Run(ctx context.Context) error {
	l.ctx = ctx
	nc, err := nats.Connect(strings.Join(l.o.URLs, ","), l.options()...)
	if err != nil {
		return fmt.Errorf("fleet: %w", err) // what is tried again is no error here
	}
	defer nc.Close()
	sub, err := nc.Subscribe(fleet.LiveSubjects+">", l.live)
	if err == nil {
		err = sub.SetPendingLimits(liveMost, liveBytes)
	}
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	l.mu.Lock()
	l.nc = nc
	l.mu.Unlock()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case do := <-l.events:
			do(l.agent, l.o.Now())
		case <-tick.C:
			l.agent.Tick(l.o.Now())
		case <-ctx.Done():
			l.agent.Tick(l.o.Now()) // so that what is new is kept
			return nil
		}
	}
}

func (l *Link) options() []nats.Option {
	return append([]nats.Option{
		nats.Name("bailiff " + l.o.Host),
		nats.CustomInboxPrefix(fleet.InboxPrefix + l.o.Host),
		nats.Timeout(connectMost),
		// A put that waited in the connection would go out behind the agent's back.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			l.failed()
			d := min(reconnectIn<<min(attempts, 10), reconnectBy)
			return d + rand.N(d)
		}),
		nats.ConnectHandler(l.connected), nats.ReconnectHandler(l.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			l.mu.Lock()
			out := l.out
			l.mu.Unlock()
			if !out {
				l.tell("no connection to the hub", explain(err))
			}
			l.post(func(a *fleet.Agent, now time.Time) { a.Disconnected(now) })
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.tell("no connection to the hub", explain(err)) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			what := "the connection to the hub"
			if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAuthExpired) {
				what = "no connection to the hub"
				l.mu.Lock()
				l.out = true
				l.mu.Unlock()
			}
			l.tell(what, explain(err))
		}),
	}, l.o.Connect...)
}

// tell tells what is wrong once, and again when it has become something else; no error: it is not any more.
func (l *Link) tell(what string, err error) {
	text := ""
	if err != nil {
		text = what + ": " + err.Error()
	}
	l.mu.Lock()
	same := text == l.wrong
	l.wrong = text
	l.mu.Unlock()
	if !same && err != nil {
		l.o.Tell(what, err)
	}
}

// answered tells what an answer of the stream says of the server: none comes where there is no hub behind it.
func (l *Link) answered(nc *nats.Conn, err error) {
	switch {
	case enrol.CheckServer(nc.ConnectedServerVersion()) != nil: // that was told, and is why
	case err == nil:
		l.tell("", nil)
	case errors.Is(err, nats.ErrNoResponders):
		l.tell("the hub at "+nc.ConnectedUrlRedacted(), errors.New("a NATS server answers, but no stream of a fleet is behind it: is it the fleet's hub, and `bailiff hub run` at work? (without JetStream, or with another account's rights, it is none)"))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		l.tell("the hub at "+nc.ConnectedUrlRedacted(), errors.New("it does not answer what is asked of its stream: of several hubs more than half have to be at work"))
	}
}

// failed tells why the last try came to nothing, where NATS' client tells nobody: of a certificate, and of what answers and
// is no server of NATS.
func (l *Link) failed() {
	nc := l.conn()
	if nc == nil {
		return
	}
	if err := nc.LastError(); err != nil {
		l.tell("no connection to the hub", explain(err))
	}
}

// Credentials is how a host connects that is known by a file of credentials, to a hub that is known by a file with its
// authority's certificate. Both are read at each connection.
func Credentials(file, ca string) []nats.Option {
	return []nats.Option{nats.UserCredentials(file), nats.RootCAs(ca), nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13})}
}

// explain says what is to be done, where that is known.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthRevoked):
		// NATS' client has two texts for it, and tells both at each try.
		return errors.New("the hub does not know this host, or no longer: join it again with a new token")
	case errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("%w: what lets this host in has ended: join it again with a new token", err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: the hub doesn't allow this host what every host of a fleet needs: is it a hub of bailiff?", err)
	}
	return enrol.Explain(err)
}

func (l *Link) connected(nc *nats.Conn) {
	l.mu.Lock()
	l.out = false
	l.mu.Unlock()
	l.o.Tell("connected to the hub at "+nc.ConnectedUrlRedacted(), nil)
	if err := enrol.CheckServer(nc.ConnectedServerVersion()); err != nil {
		l.tell("the hub at "+nc.ConnectedUrlRedacted(), err)
	}
	l.post(func(a *fleet.Agent, now time.Time) { a.Connected(now) })
}

func (l *Link) live(m *nats.Msg) {
	s, err := fleet.ReadLive(m.Subject, m.Header, m.Data)
	if err != nil {
		var bad *fleet.BadMessage
		errors.As(err, &bad)
		l.post(func(a *fleet.Agent, now time.Time) { a.Bad(now, bad) })
		return
	}
	l.post(func(a *fleet.Agent, now time.Time) { a.Live(now, s) })
}

// conn is the connection; the agent asks for nothing before there is one.
func (l *Link) conn() *nats.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nc
}

// Move connects anew: nats.go takes another server of those it knows.
func (l *Link) Move() {
	nc := l.conn()
	if len(nc.Servers()) < 2 {
		return // there is no other; whether this connection is still one, its pings tell
	}
	go func() {
		if err := nc.ForceReconnect(); err != nil {
			l.o.Tell("the connection to the hub", err)
		}
	}()
}

// Put asks the hub to store an entry.
func (l *Link) Put(ticket uint64, k fleet.Key, p fleet.Put) {
	nc := l.conn()
	go func() {
		data, err := p.Encode(k.Kind)
		var answer fleet.Answer
		if err == nil {
			data, err = l.ask(nc, fleet.PutSubject(k), data)
		}
		if err == nil {
			answer, err = fleet.DecodeAnswer(data)
		}
		l.post(func(a *fleet.Agent, now time.Time) { a.Answered(now, ticket, k, answer, err) })
	}()
}

// Fail tells the hub of failures.
func (l *Link) Fail(ticket uint64, f fleet.Failures) {
	nc := l.conn()
	go func() {
		data, err := f.Encode()
		var answer fleet.FailAnswer
		if err == nil {
			data, err = l.ask(nc, fleet.FailSubject(l.o.Host), data)
		}
		if err == nil {
			answer, err = fleet.DecodeFailAnswer(data)
		}
		l.post(func(a *fleet.Agent, now time.Time) { a.Failing(now, ticket, f.Group, answer, err) })
	}()
}

// AllowList asks the hub for the fleet's allow-list, where it has another one than that version; empty: it has none. What comes is
// nobody's word before its signature was looked at. It is called while the Link runs.
func (l *Link) AllowList(ctx context.Context, version uint64) ([]byte, error) {
	nc := l.conn()
	if nc == nil || !nc.IsConnected() {
		return nil, fleet.ErrNoResponders
	}
	subject, data, err := fleet.AllowAsked(l.o.Host, version)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerMost)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (l *Link) ask(nc *nats.Conn, subject string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(l.ctx, answerMost)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fleet.ErrNoResponders
	}
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// question is what NATS' direct get is asked.
type question struct {
	Seq    uint64 `json:"seq,omitempty"`
	Batch  int    `json:"batch,omitempty"`
	LastBy string `json:"last_by_subj,omitempty"`
}

// Look asks for the newest word of a key.
func (l *Link) Look(ticket uint64, k fleet.Key) {
	nc := l.conn()
	go func() {
		s, found, err := l.look(nc, k)
		l.answered(nc, err)
		l.post(func(a *fleet.Agent, now time.Time) { a.Looked(now, ticket, k, s, found, err) })
	}()
}

func (l *Link) look(nc *nats.Conn, k fleet.Key) (s fleet.Said, found bool, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, answerMost)
	defer cancel()
	data, err := json.Marshal(question{LastBy: fleet.StreamSubjects + k.String()})
	if err != nil {
		return s, false, err
	}
	m, err := nc.RequestWithContext(ctx, fleet.GetSubject, data)
	if err != nil {
		return s, false, err
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return s, false, nil
	default:
		return s, false, fmt.Errorf("the hub's stream says %.20q", status)
	}
	s, err = fleet.ReadStored(m.Header, m.Data)
	if err == nil && s.Key != k {
		err = fmt.Errorf("asked for %s, and got %s", k, s.Key)
	}
	return s, err == nil, err
}

// Ask asks for a page of words.
func (l *Link) Ask(ticket, from uint64) {
	nc := l.conn()
	go func() {
		p, err := l.page(nc, from)
		l.post(func(a *fleet.Agent, now time.Time) { a.Paged(now, ticket, p, err) })
	}()
}

// page reads one: each word is a message of its own to a fresh inbox, and a status ends them.
func (l *Link) page(nc *nats.Conn, from uint64) (p fleet.Page, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, pageMost)
	defer cancel()
	l.mu.Lock()
	batch := l.batch
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case err != nil:
			l.batch = max(l.batch/2, pageLeast)
		case !p.Whole:
			l.batch = min(2*l.batch, pageLarge)
		default:
			l.batch = max(l.batch, fleet.PageMost)
		}
	}()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return p, err
	}
	defer func() { _ = sub.Unsubscribe() }() // a connection that is gone has none
	data, err := json.Marshal(question{Seq: from, Batch: batch})
	if err != nil {
		return p, err
	}
	if err := nc.PublishRequest(fleet.GetSubject, inbox, data); err != nil {
		return p, err
	}
	for range 2 * batch {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return p, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "404":
			p.Whole = true
			return p, nil
		case "204":
			pending, err := strconv.Atoi(m.Header.Get("Nats-Num-Pending"))
			p.Whole = err == nil && pending == 0
			return p, nil
		default:
			return p, fmt.Errorf("the hub's stream says %.20q", status)
		}
		s, err := fleet.ReadStored(m.Header, m.Data)
		var bad *fleet.BadMessage
		switch {
		case errors.As(err, &bad):
			p.Bad++
			if bad.Rev == 0 {
				continue
			}
			s = fleet.Said{Rev: bad.Rev}
		case s.Rev < from:
			p.Bad++
			continue
		}
		p.Words = append(p.Words, s)
	}
	return p, errors.New("the hub's stream answers without end")
}
