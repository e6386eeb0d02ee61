package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// connectionsTold is how many connections one hub tells of.
const connectionsTold = 4000

// report is what a hub says of itself at statusSubject.
type report struct {
	Name    string           `json:"name"`
	Version string           `json:"version"`
	Server  string           `json:"server"`
	Problem string           `json:"problem,omitempty"`
	Ends    time.Time        `json:"certificate_ends"`
	Epoch   string           `json:"epoch"`
	Hosts   []connection     `json:"hosts"`
	Usage   map[string]Usage `json:"usage"`
	// Of a region's hub: below which it is, where its hosts find it, how many words it has not got yet.
	Parent string   `json:"parent,omitempty"`
	URLs   []string `json:"urls,omitempty"`
	Behind uint64   `json:"behind,omitempty"`
}

func (h *Hub) status(_ context.Context, m *nats.Msg) {
	r := report{Name: h.cfg.Name, Version: h.version, Server: h.nc.ConnectedServerVersion(), Ends: h.server.ends(), Usage: h.gate.limits.usage()}
	h.gate.counts.held(r.Usage)
	r.Epoch, _ = h.gate.where()
	h.mu.Lock()
	r.Problem = h.problem
	h.mu.Unlock()
	var err error
	if r.Hosts, err = h.server.connections(connectionsTold); err != nil && r.Problem == "" {
		r.Problem = err.Error()
	}
	for len(r.Usage) > connectionsTold { // any of them: what is told has a bound
		for name := range r.Usage {
			delete(r.Usage, name)
			break
		}
	}
	h.respond(m, r)
}

// HubStatus is one hub of the fleet.
type HubStatus struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Server is the version of NATS' server.
	Server string `json:"server"`
	// Problem is what is wrong now.
	Problem         string    `json:"problem,omitempty"`
	CertificateEnds time.Time `json:"certificate_ends"`
	// Parent is the hub above, if it is a region's; Behind how many words it has not got yet.
	Parent string `json:"parent,omitempty"`
	Behind uint64 `json:"behind,omitempty"`
}

// HostStatus is one host of the fleet.
type HostStatus struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Lifts bool      `json:"lifts,omitempty"`
	// Gone is when it left or was taken out, Why which of them.
	Gone *time.Time `json:"gone,omitempty"`
	Why  string     `json:"why,omitempty"`
	// Connected is since when it is, to the hub of that name; nil: it is not.
	Connected *time.Time `json:"connected,omitempty"`
	Hub       string     `json:"hub,omitempty"`
	Address   string     `json:"address,omitempty"`
	// Entries are those that it has in the stream, of Quota.
	Entries int `json:"entries"`
	Quota   int `json:"quota"`
	Usage
}

// Status is the fleet as its hub sees it.
type Status struct {
	Epoch   string       `json:"epoch"`
	Entries uint64       `json:"entries"`
	Most    int64        `json:"most"`
	Bytes   uint64       `json:"bytes"`
	Leader  string       `json:"leader,omitempty"`
	Hubs    []HubStatus  `json:"hubs"`
	Hosts   []HostStatus `json:"hosts"`
	// Behind are hubs that do not hold all of the stream now: restart no other one before that is none.
	Behind []string `json:"behind,omitempty"`
	// Missing are hubs that have not answered.
	Missing int `json:"missing,omitempty"`
}

// Client asks a hub that is at work, by the keys in its directory.
type Client struct {
	dir     string
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	members *members
}

// Dial reaches the hub of a directory. at is where, tls://HOST:PORT; empty: where the directory's own hub listens.
func Dial(dir, at string) (*Client, error) {
	as := os.Geteuid()
	if as == 0 {
		as = anyone
	}
	if err := checkDir(dir, as); err != nil {
		return nil, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	if cfg.Region() {
		return nil, fmt.Errorf("%s is a region's directory, which has no keys of the fleet: this is done at the root", dir)
	}
	k, err := readKeys(dir)
	if err != nil {
		return nil, err
	}
	authority, err := readAuthority(dir)
	if err != nil {
		return nil, err
	}
	nc, err := dial(dir, cfg, at)
	if err != nil {
		return nil, err
	}
	if err := enrol.CheckServer(nc.ConnectedServerVersion()); err != nil {
		nc.Close()
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(lookMost))
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Client{dir, cfg, nc, js, &members{js: js, k: k, urls: func() []string { return cfg.URLs }, pin: enrol.Pin(authority.Raw), allowKey: cfg.AllowKey}}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.nc.Close() }

// Token makes a token.
func (c *Client) Token(ctx context.Context, o TokenOptions) (enrol.Token, error) {
	if o.Region != "" {
		reports, err := c.reports(ctx)
		if err != nil {
			return enrol.Token{}, err
		}
		at := slices.IndexFunc(reports, func(r report) bool { return r.Parent != "" && r.Name == o.Region })
		if at < 0 {
			return enrol.Token{}, fmt.Errorf("no hub of a region %s is connected now, and it says itself where its hosts find it", o.Region)
		}
		o.urls = reports[at].URLs
	}
	t, err := c.members.token(ctx, o)
	return t, explain(err)
}

// Distrust takes a host out of the fleet: its key is no longer let in, and what it has said is lifted everywhere.
func (c *Client) Distrust(ctx context.Context, name string) error {
	info, err := (&bucket{js: c.js}).info(ctx)
	if err != nil {
		return explain(err)
	}
	err = c.members.remove(ctx, name, "distrusted", info.Config.Metadata[epochKey], c.cfg.MaxBan)
	if told := c.nc.Publish(changedSubject, nil); told == nil {
		told = c.nc.FlushWithContext(ctx)
		err = errors.Join(err, told)
	}
	return explain(err)
}

// explain says what an error of the stream means.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("the hub has no stream now: `bailiff hub run` makes it, and of several hubs more than half have to be at work (%w)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the stream does not answer: of several hubs more than half have to be at work (%w)", err)
	}
	return err
}

// hubsMost is how many gatekeepers of one NATS cluster, or hubs with those of regions, are asked how they are.
const hubsMost = 1024

// gather is how long hubs have for their answers after the first; tests, beside other programs, give them more.
var gather = 500 * time.Millisecond

// Status asks all hubs, and the stream.
func (c *Client) Status(ctx context.Context) (Status, error) {
	s := Status{Hosts: []HostStatus{}}
	info, err := (&bucket{js: c.js}).info(ctx)
	if err != nil {
		return s, explain(err)
	}
	s.Epoch, s.Entries, s.Bytes, s.Most = info.Config.Metadata[epochKey], info.State.Msgs, info.State.Bytes, info.Config.MaxMsgs
	if info.Cluster != nil {
		s.Leader = info.Cluster.Leader
		for _, r := range info.Cluster.Replicas {
			if !r.Current || r.Offline || r.Lag > 0 {
				s.Behind = append(s.Behind, r.Name)
			}
		}
	}
	reports, err := c.reports(ctx)
	if err != nil {
		return s, err
	}
	s.Missing = len(c.cfg.Routes) + 1
	for _, r := range reports {
		if r.Parent == "" && s.Missing > 0 {
			s.Missing--
		}
	}
	hosts, err := c.members.hosts(ctx)
	if err != nil {
		return s, explain(err)
	}
	for _, h := range hosts {
		one := HostStatus{Name: h.Name, Since: h.Since, Lifts: h.Lifts, Why: h.Why, Quota: c.cfg.Quota}
		if own, ok := c.cfg.Hosts[h.Name]; ok {
			one.Quota = own.Quota
		}
		if !h.Gone.IsZero() {
			one.Gone = &h.Gone
		}
		if one.Entries, err = countKeys(ctx, c.js, fleet.StreamSubjects+h.Name+".>"); err != nil {
			return s, explain(err)
		}
		one.Refused = map[fleet.Reason]uint64{}
		for _, r := range reports {
			u := r.Usage[h.Name]
			one.Stored += u.Stored
			one.Counted = max(one.Counted, u.Counted)
			for why, n := range u.Refused {
				one.Refused[why] += n
			}
			for _, conn := range r.Hosts {
				if conn.Key == h.Key && (one.Connected == nil || conn.Since.Before(*one.Connected)) {
					one.Connected, one.Hub, one.Address = &conn.Since, r.Name, conn.IP
				}
			}
		}
		s.Hosts = append(s.Hosts, one)
	}
	for _, r := range reports {
		s.Hubs = append(s.Hubs, HubStatus{r.Name, r.Version, r.Server, r.Problem, r.Ends, r.Parent, r.Behind})
	}
	return s, nil
}

// reports are what hubs say of themselves: those that answer in time.
func (c *Client) reports(ctx context.Context) (out []report, err error) {
	n := hubsMost // where nobody has said how many there are
	if !c.cfg.External() && c.cfg.RegionsListen == "" {
		n = len(c.cfg.Routes) + 1
	}
	inbox := statusInboxes + word(12)
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.nc.PublishRequest(statusSubject, inbox, nil); err != nil {
		return nil, err
	}
	deadline, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	for len(out) < n {
		m, err := sub.NextMsgWithContext(deadline)
		if err != nil {
			break // who has not answered is told as missing
		}
		var r report
		if json.Unmarshal(m.Data, &r) != nil {
			continue
		}
		if len(out) == 0 {
			var soon context.CancelFunc
			deadline, soon = context.WithTimeout(ctx, gather)
			defer soon()
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b report) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
