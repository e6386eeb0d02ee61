package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/clock"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/safefile"
)

// What the hub does now and then.
const (
	// lookMost is how long it may take to look whether the stream is what it was, and who is in the fleet.
	lookMost = 5 * time.Second
	// retryEvery is how long it waits before it tries again what the stream did not take.
	retryEvery = 500 * time.Millisecond
	// joinsMost is how many hosts may ask to be let in at once.
	joinsMost = 16
	// tellAgain is how soon the log is told of another problem, while there was one.
	tellAgain = 10 * time.Second
)

// Subjects between hubs, and from the hub's own commands.
const (
	changedSubject = "hub.changed"
	statusSubject  = "hub.status"
)

// RunOptions are what Run is told beside its directory.
type RunOptions struct {
	Log *slog.Logger
	// Ready is called when the hub serves.
	Ready func()
	// Reload is told when hub.toml is to be read again; nil: never.
	Reload <-chan os.Signal
	// Version is the program's.
	Version string
}

// Hub is one at work.
type Hub struct {
	dir     string
	cfg     Config
	keys    keys
	server  broker
	nc      *nats.Conn
	js      jetstream.JetStream
	gate    *gate
	members *members
	log     *slog.Logger
	clock   *clock.Clock
	version string

	look    chan struct{}
	joins   chan struct{}
	hup     <-chan os.Signal
	reloads chan chan Reloaded

	// bucket is the main goroutine's, but for what is copied into the gate.
	bucket bucket
	// taken are the keys that were taken back, and agents what the server holds of them, as text.
	taken  map[string]time.Time
	agents string
	// allowWrong is what is wrong with the signed allow-list, as the log has it.
	allowWrong string
	// looked is what was wrong at the last look; the main goroutine's, too.
	looked error

	mu      sync.Mutex
	problem string
	// claims are those of the fleet's accounts, as regions are told.
	claims string
	// told is what the log was told of it last, at toldAt.
	told   string
	toldAt time.Time
}

// Open reads a directory and starts what is in it. Close ends it.
func Open(ctx context.Context, dir string, o RunOptions) (*Hub, error) {
	if err := checkOurs(dir); err != nil {
		return nil, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	k, err := readKeys(dir)
	if err != nil {
		return nil, err
	}
	authority, err := readAuthority(dir)
	if err != nil {
		return nil, err
	}
	agents, err := safefile.ReadFile(filepath.Join(dir, agentsFile), 64<<20)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	taken, err := revokedIn(strings.TrimSpace(string(agents)))
	if err == nil && len(agents) > 0 {
		agents, err = agentsNow(k, cfg, taken) // what hosts may do is as this version has it
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it holds the keys of hosts that were taken out; without it, they are let in again until the stream has named them", filepath.Join(dir, agentsFile), err)
	}
	h := &Hub{
		dir: dir, cfg: cfg, keys: k, log: o.Log.With("component", "hub"), version: o.Version, taken: taken, clock: clock.System(),
		look: make(chan struct{}, 1), joins: make(chan struct{}, joinsMost), hup: o.Reload, reloads: make(chan chan Reloaded),
	}
	if cfg.External() {
		h.server = newExternal(dir, cfg, k, h.log, h.lookSoon)
	} else {
		t, err := readTransport(dir, time.Now())
		if err != nil {
			return nil, err
		}
		if cfg.regionKeysRefused, err = refusedRegions(dir, cfg); err != nil {
			return nil, err
		}
		c, err := newClaims(k, cfg, nil)
		if err != nil {
			return nil, err
		}
		if text := strings.TrimSpace(string(agents)); text != "" {
			c.agents = text
		}
		if h.server, err = start(ctx, dir, cfg, c, t, o.Log); err != nil {
			return nil, err
		}
	}
	if err := h.begin(authority.Raw); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) begin(authority []byte) error {
	var err error
	if h.nc, err = h.server.connect(); err != nil {
		return fmt.Errorf("the gate can't reach the NATS server: %w", err)
	}
	if h.js, err = jetstream.New(h.nc, jetstream.WithDefaultTimeout(lookMost)); err != nil {
		return err
	}
	h.bucket = bucket{dir: h.dir, cfg: h.cfg, js: h.js}
	h.members = &members{js: h.js, k: h.keys, urls: func() []string { return h.gate.config().URLs }, pin: enrol.Pin(authority)}
	h.gate = newGate(h.cfg, h.nc, h.js, h.log)
	return nil
}

// Close ends the server, orderly.
func (h *Hub) Close() {
	if h.nc != nil {
		h.nc.Close()
	}
	h.server.stop()
}

// errAnew is of a server that has to be started anew.
var errAnew = errors.New("the disk refused a write: the server has to be started anew")

// Run serves a hub's directory until the context ends.
func Run(ctx context.Context, dir string, o RunOptions) error {
	if cfg, err := ReadConfig(dir); err == nil && cfg.Region() {
		return runRegion(ctx, dir, o)
	}
	for {
		h, err := Open(ctx, dir, o)
		if err != nil {
			return err
		}
		h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("Hub %s of %s %s", h.cfg.Name, dir, h.server.where()))
		if err := h.Serve(ctx, o.Ready); !errors.Is(err, errAnew) {
			return err
		}
		o.Ready = nil // that was told
	}
}

// Serve is the hub at work, until the context ends; then it ends the server, too.
func (h *Hub) Serve(ctx context.Context, ready func()) error {
	defer h.Close()
	stop, err := h.gate.serve()
	if err != nil {
		return err
	}
	uncount, err := h.gate.counts.serve(ctx)
	if err != nil {
		return err
	}
	defer uncount()
	var subs []*nats.Subscription
	for _, s := range []struct {
		subject, queue string
		handle         nats.MsgHandler
	}{
		{enrol.JoinSubject, gateQueue, h.bounded(h.join)},
		{enrol.LeaveSubjects + "*", gateQueue, h.bounded(h.leave)},
		{fleet.AllowSubjects + "*", gateQueue, h.gate.allowAsked},
		{changedSubject, "", func(*nats.Msg) { h.lookSoon() }},
		{statusSubject, "", h.bounded(h.status)},
		{reloadSubjects + h.cfg.Name, "", h.bounded(h.reloadAsked)},
		{claimsSubject, "", h.tellClaims},
	} {
		var sub *nats.Subscription
		if s.queue == "" {
			sub, err = h.nc.Subscribe(s.subject, s.handle)
		} else {
			sub, err = h.nc.QueueSubscribe(s.subject, s.queue, s.handle)
		}
		if err != nil {
			return err
		}
		subs = append(subs, sub)
	}
	if h.cfg.alone() {
		// One hub alone has all that it needs: what it can't do now is an error of the start.
		if err := h.lookNow(ctx); err != nil {
			return fmt.Errorf("the stream can't be opened: %w", err)
		}
	}
	if ready != nil {
		ready()
	}
	end := h.loop(ctx)
	for _, s := range subs {
		_ = s.Unsubscribe() // the connection ends anyway
	}
	stop()
	if h.bucket.epoch != "" {
		h.sawAll()
		if err := h.bucket.save(); err != nil {
			h.log.Error(err.Error())
		}
	}
	if end == nil {
		h.log.Log(ctx, eventlog.LevelNotice, "Hub ends: hosts are sent to others, if there are")
	}
	return end
}

// loop writes the beat, and looks after the stream, until the context ends; or the disk refused a write, and there
// is room again.
func (h *Hub) loop(ctx context.Context) error {
	beat := time.NewTimer(0)
	look := time.NewTicker(lookEvery)
	certificate := time.NewTicker(24 * time.Hour)
	defer beat.Stop()
	defer look.Stop()
	defer certificate.Stop()
	h.warnCertificate(time.Now())
	set := h.clock.Offset()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			wait := fleet.BeatEvery
			set = h.clockSet(set)
			if h.bucket.epoch == "" {
				h.lookTell(ctx)
			}
			if h.bucket.epoch != "" {
				err := h.beat(ctx)
				if err != nil {
					wait = retryEvery
				}
				h.tell(cmp.Or(err, h.looked))
			} else {
				wait = retryEvery
			}
			// Several hubs do not beat at the same moment.
			beat.Reset(wait - time.Duration(rand.Int64N(int64(wait/8))))
		case <-look.C:
			h.lookTell(ctx)
			// What is stored can be read meanwhile.
			if h.server.isBroken() {
				h.log.Warn("the disk refused a write, and has room again: the server is started anew")
				return errAnew
			}
		case <-h.look:
			h.lookTell(ctx)
		case <-h.hup:
			h.reload(ctx)
		case done := <-h.reloads:
			done <- h.reload(ctx)
		case now := <-certificate.C:
			h.warnCertificate(now)
		}
	}
}

func (h *Hub) lookTell(ctx context.Context) {
	h.looked = h.lookNow(ctx)
	h.tell(h.looked)
}

func (h *Hub) lookSoon() {
	select {
	case h.look <- struct{}{}:
	default:
	}
}

// tell has the log say what is wrong, once, and when it is over.
func (h *Hub) tell(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	now := time.Now()
	h.mu.Lock()
	was := h.problem
	h.problem = text
	// Something else is told, too; not each time where two things are said in turns.
	fresh := was == "" || text != h.told && now.Sub(h.toldAt) >= tellAgain
	if text != "" && fresh {
		h.told, h.toldAt = text, now
	}
	h.mu.Unlock()
	switch {
	case text != "" && fresh:
		var accounts accountsError
		if !errors.As(err, &accounts) {
			text = "the stream takes nothing now, hosts keep what they have to say: " + text
		}
		h.log.Error(text)
	case text == "" && was != "":
		h.log.Log(context.Background(), eventlog.LevelNotice, "the stream is at work, and nothing is wrong any more")
	}
}

func (h *Hub) warnCertificate(now time.Time) {
	ends := h.server.ends()
	if left := ends.Sub(now); !ends.IsZero() && left < renewBefore {
		h.log.Warn(fmt.Sprintf("the certificate of %s ends on %s: `bailiff hub renew %s`, and restart what serves it", h.dir, ends.Format(time.DateOnly), h.dir))
	}
}

// lookNow finds or makes the stream, and has server and gate know who is not in the fleet any more.
func (h *Hub) lookNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	h.readAllow(ctx)
	h.sawAll()
	err := h.server.usable()
	anew := false
	if err == nil {
		anew, err = h.bucket.open(ctx)
		err = h.server.explain(err)
	}
	if err != nil {
		// Where nobody answers in time, the stream is what it was: what is put into it comes to the same as the question, or is stored.
		if !errors.Is(err, context.DeadlineExceeded) {
			h.gate.know("", 0)
		}
		h.bucket.forget(err)
		return err
	}
	if anew {
		h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("The stream has epoch %s, which this hub did not know: hosts say once more what they know", h.bucket.epoch))
	}
	h.gate.know(h.bucket.epoch, h.bucket.last)
	if err := h.members.changed(ctx); err != nil {
		return err
	}
	taken, gone := revoked(maps.Values(h.members.known))
	h.gate.setGone(gone)
	if h.server.anew() {
		theirs, err := h.server.taken()
		if err != nil {
			return accountsError{err}
		}
		maps.Copy(taken, theirs)
	}
	return h.takeBack(taken)
}

// sawAll has the bucket know how far the gate saw the stream: so one that was put back is known by the last entry, too.
func (h *Hub) sawAll() {
	if epoch, last := h.gate.where(); epoch == h.bucket.epoch {
		h.bucket.last = max(h.bucket.last, last)
	}
}

// accountsError is of a server that is not told who was taken out: bans go on.
type accountsError struct{ error }

func (e accountsError) Error() string {
	return "hosts that are taken out are refused by the gate, but not cut off: " + e.error.Error()
}

func (e accountsError) Unwrap() error { return e.error }

// takeBack has the server refuse keys, from now on and from the next start on; and those from before, though the stream that told
// of them were lost.
func (h *Hub) takeBack(more map[string]time.Time) error {
	maps.Copy(h.taken, more)
	most := revokedMost
	if h.cfg.External() {
		most = externalTaken
	}
	if over := len(h.taken) - most; over > 0 {
		keys := slices.SortedFunc(maps.Keys(h.taken), func(a, b string) int { return h.taken[a].Compare(h.taken[b]) })
		for _, key := range keys[:over] {
			delete(h.taken, key)
		}
	}
	taken := h.taken
	sum, err := json.Marshal(taken) // sorted by key
	if err != nil || string(sum) == h.agents && !h.server.anew() {
		return err
	}
	c, err := agentClaims(h.keys, h.cfg, taken)
	if err != nil {
		return err
	}
	text, err := encode(c, h.keys)
	if err != nil {
		return err
	}
	if err := h.server.setAgents(text); err != nil {
		return accountsError{err}
	}
	if err := replace(filepath.Join(h.dir, agentsFile), []byte(text+"\n")); err != nil {
		return fullError(h.dir, err)
	}
	h.agents = string(sum)
	stream, err := encode(streamClaims(h.keys, h.cfg), h.keys)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.claims = told(text, stream)
	h.mu.Unlock()
	// Regions have servers of their own, which are to know it, too.
	return h.nc.Publish(changedSubject, nil)
}

// tellClaims tells a region the claims of the fleet's accounts, if it has others.
func (h *Hub) tellClaims(m *nats.Msg) {
	h.mu.Lock()
	text := h.claims
	h.mu.Unlock()
	if text == "" {
		return // not known yet: who asks hears nothing, and asks again
	}
	if string(m.Data) == hash(text) {
		text = ""
	}
	if err := h.nc.Publish(m.Reply, []byte(text)); err != nil {
		h.log.Warn(fmt.Sprintf("an answer can't be sent: %v", err))
	}
}

// beat writes the beat, unless another hub has: then its number is what this one learns.
func (h *Hub) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	data, err := fleet.EncodeBeat(h.bucket.epoch)
	if err != nil {
		return err
	}
	rev, err := put(ctx, h.js, fleet.StreamSubjects+fleet.BeatKey().String(), data, h.bucket.beat, 0)
	if isConflict(err) {
		_, other, err := last(ctx, h.js, fleet.Stream, fleet.StreamSubjects+fleet.BeatKey().String())
		if err != nil {
			return err
		}
		first := h.bucket.beat == 0
		h.bucket.beat = other
		h.bucket.last = max(h.bucket.last, other)
		h.gate.saw(other)
		if first && other != 0 {
			return h.beat(ctx) // it did not know of any; hosts wait for one
		}
		return nil
	}
	if err != nil {
		if isGone(err) {
			h.lookSoon()
		}
		return err
	}
	if rev <= h.bucket.last {
		// Numbers went back: this is another stream, or an old one.
		h.lookSoon()
		return nil
	}
	h.bucket.beat, h.bucket.last = rev, rev
	h.gate.saw(rev)
	return nil
}

// isGone reports whether the stream is not there.
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders)
}
