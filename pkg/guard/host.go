package guard

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Place is an address or a network that the host needs, and what it is: "own address",
// "gateway of eth0", "name server of /etc/resolv.conf".
type Place struct {
	netip.Prefix
	What string
}

// Host is what the host is, and needs.
type Host struct {
	Own         []Place // addresses of its own, networks too
	Networks    []Place // that it is directly connected to
	Gateways    []Place // of all routes of all tables, the other ends of point-to-point links too
	NameServers []Place
}

// MaxPlaces is how many addresses of each kind are looked after.
const MaxPlaces = 10_000

// resolvConfs are where name servers stand: the second and the third are what systemd's
// and NetworkManager's own resolvers ask.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

// keep takes over what a look that failed in part doesn't know.
func (h *Host) keep(before *Host) {
	if h.Own == nil {
		h.Own, h.Networks = before.Own, before.Networks
	}
	if h.Gateways == nil {
		h.Gateways = before.Gateways
	}
	if h.NameServers == nil {
		h.NameServers = before.NameServers
	}
}

// Look looks at this host, in the network namespace of the calling thread. What it
// couldn't look at is nil, and told in the error; the rest is true.
func Look() (*Host, error) {
	h := &Host{}
	names := linkNames()
	errs := []error{h.addresses(names), h.routes(names)}
	for _, path := range resolvConfs {
		if err := h.nameServers(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return h, errors.Join(append(errs, h.bounded())...)
}

// bounded sorts what was found, each once, and cuts what is too much, which is the error.
func (h *Host) bounded() error {
	var errs []error
	for _, list := range []*[]Place{&h.Own, &h.Networks, &h.Gateways, &h.NameServers} {
		slices.SortStableFunc(*list, func(a, b Place) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), b.Bits()-a.Bits())
		})
		*list = slices.CompactFunc(*list, func(a, b Place) bool { return a.Prefix == b.Prefix })
		if n := len(*list); n > MaxPlaces {
			errs = append(errs, fmt.Errorf("%d addresses (%s …): only %d are protected", n, (*list)[0].What, MaxPlaces))
			*list = (*list)[:MaxPlaces]
		}
	}
	return errors.Join(errs...)
}

// linkNames are the names of interfaces; one that isn't known has its number.
func linkNames() func(index int) string {
	all, _ := net.Interfaces()
	return func(index int) string {
		for i := range all {
			if all[i].Index == index {
				return all[i].Name
			}
		}
		return fmt.Sprintf("interface %d", index)
	}
}

// addresses are those of the interfaces.
func (h *Host) addresses(link func(int) string) error {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	for _, a := range list {
		p := prefix(a.IPNet)
		if !p.IsValid() || p.Addr().IsLoopback() { // loopback is protected anyway
			continue
		}
		own := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		h.Own = append(h.Own, Place{own, "own address"})
		if peer := prefix(a.Peer); peer.IsValid() && peer.Addr() != p.Addr() {
			// Point to point: behind the other end is the rest of the world.
			h.Gateways = append(h.Gateways, Place{netip.PrefixFrom(peer.Addr(), peer.Addr().BitLen()), "gateway of " + link(a.LinkIndex)})
			p = peer
		}
		if n := p.Masked(); !n.IsSingleIP() && n.Bits() > 0 {
			h.Networks = append(h.Networks, Place{n, "network of " + link(a.LinkIndex)})
		}
	}
	return nil
}

// routes finds gateways, and what the kernel takes for its own without an interface that
// has it.
func (h *Host) routes(link func(int) string) error {
	gateway := func(ip net.IP, index int) {
		if a, ok := netip.AddrFromSlice(ip); ok && !a.IsUnspecified() {
			a = a.Unmap()
			h.Gateways = append(h.Gateways, Place{netip.PrefixFrom(a, a.BitLen()), "gateway of " + link(index)})
		}
	}
	via := func(d netlink.Destination, index int) {
		if v, ok := d.(*netlink.Via); ok && v != nil {
			gateway(v.Addr, index)
		}
	}
	seen := func(r netlink.Route) bool {
		switch r.Type {
		case unix.RTN_LOCAL:
			if p := prefix(r.Dst); p.IsValid() && !p.Addr().IsLoopback() && p.Bits() > 0 {
				h.Own = append(h.Own, Place{p.Masked(), "own address"})
			}
		case unix.RTN_UNICAST:
			gateway(r.Gw, r.LinkIndex)
			via(r.Via, r.LinkIndex)
			for _, hop := range r.MultiPath {
				gateway(hop.Gw, hop.LinkIndex)
				via(hop.Via, hop.LinkIndex)
			}
		}
		if len(h.Gateways) > 2*MaxPlaces { // many routes, few gateways
			h.Gateways = compact(h.Gateways)
		}
		return len(h.Gateways) <= 2*MaxPlaces
	}
	if h.Gateways == nil {
		h.Gateways = []Place{}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, seen)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // then it is looked again in a second
			h.Gateways = nil
			return fmt.Errorf("routes: %w", err)
		}
	}
	return nil
}

func compact(list []Place) []Place {
	slices.SortFunc(list, func(a, b Place) int { return a.Addr().Compare(b.Addr()) })
	return slices.CompactFunc(list, func(a, b Place) bool { return a.Prefix == b.Prefix })
}

// nameServers reads a resolv.conf(5).
func (h *Host) nameServers(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: its name servers are not protected", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			a = a.WithZone("").Unmap()
			h.NameServers = append(h.NameServers, Place{netip.PrefixFrom(a, a.BitLen()), "name server of " + path})
		}
	}
	return nil
}

// prefix is a network of the standard library's older kind, as it stands.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	if a.Is4In6() && len(n.Mask) == net.IPv6len {
		bits -= 96
	}
	return netip.PrefixFrom(a.Unmap(), bits)
}
