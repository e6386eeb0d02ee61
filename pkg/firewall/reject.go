package firewall

import (
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The ways to refuse a packet, by nft's names (nft(8), "REJECT STATEMENT").
var (
	rejectICMP = map[string]uint8{
		"net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
		"net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
	}
	rejectICMP6 = map[string]uint8{
		"no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4,
		"policy-fail": 5, "reject-route": 6,
	}
	rejectICMPX = map[string]uint8{"no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3}
)

// KnownReject returns a way to refuse packets in the form that [Rule] takes, from nft's
// words behind "reject with" (the word "type" may be left out, as nft prints it). Not ok:
// nft does not know it, or not for addresses of that family.
func KnownReject(words []string, ip6 bool) (with string, ok bool) {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "type" })
	if len(words) != 2 {
		return "", false
	}
	name := words[1]
	switch words[0] {
	case "tcp":
		ok = name == "reset"
	case "icmp":
		_, ok = rejectICMP[name]
		ok = ok && !ip6
	case "icmpv6":
		_, ok = rejectICMP6[name]
		ok = ok && ip6
	case "icmpx":
		_, ok = rejectICMPX[name]
	}
	with = words[0] + " " + name
	if with == "icmp port-unreachable" || with == "icmpv6 port-unreachable" {
		with = "" // the same
	}
	return with, ok
}

// block is what becomes of the packets of a set's addresses.
func (r *Rule) block(set *nftables.Set) []expr.Any {
	var out []expr.Any
	if r.Count {
		out = append(out, &expr.Counter{})
	}
	if r.Drop {
		return append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	family, code := 0, uint8(3) // ICMP port unreachable
	if set.KeyType == nftables.TypeIP6Addr {
		family, code = 1, 4 // ICMPv6 port unreachable
	}
	kind, name, _ := strings.Cut(r.Reject[family], " ")
	reject := &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}
	switch kind {
	case "drop":
		return append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	case "tcp":
		reject.Type, reject.Code = unix.NFT_REJECT_TCP_RST, 0
		if len(r.Protocols) == 0 { // what is not TCP can't be answered so
			out = slices.Concat(protocolIs("tcp"), out)
		}
	case "icmp":
		reject.Code = rejectICMP[name]
	case "icmpv6":
		reject.Code = rejectICMP6[name]
	case "icmpx":
		reject.Type, reject.Code = unix.NFT_REJECT_ICMPX_UNREACH, rejectICMPX[name]
	}
	return append(out, reject)
}
