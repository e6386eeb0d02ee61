package firewall

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules are what nft itself makes of
//
//	tcp dport { 80, 443 } ip saddr @addr-set-JAIL reject
//
// instruction by instruction, so that `nft list` prints them like that.

// protocolNumbers are those of /etc/protocols that a jail may name.
var protocolNumbers = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "dccp": unix.IPPROTO_DCCP,
	"udplite": unix.IPPROTO_UDPLITE, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6,
}

// KnownProtocol reports whether a rule can name a protocol.
func KnownProtocol(name string) bool {
	_, ok := protocolNumbers[name]
	return ok
}

// matches returns what the packets of a jail have in common, one list of
// expressions for each rule that is needed.
func (f *Firewall) matches(c *nftables.Conn, r Rule) [][]expr.Any {
	if len(r.Protocols) == 0 {
		return [][]expr.Any{nil}
	}
	if len(r.Ports) == 0 {
		if len(r.Protocols) == 1 {
			return [][]expr.Any{protocolIs(r.Protocols[0])}
		}
		elements := make([]nftables.SetElement, len(r.Protocols))
		for i, p := range r.Protocols {
			elements[i] = nftables.SetElement{Key: []byte{protocolNumbers[p]}}
		}
		set := &nftables.Set{Table: f.table, Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto}
		_ = c.AddSet(set, elements) // fails only for names that are too long
		return [][]expr.Any{{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
		}}
	}
	var out [][]expr.Any
	for _, p := range r.Protocols {
		exprs := append(protocolIs(p), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
		out = append(out, append(exprs, f.portIs(c, r.Ports)...))
	}
	return out
}

func protocolIs(name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocolNumbers[name]}},
	}
}

func (f *Firewall) portIs(c *nftables.Conn, ports []PortRange) []expr.Any {
	if len(ports) == 1 && ports[0].First == ports[0].Last {
		return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(ports[0].First)}}
	}
	set := &nftables.Set{Table: f.table, Anonymous: true, Constant: true, KeyType: nftables.TypeInetService}
	var elements []nftables.SetElement
	merged := mergePorts(ports)
	for _, p := range merged {
		set.Interval = set.Interval || p.First != p.Last
	}
	for _, p := range merged {
		elements = append(elements, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(p.First)})
		if set.Interval && p.Last < 65535 {
			elements = append(elements, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(p.Last + 1), IntervalEnd: true})
		}
	}
	_ = c.AddSet(set, elements)
	return []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}}
}

// mergePorts sorts ranges and joins those that touch: the kernel takes no overlap.
func mergePorts(ports []PortRange) []PortRange {
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	out := sorted[:1]
	for _, p := range sorted[1:] {
		last := &out[len(out)-1]
		if p.First == last.First || int(p.First) <= int(last.Last) {
			last.Last = max(last.Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}

// verdict looks the source address up, under a mask if there is one, and rejects
// or drops.
func verdict(set *nftables.Set, mask []byte, drop bool) []expr.Any {
	family, offset, length, code := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4), uint8(3) // ICMP port unreachable
	if set.KeyType == nftables.TypeIP6Addr {
		family, offset, length, code = unix.NFPROTO_IPV6, 8, 16, 4 // ICMPv6 port unreachable
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
	}
	if mask != nil {
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)})
	}
	out = append(out, &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID})
	if drop {
		return append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	return append(out, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code})
}
