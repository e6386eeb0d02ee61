package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet/enrol"
)

// broker is NATS' server as a hub uses it: in this process (engine), or the operator's own (external).
type broker interface {
	// connect is a connection as the hub's own user.
	connect(...nats.Option) (*nats.Conn, error)
	// usable says why the server is of no use now; nil: it is.
	usable() error
	// explain says what an error of the stream means there.
	explain(error) error
	// setAgents has it take new claims of the hosts' account: whom they take back is cut off.
	setAgents(text string) error
	// anew reports whether what the server knows of the hosts' account is to be looked at: then taken are the keys that it
	// takes back.
	anew() bool
	taken() (map[string]time.Time, error)
	// connections are those of hosts, at most that many.
	connections(most int) ([]connection, error)
	// isBroken reports whether it has to be started anew, since its disk refused a write.
	isBroken() bool
	// ends is when its certificate does; zero: that is not known.
	ends() time.Time
	// where is what is listened on, in words.
	where() string
	stop()
}

// Patience with a server elsewhere.
const (
	externalAsk = 5 * time.Second
	externalIn  = 200 * time.Millisecond
	externalBy  = 4 * time.Second
	// externalTaken is how many keys that were taken back are told to a server elsewhere: claims are a message, of a megabyte
	// at the most.
	externalTaken = 8000
)

// external is NATS' server, or a cluster of them, that the operator runs himself, with the accounts of nats.conf. The hub is a
// client there of two accounts: of the stream's, and of the servers' own, which is told who was taken out.
type external struct {
	dir string
	cfg Config
	k   keys
	log *slog.Logger
	// soon has the hub look, as there is a connection, or none.
	soon func()

	mu       sync.Mutex
	nc, sys  *nats.Conn
	unlooked bool   // since a connection was made
	denied   string // what the server did not allow last
	until    time.Time
}

func newExternal(dir string, cfg Config, k keys, log *slog.Logger, soon func()) *external {
	return &external{dir: dir, cfg: cfg, k: k, log: log, soon: soon, unlooked: true}
}

// externalOptions are how the servers of a directory are reached as one of its users.
func externalOptions(dir, credentials, name string) []nats.Option {
	return append(enrolled(filepath.Join(dir, credentials), filepath.Join(dir, authorityFile)), nats.Name(name), nats.Timeout(externalAsk))
}

// enrolled are who is known by a file of credentials, and knows the servers by their authority's certificate.
func enrolled(credentials, authority string) []nats.Option {
	return []nats.Option{nats.UserCredentials(credentials), nats.RootCAs(authority), nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13})}
}

// connect begins both connections: that nobody answers now is no error, it is tried for ever.
func (x *external) connect(more ...nats.Option) (*nats.Conn, error) {
	nc, err := x.begin(hubUserFile, "bailiff gate", more...)
	if err != nil {
		return nil, err
	}
	sys, err := x.begin(x.cfg.ExternalSystem, "bailiff gate, accounts")
	if err != nil {
		nc.Close()
		return nil, err
	}
	x.mu.Lock()
	x.nc, x.sys = nc, sys
	x.mu.Unlock()
	// A moment for the first try, so that what is told first is why, and not that it is too soon to know.
	for end := time.Now().Add(externalAsk); time.Now().Before(end) && !(tried(nc) && tried(sys)); {
		time.Sleep(10 * time.Millisecond)
	}
	return nc, nil
}

// tried reports whether there is a connection, or why there is none is known.
func tried(nc *nats.Conn) bool { return nc.IsConnected() || nc.LastError() != nil }

func (x *external) begin(credentials, name string, more ...nats.Option) (*nats.Conn, error) {
	there := func(nc *nats.Conn) {
		x.mu.Lock()
		x.unlooked, x.denied = true, ""
		if s, err := nc.TLSConnectionState(); err == nil && len(s.PeerCertificates) > 0 {
			x.until = s.PeerCertificates[0].NotAfter
		}
		x.mu.Unlock()
		x.soon()
	}
	return nats.Connect(strings.Join(x.cfg.ExternalServers, ","), slices.Concat(externalOptions(x.dir, credentials, name), []nats.Option{
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(externalIn<<min(attempts, 10), externalBy)
			return d + rand.N(d)
		}),
		nats.ConnectHandler(there), nats.ReconnectHandler(there),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { x.soon() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if errors.Is(err, nats.ErrPermissionViolation) {
				x.denied = err.Error()
			}
		}),
	}, more)...)
}

func (x *external) conns() (nc, sys *nats.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.nc, x.sys
}

// usable is of the connections, and of the server's version, which may be another one after each reconnect.
func (x *external) usable() error {
	nc, sys := x.conns()
	for _, c := range []struct {
		nc          *nats.Conn
		credentials string
	}{{nc, hubUserFile}, {sys, x.cfg.ExternalSystem}} {
		if c.nc == nil || !c.nc.IsConnected() {
			return fmt.Errorf("no connection to the NATS server at %s by %s: %w", strings.Join(x.cfg.ExternalServers, ", "), c.credentials, notReached(c.nc))
		}
		if err := enrol.CheckServer(c.nc.ConnectedServerVersion()); err != nil {
			return fmt.Errorf("%s: %w", c.nc.ConnectedUrlRedacted(), err)
		}
	}
	return nil
}

// notReached is why there is no connection.
func notReached(nc *nats.Conn) error {
	if nc == nil || nc.LastError() == nil {
		return errors.New("it does not answer yet")
	}
	err := nc.LastError()
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAuthExpired) {
		return fmt.Errorf("%w: it does not know the fleet's accounts: are the lines of %s in its configuration, and was it started with them?", err, NATSFile)
	}
	return enrol.Explain(err)
}

// explain is of a server whose configuration is somebody else's.
func (x *external) explain(err error) error {
	x.mu.Lock()
	denied := x.denied
	x.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case denied != "":
		return fmt.Errorf("the NATS server does not allow what the gate needs (%s): has it the accounts of this directory's %s?", denied, NATSFile)
	case isGone(err), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the NATS server has no JetStream for the account FLEET: want jetstream {…} in its configuration, as %s has it (%w)", NATSFile, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("the NATS server's JetStream does not answer: of several servers more than half have to be at work (%w)", err)
	}
	return err
}

// ask asks the servers' own account.
func (x *external) ask(subject string, data []byte) ([]byte, error) {
	_, sys := x.conns()
	if sys == nil {
		return nil, nats.ErrConnectionClosed
	}
	m, err := sys.Request(subject, data, externalAsk)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("the NATS server takes no new accounts while it is at work: want a resolver of type full, as %s has it (%w)", NATSFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the NATS server's own account, by %s: %w", x.cfg.ExternalSystem, err)
	}
	return m.Data, nil
}

func (x *external) anew() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.unlooked
}

// claimsOf are those that the servers have of an account.
func (x *external) claimsOf(key string) (*jwt.AccountClaims, error) {
	id := public(x.k[key])
	data, err := x.ask(claimsLookup(id), nil)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("the NATS server does not know the account %s (%s): are the lines of %s in its configuration?", key, id, NATSFile)
	}
	return jwt.DecodeAccountClaims(string(data))
}

// taken are the keys that the servers' claims take back: other gatekeepers may have told them of more.
func (x *external) taken() (map[string]time.Time, error) {
	c, err := x.claimsOf(agentsKey)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Time{}
	for key, at := range c.Revocations {
		out[key] = time.Unix(at, 0).UTC()
	}
	return out, nil
}

// setAgents tells the servers what the fleet's accounts are, if they know others: of who was taken out, of what hosts may do in this
// version, of limits that hub.toml says.
func (x *external) setAgents(text string) error {
	stream, err := encode(streamClaims(x.k, x.cfg), x.k)
	if err != nil {
		return err
	}
	for _, one := range []struct{ key, text string }{{fleetKey, stream}, {agentsKey, text}} {
		want, err := jwt.DecodeAccountClaims(one.text)
		if err != nil {
			return err
		}
		have, err := x.claimsOf(one.key)
		if err != nil {
			return err
		}
		if reflect.DeepEqual(have.Account, want.Account) {
			continue
		}
		if err := x.push(one.text); err != nil {
			return err
		}
	}
	x.mu.Lock()
	x.unlooked = false
	x.mu.Unlock()
	return nil
}

// push has the servers take an account's claims: each keeps them in its resolver's directory.
func (x *external) push(text string) error {
	data, err := x.ask(claimsUpdate, []byte(text))
	if err != nil {
		return err
	}
	var r struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("the NATS server's answer to new accounts: %w", err)
	}
	if r.Error != nil {
		return fmt.Errorf("the NATS server does not take the fleet's accounts: %.200s", r.Error.Description)
	}
	return nil
}

// connections asks all servers: each tells of its own.
func (x *external) connections(most int) (out []connection, err error) {
	_, sys := x.conns()
	if sys == nil || !sys.IsConnected() {
		return nil, errors.New("no connection to the NATS server")
	}
	inbox := sys.NewInbox()
	sub, err := sys.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sys.PublishRequest(connectionsOf(public(x.k[agentsKey])), inbox, fmt.Appendf(nil, `{"auth":true,"limit":%d}`, most)); err != nil {
		return nil, err
	}
	for wait := externalAsk / 2; len(out) < most; wait = gather / 2 {
		m, err := sub.NextMsg(wait)
		if err != nil {
			break // that were all
		}
		var r struct {
			Data struct {
				Connections []struct {
					User  string    `json:"authorized_user"`
					Start time.Time `json:"start"`
					IP    string    `json:"ip"`
					Idle  string    `json:"idle"`
				} `json:"connections"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return out, fmt.Errorf("the NATS server's list of connections: %w", err)
		}
		for _, c := range r.Data.Connections {
			out = append(out, connection{c.User, c.Start, c.IP, c.Idle})
		}
	}
	return out[:min(len(out), most)], nil
}

func (x *external) isBroken() bool { return false }

func (x *external) ends() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.until
}

func (x *external) where() string {
	return "is beside the NATS server at " + strings.Join(x.cfg.ExternalServers, ", ")
}

func (x *external) stop() {
	if _, sys := x.conns(); sys != nil {
		sys.Close()
	}
}
