package ban

import "net/netip"

// Ignore is the set of addresses that are never banned.
type Ignore struct {
	Prefixes []netip.Prefix // ignoreip, and what its host names resolve to
	Self     []netip.Addr   // this host's own addresses, where ignoreself is on
	// List is what files of ignoreip hold; nil: there are none.
	List interface{ Overlaps(netip.Prefix) bool }
}

// Contains returns why an address or a network may not be banned: a network
// that holds an ignored address is ignored too. An empty reason means it may.
func (g *Ignore) Contains(id netip.Prefix) (reason string) {
	for _, p := range g.Prefixes {
		if p.Overlaps(id) {
			return "ignoreip " + Name(p)
		}
	}
	if g.List != nil && g.List.Overlaps(id) {
		return "ignoreip file"
	}
	if len(g.Self) > 0 && id.Addr().IsLoopback() {
		return "own address"
	}
	for _, a := range g.Self {
		if id.Contains(a) {
			return "own address"
		}
	}
	return ""
}
