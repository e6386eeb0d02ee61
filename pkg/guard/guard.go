// Package guard says who may not be banned or shut out by a list, and why: the host
// itself (its own addresses, loopback, link-local addresses, its gateways and name
// servers, the peers of SSH sessions) and what ignoreip holds: addresses and networks,
// host names, files.
//
// One Guard looks, for all jails, at what may change: the kernel's addresses and routes
// and the configuration of the resolver once a second, files of ignoreip as often, names
// once a minute. Whoever wants to know has a View, whose Rules are there at once and
// never wait for anything; a View is told when they changed.
//
// What is known is kept until something better is: a name that doesn't answer, or
// answers that it has no address, has those that it had; a file that can't be read holds
// what it held. So one lost packet doesn't get the administrator banned.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Patience is how long lines wait for the first answers of names and files.
	Patience = 5 * time.Second
	// lookEvery is how often the host and files are looked at.
	lookEvery = time.Second
	// remembered is how long what nobody wants any more is kept: a jail that is started
	// again finds what it knew.
	remembered = 10 * time.Minute
)

// Options of New.
type Options struct {
	Log *slog.Logger // nil: nobody is told
	// Host looks at the host; nil: Look.
	Host func() (*Host, error)
	// Lookup resolves a host name; network is ip4 or ip6. nil: the system's resolver.
	Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)
	// Sessions returns the peers of SSH sessions; nil: nobody knows.
	Sessions func() []netip.Addr
}

// Guard looks at what may change. It is safe for concurrent use.
type Guard struct {
	opts Options
	ctx  context.Context
	stop context.CancelFunc
	ask  chan struct{} // who asks for a name has a place in it

	mu    sync.Mutex // guards what follows; never held while anything is waited for
	host  *Host
	peers []netip.Addr
	letIn []LetIn
	never []Never
	names map[string]*name
	files map[string]*file
	views map[*View]bool
	told  map[string]string // what was said last of each thing
}

// New makes a guard, and looks at the host once.
func New(o Options) *Guard {
	if o.Host == nil {
		o.Host = Look
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupNetIP
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{
		opts: o, ask: make(chan struct{}, asking), host: &Host{},
		names: map[string]*name{}, files: map[string]*file{}, views: map[*View]bool{}, told: map[string]string{},
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.look()
	go g.watch()
	return g
}

// Close ends what is done beside; Rules stay as they are.
func (g *Guard) Close() { g.stop() }

// watch looks at the host until the guard is closed. A look that takes long (a router
// with all routes of the Internet) is taken less often, a hundredth of the time at most.
func (g *Guard) watch() {
	for {
		began := time.Now()
		g.look()
		pause := max(lookEvery, 100*time.Since(began))
		select {
		case <-g.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (g *Guard) look() {
	host, err := g.opts.Host()
	g.say("host", "own addresses, gateways and name servers", err)
	var peers []netip.Addr
	if g.opts.Sessions != nil && g.anybodyWantsPeers() {
		peers = g.opts.Sessions()
		slices.SortFunc(peers, netip.Addr.Compare)
		peers = slices.Compact(peers)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if host != nil {
		if err != nil {
			host.keep(g.host) // what couldn't be looked at
		}
		g.host = host
	}
	g.peers = peers
	g.letInUntil(time.Now())
	g.forget(time.Now())
	g.renew()
}

func (g *Guard) anybodyWantsPeers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for v := range g.views {
		if v.want.SSH {
			return true
		}
	}
	return false
}

// say tells of an error, once until it is another one.
func (g *Guard) say(what, text string, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	g.mu.Lock()
	before := g.told[what]
	g.told[what] = now
	if now == "" {
		delete(g.told, what)
	}
	g.mu.Unlock()
	switch log := g.opts.Log.With("component", "server"); {
	case now == before:
	case now != "":
		log.Error(fmt.Sprintf("%s: %s", text, now))
	default:
		log.Info(text + ": in order again")
	}
}

// forget drops what nobody has wanted for long.
func (g *Guard) forget(now time.Time) {
	for key, f := range g.files {
		if f.users == 0 && now.Sub(f.unused) > remembered {
			f.stop()
			g.dropNames(f.names)
			delete(g.files, key)
		}
	}
	for key, n := range g.names {
		if n.users == 0 && now.Sub(n.unused) > remembered {
			n.stop()
			delete(g.names, key)
		}
	}
}

// Want is what a View is of.
type Want struct {
	Prefixes []netip.Prefix // of ignoreip
	Names    []string       // of ignoreip
	Files    []string       // of ignoreip
	// Proxies and ProxyFiles are those of proxy.trusted.
	Proxies    []netip.Prefix
	ProxyFiles []string
	// Self: the host's own addresses, and loopback.
	Self bool
	// Host: link-local addresses, gateways, name servers.
	Host bool
	// SSH: the peers of SSH sessions.
	SSH bool
	// LetIn: who is let in for a while, and who is never banned by SetNever's word: in all jails, and in Jail.
	LetIn bool
	Jail  string
	// List: it is asked about a list; loopback is called so.
	List bool
}

// files are all that are wanted, each once.
func (w *Want) files() []string {
	out := w.Files
	for _, path := range w.ProxyFiles {
		if !slices.Contains(out, path) {
			out = append(slices.Clip(out), path)
		}
	}
	return out
}

// View is what one jail, or one list, may not ban.
type View struct {
	g       *Guard
	changed func()

	want   Want
	ready  bool // names were asked and files read once, or Patience is over
	closed bool
	timer  *time.Timer
	rules  atomic.Pointer[Rules]
}

// View makes a view. changed, if not nil, is called when its Rules are other ones, or it
// is Ready; it must not wait, nor call the view.
func (g *Guard) View(w Want, changed func()) *View {
	if changed == nil {
		changed = func() {}
	}
	v := &View{g: g, changed: changed}
	v.Set(w)
	return v
}

// Set changes what the view is of. Rules are those of the new one when it returns, with
// what is known of names and files by then.
func (v *View) Set(w Want) {
	g := v.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.closed {
		return
	}
	before := v.want
	v.want = w
	g.views[v] = true
	g.useNames(w.Names)
	g.useFiles(w.Files, 0)
	g.useFiles(w.ProxyFiles, 1)
	g.dropNames(before.Names) // only now: what both want goes on
	g.dropFiles(before.Files, 0)
	g.dropFiles(before.ProxyFiles, 1)
	v.ready = false
	if v.timer != nil {
		v.timer.Stop()
	}
	v.timer = time.AfterFunc(Patience, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !v.closed && !v.ready {
			v.ready = true
			for _, x := range v.wanted() {
				if text := x.late(); text != "" {
					g.opts.Log.With("component", "server").Warn(text)
				}
			}
			v.changed()
		}
	})
	v.renew()
}

// Close ends the view; its Rules stay as they are.
func (v *View) Close() {
	v.g.mu.Lock()
	defer v.g.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	v.timer.Stop()
	v.g.dropNames(v.want.Names)
	v.g.dropFiles(v.want.Files, 0)
	v.g.dropFiles(v.want.ProxyFiles, 1)
	v.want = Want{}
	delete(v.g.views, v)
}

// Rules are who may not be banned, as far as it is known now.
func (v *View) Rules() *Rules { return v.rules.Load() }

// Ready reports whether names were asked and files were read once, or it took longer
// than Patience.
func (v *View) Ready() bool {
	v.g.mu.Lock()
	defer v.g.mu.Unlock()
	return v.ready
}

// Problems are what is waited for, or wrong, in words for a person.
func (v *View) Problems() (out []string) {
	v.g.mu.Lock()
	defer v.g.mu.Unlock()
	for _, x := range v.wanted() {
		if text := x.problem(!v.ready); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// FileProblems are those of Problems that are of files.
func (v *View) FileProblems() (out []string) {
	v.g.mu.Lock()
	defer v.g.mu.Unlock()
	for _, path := range v.want.files() {
		f := v.g.files[path]
		if text := f.problem(false); text != "" {
			out = append(out, text)
		} else if !f.read {
			out = append(out, fmt.Sprintf("%s file:%s: not read after %v", f.whose(), path, Patience))
		}
	}
	return out
}

// thing is what may not be known yet.
type thing interface {
	// known reports whether it was asked, or read, once.
	known() bool
	// problem is what is wrong with it, "" if nothing is; waiting says that somebody
	// waits for it.
	problem(waiting bool) string
	// late says that it is not known, once for all who wait for it; else it is "".
	late() string
}

// wanted are the names and files that the view's rules come from.
func (v *View) wanted() (out []thing) {
	names := v.want.Names
	for _, path := range v.want.files() {
		f := v.g.files[path]
		out = append(out, f)
		names = slices.Concat(names, f.names)
	}
	for _, n := range names {
		out = append(out, v.g.names[n])
	}
	return out
}

// renew brings all views in line with what is known. The caller holds the lock.
func (g *Guard) renew() {
	for v := range g.views {
		v.renew()
	}
}

func (v *View) renew() {
	rules := v.g.rules(&v.want)
	ready := v.ready
	if !ready {
		ready = !slices.ContainsFunc(v.wanted(), func(x thing) bool { return !x.known() })
	}
	if old := v.rules.Load(); old != nil && old.same(rules) && ready == v.ready {
		return
	}
	if v.ready = ready; ready {
		v.timer.Stop()
	}
	v.rules.Store(rules)
	v.changed()
}
