package syslog

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/chain"
)

// key tells senders apart: an address (of IPv6 the /64), or a user of a Unix socket.
type key struct {
	addr netip.Addr
	user uint32
}

// keyOf is the key of an address.
func keyOf(addr netip.Addr) key {
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	return key{addr: addr}
}

// sender is what is known of one. Its listener's lock guards it.
type sender struct {
	chain.Links[sender] // in senders.order

	key
	of   *listener
	addr netip.Addr // the last one; invalid: of a Unix socket
	name string     // as messages of his have it

	lines, bytes budget
	counts       counts
	connections  int
	seen         time.Time
}

// origin is where a message comes from.
type origin struct {
	addr  netip.Addr // invalid: a Unix socket
	host  string     // the address, or this host's name
	certs []string   // names of the sender's certificate
	by    *stream    // nil: a datagram
}

// counts are what became of a sender's messages beside those that were taken.
type counts struct {
	fast      int // beyond what is taken in a second
	full      int // who wanted them was behind
	malformed int
	cut       int
	ended     int // connections
	refused   int // the same, by TLS
	why       error
}

func (c *counts) none() bool { return *c == counts{} }

func (c *counts) add(o counts) {
	c.fast += o.fast
	c.full += o.full
	c.malformed += o.malformed
	c.cut += o.cut
	c.ended += o.ended
	c.refused += o.refused
	if o.why != nil {
		c.why = o.why
	}
}

// text tells of them.
func (c *counts) text(s *Settings) string {
	var out []string
	say := func(n int, one, many, why string) {
		switch {
		case n == 1:
			out = append(out, "1 "+one+why)
		case n > 1:
			out = append(out, fmt.Sprintf("%d %s%s", n, many, why))
		}
	}
	say(c.fast, "message was dropped", "messages were dropped", fmt.Sprintf(": more than %d a second, or %d bytes ([syslog] lines, bytes)", s.Lines, s.Bytes))
	say(c.full, "message was dropped", "messages were dropped", " since they came faster than the jail takes them (match says which of them it needs)")
	why := ""
	if c.why != nil {
		why = ", the last one since " + c.why.Error()
	}
	say(c.refused, "connection was refused", "connections were refused", why)
	say(c.malformed, "was no message of syslog", "were no messages of syslog", why)
	say(c.cut, fmt.Sprintf("was cut at %d bytes", MaxMessage), fmt.Sprintf("were cut at %d bytes", MaxMessage), "")
	say(c.ended, "connection was ended", "connections were ended", " for others, or since it was in the middle of a message for too long")
	return strings.Join(out, "; ")
}

// budget is what may come in a second. It holds what a second gives, at the most.
type budget struct {
	left float64
	at   time.Time
}

// take takes some of it; where there is not enough it tells when there is.
func (b *budget) take(n, perSecond int, now time.Time) (wait time.Duration) {
	most := float64(perSecond)
	if b.at.IsZero() {
		b.left = most
	} else if d := now.Sub(b.at); d > 0 {
		b.left = min(most, b.left+most*d.Seconds())
	}
	b.at = now
	need := min(float64(n), most)
	if b.left >= need {
		b.left -= float64(n)
		return 0
	}
	return time.Duration((need - b.left) / most * float64(time.Second))
}

// senders are those of a listener.
type senders struct {
	listener  *listener
	all       map[key]*sender
	order     chain.List[sender, *sender] // who was heard of last is the last
	forgotten counts                      // of those that had something to be told of
	forgot    int
	strangers map[netip.Addr]int // messages of who may not send
	others    int                // of more of them
}

// of returns a sender.
func (t *senders) of(k key, addr netip.Addr, now time.Time) *sender {
	s := t.all[k]
	if s == nil {
		if t.all == nil {
			t.all = map[key]*sender{}
		}
		for old := range t.order.All() {
			if len(t.all) < sendersMost {
				break
			}
			if old.connections == 0 {
				if !old.counts.none() {
					t.forgotten.add(old.counts)
					t.forgot++
				}
				t.order.Remove(old)
				delete(t.all, old.key)
			}
		}
		s = &sender{key: k, of: t.listener}
		t.all[k] = s
	} else {
		if t.order.Last() == s && s.addr == addr {
			s.seen = now
			return s
		}
		t.order.Remove(s)
	}
	if s.addr != addr || s.name == "" {
		s.addr, s.name = addr, addr.String()
	}
	s.seen = now
	t.order.Append(s)
	return s
}

// stranger counts a message, or a connection, of who may not send.
func (t *senders) stranger(addr netip.Addr) {
	if _, ok := t.strangers[addr]; !ok && len(t.strangers) >= strangersMost {
		t.others++
		return
	}
	if t.strangers == nil {
		t.strangers = map[netip.Addr]int{}
	}
	t.strangers[addr]++
}

// report tells what there is to be told, and forgets it.
func (t *senders) report(s *Settings) (out []string) {
	var some []*sender
	for _, one := range t.all {
		if !one.counts.none() {
			some = append(some, one)
		}
	}
	slices.SortFunc(some, func(a, b *sender) int {
		return (b.counts.fast + b.counts.full + b.counts.malformed) - (a.counts.fast + a.counts.full + a.counts.malformed)
	})
	rest, n := t.forgotten, t.forgot
	for i, one := range some {
		if i < toldMost {
			out = append(out, fmt.Sprintf("of %s, %s", one.name, one.counts.text(s)))
		} else {
			rest.add(one.counts)
			n++
		}
		one.counts = counts{}
	}
	if n > 0 {
		out = append(out, fmt.Sprintf("of %d others, %s", n, rest.text(s)))
	}
	t.forgotten, t.forgot = counts{}, 0
	addrs := make([]netip.Addr, 0, len(t.strangers))
	for a := range t.strangers {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, func(a, b netip.Addr) int { return t.strangers[b] - t.strangers[a] })
	others := t.others
	var named []string
	for i, a := range addrs {
		if i < toldMost {
			named = append(named, fmt.Sprintf("%s (%d)", a, t.strangers[a]))
		} else {
			others += t.strangers[a]
		}
	}
	if others > 0 {
		named = append(named, fmt.Sprintf("others (%d)", others))
	}
	if len(named) > 0 {
		out = append(out, "not read, since allow does not name who sent it: messages or connections of "+strings.Join(named, ", "))
	}
	t.strangers, t.others = nil, 0
	return out
}
