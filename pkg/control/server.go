package control

import (
	"context"
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

	"bailiff/pkg/safefile"
)

// Server answers on a Unix socket.
type Server struct {
	http     *http.Server
	listener net.Listener
	lock     *os.File
	path     string
	crowd    *crowd
	wire     *wireServer
	web      chan net.Conn // connections that speak HTTP
	closed   chan struct{}
	managers bool // the socket is a service manager's, who has handed it over
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
	// Inherit takes the socket that a service manager hands over, where one does, in place
	// of the path.
	Inherit bool
}

// Share gives a socket that is a group's to another one. Who is connected stays so.
func (s *Server) Share(group string) error { return share(s.path, group) }

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
	// By what the name leads to now, and only if that is the socket: whoever owns the
	// directory may have put something else in its place.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("socket %s: something else was put in its place: use a directory that only root may write to", path)
	}
	if err := os.Chown(fmt.Sprintf("/proc/self/fd/%d", fd), -1, gid); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return nil
}

// Listen makes the socket, mode 0600, or 0660 with ReadGroup. A socket that a killed daemon left behind
// is replaced; one that a living daemon answers on is an error; one that is about to end is
// waited for.
func Listen(path string, d Daemon, opts Options) (*Server, error) {
	if opts.Inherit {
		if l, err := inherited(); l != nil || err != nil {
			if err != nil {
				return nil, err
			}
			path := l.Addr().String()
			lock, err := lockSocket(path, func(string) bool { return false }) // it is the manager who answers
			if err != nil {
				l.Close()
				return nil, err
			}
			s := serve(l, lock, path, d, opts)
			s.managers = true
			return s, nil
		}
	}
	// Whatever the umask is: the socket for others may be here, too. Modes are given when
	// something is made, since who is confined can't change them.
	var err error
	safefile.WithUmask(0o022, func() { err = os.MkdirAll(filepath.Dir(path), 0o755) })
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	lock, err := lockSocket(path, answered)
	if err != nil {
		return nil, err
	}
	l, err := listenAt(path, opts.ReadGroup)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return serve(l, lock, path, d, opts), nil
}

// ListenUnix makes a Unix socket for something else than the daemon's own answers, mode 0600, or 0660
// for a group. One that nobody answers on is replaced; the lock of the daemon's own says that it is nobody else's.
func ListenUnix(path, group string) (net.Listener, error) {
	var err error
	safefile.WithUmask(0o022, func() { err = os.MkdirAll(filepath.Dir(path), 0o755) })
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 && answered(path) {
		return nil, fmt.Errorf("socket %s: something else listens there", path)
	}
	return listenAt(path, group)
}

// listenAt makes a socket where there is none that somebody answers on.
func listenAt(path, group string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("socket %s: there is a file of that name that is no socket", path)
		}
		if answered(path) { // fail2ban's own server has no lock
			return nil, fmt.Errorf("socket %s: something else listens there, maybe fail2ban: stop it, or choose another --socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket: %w", err)
		}
	}
	mask := 0o177
	if group != "" {
		mask = 0o117 // the group is root's, or our user's, until it is shared
	}
	var l net.Listener
	var err error
	safefile.WithUmask(mask, func() { l, err = net.Listen("unix", path) })
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if group != "" {
		if err := share(path, group); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// serve answers on a listener.
func serve(l net.Listener, lock *os.File, path string, d Daemon, opts Options) *Server {
	role := Owner
	if opts.ReadGroup != "" {
		role = Reader
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	turns := newTurns(role)
	s := &Server{listener: l, lock: lock, path: path, crowd: newCrowd(role, opts.Warn), web: make(chan net.Conn), closed: make(chan struct{})}
	s.http = newWebServer(d, role, turns, s.closed)
	if opts.Commander != nil {
		s.wire = &wireServer{d: opts.Commander, crowd: s.crowd, turns: turns}
		if role < Owner {
			s.wire.pace = &pace{}
		}
	}
	go s.accept()
	go func() { _ = s.http.Serve(&webListener{s}) }()
	return s
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.path }

// accept takes connections until the listener is closed.
func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, for now
			s.crowd.relieve()
			time.Sleep(20 * time.Millisecond)
			continue
		}
		k := s.crowd.enter(c, peer(c))
		if k == nil {
			c.Close()
			continue
		}
		go s.hand(k)
	}
}

// helloTimeout is how long a client may take to say its first byte where nobody else
// wants its place.
const helloTimeout = 30 * time.Second

// hand finds out which protocol a client speaks. No pickle of a list begins as a
// method of HTTP does.
func (s *Server) hand(c *conn) {
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(helloTimeout))
	if _, err := io.ReadFull(c, first); err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	c.note(asking)
	c.first = first
	if s.wire != nil && (first[0] < 'A' || first[0] > 'Z' || first[0] == 'I' || first[0] == 'S' || first[0] == 'V') {
		s.wire.serve(c)
		return
	}
	select {
	case s.web <- c:
	case <-s.closed:
		c.Close()
	}
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

// closeGrace is how long a server that ends waits for its last answers: the one to
// "stop" is among them.
const closeGrace = 2 * time.Second

// Close ends the server once the answers under way are given, and removes the socket.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.listener.Close()
	close(s.closed)
	s.crowd.finish(closeGrace)
	err := s.http.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if !s.managers {
		os.Remove(s.path)
	}
	os.Remove(s.path + ".lock") // before it is given back: who has it by now looks again
	s.lock.Close()
	return err
}
