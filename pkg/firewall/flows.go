package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Connections that the kernel tracks (conntrack), be their other end on this host or on one
// behind it, as a container is. They are asked for one by one and kept nowhere: a busy
// router has a million of them.

// flowsAsked is for how many addresses the kernel is asked one by one; for more of them all
// that it tracks is gone through.
const flowsAsked = 8

// flowsAtOnce is how many are held at a time.
const flowsAtOnce = 10_000

// The parts of a tracked connection's message (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	ctaFilterSource    = 1 << 0
)

// flow is what is asked of a tracked connection.
type flow struct {
	from     netip.Addr // the client
	end      netip.Addr // whom its packets come to
	protocol uint8
	port     uint16 // that the client has
	tuple    []byte // as the kernel tells it
	zone, id []byte // nil: none
}

// endFlows has the kernel forget the connections that banned addresses have open to the
// rule's ports, by way of this host or to it: what is behind this host can't be told by its
// sockets. The next packet of such a connection is a new one, for the rules of everybody.
// It returns how many were forgotten that ended elsewhere than on this host.
func endFlows(rule Rule, banned *addresses) (ended int, err error) {
	if !tracking() {
		return 0, nil
	}
	here, err := ownAddresses()
	if err != nil {
		return 0, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// Of IPv6 the kernel (5.8 to 6.18) tells all but those of the address asked for: its
		// comparison is the wrong way round.
		asked := banned.of(family == unix.AF_INET)
		if len(banned.networks) > 0 || len(asked) > flowsAsked || family == unix.AF_INET6 && len(asked) > 0 {
			asked = []netip.Addr{{}}
		}
		for _, from := range asked {
			for most := true; most; {
				var found []flow
				if err := eachFlow(family, from, func(f flow) bool {
					if banned.has(f.from) && rule.covers(protocolName(f.protocol), f.port) {
						found = append(found, f)
					}
					return len(found) < flowsAtOnce
				}); err != nil {
					return ended, err
				}
				most = len(found) == flowsAtOnce
				for _, f := range found {
					switch err := f.forget(family); {
					case errors.Is(err, unix.ENOENT): // it has ended by itself
					case err != nil:
						return ended, fmt.Errorf("end the tracked connection of %s: %w", f.from, err)
					case !here[f.end] && !f.end.IsLoopback():
						ended++
					}
				}
			}
		}
	}
	return ended, nil
}

// ownAddresses are those of this host's interfaces.
func ownAddresses() (map[netip.Addr]bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("this host's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out[ip.Unmap()] = true
			}
		}
	}
	return out, nil
}

// tracking reports whether the kernel tracks any connections here: to ask for them would
// load what does.
func tracking() bool {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	return err == nil && strings.TrimSpace(string(text)) != "0"
}

// protocolName is the name of [Rule.Protocols] for a number; "" for others.
func protocolName(number uint8) string {
	for name, n := range protocolNumbers {
		if n == number {
			return name
		}
	}
	return ""
}

// eachFlow calls a function for each tracked connection of a family, or only those from an
// address of IPv4 if it is valid, until it returns false.
func eachFlow(family uint8, from netip.Addr, take func(flow) bool) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	if from.IsValid() {
		e := mdnetlink.NewAttributeEncoder()
		e.Nested(nl.CTA_TUPLE_ORIG, func(e *mdnetlink.AttributeEncoder) error {
			e.Nested(nl.CTA_TUPLE_IP, func(e *mdnetlink.AttributeEncoder) error {
				e.Bytes(nl.CTA_IP_V4_SRC, from.AsSlice())
				return nil
			})
			return nil
		})
		e.Nested(ctaFilter, func(e *mdnetlink.AttributeEncoder) error {
			e.Uint32(ctaFilterOrigFlags, ctaFilterSource)
			return nil
		})
		data, err := e.Encode()
		if err != nil {
			return err
		}
		req.AddRawData(data)
	}
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(msg []byte) bool {
		f, ok := parseFlow(msg, family)
		return !ok || take(f)
	})
	if from.IsValid() && errors.Is(err, unix.EOPNOTSUPP) { // before Linux 5.8 it can't be asked so
		return eachFlow(family, netip.Addr{}, take)
	}
	if errors.Is(err, nl.ErrDumpInterrupted) {
		err = nil // others come and go meanwhile
	}
	if err != nil {
		return fmt.Errorf("list tracked connections: %w", err)
	}
	return nil
}

// parseFlow reads a message of the kernel's about a connection.
func parseFlow(msg []byte, family uint8) (f flow, ok bool) {
	const header = 4 // struct nfgenmsg
	if len(msg) < header || msg[0] != family {
		return f, false
	}
	d, err := mdnetlink.NewAttributeDecoder(msg[header:])
	if err != nil {
		return f, false
	}
	for d.Next() {
		switch d.Type() {
		case nl.CTA_TUPLE_ORIG:
			f.tuple = d.Bytes()
			f.from, f.protocol, f.port = parseTuple(f.tuple)
		case nl.CTA_TUPLE_REPLY:
			f.end, _, _ = parseTuple(d.Bytes())
		case nl.CTA_ZONE:
			f.zone = d.Bytes()
		case nl.CTA_ID:
			f.id = d.Bytes()
		}
	}
	return f, d.Err() == nil && f.from.IsValid() && f.end.IsValid()
}

// parseTuple reads one direction of a connection.
func parseTuple(data []byte) (from netip.Addr, protocol uint8, port uint16) {
	each := func(data []byte, take func(kind uint16, value []byte)) {
		d, err := mdnetlink.NewAttributeDecoder(data)
		for err == nil && d.Next() {
			take(d.Type(), d.Bytes())
		}
	}
	each(data, func(kind uint16, value []byte) {
		switch kind {
		case nl.CTA_TUPLE_IP:
			each(value, func(kind uint16, value []byte) {
				if kind == nl.CTA_IP_V4_SRC || kind == nl.CTA_IP_V6_SRC {
					from, _ = netip.AddrFromSlice(value)
				}
			})
		case nl.CTA_TUPLE_PROTO:
			each(value, func(kind uint16, value []byte) {
				switch {
				case kind == nl.CTA_PROTO_NUM && len(value) == 1:
					protocol = value[0]
				case kind == nl.CTA_PROTO_DST_PORT && len(value) == 2:
					port = binary.BigEndian.Uint16(value)
				}
			})
		}
	})
	return from, protocol, port
}

// forget has the kernel track a connection no more.
func (f *flow) forget(family uint8) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	e := mdnetlink.NewAttributeEncoder()
	e.Bytes(nl.CTA_TUPLE_ORIG|unix.NLA_F_NESTED, f.tuple)
	if f.zone != nil {
		e.Bytes(nl.CTA_ZONE, f.zone)
	}
	if f.id != nil { // another one may be in its place
		e.Bytes(nl.CTA_ID, f.id)
	}
	data, err := e.Encode()
	if err != nil {
		return err
	}
	req.AddRawData(data)
	_, err = req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}
