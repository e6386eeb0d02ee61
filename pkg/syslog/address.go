package syslog

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where is listened.
type Address struct {
	// Kind is udp, tcp, tls, unix (datagrams, as /dev/log) or unix-stream.
	Kind string
	// Host is an address, or empty: all of this host's.
	Host netip.Addr
	Port uint16
	Path string // of a Unix socket
}

// Kinds of addresses.
const (
	UDP        = "udp"
	TCP        = "tcp"
	TLS        = "tls"
	Unix       = "unix"
	UnixStream = "unix-stream"
)

// defaultPorts are those of the kinds.
var defaultPorts = map[string]uint16{UDP: 514, TCP: 514, TLS: 6514}

const wantAddress = "want udp://ADDRESS:PORT, tcp://…, tls://…, unix:///PATH or unix-stream:///PATH"

// ParseAddress reads udp://192.0.2.1:514, tcp://[::]:514, tls://:6514, unix:///run/x.sock.
func ParseAddress(s string) (a Address, err error) {
	kind, rest, ok := strings.Cut(s, "://")
	if !ok {
		return a, fmt.Errorf("listen %q: %s", s, wantAddress)
	}
	a.Kind = strings.ToLower(kind)
	switch a.Kind {
	case Unix, UnixStream:
		// The kernel takes 108 bytes with the zero at the end.
		if !filepath.IsAbs(rest) || len(rest) > 107 || strings.ContainsRune(rest, 0) || strings.HasSuffix(rest, "/") {
			return a, fmt.Errorf("listen %q: want a path from the root, of 107 bytes at the most", s)
		}
		a.Path = filepath.Clean(rest)
		return a, nil
	case UDP, TCP, TLS:
	default:
		return a, fmt.Errorf("listen %q: %s", s, wantAddress)
	}
	host, port := rest, ""
	if h, p, err := net.SplitHostPort(rest); err == nil {
		host, port = h, p
	} else if host = strings.Trim(rest, "[]"); strings.Count(host, ":") == 1 {
		return a, fmt.Errorf("listen %q: %s", s, wantAddress)
	}
	if host != "" && host != "*" {
		if a.Host, err = netip.ParseAddr(host); err != nil {
			return a, fmt.Errorf("listen %q: %q is no address of this host: %s", s, host, wantAddress)
		}
		a.Host = a.Host.Unmap()
	}
	if a.Port = defaultPorts[a.Kind]; port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return a, fmt.Errorf("listen %q: port %q: want 1 to 65535", s, port)
		}
		a.Port = uint16(n)
	}
	return a, nil
}

// String writes it as ParseAddress reads it.
func (a Address) String() string {
	if a.Path != "" {
		return a.Kind + "://" + a.Path
	}
	return a.Kind + "://" + a.HostPort()
}

// HostPort is its address and port as package net has them.
func (a Address) HostPort() string {
	host := ""
	if a.Host.IsValid() {
		host = a.Host.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
}

// IsUnix reports whether it is a Unix socket.
func (a Address) IsUnix() bool { return a.Path != "" }

// Local reports whether none but this host can send to it.
func (a Address) Local() bool { return a.IsUnix() || a.Host.IsLoopback() }

// Network is the kind as package net knows it.
func (a Address) Network() string {
	switch {
	case a.Kind == Unix:
		return "unixgram"
	case a.Kind == UnixStream:
		return "unix"
	}
	kind := "tcp"
	if a.Kind == UDP {
		kind = "udp"
	}
	if a.Host.Is4() {
		return kind + "4"
	}
	if a.Host.Is6() && !a.Host.IsUnspecified() {
		return kind + "6"
	}
	return kind // of both families
}
