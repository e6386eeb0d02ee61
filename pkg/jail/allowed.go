package jail

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
)

// exempt is who may not be banned.
type exempt struct {
	guard   *guard.Guard // its own, where it was given none
	view    *guard.View  // who may not be banned
	proxies *guard.View  // the trusted ones; nil: nobody has named them
	// withheld tells of failures of which nobody can say whose they are.
	withheld withheld
	ready    bool        // what ignoreip needs to know is known, or was waited for
	due      atomic.Bool // it is to look at the view
}

// Who is never banned: this host and what it needs, and what ignoreip says. What of
// that may change, pkg/guard looks after; whoever turns out to be protected while he is
// banned is let in again.

// Protected returns what of a jail's ignoreip and ignoreself a guard is to look after.
func Protected(c *config.Jail) guard.Want {
	i := &c.Ignore
	w := guard.Want{Prefixes: i.Prefixes, Names: i.Names, Files: i.Files, Self: i.Self, Host: i.Self && i.Host, SSH: i.SSH, LetIn: true, Jail: c.Name}
	if p := c.Filter.Proxies; p != nil { // whom a proxy asks for isn't in the kernel's packets
		w.Proxies, w.ProxyFiles = p.Prefixes, p.Files
	}
	return w
}

// protect begins to look after who may not be banned.
func (j *Jail) protect() {
	g := j.deps.Guard
	if g == nil {
		g = guard.New(guard.Options{
			Log: j.deps.Log,
			Host: func() (*guard.Host, error) {
				h := &guard.Host{}
				for _, a := range j.deps.Own() {
					h.Own = append(h.Own, guard.Place{Prefix: netip.PrefixFrom(a, a.BitLen()), What: "own address"})
				}
				return h, nil
			},
			Lookup: func(ctx context.Context, _, name string) ([]netip.Addr, error) { return j.deps.Lookup(ctx, name) },
		})
		j.guard = g
	}
	box := j.inbox
	j.view = g.View(Protected(j.Config), func() {
		if !j.due.Swap(true) {
			box.tell(func(now *Jail) { // or the one that took its place
				j.due.Store(false)
				now.reconsider()
			})
		}
	})
	j.ready = j.view.Ready()
	j.trust(g)
}

// trust has the filter know which addresses are those of proxies.
func (j *Jail) trust(g *guard.Guard) {
	p := j.Config.Filter.Proxies
	if p == nil {
		return
	}
	j.proxies = g.View(guard.Want{Proxies: p.Prefixes, ProxyFiles: p.Files}, nil)
	j.useFilter(j.filter)
}

// useFilter takes over a filter that was compiled.
func (j *Jail) useFilter(f *filter.Filter) {
	if j.filter != f {
		j.filter.Leave()
	}
	j.filter = f
	j.hits.begin(f)
	if j.proxies != nil {
		f.Trusted = func(id netip.Prefix) bool { return j.proxies.Rules().Why(id).Some() }
		if len(j.Config.Filter.Proxies.Files) > 0 {
			f.UnknownProxies = func() string {
				if file := j.proxies.Rules().UnknownProxies(); file != "" {
					return "proxy.trusted file:" + file
				}
				return ""
			}
		}
	}
}

func (j *Jail) unprotect() {
	if j.proxies != nil {
		j.proxies.Close()
	}
	j.view.Close()
	if j.guard != nil {
		j.guard.Close()
	}
}

// IgnoreFiles returns what is wrong with the files of ignoreip and of proxy.trusted. It waits until they were
// read once, and those that could not be are tried again; at most until ctx ends.
func (j *Jail) IgnoreFiles(ctx context.Context) []string {
	c := j.Settings()
	if w := Protected(&c); len(w.Files)+len(w.ProxyFiles) == 0 {
		return nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !j.view.Ready() && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	j.view.LookAgain(ctx)
	return j.view.FileProblems()
}

// ignored returns why an address or a network may not be banned, "" if it may.
func (j *Jail) ignored(id ban.ID) string { return j.why(id).Text }

// reconsider is called when others may not be banned than before: bans of those who may
// not are lifted, but for those that were made with force.
func (j *Jail) reconsider() {
	j.ready = j.view.Ready()
	for b := range j.bans.Each() {
		if b.Forced {
			continue
		}
		why := j.whyBan(b)
		if !why.Some() || j.Config.Fail2ban && why.Source == "ip" {
			continue // fail2ban's addignoreip lifts nobody's ban
		}
		j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s", j.Config.Name, b.Told(), why.Log()))
		j.bans.Remove(b.ID)
		if j.window.Forget(b.ID) {
			j.failuresChanged(b.ID)
		}
		j.lifted(b)
		j.enforced(change{ID: b.ID, IP: b.IP, Remove: true})
		j.notice("Unban %s", b.Told())
		j.unbanEvent(b, whyNever(why.Text), "")
		j.actions.Unban(ban.Name(b.ID))
	}
	for _, e := range j.bans.Beside() {
		if j.why(e).Some() {
			j.enforced(change{ID: e, Remove: true})
		}
	}
	j.push()
}
