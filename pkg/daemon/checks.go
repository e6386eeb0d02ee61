package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/check"
	"bailiff/pkg/config"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/opener"
)

// What proxies ask ([check]). Where it isn't configured, no jail tells anybody of its bans.

// checks has the sockets at which proxies ask, and has the jails tell who is shut out. A nil
// one is asked by nobody.
type checks struct {
	d     *Daemon
	mu    sync.Mutex
	index *check.Index // nil: nobody asks
	opts  check.Options
	group string
	by    map[string]*check.Server // by where it listens
	view  *guard.View              // the trusted proxies; nil: there are none
	// loading is how many jails have not told of all that they shut out; started, that no
	// more come which are to be waited for.
	loading int
	started bool
	ended   bool
	mirrors atomic.Pointer[[]*mirror] // which are kept equal to the index
	missing map[string]error          // where nobody could listen, and why; it is tried again
	where   string                    // FILE:LINE: of listen
	pause   time.Duration             // before the next try
	retry   *time.Timer

	telling sync.Mutex
	told    map[string]time.Time // when mistakes of requests were last told
}

func newChecks(d *Daemon) *checks {
	c := &checks{d: d, by: map[string]*check.Server{}, told: map[string]time.Time{}}
	c.mirrors.Store(&[]*mirror{})
	return c
}

// checkMost is how many connections there may be to one of the sockets: an eighth of the
// descriptors, 16 to 1,024.
func checkMost() int { return min(max(descriptors()/8, 16), 1024) }

// descriptors is how many this process may have open.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<20))
}

// configure brings sockets and what is answered there in line with a configuration. The
// errors say which could not be made.
func (c *checks) configure(cfg *config.Config) (wrong []error) {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	want := cfg.Check
	if c.d.opts.DryRun {
		if len(want.Listen) > 0 {
			c.d.wouldDo("answer proxies at %s", strings.Join(want.Listen, ", "))
		}
		return nil
	}
	c.mirror(cfg)
	c.trust(cfg)
	c.opts.Jails, c.opts.Closed = want.Jails, want.Closed
	for at, s := range c.by {
		if !slices.Contains(want.Listen, at) || filepath.IsAbs(at) && want.Group != c.group {
			_ = s.Close()
			delete(c.by, at)
			continue
		}
		s.Set(c.opts)
	}
	opener.Retain(append(checkPlaces(cfg), webPlaces(cfg)...))
	c.group, c.where = want.Group, want.Where
	c.missing = map[string]error{}
	if len(want.Listen) == 0 && len(*c.mirrors.Load()) == 0 {
		if c.index != nil {
			c.index = nil
			for _, j := range c.d.jailsNow() {
				j.Watch(nil, func() {})
			}
		}
		return nil
	}
	if c.index == nil {
		c.index = &check.Index{}
		for name, l := range c.d.listsNow() {
			l.mu.Lock()
			set := l.set
			l.mu.Unlock()
			c.index.Put(name, check.List{Set: set})
		}
		for _, j := range c.d.jailsNow() {
			c.followNow(j)
		}
		c.complete()
	}
	for _, m := range *c.mirrors.Load() {
		m.start(c.index)
	}
	for _, at := range want.Listen {
		if c.by[at] != nil {
			continue
		}
		l, err := listenFor(at, c.group)
		if err != nil {
			c.missing[at] = err
			wrong = append(wrong, c.cantListen(at))
			continue
		}
		c.answer(at, l)
	}
	c.pause = checkAgain
	c.tryLater()
	return wrong
}

// answer answers who asks there. By c.mu.
func (c *checks) answer(at string, l net.Listener) {
	c.by[at] = check.Serve(l, c.index, c.opts, checkMost(), c.warn)
}

// cantListen says where nobody can ask. By c.mu.
func (c *checks) cantListen(at string) error {
	return fmt.Errorf("%s[check] listen %s: %w: proxies can't ask there; it is tried again", c.where, at, c.missing[at])
}

// trust follows which proxies are trusted.
func (c *checks) trust(cfg *config.Config) {
	p := cfg.Proxies
	if p == nil || len(cfg.Check.Listen) == 0 {
		if c.view != nil {
			c.view.Close()
			c.view = nil
		}
		c.opts.Trusted = nil
		return
	}
	want := guard.Want{Proxies: p.Prefixes, ProxyFiles: p.Files}
	if c.view == nil {
		c.view = c.d.guard.View(want, nil)
	} else {
		c.view.Set(want)
	}
	view := c.view
	c.opts.Trusted = func(a netip.Addr) bool { return view.Rules().Why(netip.PrefixFrom(a, a.BitLen())).Some() }
}

// follow has a jail tell who is shut out in it, if anybody asks. Until it has told of all
// of them, what the jail before it told holds.
func (c *checks) follow(j *jail.Jail) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.followNow(j)
}

func (c *checks) followNow(j *jail.Jail) {
	index := c.index
	if index == nil {
		return
	}
	set := check.NewSet()
	set.Changed = c.changed
	if j.Configured.Observe { // it shuts nobody out
		index.Put(j.Configured.Name, set)
		c.whole()
		return
	}
	c.loading++
	done := j.Watch(set, func() {
		group := ""
		if j.Configured.Labelled != "" {
			group = config.LabelJails
		}
		index.PutIn(group, j.Configured.Name, set)
		c.whole()
	})
	go func() { // it is over at the latest when the jail has ended
		<-done
		c.mu.Lock()
		defer c.mu.Unlock()
		c.loading--
		c.complete()
	}()
}

// forget says that a jail or a list is gone.
func (c *checks) forget(name string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index != nil {
		c.index.Put(name, nil)
		c.whole()
	}
}

// holder says who knows who is shut out by the fleet.
func (c *checks) holder(name string, of check.Holder) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index != nil {
		c.index.Put(name, of)
		c.whole()
	}
}

// wholeNow says that who is shut out may be others.
func (c *checks) wholeNow() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole()
}

// list says who is on a list.
func (c *checks) list(name string, set *iplist.Set) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index != nil {
		c.index.Put(name, check.List{Set: set})
		c.whole()
	}
}

// begun says that the jails of the start are there.
func (c *checks) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = true
	c.complete()
}

func (c *checks) complete() {
	if c.started && c.loading == 0 && c.index != nil {
		c.index.Complete()
		c.whole()
	}
}

// warn tells of a request that names nobody, each kind once a minute.
func (c *checks) warn(what, text string) {
	c.telling.Lock()
	now := time.Now()
	again := now.Sub(c.told[what]) < time.Minute
	if !again {
		c.told[what] = now
	}
	c.telling.Unlock()
	if !again {
		c.d.log.With("component", "server").Warn("[check] " + text + ": nothing can be said of whom a proxy asks about; [check] fail says what the answer is then, docs/proxies.md what to configure there")
	}
}

// close ends it, with its last answers.
func (c *checks) close() {
	c.mu.Lock()
	c.ended = true
	servers, mirrors := c.by, *c.mirrors.Load()
	c.by, c.missing = map[string]*check.Server{}, nil
	c.tryLater()
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { _ = s.Close() })
	}
	for _, m := range mirrors {
		wg.Go(m.end)
	}
	wg.Wait()
}
