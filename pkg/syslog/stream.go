package syslog

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/fair"
)

// Messages that come in streams.

// stream is a connection.
type stream struct {
	l    *listener
	conn net.Conn
	from *sender
	origin
	frames *Framer
	since  time.Time // in the middle of a message; zero: it isn't
	used   time.Time // the last message; the listener's lock guards it
	ended  bool      // by us
}

// accept takes connections.
func (l *listener) accept(socket net.Listener) error {
	for {
		conn, err := socket.Accept()
		if err != nil {
			switch {
			case l.ctx.Err() != nil:
				return err
			case is(err, unix.EMFILE) || is(err, unix.ENFILE) || is(err, unix.ENOBUFS) || is(err, unix.ENOMEM):
				l.hub.opts.Tell("syslog " + l.addr.String() + ": no connection can be taken for a second: " + err.Error())
				select {
				case <-time.After(time.Second):
				case <-l.ctx.Done():
				}
				continue
			case is(err, unix.ECONNABORTED):
				continue
			}
			return err
		}
		if s := l.admit(conn); s != nil {
			l.hub.all.Go(s.run)
		} else {
			conn.Close()
		}
	}
}

// admit looks at who connects, and makes room for him.
func (l *listener) admit(conn net.Conn) *stream {
	now := time.Now()
	settings := l.hub.settings.Load()
	s := &stream{l: l, conn: conn, used: now}
	s.by = s
	var k key
	switch c := conn.(type) {
	case *net.TCPConn:
		from, _ := c.RemoteAddr().(*net.TCPAddr)
		if from == nil {
			return nil
		}
		addr, _ := netip.AddrFromSlice(from.IP)
		s.addr = addr.Unmap()
		s.host, k = s.addr.String(), keyOf(s.addr)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	case *net.UnixConn:
		k.user = noUser
		_ = rawControl(c, func(fd int) {
			if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				k.user = cred.Uid
			}
		})
		s.host = hostName()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil
	}
	if s.addr.IsValid() {
		if !within(*l.allow.Load(), s.addr) {
			l.senders.stranger(s.addr)
			return nil
		}
		s.from = l.senders.of(k, s.addr, now)
	} else {
		s.from = l.senders.user(k.user, now)
	}
	// Too many of his: the one that was silent for longest goes, since it may be dead. Too
	// many in all: who has most gives.
	if s.from.connections >= settings.Connections {
		l.end(s.from)
	} else if len(l.streams) >= connectionsMost {
		most := s.from
		for other := range l.streams {
			if other.from.connections > most.connections {
				most = other.from
			}
		}
		if most.connections <= s.from.connections+1 && most != s.from {
			s.from.counts.ended++
			return nil
		}
		l.end(most)
	}
	s.from.connections++
	l.streams[s] = struct{}{}
	return s
}

// end ends the connection of a sender that was silent for longest. The lock is held.
func (l *listener) end(of *sender) {
	var worst *stream
	for s := range l.streams {
		if s.from == of && !s.ended && (worst == nil || s.used.Before(worst.used)) {
			worst = s
		}
	}
	if worst != nil {
		worst.ended = true
		of.counts.ended++
		worst.conn.Close()
	}
}

// run reads a connection to its end.
func (s *stream) run() {
	l := s.l
	defer func() {
		s.conn.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, s)
		s.from.connections--
	}()
	in := s.conn
	if l.addr.Kind == TLS {
		c := tls.Server(s.conn, l.tls.Load())
		_ = s.conn.SetDeadline(time.Now().Add(handshakeMost))
		if err := c.HandshakeContext(l.ctx); err != nil {
			// Not of somebody who looks whether we are there, nor of whom we ended.
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				l.count(s.from, counts{refused: 1, why: err})
			}
			return
		}
		_ = s.conn.SetDeadline(time.Time{})
		s.certs = namesOf(c)
		in = c
	}
	s.frames = NewFramer(&reading{s, in})
	var turn fair.Turn
	for {
		data, err := s.frames.Next()
		if err != nil {
			s.over(err)
			return
		}
		s.since = time.Time{}
		now := time.Now()
		cut := s.frames.Cut
		s.frames.Cut = 0
		if !s.paced(len(data), cut, now) {
			return
		}
		if len(data) > 0 {
			l.message(s.from, s.origin, data, now)
		}
		turn.Step()
	}
}

// over tells of the end of a connection.
func (s *stream) over(err error) {
	var ne net.Error
	switch {
	case s.l.ctx.Err() != nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
	case errors.Is(err, ErrFraming), errors.Is(err, io.ErrUnexpectedEOF):
		s.l.count(s.from, counts{malformed: 1, why: err})
	case errors.As(err, &ne) && ne.Timeout():
		s.l.count(s.from, counts{ended: 1})
	}
}

// paced waits until the sender may send that much; it reports false when the listener is
// closed.
func (s *stream) paced(bytes, cut int, now time.Time) bool {
	for {
		settings := s.l.hub.settings.Load()
		s.l.mu.Lock()
		s.from.counts.cut += cut
		s.used, s.from.seen = now, now
		wait := s.from.lines.take(1, settings.Lines, now)
		if wait == 0 {
			wait = s.from.bytes.take(bytes, settings.Bytes, now)
		}
		s.l.mu.Unlock()
		if wait == 0 {
			return s.l.ctx.Err() == nil
		}
		cut = 0
		select {
		case <-time.After(max(wait, time.Millisecond)):
		case <-s.l.ctx.Done():
			return false
		}
		now = time.Now()
	}
}

// waits waits for room for this sender's messages; it reports false when it need not be
// waited for any more.
func (s *stream) waits(of *Subscriber, space <-chan struct{}) bool {
	for end := time.Now().Add(streamPatience); ; {
		select {
		case <-space:
			return true
		case <-time.After(20 * time.Millisecond): // others may have been woken in its place
			if of.roomFor(s.from.key) {
				return true
			}
			if time.Now().After(end) {
				of.stall()
				return true
			}
		case <-s.l.ctx.Done():
			of.stall()
			return true
		}
	}
}

// roomFor reports whether a stream may go on.
func (s *Subscriber) roomFor(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled || s.queue.bytesOf(k) < s.streamMost()
}

// reading reads a connection, within a message not for ever.
type reading struct {
	s  *stream
	in net.Conn
}

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	switch partial := r.s.frames.Partial(); {
	case partial && r.s.since.IsZero():
		r.s.since = time.Now()
		_ = r.s.conn.SetReadDeadline(r.s.since.Add(messageMost))
	case !partial && !r.s.since.IsZero(), !partial:
		_ = r.s.conn.SetReadDeadline(time.Time{})
	}
	return r.in.Read(p)
}

// namesOf are the names in a client's certificate.
func namesOf(c *tls.Conn) (names []string) {
	for _, cert := range c.ConnectionState().PeerCertificates[:1] {
		if cert.Subject.CommonName != "" {
			names = append(names, cert.Subject.CommonName)
		}
		names = append(names, cert.DNSNames...)
		for _, ip := range cert.IPAddresses {
			names = append(names, ip.String())
		}
	}
	return names
}

func is(err, target error) bool { return errors.Is(err, target) }
