// Package opener opens what a confined daemon can't open any more: listeners at ports below
// 1024 and in directories of others, and the sockets of container engines.
//
// Who needs one says which ([Listen], [ListenPacket], [Engine]), and it is opened by whoever can:
//
//   - a listener that was opened at the start, before the daemon gave its rights away ([Keep]):
//     it stays open, also while nobody reads from it, until the configuration has it no more;
//   - this process, as ever;
//   - the process that runs commands (package runner), which opens what the
//     configuration has that it read by itself, and nothing else ([Elsewhere]).
//
// An engine's socket is as good as root: who may write to it has any program run. So that process
// sends no more than a request to read, of those in [Readable], and hands the answer over.
package opener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Place is where somebody listens.
type Place struct {
	// Network is tcp, tcp4, tcp6, udp, udp4, udp6, unix or unixgram.
	Network string
	// Address is as net.Listen has it: ":514", "192.0.2.1:514", "[::1]:514", or a path.
	Address string
	// Mode is that of a Unix socket's file; 0: as the umask has it.
	Mode fs.FileMode
}

func (p Place) String() string { return p.Network + " " + p.Address }

// Unix reports whether it is a file.
func (p Place) Unix() bool { return p.Network == "unix" || p.Network == "unixgram" }

// packets reports whether it takes packets, not connections.
func (p Place) packets() bool { return p.Network == "unixgram" || strings.HasPrefix(p.Network, "udp") }

// openMost is how long another process may take.
const openMost = 10 * time.Second

// Rights are another process's.
type Rights interface {
	// Listen opens a listener.
	Listen(ctx context.Context, p Place) (*os.File, error)
	// Dial connects to a Unix socket.
	Dial(ctx context.Context, path string) (*os.File, error)
	// Get sends a request to read to an engine's socket, and returns all that comes: head
	// and body. Closing it ends the request.
	Get(ctx context.Context, socket, target string) (*Answer, error)
}

var state struct {
	mu   sync.Mutex
	kept map[Place]*os.File
	by   Rights
}

// Elsewhere has what this process can't open be opened by another one; nil: by nobody.
func Elsewhere(r Rights) {
	state.mu.Lock()
	defer state.mu.Unlock()
	state.by = r
}

func elsewhere() Rights {
	state.mu.Lock()
	defer state.mu.Unlock()
	return state.by
}

// Keep opens a listener now, for who asks for it later.
func Keep(p Place) error {
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.kept[p] != nil {
		return nil
	}
	f, err := Open(context.Background(), p)
	if err != nil {
		return err
	}
	if state.kept == nil {
		state.kept = map[Place]*os.File{}
	}
	state.kept[p] = f
	return nil
}

// Kept reports whether a listener is kept.
func Kept(p Place) bool {
	state.mu.Lock()
	defer state.mu.Unlock()
	return state.kept[p] != nil
}

// Retain closes the listeners that are kept and not among those.
func Retain(those []Place) {
	state.mu.Lock()
	defer state.mu.Unlock()
	for p, f := range state.kept {
		if !slices.Contains(those, p) {
			f.Close()
			delete(state.kept, p)
		}
	}
}

// Listen is net.Listen for tcp and unix, by whoever can.
func Listen(ctx context.Context, p Place) (net.Listener, error) {
	if p.packets() {
		return nil, fmt.Errorf("%s takes no connections", p.Network)
	}
	f, err := find(ctx, p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// ListenPacket is net.ListenPacket for udp and unixgram, by whoever can.
func ListenPacket(ctx context.Context, p Place) (net.PacketConn, error) {
	if !p.packets() {
		return nil, fmt.Errorf("%s takes no packets", p.Network)
	}
	f, err := find(ctx, p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FilePacketConn(f)
}

// Dial connects, by whoever may write to a Unix socket.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	by := elsewhere()
	if !denied(err) || network != "unix" || by == nil {
		return conn, err
	}
	f, other := by.Dial(ctx, address)
	if other != nil {
		return nil, fmt.Errorf("%w; nor by the process that runs commands: %w", err, other)
	}
	defer f.Close()
	return net.FileConn(f)
}

// find returns a descriptor of its own for the caller.
func find(ctx context.Context, p Place) (*os.File, error) {
	state.mu.Lock()
	if kept := state.kept[p]; kept != nil {
		defer state.mu.Unlock()
		return duplicate(kept)
	}
	state.mu.Unlock()
	f, err := Open(ctx, p)
	if !denied(err) {
		return f, err
	}
	f, other := ByAnother(ctx, p)
	switch {
	case other != nil:
		return nil, fmt.Errorf("%w; %w", err, other)
	case f == nil:
		return nil, fmt.Errorf("%w: %s", err, remedy(p))
	}
	return f, nil
}

// ByAnother has a listener be opened by the other process; nil without an error: there is none.
func ByAnother(ctx context.Context, p Place) (*os.File, error) {
	by := elsewhere()
	if by == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openMost)
	defer cancel()
	f, err := by.Listen(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("nor by the process that runs commands: %w", err)
	}
	return f, nil
}

// remedy is what gives a daemon the right to listen.
func remedy(p Place) string {
	if p.Unix() {
		return "restart the daemon, which opens it before it gives its rights away, or name a path in a directory that is its own"
	}
	return "restart the daemon, which opens it before it gives its rights away; where a service manager gives them, have it give CAP_NET_BIND_SERVICE, too (systemctl edit: AmbientCapabilities=, CapabilityBoundingSet=), or name a port from 1024 on"
}

func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Open opens a listener by this process itself.
func Open(ctx context.Context, p Place) (*os.File, error) {
	f, err := open(ctx, p)
	if p.Unix() && errors.Is(err, unix.EADDRINUSE) && abandoned(p) {
		if err := os.Remove(p.Address); err != nil {
			return nil, err
		}
		f, err = open(ctx, p)
	}
	return f, err
}

func open(ctx context.Context, p Place) (*os.File, error) {
	var c net.ListenConfig
	var opened interface {
		File() (*os.File, error)
		Close() error
	}
	switch p.Network {
	case "tcp", "tcp4", "tcp6":
		l, err := c.Listen(ctx, p.Network, p.Address)
		if err != nil {
			return nil, err
		}
		opened = l.(*net.TCPListener)
	case "udp", "udp4", "udp6":
		l, err := c.ListenPacket(ctx, p.Network, p.Address)
		if err != nil {
			return nil, err
		}
		opened = l.(*net.UDPConn)
	case "unix":
		l, err := c.Listen(ctx, p.Network, p.Address)
		if err != nil {
			return nil, err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		opened = l.(*net.UnixListener)
	case "unixgram":
		l, err := c.ListenPacket(ctx, p.Network, p.Address)
		if err != nil {
			return nil, err
		}
		opened = l.(*net.UnixConn)
	default:
		return nil, fmt.Errorf("network %q: want tcp, tcp4, tcp6, udp, udp4, udp6, unix or unixgram", p.Network)
	}
	defer opened.Close() // it is duplicated
	if p.Unix() && p.Mode != 0 {
		if err := os.Chmod(p.Address, p.Mode); err != nil {
			_ = os.Remove(p.Address)
			return nil, err
		}
	}
	return opened.File()
}

// abandoned reports whether a socket's file is there and nobody listens.
func abandoned(p Place) bool {
	fi, err := os.Lstat(p.Address)
	if err != nil || fi.Mode()&fs.ModeSocket == 0 {
		return false
	}
	conn, err := net.DialTimeout(p.Network, p.Address, time.Second)
	if err == nil {
		conn.Close()
		return false
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
