package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// absolute is a path for who asks from another directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		return abs
	}
	return path
}

// Status implements control.Daemon.
func (d *Daemon) Status(name string, bans bool) (control.Status, error) {
	d.awaitStart()
	s := control.Status{
		Version: d.opts.Version, PID: os.Getpid(), Started: d.clock.ToWall(d.started), Config: absolute(d.opts.Config.Path), DryRun: d.opts.DryRun,
		Waiting: d.waiting(), Jails: []jail.Status{},
	}
	running, lists := d.jailsNow(), d.listsNow()
	if name != "" {
		if l := lists[name]; l != nil {
			s.Jails = append(s.Jails, l.status())
			return s, nil
		}
		j, err := d.jail(name)
		if err != nil {
			return s, err
		}
		s.Jails = append(s.Jails, d.statusOf(j, bans))
		return s, nil
	}
	d.mu.Lock()
	for n, err := range d.failed {
		s.Jails = append(s.Jails, jail.Status{Name: n, Error: err.Error()})
	}
	d.mu.Unlock()
	for n, what := range d.works.all() {
		if running[n] == nil && lists[n] == nil && !slices.ContainsFunc(s.Jails, func(j jail.Status) bool { return j.Name == n }) {
			s.Jails = append(s.Jails, jail.Status{Name: n, Error: "it is " + what})
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup // side by side: some may be busy
	for _, j := range running {
		wg.Go(func() {
			of := d.statusOf(j, bans)
			mu.Lock()
			s.Jails = append(s.Jails, of)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, l := range lists {
		s.Jails = append(s.Jails, l.status())
	}
	slices.SortFunc(s.Jails, func(a, b jail.Status) int { return strings.Compare(a.Name, b.Name) })
	s.Exports, s.Reports, s.Problems = d.exportStates(), d.reportStates(), slices.Concat(d.checks.problems(), d.page.problems())
	if d.fleet.now() != nil || len(d.cfgNow().Fleet.URLs) > 0 {
		f, err := d.Fleet()
		if err != nil {
			return s, err
		}
		s.Fleet = &f
	}
	return s, nil
}

func (d *Daemon) statusOf(j *jail.Jail, bans bool) jail.Status {
	s := j.Status(bans)
	if d.fw != nil && d.fw.Owes(s.Name) {
		s.Problems = append(s.Problems, refused(s.Name))
	}
	return s
}

// Bans implements control.Daemon.
func (d *Daemon) Bans(name string) ([]jail.BanStatus, error) {
	jails := d.running()
	if name != "" {
		j, err := d.jail(name)
		if err != nil {
			return nil, err
		}
		jails = []*jail.Jail{j}
	}
	all, err := jail.BansOf(jails)
	if err != nil {
		return nil, err
	}
	out := []jail.BanStatus{}
	for _, bans := range all {
		out = append(out, bans...)
	}
	return out, nil
}
