package syslog

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"bailiff/pkg/fair"
)

// Messages that are a datagram each. They are read as quickly as can be, and sorted by their
// senders: what is not read in time, the kernel drops, whoever sent it.

// atOnce is how many packets are read in one call.
const atOnce = 32

// packets reads UDP.
func (l *listener) packets(conn *net.UDPConn) error {
	p := ipv4.NewPacketConn(conn) // for IPv6, too: it reads any
	all := make([]ipv4.Message, atOnce)
	room := make([]byte, atOnce*MaxMessage) // what is not written to takes no memory
	for i := range all {
		all[i].Buffers = [][]byte{room[i*MaxMessage : (i+1)*MaxMessage]}
	}
	var turn fair.Turn
	for {
		n, err := p.ReadBatch(all, 0)
		if err != nil {
			if again(err) {
				continue
			}
			return err
		}
		now := time.Now()
		for i := range all[:n] {
			from, ok := all[i].Addr.(*net.UDPAddr)
			if !ok {
				continue
			}
			addr, _ := netip.AddrFromSlice(from.IP)
			l.datagram(addr.Unmap(), all[i].Buffers[0][:all[i].N], now)
		}
		turn.Step()
	}
}

// datagram deals with one packet.
func (l *listener) datagram(addr netip.Addr, data []byte, now time.Time) {
	settings := l.hub.settings.Load()
	allow := *l.allow.Load()
	l.mu.Lock()
	if !within(allow, addr) {
		l.senders.stranger(addr)
		l.mu.Unlock()
		return
	}
	s := l.senders.of(keyOf(addr), addr, now)
	name := s.name
	ok := s.allowed(len(data), settings, now)
	l.mu.Unlock()
	if ok {
		l.message(s, origin{addr: addr, host: name}, data, now)
	}
}

// allowed reports whether a sender may send that much now, and counts it if he may not. The
// listener's lock is held.
func (s *sender) allowed(bytes int, settings *Settings, now time.Time) bool {
	if s.lines.take(1, settings.Lines, now) > 0 || s.bytes.take(bytes, settings.Bytes, now) > 0 {
		s.counts.fast++
		return false
	}
	return true
}

// hostName is this host's.
var hostName = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil || !IsHost([]byte(name)) {
		return "localhost"
	}
	return name
})

// datagrams reads a Unix socket.
func (l *listener) datagrams(conn *net.UnixConn) error {
	data, oob := make([]byte, MaxMessage), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var turn fair.Turn
	for {
		n, oobn, flags, _, err := conn.ReadMsgUnix(data, oob)
		if err != nil {
			if again(err) {
				continue
			}
			return err
		}
		now := time.Now()
		settings := l.hub.settings.Load()
		user := userOf(oob[:oobn])
		l.mu.Lock()
		s := l.senders.user(user, now)
		ok := s.allowed(n, settings, now)
		if flags&unix.MSG_TRUNC != 0 {
			s.counts.cut++
		}
		l.mu.Unlock()
		if ok {
			l.message(s, origin{host: hostName()}, data[:n], now)
		}
		turn.Step()
	}
}

// user returns the sender that is a user of this host.
func (t *senders) user(uid uint32, now time.Time) *sender {
	s := t.of(key{user: uid}, netip.Addr{}, now)
	s.name = fmt.Sprintf("user %d", uid)
	return s
}

// userOf reads who sent something from what the kernel says of it.
func userOf(oob []byte) uint32 {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return noUser
	}
	for i := range messages {
		if c, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return c.Uid
		}
	}
	return noUser
}

// noUser is one of whom nothing is known.
const noUser = ^uint32(0)

// again reports whether an error is of one packet, and the next one may be read.
func again(err error) bool {
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return true
	}
	for _, e := range []error{unix.ECONNREFUSED, unix.EINTR, unix.ENOBUFS, unix.ENOMEM} {
		if is(err, e) {
			return true
		}
	}
	return false
}
