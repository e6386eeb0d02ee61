package guard

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bailiff/pkg/iplist"
)

// Reason is why an address may not be banned; empty: it may.
type Reason struct {
	// Text says it to a person.
	Text string
	// Source says it in the words of fail2ban's log: ip, dns, file:PATH, ignoreself rule.
	Source string
}

// Log says it for fail2ban's log: what tools read of it, and behind that which one it is.
func (r Reason) Log() string {
	if r.Source == "ip" && !strings.HasPrefix(r.Text, "proxy.") || r.Text == r.Source || r.Text == "ignoreip "+r.Source { // to the letter, where fail2ban has it, too
		return r.Source
	}
	return r.Source + " (" + strings.TrimPrefix(r.Text, r.Source+", ") + ")"
}

// Some reports whether there is a reason.
func (r Reason) Some() bool { return r.Text != "" }

// Rules are who may not be banned. They don't change.
type Rules struct {
	entries []entry
	all     *iplist.Set // of entries: most addresses are in none
	files   []fileRule
	// networks are those that the host is directly connected to. An address in them may
	// be banned; a list may not shut all of one out.
	networks []Place
	peers    []netip.Addr
	names    map[string]Reason // of ignoreip and its files, as they stand there
	unsure   string            // a file of proxy.trusted of which no address is known
}

type entry struct {
	prefix netip.Prefix
	Reason
	host bool // it protects the host; else somebody asked for it
}

type fileRule struct {
	path string
	of   string // what it is of: ignoreip, proxy.trusted
	set  *iplist.Set
}

// NoRules protect nobody.
var NoRules = &Rules{all: iplist.New(nil)}

func (r *Rules) same(o *Rules) bool {
	return slices.Equal(r.entries, o.entries) && slices.Equal(r.files, o.files) && slices.Equal(r.networks, o.networks) && slices.Equal(r.peers, o.peers) && r.unsure == o.unsure && maps.Equal(r.names, o.names)
}

// Why returns why an address or a network may not be banned: a network that holds a
// protected address is protected itself, and the reason says which one that is.
func (r *Rules) Why(id netip.Prefix) Reason {
	if r.all.Overlaps(id) {
		for _, e := range r.entries {
			if !e.prefix.Overlaps(id) {
				continue
			}
			why := e.Reason
			if e.prefix.Bits() > id.Bits() && why.Source != "ip" { // which says it
				why.Text += " " + shown(e.prefix)
			}
			return why
		}
	}
	for _, f := range r.files {
		if f.set.Overlaps(id) {
			return Reason{f.of + " file:" + f.path, "file:" + f.path}
		}
	}
	if r.SSHPeer(id) {
		return Reason{sshReason, sshReason}
	}
	return Reason{}
}

// Wide says of files which of their ranges are so wide that they switch banning off.
func (r *Rules) Wide() (out []string) {
	for _, f := range r.files {
		if f.set == nil {
			continue
		}
		if text := f.set.Wide(); text != "" {
			out = append(out, f.of+" file:"+f.path+": "+text)
		}
	}
	return out
}

// UnknownProxies returns a file of proxy.trusted of which no proxy is known, if there is one.
func (r *Rules) UnknownProxies() string { return r.unsure }

// WhyName returns the same for a name that isn't an address's: of a user, a session, or
// whatever a filter says is to be banned.
func (r *Rules) WhyName(name string) Reason { return r.names[name] }

// shown is an address or a network as people write it.
func shown(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

const sshReason = "an open SSH session"

// SSHPeer reports whether somebody is logged in from there over SSH, and that counts.
func (r *Rules) SSHPeer(id netip.Prefix) bool {
	return slices.ContainsFunc(r.peers, id.Contains)
}

// Cut is a part of a list that is left out, and why.
type Cut struct {
	iplist.Range
	Why string
}

func (c Cut) String() string {
	for p := range iplist.Prefixes(c.Range) {
		if p.Contains(c.Last) {
			if p.IsSingleIP() {
				return fmt.Sprintf("%s (%s)", p.Addr(), c.Why)
			}
			return fmt.Sprintf("%s (%s)", p, c.Why)
		}
	}
	return fmt.Sprintf("%s-%s (%s)", c.First, c.Last, c.Why)
}

// Cut returns a list without what may not be shut out, and what was taken out of it to
// protect the host. What ignoreip holds is taken out, too, and not told of.
func (r *Rules) Cut(list *iplist.Set) (left *iplist.Set, cuts []Cut) {
	var gone []netip.Prefix
	take := func(p netip.Prefix, why string) {
		gone = append(gone, p)
		if why == "" {
			return
		}
		for x := range list.Within([]netip.Prefix{p}).All() {
			cuts = append(cuts, Cut{x, why})
		}
	}
	for _, e := range r.entries {
		if e.host {
			take(e.prefix, e.Text)
		} else {
			take(e.prefix, "")
		}
	}
	for _, n := range r.networks {
		if list.Holds(n.Prefix) {
			take(n.Prefix, n.What)
		}
	}
	for _, a := range r.peers {
		take(netip.PrefixFrom(a, a.BitLen()), sshReason)
	}
	sets := make([]*iplist.Set, 0, len(r.files))
	for _, f := range r.files {
		if f.set != nil {
			sets = append(sets, f.set)
		}
	}
	slices.SortStableFunc(cuts, func(a, b Cut) int { return cmp.Or(a.First.Compare(b.First), b.Last.Compare(a.Last)) })
	n := 0
	for _, c := range cuts { // an own address in the network that is out as a whole
		if n == 0 || cuts[n-1].Last.Less(c.Last) {
			cuts[n] = c
			n++
		}
	}
	cuts = cuts[:n]
	return list.Without(sets, gone), cuts
}

// rules makes the rules of what is wanted, of what is known now.
func (g *Guard) rules(w *Want) *Rules {
	r := &Rules{}
	add := func(p netip.Prefix, text, source string, host bool) {
		r.entries = append(r.entries, entry{p, Reason{text, source}, host})
	}
	const self = "ignoreself rule"
	if w.Self {
		for _, o := range g.host.Own {
			add(o.Prefix, o.What, self, true)
		}
		if !w.List { // also where the interface is down
			add(netip.MustParsePrefix("127.0.0.1/32"), "own address", self, true)
			add(netip.MustParsePrefix("::1/128"), "own address", self, true)
		}
	}
	for _, p := range w.Prefixes {
		add(p, "ignoreip "+shown(p), "ip", false)
	}
	for _, p := range w.Proxies {
		add(p, "proxy.trusted "+shown(p), "ip", false)
	}
	name := func(n, source string) {
		if _, ok := r.names[n]; ok {
			return
		}
		if r.names == nil {
			r.names = map[string]Reason{}
		}
		r.names[n] = Reason{"ignoreip " + n, source}
	}
	named := func(names []string, source, of string) {
		for _, n := range names {
			if of == "ignoreip" {
				name(n, source)
			}
			for _, a := range g.names[n].addrs() {
				add(netip.PrefixFrom(a, a.BitLen()), of+" "+n, "dns", false)
			}
		}
	}
	named(w.Names, "ip", "ignoreip")
	for _, path := range w.Files {
		f := g.files[path]
		named(f.names, "file:"+path, "ignoreip")
		for _, n := range f.others {
			name(n, "file:"+path)
		}
		r.files = append(r.files, fileRule{path, "ignoreip", f.set})
	}
	for _, path := range w.ProxyFiles {
		f := g.files[path]
		named(f.names, "file:"+path, "proxy.trusted")
		r.files = append(r.files, fileRule{path, "proxy.trusted", f.set})
		if g.addresses(f) == 0 && r.unsure == "" {
			r.unsure = path
		}
	}
	switch {
	case w.Self && w.List:
		for _, p := range loopback {
			add(p, "loopback", self, true)
		}
	case w.Self:
		add(loopback[0], "own address", self, true)
	}
	if w.Host {
		for _, p := range linkLocal {
			add(p, "link-local", self, true)
		}
		for _, p := range unspecified {
			add(p, "unspecified address", self, true)
		}
		for _, x := range slices.Concat(g.host.Gateways, g.host.NameServers) {
			add(x.Prefix, x.What, self, true)
		}
		r.networks = g.host.Networks
	}
	if w.SSH {
		r.peers = g.peers
	}
	if w.LetIn { // last: what holds for good says so
		for _, n := range g.never {
			if n.Jail == "" || n.Jail == w.Jail {
				add(n.Prefix, n.reason(), NeverSource, false)
			}
		}
		for _, l := range g.letIn {
			add(l.Prefix, l.reason(), LetInSource, false)
		}
	}
	ranges := make([]netip.Prefix, 0, len(r.entries))
	for _, e := range r.entries {
		ranges = append(ranges, e.prefix)
	}
	r.all = iplist.Of(ranges)
	return r
}

var (
	loopback  = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	linkLocal = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	// unspecified: who has no address yet asks for one from there (DHCP, IPv6's duplicate
	// address detection).
	unspecified = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("::/128")}
)
