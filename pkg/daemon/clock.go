package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/store"
)

// watchClock has jails and database told when the clock is set or the machine wakes
// up. The function that it returns ends that.
func (d *Daemon) watchClock(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.clock.Watch(ctx, d.stepped) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func (d *Daemon) stepped(s clock.Step) {
	server := d.log.With("component", "server")
	if s.By != 0 {
		server.Warn(fmt.Sprintf("the clock was %s: bans and findtime go on by the time that passes", clock.Told(s.By)))
	}
	if s.Suspended != 0 {
		server.Info(fmt.Sprintf("the machine was suspended for %v: bans end when they should, and the kernel's timeouts are set again", s.Suspended.Round(time.Second)))
	}
	for _, j := range d.running() {
		j.Stepped(s)
	}
	d.mender.compare(d.enforced()...)
	if d.store != nil {
		d.store.queue.Push(&store.Delta{}) // the rows follow the clock with what is written
	}
}

// unchanged reports whether a jail is configured as it was. In which year that was read
// is the jail's own affair.
func unchanged(was, is *config.Jail) bool {
	now, before := *is, *was
	now.Filter.Year = was.Filter.Year
	for _, j := range []*config.Jail{&now, &before} { // in which line something stands is no setting
		j.Warnings = nil
		j.Settings = withoutLines(j.Settings)
		j.Filter.Prefregex.Line = 0
		j.Filter.Failregex = withoutPlaces(j.Filter.Failregex)
		j.Filter.Ignoreregex = withoutPlaces(j.Filter.Ignoreregex)
		if of := j.Filter.JSON; of != nil {
			without := *of
			without.Match = slices.Clone(of.Match)
			for i := range without.Match {
				without.Match[i].Line = 0
			}
			j.Filter.JSON = &without
		}
		j.Parts = slices.Clone(j.Parts)
		for i := range j.Parts {
			j.Parts[i].Settings = withoutLines(j.Parts[i].Settings)
		}
	}
	return reflect.DeepEqual(&before, &now)
}

func withoutPlaces(list []filter.Expr) []filter.Expr {
	list = slices.Clone(list)
	for i := range list {
		list[i].Line = 0
	}
	return list
}

func withoutLines(list []config.Setting) []config.Setting {
	list = slices.Clone(list)
	for i := range list {
		list[i].Line = 0
	}
	return list
}
