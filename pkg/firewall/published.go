package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// Published are ports that this host gives to others (DNAT), as container engines publish
// those of containers: what comes to them is passed on, and never comes to a chain at input.
type Published struct {
	Table string // with its family, as in "ip nat"
	Chain string
	Ports []string // "8080", "8000-8080"; in the order of the rules, each once
	Any   bool     // of some rules the port can't be told
}

func (p Published) String() string {
	ports := "ports"
	if len(p.Ports) > 0 {
		const most = 20
		ports = "port"
		for i, port := range p.Ports[:min(len(p.Ports), most)] {
			if i > 0 {
				ports += ","
			}
			ports += " " + port
		}
		if more := len(p.Ports) - most; more > 0 {
			ports += fmt.Sprintf(" and %d more", more)
		}
		if p.Any {
			ports += " and others"
		}
	}
	return fmt.Sprintf("%s (table %s, chain %s)", ports, p.Table, p.Chain)
}

// PublishedPorts reads from the kernel's ruleset which ports are passed on to others. Rules
// that iptables-legacy made are not seen.
func PublishedPorts() ([]Published, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, explain("list chains", err)
	}
	here, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	type table struct {
		family nftables.TableFamily
		name   string
	}
	translating := map[table]bool{}
	for _, ch := range chains {
		if ch.Type == nftables.ChainTypeNAT && ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookPrerouting {
			translating[table{ch.Table.Family, ch.Table.Name}] = true
		}
	}
	var out []Published
	for _, ch := range chains {
		if !translating[table{ch.Table.Family, ch.Table.Name}] || ch.Hooknum != nil && *ch.Hooknum != *nftables.ChainHookPrerouting {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, explain("read chain "+ch.Name, err)
		}
		p := Published{Table: familyName(ch.Table.Family) + " " + ch.Table.Name, Chain: ch.Name}
		for _, r := range rules {
			port, to, ok := publishes(r.Exprs)
			switch {
			case !ok || here[to] || to.IsLoopback():
			case port == "":
				p.Any = true
			case !slices.Contains(p.Ports, port):
				p.Ports = append(p.Ports, port)
			}
		}
		if p.Any || len(p.Ports) > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	}
	return fmt.Sprint("family ", byte(f))
}

// publishes reports whether a rule gives packets another destination: to which port they
// came ("" where the rule doesn't say), and whom they go to, if it is one address.
func publishes(exprs []expr.Any) (port string, to netip.Addr, ok bool) {
	values := map[uint32][]byte{} // of registers
	portIn, span := uint32(0), [2]uint16{0, 65535}
	ports := func(p [2]uint16) {
		if p != [2]uint16{0, 65535} {
			port = fmt.Sprint(p[0])
			if p[1] > p[0] {
				port += fmt.Sprint("-", p[1])
			}
		}
	}
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Payload:
			portIn = 0
			if e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2 {
				portIn = e.DestRegister
			}
		case *expr.Cmp:
			if portIn == 0 || e.Register != portIn || len(e.Data) != 2 {
				break
			}
			switch n := binary.BigEndian.Uint16(e.Data); e.Op {
			case expr.CmpOpEq:
				ports([2]uint16{n, n})
			case expr.CmpOpGte:
				span[0] = n
			case expr.CmpOpLte:
				span[1] = n
			}
			ports(span)
		case *expr.Range:
			if portIn != 0 && e.Register == portIn && e.Op == expr.CmpOpEq && len(e.FromData) == 2 && len(e.ToData) == 2 {
				ports([2]uint16{binary.BigEndian.Uint16(e.FromData), binary.BigEndian.Uint16(e.ToData)})
			}
		case *expr.Match:
			switch info := e.Info.(type) {
			case *xt.Tcp:
				if info.InvFlags&xt.TcpInvDestPorts == 0 {
					ports(info.DstPorts)
				}
			case *xt.Udp:
				if info.InvFlags&xt.UdpInvDestPorts == 0 {
					ports(info.DstPorts)
				}
			}
		case *expr.Immediate:
			values[e.Register] = e.Data
		case *expr.NAT:
			if e.Type == expr.NATTypeDestNAT {
				to, _ = netip.AddrFromSlice(values[e.RegAddrMin])
				return port, to, true
			}
		case *expr.Target:
			if e.Name == "DNAT" {
				return port, targetOf(e.Info), true
			}
		}
	}
	return "", netip.Addr{}, false
}

// targetOf is the address that a target of iptables' names.
func targetOf(info xt.InfoAny) netip.Addr {
	var ip net.IP
	switch info := info.(type) {
	case *xt.NatRange:
		ip = info.MinIP
	case *xt.NatRange2:
		ip = info.MinIP
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
