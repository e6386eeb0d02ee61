// Package web is the page: what the daemon knows, for a browser, and what an operator does about it.
//
//	api := control.NewInside(daemon, warn)
//	s := web.New(api, web.Options{Failed: log})
//	s.Set(cfg.Web)
//	s.Serve(listener)
//
// It has no way of its own to the daemon: whatever it shows or changes it asks of the API of
// docs/api.md, as who is logged in and with his role, so that the table of who may do what is the
// API's. It promises that nothing of a log line, a name or a file becomes anything but text
// (html/template, and a policy that allows no script but ours), that no other page's form reaches it,
// and that clients are bounded in number, time and bytes. What is behind the login can be read
// without script.
package web

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/gate"
	"bailiff/pkg/safefile"
)

// Options of New.
type Options struct {
	// Failed is told of logins that failed or were refused, in the words that the filter
	// bailiff-web reads; nil: nobody is.
	Failed func(text string)
	// Warn is told of what the operator has to see to, and Note of logins.
	Warn, Note func(text string)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Version is the daemon's, Started when it was started.
	Version string
	Started time.Time
	// Most is how many connections there are at a time; 0: ConnectionsMost.
	Most int
}

// Bounds of clients.
const (
	ConnectionsMost = 1536
	maxHeader       = 16 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 20 * time.Second
	answerTimeout   = 60 * time.Second
	idleTimeout     = 2 * time.Minute
	closeGrace      = time.Second
	streamsMost     = 1000 // that follow events, in all, and two thirds of the connections
	streamsOwn      = 10   // of a session
	formMost        = 256 << 10
)

// Server is the page.
type Server struct {
	api      *control.Inside
	o        Options
	sessions *sessions
	limit    *limit
	hashing  chan struct{} // has as many values as passwords are looked at
	formKey  []byte        // of login forms
	mux      *http.ServeMux
	often    often
	places   places
	tops     topKept
	fleet    fleetSeen

	cfg   atomic.Pointer[config.Web]
	users userFile

	mu      sync.Mutex
	servers map[net.Listener]*http.Server
	streams int
	cert    certificate
	ended   chan struct{}
	extra   map[string]http.Handler
}

// hashesAtOnce is how many passwords are looked at at a time: each takes 19 MiB.
const hashesAtOnce = 2

// New makes a page.
func New(api *control.Inside, o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	nothing := func(string) {}
	for _, f := range []*func(string){&o.Failed, &o.Warn, &o.Note} {
		if *f == nil {
			*f = nothing
		}
	}
	if o.Most == 0 {
		o.Most = ConnectionsMost
	}
	s := &Server{
		api: api, o: o, sessions: newSessions(o.Now), limit: newLimit(o.Now), hashing: make(chan struct{}, hashesAtOnce),
		formKey: make([]byte, 32), servers: map[net.Listener]*http.Server{}, ended: make(chan struct{}), extra: map[string]http.Handler{},
	}
	_, _ = rand.Read(s.formKey) // it never fails
	s.often.now = o.Now
	s.cfg.Store(&config.Web{})
	s.mux = http.NewServeMux()
	for _, p := range pages {
		s.mux.HandleFunc(p.pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(p, w, r) })
	}
	return s
}

// Set has the page be as it is configured from now on. Who is logged in stays so, if he may by the
// file of users.
func (s *Server) Set(cfg config.Web) {
	s.cfg.Store(&cfg)
	s.users.forget()
	s.cert.forget()
	s.places.forget()
}

// Mount has a handler answer what comes to a path, for who is not logged in, too: it has the page's
// headers and its bounds, and looks by itself at who asks.
func (s *Server) Mount(path string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra[path] = h
}

type connKey struct{}

// connInfo is the other end of a connection.
type connInfo struct {
	of   net.Conn
	unix bool
	uid  uint32 // of a Unix socket
}

// Serve answers on a listener, and returns at once.
func (s *Server) Serve(l net.Listener) {
	g := gate.New(l, s.o.Most, func() {
		s.often.tell("gate", s.o.Warn, "the page has as many connections as it may: those that are idle are cut off, and who comes waits")
	})
	h := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState:         g.State,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			info := connInfo{}
			if p, ok := c.(*gate.Conn); ok {
				info.of = p.Conn
				_, info.unix = p.Conn.(*net.UnixConn)
				info.uid = control.PeerOf(p.Conn)
			}
			return context.WithValue(ctx, connKey{}, info)
		},
	}
	s.mu.Lock()
	s.servers[l] = h
	s.mu.Unlock()
	if s.cfg.Load().Cert != "" && l.Addr().Network() != "unix" {
		h.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cfg := s.cfg.Load()
			return s.cert.get(cfg.Cert, cfg.Key, s.o.Now())
		}}
		go func() { _ = h.ServeTLS(g, "", "") }()
		return
	}
	go func() { _ = h.Serve(g) }()
}

// Stop ends what is answered on a listener, and closes it.
func (s *Server) Stop(l net.Listener) {
	s.mu.Lock()
	h := s.servers[l]
	delete(s.servers, l)
	s.mu.Unlock()
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		_ = h.Close()
	}
}

// Close ends the page.
func (s *Server) Close() {
	close(s.ended)
	s.mu.Lock()
	var all []net.Listener
	for l := range s.servers {
		all = append(all, l)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() { s.Stop(l) })
	}
	wg.Wait()
}

// Link makes a one-time login for who is at the daemon's socket.
func (s *Server) Link(name string, role control.Role) (token string, until time.Time) {
	return s.sessions.makeLink(name, role)
}

// CheckCertificate says why TLS can't be had; nil: it can, or isn't wanted.
func CheckCertificate(cfg *config.Web) error {
	if cfg.Cert == "" {
		return nil
	}
	_, err := loadPair(cfg.Cert, cfg.Key)
	return err
}

// loadPair reads a certificate and its key.
func loadPair(cert, key string) (tls.Certificate, error) { return new(disk).pair(cert, key) }

func (d *disk) pair(cert, key string) (tls.Certificate, error) {
	var pair tls.Certificate
	var err error
	if !d.ask(func() { pair, err = tls.LoadX509KeyPair(cert, key) }) {
		return tls.Certificate{}, fmt.Errorf("%s: %w", cert, errDisk)
	}
	return pair, err
}

// certificate is the one of TLS, read anew when its file was changed.
type certificate struct {
	mu     sync.Mutex
	is     *tls.Certificate
	looked time.Time
	disk   disk
}

// certificateEvery is how often it is looked for another one.
const certificateEvery = time.Minute

func (c *certificate) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

func (c *certificate) get(cert, key string, now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.is != nil && now.Sub(c.looked) < certificateEvery && !now.Before(c.looked) {
		return c.is, nil
	}
	c.looked = now
	is, err := c.disk.pair(cert, key)
	if err != nil {
		if c.is != nil {
			return c.is, nil // it is about to be written, or stays what it was
		}
		return nil, err
	}
	c.is = &is
	return c.is, nil
}

// often tells each kind of text once a minute.
type often struct {
	now  func() time.Time
	mu   sync.Mutex
	told map[string]time.Time
}

func (o *often) tell(kind string, to func(string), text string) {
	now := o.now()
	o.mu.Lock()
	last, told := o.told[kind]
	if told && now.Sub(last) < time.Minute && !now.Before(last) {
		o.mu.Unlock()
		return
	}
	if o.told == nil {
		o.told = map[string]time.Time{}
	}
	o.told[kind] = now
	o.mu.Unlock()
	to(text)
}

// userFile is the file of users, as it was read last.
type userFile struct {
	mu     sync.Mutex
	path   string
	looked time.Time
	users  []User
	err    error
	disk   disk
}

// diskMost is how long a file of ours is waited for. Tests have another.
var diskMost = 2 * time.Second

var errDisk = errors.New("the disk does not answer")

// disk asks for files of ours, and leaves behind one that hangs: as long as it has not answered it is not asked again, so
// that not more and more wait for it. It is guarded by its owner.
type disk struct{ answered chan struct{} }

// busy reports whether there is no answer yet.
func (d *disk) busy() bool {
	if d.answered == nil {
		return false
	}
	select {
	case <-d.answered:
		return false
	default:
		return true
	}
}

// ask reports whether f was done; what f finds is not to be looked at else, before busy is false.
func (d *disk) ask(f func()) bool {
	if d.busy() {
		return false
	}
	answered := make(chan struct{})
	d.answered = answered
	return safefile.Within(diskMost, func() {
		defer close(answered)
		f()
	})
}

// usersEvery is for how long what was read of the file holds.
const usersEvery = 2 * time.Second

func (f *userFile) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Time{}
}

func (f *userFile) get(path string, now time.Time) ([]User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == path && !f.looked.IsZero() && now.Sub(f.looked) < usersEvery && !now.Before(f.looked) {
		return f.users, f.err
	}
	f.path, f.looked = path, now
	var users []User
	var err error
	if !f.disk.ask(func() { users, err = ReadUsers(path) }) {
		f.users, f.err = nil, fmt.Errorf("%s: %w", path, errDisk)
		return f.users, f.err
	}
	f.users, f.err = users, err
	return f.users, f.err
}

// user is an entry of the file; nil: there is none.
func (s *Server) user(name string) *User {
	u, _ := s.findUser(name)
	return u
}

// findUser is user, with why the file can't be read.
func (s *Server) findUser(name string) (*User, error) {
	users, err := s.usersNow()
	for i := range users {
		if users[i].Name == name {
			return &users[i], nil
		}
	}
	return nil, err
}

// usersNow are the entries of the file; that it can't be read the log is told, too.
func (s *Server) usersNow() ([]User, error) {
	users, err := s.users.get(s.cfg.Load().Users, s.o.Now())
	if err != nil {
		s.often.tell("users", s.o.Warn, "the file of users can't be read, so none of them can log in: "+err.Error())
		return nil, err
	}
	return users, nil
}

// addrOf is the address of a request's peer; the zero value: it has none.
func addrOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
