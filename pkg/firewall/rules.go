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

// match is what the packets of a rule have in common.
type match struct {
	exprs []expr.Any
	// in, if not nil, is a set without a name that the last of exprs looks into.
	in       *nftables.Set
	elements []nftables.SetElement
}

// matches returns one match for each rule that is needed.
func (r *Rule) matches() []match {
	out := r.packets()
	if r.NewOnly {
		for i := range out {
			out[i].exprs = slices.Concat(connectionIsNew(), out[i].exprs)
		}
	}
	return out
}

// connectionIsNew is nft's "ct state new".
func connectionIsNew() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// packets are those of the jail's protocols and ports.
func (r *Rule) packets() []match {
	if r.AnyProtocol && len(r.Ports) > 0 {
		return []match{portIs([]expr.Any{destinationPort()}, r.Ports)}
	}
	if len(r.Protocols) == 0 {
		return []match{{}}
	}
	var portless []string
	var out []match
	for _, p := range r.Protocols {
		if len(r.Ports) == 0 || !hasPorts[p] {
			portless = append(portless, p)
			continue
		}
		out = append(out, portIs(append(protocolIs(p), destinationPort()), r.Ports))
	}
	switch len(portless) {
	case 0:
		return out
	case 1:
		return append(out, match{exprs: protocolIs(portless[0])})
	}
	m := match{
		exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Lookup{SourceRegister: 1}},
		in:    &nftables.Set{Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto},
	}
	for _, p := range portless {
		m.elements = append(m.elements, nftables.SetElement{Key: []byte{protocolNumbers[p]}})
	}
	return append(out, m)
}

// hasPorts are the protocols that have any; the others are shut out as a whole.
var hasPorts = map[string]bool{"tcp": true, "udp": true, "sctp": true, "dccp": true, "udplite": true}

// HasPorts reports whether a protocol has any; one that has none is shut out as a whole.
func HasPorts(protocol string) bool { return hasPorts[protocol] }

func protocolIs(name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocolNumbers[name]}},
	}
}

func destinationPort() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func portIs(exprs []expr.Any, ports []PortRange) match {
	if len(ports) == 1 && ports[0].First == ports[0].Last {
		return match{exprs: append(exprs, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(ports[0].First)})}
	}
	m := match{exprs: append(exprs, &expr.Lookup{SourceRegister: 1}), in: &nftables.Set{Anonymous: true, Constant: true, KeyType: nftables.TypeInetService}}
	merged := mergePorts(ports)
	for _, p := range merged {
		m.in.Interval = m.in.Interval || p.First != p.Last
	}
	for _, p := range merged {
		m.elements = append(m.elements, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(p.First)})
		if m.in.Interval && p.Last < 65535 {
			m.elements = append(m.elements, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(p.Last + 1), IntervalEnd: true})
		}
	}
	return m
}

// wantedRule is one of ours.
type wantedRule struct {
	chain string
	match match
	set   *nftables.Set
	mask  []byte
	last  []expr.Any // what it does with a packet
	front bool       // before the rules of its chain, not behind them
	text  string     // what it says, see describe
}

// wanted returns the rules that look into one set of a jail, for one chain.
func (j *jailSets) wanted(kind int, set *nftables.Set, chain string) []wantedRule {
	var out []wantedRule
	for _, m := range j.rule.matches() {
		w := wantedRule{chain: chain, match: m, set: set, mask: j.rule.maskOf(kind), last: j.rule.block(set)}
		var elements []element
		for _, e := range m.elements {
			elements = append(elements, element{key: e.Key, end: e.IntervalEnd})
		}
		exprs := append(slices.Clone(m.exprs), source(set, w.mask, w.last)...)
		w.text = describe(exprs, func(l *expr.Lookup) string {
			if l.SetName == "" {
				return contentsOf(elements)
			}
			return "@" + l.SetName
		})
		out = append(out, w)
	}
	return out
}

// add puts the rule behind those of its chain, or before them.
func (w *wantedRule) add(c *nftables.Conn, table *nftables.Table) error {
	exprs := slices.Clone(w.match.exprs)
	if w.match.in != nil {
		set := *w.match.in
		set.Table = table
		if err := addSet(c, &set, w.match.elements); err != nil {
			return explain("make a set of ports or protocols", err)
		}
		exprs[len(exprs)-1] = &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
	}
	rule := &nftables.Rule{Table: table, Chain: &nftables.Chain{Name: w.chain, Table: table}, Exprs: append(exprs, source(w.set, w.mask, w.last)...)}
	if w.front {
		c.InsertRule(rule)
	} else {
		c.AddRule(rule)
	}
	return nil
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

// source looks the source address up, under a mask if there is one.
func source(set *nftables.Set, mask []byte, last []expr.Any) []expr.Any {
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if set.KeyType == nftables.TypeIP6Addr {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
	}
	if mask != nil {
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)})
	}
	return append(append(out, &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}), last...)
}
