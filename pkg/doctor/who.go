package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
)

// The third link: whose failures they are.

const (
	// fewFailures is from how many on shares of them say something.
	fewFailures = 10
	// manyOfOne is how many of one address are too many for somebody who is banned in time.
	manyOfOne = 20
)

// failure notes one, and reports whether it counts.
func (l *look) failure(f *logFile, line int, x *filter.Failure) bool {
	if x.NoFail || x.Pending {
		return false
	}
	if x.Name {
		l.counts.names++
		return true
	}
	e := event{at: x.Time, log: f, line: line}
	if e.at.IsZero() && f.times != nil {
		e.at = f.times[line]
	}
	switch {
	case x.IP.IsValid():
		e.addr = x.IP
	case x.Addr.IsValid():
		e.addr = x.Addr.Addr()
	}
	if x.Addr.IsValid() {
		e.id = ban.Of(x.Addr)
	} else if e.id = ban.Named(x.ID); !e.id.IsValid() {
		return false
	}
	if len(x.Users) > 0 {
		e.user = strings.Clone(x.Users[0])
	} else if u, ok := x.Groups.Text("user"); ok {
		e.user = strings.Clone(u)
	}
	if len(l.events) < linesMost {
		l.events = append(l.events, e)
	}
	return true
}

// rules are who is never banned in the jail, as far as it can be found out in time.
func (l *look) rules(ctx context.Context) *guard.Rules {
	i := l.j.Ignore
	view := l.d.guard.View(guard.Want{Prefixes: i.Prefixes, Names: i.Names, Files: i.Files, Self: i.Self, Host: i.Self && i.Host}, nil)
	defer view.Close()
	for end := time.Now().Add(namesWait); len(i.Names)+len(i.Files) > 0 && !view.Ready() && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	return view.Rules()
}

// namesWait is how long names and files of ignoreip are waited for.
const namesWait = 2 * time.Second

// tally is one address with its failures.
type tally struct {
	addr  netip.Addr
	n     int
	users map[string]bool
	last  event
}

// who looks at whose the failures are.
func (l *look) who(ctx context.Context) {
	c := &l.counts
	rules := l.rules(ctx)
	by := map[netip.Addr]*tally{}
	total, ignored, private, six := 0, 0, 0, 0
	why := map[string]int{}
	kept := l.events[:0]
	for _, e := range l.events {
		if !e.addr.IsValid() {
			kept = append(kept, e)
			continue
		}
		total++
		t := by[e.addr]
		if t == nil {
			t = &tally{addr: e.addr, users: map[string]bool{}}
			by[e.addr] = t
		}
		t.n++
		t.last = e
		if len(t.users) < 100 {
			t.users[e.user] = true
		}
		if e.addr.Is6() {
			six++
		}
		if e.addr.IsPrivate() || e.addr.IsLoopback() || e.addr.IsLinkLocalUnicast() {
			private++
		}
		if r := rules.Why(netip.PrefixFrom(e.addr, e.addr.BitLen())); r.Some() {
			ignored++
			why[r.Text]++
			continue
		}
		kept = append(kept, e)
	}
	l.events = kept
	l.d.mu.Lock()
	l.d.six[l.j.Name] = six
	l.d.mu.Unlock()
	if c.withheld > 0 && c.withheld >= total {
		l.say(Finding{
			Symptom: "who-unsaid", Level: Broken, Cause: fmt.Sprintf("%d failures are not counted: whose they are stands where a client can write", c.withheld),
			Seen: []string{c.matchedAt}, Remedy: c.unsaid.Remedy(),
		})
	}
	if c.names > total {
		l.say(Finding{
			Symptom: "who-names", Level: Doubtful, Cause: fmt.Sprintf("%d of %d failures name a host, and no address: each is looked up, and who has an address may name it as he likes", c.names, c.names+total),
			Seen: []string{l.lastLine()}, Remedy: "have the service log addresses (HostnameLookups Off, UseDNS no)",
		})
	}
	top := &tally{}
	for _, t := range by {
		if t.n > top.n || t.n == top.n && top.addr.Compare(t.addr) > 0 {
			top = t
		}
	}
	if total > 0 {
		l.sayWho(top, len(by), total, ignored, private, why)
	}
	if total == 0 && c.names == 0 {
		l.fine("nobody has failed")
		return
	}
	text := fmt.Sprintf("%d failures of %d addresses; most of %s: %d", total, len(by), top.addr, top.n)
	if ignored > 0 {
		text += fmt.Sprintf("; %d are ignored", ignored)
	}
	l.fine("%s", text)
	l.seen(text)
}

// sayWho tells of the one who has nearly all failures, and of those who are not banned.
func (l *look) sayWho(top *tally, addresses, total, ignored, private int, why map[string]int) {
	c := &l.counts
	nearlyAll := top.n*10 >= total*9
	seen := []string{top.last.log.place(top.last.line)}
	reason := ""
	if ignored > 0 {
		reason = slices.MaxFunc(slices.Sorted(maps.Keys(why)), func(a, b string) int { return cmp.Compare(why[a], why[b]) })
	}
	trusted := "name it as a proxy, and have the service log whom it forwards for: " + l.trusted(top.addr)
	gateway := l.gateway(top.addr)
	switch {
	case total < fewFailures || !nearlyAll:
	case gateway != "":
		l.say(Finding{
			Symptom: "who-gateway", Level: Broken, Cause: fmt.Sprintf("%d of %d failures are of %s, %s: the service doesn't see its clients", top.n, total, top.addr, gateway), Seen: seen,
			Remedy: "have the container see them (\"userland-proxy\": false in /etc/docker/daemon.json, or network_mode: host), or put a proxy before it that passes their addresses on, and " + trusted,
		})
		return
	case l.own(top.addr) != "":
		l.say(Finding{
			Symptom: "who-own", Level: Broken, Cause: fmt.Sprintf("%d of %d failures are of %s, this host itself (%s): a proxy on this host, and it is never banned", top.n, total, top.addr, l.own(top.addr)), Seen: seen,
			Remedy: trusted,
		})
		return
	case c.beside*2 > total:
		l.say(Finding{
			Symptom: "who-proxy", Level: Broken, Cause: fmt.Sprintf("%d of %d failures are of %s, a proxy: beside it stands %q", top.n, total, top.addr, clip([]byte(c.besideAt))), Seen: seen, Remedy: trusted,
		})
		return
	case top.n < manyOfOne && len(top.users) < 5 || top.n <= 2*l.j.MaxRetry:
	default:
		level, text := Doubtful, "a proxy, or one who is not banned"
		if top.addr.IsPrivate() || c.peers[top.addr] >= top.n || len(top.users) >= 10 {
			level, text = Broken, "a proxy, as it seems"
		}
		if len(top.users) > 1 {
			text += fmt.Sprintf(", with %d users", len(top.users))
		}
		l.say(Finding{Symptom: "who-proxy", Level: level, Cause: fmt.Sprintf("%d of %d failures are of one address, %s: %s", top.n, total, top.addr, text), Seen: seen, Remedy: "if it is a proxy: " + trusted})
		if ignored*10 < total*9 {
			return
		}
	}
	switch {
	case total < fewFailures:
	case ignored*10 >= total*9:
		f := Finding{Symptom: "who-ignored", Level: Broken, Cause: fmt.Sprintf("%d of %d failures are ignored: of who is in %s", ignored, total, reason), Seen: seen, Remedy: "make ignoreip narrower" + l.placed("ignoreip")}
		if strings.Contains(reason, "own address") || strings.Contains(reason, "loopback") {
			f.Symptom, f.Remedy = "who-own", trusted
		}
		if at := setting(l.j, "ignoreip"); at != "" {
			f.Seen = append(f.Seen, at+": ignoreip")
		}
		l.say(f)
	case private*10 >= total*9:
		l.say(Finding{
			Symptom: "who-private", Level: Doubtful, Cause: fmt.Sprintf("%d of %d failures are of private addresses, of %d of them", private, total, addresses), Seen: seen,
			Remedy: "if clients come from the internet, something in between takes their addresses away: a load balancer, NAT; have it keep them, or name it as a proxy: " + l.trusted(top.addr),
		})
	}
}

// trusted are the lines that name a proxy.
func (l *look) trusted(a netip.Addr) string {
	if l.cfg.Fail2ban != nil {
		return fmt.Sprintf("a configuration of ours can do so ([proxy] trusted = [%q]); under fail2ban's, a filter for the header, and ignoreip = %s", a, a)
	}
	return fmt.Sprintf("in bailiff.toml\n[proxy]\ntrusted = [%q]", a)
}

// own says which of this host's addresses one is; empty: none.
func (l *look) own(a netip.Addr) string {
	if a.IsLoopback() {
		return "loopback"
	}
	if h := l.d.host; h != nil {
		for _, p := range h.Own {
			if p.Addr() == a {
				return p.What
			}
		}
	}
	return ""
}

// containerNetworks are where container engines have their bridges, unless told otherwise.
var containerNetworks = []netip.Prefix{
	netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("10.89.0.0/16"), netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.244.0.0/16"),
}

// gateway says that an address is a container network's own, behind which all clients look
// alike; empty: it isn't.
func (l *look) gateway(a netip.Addr) string {
	if h := l.d.host; h != nil {
		for _, p := range h.Networks {
			for _, kind := range []string{"docker", "br-", "podman", "cni", "lxc", "incus"} {
				if p.Contains(a) && strings.Contains(p.What, "of "+kind) && l.own(a) != "" {
					return "the gateway of a container network (" + p.What + ")"
				}
			}
		}
		for _, p := range h.Gateways {
			if p.Addr() == a {
				return p.What + ", which takes the clients' addresses away"
			}
		}
	}
	if a.Is4() && a.As4()[3] == 1 {
		for _, n := range containerNetworks {
			if n.Contains(a) {
				return "the gateway of a container network, as it seems"
			}
		}
	}
	return ""
}
