package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/guard"
	"bailiff/pkg/report"
)

// Services elsewhere that are told of bans: each by a goroutine of its own, with a queue that
// has a bound, for which nobody waits.

// reports are those at work.
type reports struct {
	// wanted says of jails whether they are reported, and with lines. Jails ask it.
	wanted atomic.Pointer[map[string]bool]

	mu sync.Mutex
	of map[string]*reporting
	// early are offences that came before there was anybody to report them.
	early []report.Offence
	begun bool
}

type reporting struct {
	of   config.Report
	r    *report.Reporter
	stop context.CancelFunc
	done chan struct{}
}

// want says whose bans are reported from now on.
func (p *reports) want(cfg *config.Config) {
	wanted := map[string]bool{}
	for _, x := range cfg.Reports {
		for _, j := range x.Jails {
			wanted[j] = wanted[j] || x.Lines
		}
	}
	p.wanted.Store(&wanted)
}

// asks says whether a jail's bans are reported, and with lines.
func (p *reports) asks(jail string) (wanted, lines bool) {
	if of := p.wanted.Load(); of != nil {
		lines, wanted = (*of)[jail]
	}
	return wanted, lines
}

// add hands an offence to who reports it.
func (p *reports) add(o report.Offence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun {
		if len(p.early) < report.QueueMost {
			p.early = append(p.early, o)
		}
		return
	}
	p.hand(o)
}

func (p *reports) hand(o report.Offence) {
	for _, one := range p.of {
		if slices.Contains(one.of.Jails, o.Jail) {
			o := o
			if !one.of.Lines {
				o.Lines = nil
			}
			one.r.Add(o)
		}
	}
}

// changed brings them in line with a configuration.
func (p *reports) changed(ctx context.Context, d *Daemon, wg *sync.WaitGroup) {
	cfg := d.cfgNow()
	p.want(cfg)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[string]*reporting{}
	}
	wanted := map[string]bool{}
	for _, x := range cfg.Reports {
		wanted[x.Name] = true
		one := p.of[x.Name]
		if one != nil && reflect.DeepEqual(one.of, x) {
			continue
		}
		before := one
		one = &reporting{of: x, r: report.New(x.Options, filepath.Join(filepath.Dir(cfg.Database.Path), "report-"+x.Name)), done: make(chan struct{})}
		log := d.log.With("component", "actions")
		one.r.Tell = func(level slog.Level, text string) {
			log.Log(context.Background(), level, fmt.Sprintf("report %s: %s", x.Name, text))
		}
		var own context.Context
		own, one.stop = context.WithCancel(ctx)
		if before != nil {
			before.stop()
		}
		p.of[x.Name] = one
		wg.Go(func() {
			defer close(one.done)
			if before != nil { // two would not know of each other's reports
				<-before.done
				one.r.Inherit(before.r)
			}
			one.run(own, d)
		})
	}
	for name, one := range p.of {
		if !wanted[name] {
			one.stop()
			delete(p.of, name)
		}
	}
	if !p.begun {
		p.begun = true
		for _, o := range p.early {
			p.hand(o)
		}
		p.early = nil
	}
}

// run reports until ctx ends. In a dry run it tells what it would report.
func (one *reporting) run(ctx context.Context, d *Daemon) {
	if d.opts.DryRun {
		for {
			select {
			case <-ctx.Done():
				return
			case o := <-one.r.Queue():
				d.wouldDo("report %s, of jail %s, by report %s (%s)", o.Addr, o.Jail, one.of.Name, one.of.Kind)
			}
		}
	}
	protected := d.protectedAll()
	var view *guard.View
	defer func() {
		if view != nil {
			view.Close()
		}
	}()
	one.r.Protected = func(a netip.Addr) (yes, known bool) {
		if now := d.protectedAll(); view == nil || !reflect.DeepEqual(now, protected) { // after a reload
			if view != nil {
				view.Close()
			}
			protected, view = now, d.guard.View(now, func() {})
		}
		if view.Rules().Why(netip.PrefixFrom(a, a.BitLen())).Some() {
			return true, true
		}
		return false, view.Ready() // files and names of ignoreip
	}
	one.r.Run(ctx)
}

// reportStates tells how reports stand.
func (d *Daemon) reportStates() (out []control.ReportStatus) {
	p := &d.reports
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, one := range p.of {
		out = append(out, control.ReportStatus{Name: name, Kind: one.of.Kind, State: one.r.State()})
	}
	slices.SortFunc(out, func(a, b control.ReportStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
