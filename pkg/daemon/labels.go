package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/engine"
	"bailiff/pkg/eventlog"
)

// Jails of containers' labels: they come and go with their containers, beside those that are
// configured. They are made of what the last load has read; a half-edited file is not looked at.

// labelJailsMost is how many of them there are.
const labelJailsMost = 64

// labelKept is how long the jail of a container that is gone is kept, and labelLook how often it is
// looked which are over. Variables for tests.
var (
	labelKept = 10 * time.Minute
	labelLook = 30 * time.Second
)

// labels are the jails of containers' labels.
type labels struct {
	d    *Daemon
	bell chan struct{} // rings when the configuration is another one

	mu    sync.Mutex
	seen  []engine.Container   // at the last look; labelled ones that run
	jails map[string]*labelled // by name
	told  map[string]bool
	limit eventlog.Few
}

// labelled is one of those jails.
type labelled struct {
	c    engine.Container
	gone time.Time // since when; zero: it is there
}

func newLabels(d *Daemon) *labels {
	return &labels{d: d, bell: make(chan struct{}, 1), jails: map[string]*labelled{}, told: map[string]bool{}}
}

// ring says that the configuration is another one.
func (l *labels) ring() {
	if l == nil {
		return
	}
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// run follows the containers until ctx ends.
func (l *labels) run(ctx context.Context) {
	var w *engine.Watcher
	socket := ""
	closeIt := func() {
		if w != nil {
			w.Close()
			w = nil
		}
	}
	defer closeIt()
	tick := time.NewTicker(labelLook)
	defer tick.Stop()
	problem := ""
	for {
		want := l.d.cfgNow().Docker
		if w != nil && (!want.Labels.Allowed || want.Socket != socket) {
			closeIt()
		}
		if w == nil && want.Labels.Allowed {
			w, socket = engine.Watch(want.Socket), want.Socket
		}
		var changed <-chan struct{}
		if w != nil {
			changed = w.Changed()
		}
		force := false
		select {
		case <-ctx.Done():
			return
		case <-l.bell:
			force = true
		case <-tick.C:
		case <-changed:
		}
		if w == nil {
			continue
		}
		list, err := w.Containers()
		now := ""
		if err != nil {
			now = err.Error()
		}
		if now != problem {
			if problem = now; now != "" {
				l.warn(fmt.Sprintf("%s: labels are not seen until it answers; their jails go on", now))
			} else {
				l.d.log.With("component", "server").Info("[docker] labels: the engine answers again")
			}
		}
		if err == nil && list != nil {
			l.look(ctx, list, force)
		}
	}
}

func (l *labels) warn(text string) {
	l.d.log.With("component", "server").Warn("[docker] labels: " + text)
}

// tell tells something of a container once, and no more than 30 such things a minute.
func (l *labels) tell(c *engine.Container, text string) {
	text = fmt.Sprintf("container %s: %s", c.Short(), text)
	if l.told[text] {
		return
	}
	if len(l.told) >= 1000 {
		clear(l.told)
	}
	if l.limit.Allow() { // else it is told at a later look
		l.told[text] = true
		l.warn(text)
	}
}

// made is the jail that a container's labels ask for; l.mu is held.
func (l *labels) made(cfg *config.Config, c *engine.Container) *config.Jail {
	j, told := cfg.LabelJail(c)
	for _, text := range told {
		l.tell(c, text)
	}
	if j != nil && j.Broken() == nil {
		if o := l.d.opts.Confined; o != nil {
			if err := o.beyond(readMounts(), j); err != nil {
				j.Errors = append(j.Errors, err)
			}
		}
	}
	return j
}

// wanted are the jails of labels under a configuration that is about to hold, for a reload. Those of
// which it makes none any more are forgotten, where all jails are reloaded.
func (l *labels) wanted(cfg *config.Config, all bool) (out []*config.Jail) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range sortedKeys(l.jails) {
		j := l.made(cfg, &l.jails[name].c)
		if j == nil || j.Name != name {
			if all {
				delete(l.jails, name)
			}
			continue
		}
		out = append(out, j)
	}
	return out
}

// look compares the labelled containers with the jails there are.
func (l *labels) look(ctx context.Context, list []engine.Container, force bool) {
	var now []engine.Container
	for _, c := range list {
		if config.IsLabelled(&c) && isUp(&c) {
			c.Turn = 0
			c.Ports = slices.Clone(c.Ports)
			slices.SortFunc(c.Ports, func(a, b engine.Port) int {
				return strings.Compare(fmt.Sprint(a.Protocol, a.Number), fmt.Sprint(b.Protocol, b.Number))
			})
			now = append(now, c)
		}
	}
	slices.SortFunc(now, func(a, b engine.Container) int { return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID) })
	l.mu.Lock()
	same := !force && reflect.DeepEqual(now, l.seen) && len(l.over(time.Now())) == 0
	l.mu.Unlock()
	if same {
		return
	}
	steps, release, err := l.d.turnFor("a look at containers' labels")
	if err != nil {
		l.ring() // again, once it is our turn
		return
	}
	defer release()
	if ctx.Err() != nil {
		return
	}
	l.compare(steps, now)
}

// isUp reports whether a container runs; others publish nothing.
func isUp(c *engine.Container) bool { return c.State == "running" || c.State == "paused" }

// over are the jails whose containers have been gone for long enough; l.mu is held.
func (l *labels) over(now time.Time) (out []string) {
	for _, name := range sortedKeys(l.jails) {
		if g := l.jails[name].gone; !g.IsZero() && now.Sub(g) >= labelKept {
			out = append(out, name)
		}
	}
	return out
}

// compare starts, changes and ends jails, when it is our turn.
func (l *labels) compare(ctx context.Context, now []engine.Container) {
	d := l.d
	cfg := d.cfgNow()
	running, lists, failed := d.jailsNow(), d.listsNow(), d.failedNow()
	l.mu.Lock()
	there, fresh := map[string]bool{}, map[string]bool{}
	var wanted []*config.Jail
	for i := range now {
		c := &now[i]
		j := l.made(cfg, c)
		if j == nil {
			continue
		}
		name := j.Name
		if there[name] {
			l.tell(c, fmt.Sprintf("jail %s is another container's: it has none", name))
			continue
		}
		if l.jails[name] == nil {
			if running[name] != nil || lists[name] != nil || slices.Contains(failed, name) {
				l.tell(c, fmt.Sprintf("jail %s is there, and not of labels: it has none", name))
				continue
			}
			if len(l.jails) >= labelJailsMost {
				l.tell(c, fmt.Sprintf("there are %d jails of labels, and no more: it has none", labelJailsMost))
				continue
			}
		}
		there[name] = true
		one := l.jails[name]
		fresh[name] = one == nil || !one.gone.IsZero() || !reflect.DeepEqual(one.c, *c)
		l.jails[name] = &labelled{c: *c}
		wanted = append(wanted, j)
	}
	at := time.Now()
	for name, one := range l.jails {
		if !there[name] && one.gone.IsZero() {
			one.gone = at
		}
	}
	over := l.over(at)
	l.seen = now
	l.mu.Unlock()
	log := d.log.With("component", "jail")
	for _, j := range wanted {
		var err error
		switch was := running[j.Name]; {
		case was == nil && !fresh[j.Name]:
			continue // it could not start, which is told, or somebody has stopped it
		case was == nil:
			err = d.startJail(ctx, j)
			if err == nil {
				log.Info(fmt.Sprintf("[%s] is that of container %s, by its labels", j.Name, j.Labelled))
			}
		case unchanged(was.Configured, j):
			continue
		case j.Broken() != nil:
			log.Error(fmt.Sprintf("[%s] %v; it goes on with its old settings", j.Name, j.Broken()))
			continue
		default:
			err = d.replace(ctx, j.Name, j, false)
		}
		if err != nil && d.works.of(j.Name) != nil {
			log.Error(fmt.Sprintf("[%s] %v", j.Name, err))
		}
	}
	for _, name := range over {
		l.end(ctx, name, running[name] != nil)
	}
}

// end ends a jail whose container is gone, unless somebody is banned by it.
func (l *labels) end(ctx context.Context, name string, runs bool) {
	d := l.d
	if runs {
		j := d.jailsNow()[name]
		if j == nil {
			runs = false
		} else if s := j.Status(false); s.Busy != "" || s.Banned > 0 {
			return // its bans stay in force
		}
	}
	if err := d.step(ctx, name, "stopped", func() {
		if runs {
			d.end(name)
		} else {
			d.drop(name)
		}
	}); err != nil {
		d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %v", name, err))
		return
	}
	l.mu.Lock()
	delete(l.jails, name)
	l.mu.Unlock()
}
