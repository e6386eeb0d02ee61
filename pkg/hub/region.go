package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/safefile"
)

// A region's hub holds a copy of the stream: a mirror, with the same numbers, which it tells its hosts by itself. What
// they say goes on to the hub above it, by one connection between the servers (a leaf node): the gate is at the root alone.
// It has no key that signs anything.

// Subjects between a region's hub and the root.
const (
	// claimsSubject is where a region asks for the claims of the hosts' account, with the sum of those that it has.
	claimsSubject = "hub.claims"
	// regionInboxes and statusInboxes stand before the subjects of answers to regions, and of regions to who asks how they are.
	regionInboxes = "_REGION."
	statusInboxes = "_STATUS."
)

// Region is a region's hub at work.
type Region struct {
	dir     string
	cfg     Config
	c       claims
	engine  *engine
	nc      *nats.Conn
	own     jetstream.JetStream // the mirror's
	above   jetstream.JetStream // that of the hub above
	log     *slog.Logger
	version string
	look    chan struct{}

	mu      sync.Mutex
	epoch   string
	behind  uint64
	problem string
}

// apiOf is where a hub's stream is asked, by the name of its domain.
func apiOf(domain string) string { return "$JS." + domain + ".API" }

// OpenRegion reads the directory of a region's hub, and starts what is in it. Close ends it.
func OpenRegion(ctx context.Context, dir string, o RunOptions) (*Region, error) {
	if err := checkOurs(dir); err != nil {
		return nil, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	if !cfg.Region() {
		return nil, fmt.Errorf("%s is no region's hub", dir)
	}
	c, err := readClaims(dir)
	if err != nil {
		return nil, err
	}
	t, err := readTransport(dir, time.Now())
	if err != nil {
		return nil, err
	}
	r := &Region{dir: dir, cfg: cfg, c: c, log: o.Log.With("component", "hub"), version: o.Version, look: make(chan struct{}, 1)}
	if r.engine, err = start(ctx, dir, cfg, c, t, o.Log); err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Region) begin() (err error) {
	if r.nc, err = r.engine.connect(nats.CustomInboxPrefix(regionInboxes + r.cfg.Name)); err != nil {
		return fmt.Errorf("the region's own server can't be reached: %w", err)
	}
	if r.own, err = jetstream.New(r.nc, jetstream.WithDefaultTimeout(lookMost)); err != nil {
		return err
	}
	r.above, err = jetstream.NewWithDomain(r.nc, r.cfg.Parent, jetstream.WithDefaultTimeout(lookMost))
	return err
}

// Close ends the server, orderly.
func (r *Region) Close() {
	if r.nc != nil {
		r.nc.Close()
	}
	r.engine.stop()
}

// runRegion serves a region's directory until the context ends.
func runRegion(ctx context.Context, dir string, o RunOptions) error {
	for {
		r, err := OpenRegion(ctx, dir, o)
		if err != nil {
			return err
		}
		r.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("Hub of region %s of %s %s, below %s at %s", r.cfg.Name, dir, r.engine.where(), r.cfg.Parent, strings.Join(r.cfg.ParentURLs, ", ")))
		if err := r.Serve(ctx, o.Ready); !errors.Is(err, errAnew) {
			return err
		}
		o.Ready = nil // that was told
	}
}

// Serve is the region's hub at work, until the context ends.
func (r *Region) Serve(ctx context.Context, ready func()) error {
	defer r.Close()
	for subject, handle := range map[string]nats.MsgHandler{
		changedSubject: func(*nats.Msg) {
			select {
			case r.look <- struct{}{}:
			default:
			}
		},
		statusSubject: r.status,
	} {
		if _, err := r.nc.Subscribe(subject, handle); err != nil {
			return err
		}
	}
	if ready != nil {
		ready()
	}
	soon := time.NewTimer(0)
	defer soon.Stop()
	certificate := time.NewTicker(24 * time.Hour)
	defer certificate.Stop()
	r.warnCertificate(time.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-certificate.C:
			r.warnCertificate(now)
			continue
		case <-r.look:
		case <-soon.C:
		}
		err := r.lookNow(ctx)
		r.tell(ctx, err)
		wait := lookEvery
		if err != nil {
			wait = min(lookEvery, time.Second)
		}
		soon.Reset(wait)
		if r.engine.isBroken() {
			r.log.Warn("the disk refused a write, and has room again: the server is started anew")
			return errAnew
		}
	}
}

func (r *Region) warnCertificate(now time.Time) {
	if ends := r.engine.ends(); ends.Sub(now) < renewBefore {
		r.log.Warn(fmt.Sprintf("the certificate of %s ends on %s: bailiff hub renew makes another one, where the fleet's authority is", r.dir, ends.Format(time.DateOnly)))
	}
}

// tell has the log say what is wrong, once, and when it is over.
func (r *Region) tell(ctx context.Context, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	was := r.problem
	r.problem = text
	r.mu.Unlock()
	switch {
	case text != "" && text != was:
		r.log.Error("this region is by itself now, its hosts keep what they have to say: " + text)
	case text == "" && was != "":
		r.log.Log(ctx, eventlog.LevelNotice, "this region has its hub again")
	}
}

// lookNow has the mirror be one of the stream that the hub above has now, and the server know who was taken out.
func (r *Region) lookNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*lookMost)
	defer cancel()
	s, err := r.above.Stream(ctx, fleet.Stream)
	if err != nil {
		return r.explain(err)
	}
	above := s.CachedInfo()
	epoch := above.Config.Metadata[epochKey]
	if epoch == "" {
		return fmt.Errorf("the hub above (%s): %w", r.cfg.Parent, errNotOurs)
	}
	if err := r.mirror(ctx, epoch, above.State.LastSeq); err != nil {
		return err
	}
	return r.claims(ctx)
}

func (r *Region) explain(err error) error {
	if isGone(err) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the hub above, %s at %s, does not answer: is it at work, and does it listen for regions ([regions] in its %s)? (%w)", r.cfg.Parent, strings.Join(r.cfg.ParentURLs, ", "), ConfigFile, err)
	}
	return err
}

// mirrorConfig is the copy of a stream of that epoch.
func (r *Region) mirrorConfig(epoch string) jetstream.StreamConfig {
	like := bansConfig(r.cfg, epoch)
	return jetstream.StreamConfig{
		Name: fleet.Stream, Description: "bans of a fleet, as the hub above has them", Retention: like.Retention, Storage: like.Storage, Replicas: 1,
		Mirror:            &jetstream.StreamSource{Name: fleet.Stream, External: &jetstream.ExternalStream{APIPrefix: apiOf(r.cfg.Parent)}},
		MaxMsgsPerSubject: 1, MaxMsgSize: like.MaxMsgSize, AllowMsgTTL: true, AllowDirect: true, DenyDelete: true, RePublish: like.RePublish, Metadata: like.Metadata,
	}
}

// mirror makes the copy, and makes it anew where the stream above is another one, or went back.
func (r *Region) mirror(ctx context.Context, epoch string, newest uint64) error {
	have, err := r.own.Stream(ctx, fleet.Stream)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the region's own stream: %w", err)
	}
	behind := newest
	if err == nil {
		info := have.CachedInfo()
		if was := info.Config.Metadata[epochKey]; was != epoch || info.State.LastSeq > newest {
			r.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("The stream above has epoch %s, and this region's copy was of %s: it is made anew", epoch, was))
			if err := r.own.DeleteStream(ctx, fleet.Stream); err != nil {
				return fmt.Errorf("the region's own stream can't be made anew: %w", err)
			}
			have = nil
		} else {
			behind = newest - info.State.LastSeq
		}
	}
	if have == nil {
		if _, err := r.own.CreateStream(ctx, r.mirrorConfig(epoch)); err != nil {
			return fmt.Errorf("the region's own stream can't be made: %w", err)
		}
	}
	r.mu.Lock()
	r.epoch, r.behind = epoch, behind
	r.mu.Unlock()
	return nil
}

// claims asks the root what the fleet's accounts are: who was taken out, and what hosts may do, where that is not what this region knows.
func (r *Region) claims(ctx context.Context) (wrong error) {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	m, err := r.nc.RequestWithContext(ctx, claimsSubject, []byte(hash(told(r.c.agents, r.c.fleet))))
	if err != nil {
		return fmt.Errorf("the root does not say who was taken out: %w", err)
	}
	if len(m.Data) == 0 {
		return nil // it is what is known here
	}
	agents, stream, ok := strings.Cut(string(m.Data), "\n")
	if !ok {
		return errors.New("the root says in another form who was taken out: it is of another version of bailiff")
	}
	for _, one := range []struct {
		file, id, text string
		has            *string
	}{{streamFile, r.c.fleetID, stream, &r.c.fleet}, {agentsFile, r.c.agentsID, agents, &r.c.agents}} {
		if one.text != *one.has {
			wrong = errors.Join(wrong, r.take(one.file, one.id, one.text, one.has)) // who was taken out is known, whatever is wrong with the other
		}
	}
	return wrong
}

// take has claims of an account take the place of those that this region has.
func (r *Region) take(file, id, text string, has *string) error {
	if err := r.c.newer(id, *has, text); err != nil {
		return err
	}
	if err := r.engine.setAccount(text); err != nil {
		return err
	}
	*has = text
	if err := replace(filepath.Join(r.dir, file), []byte(text+"\n")); err != nil {
		return fullError(r.dir, err)
	}
	return nil
}

// told is how the root tells of accounts.
func told(agents, stream string) string { return agents + "\n" + stream }

// newer says what is wrong with claims that are to take the place of those of an account.
func (c claims) newer(id, was, text string) error {
	next, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		return fmt.Errorf("the root's claims: %w", err)
	}
	operator, err := jwt.DecodeOperatorClaims(c.operator)
	if err != nil {
		return err
	}
	if next.Subject != id || next.Issuer != operator.Subject {
		return errors.New("what the hub above sent as the fleet's account is not of this fleet")
	}
	have, err := jwt.DecodeAccountClaims(was)
	if err != nil {
		return err
	}
	// A region that was made while the root was at work has the same, signed later.
	if next.IssuedAt < have.IssuedAt && !sameClaims(*next, *have) {
		return errors.New("what the hub above sent as the fleet's account is older than what is known here")
	}
	return nil
}

// sameClaims reports whether two accounts are the same but for when they were signed.
func sameClaims(a, b jwt.AccountClaims) bool {
	a.ID, a.IssuedAt, b.ID, b.IssuedAt = "", 0, "", 0
	x, err := json.Marshal(a)
	y, again := json.Marshal(b)
	return err == nil && again == nil && bytes.Equal(x, y)
}

func (r *Region) status(m *nats.Msg) {
	out := report{Name: r.cfg.Name, Version: r.version, Server: r.nc.ConnectedServerVersion(), Ends: r.engine.ends(), Parent: r.cfg.Parent, URLs: r.cfg.URLs}
	r.mu.Lock()
	out.Problem, out.Epoch, out.Behind = r.problem, r.epoch, r.behind
	r.mu.Unlock()
	var err error
	if out.Hosts, err = r.engine.connections(connectionsTold); err != nil && out.Problem == "" {
		out.Problem = err.Error()
	}
	data, err := json.Marshal(out)
	if err == nil {
		err = r.nc.Publish(m.Reply, data)
	}
	if err != nil {
		r.log.Warn(fmt.Sprintf("an answer can't be sent: %v", err))
	}
}

// readClaims reads what a directory without keys has of the accounts.
func readClaims(dir string) (c claims, err error) {
	for name, at := range map[string]*string{"operator.jwt": &c.operator, "system.jwt": &c.system, streamFile: &c.fleet, agentsFile: &c.agents} {
		data, err := safefile.ReadFile(filepath.Join(dir, name), 64<<20)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return c, fmt.Errorf("%w: a region's directory is made by bailiff hub init --region at the root, and copied", err)
			}
			return c, err
		}
		*at = strings.TrimSpace(string(data))
	}
	for text, id := range map[string]*string{c.system: &c.systemID, c.fleet: &c.fleetID, c.agents: &c.agentsID} {
		account, err := jwt.DecodeAccountClaims(text)
		if err != nil {
			return c, fmt.Errorf("%s: the accounts in it: %w", dir, err)
		}
		*id = account.Subject
	}
	return c, nil
}
