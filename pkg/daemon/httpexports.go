package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/remote"
)

// Lists elsewhere that are made equal to who is banned: each by a goroutine of its own, for
// which nobody waits.

// httpExports are those at work, by name.
type httpExports struct {
	mu sync.Mutex
	of map[string]*httpExport
}

type httpExport struct {
	of   config.HTTPExport
	list *remote.List // nil: it is a webhook
	hook *remote.Hook
	due  chan struct{}
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
}

// changed brings them in line with a configuration, and tells them that who is banned may
// have changed.
func (h *httpExports) changed(ctx context.Context, d *Daemon, wg *sync.WaitGroup) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string]*httpExport{}
	}
	wanted := map[string]bool{}
	for _, x := range d.cfgNow().HTTPExports {
		wanted[x.Name] = true
		e := h.of[x.Name]
		last := e
		if e != nil && !reflect.DeepEqual(e.of, x) {
			e.stop()
			e = nil
		}
		if e == nil {
			e = &httpExport{of: x, due: make(chan struct{}, 1), done: make(chan struct{})}
			if x.Provider == config.ExportHook {
				e.hook = d.webhook(x)
			} else {
				e.list = d.listElsewhere(x)
			}
			var own context.Context
			own, e.stop = context.WithCancel(ctx)
			h.of[x.Name] = e
			before := last
			wg.Go(func() {
				defer close(e.done)
				if before != nil && before.hook != nil && e.hook != nil { // two would not know of each other's number
					<-before.done
				}
				e.run(own, d)
			})
		}
		select {
		case e.due <- struct{}{}:
		default:
		}
	}
	for name, e := range h.of {
		if !wanted[name] {
			e.stop()
			delete(h.of, name)
		}
	}
}

func (d *Daemon) listElsewhere(x config.HTTPExport) *remote.List {
	p := remote.ProviderOf(x.Provider)
	log := d.log.With("component", "actions")
	return &remote.List{
		Provider: p, Account: x.Account, ID: x.List, Comment: x.Comment, Most: x.Most,
		Client: &remote.Client{URL: x.URL, Token: x.Token.Read, Header: p.Header, Scheme: p.Scheme, CA: x.CA},
		Tell: func(level slog.Level, text string) {
			log.Log(context.Background(), level, fmt.Sprintf("export %s: %s", x.Name, text))
		},
	}
}

// run keeps the list until ctx ends. In a dry run it tells how many would be on it.
func (e *httpExport) run(ctx context.Context, d *Daemon) {
	if e.hook != nil {
		if d.opts.DryRun {
			d.wouldDo("send events to the webhook of export %s", e.of.Name)
			return
		}
		e.hook.Run(ctx)
		return
	}
	if d.opts.DryRun {
		for told := -1; ; {
			select {
			case <-ctx.Done():
				return
			case <-e.due:
			}
			if banned, err := d.shutOut(e.of.Jails); err == nil && len(banned) != told {
				told = len(banned)
				d.wouldDo("make the list of export %s at %s equal: %d addresses and networks", e.of.Name, e.of.Provider, told)
			}
			if remote.Sleep(ctx, exportPause) != nil {
				return
			}
		}
	}
	protected := d.protectedAll()
	view := d.guard.View(protected, func() {})
	defer func() { view.Close() }()
	e.list.Wanted = func() (remote.Want, error) {
		if now := d.protectedAll(); !reflect.DeepEqual(now, protected) { // after a reload
			view.Close()
			protected, view = now, d.guard.View(now, func() {})
		}
		if !view.Ready() { // files and names of ignoreip
			return remote.Want{}, remote.ErrNotNow
		}
		return d.wantedElsewhere(e.of.Jails, view)
	}
	e.list.Run(ctx, e.due)
}

// protectedAll is whom no jail may ban.
func (d *Daemon) protectedAll() guard.Want {
	var all guard.Want
	jails := slices.Clone(d.cfgNow().Jails)
	for _, j := range d.jailsNow() {
		if j.Configured.Labelled != "" {
			jails = append(jails, j.Configured)
		}
	}
	for _, j := range jails {
		w := jail.Protected(j)
		all.Prefixes = append(all.Prefixes, w.Prefixes...)
		all.Names = append(all.Names, w.Names...)
		all.Files = append(all.Files, w.Files...)
		all.Proxies = append(all.Proxies, w.Proxies...)
		all.ProxyFiles = append(all.ProxyFiles, w.ProxyFiles...)
	}
	for _, list := range []*[]string{&all.Names, &all.Files, &all.ProxyFiles} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.SortFunc(all.Prefixes, netip.Prefix.Compare)
	all.Prefixes = slices.Compact(all.Prefixes)
	slices.SortFunc(all.Proxies, netip.Prefix.Compare)
	all.Proxies = slices.Compact(all.Proxies)
	all.Self, all.Host, all.List, all.LetIn = true, true, true, true
	return all
}

// wantedElsewhere is who is to be on a list elsewhere.
func (d *Daemon) wantedElsewhere(jails []string, view *guard.View) (remote.Want, error) {
	want := remote.Want{Partial: d.notAll(jails)} // before the bans are looked at
	banned, err := d.shutOut(jails)
	if err != nil {
		return want, remote.ErrNotNow // some jail is busy
	}
	want.Prefixes = make([]netip.Prefix, 0, len(banned))
	for _, who := range banned {
		if p, err := iplist.Parse(who); err == nil {
			want.Prefixes = append(want.Prefixes, p)
		}
	}
	rules := view.Rules()
	want.Protected = func(p netip.Prefix) bool {
		set := iplist.Of([]netip.Prefix{p})
		left, _ := rules.Cut(set)
		return !left.Equal(set)
	}
	return want, nil
}

// notAll says why it isn't known of all jails whom they ban; empty: it is.
func (d *Daemon) notAll(jails []string) string {
	running := d.jailsNow()
	lists := d.listsNow()
	for _, j := range d.cfgNow().Jails {
		if !config.Named(jails, j.Name, false) {
			continue
		}
		switch l := lists[j.Name]; {
		case l != nil:
			l.mu.Lock()
			loaded := l.set != nil
			l.mu.Unlock()
			if !loaded {
				return "nothing is taken off the list until jail " + j.Name + " is read"
			}
		case running[j.Name] == nil:
			return "nothing is taken off the list while jail " + j.Name + " does not run"
		}
	}
	return ""
}

// exportStates tells how lists elsewhere stand.
func (d *Daemon) exportStates() (out []control.ExportStatus) {
	h := &d.elsewhere
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, e := range h.of {
		out = append(out, control.ExportStatus{Name: name, Provider: e.of.Provider, State: e.state()})
	}
	slices.SortFunc(out, func(a, b control.ExportStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (e *httpExport) state() remote.State {
	if e.hook != nil {
		return e.hook.State()
	}
	return e.list.State()
}

// webhook is an export of events. Where it was is kept beside the database, as the events are.
func (d *Daemon) webhook(x config.HTTPExport) *remote.Hook {
	log := d.log.With("component", "actions")
	host, _ := os.Hostname()
	h := &remote.Hook{
		Client: &remote.Client{URL: x.URL, Token: x.Token.Read, CA: x.CA}, Table: d.events, Host: host, Kinds: x.Events,
		Tell: func(level slog.Level, text string) {
			log.Log(context.Background(), level, fmt.Sprintf("export %s: %s", x.Name, text))
		},
	}
	if len(x.Jails) > 0 {
		h.Wants = func(jail string) bool {
			return jail != "" && config.Named(x.Jails, jail, strings.HasPrefix(jail, "docker-"))
		}
	}
	if d.store != nil && d.cfgNow().Database.Events != 0 {
		h.Path = filepath.Join(filepath.Dir(d.store.Path()), "webhook-"+x.Name)
	}
	return h
}

// checkService tells what of a server elsewhere can't be used as it is here.
func checkService(token remote.Token, ca string) error {
	if token != (remote.Token{}) && token.Credential == "" { // who checks is not the service
		if _, err := token.Read(); err != nil {
			return fmt.Errorf("token: %w", err)
		}
	}
	_, err := remote.Transport(ca)
	return err
}
