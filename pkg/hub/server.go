package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// Bounds of the server.
const (
	readyMost = 30 * time.Second
	// connectionsMost is how many connections a hub holds: its hosts, and who joins.
	connectionsMost = 20_000
	// pendingMost is how many bytes wait for a host that does not read before it is cut off.
	pendingMost = 8 << 20
)

// Bytes that have to be free for a start.
const freeLeast = 16 << 20

// engine is the embedded server, and what it said.
type engine struct {
	dir      string
	cfg      Config
	until    time.Time
	s        *server.Server
	bridge   *bridge
	resolver *server.MemAccResolver
	agentsID string
	ended    chan struct{} // closed when the server is to end
	end      sync.Once
}

// start starts the server of a directory. Each way in which that can fail is an error that says what to do.
func start(ctx context.Context, dir string, cfg Config, c claims, t transport, log *slog.Logger) (*engine, error) {
	operator, err := jwt.DecodeOperatorClaims(c.operator)
	if err != nil {
		return nil, err
	}
	resolver := &server.MemAccResolver{}
	for id, text := range map[string]string{c.systemID: c.system, c.fleetID: c.fleet, c.agentsID: c.agents} {
		if err := resolver.Store(id, text); err != nil {
			return nil, err
		}
	}
	store := filepath.Join(dir, storeDir)
	if err := os.Mkdir(store, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fullError(store, err)
	}
	if err := room(store); err != nil {
		return nil, err
	}
	host, port := hostPort(cfg.Listen)
	opts := &server.Options{
		ServerName: cfg.Name, Host: host, Port: port,
		NoSigs: true, DisableJetStreamBanner: true,
		MaxConn: connectionsMost, MaxPayload: 1 << 20, MaxPending: pendingMost, MaxSubs: 64,
		WriteDeadline: 10 * time.Second, AuthTimeout: 5, TLSTimeout: 5, PingInterval: 30 * time.Second, MaxPingsOut: 2,
		ConnectErrorReports: 600, ReconnectErrorReports: 600, LameDuckDuration: lameDuck, LameDuckGracePeriod: lameDuckFirst,
		TLSConfig: t.hosts, TLS: true,
		TrustedOperators: []*jwt.OperatorClaims{operator}, AccountResolver: resolver, SystemAccount: c.systemID,
		// The bucket is what hosts agree on: what was acknowledged is on the disk.
		JetStream: true, StoreDir: store, SyncAlways: true, JetStreamDomain: cfg.domain(),
		JetStreamMaxStore: cfg.Store, JetStreamMaxMemory: 16 << 20,
	}
	if cfg.ClusterListen != "" {
		host, port := hostPort(cfg.ClusterListen)
		opts.Cluster = server.ClusterOpts{Name: "bailiff", Host: host, Port: port, TLSConfig: t.hubs, TLSTimeout: 5, NoAdvertise: true, ConnectRetries: 1 << 30, PoolSize: 1}
		// A way between hubs on which nothing comes any more is closed within 8 s. Until then what is asked of any hub is asked of that one, too,
		// each third time, and not answered: by NATS' own 90 s bans of all hosts waited as long.
		opts.Cluster.PingInterval, opts.Cluster.MaxPingsOut = 2*time.Second, 3
		for _, r := range cfg.Routes {
			u, err := url.Parse(r)
			if err != nil {
				return nil, err
			}
			opts.Routes = append(opts.Routes, u)
		}
	}
	if err := leaves(opts, dir, cfg, c, t); err != nil {
		return nil, err
	}
	for _, at := range []string{cfg.Listen, cfg.ClusterListen, cfg.RegionsListen} {
		if err := free(ctx, at); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	e := &engine{dir: dir, cfg: cfg, until: t.ends, s: s, bridge: &bridge{log: log.With("component", "hub")}, resolver: resolver, agentsID: c.agentsID, ended: make(chan struct{})}
	s.SetLoggerV2(e.bridge, false, false, false)
	s.Start()
	if !s.ReadyForConnections(readyMost) {
		fatal := e.bridge.fatal()
		s.Shutdown()
		if fatal == "" {
			fatal = fmt.Sprintf("it is not ready after %v", readyMost)
		}
		return nil, errors.New("the server does not start: " + fatal)
	}
	if fatal := e.bridge.fatal(); fatal != "" {
		s.Shutdown()
		return nil, errors.New("the server does not start: " + fatal)
	}
	go e.crowds()
	return e, nil
}

// leaves has the server listen for those of regions, and connect with that of the hub above.
func leaves(opts *server.Options, dir string, cfg Config, c claims, t transport) error {
	if cfg.RegionsListen != "" {
		host, port := hostPort(cfg.RegionsListen)
		opts.LeafNode.Host, opts.LeafNode.Port = host, port
		opts.LeafNode.TLSConfig, opts.LeafNode.TLSTimeout, opts.LeafNode.NoAdvertise = t.hubs, 5, true
	}
	if !cfg.Region() {
		return nil
	}
	remote := &server.RemoteLeafOpts{
		LocalAccount: c.fleetID, Credentials: filepath.Join(dir, leafFile), TLS: true, TLSConfig: t.hubs, TLSTimeout: 5,
		// What is stored each server tells by itself: over this connection it would come twice.
		DenyImports: []string{fleet.LiveSubjects + ">"}, DenyExports: []string{fleet.LiveSubjects + ">"},
	}
	for _, text := range cfg.ParentURLs {
		u, err := url.Parse(text)
		if err != nil {
			return err
		}
		remote.URLs = append(remote.URLs, u)
	}
	opts.LeafNode.Remotes, opts.LeafNode.ReconnectInterval = []*server.RemoteLeafOpts{remote}, time.Second
	return nil
}

func hostPort(listen string) (string, int) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0
	}
	n, _ := strconv.Atoi(port) // the configuration was checked
	return host, n
}

// free reports whether somebody else listens at an address.
func free(ctx context.Context, at string) error {
	if at == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen %s: another program, or another hub, has that port (ss -ltnp tells which): end it, or change listen in %s", at, ConfigFile)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen %s: this host has no such address: change listen in %s", at, ConfigFile)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen %s: ports below 1024 are root's: change listen in %s", at, ConfigFile)
	case err != nil:
		return fmt.Errorf("listen %s: %w", at, err)
	}
	return l.Close()
}

// room says so if a disk has no room for what is written at a start.
func room(dir string) error {
	f, err := os.CreateTemp(dir, ".room-")
	if err != nil {
		return fullError(dir, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 1<<20))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fullError(dir, err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err == nil && st.Bavail*uint64(st.Bsize) < freeLeast {
		return fullError(dir, syscall.ENOSPC)
	}
	return nil
}

func fullError(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: the disk is full: the hub wants %d MB free to start, and what store in %s allows to go on", dir, freeLeast>>20, ConfigFile)
	}
	return err
}

// connect is a connection to the server without a network, as the hub's own user.
func (e *engine) connect(more ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{
		nats.InProcessServer(e.s), nats.UserCredentials(filepath.Join(e.dir, hubUserFile)), nats.Name("bailiff gate"),
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(readyMost),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { e.bridge.log.Warn("gate: " + err.Error()) }),
	}, more...)...)
}

func (e *engine) usable() error { return enrol.CheckServer(server.VERSION) }

func (e *engine) explain(err error) error { return err }

// anew is never so: the server is as this process made it.
func (e *engine) anew() bool { return false }

func (e *engine) taken() (map[string]time.Time, error) { return nil, nil }

func (e *engine) isBroken() bool {
	return e.bridge.isBroken() && room(filepath.Join(e.dir, storeDir)) == nil
}

func (e *engine) ends() time.Time { return e.until }

func (e *engine) where() string { return "listens on " + e.cfg.Listen }

// setAgents has the server take new claims of the hosts' account: whom they take back is cut off.
func (e *engine) setAgents(text string) error { return e.setAccount(text) }

// setAccount has it take new claims of an account.
func (e *engine) setAccount(text string) error {
	c, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		return err
	}
	account, err := e.s.LookupAccount(c.Subject)
	if err != nil {
		return err
	}
	if err := e.resolver.Store(c.Subject, text); err != nil {
		return err
	}
	e.s.UpdateAccountClaims(account, c)
	return nil
}

// stop ends the server: hosts are told to go elsewhere, another hub takes over what this one leads.
func (e *engine) stop() {
	e.end.Do(func() { close(e.ended) })
	e.s.LameDuckShutdown()
	e.s.Shutdown()
	e.s.WaitForShutdown()
}

// connection is one of a host.
type connection struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"`
	IP    string    `json:"ip"`
	Idle  string    `json:"idle"`
}

// connections are those of hosts, at most that many.
func (e *engine) connections(most int) ([]connection, error) {
	z, err := e.s.Connz(&server.ConnzOptions{Username: true, Account: e.agentsID, Limit: most})
	if err != nil {
		return nil, err
	}
	var out []connection
	for _, c := range z.Conns {
		out = append(out, connection{c.AuthorizedUser, c.Start, c.IP, c.Idle})
	}
	return out, nil
}

// bridge is the server's logger: what it says goes to the hub's log.
type bridge struct {
	log *slog.Logger

	mu    sync.Mutex
	first string
	// broken: a stream could not be written, and the server does not try again before it is started anew.
	broken bool
	// Of what clients cause, so many lines are told since a moment, and so many were not.
	since        time.Time
	told, untold int
}

// clientLines is how many lines a minute the log has of what clients cause: who can connect can cause any number.
const clientLines = 20

// client reports whether a line is of a client, and is not to be told.
func (b *bridge) client(text string, now time.Time) (is, silent bool) {
	if !strings.Contains(text, "cid:") && !strings.Contains(text, "rid:") {
		return false, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since) >= time.Minute {
		if b.untold > 0 {
			b.log.Warn(fmt.Sprintf("%d more lines of clients' connections in the minute before", b.untold))
		}
		b.since, b.told, b.untold = now, 0, 0
	}
	if b.told >= clientLines {
		b.untold++
		return true, true
	}
	b.told++
	return true, false
}

func (b *bridge) say(level slog.Level, format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.Contains(strings.ToLower(text), "critical write error") {
		b.mu.Lock()
		b.broken = true
		b.mu.Unlock()
	}
	of, silent := b.client(text, time.Now())
	switch {
	case silent:
	case of:
		b.log.Warn(text)
	default:
		b.log.Log(context.Background(), level, text)
	}
}

func (b *bridge) isBroken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

func (b *bridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first
}

func (b *bridge) Noticef(format string, v ...any) { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *bridge) Warnf(format string, v ...any)   { b.say(slog.LevelWarn, format, v...) }
func (b *bridge) Errorf(format string, v ...any)  { b.say(slog.LevelError, format, v...) }
func (b *bridge) Debugf(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }

// Tracef is never asked for: what hosts send is nobody's to read.
func (b *bridge) Tracef(string, ...any) {}

// Fatalf is of what the server can't go on after. As a program it would exit here.
func (b *bridge) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	b.mu.Lock()
	if b.first == "" {
		b.first = text
	}
	b.mu.Unlock()
	b.log.Log(context.Background(), eventlog.LevelCritical, text)
}

// silent has what goes wrong beside an answer be told by the answer that doesn't come; NATS' client would print it.
var silent = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// dial is how the hub's own commands reach the server of a directory.
func dial(dir string, cfg Config, at string) (*nats.Conn, error) {
	if cfg.External() {
		if at == "" {
			at = strings.Join(cfg.ExternalServers, ",")
		}
		nc, err := nats.Connect(at, append(externalOptions(dir, hubUserFile, "bailiff hub"), nats.NoReconnect(), silent)...)
		if err != nil {
			return nil, fmt.Errorf("the NATS server at %s: %w", at, enrol.Explain(err))
		}
		return nc, nil
	}
	if at == "" {
		host, port := hostPort(cfg.Listen)
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
			host = "127.0.0.1"
			if ip != nil && ip.To4() == nil {
				host = "::1"
			}
		}
		at = "tls://" + net.JoinHostPort(host, strconv.Itoa(port))
	}
	t, err := readTransport(dir, time.Now())
	if err != nil {
		return nil, err
	}
	// It is this host's own server, or one with the same key: which name it is reached by does not matter.
	own := t.hubs.Clone()
	own.ServerName = sans(t.hosts.Certificates[0].Leaf)[0]
	nc, err := nats.Connect(at, nats.Secure(own), nats.UserCredentials(filepath.Join(dir, hubUserFile)), nats.Name("bailiff hub"), nats.Timeout(5*time.Second), nats.NoReconnect(),
		silent)
	if err != nil {
		if errors.Is(err, nats.ErrNoServers) {
			return nil, fmt.Errorf("the hub at %s: nothing listens there (the connection is refused): is `bailiff hub run %s` at work?", at, dir)
		}
		return nil, fmt.Errorf("the hub at %s: %w", at, enrol.Explain(err))
	}
	return nc, nil
}
