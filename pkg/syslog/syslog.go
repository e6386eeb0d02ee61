// Package syslog receives what other hosts, routers and programs send in syslog's forms, over
// UDP, TCP, TLS and Unix sockets, and hands it out to those who want some of it.
//
//	hub := syslog.NewHub(syslog.HubOptions{Tell: tell})
//	sub := hub.Attach("sshd", syslog.Wants{Listen: addresses, Allow: networks, Match: match})
//	for {
//		d, err := sub.Next(ctx) // some messages, from all senders in turns
//		if err != nil {
//			break
//		}
//		if d.Take() { … }
//	}
//
// # Messages
//
// [Parse] reads RFC 3164 in the forms that are seen, and RFC 5424. What has no priority, or
// says that it is of RFC 5424 and isn't, is refused: on a stream that is cut at newlines it is
// the rest of a message with a newline in it, and so what a client of the sender may have
// written. [Framer] cuts a stream by RFC 6587: by counts or at newlines, as the first byte
// says, for good.
//
// # Whom it trusts
//
// A sender is an address (of IPv6 a /64), or a user of a Unix socket. What he says of his own
// name and clock is handed out beside what is known of him; who takes it decides whom he
// believes. Over UDP anybody can write any address into a packet: only a network in which
// nobody can do that, or TLS, says who it was. With TLS a certificate of the configured
// authority is needed in any case.
//
// # Bounds
//
// Each who wants messages has a queue of its own, in which each sender has one, and which all
// together have a bound. When it is full, the sender with most in it loses what he sent last;
// they are emptied in turns. So who sends much loses, and who sends little doesn't. A stream is
// not read while its sender has much waiting, for some seconds. What is lost, refused or cut is
// counted by sender and told once a minute.
package syslog

import "time"

const (
	// MaxMessage is how many bytes of a message are looked at; the rest is passed over.
	MaxMessage = 64 << 10
	// queuesMost is how many bytes wait for all who want messages together, and queueMost
	// and queueLeast for one of them.
	queuesMost = 32 << 20
	queueMost  = 8 << 20
	queueLeast = 64 << 10
	// streamMost is how much of one sender may wait for one who wants it before the stream is
	// not read for a while: streamPatience.
	streamMost     = 256 << 10
	streamPatience = 5 * time.Second
	// itemCost is what a message takes in memory beside its text.
	itemCost = 300
	// deliveryLines and deliveryBytes are how much is handed out at a time.
	deliveryLines = 500
	deliveryBytes = 64 << 10
	// quantum is how many bytes of one sender are handed out in his turn.
	quantum = 8 << 10

	// sendersMost is how many senders of a listener are remembered: who was silent for
	// longest is forgotten.
	sendersMost = 4096
	// strangersMost is of how many who may not send it is known how much they did.
	strangersMost = 64
	// toldMost is how many senders are named at a time, and tellEvery how often.
	toldMost  = 8
	tellEvery = time.Minute

	// connectionsMost is how many streams a listener has.
	connectionsMost = 512
	// handshakeMost is how long TLS may take to begin, messageMost how long a message on a
	// stream takes from its first byte to its last.
	handshakeMost = 10 * time.Second
	messageMost   = 30 * time.Second
	// againAfter is when a listener is tried again that could not be opened.
	againAfter = 2 * time.Second
	// receiveBuffer is what the kernel is asked to keep, in bytes, while a socket is not read.
	receiveBuffer = 8 << 20
)

// Settings are those of all listeners.
type Settings struct {
	// Cert, Key and CA are files: who this host is, and who says who may send by TLS.
	Cert, Key, CA string
	// Lines and Bytes are what is taken from a sender in a second, Connections how many he
	// may have open. 0: the default.
	Lines, Bytes, Connections int
	// Mode is that of Unix sockets, Group whom they are given to. 0: 0600.
	Mode  uint32
	Group string
}

// Defaults of Settings.
const (
	DefaultLines       = 50_000
	DefaultBytes       = 16 << 20
	DefaultConnections = 32
	DefaultMode        = 0o600
)

// withDefaults has no zeros.
func (s Settings) withDefaults() Settings {
	if s.Lines == 0 {
		s.Lines = DefaultLines
	}
	if s.Bytes == 0 {
		s.Bytes = DefaultBytes
	}
	if s.Connections == 0 {
		s.Connections = DefaultConnections
	}
	if s.Mode == 0 {
		s.Mode = DefaultMode
	}
	return s
}
