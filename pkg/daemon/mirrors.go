package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/check"
	"bailiff/pkg/config"
	"bailiff/pkg/haproxy"
	"bailiff/pkg/iplist"
	"bailiff/pkg/safefile"
)

// Maps of a running HAProxy, which are told of each ban and unban at once ([export.NAME]
// socket). The jails tell of changes; what a change comes to is looked up when it is
// passed on, so nothing is lost by those that came together. A map that may be another one, since HAProxy was
// started anew or couldn't be reached, is read and made equal.

const (
	// mirrorEvery is how often it is looked whether HAProxy is still the same process.
	mirrorEvery = time.Second
	// mirrorWhole is how often a map is compared as a whole, whoever else changes it.
	mirrorWhole = time.Hour
	// What is between two tries to reach a HAProxy, at first and at last.
	mirrorRetry, mirrorRetryMost = 100 * time.Millisecond, 5 * time.Second
	// mirrorWaits is how many changes wait for a HAProxy; with more, the map is compared as a whole.
	mirrorWaits = 100_000
	// mirrorOthers is how many entries of others are known, so as not to put a second one beside them.
	mirrorOthers = 100_000
)

// mirror is one map.
type mirror struct {
	d     *Daemon
	of    config.BanFile
	at    haproxy.Map
	index *check.Index
	due   chan struct{}
	stop  context.CancelFunc
	ended chan struct{} // nil: it isn't at work

	mu      sync.Mutex
	changes map[netip.Prefix]struct{}
	all     bool // it is to be compared as a whole

	// Its goroutine's alone.
	have    *check.Set // entries of ours
	lists   *check.Set // what lists shut out
	others  map[string]struct{}
	process string
	whole   time.Time // when it was last compared
}

// mirror brings the maps that are kept in line with a configuration. By c.mu.
func (c *checks) mirror(cfg *config.Config) {
	had := *c.mirrors.Load()
	next := []*mirror{}
	kept := map[*mirror]bool{}
	for _, x := range cfg.Exports {
		if x.Socket == "" {
			continue
		}
		var m *mirror
		for _, o := range had {
			if same := o.of; same.Name == x.Name {
				same.At = x.At
				if reflect.DeepEqual(same, x) {
					m = o
				}
			}
		}
		if m == nil {
			m = &mirror{
				d: c.d, of: x, at: haproxy.Map{Socket: x.Socket, File: x.File}, due: make(chan struct{}, 1),
				changes: map[netip.Prefix]struct{}{}, all: true,
			}
		}
		kept[m] = true
		next = append(next, m)
	}
	for _, o := range had {
		if !kept[o] {
			o.end()
		}
	}
	c.mirrors.Store(&next)
}

// changed is told of an address or a network that came or went in a jail, by its goroutine.
func (c *checks) changed(p netip.Prefix) {
	for _, m := range *c.mirrors.Load() {
		m.mu.Lock()
		if !m.all {
			if m.changes[p] = struct{}{}; len(m.changes) > mirrorWaits {
				m.all, m.changes = true, map[netip.Prefix]struct{}{}
			}
		}
		m.mu.Unlock()
		m.ring()
	}
}

// whole has maps compared as a whole: a jail came or went.
func (c *checks) whole() {
	for _, m := range *c.mirrors.Load() {
		m.mu.Lock()
		m.all = true
		m.mu.Unlock()
		m.ring()
	}
}

func (m *mirror) ring() {
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// start has it begin, if it is not at work.
func (m *mirror) start(index *check.Index) {
	if m.ended != nil {
		return
	}
	m.index = index
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	ended := make(chan struct{})
	m.ended = ended
	go func() {
		defer close(ended)
		m.run(ctx)
	}()
}

// end has it end; what is in the map stays there.
func (m *mirror) end() {
	if m.ended == nil {
		return
	}
	m.stop()
	ended := m.ended
	safefile.Within(stopOthers, func() { <-ended })
}

func (m *mirror) run(ctx context.Context) {
	log := m.d.log.With("component", "actions")
	told, pause := "", mirrorRetry
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.due:
		case <-tick.C:
		}
		if !m.index.IsComplete() { // what isn't known yet would be taken out
			tick.Reset(mirrorEvery)
			continue
		}
		err := m.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if told != "" {
				log.Warn(fmt.Sprintf("export %s: %s: it gets bans again, and has them all", m.of.Name, m.of.Socket))
			}
			told, pause = "", mirrorRetry
			tick.Reset(mirrorEvery)
			continue
		}
		m.process = "" // whatever it is by then, it is compared
		if text := err.Error(); text != told {
			log.Error(fmt.Sprintf("export %s: %s: %s: it is tried again, and gets all bans then", m.of.Name, m.of.Socket, text))
			told = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, mirrorRetryMost)
		tick.Reset(0)
	}
}

// pass hands over what has changed.
func (m *mirror) pass(ctx context.Context) error {
	id, err := m.at.Process(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	all := m.all || id != m.process || time.Since(m.whole) > mirrorWhole
	changes := m.changes
	m.all, m.changes = false, map[netip.Prefix]struct{}{}
	m.mu.Unlock()
	if all {
		if err := m.equal(ctx); err != nil {
			return err
		}
		m.process, m.whole = id, time.Now()
		return nil
	}
	var add, remove []string
	for p := range changes {
		key := haproxy.Key(p)
		switch want, have := m.wants(p), m.have.Has(p); {
		case want && !have && !m.isOthers(key):
			add = append(add, key)
			m.have.Shut(ban.Of(p))
		case !want && have:
			remove = append(remove, key)
			m.have.Let(ban.Of(p))
		}
	}
	return m.at.Change(ctx, add, remove) // after an error the whole is compared
}

// wants reports whether an address or a network is to be in the map.
func (m *mirror) wants(p netip.Prefix) bool {
	for h := range m.index.Each(m.of.Jails) {
		if s, ok := h.(*check.Set); ok && s.Has(p) {
			return true
		}
	}
	return m.lists.Has(p)
}

func (m *mirror) isOthers(key string) bool {
	_, ok := m.others[key]
	return ok
}

// equal reads the map and makes it what it is to be.
func (m *mirror) equal(ctx context.Context) error {
	m.lists = check.NewSet()
	for h := range m.index.Each(m.of.Jails) {
		if l, ok := h.(check.List); ok {
			for r := range l.Set.All() {
				for p := range iplist.Prefixes(r) {
					m.lists.Shut(ban.Of(p))
				}
			}
		}
	}
	m.have, m.others = check.NewSet(), map[string]struct{}{}
	var add, remove []string
	if err := m.at.List(ctx, func(e haproxy.Entry) {
		if e.Value != haproxy.Value {
			if len(m.others) < mirrorOthers {
				m.others[e.Key] = struct{}{}
			}
			return
		}
		p, err := iplist.Parse(e.Key)
		if err != nil || haproxy.Key(p) != e.Key || !m.wants(p) || m.have.Has(p) {
			remove = append(remove, "#"+e.Ref)
			return
		}
		m.have.Shut(ban.Of(p))
	}); err != nil {
		return err
	}
	adds := func(p netip.Prefix) {
		if key := haproxy.Key(p); !m.have.Has(p) && !m.isOthers(key) {
			add = append(add, key)
			m.have.Shut(ban.Of(p))
		}
	}
	for h := range m.index.Each(m.of.Jails) {
		if s, ok := h.(*check.Set); ok {
			for p := range s.All() {
				adds(p)
			}
		}
	}
	for p := range m.lists.All() {
		adds(p)
	}
	return m.at.Change(ctx, add, remove)
}
