package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
	"bailiff/pkg/iplist"
)

// Bounds of the gate.
const (
	// flightMost is how many entries of all hosts are on their way into the stream at once, flyingMost of one.
	flightMost = 512
	flyingMost = 64
	// storeMost is how long the stream may take for one.
	storeMost = 5 * time.Second
	// queueMost and queueBytes are how much waits for the gate.
	queueMost  = 65_536
	queueBytes = 32 << 20
	// gateQueue is the name under which several gates share the work.
	gateQueue = "gate"
)

// gate stores what hosts say, if they may say it.
type gate struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	limits *limits
	rules  atomic.Pointer[rules]
	flight chan struct{}
	work   sync.WaitGroup
	counts *counting
	signed atomic.Pointer[signedAllow] // nil: none was read

	mu sync.Mutex
	// epoch and last are the stream's; no epoch: it is not known yet.
	epoch string
	last  uint64
	// gone are hosts that were taken back.
	gone map[string]bool
}

// rules are what the gate goes by, of a configuration.
type rules struct {
	cfg    Config
	allow  *iplist.Set
	groups map[string]bool
}

func newGate(cfg Config, nc *nats.Conn, js jetstream.JetStream, log *slog.Logger) *gate {
	g := &gate{nc: nc, js: js, log: log.With("component", "hub"), limits: newLimits(cfg), flight: make(chan struct{}, flightMost), gone: map[string]bool{}}
	g.counts = newCounting(g)
	g.set(cfg)
	return g
}

// set has the gate go by another configuration from the next message on.
func (g *gate) set(cfg Config) {
	never := append(cfg.protected(), cfg.Allow...)
	if s := g.signed.Load(); s != nil {
		never = append(never, s.list.Prefixes...)
	}
	r := &rules{cfg: cfg, allow: iplist.Of(never), groups: map[string]bool{}}
	for _, name := range cfg.Groups {
		r.groups[name] = true
	}
	g.limits.set(cfg)
	g.counts.mu.Lock()
	g.counts.c.Set(cfg.Count)
	g.counts.mu.Unlock()
	g.rules.Store(r)
}

// config is what it goes by now.
func (g *gate) config() Config { return g.rules.Load().cfg }

// serve begins to answer; stop ends it when what is on its way has been answered.
func (g *gate) serve() (stop func(), err error) {
	sub, err := g.nc.QueueSubscribe(fleet.PutSubjects+"*.>", gateQueue, g.handle)
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(queueMost, queueBytes); err != nil {
		return nil, err
	}
	return func() {
		_ = sub.Drain() // a connection that is gone has nothing to drain
		deadline := time.Now().Add(storeMost)
		for sub.IsValid() && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		g.work.Wait()
	}, nil
}

// handle takes one message. It waits for nothing: what it may not do at once is answered as such.
func (g *gate) handle(m *nats.Msg) {
	now := time.Now()
	key, err := fleet.ParsePutSubject(m.Subject)
	if err != nil {
		// Not even whose it is, is known; the server lets nobody do that who is a host.
		g.answer(m, fleet.No(fleet.BadKey))
		return
	}
	if r := g.limits.enter(key.Host, now); r != "" {
		g.refuse(m, key, r, now)
		return
	}
	p, r := g.judge(key, m.Data)
	if r == "" {
		select {
		case g.flight <- struct{}{}:
		default:
			r = fleet.TooMany
		}
	}
	if r != "" {
		g.limits.leave(key.Host, fleet.No(r), false, now)
		g.refuse(m, key, r, now)
		return
	}
	g.work.Add(1)
	go func() {
		defer g.work.Done()
		defer func() { <-g.flight }()
		a, reserved := g.store(key, p)
		now := time.Now()
		g.limits.leave(key.Host, a, reserved, now)
		if a.Reason != "" {
			g.refuse(m, key, a.Reason, now)
			return
		}
		g.answer(m, a)
	}()
}

// judge reads what a host says, and whether it may say it. The headers of the message are nobody's word.
func (g *gate) judge(key fleet.Key, data []byte) (fleet.Put, fleet.Reason) {
	p, err := fleet.DecodePut(key.Kind, data)
	if err != nil {
		if errors.Is(err, fleet.ErrVersion) {
			return p, fleet.BadVersion
		}
		return p, fleet.BadEntry
	}
	g.mu.Lock()
	epoch, last, gone := g.epoch, g.last, g.gone[key.Host]
	g.mu.Unlock()
	e, by := &p.Entry, g.rules.Load()
	switch {
	// Whose key was taken back is cut off by the server; and one of that name that was let in again since is soon
	// known here: so it is asked again.
	case epoch == "" || gone:
		return p, fleet.StaleEpoch
	// What it has seen may have come from another gate; so far ahead it can't be.
	case e.Epoch == epoch && e.Seen > last+seenAhead:
		return p, fleet.BadSeen
	case len(by.groups) > 0 && !by.groups[key.Group]:
		return p, fleet.NoGroup
	}
	if key.Kind == fleet.Ban && e.Gone() {
		return p, "" // it takes back its own word: whatever that was
	}
	where := key.Prefix()
	if by.wide(where) {
		return p, fleet.TooWide
	}
	if key.Kind != fleet.Ban {
		if !by.cfg.Permanent {
			e.Left = 0 // no ban is there for longer than that lasts
		}
		return p, ""
	}
	if by.allow.Overlaps(where) {
		return p, fleet.Allowed
	}
	if most := int64(by.cfg.MaxBan / time.Second); e.Left > most || e.Left == fleet.Permanent && !by.cfg.Permanent {
		e.Left = most
	}
	return p, ""
}

// wide reports whether a network is larger than the fleet bans.
func (r *rules) wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < r.cfg.Widest4 || p.Addr().Is6() && p.Bits() < r.cfg.Widest6
}

// isGone reports whether a host was taken back, or nothing is known yet.
func (g *gate) isGone(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch == "" || g.gone[host]
}

// seenAhead is how far another gate may be ahead of what this one has heard of.
const seenAhead = 1_000_000

// store writes a message of the gate's own: of what was sent, nothing goes in but the values that were read. reserved: the
// host's limits keep a place for it.
func (g *gate) store(key fleet.Key, p fleet.Put) (a fleet.Answer, reserved bool) {
	ttl, ended := p.Entry.TTL(key.Kind, g.config().MaxBan)
	if ended {
		return fleet.No(fleet.Ended), false
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeMost)
	defer cancel()
	if p.Expect == 0 {
		if r := g.room(ctx, key.Host); r != "" {
			return fleet.No(r), false
		}
		reserved = true
	}
	data, err := p.Entry.Encode(key.Kind)
	if err != nil {
		return fleet.No(fleet.BadEntry), reserved
	}
	rev, err := put(ctx, g.js, fleet.StreamSubjects+key.String(), data, p.Expect, ttl)
	switch {
	case err == nil:
		g.saw(rev)
		return fleet.Answer{Status: fleet.Stored, Rev: rev}, reserved
	case isConflict(err):
		return fleet.Answer{Status: fleet.Conflict}, reserved
	case isFull(err):
		return fleet.No(fleet.Full), reserved
	}
	return fleet.No(fleet.Down), reserved
}

// room is why a host may not have one entry more. What it has is counted first, where that is not known.
func (g *gate) room(ctx context.Context, host string) fleet.Reason {
	for {
		ok, count, wait := g.limits.room(host, time.Now())
		switch {
		case count:
			n, err := g.count(ctx, host)
			if err != nil {
				n = -1
			}
			g.limits.counted(host, n, time.Now())
			if err != nil {
				return fleet.Down
			}
		case wait != nil:
			select {
			case <-wait:
			case <-ctx.Done():
				return fleet.Down
			}
		case !ok:
			return fleet.Quota
		default:
			return ""
		}
	}
}

// count is how many entries a host has in the stream.
func (g *gate) count(ctx context.Context, host string) (int, error) {
	return countKeys(ctx, g.js, fleet.StreamSubjects+host+".>")
}

func countKeys(ctx context.Context, js jetstream.JetStream, filter string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	s, err := js.Stream(ctx, fleet.Stream)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, err
	}
	return len(info.State.Subjects), nil
}

// saw notes how far the stream is.
func (g *gate) saw(rev uint64) {
	g.mu.Lock()
	g.last = max(g.last, rev)
	g.mu.Unlock()
}

// know tells the gate which stream this is; no epoch: it is not known, and nothing is stored.
func (g *gate) know(epoch string, last uint64) {
	g.mu.Lock()
	g.epoch, g.last = epoch, last
	g.mu.Unlock()
}

// where is which stream this is, and how far.
func (g *gate) where() (epoch string, last uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch, g.last
}

// setGone tells it which hosts were taken back.
func (g *gate) setGone(gone map[string]bool) {
	g.mu.Lock()
	g.gone = gone
	g.mu.Unlock()
}

func (g *gate) answer(m *nats.Msg, a fleet.Answer) {
	if m.Reply == "" {
		return
	}
	data, err := a.Encode()
	if err == nil {
		err = g.nc.Publish(m.Reply, data)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		g.log.Error(fmt.Sprintf("gate: an answer can't be sent: %v", err))
	}
}

// refuse answers no, and says so in the log, once a minute and host.
func (g *gate) refuse(m *nats.Msg, key fleet.Key, r fleet.Reason, now time.Time) {
	if tell := g.limits.refuse(key.Host, r, now); tell > 0 {
		g.log.Warn(fmt.Sprintf("host %s: %d entries not stored, the last one (%s) %s", key.Host, tell, key, why(r, g.config(), key.Host)))
	}
	g.answer(m, fleet.No(r))
}

// why is a reason in words, for the log.
func why(r fleet.Reason, c Config, host string) string {
	may := c.HostLimits
	if own, ok := c.Hosts[host]; ok {
		may = own
	}
	switch r {
	case fleet.BadEntry, fleet.BadKey:
		return "is not in the form of bailiff's fleets"
	case fleet.BadVersion:
		return "is of another version of bailiff's fleets: update that host, or this hub"
	case fleet.BadSeen:
		return "says to have seen what is not there yet"
	case fleet.NoGroup:
		return "is of a group that groups in " + ConfigFile + " does not name"
	case fleet.Allowed:
		return "would shut out what allow in " + ConfigFile + " or the signed allow-list names, or a hub"
	case fleet.TooWide:
		return fmt.Sprintf("is a network larger than /%d, or /%d of IPv6", c.Widest4, c.Widest6)
	case fleet.Ended:
		return "had ended already"
	case fleet.Quota:
		return fmt.Sprintf("is one more than its quota of %d", may.Quota)
	case fleet.Rate:
		return fmt.Sprintf("came faster than rate = %v; if it should not be so busy: bailiff fleet distrust", may.Rate)
	case fleet.NoCount:
		return "is of a group that has no [count.GROUP] in " + ConfigFile
	case fleet.TooMany:
		return "came while too many were on their way"
	case fleet.Full:
		return "found the stream, or the disk, full"
	case fleet.StaleEpoch:
		return "came before this hub knew of the stream, or that the host is in the fleet again"
	}
	return "could not be stored now"
}
