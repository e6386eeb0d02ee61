package syslog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bailiff/pkg/safefile"
)

// How sockets are opened.

// open opens the listener's socket. The error is a *ListenError.
func (l *listener) open() (io.Closer, error) {
	a, settings := l.addr, *l.hub.settings.Load()
	if a.Kind == TLS {
		c, err := loadTLS(settings)
		if err != nil {
			return nil, &ListenError{Address: a, Err: err}
		}
		l.tls.Store(c)
	}
	if f := l.hub.inherited(a); f != nil {
		return fromFile(a, f)
	}
	if a.IsUnix() {
		return openUnix(a, settings)
	}
	socket, err := bind(a)
	if errors.Is(err, unix.EACCES) && l.hub.opts.Open != nil {
		switch f, other := l.hub.opts.Open(a); {
		case f != nil:
			defer f.Close() // it is duplicated
			return fromFile(a, f)
		case other != nil:
			e := explained(a, err)
			e.Err = fmt.Errorf("%w; %w", e.Err, other)
			return nil, e
		}
	}
	if err != nil {
		return nil, explained(a, err)
	}
	return ready(socket), nil
}

// ready has the kernel keep much of what waits, and returns the socket.
func ready(socket io.Closer) io.Closer {
	if _, stream := socket.(net.Listener); stream {
		return socket
	}
	_ = rawControl(socket, func(fd int) {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as net.core.rmem_max allows
		}
	})
	return socket
}

// rawControl does something with a socket's descriptor.
func rawControl(socket any, do func(fd int)) error {
	c, ok := socket.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { do(int(fd)) })
}

// fromFile is a socket that somebody else has made.
func fromFile(a Address, f *os.File) (io.Closer, error) {
	var socket io.Closer
	var err error
	switch a.Kind {
	case UDP, Unix:
		socket, err = net.FilePacketConn(f)
	default:
		socket, err = net.FileListener(f)
	}
	if err != nil {
		return nil, explained(a, err)
	}
	if u, ok := socket.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if u, ok := socket.(*net.UnixConn); ok {
		_ = rawControl(u, func(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	return ready(socket), nil
}

// inherited finds the socket of an address among those of the service manager.
func (h *Hub) inherited(a Address) *os.File {
	for _, f := range h.opts.Inherited {
		fd := int(f.Fd())
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			continue
		}
		if (kind == unix.SOCK_DGRAM) != (a.Kind == UDP || a.Kind == Unix) {
			continue
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		var at netip.AddrPort
		switch sa := name.(type) {
		case *unix.SockaddrUnix:
			if a.IsUnix() && sa.Name == a.Path {
				return f
			}
			continue
		case *unix.SockaddrInet4:
			at = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
		case *unix.SockaddrInet6:
			at = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
		}
		if !a.IsUnix() && at.Port() == a.Port && (at.Addr() == a.Host || !a.Host.IsValid() && at.Addr().IsUnspecified()) {
			return f
		}
	}
	return nil
}

// openUnix makes a Unix socket. What a process that has ended left there goes.
func openUnix(a Address, s Settings) (io.Closer, error) {
	group := -1
	if s.Group != "" {
		g, err := user.LookupGroup(s.Group)
		if err != nil {
			return nil, &ListenError{Address: a, Err: fmt.Errorf("[syslog] group: %w", err)}
		}
		group, _ = strconv.Atoi(g.Gid)
	}
	if fi, err := os.Lstat(a.Path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, &ListenError{Address: a, Err: fmt.Errorf("%s is there and no socket: it is left alone", a.Path)}
		}
		conn, err := net.DialTimeout(a.Network(), a.Path, time.Second)
		if err == nil {
			conn.Close()
			return nil, explained(a, unix.EADDRINUSE)
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, explained(a, err)
		}
		_ = os.Remove(a.Path)
	}
	// A mode is given when a socket is made: later nobody in this process may change one.
	var socket io.Closer
	var err error
	safefile.WithUmask(int(^s.Mode&0o777), func() {
		if a.Kind == Unix {
			socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: a.Path, Net: "unixgram"})
		} else {
			socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: a.Path, Net: "unix"})
		}
	})
	if err != nil {
		return nil, explained(a, err)
	}
	if group >= 0 {
		if err := os.Lchown(a.Path, -1, group); err != nil {
			socket.Close()
			return nil, &ListenError{Address: a, Err: fmt.Errorf("[syslog] group = %q: %w", s.Group, err), Remedy: "the daemon has to be in that group"}
		}
	}
	if c, ok := socket.(*net.UnixConn); ok {
		_ = rawControl(c, func(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		return ready(&unixDatagrams{c, a.Path}), nil
	}
	return socket, nil
}

// unixDatagrams is a socket whose path goes with it.
type unixDatagrams struct {
	*net.UnixConn
	path string
}

// Close implements io.Closer.
func (u *unixDatagrams) Close() error {
	_ = os.Remove(u.path)
	return u.UnixConn.Close()
}

// SettingError says what is wrong with what a key of [syslog] names.
type SettingError struct {
	Key string
	Err error
}

func (e *SettingError) Error() string { return "[syslog] " + e.Key + ": " + e.Err.Error() }

func (e *SettingError) Unwrap() error { return e.Err }

// CheckTLS says what is wrong with the files of TLS.
func CheckTLS(s Settings) error {
	_, err := loadTLS(s)
	return err
}

// loadTLS reads the files of TLS.
func loadTLS(s Settings) (*tls.Config, error) {
	if s.Cert == "" || s.Key == "" || s.CA == "" {
		return nil, errors.New("tls needs [syslog] cert and key, who this host is, and ca, who says who may send")
	}
	read := func(key, path string) ([]byte, error) {
		data, err := safefile.ReadConfig(path)
		if err != nil {
			return nil, &SettingError{key, err}
		}
		return data, nil
	}
	cert, err := read("cert", s.Cert)
	if err != nil {
		return nil, err
	}
	key, err := read("key", s.Key)
	if err != nil {
		return nil, err
	}
	ca, err := read("ca", s.CA)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &SettingError{"cert", fmt.Errorf("%s, key %s: %w", s.Cert, s.Key, err)}
	}
	if leaf, err := x509.ParseCertificate(pair.Certificate[0]); err == nil && time.Now().After(leaf.NotAfter) {
		return nil, &SettingError{"cert", fmt.Errorf("%s: it was valid until %s", s.Cert, leaf.NotAfter.Local().Format(time.DateTime))}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, &SettingError{"ca", fmt.Errorf("%s: it holds no certificate (PEM)", s.CA)}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, nil
}

// kernelDrops is how many packets the kernel had no room for, since the socket was made.
func kernelDrops(conn any) (drops uint32, ok bool) {
	var info [9]uint32 // SK_MEMINFO_DROPS is the last one
	_ = rawControl(conn, func(fd int) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size >= uint32(unsafe.Sizeof(info))
	})
	return info[8], ok
}

// Try says whether an address could be listened at now. The error is a *ListenError.
func Try(a Address) error {
	if a.IsUnix() {
		return nil
	}
	socket, err := bind(a)
	if err != nil {
		return explained(a, err)
	}
	return socket.Close()
}

// bind makes the socket of an address and a port.
func bind(a Address) (io.Closer, error) {
	if a.Kind == UDP {
		return net.ListenUDP(a.Network(), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Host, a.Port)))
	}
	return net.Listen(a.Network(), a.HostPort())
}
