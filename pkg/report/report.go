// Package report tells services elsewhere of attackers: AbuseIPDB, blocklist.de, and whoever
// takes mails in the XARF form. Nothing is told unless somebody configures it.
//
//   - [Reporter] has a bounded queue of offences, and sends them one after the other, by a
//     goroutine of its own: whoever bans never waits for it;
//   - what is sent is made by a function of each kind (kinds.go, xarf.go), of an [Offence];
//   - book.go keeps who was reported when, in a bounded file, so that an address is reported
//     once in [Options.Every], also over a kill;
//   - lines.go takes what is nobody's business out of lines of a log, and cuts them.
package report

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"sync"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/remote"
)

// Kinds of reports.
const (
	AbuseIPDB   = "abuseipdb"
	BlocklistDE = "blocklist.de"
	XARF        = "xarf"
)

// Kinds are all of them.
var Kinds = []string{AbuseIPDB, BlocklistDE, XARF}

const (
	// QueueMost is how many offences wait for one report; more are dropped, and counted.
	QueueMost = 1000
	// EveryLeast and EveryMost are bounds of Options.Every, EveryDefault is what holds.
	EveryLeast, EveryDefault, EveryMost = 15 * time.Minute, 24 * time.Hour, 7 * 24 * time.Hour
	// DayDefault is how many are sent in 24 hours, and DayMost the most that can be configured.
	DayDefault, DayMost = 1000, 10_000
	// staleAfter is how old an attack is that is not worth a report any more.
	staleAfter = 6 * time.Hour
	refusedFor = 5 * time.Minute // until it is tried again with a token that was refused
	toldEvery  = 10 * time.Minute
)

// Options say what is sent where.
type Options struct {
	Name, Kind string
	URL, CA    string // of a service; CA: a file of certificates in place of the system's
	Token      remote.Token
	Every      time.Duration // an address is reported at most once in it
	Most       int           // reports in 24 hours
	Lines      bool          // lines of the log are sent
	Categories []string      // AbuseIPDB's numbers
	Server     string        // what blocklist.de knows this server by
	Service    string        // what was attacked, in blocklist.de's words
	To, From   string        // of mails
	SMTP       string        // HOST or HOST:PORT; the token is the password of SMTPUser
	SMTPUser   string
	Org        string // who reports
	Protocol   string // by which they came: tcp, udp, icmp or sctp
}

// Offence is what led to a ban.
type Offence struct {
	Jail     string
	Addr     netip.Addr
	At       time.Time // by the wall clock
	Failures int
	// Lines returns lines of the log that led to it, and the names of users that the filter
	// found in them; nil: none are known. It may take its time.
	Lines func() (lines, users []string)
}

// State is how a report stands.
type State struct {
	Sent     int `json:"sent"`               // since the start, as all of these
	Waiting  int `json:"waiting"`            // in the queue
	Day      int `json:"day"`                // sent in the last 24 hours, also by daemons before
	Dropped  int `json:"dropped,omitempty"`  // the queue was full, the day's reports were used up, or it took too long
	Refused  int `json:"refused,omitempty"`  // by the service
	Unsure   int `json:"unsure,omitempty"`   // sent, but without an answer
	Repeated int `json:"repeated,omitempty"` // reported not long ago
	Withheld int `json:"withheld,omitempty"` // of addresses that nobody is told of, or without lines that are needed
	// Error is what went wrong last, if nothing has worked since.
	Error       string     `json:"error,omitempty"`
	Failed      *time.Time `json:"last_error,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
}

// Reporter sends reports of one kind to one place.
type Reporter struct {
	Options
	// Path is the file that keeps who was reported.
	Path string
	// Protected reports whether nobody may be told of an address: it is this host's, or one
	// that is never banned. known: false while that isn't known yet.
	Protected func(netip.Addr) (yes, known bool)
	Tell      func(slog.Level, string)
	// Backoff is how long is waited after failures.
	Backoff remote.Backoff

	queue  chan Offence
	client *remote.Client
	book   *book
	now    func() time.Time

	mu    sync.Mutex
	state State
	told  map[string]time.Time
}

// New makes one, which takes offences at once, and sends when it runs.
func New(o Options, path string) *Reporter {
	r := &Reporter{Options: o, Path: path, queue: make(chan Offence, QueueMost), now: time.Now, told: map[string]time.Time{}}
	r.client = &remote.Client{URL: o.URL, CA: o.CA}
	switch o.Kind {
	case AbuseIPDB:
		r.client.Header, r.client.Token = "Key", o.Token.Read
	case BlocklistDE: // its form has the token
		r.client.Token = o.Token.Read
	}
	return r
}

// Inherit takes over what waits at one that was before, which has ended.
func (r *Reporter) Inherit(before *Reporter) {
	before.mu.Lock()
	state := before.state
	before.mu.Unlock()
	r.mu.Lock()
	r.state = state
	r.mu.Unlock()
	for {
		select {
		case o := <-before.queue:
			r.Add(o)
		default:
			return
		}
	}
}

// Add has an offence reported, if it is to be. It never waits.
func (r *Reporter) Add(o Offence) {
	select {
	case r.queue <- o:
	default:
		r.count(func(s *State) { s.Dropped++ })
		r.tell(slog.LevelWarn, "queue", fmt.Sprintf("%d offences wait already: more are dropped", QueueMost))
	}
}

// Queue gives away what waits, where nothing is to be sent.
func (r *Reporter) Queue() <-chan Offence { return r.queue }

// State returns how it stands.
func (r *Reporter) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Waiting = len(r.queue)
	return s
}

func (r *Reporter) count(change func(*State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.state)
}

// tell says something, of one kind at most once in a while.
func (r *Reporter) tell(level slog.Level, kind, text string) {
	r.mu.Lock()
	now := r.now()
	again := now.Sub(r.told[kind]) >= toldEvery || now.Before(r.told[kind])
	if again {
		r.told[kind] = now
	}
	r.mu.Unlock()
	if again && r.Tell != nil {
		r.Tell(level, text)
	}
}

func (r *Reporter) failed(err error) {
	now, text := r.now(), oneLine(err.Error(), 500)
	r.count(func(s *State) { s.Error, s.Failed = text, &now })
	r.tell(slog.LevelError, "failed", text)
}

// Run sends until ctx ends. What waits then is not sent.
func (r *Reporter) Run(ctx context.Context) {
	defer r.client.Close()
	defer func() {
		if r.book != nil {
			r.book.close()
		}
	}()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case o := <-r.queue:
			r.report(ctx, o)
		}
	}
}

// report sees one offence through.
func (r *Reporter) report(ctx context.Context, o Offence) {
	o.Addr = o.Addr.Unmap().WithZone("")
	if !Public(o.Addr) {
		r.count(func(s *State) { s.Withheld++ })
		return
	}
	for {
		yes, known := r.Protected(o.Addr)
		if yes {
			r.count(func(s *State) { s.Withheld++ })
			return
		}
		if known {
			break
		}
		if r.stale(o) || remote.Sleep(ctx, time.Second) != nil {
			return
		}
	}
	if r.stale(o) {
		return
	}
	for !r.opened() { // what is not known to be new is not sent
		if remote.Sleep(ctx, r.Backoff.Failed(0)) != nil || r.stale(o) {
			return
		}
	}
	now := r.now()
	if r.book.since(o.Addr, now) < r.Every {
		r.count(func(s *State) { s.Repeated++ })
		return
	}
	day := r.book.day(now)
	r.count(func(s *State) { s.Day = day })
	if day >= r.Most {
		r.count(func(s *State) { s.Dropped++ })
		r.tell(slog.LevelWarn, "day", fmt.Sprintf("%d reports in 24 hours, which is the most: others are dropped", day))
		return
	}
	send, err := r.compose(o)
	if err != nil {
		r.count(func(s *State) { s.Withheld++ })
		r.tell(slog.LevelWarn, "compose", err.Error())
		return
	}
	// First, so that none is sent twice, whenever this process ends.
	if err := r.book.note(o.Addr, now); err != nil {
		r.count(func(s *State) { s.Dropped++ })
		r.failed(fmt.Errorf("%s: %w: nothing is sent that could be sent twice", r.Path, err))
		return
	}
	r.count(func(s *State) { s.Day = day + 1 })
	r.send(ctx, o, send)
}

// opened reads the book, if it isn't read yet.
func (r *Reporter) opened() bool {
	if r.book != nil {
		return true
	}
	b, err := open(r.Path, max(r.Every, 24*time.Hour), r.now())
	if err != nil {
		r.failed(err)
		return false
	}
	r.Backoff.Worked()
	r.book = b
	return true
}

func (r *Reporter) stale(o Offence) bool {
	if r.now().Sub(o.At) < staleAfter {
		return false
	}
	r.count(func(s *State) { s.Dropped++ })
	r.tell(slog.LevelWarn, "stale", fmt.Sprintf("attacks that are %v old are not reported any more", staleAfter))
	return true
}

// send tries until it is certain what became of a report.
func (r *Reporter) send(ctx context.Context, o Offence, send func(context.Context) error) {
	for {
		within, cancel := context.WithTimeout(ctx, remote.RequestMost)
		err := send(within)
		cancel()
		now := r.now()
		if err == nil {
			r.Backoff.Worked()
			r.count(func(s *State) { s.Sent++; s.LastSuccess, s.Error, s.Failed = &now, "", nil })
			return
		}
		if ctx.Err() != nil {
			return
		}
		wait, verdict := r.Backoff.Failed(remote.After(err)), judge(err)
		r.failed(err)
		switch verdict {
		case refused:
			r.count(func(s *State) { s.Refused++ })
			return
		case unsure:
			r.count(func(s *State) { s.Unsure++ })
			_ = remote.Sleep(ctx, wait)
			return
		case token:
			wait = refusedFor
		}
		if remote.Sleep(ctx, wait) != nil || r.stale(o) {
			return
		}
	}
}

type verdict int

const (
	later   verdict = iota // it was not taken, and may be later
	token                  // the token is not taken
	refused                // it will not be taken
	unsure                 // it may have been taken
)

// judge says what became of a report that was not taken.
func judge(err error) verdict {
	if t := (*remote.TokenError)(nil); errors.As(err, &t) {
		return token
	}
	if s := (*remote.StatusError)(nil); errors.As(err, &s) {
		switch {
		case s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden:
			return token
		case s.Code == http.StatusTooManyRequests || s.Code == http.StatusServiceUnavailable:
			return later
		case s.Later():
			return unsure
		}
		return refused
	}
	if no := (*refusal)(nil); errors.As(err, &no) {
		return refused
	}
	if u := (*action.UnsureError)(nil); errors.As(err, &u) {
		return unsure
	}
	if p := (*textproto.Error)(nil); errors.As(err, &p) { // of SMTP
		if p.Code == 535 { // the password
			return token
		}
		if p.Code >= 500 {
			return refused
		}
		return later
	}
	if m := (*beforeData)(nil); errors.As(err, &m) {
		return later
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return later
	}
	if c := (*tls.CertificateVerificationError)(nil); errors.As(err, &c) {
		return later
	}
	return unsure
}

// refusal is an answer that takes nothing, though HTTP says that all is well.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

// beforeData is what failed before anything of a mail was sent.
type beforeData struct{ error }

func (e *beforeData) Unwrap() error { return e.error }

// Public reports whether an address is one of the public internet's.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if a.Is6() {
		return unicast6.Contains(a)
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var (
	unicast6  = netip.MustParsePrefix("2000::/3")
	notPublic = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	}
)
