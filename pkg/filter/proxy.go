package filter

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// A service behind a proxy knows its clients by what the proxy tells of them, and anybody
// can send what a proxy sends. Three things in a line say who it is about:
//
//   - an address that the service has from the connection (<ADDR>, or host of JSON): the
//     client's or the proxy's;
//   - beside that, what a header says of those before the proxy (<F-FORWARDED>, or
//     forwarded of JSON);
//   - in its place, the header (<F-CHAIN> around <ADDR>; host of JSON, where it has a
//     peer).
//
// Each proxy writes whom it got the request from behind what was there. So with the
// proxies named, the client is the last address that is not one of theirs; whoever stands
// before that, he wrote himself. Without, what a client may have written is not counted.

// Proxies are the addresses of one's own proxies.
type Proxies struct {
	Prefixes []netip.Prefix
	Files    []string // lists of them
	// Unknown says that some were named and none could be read.
	Unknown bool
}

// mostHops bounds the addresses of a header that are looked at, from the last one on.
const mostHops = 32

// Withheld is a failure that is not told, since whose it is can't be.
type Withheld struct {
	Chain string // what the line says
	Proxy bool   // all that it names are trusted proxies
	// Unknown says where the proxies are named of which none is known.
	Unknown string
}

// Remedy says what to do that such failures count.
func (w *Withheld) Remedy() string {
	if w.Unknown != "" {
		return "it may be a proxy's: of " + w.Unknown + " no proxy is known, and until one is, no failure of this filter is counted"
	}
	if w.Proxy {
		return "it names trusted proxies only"
	}
	return `a client can write that: to count it, name your proxies in [proxy] trusted = ["ADDRESS", …]`
}

// unknown reports whether proxies were named that are not known: then a failure may be
// theirs, and is not told.
func (f *Filter) unknown(chain string, r *Result) bool {
	if !f.forwards || f.UnknownProxies == nil {
		return false
	}
	where := f.UnknownProxies()
	if where == "" {
		return false
	}
	r.Withheld = append(r.Withheld, Withheld{Chain: strings.Clone(chain[:min(len(chain), 200)]), Unknown: where})
	return true
}

// client finds out whose failure it is by a header's addresses; peer, if valid, is who
// connected. It reports whether that can be told.
func (f *Filter) client(out *Failure, peer netip.Prefix, chain string, r *Result) bool {
	trusted := f.Trusted
	hops := strings.Split(chain, ",")
	withheld := func(proxy bool) bool {
		r.Withheld = append(r.Withheld, Withheld{Chain: strings.Clone(chain[:min(len(chain), 200)]), Proxy: proxy})
		return false
	}
	found := func(p netip.Prefix) bool {
		out.Addr, out.ID, out.Name = p, name(p), false
		return true
	}
	if trusted == nil {
		if peer.IsValid() {
			if out.Addr == peer {
				return true
			}
			return withheld(false)
		}
		return len(hops) == 1 || withheld(false)
	}
	if peer.IsValid() && !trusted(peer) {
		return found(peer)
	}
	for i := len(hops) - 1; i >= 0 && i >= len(hops)-mostHops; i-- {
		p := address(strings.Trim(hops[i], " \t\""))
		switch {
		case !p.IsValid(): // who is before that, nobody knows
			return withheld(false)
		case !trusted(p):
			return found(p)
		}
	}
	return withheld(true)
}

// viaProxy is client for a line of text.
func (f *Filter) viaProxy(out *Failure, line *found, r *Result) bool {
	switch {
	case !f.forwards:
		return true
	case f.unknown(cmp.Or(line.chain.text, out.ID), r):
		return false
	case line.chain.ok:
		return f.client(out, netip.Prefix{}, line.chain.text, r)
	case line.forwarded.ok && f.Trusted == nil:
		r.beside(line.forwarded.text)
	case line.forwarded.ok && f.Trusted != nil && out.Addr.IsValid() && f.Trusted(out.Addr):
		return f.client(out, out.Addr, line.forwarded.text, r)
	}
	return true
}

// beside notes a header that names somebody.
func (r *Result) beside(header string) {
	if hops := header[strings.LastIndexByte(header, ',')+1:]; address(strings.Trim(hops, " \t\"")).IsValid() {
		r.Beside = header
	}
}

// BesideText says what to do about Beside, of a failure of an address.
func BesideText(addr, header string) string {
	return fmt.Sprintf(`a failure of %s came with X-Forwarded-For %q: if that is your proxy, it is banned, and with it all its users, until you name it: [proxy] trusted = [%q]; [] says that there is none`, addr, header[:min(len(header), 200)], addr)
}

// Settable says what of a filter a client can set who isn't behind a trusted proxy, and
// which is not counted unless proxies are named; "" if there is nothing.
func (d *Definition) Settable() string {
	if d.JSON != nil {
		if d.JSON.Peer != "" && len(d.JSON.Host) > 0 {
			return d.JSON.Host[0]
		}
		return ""
	}
	for _, x := range d.Failregex {
		if strings.Contains(x.Text, "<F-CHAIN>") {
			return "X-Forwarded-For"
		}
	}
	return ""
}

// Forwards reports whether the filter finds clients behind proxies once those are named.
func (d *Definition) Forwards() bool {
	if d.JSON != nil {
		return d.JSON.Peer != "" || d.JSON.Forwarded != ""
	}
	for _, x := range d.Failregex {
		if strings.Contains(x.Text, "<F-CHAIN>") || strings.Contains(x.Text, "<F-FORWARDED>") {
			return true
		}
	}
	return false
}
