package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// listener is one socket, with those who want what comes.
type listener struct {
	hub   *Hub
	addr  Address
	subs  atomic.Pointer[[]*Subscriber]
	allow atomic.Pointer[[]netip.Prefix]
	tls   atomic.Pointer[tls.Config]

	ctx     context.Context
	stop    context.CancelFunc
	started bool // the hub's lock guards it

	mu      sync.Mutex
	senders senders
	err     error
	first   *ListenError // why it could not be opened when this process had its rights
	socket  io.Closer    // nil: it is not open
	streams map[*stream]struct{}
	drops   uint32 // of the kernel, as told
	told    time.Time
}

func newListener(h *Hub, a Address) *listener {
	l := &listener{hub: h, addr: a, streams: map[*stream]struct{}{}}
	l.senders.listener = l
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.subs.Store(&[]*Subscriber{})
	l.allow.Store(&loopback)
	return l
}

// bind opens the socket.
func (l *listener) bind() {
	socket, err := l.open()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	if l.socket = socket; err != nil {
		l.socket = nil
		errors.As(err, &l.first)
	}
}

func (l *listener) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// start has it be read, once. Those who are new are told how it stands.
func (l *listener) start(isNew func(*Subscriber) bool) {
	if !l.started {
		l.started = true
		l.mu.Lock()
		// What this process may not open, another one may that has come since.
		tried := l.socket != nil || l.err != nil && !errors.Is(l.err, unix.EACCES)
		if l.mu.Unlock(); !tried {
			l.bind()
		}
		l.hub.all.Go(l.run)
	}
	err := l.problem()
	for _, s := range *l.subs.Load() {
		if isNew(s) {
			s.tell(Event{Listen: l.addr, Err: err})
		}
	}
}

// tell tells of a listener.
func (s *Subscriber) tell(e Event) {
	if e.Err == nil && e.Text == "" {
		e.Text = "listening"
	}
	s.mu.Lock()
	notify := s.wants.Notify
	s.mu.Unlock()
	if notify != nil {
		notify(e)
	}
}

// note tells of how it stands, if that is new.
func (l *listener) note(err error) {
	l.mu.Lock()
	was := l.err
	l.err = err
	l.mu.Unlock()
	if (was == nil) == (err == nil) && (err == nil || was.Error() == err.Error()) {
		return
	}
	for _, s := range *l.subs.Load() {
		s.tell(Event{Listen: l.addr, Err: err})
	}
}

// run reads the socket until it is closed, and opens it as often as it takes.
func (l *listener) run() {
	select {
	case <-l.hub.begun:
	case <-l.ctx.Done():
	}
	for l.ctx.Err() == nil {
		l.mu.Lock()
		socket := l.socket
		l.mu.Unlock()
		if socket == nil {
			select {
			case <-time.After(l.hub.again):
			case <-l.ctx.Done():
				return
			}
			fresh, err := l.open()
			if err != nil {
				if l.first != nil && errors.Is(err, unix.EACCES) && !errors.Is(l.first, unix.EACCES) {
					err = &ListenError{l.addr, l.first.Err, l.first.Remedy + "; then restart the daemon, which may open a port below 1024 at its start only"}
				}
				l.note(err)
				continue
			}
			l.mu.Lock()
			if l.ctx.Err() != nil {
				fresh.Close()
			} else {
				l.socket = fresh
			}
			l.mu.Unlock()
			l.note(nil)
			continue
		}
		err := l.serve(socket)
		if l.ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.socket = nil
		l.mu.Unlock()
		socket.Close()
		l.note(&ListenError{Address: l.addr, Err: err})
	}
}

// close ends it.
func (l *listener) close() {
	l.stop()
	l.report(time.Now(), true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket != nil {
		l.socket.Close()
		l.socket = nil
	}
	for s := range l.streams {
		s.conn.Close()
	}
}

// serve reads a socket.
func (l *listener) serve(socket io.Closer) error {
	switch c := socket.(type) {
	case *net.UDPConn:
		return l.packets(c)
	case *net.UnixConn:
		return l.datagrams(c)
	case *unixDatagrams:
		return l.datagrams(c.UnixConn)
	case net.Listener:
		return l.accept(c)
	}
	return fmt.Errorf("a socket that nobody knows (%T)", socket)
}

// message deals with one message of a sender.
func (l *listener) message(from *sender, o origin, data []byte, now time.Time) {
	msg, err := Parse(data, now)
	if err != nil {
		l.count(from, counts{malformed: 1, why: err})
		return
	}
	it := Item{Message: msg, Received: now, From: o.host, Listen: l.addr, from: from}
	copied := false
	for _, s := range *l.subs.Load() {
		if !s.takes(&it.Message, &o) {
			continue
		}
		if !copied {
			own := bytes.Clone(data)
			it.size = len(own)
			for _, part := range []*[]byte{&it.Host, &it.Program, &it.PID, &it.Text} {
				*part = moved(*part, data, own)
			}
			copied = true
		}
		full, dropped := s.put(it, o.by != nil)
		for full != nil && o.by.waits(s, full) {
			full, dropped = s.put(it, true)
		}
		for _, d := range dropped {
			l.countAny(d)
		}
	}
}

// moved is the same part of another copy of a text.
func moved(part, from, to []byte) []byte {
	switch {
	case part == nil:
		return nil
	case len(part) == 0:
		return to[:0:0]
	}
	at := cap(from) - cap(part)
	return to[at : at+len(part) : at+len(part)]
}

func (l *listener) count(s *sender, c counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.counts.add(c)
}

// countAny counts a message that was dropped, which may be of another listener's sender.
func (l *listener) countAny(s *sender) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.counts.full++
}

// report tells what there is to be told of it: at most once a minute, or finally.
func (l *listener) report(now time.Time, finally bool) {
	settings := l.hub.settings.Load()
	for _, text := range l.losses(settings, now, finally) {
		l.hub.opts.Tell(fmt.Sprintf("syslog %s: %s", l.addr, text))
	}
}

func (l *listener) losses(s *Settings, now time.Time, finally bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !finally && !l.told.IsZero() && now.Sub(l.told) < tellEvery {
		return nil
	}
	out := l.senders.report(s)
	if conn, ok := l.socket.(*net.UDPConn); ok {
		if drops, ok := kernelDrops(conn); ok && drops != l.drops {
			out = append(out, fmt.Sprintf("the kernel dropped %d packets before they were read: too many came at once (of whom, it does not say)", drops-l.drops))
			l.drops = drops
		}
	}
	if len(out) > 0 {
		l.told = now
	}
	return out
}

// ListenError says why an address can't be listened at, and what helps.
type ListenError struct {
	Address Address
	Err     error
	Remedy  string
}

func (e *ListenError) Error() string {
	if e.Remedy == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ": " + e.Remedy
}

// Unwrap returns what is wrong.
func (e *ListenError) Unwrap() error { return e.Err }

// explained is an error with what helps.
func explained(a Address, err error) *ListenError {
	e := &ListenError{Address: a, Err: err}
	var op *net.OpError
	if errors.As(err, &op) {
		e.Err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(e.Err, &sys) {
		e.Err = sys.Err
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		e.Remedy = "another program listens there (ss -lpn shows which): stop it, or listen elsewhere"
	case errors.Is(err, unix.EACCES) && !a.IsUnix() && a.Port < 1024:
		e.Remedy = "a port below 1024 needs CAP_NET_BIND_SERVICE, or a socket unit of systemd's (docs/syslog.md): grant it and restart the daemon, or listen at 1024 or above"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		e.Remedy = "this host does not have that address now"
	case errors.Is(err, unix.ENOENT):
		e.Remedy = "its directory is not there: make it"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Remedy = "the daemon may not write there: give the directory to the user whom it runs as, and restart it"
	}
	return e
}
