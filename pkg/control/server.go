package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/jail"
)

// maxBody bounds a request.
const maxBody = 4 << 20

// Server answers on a Unix socket.
type Server struct {
	http     *http.Server
	listener net.Listener
	lock     *os.File
	path     string
	wire     *wireServer
	web      chan net.Conn // connections that speak HTTP
	closed   chan struct{}
}

// Options of Listen.
type Options struct {
	// Commander answers fail2ban's protocol on the same socket; nil: nobody does.
	Commander Commander
	// Warn is told of clients that behave badly; nil: nobody is.
	Warn func(string)
	// ReadGroup makes the socket one for this group, over which can only be asked;
	// empty: the socket is its owner's, who may do everything.
	ReadGroup string
}

// readOnly lets through what only asks.
type readOnly struct{ Commander }

// Command implements Commander.
func (r readOnly) Command(args []any) (any, error) {
	word := func(i int) string {
		if i < len(args) {
			s, _ := args[i].(string)
			return s
		}
		return ""
	}
	switch word(0) {
	case "ping", "version", "status", "banned", "bailiff":
		return r.Commander.Command(args)
	case "get":
		if word(2) != "action" { // its parameters may hold a password
			return r.Commander.Command(args)
		}
	}
	return nil, &Exception{Class: "PermissionError", Args: []any{"this socket can only be asked: ping, version, status, banned, get"}}
}

// onlyGet refuses requests of HTTP that change something.
func onlyGet(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			fail(w, http.StatusForbidden, errors.New("this socket can only be asked: use the daemon's own"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// share gives the socket to a group.
func share(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("socket %s: group %s: %w", path, group, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return os.Chmod(path, 0o660)
}

// Listen makes the socket, mode 0600, or 0660 with ReadGroup. A socket that a killed daemon left behind
// is replaced; one that a living daemon answers on is an error.
func Listen(path string, d Daemon, opts Options) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// The lock, not the socket file, says whether a daemon lives: it ends with its
	// holder however that dies.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("socket %s: another daemon is running here: stop it with `bailiff stop --socket %s`, or choose another --socket", path, path)
	}
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			lock.Close()
			return nil, fmt.Errorf("socket %s: there is a file of that name that is no socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil { // fail2ban's own server has no lock
			c.Close()
			lock.Close()
			return nil, fmt.Errorf("socket %s: something else listens there, maybe fail2ban: stop it, or choose another --socket", path)
		}
		if err := os.Remove(path); err != nil {
			lock.Close()
			return nil, fmt.Errorf("socket: %w", err)
		}
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	handler := routes(d)
	if opts.ReadGroup != "" {
		if err := share(path, opts.ReadGroup); err != nil {
			l.Close()
			lock.Close()
			return nil, err
		}
		handler = onlyGet(handler)
		if opts.Commander != nil {
			opts.Commander = readOnly{opts.Commander}
		}
	}
	s := &Server{listener: l, lock: lock, path: path, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}}
	s.web, s.closed = make(chan net.Conn), make(chan struct{})
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Commander != nil {
		s.wire = newWireServer(opts.Commander, opts.Warn)
	}
	go s.accept()
	go func() { _ = s.http.Serve(&webListener{s}) }()
	return s, nil
}

// accept takes connections until the listener is closed.
func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, for now
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go s.hand(c)
	}
}

// helloTimeout is how long a client may take to say its first byte.
const helloTimeout = time.Minute

// hand finds out which protocol a client speaks. No pickle of a list begins as a
// method of HTTP does.
func (s *Server) hand(c net.Conn) {
	var first [1]byte
	_ = c.SetReadDeadline(time.Now().Add(helloTimeout))
	if _, err := io.ReadFull(c, first[:]); err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	begun := &begunConn{Conn: c, first: first[:]}
	if s.wire != nil && (first[0] < 'A' || first[0] > 'Z' || first[0] == 'I' || first[0] == 'S' || first[0] == 'V') {
		s.wire.serve(begun)
		return
	}
	select {
	case s.web <- begun:
	case <-s.closed:
		c.Close()
	}
}

// begunConn is a connection of which something was read already.
type begunConn struct {
	net.Conn
	first []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// webListener hands over the connections that speak HTTP.
type webListener struct{ s *Server }

func (l *webListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.s.web:
		return c, nil
	case <-l.s.closed:
		return nil, net.ErrClosed
	}
}

func (l *webListener) Close() error   { return l.s.listener.Close() }
func (l *webListener) Addr() net.Addr { return l.s.listener.Addr() }

// Close ends the server once the answers under way are given, and removes the socket.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.listener.Close()
	close(s.closed)
	if s.wire != nil {
		s.wire.close()
	}
	err := s.http.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	os.Remove(s.path)
	s.lock.Close()
	os.Remove(s.path + ".lock")
	return err
}

// plain writes who is banned, one a line, each once.
func plain(w http.ResponseWriter, bans []jail.BanStatus) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	seen := map[string]bool{}
	for _, b := range bans {
		if !seen[b.IP] {
			seen[b.IP] = true
			fmt.Fprintln(w, b.IP)
		}
	}
}

func routes(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ping", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "pong", nil)
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		s, err := d.Status("", false)
		answer(w, s, err)
	})
	mux.HandleFunc("GET /v1/jails/{jail}", func(w http.ResponseWriter, r *http.Request) {
		s, err := d.Status(r.PathValue("jail"), true)
		if err != nil {
			answer(w, nil, err)
			return
		}
		answer(w, s.Jails[0], nil)
	})
	mux.HandleFunc("GET /v1/bans", func(w http.ResponseWriter, r *http.Request) {
		b, err := d.Bans(r.URL.Query().Get("jail"))
		if r.URL.Query().Get("format") == "text" && err == nil {
			plain(w, b)
			return
		}
		answer(w, b, err)
	})
	mux.HandleFunc("POST /v1/jails/{jail}/ban", func(w http.ResponseWriter, r *http.Request) {
		var req BanRequest
		if !read(w, r, &req) {
			return
		}
		res, err := d.Ban(r.PathValue("jail"), req)
		answer(w, res, err)
	})
	mux.HandleFunc("POST /v1/unban", func(w http.ResponseWriter, r *http.Request) {
		var req UnbanRequest
		if !read(w, r, &req) {
			return
		}
		res, err := d.Unban(req)
		answer(w, res, err)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		res, err := d.Reload()
		answer(w, res, err)
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "stopping", nil)
		go d.Stop()
	})
	return mux
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("request: %w", err))
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		status := http.StatusInternalServerError
		var missing *NotFoundError
		if errors.As(err, &missing) {
			status = http.StatusNotFound
		}
		fail(w, status, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Failure{Error: err.Error()})
}
