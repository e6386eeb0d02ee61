package check

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Whom a request asks about. A proxy names its client in the query (ip=), in X-Real-IP or in
// X-Forwarded-For. Clients can send such headers, too, and a proxy may pass on one of them
// and set the other: so both are looked at where both are there, and who is named by either is
// asked about. To write somebody else's address into one of them helps nobody then. The same holds for
// X-Real-IP alone, which a proxy may add to the client's, before it or behind it.

// mostHops bounds the addresses of X-Forwarded-For that are looked at, from the last one on. Those of X-Real-IP are
// looked at all, as many as there are in a header of maxHeader: who writes many of them hides nobody by that.
const mostHops = 32

// mostJails bounds the jails that a request names.
const mostJails = 64

// question is what a request asks: whether one of the addresses is shut out.
type question struct {
	addrs []netip.Addr
	jails []string // nil: all
}

// QuestionError says what keeps a request from being answered.
type QuestionError struct {
	What string // the same for the same mistake
	Text string // what was sent; empty: nothing
}

func (e *QuestionError) Error() string {
	if e.Text == "" {
		return e.What
	}
	return fmt.Sprintf("%s: %.200q", e.What, e.Text)
}

// ask reads a request. trusted says which addresses are those of proxies. With an error, the question
// is about those whom it names all the same: who is banned is refused.
func ask(r *http.Request, trusted func(netip.Addr) bool) (q question, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, &QuestionError{"the query can't be read", r.URL.RawQuery}
	}
	for key := range query {
		if key != "ip" && key != "jail" {
			return q, &QuestionError{"the query has a key that is neither ip nor jail", key}
		}
	}
	if q.jails = query["jail"]; len(q.jails) > mostJails {
		return q, &QuestionError{fmt.Sprintf("the query names more than %d jails", mostJails), ""}
	}
	if ips, there := query["ip"]; there {
		if len(ips) != 1 {
			for _, ip := range ips {
				if a, ok := Address(ip); ok {
					q.addrs = append(q.addrs, a)
				}
			}
			return q, &QuestionError{"the query has more than one ip", strings.Join(ips, " ")}
		}
		a, ok := Address(ips[0])
		if !ok {
			return q, &QuestionError{"ip of the query is no address", ips[0]}
		}
		q.addrs = append(q.addrs, a)
		return q, nil
	}
	real, chain := r.Header.Values("X-Real-Ip"), r.Header.Values("X-Forwarded-For")
	if len(real)+len(chain) == 0 {
		return q, &QuestionError{"no address is named: want ?ip=, X-Real-IP or X-Forwarded-For", ""}
	}
	var wrong error
	if len(real) > 0 {
		q.addrs, wrong = realIPs(strings.Join(real, ","))
	}
	if len(chain) > 0 {
		text := strings.Join(chain, ",")
		a, ok := client(text, trusted)
		switch {
		case !ok:
			wrong = &QuestionError{"X-Forwarded-For holds no address of a client", text}
		case a.IsValid():
			q.addrs = append(q.addrs, a)
		}
	}
	if len(q.addrs) == 0 {
		return q, wrong
	}
	return q, nil
}

// realIPs are the addresses of X-Real-IP: one, where a proxy sets it.
func realIPs(text string) (addrs []netip.Addr, wrong error) {
	for rest := text; ; {
		at := strings.LastIndexByte(rest, ',')
		if a, ok := Address(rest[at+1:]); ok {
			addrs = append(addrs, a)
		}
		if at < 0 {
			break
		}
		rest = rest[:at]
	}
	if len(addrs) == 0 {
		return nil, &QuestionError{"X-Real-IP is no address", text}
	}
	return addrs, nil
}

// client is the last address of X-Forwarded-For that is no trusted proxy's; the zero one, if all are. It
// is not ok if somebody stands there who is no address: who stands before him may be invented. Empty
// elements are none of a list (RFC 9110, 5.6.1).
func client(chain string, trusted func(netip.Addr) bool) (a netip.Addr, ok bool) {
	some := false
	for hops := 0; hops < mostHops; {
		at := strings.LastIndexByte(chain, ',')
		if text := strings.Trim(chain[at+1:], " \t"); text != "" {
			hop, is := Address(text)
			if !is {
				return netip.Addr{}, false
			}
			if !trusted(hop) {
				return hop, true
			}
			some = true
			hops++
		}
		if at < 0 {
			return netip.Addr{}, some
		}
		chain = chain[:at]
	}
	return netip.Addr{}, false
}

// Address reads an address as proxies write it: also in brackets, with a port, with a zone, and
// one of IPv4 as IPv6 has it.
func Address(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t\"")
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = with.Addr()
	}
	return a.WithZone("").Unmap(), true
}
