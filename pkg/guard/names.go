package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// asking is how many names are asked for at once. Names in logs, which attackers
	// choose, are none of them.
	asking = 16
	// lookupTimeout is how long a name server has.
	lookupTimeout = 5 * time.Second
	// askAgain is how long an answer holds, and the longest pause after none.
	askAgain = time.Minute
	// askSoon is the first pause after none.
	askSoon = time.Second
	// MaxAddrs is how many addresses of a name, of each family, are taken.
	MaxAddrs = 256
)

// name is a host name of ignoreip. The guard's lock guards it.
type name struct {
	host     string
	four     []netip.Addr // the last known
	six      []netip.Addr
	asked    bool
	answered bool   // there was an answer once, be it that there is no such name
	failed   string // why it doesn't answer
	none     bool   // the last answer was that there is no such name, or no address
	told     bool   // that somebody goes on without it
	users    int
	unused   time.Time
	stop     context.CancelFunc
}

// known: where the resolver fails at once (a network that isn't up yet), it is asked
// again within Patience.
func (n *name) known() bool { return n.answered }

func (n *name) problem(waiting bool) string {
	switch {
	case !n.answered && waiting:
		return fmt.Sprintf("ignoreip %s: waiting for its addresses before lines are judged", n.host)
	case !n.asked:
		return fmt.Sprintf("ignoreip %s: no answer yet", n.host)
	case n.failed == "":
		return ""
	case len(n.four)+len(n.six) > 0:
	case n.none:
		return fmt.Sprintf("ignoreip %s: %s: it has no address, and is looked up again", n.host, n.failed)
	default:
		return fmt.Sprintf("ignoreip %s: %s: no address of it is known, and it is looked up again", n.host, n.failed)
	}
	return fmt.Sprintf("ignoreip %s: %s: %s", n.host, n.failed, n.keeps())
}

func (n *name) late() string {
	if n.answered || n.told {
		return ""
	}
	n.told = true
	return fmt.Sprintf("ignoreip %s: no answer within %v: lines are judged without it until there is one", n.host, Patience)
}

func (n *name) keeps() string {
	var out []string
	for _, a := range n.addrs() {
		if out = append(out, a.String()); len(out) == 5 {
			break
		}
	}
	return "it keeps " + strings.Join(out, " ")
}

func (n *name) addrs() []netip.Addr { return slices.Concat(n.four, n.six) }

// useNames has names asked for, from now on. The caller holds the lock.
func (g *Guard) useNames(names []string) {
	for _, host := range names {
		n := g.names[host]
		if n == nil {
			n = &name{host: host}
			var ctx context.Context
			ctx, n.stop = context.WithCancel(g.ctx)
			g.names[host] = n
			go g.follow(ctx, n)
		}
		n.users++
	}
}

func (g *Guard) dropNames(names []string) {
	for _, host := range names {
		n := g.names[host]
		n.users--
		n.unused = time.Now()
	}
}

// follow asks for a name until ctx ends.
func (g *Guard) follow(ctx context.Context, n *name) {
	soon := askSoon
	for {
		select {
		case g.ask <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := g.resolve(ctx, n)
		<-g.ask
		pause := askAgain
		if err == nil {
			soon = askSoon
		} else {
			pause = soon
			soon = min(2*soon, askAgain)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// resolve asks for both families of a name. Each keeps what it had until it has an
// answer: one family that doesn't answer beside one that does is no news.
func (g *Guard) resolve(ctx context.Context, n *name) error {
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	ask := func(network string) chan answer {
		c := make(chan answer, 1)
		go func() {
			limited, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			addrs, err := g.opts.Lookup(limited, network, n.host)
			c <- answer{addrs, err}
		}()
		return c
	}
	waited := time.NewTimer(lookupTimeout + time.Second) // a resolver may not look at its context
	defer waited.Stop()
	four, six := ask("ip4"), ask("ip6")
	late := errors.New("no answer")
	answers := [2]answer{{err: late}, {err: late}}
	for range 2 {
		select {
		case answers[0] = <-four:
		case answers[1] = <-six:
		case <-waited.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i := range answers {
		a := &answers[i]
		a.addrs = slices.Clone(a.addrs) // a resolver may give the same ones to others
		for k := range a.addrs {
			a.addrs[k] = a.addrs[k].Unmap().WithZone("")
		}
		a.addrs = slices.DeleteFunc(a.addrs, func(x netip.Addr) bool { return !x.IsValid() || x.Is4() != (i == 0) })
		slices.SortFunc(a.addrs, netip.Addr.Compare)
		a.addrs = slices.Compact(a.addrs)
		a.addrs = a.addrs[:min(len(a.addrs), MaxAddrs)]
		if a.err == nil && len(a.addrs) == 0 {
			a.err = &net.DNSError{Err: "no such host", Name: n.host, IsNotFound: true}
		}
	}
	none := func(err error) bool { // it says that there are none, which counts if it has others
		var dns *net.DNSError
		var family *net.AddrError // it has addresses, and none of the family asked for
		return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &family)
	}
	var err error
	for i := range answers {
		a, other := answers[i], answers[1-i]
		if a.err != nil && !(none(a.err) && other.err == nil) {
			err = a.err
			if none(err) && other.err != nil && !none(other.err) {
				err = other.err
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, list := range []*[]netip.Addr{&n.four, &n.six} {
		if a := answers[i]; a.err == nil || none(a.err) && answers[1-i].err == nil {
			*list = a.addrs
		}
	}
	n.asked = true
	n.answered = n.answered || err == nil || none(err)
	n.none = none(err)
	failed := ""
	if err != nil {
		failed = err.Error()
	}
	if failed != n.failed {
		before := n.failed
		n.failed = failed
		switch log := g.opts.Log.With("component", "server"); {
		case failed != "" && before == "":
			log.Warn(n.problem(false))
		case failed == "":
			log.Info(fmt.Sprintf("ignoreip %s: answers again", n.host))
		}
	}
	g.renew()
	return err
}
