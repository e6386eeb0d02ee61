package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addresses are some that are banned.
type addresses struct {
	single   map[netip.Addr]bool
	networks []netip.Prefix
}

func addressesOf(banned []netip.Prefix) *addresses {
	out := &addresses{single: make(map[netip.Addr]bool, len(banned))}
	for _, id := range banned {
		if id.IsSingleIP() {
			out.single[id.Addr()] = true
		} else {
			out.networks = append(out.networks, id)
		}
	}
	return out
}

// has reports whether an address is one of them, or in a network of them.
func (s *addresses) has(a netip.Addr) bool {
	return s.single[a] || slices.ContainsFunc(s.networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// of returns the single ones of IPv4, or of IPv6.
func (s *addresses) of(four bool) (out []netip.Addr) {
	for a := range s.single {
		if a.Is4() == four {
			out = append(out, a)
		}
	}
	return out
}

// CutOff closes the TCP connections that banned addresses have open to ports of
// the jail on this host. The rules stop their packets in any case; this also
// frees what the server holds for them, and tells the peer. Connections that the kernel
// tracks are forgotten, also those to others behind this host, as to a container.
// It returns how many were closed that were open: one that the server has ended, and of
// which the kernel still waits for the rest, is none, though it is taken away, too; and how
// many were forgotten that this host passed on.
func CutOff(rule Rule, banned []netip.Prefix) (closed, ended int, err error) {
	if rule.NewOnly {
		return 0, 0, nil
	}
	of := addressesOf(banned)
	closed, err = closeSockets(rule, of)
	ended, errFlows := endFlows(rule, of)
	return closed, ended, errors.Join(err, errFlows)
}

func closeSockets(rule Rule, banned *addresses) (int, error) {
	closed := 0
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return closed, fmt.Errorf("list TCP connections: %w", err)
		}
		for _, s := range sockets {
			peer, ok := netip.AddrFromSlice(s.ID.Destination)
			if s.State == netlink.TCP_TIME_WAIT || s.State == netlink.TCP_CLOSE {
				continue // nothing is left of it but its number
			}
			if !ok || s.ID.DestinationPort == 0 || !banned.has(peer.Unmap()) || !rule.covers("tcp", s.ID.SourcePort) {
				continue
			}
			err := netlink.SocketDestroy(
				&net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)},
				&net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)})
			ended := s.INode == 0 && !slices.Contains([]uint8{netlink.TCP_ESTABLISHED, netlink.TCP_SYN_RECV, netlink.TCP_CLOSE_WAIT}, s.State)
			if errors.Is(err, unix.ENOENT) || ended && errors.Is(err, unix.EOPNOTSUPP) {
				continue // it closed by itself, or it is but a remainder
			}
			if err != nil {
				return closed, fmt.Errorf("close the connection of %s: %w", peer.Unmap(), err)
			}
			if !ended {
				closed++
			}
		}
	}
	return closed, nil
}

// covers reports whether the rule is about a port.
func (r Rule) covers(protocol string, port uint16) bool {
	if len(r.Protocols) == 0 && !r.AnyProtocol {
		return true
	}
	protocols := r.Protocols
	if r.AnyProtocol {
		protocols = []string{protocol}
	}
	for _, p := range protocols {
		if p != protocol {
			continue
		}
		if len(r.Ports) == 0 {
			return true
		}
		for _, q := range r.Ports {
			if q.First <= port && port <= q.Last {
				return true
			}
		}
	}
	return false
}
